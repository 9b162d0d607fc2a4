//! From a contract and an input to a request. Where secrets come from is the caller's affair: what is
//! only described is built without them.

use lictor_capability::{
    HostNumber, HttpBody, HttpHeader, HttpOrigin, HttpQuery, HttpSpec, HttpValue, check_header,
};
use lictor_executor::HandlerError;
use serde_json::{Map, Value};
use ureq::http;

/// Looks a secret up.
pub(super) type LookUp<'a> = &'a mut dyn FnMut(&str) -> Result<String, HandlerError>;

/// What a request is made of.
pub(super) struct Built {
    method: &'static str,
    url: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Built {
    pub(super) fn new(
        spec: &HttpSpec,
        input: &Value,
        secret: LookUp<'_>,
    ) -> Result<Self, HandlerError> {
        let url = with_query(spec, path(spec, input)?, input, secret)?;
        let mut headers = vec![("user-agent".to_owned(), "lictor".to_owned())];
        for (name, value) in &spec.headers {
            let value = match value {
                HttpHeader::Text(text) => text.clone(),
                HttpHeader::Secret(of) => format!("{}{}", of.prefix, secret(&of.secret)?),
            };
            headers.push((name.clone(), value));
        }
        for (name, property) in &spec.header_inputs {
            if let Some(value) = input.get(property).filter(|value| !value.is_null()) {
                headers.push((name.clone(), scalar(property, value)?));
            }
        }
        for (name, value) in fields(spec.header_map.as_ref(), input) {
            let given = spec.header_map.as_deref().unwrap_or_default();
            check_header(name)
                .map_err(|problem| HandlerError::input(format!("`{given}`: {problem}")))?;
            if headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name)) {
                let problem = format!("`{given}` has a header that is set already");
                return Err(HandlerError::input(problem));
            }
            headers.push((name.clone(), scalar(given, value)?));
        }
        let (kind, body) = body(spec, input, secret)?;
        if let Some(kind) = kind
            && !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type"))
        {
            headers.push(("content-type".to_owned(), kind.to_owned()));
        }
        Ok(Self { method: spec.method.as_str(), url, headers, body })
    }

    /// As the client takes it.
    pub(super) fn request(self) -> Result<http::Request<Vec<u8>>, HandlerError> {
        let mut request = http::Request::builder().method(self.method).uri(&self.url);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        // A builder's error may quote a header, and with it a secret.
        let request = request
            .body(self.body)
            .map_err(|_| HandlerError::input("the request holds what HTTP does not take"))?;
        // What the client takes for the host is what was judged.
        let ours = HttpOrigin::of(&self.url).map_err(HandlerError::input)?;
        let theirs = request.uri();
        let port = theirs.port_u16().unwrap_or(if ours.is_https() { 443 } else { 80 });
        let host = theirs.host().unwrap_or_default();
        let number = |host: &str| HostNumber::parse(host).map(HostNumber::address);
        // An address has many spellings, and ours is the one that was judged.
        let same_host = match number(host) {
            Some(address) => number(ours.host()) == Some(address),
            None => host.eq_ignore_ascii_case(ours.host()),
        };
        let same = same_host
            && port == ours.port()
            && theirs.scheme_str() == Some(if ours.is_https() { "https" } else { "http" })
            && theirs.authority().is_some_and(|authority| !authority.as_str().contains('@'));
        if !same {
            return Err(HandlerError::input("the URL can be read in two ways"));
        }
        Ok(request)
    }
}

/// The URL without what the contract adds to its query.
fn path(spec: &HttpSpec, input: &Value) -> Result<String, HandlerError> {
    if let Some(name) = spec.url_input() {
        let value = input.get(name).unwrap_or(&Value::Null);
        let (_, url) = HttpOrigin::of_input(name, value).map_err(HandlerError::input)?;
        return Ok(url);
    }
    let mut url = String::with_capacity(spec.url.len() + 32);
    let mut rest = spec.url.as_str();
    while let Some((before, after)) = rest.split_once('{') {
        let (name, later) = after.split_once('}').unwrap_or((after, ""));
        url.push_str(before);
        let text = scalar(name, input.get(name).unwrap_or(&Value::Null))?;
        if text.is_empty() || text == "." || text == ".." {
            let problem = format!("`{name}` would change the path of the URL");
            return Err(HandlerError::input(problem));
        }
        url.push_str(&encode(&text));
        rest = later;
    }
    url.push_str(rest);
    Ok(url)
}

