//! What goes back and forth between a server and the client whose call it answers, while it does: what
//! the server asks, how far it is, what it logs. Whose call it is decides who hears it, and nobody else
//! ever does.
#![expect(deprecated, reason = "clients and servers of today use the older protocol")]

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lictor::context::{ActionId, SessionId};
use lictor::executor::RunTime;
use rmcp::model::{
    ClientCapabilities, ElicitRequestParams, ErrorData, InputRequest, InputRequests,
    InputResponses, LoggingMessageNotificationParam, ProgressNotificationParam, ProgressToken,
    RequestId, RequestMetaObject,
};
use tokio::sync::{mpsc, oneshot};

use super::pages::Pages;

/// So many words wait for a client at most; how far a server is may be left out beyond that.
const MAX_WAITING: usize = 64;

/// Something that a server has for the client of a call.
#[derive(Debug)]
pub(crate) enum Word {
    /// It asks, and goes on when it has been answered.
    Asks(Asks),
    /// How far it is.
    Progress(ProgressNotificationParam),
    /// What it logs.
    Log(LoggingMessageNotificationParam),
}

/// Something that a server has for everybody who is connected, and not for one call.
#[derive(Debug, Clone)]
pub(crate) enum Heard {
    /// It logs.
    Log(LoggingMessageNotificationParam),
    /// A resource is another one now.
    Updated(String),
}

/// Questions of a server, and where the answers go.
#[derive(Debug)]
pub(crate) struct Asks {
    pub(crate) server: String,
    pub(crate) requests: InputRequests,
    /// Where it is known who has which page open, if the server says when one was done with.
    pub(crate) pages: Option<Arc<Pages>>,
    pub(crate) answer: oneshot::Sender<Result<InputResponses, ErrorData>>,
}

/// What a server answered in place of a result.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) error: ErrorData,
    /// Where it is known who has which page open.
    pub(crate) pages: Arc<Pages>,
}

/// One call of a client, as the server that answers it may know it.
#[derive(Debug)]
pub(crate) struct Talk {
    session: SessionId,
    can: ClientCapabilities,
    meta: RequestMetaObject,
    /// Answers that came with the call, to questions of an earlier one.
    brought: Mutex<Option<InputResponses>>,
    words: mpsc::Sender<Word>,
    refused: Mutex<Option<Refused>>,
    /// The time of the run that the server's answer is for, once that has begun.
    time: Mutex<Option<RunTime>>,
}

impl Talk {
    /// A call of somebody who can so much. What of its `_meta` a server gets is in `meta`.
    pub(crate) fn new(
        session: SessionId,
        can: ClientCapabilities,
        meta: RequestMetaObject,
        brought: Option<InputResponses>,
    ) -> (Arc<Self>, mpsc::Receiver<Word>) {
        let (words, heard) = mpsc::channel(MAX_WAITING);
        let (brought, refused, time) = (Mutex::new(brought), Mutex::default(), Mutex::default());
        let can = only_asked(can);
        (Arc::new(Self { session, can, meta, brought, words, refused, time }), heard)
    }

    /// The run has begun that the server works on.
    pub(super) fn runs_in(&self, time: &RunTime) {
        *lock(&self.time) = Some(time.clone());
    }

    /// What goes beside each request to a server that wants it there.
    pub(super) fn meta(&self, modern: bool) -> RequestMetaObject {
        let mut meta = self.meta.clone();
        if modern {
            meta.set_client_capabilities(self.can.clone());
        }
        meta
    }

    pub(super) fn brought(&self) -> Option<InputResponses> {
        lock(&self.brought).take()
    }

    /// Asks the client, if it can be asked that.
    pub(super) async fn ask(
        &self,
        server: &str,
        requests: InputRequests,
        pages: Option<&Arc<Pages>>,
    ) -> Result<InputResponses, ErrorData> {
        if let Some(missing) = missing(&self.can, &requests) {
            return Err(ErrorData::missing_required_client_capability(missing));
        }
        let gone = || ErrorData::internal_error("nobody waits for the answer any more", None);
        // What people take is not the server's time.
        let _held = lock(&self.time).as_ref().map(RunTime::hold);
        let (answer, answered) = oneshot::channel();
        let pages = pages.cloned();
        let asks = Asks { server: server.to_owned(), requests, pages, answer };
        self.words.send(Word::Asks(asks)).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }

    /// Tells the client, if it is not too far behind.
    pub(super) fn tell(&self, word: Word) {
        if self.words.try_send(word).is_err() {
            tracing::debug!("a client did not hear how a call goes on");
        }
    }

    /// What a server answered in place of a result, for who knows the protocol.
    pub(super) fn refuse(&self, error: ErrorData, pages: &Arc<Pages>) {
        *lock(&self.refused) = Some(Refused { error, pages: Arc::clone(pages) });
    }

