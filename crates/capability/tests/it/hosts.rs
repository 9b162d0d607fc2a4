//! Hosts of contracts: an address is one address in each of its spellings, and no pattern.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lictor_capability::{Effect, EffectCeiling, EffectKind, HostNumber, HttpOrigin, host_spelling};
use proptest::prelude::*;

use super::contract::{EXAMPLE, contract};

fn ceiling(net: &[&str]) -> EffectCeiling {
    let mut ceiling = EffectCeiling::default();
    ceiling.net.extend(net.iter().map(|host| (*host).to_owned()));
    ceiling
}

fn admits(ceiling: &EffectCeiling, host: &str) -> bool {
    ceiling.admits(Effect { kind: EffectKind::Net, target: host })
}

/// Spellings of one address, with a port behind each.
fn spellings(address: IpAddr, port: &str) -> Vec<String> {
    let v6 = match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    };
    let segments = v6.segments();
    let long = segments.map(|one| format!("{one:x}")).join(":");
    let padded = segments.map(|one| format!("{one:04X}")).join(":");
    let mut all = vec![format!("[{v6}]"), format!("[{long}]"), format!("[{padded}]")];
    match address {
        IpAddr::V4(address) => all.push(address.to_string()),
        IpAddr::V6(_) if port.is_empty() => all.extend([v6.to_string(), long]),
        IpAddr::V6(_) => {}
    }
    all.into_iter().map(|host| host + port).collect()
}

#[test]
fn a_name_opens_no_address() {
    let names = ceiling(&["example.com", "*.example.com", "example.com:8080", "[a-f]*.example"]);
    for host in [
        "[::1]",
        "[::1]:8080",
        "[2001:db8::1]",
        "[2001:db8::1]:8080",
        "::1",
        "127.0.0.1:8080",
        "[::ffff:127.0.0.1]",
    ] {
        assert!(!admits(&names, host), "{host}");
    }
    assert!(admits(&names, "Example.com") && admits(&names, "a.b.example.com"));
}

#[test]
fn an_address_opens_no_host_of_one_letter() {
    let address = ceiling(&["[2001:db8::1]:8080", "[::1]"]);
    for host in ["2:8080", "d:8080", "::8080", "1", ":", "[2001:db8::1]", "[2001:db8::1]:80"] {
        assert!(!admits(&address, host), "{host}");
    }
}

#[test]
fn what_stands_in_brackets_and_is_no_address_is_refused() {
    for host in ["[2001:db8::g]", "[::1]8080", "[::1]:0", "[::1]:080", "[::1]:65536", "[fe80::1%1]"]
    {
        let problem = ceiling(&[host]).check().expect_err(host);
        assert!(problem.contains("is no address") && problem.contains("`[::1]:80`"), "{problem}");
        assert!(host_spelling(host).is_err() && HostNumber::parse(host).is_none(), "{host}");
    }
    let any = ceiling(&["[a-c].example", "[::1]", "*"]);
    any.check().expect("patterns and an address");
    assert!(admits(&any, "[~Zh::G7"), "a host of an effect is what it is");
}

#[test]
fn a_secret_goes_to_no_class_of_hosts() {
    let with = |net: &str| {
        let text = EXAMPLE.replace("net: []", &format!("net: [\"{net}\"]")).replace(
            "handler: { builtin: fs.write }",
            "handler:\n  http: { method: GET, url: \"{path}\", headers: { authorization: { secret: KEY } } }",
        );
        lictor_capability::Contract::from_yaml(&lictor_document::Source::new("c", text.as_bytes()))
    };
    for pattern in ["[a-z].example", "*.example", "{a,b}.example"] {
        let refused = with(pattern).map(|_| ()).expect_err(pattern).to_string();
        assert!(refused.contains("a secret goes to hosts"), "{pattern}: {refused}");
    }
    with("[2001:db8::1]").expect("an address is written out");
    contract(EXAMPLE);
}

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<u32>().prop_map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits))),
        any::<u128>().prop_map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits)).to_canonical()),
        // With zeros, which are left out.
        any::<[bool; 8]>()
            .prop_map(|ones| { IpAddr::V6(Ipv6Addr::from(ones.map(u16::from))).to_canonical() }),
    ]
}

proptest! {
    #[test]
    fn an_address_is_opened_in_each_spelling_and_no_other_is(
        address in address(), other in address(), port in prop::option::of(1_u16..),
    ) {
        let port = port.map_or_else(String::new, |port| format!(":{port}"));
        for written in spellings(address, &port) {
            let ceiling = ceiling(&[&written]);
            prop_assert_eq!(ceiling.check(), Ok(()));
            for asked in spellings(address, &port) {
                prop_assert!(admits(&ceiling, &asked), "{} does not open {}", written, asked);
            }
            if other != address {
                for asked in spellings(other, &port) {
                    prop_assert!(!admits(&ceiling, &asked), "{} opens {}", written, asked);
                }
            }
        }
    }

    #[test]
    fn a_url_is_judged_by_its_address(address in address(), port in 1_u16..) {
        for written in spellings(address, &format!(":{port}")) {
            let origin = HttpOrigin::of(&format!("https://{written}/")).expect("an address");
            prop_assert_eq!(origin.host(), address.to_string());
            let effect = HostNumber::parse(&origin.effect()).expect("an address");
            prop_assert_eq!(effect.address(), address);
        }
    }
}
