//! Which addresses may be talked to: public ones, and those that a contract or a policy names. A name
//! that leads to a private address leads nowhere, whoever answers for the name.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lictor_capability::{HostNumber, HttpOrigin};
use lictor_executor::HandlerError;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

/// Knows which hosts that are not public may be talked to, beside those that a contract names.
pub trait PrivateHosts: Send + Sync + fmt::Debug {
    /// Hosts, `host` or `host:port`: addresses by number, `localhost`, and names that may lead
    /// into a private network (never to this machine). Asked at every request.
    fn private_hosts(&self) -> Vec<String>;
}

/// Knows none.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoPrivateHosts;

impl PrivateHosts for NoPrivateHosts {
    fn private_hosts(&self) -> Vec<String> {
        Vec::new()
    }
}

/// A host as a contract or a policy writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Named {
    host: String,
    port: Option<u16>,
}

impl Named {
    fn of(entry: &str) -> Self {
        if let Some(number) = HostNumber::parse(entry) {
            return Self { host: number.address().to_string(), port: number.port() };
        }
        let entry = entry.to_ascii_lowercase();
        let (host, port) = match entry.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (entry.as_str(), None),
        };
        Self { host: host.to_owned(), port: port.and_then(|port| port.parse().ok()) }
    }

    fn is(&self, host: &str, port: u16) -> bool {
        self.host == host && self.port.is_none_or(|own| own == port)
    }

    fn number(&self) -> Option<IpAddr> {
        self.host.parse().ok().map(plain)
    }
}

/// What a contract and a policy open beside the public network.
#[derive(Debug, Clone)]
pub(super) struct Reach {
    contract: Vec<Named>,
    policy: Vec<Named>,
    /// Whether the input gives the host. Then a host is what it is called: a name does not lead to
    /// an address that is open under its number.
    given: bool,
}

impl Reach {
    pub(super) fn new(contract: &[String], policy: &[String], given: bool) -> Self {
        let all = |entries: &[String]| entries.iter().map(|entry| Named::of(entry)).collect();
        Self { contract: all(contract), policy: all(policy), given }
    }

    /// Refuses, before anybody is asked, what would be refused when it is done.
    pub(super) fn check(&self, origin: &HttpOrigin) -> Result<(), HandlerError> {
        let (host, port) = (origin.host(), origin.port());
        let number = host.parse::<IpAddr>().ok();
        let private = match number {
            Some(address) => !self.admits(host, port, address),
            None => self.given && host == "localhost" && !self.names(host, port),
        };
        if private {
            return Err(HandlerError::input(
                "the host is none of the public network; hosts of a private one, and of this \
                 machine, are those that the contract names by number, and those of the policy's \
                 `network.private`",
            ));
        }
        if self.given && !origin.is_https() && !self.names(host, port) {
            return Err(HandlerError::input(
                "plain `http://` is for hosts of the policy's `network.private`; any other is \
                 asked by `https://`",
            ));
        }
        Ok(())
    }

    pub(super) fn resolver(self) -> Resolving<DefaultResolver> {
        Resolving { inner: DefaultResolver::default(), reach: self }
    }

    /// Whether a host is named as one that need not be public.
    fn names(&self, host: &str, port: u16) -> bool {
        let is_number = |named: &&Named| named.number().is_some() || named.host == "localhost";
        self.policy.iter().any(|named| named.is(host, port))
            || self.contract.iter().filter(is_number).any(|named| named.is(host, port))
    }

    fn admits(&self, host: &str, port: u16, address: IpAddr) -> bool {
        let address = plain(address);
        is_public(address) || self.by_contract(host, address) || self.by_policy(host, port, address)
    }

    fn by_contract(&self, host: &str, address: IpAddr) -> bool {
        let called = |named: &Named| !self.given || named.host == host;
        self.contract.iter().any(|named| {
            let leads = named.number() == Some(address)
                || (named.host == "localhost" && address.is_loopback());
            leads && called(named)
        })
    }

