//! Servers that are reached by a URL: the protocol's streamable HTTP, over the client that requests of
//! capabilities go by.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::StatusCode;
use hyper::body::{Body, Bytes, Frame};
use hyper::header::{HeaderName, HeaderValue};
use lictor::handlers::{HttpAnswer, HttpAsk, HttpClient, HttpLost};
use rmcp::ServiceError;
use rmcp::model::{ClientJsonRpcMessage, JsonRpcError, ServerJsonRpcMessage};
use rmcp::transport::streamable_http_client::{
    SseError, StreamableHttpClient, StreamableHttpClientTransportConfig, StreamableHttpError,
    StreamableHttpPostResponse,
};
use rmcp::transport::{DynamicTransportError, StreamableHttpClientTransport};
use sse_stream::{Sse, SseStream};
use tokio::sync::watch;

/// So much may an answer hold that is no stream, as on standard output.
const MAX_ANSWER: usize = 16 << 20;
/// So much may one event of a stream hold.
const MAX_EVENT: usize = 16 << 20;

/// How a server is reached, with what it is sent. That may be secret, and is shown nowhere.
#[derive(Clone)]
pub(super) struct Dial {
    client: HttpClient,
    url: Arc<str>,
    headers: Arc<Vec<(String, String)>>,
    /// Why it is not reached any more.
    lost: Arc<watch::Sender<Option<String>>>,
}

/// A request that nobody answered as the protocol has it.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{why}")]
pub(super) struct Unanswered {
    why: String,
    /// Whether it may have been done all the same.
    perhaps: bool,
}

impl std::fmt::Debug for Dial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dial").field("url", &self.url).finish_non_exhaustive()
    }
}

type Failed = StreamableHttpError<Unanswered>;

impl Dial {
    pub(super) fn new(client: HttpClient, url: &str, headers: Vec<(String, String)>) -> Self {
        let lost = Arc::new(watch::Sender::new(None));
        Self { client, url: url.into(), headers: Arc::new(headers), lost }
    }

    /// A connection of its own, which knows nothing of one before.
    pub(super) fn anew(&self) -> Self {
        Self { lost: Arc::new(watch::Sender::new(None)), ..self.clone() }
    }

    pub(super) fn transport(&self) -> StreamableHttpClientTransport<Self> {
        let mut config = StreamableHttpClientTransportConfig::with_uri(Arc::clone(&self.url));
        config = config.max_sse_event_size(MAX_EVENT);
        // What begins anew is looked at anew, and nothing is asked twice.
        config.reinit_on_expired_session = false;
        StreamableHttpClientTransport::with_client(self.clone(), config)
    }

    /// Why it is not reached any more, once that is so.
    pub(super) fn lost(&self) -> watch::Receiver<Option<String>> {
        self.lost.subscribe()
    }

    fn lose(&self, why: &str) {
        self.lost.send_if_modified(|lost| {
            let first = lost.is_none();
            lost.get_or_insert_with(|| why.to_owned());
            first
        });
    }

    async fn ask(
        &self,
        method: &'static str,
        body: Vec<u8>,
        accept: &'static str,
        session: Option<&str>,
        more: HashMap<HeaderName, HeaderValue>,
    ) -> Result<HttpAnswer, Failed> {
        let mut headers: Vec<(String, String)> = self.headers.as_ref().clone();
        let mut add = |name: &str, value: &str| headers.push((name.to_owned(), value.to_owned()));
        add("user-agent", "lictor");
        if !accept.is_empty() {
            add("accept", accept);
        }
        if !body.is_empty() {
            add("content-type", "application/json");
        }
        session.into_iter().for_each(|session| add("mcp-session-id", session));
        for (name, value) in &more {
            add(name.as_str(), value.to_str().unwrap_or_default());
        }
        let asked = self.client.send(HttpAsk { method, headers, body }).await;
        asked.map_err(|HttpLost { why, sent }| {
            self.lose(&why);
            StreamableHttpError::Client(Unanswered { why, perhaps: sent })
        })
    }

    /// A status that is no answer of the protocol.
    fn refused(&self, status: u16, had_session: bool) -> Failed {
        let why = match status {
            401 | 403 => format!("HTTP {status}: it wants to know who asks, by a header"),
            404 if had_session => {
                let why = "it does not know the session any more";
                self.lose(why);
                why.to_owned()
            }
            other => format!("HTTP {other}"),
        };
        // What it did not take was not done.
        StreamableHttpError::Client(Unanswered { why, perhaps: !(400..500).contains(&status) })
    }

    async fn message(answer: HttpAnswer) -> Result<Vec<u8>, Failed> {
        let whole = answer.whole(MAX_ANSWER).await;
        whole.map_err(|error| {
            let why = format!("its answer broke off: {error}");
            StreamableHttpError::Client(Unanswered { why, perhaps: true })
        })
    }
}

impl StreamableHttpClient for Dial {
    type Error = Unanswered;

