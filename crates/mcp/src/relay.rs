//! A call of another server's tool, while it lasts: what the server asks and tells in between reaches
//! the client whose call it is, in whichever way that client can be reached.
//!
//! The call itself is one execution on the road from its beginning to its end. A client of the older
//! protocol is asked in its middle. One of the newer is asked by an answer, and the call waits here, not
//! for ever, for the client to come again.
#![expect(deprecated, reason = "clients and servers of today use the older protocol")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lictor::context::{Digest, Event, EventFacts, EventType};
use lictor::governance::visible;
use lictor::{ActError, Agent};
use rmcp::model::{
    ClientResult, ElicitRequestParams, ErrorData, InputRequest, InputRequests, InputRequiredResult,
    InputResponses, LoggingLevel, LoggingMessageNotificationParam, ProgressNotificationParam,
    ProgressToken, RequestMetaObject, RequestStateCodec, SealOptions, ServerRequest,
};
use rmcp::service::{Peer, PeerRequestOptions, RequestContext, RoleServer};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::call::{Outcome, TICK, Wish, still_under_way};
use crate::going::{Ended, Going};
use crate::menu::Menu;
use crate::upstream::{Asks, Known, Pages, Refused, Talk, Word, page_of, pages_of};

/// How long a client may take to come again, or to answer.
const OPEN: Duration = Duration::from_secs(300);
/// So many calls wait for their clients at a time; the oldest is given up for another one.
const MAX_PARKED: usize = 64;
/// A question that is longer is cut: nobody reads it in a dialogue.
const MAX_MESSAGE: usize = 4_000;
/// So far a call is after a second of which its server says nothing: less than any server counts by.
const A_TICK: f64 = 1e-9;
/// What of a client's `_meta` a server gets beside what the protocol itself puts there.
const PASSED_ON: [&str; 3] = ["traceparent", "tracestate", "baggage"];

/// The calls of one session to other servers.
pub(crate) struct Relay {
    /// Without randomness there is none, and nobody is asked by an answer.
    codec: Option<RequestStateCodec>,
    parked: Arc<Mutex<Parking>>,
    /// How much the client wants to have logged, once it has said so.
    level: Mutex<Option<LoggingLevel>>,
}

#[derive(Default)]
struct Parking {
    next: u64,
    calls: BTreeMap<u64, Parked>,
}

/// A call that waits for its client to come again.
struct Parked {
    running: Running,
    asks: Asks,
}

/// A call on its way. Dropping it calls it off.
pub(crate) struct Running {
    agent: Agent,
    action: Wish,
    going: Going,
    words: mpsc::Receiver<Word>,
    talk: Arc<Talk>,
    /// Its action is known as this client's for so long.
    _known: Option<Known>,
}

/// What came of serving a call for a while.
pub(crate) enum Went {
    Done(Outcome),
    Failed(ActError),
    /// The server answered with an error of the protocol, for the client to do something about.
    Said(ErrorData),
    /// The client is asked, and comes again.
    Asks(InputRequiredResult),
}

/// What a state that a client brings is.
pub(crate) enum Resumed {
    /// Its call goes on.
    Goes(Running),
    /// Not everything that was asked was answered.
    Again(InputRequiredResult),
    /// Its call is not there any more.
    Gone,
    /// None of a call.
    NotOurs,
}

impl Relay {
    pub(crate) fn new() -> Self {
        let mut key = [0_u8; 32];
        let filled = getrandom::fill(&mut key).ok();
        let codec = filled.and_then(|()| RequestStateCodec::try_new(key.to_vec()).ok());
        Self { codec, parked: Arc::default(), level: Mutex::default() }
    }

    pub(crate) fn set_level(&self, level: LoggingLevel) {
        *lock(&self.level) = Some(level);
    }

    /// Calls off everything that waits.
    pub(crate) fn close(&self) {
        let waiting = std::mem::take(&mut lock(&self.parked).calls);
        drop(waiting);
    }

    /// Begins a call.
    pub(crate) fn begin(
        &self,
        agent: &Agent,
        wish: &Wish,
        menu: &Menu,
        brought: Option<InputResponses>,
        context: &RequestContext<RoleServer>,
    ) -> Running {
        let session = agent.session().id().clone();
        let can = context.client_capabilities().unwrap_or_default();
        let (talk, words) = Talk::new(session, can, self.passed_on(context), brought);
        let known = match wish {
            Wish::Action(action) => Some(menu.upstreams().know(action.id(), &talk)),
            _ => None,
        };
        let going = Going::down(agent.clone(), wish.clone());
        Running { agent: agent.clone(), action: wish.clone(), going, words, talk, _known: known }
    }

