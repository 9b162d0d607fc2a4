//! Asking the person behind the client, where it can show them a question: in the middle of the call
//! as the older protocol has it, or by an answer that asks and a call that comes again.
//!
//! The client that shows the question also runs the model, so this is a convenience and no proof of
//! a person: what it may approve is capped by policy, and everything else waits in the inbox.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lictor::context::{ApprovalId, Digest, Event, EventFacts, EventType, Hasher, Name};
use lictor::governance::{Approval, Channel, ElicitedChallenge, Says, visible};
use lictor::{ActError, ActErrorKind, Agent};
use rmcp::model::{
    ClientResult, ElicitRequest, ElicitRequestParams, ElicitResult, ElicitationAction,
    InputRequest, InputRequiredResult, InputResponses, RequestStateCodec, SealOptions,
    ServerRequest,
};
use rmcp::service::{Peer, PeerRequestOptions, RequestContext, RoleServer};
use serde_json::{Value, json};

/// How long the person may take.
const OPEN: Duration = Duration::from_secs(300);
/// A question that is longer is not read in a dialogue: it waits in the inbox.
const MAX_QUESTION: usize = 6_000;
/// More questions than this are not open at once; the oldest is asked anew.
const MAX_OPEN: usize = 64;
/// The name of our one question.
const KEY: &str = "approval";

/// Lets the person behind a client answer for an approver.
pub struct Elicitation {
    approver: Name,
    codec: RequestStateCodec,
    /// The questions that are open, each good for one answer.
    open: Mutex<BTreeMap<ApprovalId, ElicitedChallenge>>,
}

impl std::fmt::Debug for Elicitation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // INVARIANT: neither the key nor the codes.
        f.debug_struct("Elicitation").field("approver", &self.approver).finish_non_exhaustive()
    }
}

/// There is no key to seal with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no randomness: {0}")]
pub struct NoRandomness(String);

/// What came of asking.
pub(crate) enum Asked {
    /// Nobody was asked, or nobody answered: it waits in the inbox.
    Waits,
    /// They agreed; the call goes through now.
    Agreed,
    /// They answered, and not with a yes that counts.
    Refused(ActError),
    /// They are asked by the answer; the call comes again with what they say.
    ByAnswer(InputRequiredResult),
}

/// What a retried call was about, so that an answer to one fits no other.
pub(crate) struct About<'a> {
    pub(crate) agent: &'a Agent,
    pub(crate) tool: &'a str,
    pub(crate) arguments: Digest,
}

impl About<'_> {
    /// What the state of a call is bound to: who asks, and what exactly.
    pub(crate) fn bound(&self) -> Vec<u8> {
        let session = self.agent.session();
        let who = session.principal();
        let mut hasher = Hasher::new();
        hasher.update_framed(b"lictor/mcp/request-state/v1");
        for part in [who.org.as_str(), who.user.as_str(), who.agent.as_str(), session.id().as_str()]
        {
            hasher.update_framed(part.as_bytes());
        }
        hasher.update_framed(self.tool.as_bytes());
        hasher.update_framed(self.arguments.as_bytes());
        hasher.finish().as_bytes().to_vec()
    }
}

/// The state that a client brought back is not one that we gave it, for this call, or it is too old.
#[derive(Debug)]
pub(crate) struct BadState;

impl Elicitation {
    /// Lets the person behind the client answer as this approver: the user who runs the client.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn new(approver: Name) -> Result<Self, NoRandomness> {
        let mut key = [0_u8; 32];
        getrandom::fill(&mut key).map_err(|error| NoRandomness(error.to_string()))?;
        let codec = RequestStateCodec::try_new(key.to_vec());
        Ok(Self {
            approver,
            codec: codec.map_err(|error| NoRandomness(error.to_string()))?,
            open: Mutex::new(BTreeMap::new()),
        })
    }

    fn open(&self) -> std::sync::MutexGuard<'_, BTreeMap<ApprovalId, ElicitedChallenge>> {
        // Every change is one step, so nothing is half done when a holder panicked.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a request to the person, if the policy lets this way count for it.
    pub(crate) async fn ask(
        &self,
        about: &About<'_>,
        approval: &Approval,
        context: &RequestContext<RoleServer>,
    ) -> Asked {
        let Some((text, challenge)) = self.question(about.agent, approval) else {
            return Asked::Waits;
        };
        let Some(params) = form(&text) else { return Asked::Waits };
        if let Err(error) = put(about.agent, approval).await {
            return Asked::Refused(error);
        }
        let modern = context.protocol_version().is_some_and(|version| !version.has_initialize());
        if !modern {
            return match ask_now(&context.peer, params).await {
                Some(said) => hear(about.agent, approval.id(), challenge, said).await,
                None => Asked::Waits,
            };
        }
        let state = self.codec.seal_with(
            approval.id().as_str().as_bytes(),
            &SealOptions::new().associated_data(&about.bound()).ttl(OPEN),
        );
        let mut open = self.open();
        if open.len() >= MAX_OPEN {
            open.pop_first();
        }
        open.insert(approval.id().clone(), challenge);
        drop(open);
        let request = InputRequest::Elicitation(ElicitRequest::new(params));
        let requests = BTreeMap::from([(KEY.to_owned(), request)]);
        Asked::ByAnswer(InputRequiredResult::new(Some(requests), Some(state)))
    }

    /// Takes what the person said, from a call that comes again.
    ///
    /// # Errors
    /// When the state is not one that we gave for this very call.
    pub(crate) async fn redeem(
        &self,
        about: &About<'_>,
        state: &str,
        responses: Option<&InputResponses>,
    ) -> Result<Asked, BadState> {
        let id = self.codec.open_with(state, &about.bound()).map_err(|_| BadState)?;
        let id = String::from_utf8(id).ok().and_then(|id| ApprovalId::parse(&id).ok());
        let id = id.ok_or(BadState)?;
        let said = responses.and_then(|responses| responses.get(KEY));
        let said = said.and_then(|said| serde_json::from_value::<ElicitResult>(said.clone()).ok());
        // Without an answer they are asked again.
        let Some(said) = said else { return Ok(Asked::Waits) };
        // Each question is good for one answer: a state that comes twice finds nothing.
        let Some(challenge) = self.open().remove(&id) else { return Ok(Asked::Waits) };
        Ok(hear(about.agent, &id, challenge, said).await)
    }

    /// The question with its code; nothing where this way cannot count, or cannot show all of it.
    fn question(&self, agent: &Agent, approval: &Approval) -> Option<(String, ElicitedChallenge)> {
        let runtime = agent.runtime();
        let policies = runtime.gate().policies();
        let settings = &policies.settings().approvals;
        let user = agent.session().principal().user.as_str();
        let same = self.approver.as_str().eq_ignore_ascii_case(user);
        if !approval.may_come_by(Channel::Elicitation, settings)
            || approval.needed() > 1
            || (same && !settings.requester_may_approve)
        {
            return None;
        }
        let request = runtime.approvals().question(approval.id()).ok()?;
        let view = runtime.approvals().view(approval.id()).ok()??;
        let challenge = runtime.approvers().elicited(&self.approver, &request).ok()?;
        let decision = lines(&approval.decision().explain());
        let text = format!(
            "Lictor asks: the agent `{}` wants to do this.\n\n{view}\n{decision}\nType {} to agree; \
             it is done at once. Decline to withdraw it. Leave it open and it waits as `{}`.",
            agent.session().principal().agent,
            challenge.code(),
            approval.id()
        );
        (text.len() <= MAX_QUESTION).then_some((text, challenge))
    }
}