    async fn post_message(
        &self,
        _: Arc<str>,
        message: ClientJsonRpcMessage,
        session: Option<Arc<str>>,
        _: Option<String>,
        headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<StreamableHttpPostResponse, Failed> {
        let body = serde_json::to_vec(&message)?;
        let id = match &message {
            ClientJsonRpcMessage::Request(request) => Some(request.id.clone()),
            _ => None,
        };
        let accept = "application/json, text/event-stream";
        let answer = self.ask("POST", body, accept, session.as_deref(), headers).await?;
        let status = answer.status();
        if matches!(status, 202 | 204) {
            return Ok(StreamableHttpPostResponse::Accepted);
        }
        let known = answer.header("mcp-session-id").map(str::to_owned);
        let kind = answer.header("content-type").unwrap_or_default().to_ascii_lowercase();
        let good = StatusCode::from_u16(status).is_ok_and(|status| status.is_success());
        if good && kind.starts_with("text/event-stream") {
            return Ok(StreamableHttpPostResponse::Sse(events(answer), known));
        }
        let Some(id) = id else {
            // Whether it liked to be told is nothing to anybody.
            return match good {
                true => Ok(StreamableHttpPostResponse::Accepted),
                false => Err(self.refused(status, session.is_some())),
            };
        };
        let json = kind.starts_with("application/json");
        let said = Self::message(answer).await?;
        match serde_json::from_slice::<ServerJsonRpcMessage>(&said).ok().filter(|_| json) {
            Some(message) if good => Ok(StreamableHttpPostResponse::Json(message, known)),
            // An error of the protocol comes with a status of its own; who asked knows it by the id.
            Some(ServerJsonRpcMessage::Error(JsonRpcError { error, .. }))
                if !(status == 404 && session.is_some()) =>
            {
                let message = ServerJsonRpcMessage::error(error, Some(id));
                Ok(StreamableHttpPostResponse::Json(message, known))
            }
            _ if good => {
                let why = "what it answered is no message of the protocol".to_owned();
                Err(StreamableHttpError::Client(Unanswered { why, perhaps: true }))
            }
            _ => Err(self.refused(status, session.is_some())),
        }
    }

    async fn delete_session(
        &self,
        _: Arc<str>,
        session: Arc<str>,
        _: Option<String>,
        headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<(), Failed> {
        self.ask("DELETE", Vec::new(), "", Some(&session), headers).await.map(drop)
    }

    async fn get_stream(
        &self,
        _: Arc<str>,
        session: Option<Arc<str>>,
        last: Option<String>,
        _: Option<String>,
        mut headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<Events, Failed> {
        let last = last.and_then(|last| HeaderValue::from_str(&last).ok());
        headers.extend(last.map(|last| (HeaderName::from_static("last-event-id"), last)));
        let answer =
            self.ask("GET", Vec::new(), "text/event-stream", session.as_deref(), headers).await?;
        let stream = answer.header("content-type").unwrap_or_default();
        match answer.status() {
            200 if stream.to_ascii_lowercase().starts_with("text/event-stream") => {
                Ok(events(answer))
            }
            200 | 405 => Err(StreamableHttpError::ServerDoesNotSupportSse),
            other => Err(self.refused(other, session.is_some())),
        }
    }
}

type Events = Pin<Box<dyn futures_core::Stream<Item = Result<Sse, SseError>> + Send>>;

fn events(answer: HttpAnswer) -> Events {
    Box::pin(SseStream::new(Said { answer, size: 0, line_ended: false }))
}

/// The body of an answer, whose events are of a bounded size.
struct Said {
    answer: HttpAnswer,
    size: usize,
    line_ended: bool,
}

impl Body for Said {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        let Poll::Ready(part) = self.answer.poll_part(cx) else { return Poll::Pending };
        let Some(part) = part else { return Poll::Ready(None) };
        let part = part?;
        for byte in &part {
            match byte {
                // An empty line ends an event.
                b'\n' if self.line_ended => self.size = 0,
                b'\n' => self.line_ended = true,
                b'\r' => {}
                _ => {
                    self.size += 1;
                    self.line_ended = false;
                }
            }
        }
        if self.size > MAX_EVENT {
            let why = format!("an event holds more than {MAX_EVENT} bytes");
            let error = std::io::Error::new(std::io::ErrorKind::InvalidData, why);
            return Poll::Ready(Some(Err(error)));
        }
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(part)))))
    }
}

/// An error without the names of what is between us and the other side.
pub(super) fn plainly(error: &ServiceError) -> String {
    match error {
        ServiceError::TransportSend(error) => of_transport(error),
        other => other.to_string(),
    }
}

/// The same, of what carries messages.
pub(super) fn of_transport(error: &DynamicTransportError) -> String {
    match error.error.downcast_ref::<Failed>() {
        Some(StreamableHttpError::Client(Unanswered { why, .. })) => why.clone(),
        Some(other) => other.to_string(),
        None => error.to_string(),
    }
}

/// Whether a call without an answer was surely not done, and what the other side said.
pub(super) fn untaken(error: &ServiceError) -> Option<String> {
    let ServiceError::TransportSend(error) = error else { return None };
    match error.error.downcast_ref::<Failed>()? {
        StreamableHttpError::Client(Unanswered { why, perhaps: false }) => Some(why.clone()),
        _ => None,
    }
}
