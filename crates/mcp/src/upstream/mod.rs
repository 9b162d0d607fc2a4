//! Servers of others: started, listed, called, ended. What they say of themselves is held against what
//! somebody let in, and everything that is done with them goes down the road.

mod asking; // one request, with what the server asks in between
mod attend; // staying with servers
mod dial; // servers that are reached by a URL
mod diff; // two definitions, for people
mod ear; // what a server says by itself
mod facing; // who is in front of servers
mod files; // servers that work on files of the workspace
mod govern; // what is proposed of a server, and what has changed
mod handler; // contracts of tools and of servers
mod link; // one server that runs
mod listing; // what a server says it has
mod made; // handlers, made once
mod pages; // pages that people have open for servers
mod pinned; // what was let in, held against what is
mod process; // the program behind a server
mod reads; // contracts of prompts and resources
mod talk; // the client whose call a server answers
mod template; // URIs that are made by a pattern

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lictor::capability::{Contract, HandlerSpec, McpPart, McpServer};
use lictor::context::BoxFuture;
use lictor::executor::{Handler, HandlerFactory};
use lictor::handlers::{HttpHandlers, Programs, SecretSource};
use tokio::sync::{broadcast, watch};
use tokio::time::Instant;

use ear::{Ears, Said};
pub(crate) use facing::Facing;
use files::{Copy, Led};
pub use govern::{Governed, LeftOut, Standing, StandingKind};
use handler::{CallsTool, StartsServer};
use link::{Ended, Era, Link, Way};
pub use listing::Listing;
use made::Made;
pub(crate) use pages::{Pages, page_of, pages_of};
use reads::Reads;
use talk::Talks;
pub(crate) use talk::{Asks, Heard, Known, Refused, Talk, Word};
pub(crate) use template::fits;

/// The first pause before a server that ended is started again; it doubles with each time.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// So many words of servers to everybody wait for whoever is slow.
const MAX_HEARD: usize = 256;
/// A server that ran so long had begun well.
const RAN_WELL: Duration = Duration::from_secs(60);

/// Knows the environment that servers get some of.
pub trait Surroundings: Send + Sync + fmt::Debug {
    /// The value of a variable for a server; `None` when there is none.
    fn variable(&self, server: &str, name: &str) -> Option<OsString>;

    /// What a header holds for a server that is reached by a URL; `None` when nobody says.
    fn header(&self, server: &str, name: &str) -> Option<String> {
        let (_, _) = (server, name);
        None
    }
}

/// The MCP servers that a runtime can start and call: the handlers behind contracts of kind `mcp`.
/// Cheap to clone. Nothing that was started is left when [`Upstreams::close`] has come back.
#[derive(Clone)]
pub struct Upstreams {
    inner: Arc<Inner>,
    /// They hold what is within, and so are not in there themselves.
    made: Made,
}

struct Inner {
    root: PathBuf,
    /// Where copies of the workspace are made.
    scratch: PathBuf,
    surroundings: Arc<dyn Surroundings>,
    secrets: Arc<dyn SecretSource>,
    programs: Programs,
    /// How requests go out, once somebody said.
    requests: std::sync::OnceLock<HttpHandlers>,
    servers: Mutex<BTreeMap<String, Arc<Server>>>,
    news: watch::Sender<u64>,
    /// What servers say to everybody.
    heard: broadcast::Sender<Heard>,
    said: Arc<Said>,
    /// Who is in front, once that is known.
    facing: watch::Sender<Option<Facing>>,
    /// The clients of calls that are under way.
    talks: Arc<Talks>,
    /// Whether nothing is started any more.
    closed: std::sync::atomic::AtomicBool,
    superseded: Mutex<BTreeMap<String, u32>>,
}

/// One server, whether it runs or not.
#[derive(Debug, Default)]
struct Server {
    /// One who starts it at a time.
    starting: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    link: Option<Arc<Link>>,
    /// What it works in, when it works on files of the workspace.
    copy: Option<Copy>,
    /// How it has to be spoken to, once that is known.
    era: Option<Era>,
    since: Option<Instant>,
    failures: u32,
    not_before: Option<Instant>,
}

