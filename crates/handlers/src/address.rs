//! Which addresses may be talked to: public ones, and those that a contract names by number. A
//! name that leads to a private address leads nowhere, whoever answers for the name.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

/// Resolves names and leaves out what may not be talked to. Asked for every connection, redirects
/// included, so that what was looked at is what is connected to.
#[derive(Debug)]
pub(crate) struct PublicOnly {
    inner: DefaultResolver,
    named: Vec<IpAddr>,
    loopback: bool,
}

impl PublicOnly {
    /// With the hosts that a contract names: an address counts by its number, and `localhost`
    /// stands for those of this machine.
    pub(crate) fn new(named: &[String]) -> Self {
        let host = |entry: &String| {
            let bare = entry.strip_prefix('[').and_then(|rest| rest.split_once(']'));
            match bare {
                Some((inner, _)) => inner.to_owned(),
                None => entry.split(':').next().unwrap_or_default().to_owned(),
            }
        };
        let hosts: Vec<String> = named.iter().map(host).collect();
        Self {
            inner: DefaultResolver::default(),
            named: hosts.iter().filter_map(|host| host.parse().ok()).collect(),
            loopback: hosts.iter().any(|host| host == "localhost"),
        }
    }

    fn admits(&self, address: IpAddr) -> bool {
        is_public(address)
            || self.named.contains(&address)
            || (self.loopback && address.is_loopback())
    }
}

impl Resolver for PublicOnly {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let found = self.inner.resolve(uri, config, timeout)?;
        let mut kept = self.empty();
        for address in found.iter().filter(|address| self.admits(address.ip())) {
            kept.push(*address);
        }
        if kept.is_empty() { Err(ureq::Error::HostNotFound) } else { Ok(kept) }
    }
}

/// Whether an address is one of the public network.
pub(crate) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => match embedded(address) {
            Some(inner) => is_public_v4(inner),
            None => is_public_v6(address),
        },
    }
}

/// The IPv4 address that an IPv6 address stands for: mapped, compatible, NAT64, 6to4.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let of = |high: u16, low: u16| {
        let ([w, x], [y, z]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(w, x, y, z)
    };
    match (a, b, c, d, e, f) {
        (0, 0, 0, 0, 0, 0 | 0xffff) | (0x64, 0xff9b, 0, 0, 0, 0) => Some(of(g, h)),
        (0x2002, ..) => Some(of(b, c)),
        _ => None,
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let shared = a == 100 && (64..128).contains(&b);
    let protocol = a == 192 && b == 0 && c == 0;
    let benchmark = a == 198 && (b == 18 || b == 19);
    !(a == 0
        || a >= 240
        || shared
        || protocol
        || benchmark
        || address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_documentation())
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.segments();
    let documentation = first == 0x2001 && second == 0xdb8;
    // Global unicast is 2000::/3; loopback, local, link-local and multicast lie outside of it.
    (first & 0xe000) == 0x2000 && !documentation
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_addresses_are_not_public_in_any_spelling() {
        let private = [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "0.0.0.0",
            "100.64.0.1",
            "192.0.0.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "192.0.2.1",
            "::1",
            "::",
            "fe80::1",
            "fd00::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
            "2002:7f00:1::",
            "::7f00:1",
            "2001:db8::1",
        ];
        for text in private {
            assert!(!is_public(text.parse().unwrap()), "{text}");
        }
        for text in ["1.1.1.1", "8.8.8.8", "172.32.0.1", "2606:4700::1111", "64:ff9b::808:808"] {
            assert!(is_public(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn a_contract_opens_what_it_names_by_number_and_nothing_beside_it() {
        let named = |texts: &[&str]| {
            PublicOnly::new(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
        };
        let admits = |rule: &PublicOnly, text: &str| rule.admits(text.parse().unwrap());
        let rule = named(&["10.0.0.7:8080", "[fd00::1]:80"]);
        assert!(admits(&rule, "10.0.0.7") && admits(&rule, "fd00::1"));
        assert!(!admits(&rule, "10.0.0.8") && !admits(&rule, "127.0.0.1"));
        let rule = named(&["internal.example.com", "*", "10.*"]);
        assert!(!admits(&rule, "10.0.0.7"), "a name or a pattern opens nothing private");
        assert!(admits(&named(&["localhost:80"]), "127.0.0.1"));
    }
}
