//! One call: from its arguments to an action, down the road, and to an answer.

use std::convert::Infallible;
use std::time::Duration;

use lictor::capability::{Action, CapabilityId, ChangeDocument, McpPart};
use lictor::document::{Limits, Source};
use lictor::{ActError, ActErrorKind, Agent, Done, Led, UndoDone, document_key};
use rmcp::model::{MetaObject, ProgressNotificationParam, ProgressToken};
use rmcp::service::{Peer, RoleServer};
use serde_json::{Map, Value, json};

use crate::bundles::lead;
use crate::offer::{Offer, Served, arguments};
use crate::undo::{Undoing, Wanted};

/// A change set may be larger than other documents.
const MAX_CHANGES: u64 = 64 << 20;
/// How often whoever waits hears that it still goes on.
pub(crate) const TICK: Duration = Duration::from_secs(1);
/// The longest name that is repeated in an answer.
const SHOWN_NAME: usize = 64;

/// What a call means, before it goes down the road.
#[derive(Debug, Clone)]
pub(crate) enum Wish {
    /// One action.
    Action(Box<Action>),
    /// What was done before, and still stands.
    Standing(Box<Done>),
    /// Executions of this session to take back.
    Undo(Undoing),
    /// One action, to which a pack or a facade led.
    Led(Box<Action>, Led),
}

/// What came of it.
#[derive(Debug)]
pub(crate) enum Outcome {
    Done(Box<Done>),
    Undone(Box<UndoDone>),
}

/// What a call asks for.
///
/// # Errors
/// When there is no such tool, or its arguments make no sense. That was recorded.
pub(crate) async fn wish(
    offer: &Offer,
    name: &str,
    given: Option<Map<String, Value>>,
) -> Result<Wish, ActError> {
    let agent = &offer.agent;
    match offer.served(name) {
        Some(Served::Capability(id)) => Ok(action(agent, id.clone(), arguments(given))),
        Some(Served::Apply) => match changes(agent, given.unwrap_or_default()).await {
            Ok(wish) => Ok(wish),
            Err(error) => Err(refused("change.apply", error, agent).await),
        },
        Some(Served::Undo) => {
            let wanted = Wanted::read(given.unwrap_or_default());
            match wanted.and_then(|wanted| wanted.undoing(agent)) {
                Ok(undoing) => Ok(Wish::Undo(undoing)),
                Err(error) => Err(refused("change.undo", error, agent).await),
            }
        }
        Some(served @ (Served::Pack(_) | Served::Facade(_))) => {
            match lead(agent, served, given.unwrap_or_default()) {
                Ok((led, id, input)) => Ok(Wish::Led(Box::new(agent.action(id, input)), led)),
                Err(error) => Err(refused("tools.call", error, agent).await),
            }
        }
        None => unknown(offer, name, given).await,
    }
}

fn action(agent: &Agent, id: CapabilityId, input: Value) -> Wish {
    Wish::Action(Box::new(agent.action(id, input)))
}

/// What is not offered: the road says why, where it could be a capability's name.
async fn unknown(
    offer: &Offer,
    name: &str,
    given: Option<Map<String, Value>>,
) -> Result<Wish, ActError> {
    let agent = &offer.agent;
    let id = CapabilityId::parse(&name.replace('-', ".")).ok();
    let id = id.filter(|_| offer.foreign.is_none());
    // What exists and is not offered has another name here, or none.
    if let Some(id) = id.filter(|id| agent.graph().get(id, None).is_none()) {
        return Ok(action(agent, id, arguments(given)));
    }
    Err(not_there(offer, McpPart::Tool, name).await)
}

/// What is not offered, and what a person could do about that. It is on record.
pub(crate) async fn not_there(offer: &Offer, part: McpPart, name: &str) -> ActError {
    let agent = &offer.agent;
    let what = match part {
        McpPart::Tool | McpPart::About => "tools.call",
        McpPart::Prompt => "prompts.get",
        McpPart::Resource | McpPart::Template => "resources.read",
    };
    if let Some(foreign) = &offer.foreign
        && let Some(why) = foreign.menu.why_not(agent, part, name)
    {
        return refused(what, why.into(), agent).await;
    }
    let shown: String = name.chars().take(SHOWN_NAME).collect();
    let why = format!("there is no {} `{}`", part.as_str(), shown.escape_debug());
    refused(what, ActErrorKind::NotFound(why).into(), agent).await
}

