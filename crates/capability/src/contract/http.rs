//! The `http` section of a contract: one request, as a template over the input.

use std::collections::BTreeMap;

use lictor_document::ByteSize;
use serde::{Deserialize, Serialize};
use serde_json::Value;

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

/// The value of a header: a text, or a secret that is looked up when the request is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum HttpHeader {
    /// A text.
    Text(String),
    /// A secret, with what stands before it: `Bearer ` for example.
    Secret(SecretHeader),
}

/// A header whose value holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretHeader {
    /// The secret's name.
    pub secret: String,
    /// What stands before it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub prefix: String,
}

/// One HTTP request, as a template. Names in it are those of the input's properties.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpSpec {
    /// The method.
    pub method: HttpMethod,
    /// `http://` or `https://`, a host that is written out, a path in which `{name}` stands for a
    /// property of the input, percent-encoded.
    pub url: String,
    /// Properties that go into the query, where the input has them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub query: Vec<String>,
    /// Headers that are always sent.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, HttpHeader>,
    /// Headers that are sent where the input has the property.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub header_inputs: BTreeMap<String, String>,
    /// The property that is sent as a JSON body, where the input has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// The most that an answer may hold; 4 MiB unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<ByteSize>,
}

impl HttpSpec {
    /// The host and port of the URL as effects name them: without the port that the scheme has
    /// anyway.
    ///
    /// # Errors
    /// When the URL has no such host.
    pub fn host(&self) -> Result<String, String> {
        let (usual, rest) = match self.url.split_once("://") {
            Some(("https", rest)) => (":443", rest),
            Some(("http", rest)) => (":80", rest),
            _ => return Err("the URL begins with `https://` or `http://`".to_owned()),
        };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let fits = |c: char| c.is_ascii_alphanumeric() || ".-:[]".contains(c);
        if authority.is_empty() || !authority.chars().all(fits) {
            return Err(
                "the URL's host is written out, without a user and without `{…}`".to_owned()
            );
        }
        let host = authority.to_ascii_lowercase();
        Ok(host.strip_suffix(usual).map_or(host.clone(), str::to_owned))
    }

    /// The names that stand in the URL's path.
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

    /// Holds it against the schema of the input: every name is a property, and one in the path is
    /// always there.
    pub(super) fn check(&self, input: &Value) -> Result<(), String> {
        self.host()?;
        let known = |name: &str| {
            input.get("properties").and_then(|properties| properties.get(name)).is_some()
        };
        let required = |name: &str| {
            let required = input.get("required").and_then(Value::as_array);
            required.is_some_and(|names| names.iter().any(|one| one == name))
        };
        for name in self.path_names()? {
            if !known(name) || !required(name) {
                return Err(format!(
                    "`{{{name}}}` in the URL is no required property of the input"
                ));
            }
        }
        let used = self.query.iter().chain(self.header_inputs.values()).chain(&self.body);
        for name in used {
            if !known(name) {
                return Err(format!("`{name}` is no property of the input"));
            }
        }
        for name in self.headers.keys().chain(self.header_inputs.keys()) {
            let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            let taken = ["host", "content-length", "transfer-encoding", "connection"];
            if name.is_empty() || !name.chars().all(fits) {
                return Err(format!("`{}` is not the name of a header", name.escape_debug()));
            }
            if taken.contains(&name.to_ascii_lowercase().as_str()) {
                return Err(format!("the header `{name}` is set by the request itself"));
            }
        }
        Ok(())
    }
}
