//! How a person proves who they are: by their token, or by typing a code at a terminal.

use std::io::BufRead as _;

use lictor::capability::Risk;
use lictor::context::{ApprovalId, Event, EventFacts, EventType, Name, Timestamp};
use lictor::governance::{ApproverError, Channel, PinError, Proof, ProvenApprover, Verdict};
use lictor::{ActError, Agent, Checked, Consent, ErrorCode, Runtime, Seen};
use serde_json::json;

use crate::args;
use crate::context::{Context, env_text};
use crate::failure::Failure;
use crate::files;
use crate::output::{Output, at_terminal};
use crate::verbs::judgement_text;
use crate::{page, pin};

/// The token that was given, if one was.
fn token(context: &Context) -> Result<Option<String>, Failure> {
    if let Some(path) = &context.global.token_file {
        let given = files::read(path, 4096)?;
        let text = String::from_utf8(given.bytes)
            .map_err(|_| Failure::usage("the token file holds no text"))?;
        return Ok(Some(text.trim().to_owned()));
    }
    Ok(env_text("LICTOR_APPROVER_TOKEN").map(|token| token.trim().to_owned()))
}

/// An approver, for what they are to agree to: by token where one is given, else at the terminal.
/// Who does not prove to be one is refused, and that stands in the trail.
pub(crate) async fn approver(
    what: &str,
    runtime: &Runtime,
    context: &Context,
    output: &Output,
) -> Result<(ProvenApprover, Channel), Failure> {
    let (by, channel) = answering(what, runtime, context, output).await?;
    let policies = runtime.gate().policies();
    if by.proof() == Proof::Terminal && policies.settings().approvals.pin_from.is_some() {
        // What no action of the road is weighs as much as the most that one can.
        let why = "the policy wants a PIN at a terminal, and you have none; `lictor approvers pin` \
                   sets one, and a token counts as well";
        let failure = Failure::new(ErrorCode::Denied, why);
        return Err(refused(what, failure, runtime, context).await);
    }
    Ok((by, channel))
}

/// The same for an answer to a request: what a terminal may approve is seen when it is given.
pub(crate) async fn answering(
    what: &str,
    runtime: &Runtime,
    context: &Context,
    output: &Output,
) -> Result<(ProvenApprover, Channel), Failure> {
    match proven(runtime, context, output).await {
        Ok(proven) => Ok(proven),
        Err(failure) => Err(refused(what, failure, runtime, context).await),
    }
}

/// Records a refusal of something that is no action of the road.
pub(crate) async fn refused(
    what: &str,
    failure: Failure,
    runtime: &Runtime,
    context: &Context,
) -> Failure {
    let session = match context.session() {
        Ok(session) => session,
        Err(failure) => return failure,
    };
    match runtime.agent(&session).ending().record_refusal(what, failure.recorded()).await {
        Ok(()) => failure,
        Err(unrecorded) => unrecorded.into(),
    }
}

async fn proven(
    runtime: &Runtime,
    context: &Context,
    output: &Output,
) -> Result<(ProvenApprover, Channel), Failure> {
    let denied = |error: &dyn std::fmt::Display| Failure::new(ErrorCode::Denied, error.to_string());
    if let Some(token) = token(context)? {
        let approver = runtime.approvers().authenticate(&token).map_err(|error| denied(&error))?;
        return Ok((approver, Channel::Token));
    }
    if !at_terminal() || output.is_json() {
        return Err(Failure::new(
            ErrorCode::Denied,
            "an approver has to prove who they are: with LICTOR_APPROVER_TOKEN, with --token-file, or \
             at a terminal",
        ));
    }
    let name: &Name = &context.os_user;
    let challenge = runtime.approvers().challenge(name).map_err(|error| denied(&error))?;
    output.note(&format!(
        "You answer as `{name}`. Type {} to agree, anything else to leave it:",
        challenge.code()
    ));
    let mut typed = String::new();
    std::io::stdin().lock().read_line(&mut typed).map_err(|error| denied(&error))?;
    let approver = if challenge.wants_pin() {
        challenge.check_code(&typed).map_err(|error| denied(&error))?;
        let pin = pin::ask("Your PIN, which is not shown:", output)?;
        challenge.answer_with_pin(&typed, &pin)
    } else {
        challenge.answer(&typed)
    };
    if let Err(ApproverError::Pin(PinError::Locked { name, until, now: true })) = &approver {
        locked(name, *until, runtime, context).await?;
    }
    Ok((approver.map_err(|error| denied(&error))?, Channel::Terminal))
}

/// Somebody tried PINs: that stands in the trail for itself.
async fn locked(
    name: &Name,
    until: Timestamp,
    runtime: &Runtime,
    context: &Context,
) -> Result<(), Failure> {
    let mut facts = EventFacts { success: Some(false), ..EventFacts::default() };
    facts.metadata.insert("approver".to_owned(), json!(name));
    facts.metadata.insert("until".to_owned(), json!(until));
    let session = context.session()?;
    let event = Event::new(&session, EventType::ApproverLocked, facts, runtime.clock().as_ref());
    Ok(runtime.record(vec![event]).await?)
}

/// The agent, held to the approval that `--approval` names.
pub(crate) fn under(agent: Agent, wish: &args::Under) -> Result<Agent, Failure> {
    let Some(id) = &wish.approval else { return Ok(agent) };
    let id = ApprovalId::parse(id).map_err(|error| Failure::usage(error.to_string()))?;
    Ok(agent.only_under(id))
}

/// Consent in advance, when `--approve` was given and the policy asks for approval. The person
/// sees what they agree to before they are asked, and agrees to nothing else.
pub(crate) async fn in_advance(
    agent: &Agent,
    check: impl FnOnce() -> Result<Vec<Checked>, ActError>,
    wish: args::Consent,
    context: &Context,
    output: &Output,
) -> Result<Option<Consent>, Failure> {
    if !wish.approve {
        return Ok(None);
    }
    // What cannot be judged is refused on the road, and recorded there.
    let Ok(mut asked) = check() else { return Ok(None) };
    asked.retain(|one| one.decision.verdict == Verdict::NeedApproval);
    let Some(first) = asked.first() else { return Ok(None) };
    let what = first.described.action().capability().to_string();
    let runtime = agent.runtime();
    show_before(&what, &judgement_text(&asked, agent), runtime, context, output).await?;
    let (approver, channel) = answering(&what, runtime, context, output).await?;
    let seen = asked.iter().map(|one| one.decision.action_digest).collect();
    Ok(Some(Consent { approver, channel, seen: Seen::Actions(seen) }))
}

/// Shows a person what they are asked about, unless somebody answers for them with a token. Who has
/// not seen all of it agrees to nothing.
pub(crate) async fn show_before(
    what: &str,
    text: &str,
    runtime: &Runtime,
    context: &Context,
    output: &Output,
) -> Result<(), Failure> {
    if !at_terminal() || output.is_json() {
        return Ok(());
    }
    if token(context)?.is_some() {
        output.note(text);
        return Ok(());
    }
    if page::before_asking(text, output) {
        return Ok(());
    }
    let why = "not all of it was shown, so nothing is agreed to";
    Err(refused(what, Failure::new(ErrorCode::Denied, why), runtime, context).await)
}

/// A risk from the command line.
pub(crate) fn risk(text: Option<&str>) -> Result<Option<Risk>, Failure> {
    text.map(|text| {
        text.parse()
            .map_err(|error: lictor::capability::UnknownRisk| Failure::usage(error.to_string()))
    })
    .transpose()
}
