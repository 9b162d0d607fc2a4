//! Requests of whoever speaks a protocol of its own over HTTP to one URL: the same addresses, the same
//! trust and the same client as requests of contracts, with answers that may go on for long.

use std::io::{self, Read as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use lictor_capability::HttpOrigin;
use lictor_executor::HandlerError;
use tokio::sync::{mpsc, oneshot};
use ureq::http;
use ureq::unversioned::transport::DefaultConnector;

use super::exchange::{Telling, asked_elsewhere, said};
use super::reach::{PrivateHosts, Reach};
use super::roots::Roots;
use crate::masked::Mask;

/// How long it may take to find a host and to be connected to it.
const CONNECT: Duration = Duration::from_secs(10);
/// How long it may take to say what is asked.
const SEND: Duration = Duration::from_secs(30);
/// A connection that was idle for longer is not used again: servers close theirs after five seconds,
/// and what is sent into the end of one may have been heard or not.
const IDLE: Duration = Duration::from_secs(3);
/// So many connections wait for the next request.
const KEPT: usize = 4;
/// So many redirects on the same host are followed.
const MAX_REDIRECTS: usize = 5;
/// So many parts of an answer lie ready before its sender has to wait.
const AHEAD: usize = 8;

/// Sends requests to one URL. Cheap to clone.
#[derive(Debug, Clone)]
pub struct HttpClient {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    url: String,
    origin: HttpOrigin,
    private: Arc<dyn PrivateHosts>,
    roots: Roots,
    idle: Mutex<Vec<Line>>,
}

/// A request without an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct HttpLost {
    /// Why.
    pub why: String,
    /// Whether the other side may have heard some of it.
    pub sent: bool,
}