    pub(crate) fn refused(&self) -> Option<Refused> {
        lock(&self.refused).take()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whole values are exchanged.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a server may ask of a client. Nothing else is relayed, so nothing else is promised.
pub(super) fn only_asked(can: ClientCapabilities) -> ClientCapabilities {
    let mut asked = ClientCapabilities::default();
    asked.elicitation = can.elicitation;
    asked.sampling = can.sampling;
    asked.roots = can.roots;
    asked
}

/// What a client would have to be able to, and is not.
fn missing(can: &ClientCapabilities, requests: &InputRequests) -> Option<ClientCapabilities> {
    let mut missing = ClientCapabilities::default();
    let mut any = false;
    for request in requests.values() {
        match request {
            InputRequest::CreateMessage(_) if can.sampling.is_none() => {
                missing.sampling = Some(Default::default());
            }
            InputRequest::ListRoots(_) if can.roots.is_none() => {
                missing.roots = Some(Default::default());
            }
            InputRequest::Elicitation(request) if !shows(can, &request.params) => {
                missing.elicitation = Some(Default::default());
            }
            _ => continue,
        }
        any = true;
    }
    any.then_some(missing)
}

fn shows(can: &ClientCapabilities, params: &ElicitRequestParams) -> bool {
    let Some(modes) = &can.elicitation else { return false };
    match params {
        ElicitRequestParams::UrlElicitationParams { .. } => modes.url.is_some(),
        // Without a mode named it is forms, which is what there was first.
        _ => modes.form.is_some() || modes.url.is_none(),
    }
}

/// The talks of calls that are under way, by the action that each is.
#[derive(Debug, Default)]
pub(super) struct Talks(Mutex<HashMap<ActionId, Arc<Talk>>>);

impl Talks {
    pub(super) fn of(&self, action: &ActionId) -> Option<Arc<Talk>> {
        lock(&self.0).get(action).cloned()
    }
}

/// A talk is known for as long as this is there.
#[derive(Debug)]
pub(crate) struct Known {
    talks: Arc<Talks>,
    action: ActionId,
}

impl Known {
    pub(super) fn begin(talks: &Arc<Talks>, action: &ActionId, talk: &Arc<Talk>) -> Self {
        lock(&talks.0).insert(action.clone(), Arc::clone(talk));
        Self { talks: Arc::clone(talks), action: action.clone() }
    }
}

impl Drop for Known {
    fn drop(&mut self) {
        lock(&self.talks.0).remove(&self.action);
    }
}

/// The requests that a server has not answered yet, and whose they are.
#[derive(Debug, Default)]
pub(super) struct Flights(Mutex<Vec<Flight>>);

#[derive(Debug)]
struct Flight {
    talk: Arc<Talk>,
    /// Known once it is sent; until then it is nobody else's.
    sent: Option<(RequestId, ProgressToken)>,
}

/// A request that is under way for as long as this is there.
#[derive(Debug)]
pub(super) struct Flying {
    flights: Arc<Flights>,
    talk: Arc<Talk>,
}

impl Flights {
    pub(super) fn begin(self: &Arc<Self>, talk: &Arc<Talk>) -> Flying {
        lock(&self.0).push(Flight { talk: Arc::clone(talk), sent: None });
        Flying { flights: Arc::clone(self), talk: Arc::clone(talk) }
    }

    /// Whose a request is.
    pub(super) fn of_request(&self, id: &RequestId) -> Option<Arc<Talk>> {
        let flights = lock(&self.0);
        let sent = |flight: &&Flight| flight.sent.as_ref().is_some_and(|(known, _)| known == id);
        flights.iter().find(sent).map(|flight| Arc::clone(&flight.talk))
    }

    /// Whose a progress token is. What is not sent yet, as far as is known here, may be the one.
    pub(super) fn of_token(&self, token: &ProgressToken) -> Option<Arc<Talk>> {
        let flights = lock(&self.0);
        let sent = |flight: &&Flight| flight.sent.as_ref().is_some_and(|(_, known)| known == token);
        let found = flights.iter().find(sent).or_else(|| {
            let mut unsent = flights.iter().filter(|flight| flight.sent.is_none());
            unsent.next().filter(|_| unsent.next().is_none())
        });
        found.map(|flight| Arc::clone(&flight.talk))
    }

    /// Whose it is, where the transport does not tell: there has to be no doubt about whose session it
    /// is.
    pub(super) fn only(&self) -> Option<Arc<Talk>> {
        let flights = lock(&self.0);
        let last = flights.last()?;
        let same = flights.iter().all(|flight| flight.talk.session == last.talk.session);
        same.then(|| Arc::clone(&last.talk))
    }
}

impl Flying {
    pub(super) fn sent(&self, id: &RequestId, token: &ProgressToken) {
        let mut flights = lock(&self.flights.0);
        let own =
            |flight: &&mut Flight| Arc::ptr_eq(&flight.talk, &self.talk) && flight.sent.is_none();
        if let Some(flight) = flights.iter_mut().find(own) {
            flight.sent = Some((id.clone(), token.clone()));
        }
    }
}

impl Drop for Flying {
    fn drop(&mut self) {
        let mut flights = lock(&self.flights.0);
        let own = flights.iter().position(|flight| Arc::ptr_eq(&flight.talk, &self.talk));
        if let Some(at) = own {
            flights.remove(at);
        }
    }
}