fn with_query(
    spec: &HttpSpec,
    url: String,
    input: &Value,
    secret: LookUp<'_>,
) -> Result<String, HandlerError> {
    let mut query = Query { sign: if url.contains('?') { '&' } else { '?' }, url };
    match &spec.query {
        HttpQuery::Properties(names) => {
            for name in names {
                query.add(name, name, input.get(name))?;
            }
        }
        HttpQuery::Values(values) => {
            for (name, value) in values {
                match value {
                    HttpValue::Text(text) => query.push(name, text),
                    HttpValue::Secret(of) => {
                        query.push(name, &format!("{}{}", of.prefix, secret(&of.secret)?));
                    }
                    HttpValue::Input(value) => {
                        query.add(name, &value.input, input.get(&value.input))?;
                    }
                }
            }
        }
    }
    for (name, value) in fields(spec.query_map.as_ref(), input) {
        query.add(name, spec.query_map.as_deref().unwrap_or_default(), Some(value))?;
    }
    Ok(query.url)
}

/// A URL to whose query something is added.
struct Query {
    url: String,
    sign: char,
}

impl Query {
    fn push(&mut self, name: &str, value: &str) {
        self.url.push(self.sign);
        self.url.push_str(&format!("{}={}", encode(name), encode(value)));
        self.sign = '&';
    }

    /// What `property` holds: nothing, one value, or several under one name.
    fn add(
        &mut self,
        name: &str,
        property: &str,
        value: Option<&Value>,
    ) -> Result<(), HandlerError> {
        let values = match value {
            None | Some(Value::Null) => return Ok(()),
            Some(Value::Array(items)) => items.as_slice(),
            Some(one) => std::slice::from_ref(one),
        };
        for value in values {
            self.push(name, &scalar(property, value)?);
        }
        Ok(())
    }
}

fn body(
    spec: &HttpSpec,
    input: &Value,
    secret: LookUp<'_>,
) -> Result<(Option<&'static str>, Vec<u8>), HandlerError> {
    if let Some(name) = &spec.text
        && let Some(text) = input.get(name).filter(|value| !value.is_null())
    {
        if let Some(HttpBody::Property(other)) = &spec.body
            && input.get(other).is_some()
        {
            let problem = format!("a request has one body: give `{other}` or `{name}`");
            return Err(HandlerError::input(problem));
        }
        let text = scalar(name, text)?;
        return Ok((Some("text/plain; charset=utf-8"), text.into_bytes()));
    }
    let value = match &spec.body {
        None => None,
        Some(body) => body.value(input, secret)?,
    };
    match value {
        None => Ok((None, Vec::new())),
        Some(value) => {
            let bytes = serde_json::to_vec(&value).map_err(HandlerError::failed)?;
            Ok((Some("application/json"), bytes))
        }
    }
}

/// The fields of the object that a property is.
fn fields<'a>(
    name: Option<&String>,
    input: &'a Value,
) -> impl Iterator<Item = (&'a String, &'a Value)> {
    let found = name.and_then(|name| input.get(name)).and_then(Value::as_object);
    found.into_iter().flat_map(Map::iter).filter(|(_, value)| !value.is_null())
}

fn scalar(name: &str, value: &Value) -> Result<String, HandlerError> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(flag) => Ok(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => {
            let secret = value.get("secret").is_some();
            let why = if secret { "; a contract names secrets, and an input does not" } else { "" };
            Err(HandlerError::input(format!("`{name}` is no text, number or boolean{why}")))
        }
    }
}

/// Percent-encodes everything but RFC 3986's unreserved characters.
fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}