fn lines(text: &str) -> String {
    text.split('\n').map(visible).collect::<Vec<_>>().join("\n")
}

/// A form with one field: what is typed. The text is all there is to read.
fn form(text: &str) -> Option<ElicitRequestParams> {
    let params = json!({
        "mode": "form",
        "message": text,
        "requestedSchema": {
            "type": "object",
            "properties": { "code": {
                "type": "string", "title": "Code",
                "description": "The code that the text shows, if you agree.",
                "maxLength": 32,
            } },
            "required": ["code"],
        },
    });
    serde_json::from_value(params).ok()
}

/// Asks in the middle of the call, as the older protocol has it.
async fn ask_now(peer: &Peer<RoleServer>, params: ElicitRequestParams) -> Option<ElicitResult> {
    let request = ServerRequest::ElicitRequest(ElicitRequest::new(params));
    let asked = peer.send_request_with_option(request, PeerRequestOptions::with_timeout(OPEN));
    let answered = match asked.await {
        Ok(asked) => asked.await_response().await,
        Err(error) => Err(error),
    };
    match answered {
        Ok(ClientResult::ElicitResult(said)) => Some(said),
        Ok(_) => None,
        Err(error) => {
            tracing::info!(%error, "the client did not ask its user");
            None
        }
    }
}

/// On record before anything of it leaves this process.
async fn put(agent: &Agent, approval: &Approval) -> Result<(), ActError> {
    let mut facts = EventFacts {
        action_name: Some(approval.action().capability.clone()),
        decision_id: Some(approval.decision().id.clone()),
        requires_approval: Some(true),
        success: Some(true),
        ..EventFacts::default()
    };
    let about = json!({ "id": approval.id(), "action_digest": approval.action_digest() });
    facts.metadata.insert("approval".to_owned(), about);
    facts.metadata.insert("asked".to_owned(), json!(Channel::Elicitation));
    let clock = agent.runtime().clock().as_ref();
    let event = Event::new(agent.session(), EventType::ApprovalDelivered, facts, clock);
    agent.runtime().record(vec![event]).await
}

/// What the person said.
async fn hear(
    agent: &Agent,
    id: &ApprovalId,
    challenge: ElicitedChallenge,
    said: ElicitResult,
) -> Asked {
    let runtime = agent.runtime();
    match said.action {
        ElicitationAction::Accept => {
            let code = said.content.as_ref().and_then(|content| content.get("code"));
            let code = code.and_then(Value::as_str).unwrap_or_default();
            let taken = match challenge.answer(code) {
                Ok(by) => {
                    let (channel, says) = (Channel::Elicitation, Says::Approve);
                    runtime.answer(id, by, channel, says, agent.session()).await
                }
                Err(error) => Err(ActErrorKind::ApprovalRefused(error.to_string()).into()),
            };
            match taken {
                Ok(_) => Asked::Agreed,
                Err(error) => {
                    let recorded =
                        agent.record_refusal("approvals.elicited", &error.to_string()).await;
                    Asked::Refused(recorded.err().unwrap_or(error))
                }
            }
        }
        ElicitationAction::Decline => {
            let why = "the person behind the client declined";
            match runtime.withdraw_approval(id, why, agent.session()).await {
                Ok(_) => Asked::Refused(ActErrorKind::ApprovalRefused(why.to_owned()).into()),
                Err(error) => Asked::Refused(error),
            }
        }
        // They looked away: it waits.
        ElicitationAction::Cancel => Asked::Waits,
        _ => Asked::Waits,
    }
}