    fn by_policy(&self, host: &str, port: u16, address: IpAddr) -> bool {
        self.policy.iter().filter(|named| named.is(host, port)).any(|named| match named.number() {
            Some(number) => number == address,
            None if named.host == "localhost" => address.is_loopback(),
            None => is_internal(address),
        })
    }
}

/// Resolves names and leaves out what may not be talked to. Asked for every connection, redirects
/// included, and its answer is what is connected to: no other look at a name lies in between.
#[derive(Debug)]
pub(super) struct Resolving<R> {
    inner: R,
    reach: Reach,
}

impl<R: Resolver> Resolver for Resolving<R> {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let found = self.inner.resolve(uri, config, timeout)?;
        // As it was judged: an address has more spellings than one.
        let Named { host, .. } = Named::of(uri.host().unwrap_or_default());
        let mut kept = self.empty();
        for address in found.iter() {
            if self.reach.admits(&host, address.port(), address.ip()) {
                kept.push(*address);
            }
        }
        if kept.is_empty() { Err(ureq::Error::HostNotFound) } else { Ok(kept) }
    }
}

/// An address of IPv4 that is written as one of IPv6, as itself.
fn plain(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// Whether an address is one of a private network, and neither of this machine nor of its link.
fn is_internal(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let [a, b, ..] = address.octets();
            address.is_private() || (a == 100 && (64..128).contains(&b))
        }
        IpAddr::V6(address) => address.is_unique_local(),
    }
}

