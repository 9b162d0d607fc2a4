//! One server that runs: the connection, what it lists, and its end.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use lictor::handlers::Mask;
use rmcp::model::{
    ProtocolVersion, ServerNotification, SubscribeRequestParams, SubscriptionFilter,
    UnsubscribeRequestParams,
};
use rmcp::service::{
    ClientCacheConfig, ClientInitializeError, ClientLifecycleMode, ClientServiceExt as _, Peer,
    RoleClient, RunningService, ServiceError,
};
use tokio::sync::{oneshot, watch};
use tokio::task::AbortHandle;

use crate::audience::News;

use super::dial::{self, Dial};
use super::ear::{Ear, Ears};
use super::listing::Listing;
use super::pages::Pages;
use super::process::{Order, Process, Said};
use super::talk::Flights;

/// So long whoever lost a connection waits for the reason: longer than a program has to end.
const WORDS: Duration = Duration::from_secs(6);
/// So long a server has to answer what only the newer protocol knows, before it is asked as of old.
const NEWER: Duration = Duration::from_secs(10);

/// How a server wants to be spoken to first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Era {
    /// With `initialize`.
    Initialize,
    /// With `server/discover`.
    Discover,
}

/// How a server is had.
#[derive(Debug)]
pub(super) enum Way {
    /// It is a program that is started.
    Program(Order),
    /// It is somewhere else, and is reached.
    Url(Dial),
}

/// Why a server is not there.
#[derive(Debug, Clone)]
pub(super) struct Ended(pub(super) String);

/// A server that runs.
#[derive(Debug)]
pub(super) struct Link {
    peer: Peer<RoleClient>,
    listing: RwLock<Arc<Listing>>,
    /// One who asks for the list at a time; the others get what that one was told.
    asking: tokio::sync::Mutex<()>,
    stale: Arc<AtomicBool>,
    ear: Ear,
    /// What is listened for of single resources, where that is a request of its own.
    watched: Mutex<HashMap<String, AbortHandle>>,
    ended: watch::Receiver<Option<Ended>>,
    close: RwLock<Option<oneshot::Sender<()>>>,
    mask: Mask,
    pub(super) era: Era,
}

impl Link {
    /// Starts a server and asks what it has. One that does not know the first way to begin is
    /// started again and spoken to the other way.
    pub(super) async fn start(
        way: &Way,
        era: Option<Era>,
        secrets: &[String],
        ears: &Ears,
    ) -> Result<Self, String> {
        let mask = Mask::new(secrets);
        let begun = match (era, ears.modern) {
            (Some(era), _) => begin(way, era, ears, &mask).await,
            (None, false) => match begin(way, Era::Initialize, ears, &mask).await {
                Err(Refused { other_way: true, .. }) => {
                    begin(way, Era::Discover, ears, &mask).await
                }
                begun => begun,
            },
            // As whoever calls speaks, so that nothing is lost between; who does not answer that in
            // time, or at all, is asked as of old.
            (None, true) => {
                let first = begin(way, Era::Discover, ears, &mask);
                match tokio::time::timeout(NEWER, first).await {
                    Ok(Ok(begun)) => Ok(begun),
                    Ok(Err(_)) | Err(_) => begin(way, Era::Initialize, ears, &mask).await,
                }
            }
        };
        let begun = begun.map_err(|refused| refused.why)?;
        let Begun { running, source, ear, era } = begun;
        let (stale, news) = (Arc::clone(&ear.stale), &ears.news);
        let peer = running.peer().clone();
        // A pin is held against what the server says, not against what it said once.
        peer.set_response_cache_config(ClientCacheConfig::disabled()).await;
        if era == Era::Discover {
            subscribe(&peer, ear.clone());
        }
        let listing = match Listing::ask(&peer, &ears.server, ears.led.as_ref()).await {
            Ok(listing) => listing,
            Err(why) => {
                let said = source.said();
                drop(running);
                source.end().await;
                return Err(mask.text(&with_words(&why, &said)));
            }
        };
        let (close, asked) = oneshot::channel();
        let (tell, ended) = watch::channel(None);
        let (news, masked) = (news.clone(), mask.clone());
        tokio::spawn(async move {
            let why = attend(running, source, asked, &masked).await;
            tell.send_replace(Some(why));
            news.send_modify(|count| *count += 1);
        });
        let (listing, asking) = (RwLock::new(Arc::new(listing)), tokio::sync::Mutex::new(()));
        let close = RwLock::new(Some(close));
        let watched = Mutex::default();
        Ok(Self { peer, listing, asking, stale, ear, watched, ended, close, mask, era })
    }