    fn passed_on(&self, context: &RequestContext<RoleServer>) -> RequestMetaObject {
        let mut meta = RequestMetaObject::new();
        for key in PASSED_ON {
            if let Some(value) = context.meta.get(key) {
                meta.insert(key.to_owned(), value.clone());
            }
        }
        let level = context.meta.log_level().or_else(|| *lock(&self.level));
        if let Some(level) = level {
            meta.set_log_level(level);
        }
        meta
    }

    /// Stays with a call until it ends, or until its client has to come again.
    pub(crate) async fn serve(
        &self,
        mut running: Running,
        bound: &[u8],
        context: &RequestContext<RoleServer>,
        name: &str,
    ) -> Went {
        let modern = context.protocol_version().is_some_and(|version| !version.has_initialize());
        let mut told = Told::new(context, name);
        let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + TICK, TICK);
        loop {
            let next = tokio::select! {
                biased;
                // It never ends while we hold the talk.
                Some(word) = running.words.recv() => Some(word),
                ended = running.going.ended() => {
                    running.tell_the_rest(&mut told, context).await;
                    return running.went(ended, context).await;
                }
                _ = ticks.tick() => None,
            };
            let asks = match next {
                Some(Word::Asks(asks)) => asks,
                // The call goes on while its client takes its time to hear this.
                other => {
                    running.going.meanwhile(tell(&mut told, context, other)).await;
                    continue;
                }
            };
            let asks = marked(asks);
            if let Err(error) = running.record(&asks).await {
                return Went::Failed(error);
            }
            if modern && let Some(codec) = &self.codec {
                return Went::Asks(self.park(codec, running, asks, bound));
            }
            let Asks { requests, pages, answer, .. } = asks;
            let asking = ask_now(&context.peer, requests, pages);
            tokio::pin!(asking);
            let said = loop {
                tokio::select! {
                    biased;
                    ended = running.going.ended() => {
                        running.tell_the_rest(&mut told, context).await;
                        return running.went(ended, context).await;
                    }
                    said = &mut asking => break said,
                    _ = ticks.tick() => {}
                }
                running.going.meanwhile(told.tick()).await;
            };
            // Whoever asked may have given up; then the call ends by itself.
            drop(answer.send(said));
        }
    }

    /// Puts a call aside until its client comes again.
    fn park(
        &self,
        codec: &RequestStateCodec,
        mut running: Running,
        asks: Asks,
        bound: &[u8],
    ) -> InputRequiredResult {
        running.going.by_itself();
        let requests = asks.requests.clone();
        let mut parked = lock(&self.parked);
        let id = parked.next;
        parked.next += 1;
        let given_up = match parked.calls.len() {
            MAX_PARKED.. => parked.calls.pop_first(),
            _ => None,
        };
        parked.calls.insert(id, Parked { running, asks });
        drop(parked);
        // Not under the lock: a call that is called off has things to do.
        drop(given_up);
        let all = Arc::clone(&self.parked);
        tokio::spawn(async move {
            tokio::time::sleep(OPEN).await;
            let late = lock(&all).calls.remove(&id);
            drop(late);
        });
        let options = SealOptions::new().associated_data(bound).ttl(OPEN);
        let state = codec.seal_with(id.to_string().as_bytes(), &options);
        InputRequiredResult::new(Some(requests), Some(state))
    }

    /// Takes up the call of a state, with what its client answers.
    pub(crate) fn resume(
        &self,
        bound: &[u8],
        state: &str,
        said: Option<&InputResponses>,
    ) -> Resumed {
        let Some(codec) = &self.codec else { return Resumed::NotOurs };
        let Ok(id) = codec.open_with(state, bound) else { return Resumed::NotOurs };
        let id = String::from_utf8(id).ok().and_then(|id| id.parse::<u64>().ok());
        let found = id.and_then(|id| lock(&self.parked).calls.remove(&id));
        let Some(Parked { running, asks }) = found else { return Resumed::Gone };
        let answer_to = |key: &String| {
            let answer = said.and_then(|said| said.get(key)).filter(|answer| answer.is_object());
            answer.map(|answer| (key.clone(), answer.clone()))
        };
        let answers: Option<InputResponses> = asks.requests.keys().map(answer_to).collect();
        let Some(answers) = answers else {
            return Resumed::Again(self.park(codec, running, asks, bound));
        };
        drop(asks.answer.send(Ok(answers)));
        Resumed::Goes(running)
    }
}