/// Whether an address is one of the public network.
fn is_public(address: IpAddr) -> bool {
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

    fn reach(contract: &[&str], policy: &[&str], given: bool) -> Reach {
        let owned =
            |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        Reach::new(&owned(contract), &owned(policy), given)
    }

    fn admits(reach: &Reach, host: &str, address: &str) -> bool {
        reach.admits(host, 8080, address.parse().unwrap())
    }

    #[test]
    fn a_contract_opens_what_it_names_by_number_and_nothing_beside_it() {
        let of = |named: &[&str]| reach(named, &[], false);
        let rule = of(&["10.0.0.7:8080", "[fd00::1]:80"]);
        assert!(admits(&rule, "a", "10.0.0.7") && admits(&rule, "a", "fd00::1"));
        assert!(admits(&rule, "a", "::ffff:10.0.0.7"), "the same address in another spelling");
        assert!(!admits(&rule, "a", "10.0.0.8") && !admits(&rule, "a", "127.0.0.1"));
        let rule = of(&["internal.example.com", "*", "10.*"]);
        assert!(!admits(&rule, "internal.example.com", "10.0.0.7"), "a name opens nothing private");
        assert!(admits(&of(&["localhost:80"]), "localhost", "127.0.0.1"));
    }

    #[test]
    fn a_host_that_the_input_gives_is_what_it_is_called() {
        let rule = reach(&["*", "10.0.0.7", "localhost"], &[], true);
        assert!(admits(&rule, "10.0.0.7", "10.0.0.7") && admits(&rule, "localhost", "::1"));
        assert!(!admits(&rule, "evil.example", "10.0.0.7"), "its owner could send us anywhere");
        assert!(!admits(&rule, "evil.example", "127.0.0.1"));
        assert!(admits(&rule, "evil.example", "1.1.1.1"));
    }

    #[test]
    fn a_policy_opens_hosts_by_number_and_by_name_each_with_its_port() {
        let rule = reach(&["*"], &["127.0.0.1:8080", "wiki.corp", "localhost:1"], true);
        assert!(admits(&rule, "127.0.0.1", "127.0.0.1"));
        assert!(!rule.admits("127.0.0.1", 22, "127.0.0.1".parse().unwrap()));
        assert!(admits(&rule, "wiki.corp", "10.1.2.3") && admits(&rule, "wiki.corp", "fd00::9"));
        for never in ["127.0.0.1", "::1", "169.254.169.254", "fe80::1", "0.0.0.0"] {
            assert!(!admits(&rule, "wiki.corp", never), "{never}");
        }
        assert!(!admits(&rule, "evil.example", "10.1.2.3"));
        assert!(!admits(&rule, "localhost", "127.0.0.1"), "its port is another");
    }

    #[test]
    fn what_would_be_refused_is_refused_before_anybody_is_asked() {
        let check = |reach: &Reach, url: &str| {
            reach.check(&HttpOrigin::of(url).unwrap()).map_err(|error| error.to_string())
        };
        let given = reach(&["*"], &["127.0.0.1:8080"], true);
        check(&given, "https://a.example/").unwrap();
        check(&given, "http://127.0.0.1:8080/").unwrap();
        check(&given, "http://[::ffff:7f00:1]:8080/").unwrap();
        let named = reach(&["*"], &["[FD00:0::1]:8080"], true);
        check(&named, "http://[fd00:0:0:0:0:0:0:1]:8080/").unwrap();
        assert!(check(&named, "http://[fd00::1]:8081/").is_err());
        for url in [
            "https://127.0.0.1/",
            "https://localhost/",
            "https://[::ffff:127.0.0.1]/",
            "https://[0:0:0:0:0:ffff:7f00:1]/",
            "https://[0:0:0:0:0:0:0:1]/",
            "https://[FD00::1]/",
            "https://169.254.169.254/",
        ] {
            assert!(check(&given, url).unwrap_err().contains("network.private"), "{url}");
        }
        assert!(check(&given, "http://a.example/").unwrap_err().contains("plain"));
        check(&reach(&["a.example"], &[], false), "http://a.example/").unwrap();
    }

    /// Answers for a name, another one each time that it is asked.
    #[derive(Debug)]
    struct Rebinding(std::sync::Mutex<Vec<Vec<&'static str>>>);

    impl Resolver for Rebinding {
        fn resolve(
            &self,
            _: &Uri,
            _: &Config,
            _: NextTimeout,
        ) -> Result<ResolvedSocketAddrs, ureq::Error> {
            let mut all = self.empty();
            for address in self.0.lock().unwrap().remove(0) {
                all.push(std::net::SocketAddr::new(address.parse().unwrap(), 443));
            }
            Ok(all)
        }
    }

    #[test]
    fn a_name_that_is_bound_anew_between_two_looks_leads_nowhere() {
        let answers = vec![
            vec!["1.1.1.1", "127.0.0.1", "169.254.169.254", "::1"],
            vec!["127.0.0.1"],
            vec!["10.0.0.1", "::ffff:10.0.0.1"],
        ];
        let resolver = Resolving {
            inner: Rebinding(answers.into()),
            reach: reach(&["*"], &["127.0.0.1"], true),
        };
        let uri: Uri = "https://evil.example/".parse().unwrap();
        let config = ureq::Agent::config_builder().build();
        let look = || {
            let found = resolver.resolve(&uri, &config, NextTimeout::default());
            found.map(|found| found.iter().map(|one| one.ip().to_string()).collect::<Vec<_>>())
        };
        assert_eq!(look().unwrap(), ["1.1.1.1"], "what is kept is what is connected to");
        assert!(look().is_err() && look().is_err());
    }

    #[test]
    fn an_address_is_connected_to_as_it_was_judged() {
        let answers = vec![vec!["::ffff:127.0.0.1"], vec!["::1"], vec!["::2"]];
        let resolver = Resolving {
            inner: Rebinding(answers.into()),
            reach: reach(&["*", "127.0.0.1", "[0::1]:443"], &[], true),
        };
        let look = |url: &str| {
            let config = ureq::Agent::config_builder().build();
            resolver.resolve(&url.parse().unwrap(), &config, NextTimeout::default()).is_ok()
        };
        assert!(look("https://[0:0:0:0:0:ffff:7f00:1]/"));
        assert!(look("https://[0:0:0:0:0:0:0:1]/"));
        assert!(!look("https://[::2]/"));
    }
}
