//! The `http` section of a contract: one request, as a template over the input.

mod origin;
mod template;

use std::collections::BTreeMap;

use lictor_document::ByteSize;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::EffectCeiling;
use crate::host::is_host_pattern;
pub use origin::HttpOrigin;
pub use template::{HttpBody, HttpHeader, HttpQuery, HttpValue, InputValue, SecretHeader};

/// The methods of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum HttpMethod {
    /// Reads.
    Get,
    /// Reads the head of an answer.
    Head,
    /// Makes something, or anything else.
    Post,
    /// Puts something in its place.
    Put,
    /// Changes a part of something.
    Patch,
    /// Takes something away.
    Delete,
}

impl HttpMethod {
    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }

    /// Whether it changes nothing at the other end, by the meaning of the word.
    #[must_use]
    pub const fn is_safe(self) -> bool {
        matches!(self, Self::Get | Self::Head)
    }
}

/// One HTTP request, as a template. Names in it are those of the input's properties.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpSpec {
    /// The method.
    pub method: HttpMethod,
    /// `http://` or `https://`, a host that is written out, a path in which `{name}` stands for a
    /// property of the input, percent-encoded. Or nothing but `{name}`: then the input gives the
    /// whole URL, and with it the host that a policy judges.
    pub url: String,
    /// What goes into the query.
    #[serde(default, skip_serializing_if = "HttpQuery::is_empty")]
    pub query: HttpQuery,
    /// The property that is an object of which every field goes into the query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query_map: Option<String>,
    /// Headers that are always sent.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, HttpHeader>,
    /// Headers that are sent where the input has the property.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub header_inputs: BTreeMap<String, String>,
    /// The property that is an object of which every field is a header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header_map: Option<String>,
    /// What is sent as a JSON body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<HttpBody>,
    /// The property that is sent as a body of plain text, where the input has it. Beside a property
    /// that is sent as JSON, the input has one of the two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The most that an answer may hold; 4 MiB unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<ByteSize>,
}

impl HttpSpec {
    /// The property that is the whole URL, where the input gives it.
    #[must_use]
    pub fn url_input(&self) -> Option<&str> {
        let name = self.url.strip_prefix('{')?.strip_suffix('}')?;
        (!name.contains(['{', '}'])).then_some(name)
    }

    /// Where the request goes, for an input.
    ///
    /// # Errors
    /// When the URL has no host that is written out.
    pub fn origin(&self, input: &Value) -> Result<HttpOrigin, String> {
        match self.url_input() {
            None => HttpOrigin::of(&self.url),
            Some(name) => {
                let value = input.get(name).unwrap_or(&Value::Null);
                HttpOrigin::of_input(name, value).map(|(origin, _)| origin)
            }
        }
    }

    /// The names that stand in the URL.
    ///
    /// # Errors
    /// When a `{` has no `}`.
    pub fn path_names(&self) -> Result<Vec<&str>, String> {
        let mut names = Vec::new();
        let mut rest = self.url.as_str();
        while let Some((_, after)) = rest.split_once('{') {
            let (name, later) =
                after.split_once('}').ok_or_else(|| "a `{` in the URL has no `}`".to_owned())?;
            names.push(name);
            rest = later;
        }
        Ok(names)
    }

    /// The names of the secrets that go along.
    #[must_use]
    pub fn secrets(&self) -> Vec<&str> {
        let headers = self.headers.values().filter_map(|value| match value {
            HttpHeader::Text(_) => None,
            HttpHeader::Secret(secret) => Some(secret.secret.as_str()),
        });
        let mut names: Vec<&str> = headers.chain(self.query.secrets()).collect();
        if let Some(HttpBody::Template(template)) = &self.body {
            template::leaves(template.as_value(), &mut |leaf| {
                if let template::TemplateLeaf::Secret { name, .. } = leaf {
                    names.push(name);
                }
            });
        }
        names
    }

    /// Holds it against the schema of the input and the effects that the contract declares: every
    /// name is a property, one in the URL is always there, and a secret goes to hosts that are
    /// written out.
    pub(super) fn check(&self, input: &Value, most: &EffectCeiling) -> Result<(), String> {
        let property = |name: &str| input.get("properties").and_then(|all| all.get(name));
        let required = |name: &str| {
            let required = input.get("required").and_then(Value::as_array);
            required.is_some_and(|names| names.iter().any(|one| one == name))
        };
        let of_type = |name: &str, kind: &str| {
            property(name).is_some_and(|schema| schema.get("type") == Some(&Value::from(kind)))
        };
        match self.url_input() {
            None => drop(HttpOrigin::of(&self.url)?),
            Some(name) if of_type(name, "string") => {}
            Some(name) => return Err(format!("`{name}` is the URL, and has to be a string")),
        }
        for name in self.path_names()? {
            if property(name).is_none() || !required(name) {
                return Err(format!(
                    "`{{{name}}}` in the URL is no required property of the input"
                ));
            }
        }
        let mut used: Vec<&str> = self.query.inputs();
        used.extend(self.header_inputs.values().map(String::as_str));
        used.extend(self.text.as_deref());
        match &self.body {
            None => {}
            Some(HttpBody::Template(_)) if self.text.is_some() => {
                return Err("a request has one body: a mapping `body`, or `text`".to_owned());
            }
            Some(HttpBody::Property(name)) => used.push(name),
            Some(HttpBody::Template(body)) => {
                template::check(body.as_value())?;
                template::leaves(body.as_value(), &mut |leaf| {
                    if let template::TemplateLeaf::Input(name) = leaf {
                        used.push(name);
                    }
                });
            }
        }
        if let Some(name) = used.into_iter().find(|name| property(name).is_none()) {
            return Err(format!("`{name}` is no property of the input"));
        }
        for name in self.query_map.iter().chain(&self.header_map) {
            if !of_type(name, "object") {
                return Err(format!("`{name}` is no property of the input that is an object"));
            }
        }
        for name in self.headers.keys().chain(self.header_inputs.keys()) {
            check_header(name)
                .map_err(|problem| format!("`{}`: {problem}", name.escape_debug()))?;
        }
        if self.url_input().is_some()
            && !self.secrets().is_empty()
            && (most.net.is_empty() || most.net.iter().any(|host| is_host_pattern(host)))
        {
            return Err(
                "a secret goes to hosts that `effects.net` writes out, without a pattern, \
                        where the input gives the URL"
                    .to_owned(),
            );
        }
        Ok(())
    }
}

/// Whether a header may be given by a contract or an input.
///
/// # Errors
/// When it is no header's name, or one that the request sets by itself.
pub fn check_header(name: &str) -> Result<(), String> {
    const TAKEN: [&str; 10] = [
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "te",
        "trailer",
        "upgrade",
        "expect",
        "keep-alive",
        "proxy-authorization",
    ];
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() || !name.chars().all(fits) {
        return Err("a header's name is made of letters, digits, `-` and `_`".to_owned());
    }
    if TAKEN.contains(&name.to_ascii_lowercase().as_str()) {
        return Err(format!("the header `{name}` is set by the request itself"));
    }
    Ok(())
}
