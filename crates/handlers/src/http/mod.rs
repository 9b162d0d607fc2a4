//! HTTP: one request a call, as the contract writes it, and its answer.

mod answer; // what comes back, without the secrets that went out
mod client; // for protocols of their own over HTTP
mod exchange; // sending, and following at home
mod reach; // which addresses may be talked to
mod request; // from a contract and an input to a request
mod roots; // whom TLS trusts

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lictor_capability::{Contract, Effects, HandlerSpec, HttpSpec, Retry, UndoScope, UndoStrategy};
use lictor_executor::{Granted, Handler, HandlerError, HandlerFactory, Request};
use serde_json::Value;

use crate::masked::Mask;
use crate::secret::SecretSource;
pub use client::{HttpAnswer, HttpAsk, HttpClient, HttpLost};
use exchange::Prepared;
use reach::Reach;
pub use reach::{NoPrivateHosts, PrivateHosts};
use request::Built;
use roots::Roots;
pub use roots::RootsError;

/// The most that an answer may hold, unless its contract says.
const MAX_BYTES: u64 = 4 << 20;

/// Makes handlers of contracts whose handler is `http`.
#[derive(Debug, Clone)]
pub struct HttpHandlers {
    secrets: Arc<dyn SecretSource>,
    private: Arc<dyn PrivateHosts>,
    roots: Roots,
}

impl HttpHandlers {
    /// With somebody who knows secrets. Private hosts are those that contracts name, and TLS
    /// trusts the public certificate authorities.
    #[must_use]
    pub fn new(secrets: Arc<dyn SecretSource>) -> Self {
        Self { secrets, private: Arc::new(NoPrivateHosts), roots: Roots::public() }
    }

    /// With somebody who knows which private hosts may be talked to, beside those that a contract
    /// names.
    #[must_use]
    pub fn with_private_hosts(mut self, private: Arc<dyn PrivateHosts>) -> Self {
        self.private = private;
        self
    }

    /// Trusts the certificate authorities of a PEM text, and no others.
    ///
    /// # Errors
    /// When the text holds no certificate, or one that cannot be read.
    pub fn with_roots(mut self, pem: &[u8]) -> Result<Self, RootsError> {
        self.roots = Roots::of(pem)?;
        Ok(self)
    }

    /// A client for somebody who speaks a protocol of its own to one URL. Its host counts as named by a
    /// contract: by number, or as `localhost`, it may be a private one.
    ///
    /// # Errors
    /// When the URL has no host that is written in one way only.
    pub fn client(&self, url: &str) -> Result<HttpClient, String> {
        HttpClient::new(url, Arc::clone(&self.private), self.roots.clone())
    }
}

impl HandlerFactory for HttpHandlers {
    fn handler(&self, contract: &Contract) -> Option<Arc<dyn Handler>> {
        let HandlerSpec::Http(spec) = &contract.handler else { return None };
        Some(Arc::new(Http {
            spec: spec.as_ref().clone(),
            secrets: Arc::clone(&self.secrets),
            private: Arc::clone(&self.private),
            roots: self.roots.clone(),
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
    private: Arc<dyn PrivateHosts>,
    roots: Roots,
    named: Vec<String>,
    timeout: Duration,
    retry: Option<Retry>,
    undo: UndoScope,
}

#[async_trait]
impl Handler for Http {
    fn describe(&self, request: Request<'_>) -> Result<Effects, HandlerError> {
        // What cannot be sent is said before anybody is asked. No secret is looked up for that.
        let mut nothing = |_: &str| Ok("secret".to_owned());
        Built::new(&self.spec, request.input(), &mut nothing)?.request()?;
        let origin = self.spec.origin(request.input()).map_err(HandlerError::input)?;
        self.reach().check(&origin)?;
        Ok(Effects { hosts: vec![origin.effect()], undo: self.undo, ..Effects::default() })
    }

    async fn run(&self, granted: Granted<'_>) -> Result<Value, HandlerError> {
        let attempts = self.retry.as_ref().map_or(1, |retry| retry.attempts.max(1));
        let mut attempt = 1;
        loop {
            let exchange = self.prepare(granted.input())?.exchange();
            let close = exchange.close();
            // The client blocks; on a thread of its own, so that limits of time end the wait.
            let mut sending = tokio::task::spawn_blocking(move || exchange.send());
            let (sent, wanted) = tokio::select! {
                biased;
                sent = &mut sending => (sent, true),
                () = granted.unwanted() => {
                    drop(close);
                    (sending.await, false)
                }
            };
            let sent = sent.map_err(|error| HandlerError::unknown(error.to_string()))?;
            match (sent, &self.retry) {
                (Err(failed), Some(retry)) if wanted && failed.again && attempt < attempts => {
                    tokio::select! {
                        biased;
                        () = granted.unwanted() => return Err(failed.error),
                        () = tokio::time::sleep(retry.pause(attempt)) => attempt += 1,
                    }
                }
                (sent, _) => return sent.map_err(|failed| failed.error),
            }
        }
    }

    fn stops(&self) -> bool {
        true
    }
}

impl Http {
    fn reach(&self) -> Reach {
        Reach::new(&self.named, &self.private.private_hosts(), self.spec.url_input().is_some())
    }

    fn prepare(&self, input: &Value) -> Result<Prepared, HandlerError> {
        let mut secrets = Vec::new();
        let mut look_up = |name: &str| {
            let found = self.secrets.secret(name);
            let secret = found
                .ok_or_else(|| HandlerError::failed(format!("there is no secret `{name}`")))?;
            secrets.push(secret.clone());
            Ok(secret)
        };
        let request = Built::new(&self.spec, input, &mut look_up)?.request()?;
        let origin = self.spec.origin(input).map_err(HandlerError::input)?;
        let reach = self.reach();
        // The policy may have changed since it was described.
        reach.check(&origin)?;
        Ok(Prepared {
            request,
            mask: Mask::new(&secrets),
            limit: self.spec.max_bytes.map_or(MAX_BYTES, |bytes| bytes.as_bytes()),
            safe: self.spec.method.is_safe(),
            resolver: reach.resolver(),
            roots: self.roots.clone(),
            timeout: self.timeout,
        })
    }
}
