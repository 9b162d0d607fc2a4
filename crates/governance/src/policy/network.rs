//! The `network` section: hosts that are none of the public network, and may be reached all the same.

use lictor_capability::{HostNumber, host_spelling};
use lictor_document::Located;
use serde::Deserialize;

use super::error::PolicyError;
use super::load::Loader;

/// The section as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawNetwork {
    private: Vec<Located<String>>,
}

impl RawNetwork {
    pub(super) fn read(self, loader: &Loader<'_>) -> Result<Vec<String>, PolicyError> {
        let mut hosts = Vec::with_capacity(self.private.len());
        for host in self.private {
            if !is_host(&host.value) {
                return loader.refuse(
                    &host,
                    "not a host; accepted here: an address by number, `localhost`, or a name, each \
                     with a port where only that is meant (`127.0.0.1:8080`, `[fd00::1]:80`), and \
                     no patterns",
                );
            }
            hosts.push(host_spelling(&host.value).or_else(|why| loader.refuse(&host, &why))?);
        }
        Ok(hosts)
    }
}

/// What the layers say together: a layer that speaks can only take away from what others name.
pub(super) fn together<'a>(layers: impl Iterator<Item = Option<&'a Vec<String>>>) -> Vec<String> {
    let shared = |all: Vec<String>, own: &Vec<String>| {
        all.into_iter().filter(|host| own.contains(host)).collect()
    };
    let mut named = layers.flatten();
    let first = named.next().cloned().unwrap_or_default();
    named.fold(first, shared)
}

fn is_host(text: &str) -> bool {
    if HostNumber::parse(text).is_some() {
        return true;
    }
    let (host, port) = text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.' || c == '_';
    !host.is_empty() && host.chars().all(fits) && port.is_none_or(is_port)
}

fn is_port(text: &str) -> bool {
    text.parse::<u16>().is_ok_and(|port| port > 0 && port.to_string() == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_written_out() {
        for host in
            ["127.0.0.1", "127.0.0.1:8080", "localhost", "wiki.corp:80", "[fd00::1]:80", "::1"]
        {
            assert!(is_host(host), "{host}");
        }
        for host in
            ["", "*", "10.*", "a:b", "a:0", "a:080", "[a]", "[::1", "[::1]80", "http://a", "a/b"]
        {
            assert!(!is_host(host), "{host}");
        }
    }

    #[test]
    fn a_layer_can_only_take_away() {
        let named = |hosts: &[&str]| Some(hosts.iter().map(|host| (*host).to_owned()).collect());
        let all: [Option<Vec<String>>; 3] = [named(&["a", "b"]), None, named(&["b", "c"])];
        assert_eq!(together(all.iter().map(Option::as_ref)), ["b"]);
        let shut: [Option<Vec<String>>; 2] = [named(&[]), named(&["a"])];
        assert!(together(shut.iter().map(Option::as_ref)).is_empty());
        assert!(together([None, None].into_iter()).is_empty());
    }
}