    pub(super) fn peer(&self) -> &Peer<RoleClient> {
        &self.peer
    }

    /// What comes back is not to hold what it was given.
    pub(super) fn mask(&self) -> &Mask {
        &self.mask
    }

    /// The requests that it has not answered yet.
    pub(super) fn flights(&self) -> &Arc<Flights> {
        &self.ear.flights
    }

    /// The pages that it has people open.
    pub(super) fn pages(&self) -> &Arc<Pages> {
        &self.ear.pages
    }

    /// Begins or ends to listen for changes of one resource.
    #[expect(deprecated, reason = "the older protocol has these requests")]
    pub(super) async fn watch(&self, uri: &str, on: bool) -> Result<(), ServiceError> {
        let theirs = self.ear.led.as_ref().map_or_else(|| uri.to_owned(), |led| led.uri_in(uri));
        if self.era == Era::Initialize {
            return match on {
                true => self.peer.subscribe(SubscribeRequestParams::new(theirs)).await,
                false => self.peer.unsubscribe(UnsubscribeRequestParams::new(theirs)).await,
            };
        }
        if on {
            let filter = SubscriptionFilter::builder().resource_subscriptions([theirs]).build();
            let mut subscription = self.peer.listen(filter).await?;
            let (ear, told) = (self.ear.clone(), uri.to_owned());
            let task = tokio::spawn(async move {
                while let Ok(Some(_)) = subscription.next().await {
                    ear.updated(told.clone());
                }
            });
            let before = self.watched().insert(uri.to_owned(), task.abort_handle());
            before.inspect(AbortHandle::abort);
        } else {
            self.watched().remove(uri).inspect(AbortHandle::abort);
        }
        Ok(())
    }

    fn watched(&self) -> std::sync::MutexGuard<'_, HashMap<String, AbortHandle>> {
        // Every change is one step.
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn listing(&self) -> Arc<Listing> {
        // It is exchanged whole.
        Arc::clone(&self.listing.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether the server said that its list is another one now.
    pub(super) fn is_stale(&self) -> bool {
        self.stale.load(Ordering::Acquire)
    }

    /// What it lists, not older than that, and asked for after it last said that this has changed.
    pub(super) async fn fresh(&self, most: Duration) -> Result<Arc<Listing>, String> {
        let good = |listing: &Listing| !self.is_stale() && listing.at.elapsed() <= most;
        let known = self.listing();
        if good(&known) {
            return Ok(known);
        }
        let _asking = self.asking.lock().await;
        let known = self.listing();
        if good(&known) && !most.is_zero() {
            return Ok(known);
        }
        // What it says while it is asked counts for the next time.
        self.stale.store(false, Ordering::Release);
        let asked = Listing::ask(&self.peer, &self.ear.server, self.ear.led.as_ref()).await;
        if asked.is_err() {
            self.stale.store(true, Ordering::Release);
        }
        let listing = Arc::new(asked?);
        *self.listing.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&listing);
        Ok(listing)
    }

    /// Why it has ended, when it has.
    pub(super) fn ended(&self) -> Option<Ended> {
        if let Some(ended) = self.ended.borrow().clone() {
            return Some(ended);
        }
        let closed = self.peer.is_transport_closed();
        closed.then(|| Ended("its connection is closed".to_owned()))
    }

    /// The same, for whoever has just lost the connection: what the program said at last is known when
    /// it is gone.
    pub(super) async fn end_of(&self) -> Option<Ended> {
        if !self.peer.is_transport_closed() {
            return self.ended();
        }
        let mut ended = self.ended.clone();
        let known = tokio::time::timeout(WORDS, ended.wait_for(Option::is_some)).await;
        drop(known);
        self.ended()
    }

    /// Ends it, and comes back when nothing of it is left.
    pub(super) async fn close(&self) {
        let close = self.close.write().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(close) = close {
            // Whoever attends to it may be gone, and so is it then.
            if close.send(()).is_err() {
                tracing::debug!("nobody attends to a server that is closed");
            }
        }
        let mut ended = self.ended.clone();
        drop(ended.wait_for(Option::is_some).await);
    }
}

struct Begun {
    running: RunningService<RoleClient, Ear>,
    source: Source,
    ear: Ear,
    era: Era,
}

struct Refused {
    why: String,
    /// Whether it may want to be spoken to the other way.
    other_way: bool,
}

/// What is at the other end of a connection.
enum Source {
    Program(Process),
    Url(Dial),
}

impl Source {
    /// What it says beside the protocol.
    fn said(&self) -> Said {
        match self {
            Self::Program(process) => process.said(),
            Self::Url(_) => Said::default(),
        }
    }