/// Records what never became an action.
async fn refused(what: &str, error: ActError, agent: &Agent) -> ActError {
    // Of a document that is malformed only its first line: what follows shows what was given.
    let why = error.to_string();
    let why = why.lines().next().unwrap_or_default();
    match agent.record_refusal(what, why).await {
        Ok(()) => error,
        Err(unrecorded) => unrecorded,
    }
}

async fn changes(agent: &Agent, given: Map<String, Value>) -> Result<Wish, ActError> {
    let invalid =
        |error: &dyn std::fmt::Display| ActError::from(ActErrorKind::Invalid(error.to_string()));
    let mut given = given;
    let intent = match given.remove("intent") {
        None => None,
        Some(Value::String(intent)) => Some(intent),
        Some(_) => return Err(invalid(&"`intent` is text")),
    };
    let document = Value::Object(given).to_string();
    let source = Source::new("arguments", document.as_bytes());
    let limits = Limits::default().with_max_bytes(MAX_CHANGES);
    let key = document_key(None, document.as_bytes());
    let mut document =
        ChangeDocument::from_json(&source, &limits).map_err(|error| invalid(&error))?;
    if document.derived_plan_id
        && let Some(done) = agent.find_standing(key).await?
    {
        return Ok(Wish::Standing(Box::new(done)));
    }
    if let Some(intent) = intent {
        document.plan.intent = intent;
    }
    let action = agent.apply_action(&document)?;
    Ok(Wish::Action(Box::new(if document.derived_plan_id {
        action.with_remembered_key(key)
    } else {
        action
    })))
}

/// Takes a wish down the road.
///
/// # Errors
/// When it is not done; the error says why and what is left.
pub(crate) async fn go(agent: &Agent, wish: &Wish) -> Result<Outcome, ActError> {
    match wish {
        Wish::Action(action) | Wish::Led(action, _) => {
            let done = match agent.go_on_waiting(action).await? {
                Some(done) => done,
                None => agent.act(action.as_ref().clone(), None).await?,
            };
            Ok(Outcome::Done(Box::new(done)))
        }
        Wish::Standing(done) => {
            agent.record_repeat(done).await?;
            Ok(Outcome::Done(done.clone()))
        }
        Wish::Undo(undoing) => Ok(Outcome::Undone(Box::new(undoing.go(agent).await?))),
    }
}

/// Tells a client that asked for it that its call goes on: at once, and then again and again, so
/// that it does not give up on something that takes its time.
pub(crate) async fn tell_progress(
    peer: &Peer<RoleServer>,
    token: ProgressToken,
    what: &str,
) -> Infallible {
    let mut ticks = tokio::time::interval(TICK);
    let mut passed = 0_u32;
    loop {
        ticks.tick().await;
        let param = match passed {
            0 => ProgressNotificationParam::new(token.clone(), 0.0)
                .with_message(format!("`{what}` goes down the road")),
            seconds => still_under_way(token.clone(), what, seconds),
        };
        if peer.notify_progress(param).await.is_err() {
            // Nobody hears it; that the call is cancelled is told another way.
            return std::future::pending().await;
        }
        passed = passed.saturating_add(1);
    }
}

/// That a call goes on, after so many seconds.
pub(crate) fn still_under_way(
    token: ProgressToken,
    what: &str,
    seconds: u32,
) -> ProgressNotificationParam {
    let message = format!("`{what}` is still under way after {seconds} s");
    ProgressNotificationParam::new(token, f64::from(seconds)).with_message(message)
}

/// What programs may want to know of an execution, beside its output.
pub(crate) fn about(done: &Done) -> MetaObject {
    let (record, decision) = (&done.record, &done.record.decision);
    let about = json!({
        "execution_id": record.execution_id, "status": done.status(),
        "decision_id": decision.id, "verdict": decision.verdict,
        "risk": decision.risk_effective, "action_digest": decision.action_digest,
        "files": record.files, "undo": record.undo,
    });
    let mut meta = Map::new();
    meta.insert("lictor/execution".to_owned(), about);
    MetaObject(meta)
}
