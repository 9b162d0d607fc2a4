//! Who hears that the tools have changed: clients of the older protocol by their connection, those
//! of the newer one by the subscription that they opened.

use std::sync::{Mutex, PoisonError};

use rmcp::service::{Peer, RoleServer, SubscriptionSink};

/// More than one client's could be are none of ours.
const MAX: usize = 64;

#[derive(Default)]
pub(crate) struct Audience {
    inner: Mutex<Listeners>,
}

#[derive(Default, Clone)]
struct Listeners {
    peers: Vec<Peer<RoleServer>>,
    sinks: Vec<(u64, SubscriptionSink)>,
    next: u64,
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

    /// Tells everybody.
    pub(crate) async fn tools_changed(&self) {
        let listeners = self.lock().clone();
        for peer in &listeners.peers {
            if let Err(error) = peer.notify_tool_list_changed().await {
                tracing::debug!(%error, "a client did not hear that the tools have changed");
            }
        }
        for (_, sink) in &listeners.sinks {
            if let Err(error) = sink.notify_tool_list_changed().await {
                tracing::debug!(%error, "a subscriber did not hear that the tools have changed");
            }
        }
    }
}