    /// Comes back when it is not reached any more, with the reason; a program ends its connection.
    async fn lost(&self) -> String {
        if let Self::Url(dial) = self
            && let Ok(why) = dial.lost().wait_for(Option::is_some).await
        {
            return why.clone().unwrap_or_default();
        }
        std::future::pending().await
    }

    async fn end(self) {
        match self {
            Self::Program(process) => process.end().await,
            Self::Url(_) => {}
        }
    }
}

async fn begin(way: &Way, era: Era, ears: &Ears, mask: &Mask) -> Result<Begun, Refused> {
    let ear = Ear::new(ears, mask.clone());
    let mode = match era {
        Era::Initialize => ClientLifecycleMode::Initialize,
        Era::Discover => ClientLifecycleMode::Discover {
            preferred_versions: vec![ProtocolVersion::V_2026_07_28],
        },
    };
    let (source, served) = match way {
        Way::Program(order) => {
            let (process, output, input) = Process::start(order).map_err(|error| {
                let why = format!("`{}` does not start: {error}", order.program.display());
                Refused { why, other_way: false }
            })?;
            let served = ear.clone().serve_with_lifecycle((output, input), mode).await;
            (Source::Program(process), served)
        }
        Way::Url(dial) => {
            let dial = dial.anew();
            let served = ear.clone().serve_with_lifecycle(dial.transport(), mode).await;
            (Source::Url(dial), served)
        }
    };
    match served {
        Ok(running) => Ok(Begun { running, source, ear, era }),
        Err(error) => {
            let other_way = match &source {
                // Whoever answers, and not so, may want to be spoken to otherwise.
                Source::Url(dial) => dial.lost().borrow().is_none(),
                Source::Program(_) => !matches!(
                    error,
                    ClientInitializeError::ConnectionClosed(_)
                        | ClientInitializeError::TransportError { .. }
                        | ClientInitializeError::Cancelled
                ),
            };
            let said = source.said();
            source.end().await;
            let error = match &error {
                ClientInitializeError::TransportError { error, .. } => dial::of_transport(error),
                other => other.to_string(),
            };
            let why = mask.text(&with_words(&format!("it does not begin: {error}"), &said));
            Err(Refused { why, other_way })
        }
    }
}

/// Listens for changes, as the newer protocol has it.
fn subscribe(peer: &Peer<RoleClient>, ear: Ear) {
    let peer = peer.clone();
    tokio::spawn(async move {
        let filter = SubscriptionFilter::builder()
            .tools_list_changed()
            .prompts_list_changed()
            .resources_list_changed();
        // One without is asked again when its list has grown old.
        let Ok(mut subscription) = peer.listen(filter.build()).await else { return };
        while let Ok(Some(told)) = subscription.next().await {
            ear.changed(match told {
                ServerNotification::PromptListChangedNotification(_) => News::Prompts,
                ServerNotification::ResourceListChangedNotification(_) => News::Resources,
                _ => News::Tools,
            });
        }
    });
}

/// Stays with a server until it ends or is to, and sees to it that nothing of it is left.
async fn attend(
    running: RunningService<RoleClient, Ear>,
    source: Source,
    asked: oneshot::Receiver<()>,
    mask: &Mask,
) -> Ended {
    let cancel = running.cancellation_token();
    let waiting = running.waiting();
    tokio::pin!(waiting);
    let why = tokio::select! {
        _ = &mut waiting => None,
        _ = asked => Some("it was closed".to_owned()),
        why = source.lost() => Some(format!("it is not reached any more: {why}")),
    };
    if why.is_some() {
        cancel.cancel();
        drop(waiting.await);
    }
    let said = source.said();
    source.end().await;
    let why = why.unwrap_or_else(|| with_words("it ended by itself", &said));
    Ended(mask.text(&why))
}

fn with_words(why: &str, said: &Said) -> String {
    match said.words() {
        words if words.is_empty() => why.to_owned(),
        words => format!("{why}; the last it said: {words}"),
    }
}
