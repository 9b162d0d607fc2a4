//! One server that runs: the connection, what it lists, and its end.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use lictor::handlers::Mask;
use rmcp::ClientHandler;
use rmcp::model::{
    ClientCapabilities, ClientConfig, Implementation, ProtocolVersion, SubscriptionFilter,
};
use rmcp::service::{
    ClientCacheConfig, ClientInitializeError, ClientLifecycleMode, ClientServiceExt as _,
    NotificationContext, Peer, RoleClient, RunningService,
};
use tokio::sync::{oneshot, watch};

use super::dial::{self, Dial};
use super::listing::Listing;
use super::process::{Order, Process, Said};

/// So long whoever lost a connection waits for the reason: longer than a program has to end.
const WORDS: Duration = Duration::from_secs(6);

/// How a server wants to be spoken to first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Era {
    /// With `initialize`.
    Initialize,
    /// With `server/discover`.
    Discover,
}

/// Hears what a server says by itself. It answers none of its questions: it says that it cannot.
#[derive(Debug, Clone)]
struct Ear {
    stale: Arc<AtomicBool>,
    news: watch::Sender<u64>,
}

impl Ear {
    fn heard(&self) {
        self.stale.store(true, Ordering::Release);
        self.news.send_modify(|count| *count += 1);
    }
}

impl ClientHandler for Ear {
    fn get_info(&self) -> ClientConfig {
        let who = Implementation::new("lictor", env!("CARGO_PKG_VERSION"));
        ClientConfig::new(ClientCapabilities::default(), who)
    }

    fn on_tool_list_changed(
        &self,
        _: NotificationContext<RoleClient>,
    ) -> impl Future<Output = ()> + Send + '_ {
        self.heard();
        std::future::ready(())
    }
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
        news: &watch::Sender<u64>,
    ) -> Result<Self, String> {
        let mask = Mask::new(secrets);
        let first = era.unwrap_or(Era::Initialize);
        let begun = begin(way, first, news, &mask).await;
        let begun = match begun {
            Err(Refused { other_way: true, .. }) if era.is_none() => {
                begin(way, Era::Discover, news, &mask).await
            }
            begun => begun,
        };
        let begun = begun.map_err(|refused| refused.why)?;
        let Begun { running, source, stale, era } = begun;
        let peer = running.peer().clone();
        // A pin is held against what the server says, not against what it said once.
        peer.set_response_cache_config(ClientCacheConfig::disabled()).await;
        if era == Era::Discover {
            subscribe(&peer, Arc::clone(&stale), news.clone());
        }
        let listing = match Listing::ask(&peer).await {
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
        Ok(Self { peer, listing, asking, stale, ended, close, mask, era })
    }

    pub(super) fn peer(&self) -> &Peer<RoleClient> {
        &self.peer
    }

    /// What comes back is not to hold what it was given.
    pub(super) fn mask(&self) -> &Mask {
        &self.mask
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
        let asked = Listing::ask(&self.peer).await;
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
    stale: Arc<AtomicBool>,
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

async fn begin(
    way: &Way,
    era: Era,
    news: &watch::Sender<u64>,
    mask: &Mask,
) -> Result<Begun, Refused> {
    let stale = Arc::new(AtomicBool::new(false));
    let ear = Ear { stale: Arc::clone(&stale), news: news.clone() };
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
            let served = ear.serve_with_lifecycle((output, input), mode).await;
            (Source::Program(process), served)
        }
        Way::Url(dial) => {
            let dial = dial.anew();
            let served = ear.serve_with_lifecycle(dial.transport(), mode).await;
            (Source::Url(dial), served)
        }
    };
    match served {
        Ok(running) => Ok(Begun { running, source, stale, era }),
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
fn subscribe(peer: &Peer<RoleClient>, stale: Arc<AtomicBool>, news: watch::Sender<u64>) {
    let (peer, ear) = (peer.clone(), Ear { stale, news });
    tokio::spawn(async move {
        let filter = SubscriptionFilter::builder().tools_list_changed().build();
        // One without is asked again when its list has grown old.
        let Ok(mut subscription) = peer.listen(filter).await else { return };
        while let Ok(Some(_)) = subscription.next().await {
            ear.heard();
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
