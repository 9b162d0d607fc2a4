//! HTTP: one request a call, as the contract writes it, and its answer.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lictor_capability::{
    Contract, Effects, HandlerSpec, HttpHeader, HttpSpec, Retry, UndoScope, UndoStrategy,
};
use lictor_executor::{Granted, Handler, HandlerError, HandlerFactory, Request};
use serde_json::{Value, json};
use ureq::http;
use ureq::unversioned::transport::DefaultConnector;

use crate::address::PublicOnly;
use crate::masked::without;
use crate::secret::SecretSource;

/// The most that an answer may hold, unless its contract says.
const MAX_BYTES: u64 = 4 << 20;
/// How often a redirect on the same host is followed.
const MAX_REDIRECTS: usize = 5;

/// Makes handlers of contracts whose handler is `http`.
#[derive(Debug, Clone)]
pub struct HttpHandlers {
    secrets: Arc<dyn SecretSource>,
}

impl HttpHandlers {
    /// With somebody who knows secrets.
    #[must_use]
    pub fn new(secrets: Arc<dyn SecretSource>) -> Self {
        Self { secrets }
    }
}

impl HandlerFactory for HttpHandlers {
    fn handler(&self, contract: &Contract) -> Option<Arc<dyn Handler>> {
        let HandlerSpec::Http(spec) = &contract.handler else { return None };
        Some(Arc::new(Http {
            spec: spec.as_ref().clone(),
            secrets: Arc::clone(&self.secrets),
            named: contract.effects.net.clone(),
            timeout: contract.timeout.as_duration(),
            // Only where a second call does no further harm; a safe method never does.
            retry: (contract.idempotent || spec.method.is_safe()).then(|| contract.retry.clone()),
            undo: match (spec.method.is_safe(), contract.undo.strategy) {
                (true, _) => UndoScope::Full,
                (false, UndoStrategy::Compensate) => UndoScope::Partial,
                (false, UndoStrategy::Automatic | UndoStrategy::None) => UndoScope::None,
            },
        }))
    }
}

struct Http {
    spec: HttpSpec,
    secrets: Arc<dyn SecretSource>,
    named: Vec<String>,
    timeout: Duration,
    retry: Option<Retry>,
    undo: UndoScope,
}

#[async_trait]
impl Handler for Http {
    fn describe(&self, request: Request<'_>) -> Result<Effects, HandlerError> {
        // What cannot be put into a URL is said before anybody is asked.
        self.url(request.input())?;
        let host = self.spec.host().map_err(HandlerError::input)?;
        Ok(Effects { hosts: vec![host], undo: self.undo, ..Effects::default() })
    }

    async fn run(&self, granted: Granted<'_>) -> Result<Value, HandlerError> {
        let attempts = self.retry.as_ref().map_or(1, |retry| retry.attempts.max(1));
        let mut attempt = 1;
        loop {
            let prepared = self.prepare(granted.input())?;
            // The client blocks; on a thread of its own, so that limits of time end the wait.
            let sent = tokio::task::spawn_blocking(move || prepared.send()).await;
            let sent = sent.map_err(|error| HandlerError::unknown(error.to_string()))?;
            match (sent, &self.retry) {
                (Err(failed), Some(retry)) if failed.again && attempt < attempts => {
                    tokio::time::sleep(retry.pause(attempt)).await;
                    attempt += 1;
                }
                (sent, _) => return sent.map_err(|failed| failed.error),
            }
        }
    }
}

/// A request without an answer that counts.
struct Failed {
    error: HandlerError,
    /// Whether another attempt may help.
    again: bool,
}

impl Http {
    fn url(&self, input: &Value) -> Result<String, HandlerError> {
        let mut url = String::with_capacity(self.spec.url.len() + 32);
        let mut rest = self.spec.url.as_str();
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
        let mut sign = if url.contains('?') { '&' } else { '?' };
        for name in &self.spec.query {
            let values = match input.get(name) {
                None | Some(Value::Null) => continue,
                Some(Value::Array(items)) => items.as_slice(),
                Some(one) => std::slice::from_ref(one),
            };
            for value in values {
                url.push(sign);
                url.push_str(&format!("{}={}", encode(name), encode(&scalar(name, value)?)));
                sign = '&';
            }
        }
        Ok(url)
    }

    fn prepare(&self, input: &Value) -> Result<Prepared, HandlerError> {
        let mut request = http::Request::builder()
            .method(self.spec.method.as_str())
            .uri(self.url(input)?)
            .header("user-agent", "lictor");
        let mut secrets = Vec::new();
        for (name, value) in &self.spec.headers {
            let value = match value {
                HttpHeader::Text(text) => text.clone(),
                HttpHeader::Secret(header) => {
                    let secret = self.secrets.secret(&header.secret).ok_or_else(|| {
                        HandlerError::failed(format!("there is no secret `{}`", header.secret))
                    })?;
                    let value = format!("{}{secret}", header.prefix);
                    secrets.push(secret);
                    value
                }
            };
            request = request.header(name, value);
        }
        for (name, property) in &self.spec.header_inputs {
            if let Some(value) = input.get(property).filter(|value| !value.is_null()) {
                request = request.header(name, scalar(property, value)?);
            }
        }
        let body = self.spec.body.as_ref().and_then(|name| input.get(name));
        let body = match body {
            None => Vec::new(),
            Some(value) => {
                request = request.header("content-type", "application/json");
                serde_json::to_vec(value).map_err(HandlerError::failed)?
            }
        };
        // A builder's error may quote a header, and with it a secret.
        let request = request
            .body(body)
            .map_err(|_| HandlerError::input("the request holds what HTTP does not take"))?;
        let limit = self.spec.max_bytes.map_or(MAX_BYTES, |bytes| bytes.as_bytes());
        Ok(Prepared {
            request,
            secrets,
            limit,
            safe: self.spec.method.is_safe(),
            resolver: PublicOnly::new(&self.named),
            timeout: self.timeout,
        })
    }
}