impl Upstreams {
    /// Servers of a workspace, with a folder that nothing else uses, for copies of its files, and what
    /// they may get of the environment, and of secrets.
    #[must_use]
    pub fn new(
        root: impl Into<PathBuf>,
        scratch: impl Into<PathBuf>,
        surroundings: Arc<dyn Surroundings>,
        secrets: Arc<dyn SecretSource>,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                root: root.into(),
                scratch: scratch.into(),
                surroundings,
                secrets,
                programs: Programs::default(),
                requests: std::sync::OnceLock::new(),
                servers: Mutex::default(),
                news: watch::Sender::new(0),
                heard: broadcast::Sender::new(MAX_HEARD),
                said: Arc::default(),
                facing: watch::Sender::new(None),
                talks: Arc::default(),
                closed: std::sync::atomic::AtomicBool::new(false),
                superseded: Mutex::default(),
            }),
            made: Made::default(),
        }
    }

    /// How servers with a URL are reached: as requests of the runtime's capabilities are
    /// (`Runtime::requests`). Nothing reaches them before; the first one counts.
    pub fn reach_by(&self, requests: HttpHandlers) {
        self.inner.requests.get_or_init(|| requests);
    }

    /// Counts up whenever a server began, ended, or said that its tools have changed.
    #[must_use]
    pub fn news(&self) -> watch::Receiver<u64> {
        self.inner.news.subscribe()
    }

    /// What a server that runs says it has, as it was asked last.
    #[must_use]
    pub fn listing(&self, server: &str) -> Option<Arc<Listing>> {
        Some(self.inner.running(server)?.listing())
    }

    /// What a server that runs says it has, asked now when it said that this has changed.
    ///
    /// # Errors
    /// When it does not run, or does not say.
    pub fn listed<'a>(&'a self, server: &'a str) -> BoxFuture<'a, Result<Arc<Listing>, String>> {
        Box::pin(self.listed_within(server, handler::MAX_AGE))
    }

    /// The same, asked now when it is older than that.
    async fn listed_within(&self, server: &str, most: Duration) -> Result<Arc<Listing>, String> {
        let link = self.inner.running(server).ok_or_else(|| format!("`{server}` does not run"))?;
        link.fresh(most).await
    }

    /// Why a server does not run, when it has ended; and when it may be started again.
    #[must_use]
    pub fn down(&self, server: &str) -> Option<(String, Duration)> {
        let server = self.inner.server(server);
        let mut state = server.state();
        state.settle();
        let ended = state.link.as_ref()?.ended()?;
        Some((ended.0, state.pause()))
    }

    /// Ends all servers, with everything that they started. None is started any more.
    pub fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.inner.closed.store(true, std::sync::atomic::Ordering::Release);
            let servers: Vec<Arc<Server>> = self.inner.servers().values().map(Arc::clone).collect();
            for server in servers {
                // Whoever is starting it just now comes to an end first.
                let _starting = server.starting.lock().await;
                let (link, copy) = {
                    let mut state = server.state();
                    (state.link.take(), state.copy.take())
                };
                if let Some(link) = link {
                    link.close().await;
                }
                // Not before: it stood in there.
                drop(copy);
            }
        })
    }
}

impl fmt::Debug for Upstreams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstreams").field("root", &self.inner.root).finish_non_exhaustive()
    }
}

impl HandlerFactory for Upstreams {
    fn handler(&self, contract: &Contract) -> Option<Arc<dyn Handler>> {
        let inner = || Arc::clone(&self.inner);
        match &contract.handler {
            HandlerSpec::Mcp(tool) => Some(self.made.of(contract, || match tool.part {
                McpPart::Tool => Arc::new(CallsTool::new(tool, contract, inner())),
                _ => Arc::new(Reads::new(tool, contract, inner())),
            })),
            HandlerSpec::McpServer(server) => {
                Some(self.made.of(contract, || Arc::new(StartsServer::new(server, inner()))))
            }
            HandlerSpec::Builtin(_)
            | HandlerSpec::Command(_)
            | HandlerSpec::Http(_)
            | HandlerSpec::Workflow(_) => None,
        }
    }
}

