//! Sending: one request, and redirects that stay at home.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lictor_executor::HandlerError;
use serde_json::Value;
use ureq::http;
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{ConnectionDetails, Connector, DefaultConnector, Transport};

use super::answer::answer;
use super::reach::Resolving;
use super::roots::Roots;
use crate::masked::Mask;

/// How often a redirect on the same host is followed.
const MAX_REDIRECTS: usize = 5;

/// A request without an answer that counts.
pub(super) struct Failed {
    pub(super) error: HandlerError,
    /// Whether another attempt may help.
    pub(super) again: bool,
}

fn definite(message: impl std::fmt::Display) -> Failed {
    Failed { error: HandlerError::failed(message), again: false }
}

/// A request that is ready to go.
pub(super) struct Prepared {
    pub(super) request: http::Request<Vec<u8>>,
    pub(super) mask: Mask,
    pub(super) limit: u64,
    pub(super) safe: bool,
    pub(super) resolver: Resolving<DefaultResolver>,
    pub(super) roots: Roots,
    pub(super) timeout: Duration,
}

/// A request on its way.
pub(super) struct Exchange {
    agent: ureq::Agent,
    connected: Arc<AtomicBool>,
    request: http::Request<Vec<u8>>,
    mask: Mask,
    limit: u64,
    safe: bool,
}

/// Closes the connection of a request when it is dropped: whoever wanted the answer is gone.
pub(super) struct Close(Option<ureq::Agent>);

impl Drop for Close {
    fn drop(&mut self) {
        if let Some(agent) = self.0.take() {
            agent.shutdown();
        }
    }
}

impl Prepared {
    pub(super) fn exchange(self) -> Exchange {
        let Self { request, mask, limit, safe, resolver, roots, timeout } = self;
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(timeout))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .tls_config(roots.tls())
            .build();
        let connected = Arc::new(AtomicBool::new(false));
        let connector =
            Telling { inner: DefaultConnector::default(), connected: Arc::clone(&connected) };
        let agent = ureq::Agent::with_parts(config, connector, resolver);
        Exchange { agent, connected, request, mask, limit, safe }
    }
}

impl Exchange {
    pub(super) fn close(&self) -> Close {
        Close(Some(self.agent.clone()))
    }

    pub(super) fn send(self) -> Result<Value, Failed> {
        let Self { agent, connected, mut request, mask, limit, safe } = self;
        for _ in 0..=MAX_REDIRECTS {
            let origin = request.uri().clone();
            let again = safe.then(|| request.clone());
            let response = agent
                .run(request)
                .map_err(|error| unsent(&error, connected.load(Ordering::Acquire), safe, &mask))?;
            let next = again.filter(|_| response.status().is_redirection());
            let Some(next) = next else { return answer(response, limit, safe, &mask) };
            request = redirected(next, &response, &origin)?;
        }
        Err(definite("it was redirected too often"))
    }
}

/// No answer came. Before there is a connection, and with TLS one to whom it says that it is,
/// nothing was sent.
fn unsent(error: &ureq::Error, connected: bool, safe: bool, mask: &Mask) -> Failed {
    let message = said(error, mask);
    let error = if connected && !safe {
        HandlerError::unknown(format!("no answer came: {message}"))
    } else {
        HandlerError::failed(message)
    };
    Failed { error, again: true }
}

/// What the client says, without what may be a secret.
pub(super) fn said(error: &ureq::Error, mask: &Mask) -> String {
    match error {
        ureq::Error::HostNotFound => {
            "the host is not found, or has only private addresses that the contract does not name, \
             and neither does the policy"
                .to_owned()
        }
        // It quotes the URL, which may hold a secret.
        ureq::Error::BadUri(_) => "the URL is none that the client takes".to_owned(),
        other => mask.text(&other.to_string()),
    }
}

/// Follows a redirect to the same scheme, host and port, and to nowhere else.
fn redirected(
    request: http::Request<Vec<u8>>,
    response: &http::Response<ureq::Body>,
    origin: &http::Uri,
) -> Result<http::Request<Vec<u8>>, Failed> {
    asked_elsewhere(request, response, origin).map_err(definite)
}

/// The same; why not, in words.
pub(super) fn asked_elsewhere(
    mut request: http::Request<Vec<u8>>,
    response: &http::Response<ureq::Body>,
    origin: &http::Uri,
) -> Result<http::Request<Vec<u8>>, &'static str> {
    let to = response.headers().get("location").and_then(|value| value.to_str().ok());
    let to = to.ok_or("it was redirected to nowhere")?;
    let (scheme, authority) = (origin.scheme_str().unwrap_or_default(), origin.authority());
    let base = format!("{scheme}://{}", authority.map_or("", |authority| authority.as_str()));
    let target = if to.starts_with('/') && !to.starts_with("//") {
        format!("{base}{to}")
    } else {
        to.to_owned()
    };
    let target: http::Uri = target.parse().map_err(|_| "it was redirected to what is no URL")?;
    if target.scheme() != origin.scheme() || target.authority() != authority {
        return Err("it was redirected to another host, and that is not followed");
    }
    *request.uri_mut() = target;
    Ok(request)
}

/// Connects, and tells when it has: from then on something may have been sent.
#[derive(Debug)]
pub(super) struct Telling {
    pub(super) inner: DefaultConnector,
    pub(super) connected: Arc<AtomicBool>,
}

impl Connector for Telling {
    type Out = Box<dyn Transport>;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<()>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        let made = self.inner.connect(details, chained)?;
        self.connected.fetch_or(made.is_some(), Ordering::AcqRel);
        Ok(made)
    }
}
