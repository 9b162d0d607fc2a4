//! Hosts by number: an address has many spellings, and one by which it is judged.

use std::fmt;
use std::net::IpAddr;

/// A host that is an address, with a port where one is given. An address of IPv4 that is written as
/// one of IPv6 (`::ffff:127.0.0.1`) is the one of IPv4.
///
/// It is shown as effects name it: `127.0.0.1`, `[::1]`, `[2001:db8::1]:8080`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HostNumber {
    address: IpAddr,
    port: Option<u16>,
}

impl HostNumber {
    /// Of `127.0.0.1`, `127.0.0.1:80`, `[::1]`, `[::1]:80` and `::1`; `None` of names, patterns and
    /// everything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (address, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((inner, rest)) => {
                let port = match rest.strip_prefix(':') {
                    None if rest.is_empty() => None,
                    None => return None,
                    Some(port) => Some(port_of(port)?),
                };
                (IpAddr::V6(inner.parse().ok()?), port)
            }
            None => match text.parse::<IpAddr>() {
                Ok(address) => (address, None),
                Err(_) => {
                    let (host, port) = text.split_once(':')?;
                    (IpAddr::V4(host.parse().ok()?), Some(port_of(port)?))
                }
            },
        };
        Some(Self { address: address.to_canonical(), port })
    }

    /// The address.
    #[must_use]
    pub const fn address(self) -> IpAddr {
        self.address
    }

    /// The port, where one is given.
    #[must_use]
    pub const fn port(self) -> Option<u16> {
        self.port
    }

    /// The host alone, one of IPv6 in brackets.
    #[must_use]
    pub fn host(self) -> String {
        match self.address {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
        }
    }
}

impl fmt::Display for HostNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host())?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// A host of a contract or of a policy in the one spelling by which it is compared: addresses as
/// [`HostNumber`] shows them, names and patterns in lower case.
///
/// # Errors
/// When it stands in brackets as an address does, and is none: as a pattern it would fit hosts of one
/// letter.
pub fn host_spelling(text: &str) -> Result<String, String> {
    let inner = text.strip_prefix('[').map(|rest| rest.split_once(']').map_or(rest, |it| it.0));
    let means_address = inner.is_some_and(|inner| inner.matches(':').count() > 1);
    if means_address && HostNumber::parse(text).is_none() {
        return Err(format!(
            "`{}` is no address; accepted here: `[::1]` or `[::1]:80`, the port without zeros \
             before it",
            text.escape_debug()
        ));
    }
    Ok(as_compared(text))
}

/// A host of an effect in the same spelling, whatever it is.
pub(crate) fn as_compared(text: &str) -> String {
    HostNumber::parse(text).map_or_else(|| text.to_ascii_lowercase(), |number| number.to_string())
}

/// Whether a host of a contract stands for more than one.
pub(crate) fn is_host_pattern(text: &str) -> bool {
    HostNumber::parse(text).is_none() && text.contains(['*', '?', '[', '{', '\\'])
}

/// Whether a name ends in a number. Resolvers take `127.1`, `0x7f.1` and `2130706433` for addresses,
/// and do not agree which.
pub(crate) fn ends_in_a_number(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let last = name.rsplit('.').next().unwrap_or_default();
    let hex = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    match hex {
        Some(digits) => digits.bytes().all(|byte| byte.is_ascii_hexdigit()),
        None => !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

fn port_of(text: &str) -> Option<u16> {
    // `080`, `+80` and `0` are ports to some readers only.
    text.parse().ok().filter(|port: &u16| *port > 0 && port.to_string() == text)
}