impl Inner {
    fn servers(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Server>>> {
        // Whole entries come and stay.
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn server(&self, name: &str) -> Arc<Server> {
        Arc::clone(self.servers().entry(name.to_owned()).or_default())
    }

    /// The connection to a server that runs.
    fn running(&self, name: &str) -> Option<Arc<Link>> {
        let server = self.server(name);
        let link = server.state().link.clone();
        link.filter(|link| link.ended().is_none())
    }

    /// Who hears a server that is started now.
    fn ears(&self, server: &str) -> Ears {
        let facing = self.facing.borrow().clone().unwrap_or_default();
        Ears {
            server: server.to_owned(),
            news: self.news.clone(),
            heard: self.heard.clone(),
            said: Arc::clone(&self.said),
            can: facing.can,
            modern: facing.modern,
            led: None,
        }
    }

    /// Starts a server, unless it runs.
    async fn start(
        &self,
        spec: &McpServer,
        (way, copy): (Way, Option<Copy>),
        secrets: &[String],
    ) -> Result<Arc<Link>, String> {
        let server = self.server(&spec.server);
        let _starting = server.starting.lock().await;
        if let Some(link) = self.running(&spec.server) {
            return Ok(link);
        }
        if self.closed.load(std::sync::atomic::Ordering::Acquire) {
            return Err("no server is started any more".to_owned());
        }
        let era = {
            let mut state = server.state();
            state.settle();
            let pause = state.pause();
            if !pause.is_zero() {
                let times = state.failures;
                return Err(format!(
                    "it ended, or did not begin, {times} times in a row; it may be started again in {} ms",
                    pause.as_millis()
                ));
            }
            state.era
        };
        let led = copy.as_ref().map(|copy| Led::new(&self.root, copy));
        let ears = Ears { led, ..self.ears(&spec.server) };
        let started = Link::start(&way, era, secrets, &ears).await;
        let mut state = server.state();
        match started {
            Ok(link) => {
                let link = Arc::new(link);
                state.era = Some(link.era);
                state.since = Some(Instant::now());
                state.link = Some(Arc::clone(&link));
                state.copy = copy;
                drop(state);
                self.news.send_modify(|count| *count += 1);
                Ok(link)
            }
            Err(why) => {
                state.failed();
                // Whoever is another one by then may want to be spoken to otherwise.
                state.era = None;
                Err(why)
            }
        }
    }
}

impl Server {
    fn state(&self) -> MutexGuard<'_, State> {
        // Each field stands for itself.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Counts an end that nobody has counted yet.
    fn settle(&mut self) {
        let ended = self.link.as_ref().and_then(|link| link.ended()).is_some();
        if let (true, Some(since)) = (ended, self.since) {
            self.since = None;
            if since.elapsed() >= RAN_WELL {
                self.failures = 0;
            }
            self.failed();
        }
    }

    fn failed(&mut self) {
        let doubled = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(self.failures));
        self.failures = self.failures.saturating_add(1);
        self.not_before = Some(Instant::now() + doubled.min(LONGEST_PAUSE));
    }

    /// How long it has to wait before it is started again.
    fn pause(&self) -> Duration {
        let until = self.not_before;
        until.map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()))
    }
}

/// What is said of a server that has ended.
fn ended(server: &str, ended: &Ended) -> String {
    format!("the MCP server `{server}`: {}", ended.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_before_a_server_is_started_again_doubles_and_has_an_end() {
        let mut state = State::default();
        assert_eq!(state.pause(), Duration::ZERO);
        for seconds in [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0] {
            let (pause, before) = (Duration::from_secs_f64(seconds), Instant::now());
            state.failed();
            let until = state.not_before.unwrap();
            assert!(until >= before + pause && until <= Instant::now() + pause, "{seconds}");
        }
        // However often it is.
        state.failures = u32::MAX;
        state.failed();
        assert!(state.pause() <= LONGEST_PAUSE && state.failures == u32::MAX);
    }
}