/// A request that is ready to go.
struct Prepared {
    request: http::Request<Vec<u8>>,
    secrets: Vec<String>,
    limit: u64,
    safe: bool,
    resolver: PublicOnly,
    timeout: Duration,
}

impl Prepared {
    fn send(self) -> Result<Value, Failed> {
        let Self { request, secrets, limit, safe, resolver, timeout } = self;
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(timeout))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .build();
        let agent = ureq::Agent::with_parts(config, DefaultConnector::default(), resolver);
        let mut request = request;
        for _ in 0..=MAX_REDIRECTS {
            let origin = request.uri().clone();
            let again = safe.then(|| request.clone());
            let response = agent.run(request).map_err(|error| unsent(&error, safe))?;
            let next = again.filter(|_| response.status().is_redirection());
            let Some(next) = next else { return answer(response, limit, safe, &secrets) };
            request = redirected(next, &response, &origin)?;
        }
        Err(definite("it was redirected too often"))
    }
}

fn definite(message: impl std::fmt::Display) -> Failed {
    Failed { error: HandlerError::failed(message), again: false }
}

/// No answer came. Whether the request arrived is known only where nobody was reached.
fn unsent(error: &ureq::Error, safe: bool) -> Failed {
    let reached = !matches!(
        error,
        ureq::Error::HostNotFound
            | ureq::Error::ConnectionFailed
            | ureq::Error::BadUri(_)
            | ureq::Error::Tls(_)
    ) && !matches!(error, ureq::Error::Io(io) if io.kind() == std::io::ErrorKind::ConnectionRefused);
    let message = match error {
        ureq::Error::HostNotFound => {
            "the host is not found, or has only addresses that the contract does not name"
                .to_owned()
        }
        other => other.to_string(),
    };
    let error = if reached && !safe {
        HandlerError::unknown(format!("no answer came: {message}"))
    } else {
        HandlerError::failed(message)
    };
    Failed { error, again: true }
}

/// Follows a redirect to the same scheme, host and port, and to nowhere else.
fn redirected(
    mut request: http::Request<Vec<u8>>,
    response: &http::Response<ureq::Body>,
    origin: &http::Uri,
) -> Result<http::Request<Vec<u8>>, Failed> {
    let to = response.headers().get("location").and_then(|value| value.to_str().ok());
    let to = to.ok_or_else(|| definite("it was redirected to nowhere"))?;
    let (scheme, authority) = (origin.scheme_str().unwrap_or_default(), origin.authority());
    let base = format!("{scheme}://{}", authority.map_or("", |authority| authority.as_str()));
    let target = if to.starts_with('/') && !to.starts_with("//") {
        format!("{base}{to}")
    } else {
        to.to_owned()
    };
    let target: http::Uri =
        target.parse().map_err(|_| definite("it was redirected to what is no URL"))?;
    if target.scheme() != origin.scheme() || target.authority() != authority {
        return Err(definite("it was redirected to another host, and that is not followed"));
    }
    *request.uri_mut() = target;
    Ok(request)
}

fn answer(
    mut response: http::Response<ureq::Body>,
    limit: u64,
    safe: bool,
    secrets: &[String],
) -> Result<Value, Failed> {
    let status = response.status().as_u16();
    let kind = response.headers().get("content-type").and_then(|value| value.to_str().ok());
    let is_json = kind.is_some_and(|kind| {
        let kind = kind.split(';').next().unwrap_or_default().trim();
        kind == "application/json" || kind.ends_with("+json")
    });
    let read = response.body_mut().with_config().limit(limit).read_to_vec();
    let bytes = read.map_err(|error| {
        let message = format!("the answer ({status}) could not be read to its end: {error}");
        let unknown = !safe;
        let error =
            if unknown { HandlerError::unknown(message) } else { HandlerError::failed(message) };
        Failed { error, again: false }
    })?;
    if !(200..300).contains(&status) {
        let again = matches!(status, 429 | 502 | 503 | 504);
        let message = format!("the answer is {status}");
        // The server says that it refused (4xx), or that it came to grief on the way.
        let error = if status >= 500 && !safe {
            HandlerError::unknown(message)
        } else {
            HandlerError::failed(message)
        };
        return Err(Failed { error, again });
    }
    let body = if bytes.is_empty() {
        Value::Null
    } else if is_json {
        serde_json::from_slice(&bytes)
            .map_err(|_| definite("the answer says that it is JSON, and is not"))?
    } else {
        let text = String::from_utf8(bytes).map_err(|_| definite("the answer is no text"))?;
        Value::String(text)
    };
    Ok(json!({ "status": status, "body": without(body, secrets) }))
}

fn scalar(name: &str, value: &Value) -> Result<String, HandlerError> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(flag) => Ok(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => {
            Err(HandlerError::input(format!("`{name}` is no text, number or boolean")))
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