impl Running {
    /// What the server said before its call ended, in the moment in which it did.
    async fn tell_the_rest(&mut self, told: &mut Told<'_>, context: &RequestContext<RoleServer>) {
        while let Ok(word) = self.words.try_recv() {
            tell(told, context, Some(word)).await;
        }
    }

    async fn went(&mut self, ended: Ended, context: &RequestContext<RoleServer>) -> Went {
        match ended {
            Some(Ok(outcome)) => Went::Done(outcome),
            Some(Err(error)) => match self.talk.refused() {
                Some(Refused { error, pages }) => {
                    if hears_of_pages(context) {
                        pages.asked(pages_of(&error), &context.peer).await;
                    }
                    Went::Said(error)
                }
                None => Went::Failed(error),
            },
            None => Went::Said(ErrorData::internal_error("the call's task ended early", None)),
        }
    }

    /// On record before anything of it leaves this process.
    async fn record(&mut self, asks: &Asks) -> Result<(), ActError> {
        let requests = json!(asks.requests);
        let asked: Vec<Value> = asks
            .requests
            .values()
            .map(|request| json!(request).get("method").cloned().unwrap_or_default())
            .collect();
        let mut facts = EventFacts { success: Some(true), ..EventFacts::default() };
        if let Wish::Action(action) = &self.action {
            facts.action_id = Some(action.id().clone());
            facts.action_name = Some(action.capability().to_string());
        }
        let digest = Digest::of(requests.to_string().as_bytes());
        let about = json!({ "server": asks.server, "asks": asked, "sealed": digest });
        facts.metadata.insert("question".to_owned(), about);
        let runtime = self.agent.runtime();
        let session = self.agent.session();
        let event =
            Event::new(session, EventType::QuestionRelayed, facts, runtime.clock().as_ref());
        runtime.record(vec![event]).await
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change is one step, so nothing is half done when a holder panicked.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Questions to people say whose they are. What Lictor itself asks begins otherwise, is answered
/// elsewhere, and no answer to these ever gets there.
fn marked(mut asks: Asks) -> Asks {
    let server = visible(&asks.server);
    let mark = |message: &mut String| {
        let cut: String = message.chars().take(MAX_MESSAGE).collect();
        let text = cut.split('\n').map(visible).collect::<Vec<_>>().join("\n");
        *message = format!(
            "The MCP server `{server}` asks this. It is not Lictor, your answer goes to that server, \
             and approves nothing:\n\n{text}"
        );
    };
    for request in asks.requests.values_mut() {
        match request {
            InputRequest::Elicitation(request) => match &mut request.params {
                ElicitRequestParams::FormElicitationParams { message, .. }
                | ElicitRequestParams::UrlElicitationParams { message, .. } => mark(message),
                _ => {}
            },
            // Clients show their users what is to be sampled, and the model reads it first.
            InputRequest::CreateMessage(request) => {
                let theirs = request.params.system_prompt.take().unwrap_or_default();
                let ours = format!(
                    "The MCP server `{server}` asks for this, through Lictor. Neither the user nor \
                     Lictor says what follows, and the answer goes to that server."
                );
                request.params.system_prompt =
                    Some(format!("{ours}\n\n{theirs}").trim_end().into());
            }
            _ => {}
        }
    }
    asks
}

/// Asks in the middle of the call, as the older protocol has it: one after the other.
async fn ask_now(
    peer: &Peer<RoleServer>,
    requests: InputRequests,
    pages: Option<Arc<Pages>>,
) -> Result<InputResponses, ErrorData> {
    let mut said = InputResponses::new();
    for (key, request) in requests {
        let page = match &request {
            InputRequest::Elicitation(request) => page_of(&request.params),
            _ => None,
        };
        let request = match request {
            InputRequest::CreateMessage(request) => ServerRequest::CreateMessageRequest(request),
            InputRequest::Elicitation(request) => ServerRequest::ElicitRequest(request),
            InputRequest::ListRoots(request) => ServerRequest::ListRootsRequest(request),
            _ => return Err(ErrorData::invalid_request("nobody knows this question", None)),
        };
        let failed = |error: rmcp::ServiceError| match error {
            rmcp::ServiceError::McpError(error) => error,
            error => ErrorData::internal_error(error.to_string(), None),
        };
        let asked = peer.send_request_with_option(request, PeerRequestOptions::with_timeout(OPEN));
        let asked = asked.await.map_err(failed)?;
        // It hears of a page after it was asked to open it.
        if let (Some(pages), Some(page)) = (&pages, page) {
            pages.asked(vec![page], peer).await;
        }
        let answered = asked.await_response().await.map_err(failed)?;
        let answer = match answered {
            ClientResult::CreateMessageResult(answer) => serde_json::to_value(answer),
            ClientResult::ElicitResult(answer) => serde_json::to_value(answer),
            ClientResult::ListRootsResult(answer) => serde_json::to_value(answer),
            other => serde_json::to_value(other),
        };
        said.insert(
            key,
            answer.map_err(|error| ErrorData::internal_error(error.to_string(), None))?,
        );
    }
    Ok(said)
}

/// Whether a client is told that a page was done with: it can open one, and has the older protocol.
fn hears_of_pages(context: &RequestContext<RoleServer>) -> bool {
    let modern = context.protocol_version().is_some_and(|version| !version.has_initialize());
    let can = context.client_capabilities().unwrap_or_default();
    !modern && can.elicitation.is_some_and(|modes| modes.url.is_some())
}

/// Tells a client what a server says, or that its call goes on when it says nothing.
async fn tell(told: &mut Told<'_>, context: &RequestContext<RoleServer>, word: Option<Word>) {
    match word {
        Some(Word::Progress(progress)) => told.pass_on(progress).await,
        Some(Word::Log(log)) => tell_log(context, log).await,
        Some(Word::Asks(_)) => {}
        None => told.tick().await,
    }
}

async fn tell_log(context: &RequestContext<RoleServer>, log: LoggingMessageNotificationParam) {
    let modern = context.protocol_version().is_some_and(|version| !version.has_initialize());
    let wanted = match context.meta.log_level() {
        // Whoever speaks the newer protocol says with each request what they want to hear.
        None => !modern,
        Some(least) => rank(log.level) >= rank(least),
    };
    if wanted && let Err(error) = context.peer.notify_logging_message(log).await {
        tracing::debug!(%error, "a client did not hear what a server logs");
    }
}

fn rank(level: LoggingLevel) -> u8 {
    match level {
        LoggingLevel::Debug => 0,
        LoggingLevel::Info => 1,
        LoggingLevel::Notice => 2,
        LoggingLevel::Warning => 3,
        LoggingLevel::Error => 4,
        LoggingLevel::Critical => 5,
        LoggingLevel::Alert => 6,
        LoggingLevel::Emergency => 7,
    }
}

/// What a client that wants to know has been told of how far its call is.
struct Told<'a> {
    peer: &'a Peer<RoleServer>,
    name: &'a str,
    token: Option<ProgressToken>,
    last: Option<f64>,
    seconds: u32,
    /// Whether the server itself says how far it is.
    by_server: bool,
}

impl<'a> Told<'a> {
    fn new(context: &'a RequestContext<RoleServer>, name: &'a str) -> Self {
        let token = context.meta.get_progress_token();
        Self { peer: &context.peer, name, token, last: None, seconds: 0, by_server: false }
    }

    async fn pass_on(&mut self, mut progress: ProgressNotificationParam) {
        self.by_server = true;
        let Some(token) = self.token.clone() else { return };
        progress.progress_token = token;
        self.tell(progress).await;
    }

    /// That it goes on, where the server says nothing.
    async fn tick(&mut self) {
        self.seconds = self.seconds.saturating_add(1);
        let Some(token) = self.token.clone().filter(|_| !self.by_server) else { return };
        let mut progress = still_under_way(token, self.name, self.seconds);
        // It only ever grows, and what the server says of itself is to be heard when it says something.
        progress.progress *= A_TICK;
        self.tell(progress).await;
    }

    async fn tell(&mut self, progress: ProgressNotificationParam) {
        // It only ever grows, as the protocol has it.
        if self.last.is_some_and(|last| progress.progress <= last) {
            return;
        }
        self.last = Some(progress.progress);
        if self.peer.notify_progress(progress).await.is_err() {
            // Nobody hears it; that the call is cancelled is told another way.
            self.token = None;
        }
    }
}
