//! A room for each principal: what is served in one is not seen from another. A protocol session
//! that was opened in one room does not exist in any other.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use hyper::Request;
use hyper::body::Incoming;
use lictor::context::{BoxFuture, Principal};
use rmcp::handler::server::ServerHandler;
use rmcp::transport::streamable_http_server::StreamableHttpService;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::tower::StreamableHttpServerConfig;
use tokio::task::JoinHandle;

use crate::door::Door;
use crate::http::HttpOptions;
use crate::http::front::Answer;

/// What is served in a room.
pub trait Serving: Send + Sync + 'static {
    /// Speaks the protocol: [`McpService::new`] of what is served. Not provided, because a provided one would be compiled,
    /// with the whole protocol, in each crate that serves something.
    fn service(&self, terms: &HttpTerms) -> McpService;

    /// What goes on beside the calls for as long as it is served.
    fn watch(&self) -> BoxFuture<'_, ()>;

    /// Calls off what is under way, and waits until nothing is half done.
    fn close(&self) -> BoxFuture<'_, ()>;
}

impl Serving for Door {
    fn service(&self, terms: &HttpTerms) -> McpService {
        McpService::new(self.clone(), terms)
    }

    fn watch(&self) -> BoxFuture<'_, ()> {
        Door::watch(self)
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Door::close(self)
    }
}

/// What a server asks of every request: by which names, from where, how large.
#[derive(Clone)]
pub struct HttpTerms(StreamableHttpServerConfig);

impl HttpTerms {
    fn new(options: &HttpOptions) -> Self {
        let config = StreamableHttpServerConfig::default()
            .with_allowed_hosts(options.names())
            .with_allowed_origins(options.origins())
            .with_max_request_body_bytes(options.max_body);
        Self(config)
    }
}

impl std::fmt::Debug for HttpTerms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpTerms").finish_non_exhaustive()
    }
}

type Answering = dyn Fn(Request<Incoming>) -> BoxFuture<'static, Answer> + Send + Sync;

/// The protocol over HTTP, spoken by somebody.
pub struct McpService(Box<Answering>);

impl McpService {
    /// Of what answers the protocol's calls.
    pub fn new(serving: impl ServerHandler + Clone, terms: &HttpTerms) -> Self {
        let service: StreamableHttpService<_, LocalSessionManager> = StreamableHttpService::new(
            move || Ok(serving.clone()),
            Arc::default(),
            terms.0.clone(),
        );
        Self(Box::new(move |request| {
            let service = service.clone();
            Box::pin(async move { service.handle(request).await })
        }))
    }
}

impl std::fmt::Debug for McpService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("McpService").finish_non_exhaustive()
    }
}

/// One principal's.
pub(super) struct Room {
    service: McpService,
    serving: Arc<dyn Serving>,
    watching: JoinHandle<()>,
}

impl Room {
    pub(super) fn answer(&self, request: Request<Incoming>) -> BoxFuture<'static, Answer> {
        (self.service.0)(request)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

pub(super) type Furnish = Box<dyn Fn(&Principal) -> Arc<dyn Serving> + Send + Sync>;

pub(super) struct Rooms {
    furnish: Furnish,
    terms: HttpTerms,
    rooms: Mutex<HashMap<Principal, Arc<Room>>>,
}

impl Rooms {
    pub(super) fn new(options: &HttpOptions, furnish: Furnish) -> Self {
        Self { furnish, terms: HttpTerms::new(options), rooms: Mutex::default() }
    }

    /// Somebody's room, furnished when they first come.
    pub(super) fn of(&self, principal: &Principal) -> Arc<Room> {
        // Every change is one step, so nothing is half done when a holder panicked.
        let mut rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(room) = rooms.get(principal) {
            return Arc::clone(room);
        }
        let serving = (self.furnish)(principal);
        let watched = Arc::clone(&serving);
        let room = Arc::new(Room {
            service: serving.service(&self.terms),
            serving,
            watching: tokio::spawn(async move { watched.watch().await }),
        });
        rooms.insert(principal.clone(), Arc::clone(&room));
        room
    }

    /// Closes every room: what is under way is called off, and what waits for news is let go.
    pub(super) async fn close(&self) {
        let rooms: Vec<Arc<Room>> = {
            let mut rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
            rooms.drain().map(|(_, room)| room).collect()
        };
        for room in rooms {
            room.serving.close().await;
        }
        self.terms.0.cancellation_token.cancel();
    }
}
