//! Who calls, as an OpenAPI document says it: secrets in headers, in the query and in a cookie.

use serde_json::{Map, Value, json};

use super::openapi::Wish;
use super::schema::resolved;
use super::word_of;
use crate::contract::check_header;

/// The secrets that a request carries, by where they stand.
#[derive(Default)]
pub(super) struct Credentials {
    pub(super) headers: Map<String, Value>,
    query: Map<String, Value>,
    /// Cookies are one header, whose name says nothing about them.
    cookie: Option<String>,
}

/// Where one secret stands.
struct Place {
    at: At,
    /// What stands before it.
    prefix: String,
    /// What the secret holds, where that is not what one would take it for.
    holds: &'static str,
}

enum At {
    Header(String),
    Query(String),
    Cookie(String),
}

impl Credentials {
    /// Of an operation: those of the first of its choices that can be carried over whole. Which
    /// secrets it needs is said.
    pub(super) fn of(wish: &Wish<'_>, lost: &mut Vec<String>) -> Self {
        let wanted = wish.operation.get("security").or_else(|| wish.document.get("security"));
        let choices = wanted.and_then(Value::as_array).cloned().unwrap_or_default();
        // No list, an empty one, or an empty choice: nobody has to say who they are.
        if choices.is_empty()
            || choices.iter().any(|one| one.as_object().is_some_and(Map::is_empty))
        {
            return Self::default();
        }
        let mut problem = None;
        for choice in &choices {
            match Self::carried(wish, choice) {
                Ok((credentials, told)) => {
                    lost.extend(told);
                    return credentials;
                }
                Err(why) => problem = problem.or(Some(why)),
            }
        }
        lost.push(format!("who calls: {}", problem.unwrap_or_default()));
        Self::default()
    }

    fn carried(wish: &Wish<'_>, choice: &Value) -> Result<(Self, Vec<String>), String> {
        let schemes = wish.document.pointer("/components/securitySchemes");
        let (mut credentials, mut told) = (Self::default(), Vec::new());
        let mut secrets: Vec<String> = Vec::new();
        for (name, _) in choice.as_object().into_iter().flatten() {
            let scheme = schemes.and_then(|schemes| schemes.get(name));
            let scheme = scheme.ok_or_else(|| format!("there is no security scheme `{name}`"))?;
            let place = Place::of(resolved(wish.document, scheme)?)
                .map_err(|why| format!("its security scheme `{name}` {why}"))?;
            let secret = word_of(&format!("{}_{name}", wish.namespace)).to_uppercase();
            if secrets.contains(&secret) {
                return Err(format!("two of its security schemes would be the secret `{secret}`"));
            }
            told.push(format!(
                "who calls: it needs the secret `{secret}` (`{name}`, {}){}",
                place.at.told(),
                place.holds
            ));
            credentials.put(&secret, place)?;
            secrets.push(secret);
        }
        Ok((credentials, told))
    }

    fn put(&mut self, secret: &str, place: Place) -> Result<(), String> {
        let Place { at, mut prefix, holds: _ } = place;
        let (into, name) = match at {
            At::Query(name) => (&mut self.query, name),
            At::Header(name) => (&mut self.headers, name),
            At::Cookie(name) => {
                prefix = format!("{name}=");
                self.cookie = Some(name);
                (&mut self.headers, "cookie".to_owned())
            }
        };
        if into.keys().any(|known| known.eq_ignore_ascii_case(&name)) {
            return Err(format!("two of its secrets would stand in `{name}`"));
        }
        let value = match prefix.as_str() {
            "" => json!({ "secret": secret }),
            prefix => json!({ "secret": secret, "prefix": prefix }),
        };
        into.insert(name, value);
        Ok(())
    }

    /// Whether a secret stands where a parameter would.
    pub(super) fn hold(&self, place: &str, name: &str) -> bool {
        match place {
            "query" => self.query.contains_key(name),
            "header" => self.headers.keys().any(|known| known.eq_ignore_ascii_case(name)),
            "cookie" => self.cookie.as_deref() == Some(name),
            _ => false,
        }
    }

    /// The query: these properties of the input, and the secrets that stand in it.
    pub(super) fn query(&self, properties: &[String]) -> Value {
        if self.query.is_empty() {
            return json!(properties);
        }
        let inputs = properties.iter().map(|name| (name.clone(), json!({ "input": name })));
        let secrets = self.query.iter().map(|(name, secret)| (name.clone(), secret.clone()));
        Value::Object(inputs.chain(secrets).collect())
    }
}

impl At {
    fn told(&self) -> String {
        match self {
            Self::Header(name) => format!("header `{name}`"),
            Self::Query(name) => format!("`{name}` in the query"),
            Self::Cookie(name) => format!("cookie `{name}`"),
        }
    }
}

impl Place {
    /// Where a scheme puts its secret; else what it is that cannot be carried over.
    fn of(scheme: &Value) -> Result<Self, String> {
        let text = |key: &str| scheme.get(key).and_then(Value::as_str);
        let authorization = |prefix: &str, holds| {
            let at = At::Header("authorization".to_owned());
            Ok(Self { at, prefix: prefix.to_owned(), holds })
        };
        match (text("type"), text("scheme"), text("in")) {
            (Some("http"), Some(scheme), _) if scheme.eq_ignore_ascii_case("bearer") => {
                authorization("Bearer ", "")
            }
            (Some("http"), Some(scheme), _) if scheme.eq_ignore_ascii_case("basic") => {
                authorization("Basic ", ", which is `user:password` in base64")
            }
            (Some("oauth2" | "openIdConnect"), ..) => authorization("Bearer ", ""),
            (Some("apiKey"), _, Some(place)) => {
                let name = text("name").ok_or("has no name")?.to_owned();
                let at = match place {
                    "header" => {
                        check_header(&name)?;
                        At::Header(name)
                    }
                    "query" => At::Query(name),
                    "cookie" => {
                        check_header(&name).map_err(|_| "has a name that no cookie has")?;
                        At::Cookie(name)
                    }
                    _ => return Err("stands in none of header, query and cookie".to_owned()),
                };
                Ok(Self { at, prefix: String::new(), holds: "" })
            }
            _ => Err("is neither a key, nor basic, nor a bearer's token".to_owned()),
        }
    }
}