/// A request: a method, headers, a body.
#[derive(Debug, Clone, Default)]
pub struct HttpAsk {
    /// `GET`, `POST`, `DELETE`, …
    pub method: &'static str,
    /// Headers, with what they hold; that may be a secret.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// An answer that has begun. Dropping it closes its connection.
#[derive(Debug)]
pub struct HttpAnswer {
    status: u16,
    headers: http::HeaderMap,
    body: mpsc::Receiver<io::Result<Vec<u8>>>,
    _close: Closing,
}

/// A connection, and what it was made for.
#[derive(Debug)]
struct Line {
    agent: ureq::Agent,
    connected: Arc<AtomicBool>,
    /// The private hosts that it may reach.
    private: Vec<String>,
    used: bool,
}

/// Closes a connection, unless it was given back.
#[derive(Debug, Clone)]
struct Close(Arc<Mutex<Option<ureq::Agent>>>);

impl Close {
    fn take(&self) -> Option<ureq::Agent> {
        // It is exchanged whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Closes it when whoever waits for the answer is gone.
#[derive(Debug)]
struct Closing(Close);

impl Drop for Closing {
    fn drop(&mut self) {
        if let Some(agent) = self.0.take() {
            agent.shutdown();
        }
    }
}

impl HttpClient {
    pub(super) fn new(
        url: &str,
        private: Arc<dyn PrivateHosts>,
        roots: Roots,
    ) -> Result<Self, String> {
        let origin = HttpOrigin::of(url)?;
        let (url, idle) = (url.to_owned(), Mutex::default());
        Ok(Self { inner: Arc::new(Inner { url, origin, private, roots, idle }) })
    }

    /// Refuses what would be refused when it is asked: a private host that is not named, and plain
    /// `http://` to any other.
    ///
    /// # Errors
    /// When its host is none that may be reached.
    pub fn check(&self) -> Result<(), HandlerError> {
        self.inner.reach(&self.inner.private.private_hosts()).check(&self.inner.origin)
    }

    /// Sends a request, and comes back when the answer has begun. A redirect on the same host that says
    /// to ask the same again elsewhere is followed.
    ///
    /// # Errors
    /// When no answer came. It quotes no header.
    pub async fn send(&self, ask: HttpAsk) -> Result<HttpAnswer, HttpLost> {
        let unsent = |why: String| HttpLost { why, sent: false };
        // The policy may have changed since.
        let private = self.inner.private.private_hosts();
        let reach = self.inner.reach(&private);
        reach.check(&self.inner.origin).map_err(|error| unsent(error.to_string()))?;
        let mut request = http::Request::builder().method(ask.method).uri(&self.inner.url);
        for (name, value) in &ask.headers {
            request = request.header(name, value);
        }
        // A builder's error may quote a header, and with it a secret.
        let request = request.body(ask.body);
        let request =
            request.map_err(|_| unsent("the request holds what HTTP does not take".into()))?;
        let line = self.inner.line(private, reach);
        let close = Closing(Close(Arc::new(Mutex::new(Some(line.agent.clone())))));
        let (tell, told) = oneshot::channel();
        let inner = Arc::clone(&self.inner);
        let ours = close.0.clone();
        // The client blocks; on a thread of its own, for as long as the answer goes on.
        tokio::task::spawn_blocking(move || inner.exchange(line, request, tell, &ours));
        let gone = || HttpLost { why: "whoever asked ended".to_owned(), sent: true };
        let (status, headers, body) = told.await.map_err(|_| gone())??;
        Ok(HttpAnswer { status, headers, body, _close: close })
    }
}

type Head = (u16, http::HeaderMap, mpsc::Receiver<io::Result<Vec<u8>>>);

impl Inner {
    fn reach(&self, private: &[String]) -> Reach {
        Reach::new(&[self.origin.effect()], private, true)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Line>> {
        // Whole connections come and go.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection that waits, or a new one.
    fn line(&self, private: Vec<String>, reach: Reach) -> Line {
        let mut idle = self.idle();
        // What the policy opened once is not reached for ever.
        idle.retain(|line| line.private == private);
        if let Some(line) = idle.pop() {
            line.connected.store(false, Ordering::Release);
            return line;
        }
        drop(idle);
        let config = ureq::Agent::config_builder()
            .timeout_resolve(Some(CONNECT))
            .timeout_connect(Some(CONNECT))
            .timeout_send_request(Some(SEND))
            .timeout_send_body(Some(SEND))
            .max_idle_age(IDLE)
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .tls_config(self.roots.tls())
            .build();
        let connected = Arc::new(AtomicBool::new(false));
        let connector =
            Telling { inner: DefaultConnector::default(), connected: Arc::clone(&connected) };
        let agent = ureq::Agent::with_parts(config, connector, reach.resolver());
        Line { agent, connected, private, used: false }
    }

    fn exchange(
        &self,
        mut line: Line,
        request: http::Request<Vec<u8>>,
        tell: oneshot::Sender<Result<Head, HttpLost>>,
        close: &Close,
    ) {
        let response = match answered(&line, request) {
            Ok(response) => response,
            Err(lost) => {
                // Whoever asked may be gone.
                drop(tell.send(Err(lost)));
                return;
            }
        };
        let (parts, body) = response.into_parts();
        let (give, given) = mpsc::channel(AHEAD);
        if tell.send(Ok((parts.status.as_u16(), parts.headers, given))).is_err() {
            return;
        }
        let mut reader = body.into_reader();
        let mut buffer = vec![0_u8; 16 << 10];
        loop {
            let part = match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => Ok(buffer.get(..n).unwrap_or_default().to_vec()),
                Err(error) => Err(error),
            };
            let failed = part.is_err();
            if give.blocking_send(part).is_err() || failed {
                return;
            }
        }
        drop(reader);
        // Nobody closes it any more; before the end of the answer is known.
        if close.take().is_some() {
            line.used = true;
            let mut idle = self.idle();
            if idle.len() < KEPT {
                idle.push(line);
            }
        }
        drop(give);
    }
}

/// The answer, after redirects.
fn answered(
    line: &Line,
    mut request: http::Request<Vec<u8>>,
) -> Result<http::Response<ureq::Body>, HttpLost> {
    for _ in 0..=MAX_REDIRECTS {
        let next = request.clone();
        let response = line.agent.run(request).map_err(|error| HttpLost {
            why: said(&error, &Mask::default()),
            // A connection that was there before tells nothing.
            sent: line.used || line.connected.load(Ordering::Acquire),
        })?;
        if !matches!(response.status().as_u16(), 307 | 308) {
            return Ok(response);
        }
        let origin = next.uri().clone();
        request = asked_elsewhere(next, &response, &origin)
            .map_err(|why| HttpLost { why: why.to_owned(), sent: false })?;
    }
    Err(HttpLost { why: "it was redirected too often".to_owned(), sent: false })
}

impl HttpAnswer {
    /// The status.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.status
    }

    /// A header, if it is there and a text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The next part of the body; `None` at its end.
    pub fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Vec<u8>>>> {
        self.body.poll_recv(cx)
    }

    /// All of the body.
    ///
    /// # Errors
    /// When it breaks off, or holds more than `limit` bytes.
    pub async fn whole(mut self, limit: usize) -> io::Result<Vec<u8>> {
        let mut whole = Vec::new();
        while let Some(part) = self.body.recv().await {
            whole.extend(part?);
            if whole.len() > limit {
                let why = format!("the answer holds more than {limit} bytes");
                return Err(io::Error::new(io::ErrorKind::InvalidData, why));
            }
        }
        Ok(whole)
    }
}
