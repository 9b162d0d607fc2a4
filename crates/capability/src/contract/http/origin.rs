//! Scheme, host and port of a URL, read strictly: what two readers could take for two hosts is none.

use serde_json::Value;

use crate::host::{ends_in_a_number, host_spelling};

/// The longest URL that is taken from an input.
const MAX_URL: usize = 8 * 1024;

/// Where a request goes: scheme, host and port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpOrigin {
    https: bool,
    host: String,
    port: u16,
}

impl HttpOrigin {
    /// Of a URL. No user, no name outside of ASCII, no port that is written in another way than
    /// numbers are.
    ///
    /// # Errors
    /// When it has no such origin, in words that quote nothing of it.
    pub fn of(url: &str) -> Result<Self, String> {
        let (https, rest) = match url.split_once("://") {
            Some(("https", rest)) => (true, rest),
            Some(("http", rest)) => (false, rest),
            _ => return Err("the URL begins with `https://` or `http://`".to_owned()),
        };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let (host, port) = split(authority).ok_or_else(|| {
            "the URL's host is written out, without a user and without `{…}`, an address as \
             `127.0.0.1` or `[::1]`, and its port is a number"
                .to_owned()
        })?;
        let port = port.unwrap_or(if https { 443 } else { 80 });
        let host = host_spelling(host)?;
        Ok(Self { https, host, port })
    }

    /// Of a URL that an input gives whole: made of the characters of URLs, and without a fragment,
    /// which would go nowhere.
    ///
    /// # Errors
    /// When it is not such a URL, in words that quote nothing of it.
    pub fn of_input(name: &str, value: &Value) -> Result<(Self, String), String> {
        let url = value.as_str().ok_or_else(|| format!("`{name}` is no text"))?;
        if url.len() > MAX_URL {
            return Err(format!("`{name}` is longer than the {MAX_URL} bytes that are accepted"));
        }
        let fits = |b: u8| b.is_ascii_alphanumeric() || b"-._~:/?[]@!$&'()*+,;=%".contains(&b);
        if !url.bytes().all(fits) {
            return Err(format!(
                "`{name}` holds what no URL holds as it is; everything but letters, digits and \
                 -._~:/?[]@!$&'()*+,;=% is percent-encoded, and `#` is not sent"
            ));
        }
        let origin = Self::of(url).map_err(|problem| format!("`{name}`: {problem}"))?;
        Ok((origin, url.to_owned()))
    }

    /// Whether it is `https`.
    #[must_use]
    pub const fn is_https(&self) -> bool {
        self.https
    }

    /// The host in lower case, of an IPv6 address without its brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        self.host.trim_matches(['[', ']'])
    }

    /// The port, also where the URL names none.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// As effects name it: without the port that the scheme has anyway.
    #[must_use]
    pub fn effect(&self) -> String {
        match (self.https, self.port) {
            (true, 443) | (false, 80) => self.host.clone(),
            (_, port) => format!("{}:{port}", self.host),
        }
    }
}

/// Host and port of an authority.
fn split(authority: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (inner, port) = rest.split_once(']')?;
            inner.parse::<std::net::Ipv6Addr>().ok()?;
            (authority.get(..inner.len() + 2)?, port)
        }
        None => {
            let at = authority.find(':').unwrap_or(authority.len());
            let (host, port) = authority.split_at_checked(at)?;
            let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.' || c == '_';
            if host.is_empty() || !host.chars().all(fits) {
                return None;
            }
            if ends_in_a_number(host) && host.parse::<std::net::Ipv4Addr>().is_err() {
                return None;
            }
            (host, port)
        }
    };
    if port.is_empty() {
        return Some((host, None));
    }
    let digits = port.strip_prefix(':')?;
    let number: u16 = digits.parse().ok()?;
    // `080`, `+80` and `0` are ports to some readers only.
    (number > 0 && number.to_string() == digits).then_some((host, Some(number)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_named_as_effects_name_it() {
        for (url, effect) in [
            ("https://API.example.com/x", "api.example.com"),
            ("https://a.example:443?x", "a.example"),
            ("http://a.example:80", "a.example"),
            ("http://a.example:443/", "a.example:443"),
            ("https://a.example:80/", "a.example:80"),
            ("http://[FD00::1]:8080/", "[fd00::1]:8080"),
            ("https://[::1]", "[::1]"),
            ("https://[0:0:0:0:0:0:0:1]:8080", "[::1]:8080"),
            ("https://[2001:0DB8::0:1]", "[2001:db8::1]"),
            ("https://[::ffff:127.0.0.1]", "127.0.0.1"),
            ("https://[::FFFF:7f00:1]:81", "127.0.0.1:81"),
        ] {
            assert_eq!(HttpOrigin::of(url).unwrap().effect(), effect, "{url}");
        }
        assert_eq!(HttpOrigin::of("https://[0::1]").unwrap().host(), "::1");
    }

    #[test]
    fn what_could_be_two_hosts_is_none() {
        for url in [
            "",
            "a.example",
            "//a.example/",
            "HTTPS://a.example/",
            "ftp://a.example/",
            "https://",
            "https:///x",
            "https://me@a.example/",
            "https://a.example@b.example/",
            "https://a.example:/",
            "https://a.example:0443/",
            "https://a.example:+443/",
            "https://a.example:0/",
            "https://a.example:65536/",
            "https://a.example:80:81/",
            "https://a.example\\@b.example/",
            "https://a%2eexample/",
            "https://ex\u{e4}mple/",
            "https://[::1/",
            "https://[::1]x/",
            "https://[a.example]/",
            "https://{host}/",
            "https://127.1/",
            "https://0x7f000001/",
            "https://2130706433/",
            "https://0177.0.0.1/",
            "https://127.0.0.1./",
            "https://1.2.3.4.0x5/",
            "https://a b/",
        ] {
            assert!(HttpOrigin::of(url).is_err(), "{url}");
        }
    }

    #[test]
    fn a_url_of_an_input_is_taken_as_it_is_or_not_at_all() {
        let taken = |url: &str| HttpOrigin::of_input("url", &Value::from(url));
        let (origin, url) = taken("https://a.example/x?y=%20#").map_or_else(
            |_| taken("https://a.example/x?y=%20").unwrap(),
            |_| panic!("a fragment goes nowhere"),
        );
        assert_eq!(
            (origin.effect().as_str(), url.as_str()),
            ("a.example", "https://a.example/x?y=%20")
        );
        for url in
            ["https://a.example/ x", "https://a.example/\r\nhost: b", "https://a.example/\\b"]
        {
            let problem = taken(url).unwrap_err();
            assert!(problem.contains("percent-encoded") && !problem.contains("a.example"));
        }
        assert!(taken(&format!("https://a.example/{}", "x".repeat(MAX_URL))).is_err());
        assert!(HttpOrigin::of_input("url", &Value::Null).is_err());
    }
}
