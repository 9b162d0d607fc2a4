//! Who hears that something has changed: clients of the older protocol by their connection, those of
//! the newer one by the subscription that they opened.
#![expect(deprecated, reason = "clients and servers of today use the older protocol")]

use std::sync::{Mutex, PoisonError};

use rmcp::model::{LoggingMessageNotificationParam, ResourceUpdatedNotificationParam};
use rmcp::service::{Peer, RoleServer, SubscriptionSink};

/// More than one client's could be are none of ours.
const MAX: usize = 64;
/// So many resources are listened for.
const MAX_WATCHED: usize = 1024;

/// What is another one now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum News {
    Tools,
    Prompts,
    Resources,
}

#[derive(Default)]
pub(crate) struct Audience {
    inner: Mutex<Listeners>,
}

#[derive(Default, Clone)]
struct Listeners {
    peers: Vec<Peer<RoleServer>>,
    sinks: Vec<(u64, SubscriptionSink)>,
    next: u64,
    /// Clients of the older protocol that listen for a resource.
    watching: Vec<(String, Peer<RoleServer>)>,
}

impl Audience {
    fn lock(&self) -> std::sync::MutexGuard<'_, Listeners> {
        // Every change is one step, so nothing is half done when a holder panicked.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client that said that it is ready.
    pub(crate) fn add_peer(&self, peer: Peer<RoleServer>) {
        let mut inner = self.lock();
        // Over HTTP they come and go.
        inner.peers.retain(|peer| !peer.is_transport_closed());
        if inner.peers.len() < MAX {
            inner.peers.push(peer);
        }
    }

    /// A subscription; it is to be taken away with what is given.
    pub(crate) fn add_sink(&self, sink: SubscriptionSink) -> u64 {
        let mut inner = self.lock();
        let id = inner.next;
        inner.next += 1;
        if inner.sinks.len() < MAX {
            inner.sinks.push((id, sink));
        }
        id
    }

    pub(crate) fn remove_sink(&self, id: u64) {
        self.lock().sinks.retain(|(known, _)| *known != id);
    }

    /// A client listens for a resource. Whether that is one more than there is room for.
    pub(crate) fn add_watch(&self, uri: &str, peer: Peer<RoleServer>) -> bool {
        let mut inner = self.lock();
        inner.watching.retain(|(_, peer)| !peer.is_transport_closed());
        let room = inner.watching.len() < MAX_WATCHED;
        if room {
            inner.watching.push((uri.to_owned(), peer));
        }
        room
    }

    /// One listener less for a resource; whether nobody listens for it any more.
    pub(crate) fn remove_watch(&self, uri: &str) -> bool {
        let mut inner = self.lock();
        inner.watching.retain(|(_, peer)| !peer.is_transport_closed());
        let mut of_it = inner.watching.iter().enumerate().filter(|(_, (known, _))| known == uri);
        let (first, more) = (of_it.next().map(|(at, _)| at), of_it.next().is_some());
        // Connections cannot be told apart here, so while several listen all of them go on hearing.
        if let (Some(first), false) = (first, more) {
            inner.watching.remove(first);
        }
        !more && !inner.sinks.iter().any(|(_, sink)| wants(sink, uri))
    }

    /// Tells everybody that something has changed.
    pub(crate) async fn tell(&self, news: News) {
        let listeners = self.lock().clone();
        for peer in &listeners.peers {
            let told = match news {
                News::Tools => peer.notify_tool_list_changed().await,
                News::Prompts => peer.notify_prompt_list_changed().await,
                News::Resources => peer.notify_resource_list_changed().await,
            };
            if let Err(error) = told {
                tracing::debug!(%error, "a client did not hear that something has changed");
            }
        }
        for (_, sink) in &listeners.sinks {
            let told = match news {
                News::Tools => sink.notify_tool_list_changed().await,
                News::Prompts => sink.notify_prompt_list_changed().await,
                News::Resources => sink.notify_resource_list_changed().await,
            };
            if let Err(error) = told {
                tracing::debug!(%error, "a subscriber did not hear that something has changed");
            }
        }
    }

    /// Tells whoever listens for a resource that it is another one.
    pub(crate) async fn updated(&self, uri: &str) {
        let listeners = self.lock().clone();
        for (_, peer) in listeners.watching.iter().filter(|(known, _)| known == uri) {
            let told = ResourceUpdatedNotificationParam::new(uri);
            if let Err(error) = peer.notify_resource_updated(told).await {
                tracing::debug!(%error, "a client did not hear that a resource has changed");
            }
        }
        for (_, sink) in listeners.sinks.iter().filter(|(_, sink)| wants(sink, uri)) {
            if let Err(error) = sink.notify_resource_updated(uri).await {
                tracing::debug!(%error, "a subscriber did not hear that a resource has changed");
            }
        }
    }

    /// Tells clients of the older protocol what a server logs; the newer one has logs of calls only.
    pub(crate) async fn log(&self, log: &LoggingMessageNotificationParam) {
        let listeners = self.lock().clone();
        for peer in &listeners.peers {
            if let Err(error) = peer.notify_logging_message(log.clone()).await {
                tracing::debug!(%error, "a client did not hear what a server logs");
            }
        }
    }
}

fn wants(sink: &SubscriptionSink, uri: &str) -> bool {
    let uris = sink.accepted().resource_subscriptions.as_ref();
    uris.is_some_and(|uris| uris.iter().any(|known| known == uri))
}
