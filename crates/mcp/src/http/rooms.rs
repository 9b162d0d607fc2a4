//! A room for each principal: what is served in one is not seen from another. A protocol session
//! that was opened in one room does not exist in any other.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use lictor::context::Principal;
use rmcp::handler::server::ServerHandler;
use rmcp::transport::streamable_http_server::StreamableHttpService;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::tower::StreamableHttpServerConfig;
use tokio::task::JoinHandle;

use crate::door::Door;
use crate::http::HttpOptions;

/// What is served in a room.
pub trait Serving: ServerHandler + Clone + Send + Sync + 'static {
    /// What goes on beside the calls for as long as it is served.
    fn watch(&self) -> impl Future<Output = ()> + Send;

    /// Calls off what is under way, and waits until nothing is half done.
    fn close(&self) -> impl Future<Output = ()> + Send;
}

impl Serving for Door {
    async fn watch(&self) {
        Door::watch(self).await;
    }

    async fn close(&self) {
        Door::close(self).await;
    }
}

/// One principal's.
pub(super) struct Room<S> {
    pub(super) service: StreamableHttpService<S, LocalSessionManager>,
    serving: S,
    watching: JoinHandle<()>,
}

impl<S> Drop for Room<S> {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

type Furnish<S> = Box<dyn Fn(&Principal) -> S + Send + Sync>;

pub(super) struct Rooms<S> {
    furnish: Furnish<S>,
    config: StreamableHttpServerConfig,
    rooms: Mutex<HashMap<Principal, Arc<Room<S>>>>,
}

impl<S: Serving> Rooms<S> {
    pub(super) fn new(
        options: &HttpOptions,
        furnish: impl Fn(&Principal) -> S + Send + Sync + 'static,
    ) -> Self {
        let config = StreamableHttpServerConfig::default()
            .with_allowed_hosts(options.names())
            .with_allowed_origins(options.origins())
            .with_max_request_body_bytes(options.max_body);
        Self { furnish: Box::new(furnish), config, rooms: Mutex::default() }
    }

    /// Somebody's room, furnished when they first come.
    pub(super) fn of(&self, principal: &Principal) -> Arc<Room<S>> {
        // Every change is one step, so nothing is half done when a holder panicked.
        let mut rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(room) = rooms.get(principal) {
            return Arc::clone(room);
        }
        let serving = (self.furnish)(principal);
        let (served, watched) = (serving.clone(), serving.clone());
        let room = Arc::new(Room {
            service: StreamableHttpService::new(
                move || Ok(served.clone()),
                Arc::default(),
                self.config.clone(),
            ),
            serving,
            watching: tokio::spawn(async move { watched.watch().await }),
        });
        rooms.insert(principal.clone(), Arc::clone(&room));
        room
    }

    /// Closes every room: what is under way is called off, and what waits for news is let go.
    pub(super) async fn close(&self) {
        let rooms: Vec<Arc<Room<S>>> = {
            let mut rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
            rooms.drain().map(|(_, room)| room).collect()
        };
        for room in rooms {
            room.serving.close().await;
        }
        self.config.cancellation_token.cancel();
    }
}
