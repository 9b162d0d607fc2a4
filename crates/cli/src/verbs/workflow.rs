//! `run`, `check run` and `workflow`.

use lictor::audit::Redactor;
use lictor::capability::Action;
use lictor::context::{ApprovalId, RunId, Session};
use lictor::document::{Limits, Source};
use lictor::governance::{PlannedStep, RunPlan};
use lictor::workflow::{
    Control, EffectState, EngineError, FailureKind, Preview, Resume, RollbackStatus, RunRecord,
    RunStatus, StoreError, UndoBy, Workflow as Document,
};
use lictor::{Agent, Consent, ErrorCode, Records, Runtime, Seen};
use serde_json::{Value, json};

use super::approvals::approval_failure;
use super::call::object;
use super::{Answer, refused_or};
use crate::args::{self, Run, RunInput, Workflow};
use crate::consent;
use crate::context::Context;
use crate::failure::Failure;
use crate::files;
use crate::output::{DIM, GREEN, Output, RED, visible};

/// What people agree to who agree to a run at once.
const RUN: &str = "workflow.run";

pub(crate) async fn run(wish: Run, context: &Context, output: &Output) -> Answer {
    if wish.dry.dry_run {
        return check(&wish.input, context, output).await;
    }
    let agent = context.agent().await?;
    let (document, input) = match read(&wish.input, &agent) {
        Ok(read) => read,
        Err(failure) => {
            return Err(consent::refused(RUN, failure, agent.runtime(), context).await);
        }
    };
    let consent = match wish.consent.approve {
        true => {
            let about = (agent.session(), &document, &input);
            Some(agreed(agent.runtime(), RUN, about, None, context, output).await?)
        }
        false => None,
    };
    let engine = agent.runtime().engine(consent);
    let run = engine.run(agent.session(), &document, input).await.map_err(driving_failure)?;
    ended(&run, output)
}

/// Agreement to a run at once: whoever gives it is shown the run first, and what it waits for.
async fn agreed(
    runtime: &Runtime,
    what: &str,
    (session, document, input): (&Session, &Document, &Value),
    waits: Option<&RunRecord>,
    context: &Context,
    output: &Output,
) -> Result<Consent, Failure> {
    let engine = runtime.engine(None);
    let steps = engine.dry_run(session, document, input).await.map_err(engine_failure)?;
    let run_id = waits.map(|run| &run.run_id);
    let seen = runtime.look_at_run(session, (document, input), &steps, run_id)?;
    let steps = without_secrets(steps, input, runtime)?;
    let mut text = previewed(document, &steps) + &bound(seen.plan());
    if let Some(run) = waits {
        text.push_str(&shown(run));
        let asked = run.steps.iter().filter_map(|step| step.waiting_for.as_deref());
        // A step may wait for a run that is to wait: then nobody was asked.
        let asked = asked.chain(run.plan_waits_for()).filter_map(|id| ApprovalId::parse(id).ok());
        for id in asked {
            // What is settled already is nothing to look at.
            let view = runtime.approvals().view(&id).map_err(approval_failure)?;
            text.push_str(&view.unwrap_or_default());
        }
    }
    consent::show_before(what, &text, runtime, context, output).await?;
    let (approver, channel) = consent::approver(what, runtime, context, output).await?;
    Ok(Consent { approver, channel, seen: Seen::Run(Box::new(seen)) })
}

/// The agent, for an action that may call a workflow: whoever agrees to that at once agrees to what the
/// workflow does, which they are shown as a run.
pub(super) async fn agreeing(
    wish: args::Consent,
    agent: Agent,
    action: &Action,
    context: &Context,
    output: &Output,
) -> Result<Agent, Failure> {
    // What cannot be called is refused on the road, and recorded there.
    let called = agent.workflow_of(action).ok().flatten().filter(|_| wish.approve);
    let fits = |workflow: &Document| workflow.check_input(action.input()).is_ok();
    let Some(workflow) = called.filter(fits) else { return Ok(agent) };
    let about = (agent.session(), &workflow, action.input());
    let what = action.capability().to_string();
    let consent = agreed(agent.runtime(), &what, about, None, context, output).await?;
    Ok(agent.agreeing(consent))
}

/// The same steps, with questions as they are shown: whoever looks at a run is not always whoever gave
/// it its input.
fn without_secrets(
    mut steps: Vec<Preview>,
    input: &Value,
    runtime: &Runtime,
) -> Result<Vec<Preview>, Failure> {
    let redactor = runtime.audit().redactor();
    let named = redactor.named(input);
    let redactor = Redactor::clone(&redactor).and(named).map_err(Failure::failed)?;
    for question in steps.iter_mut().filter_map(|step| step.question.as_mut()) {
        *question = redactor.text(question);
    }
    Ok(steps)
}

/// What agreement to a run at once is bound to, for people.
fn bound(plan: &RunPlan) -> String {
    let RunPlan { document, input, policy, pack, steps, .. } = plan;
    let mut text = format!("document {document}\ninput    {input}\npolicies {policy}\n");
    text.extend(pack.iter().map(|pack| format!("pack     {} {}\n", pack.id, pack.digest)));
    bound_steps(&mut text, steps, "  ");
    text
}

fn bound_steps(text: &mut String, steps: &[PlannedStep], indent: &str) {
    for PlannedStep { id, compensates, capability, contract, risk, effects, each, calls } in steps {
        let back = if *compensates { " (to take it back)" } else { "" };
        let each = if *each { " (for each item)" } else { "" };
        let most = serde_json::to_string(effects).unwrap_or_default();
        text.push_str(&format!(
            "{indent}{id}{back}{each}: {capability}, {risk} risk, by the contract {contract}, at most {}\n",
            visible(&most)
        ));
        if let Some(run) = calls {
            text.push_str(&format!("{indent}  a run of {} ({})\n", run.workflow, run.document));
            bound_steps(text, &run.steps, &format!("{indent}    "));
        }
    }
}

/// The same for a run that waits.
async fn agreed_to_go_on(
    runtime: &Runtime,
    run_id: &RunId,
    context: &Context,
    output: &Output,
) -> Result<Consent, Failure> {
    let run = runtime.engine(None).record(run_id).await.map_err(engine_failure)?;
    let source = Source::new(&run.workflow.source_name, run.workflow.source.as_bytes());
    let document = Document::from_yaml(&source).map_err(Failure::input)?;
    let session = run.session();
    let about = (&session, &document, &run.input);
    agreed(runtime, RUN, about, Some(&run), context, output).await
}

fn read(wish: &RunInput, agent: &Agent) -> Result<(Document, Value), Failure> {
    let given = files::read(&wish.file, Limits::default().max_bytes)?;
    let document = Document::from_yaml(&given.source()).map_err(Failure::input)?;
    agent.runtime().validate_workflow(agent.session(), &document).map_err(Failure::input)?;
    let denied =
        |refusal: lictor::PackRefusal| Failure::new(ErrorCode::Denied, refusal.to_string());
    agent.runtime().check_pack(&document).map_err(denied)?;
    let input = wish.input.as_deref().map(object).transpose()?.unwrap_or_default();
    Ok((document, Value::Object(input)))
}

pub(crate) async fn check(wish: &RunInput, context: &Context, output: &Output) -> Answer {
    let agent = context.agent().await?;
    let (document, input) = read(wish, &agent)?;
    let engine = agent.runtime().engine(None);
    let steps = engine.dry_run(agent.session(), &document, &input).await.map_err(engine_failure)?;
    let steps = without_secrets(steps, &input, agent.runtime())?;
    let verdict = |name: &str| {
        steps
            .iter()
            .any(|step| step.decision.as_ref().is_some_and(|decision| decision["verdict"] == name))
    };
    let code = if verdict("deny") {
        Some((ErrorCode::Denied, "a step would be denied"))
    } else if verdict("need_approval") {
        Some((ErrorCode::ApprovalRequired, "a step would wait for approval"))
    } else {
        None
    };
    let decision =
        steps.iter().filter_map(|step| step.decision.as_ref()).max_by_key(
            |decision| match decision["verdict"].as_str() {
                Some("deny") => 2,
                Some("need_approval") => 1,
                _ => 0,
            },
        );
    let json = json!({
        "workflow": document.id, "order": document.plan().order, "levels": document.plan().levels,
        "steps": steps, "decision": decision,
    });
    refused_or(json, || previewed(&document, &steps), code, output)
}

/// What is known of a run before it begins, for people.
fn previewed(document: &Document, steps: &[Preview]) -> String {
    let mut text = format!("{} {}\n", document.id, document.version);
    for step in steps {
        let said = match (&step.decision, &step.error, &step.question) {
            (Some(decision), ..) => decision["verdict"].as_str().unwrap_or_default().to_owned(),
            (None, Some(error), _) => visible(&error.message),
            (None, None, Some(question)) => format!("asks: {}", visible(question)),
            (None, None, None) => "depends on the steps before it".to_owned(),
        };
        let risk = step.risk.map_or_else(String::new, |risk| format!("{risk} risk"));
        let undo = match step.undo {
            Some(UndoBy::Automatic) => "undone by itself",
            Some(UndoBy::Compensation) => "compensated",
            Some(UndoBy::Impossible) => "NOT UNDOABLE",
            Some(UndoBy::Nothing) | None => "",
        };
        let (id, group) = (&step.step, step.group + 1);
        text.push_str(&format!("  {group:>3} {id:<20} {risk:<12} {undo:<17} {said}\n"));
    }
    text
}

/// Why a run was not looked at, or not begun.
fn engine_failure(error: EngineError) -> Failure {
    Failure::new(ErrorCode::of_engine(&error), error.to_string())
}

/// Why a run was not driven any further. What it had done by then is not known where it was not saved.
fn driving_failure(error: EngineError) -> Failure {
    let lost = matches!(error, EngineError::Store(StoreError::Unavailable(_)));
    let failure = engine_failure(error);
    match lost {
        true => failure.with_code(ErrorCode::Incomplete).with_step("lictor workflow list"),
        false => failure,
    }
}

/// What a run came to: an answer, or a failure that says what is left.
fn ended(run: &RunRecord, output: &Output) -> Answer {
    let report = run.to_report();
    let failure = match run.status() {
        // Whoever drives it elsewhere was told to look again at what it waits for.
        RunStatus::Completed | RunStatus::Running | RunStatus::RollingBack => {
            output.result(&report, || shown(run));
            return Ok(0);
        }
        RunStatus::Paused => {
            let waits = run.steps.iter().find_map(|step| step.waiting_for.as_deref());
            let waits = run.plan_waits_for().or(waits);
            let mut failure = Failure::new(
                ErrorCode::ApprovalRequired,
                format!("run `{}` waits for an answer", run.run_id),
            );
            if let Some(approval) = waits.filter(|id| ApprovalId::parse(id).is_ok()) {
                failure.details = json!({ "approval_id": approval });
                failure = failure.with_step(format!("lictor approvals approve {approval}"));
            }
            if waits.is_some() {
                failure = failure.with_step(format!("lictor workflow resume {}", run.run_id));
            }
            failure
        }
        _ => failed(run),
    };
    let mut failure = failure;
    if let Value::Object(report) = &report {
        // `error` is the failure's own; the engine's stands in its details.
        let known = report.iter().filter(|(key, _)| *key != "error");
        failure.known = known.map(|(key, value)| (key.clone(), value.clone())).collect();
    }
    if !output.is_json() {
        output.note(&shown(run));
    }
    Err(failure)
}

fn changed(run: &RunRecord) -> bool {
    let mut attempts = run.steps.iter().flat_map(|step| &step.attempts);
    attempts.any(|attempt| !matches!(attempt.effect, EffectState::None | EffectState::PutBack))
}

/// Whether a run has failed and left something behind.
pub(super) fn is_incomplete(run: &RunRecord) -> bool {
    run.status() == RunStatus::Failed
        && (changed(run) || run.rollback.status == RollbackStatus::Partial)
}

fn failed(run: &RunRecord) -> Failure {
    let code = if is_incomplete(run) {
        ErrorCode::Incomplete
    } else if changed(run) {
        ErrorCode::Failed
    } else {
        // Nothing was done, so the reason of the failing step is the whole story.
        match run.error.as_ref().map(|error| &error.kind) {
            Some(FailureKind::Denied) => ErrorCode::Denied,
            Some(FailureKind::Invalid) => ErrorCode::InvalidInput,
            Some(FailureKind::Conflict) => ErrorCode::Conflict,
            Some(FailureKind::Busy) => ErrorCode::Busy,
            Some(FailureKind::Integrity) => ErrorCode::Integrity,
            _ => ErrorCode::Failed,
        }
    };
    let why = run
        .error
        .as_ref()
        .map_or_else(|| "it did not come to its end".to_owned(), |error| error.message.clone());
    let after = match run.status() {
        RunStatus::RolledBack => "everything it did was taken back, verified",
        _ if code == ErrorCode::Incomplete => "not everything it did was taken back",
        _ => "it did nothing",
    };
    let mut failure = Failure::new(code, format!("{why} ({after})"));
    failure.details = json!({ "run_error": run.error, "rollback": run.rollback });
    if code == ErrorCode::Incomplete {
        failure = failure.with_step(format!("lictor workflow resume {} --rollback", run.run_id));
    }
    failure
}

fn shown(run: &RunRecord) -> String {
    let style = match run.status() {
        RunStatus::Completed => GREEN,
        RunStatus::Failed | RunStatus::RolledBack => RED,
        _ => DIM,
    };
    let mut text =
        format!("{} {} {style}{}{style:#}\n", run.run_id, run.workflow.id, run.status().as_str());
    for step in &run.steps {
        text.push_str(&format!("  {:<20} {}", step.id, step.status.as_str()));
        if let Some(error) = &step.error {
            text.push_str(&format!(": {}", visible(&error.message)));
        }
        text.push('\n');
    }
    for stuck in &run.rollback.stuck {
        text.push_str(&format!("  STUCK {}: {}\n", stuck.step, visible(&stuck.reason)));
    }
    text
}

pub(crate) async fn workflow(wish: Workflow, context: &Context, output: &Output) -> Answer {
    let id = |text: &str| RunId::parse(text).map_err(|error| Failure::usage(error.to_string()));
    match wish {
        Workflow::List { limit } => {
            let runs = runs(&context.records(output).await?, limit)?;
            let reports: Vec<Value> = runs.iter().map(RunRecord::to_report).collect();
            output.result(&json!({ "runs": reports }), || {
                if runs.is_empty() {
                    return "no workflow was run here yet".to_owned();
                }
                let line = |run: &RunRecord| {
                    let (id, status) = (&run.workflow.id, run.status().as_str());
                    format!("{} {DIM}{}{DIM:#} {status:<12} {id}\n", run.run_id, run.created_at)
                };
                runs.iter().map(line).collect()
            });
            Ok(0)
        }
        Workflow::Show(shown_id) => {
            let found = context.records(output).await?.run(&id(&shown_id.id)?);
            let found = found.map_err(Failure::failed)?;
            let missing = || Failure::not_found(format!("there is no run `{}`", shown_id.id));
            let found = found.ok_or_else(missing)?;
            output.result(&found, || {
                visible(&serde_json::to_string_pretty(&found).unwrap_or_default())
            });
            Ok(0)
        }
        Workflow::Resume { id: run_id, rollback, consent: wish, dry } => {
            let runtime = context.runtime().await?;
            let run_id = id(&run_id)?;
            let how = if rollback { Resume::RollBack } else { Resume::Continue };
            if dry.dry_run {
                return would(Control::Resume(how), &runtime, &run_id, output).await;
            }
            let consent = match wish.approve {
                true => Some(agreed_to_go_on(&runtime, &run_id, context, output).await?),
                false => None,
            };
            let run = runtime.engine(consent).resume(&run_id, how).await;
            ended(&run.map_err(driving_failure)?, output)
        }
        Workflow::Pause { id: run_id, dry } => {
            let runtime = context.runtime().await?;
            let run_id = id(&run_id)?;
            if dry.dry_run {
                return would(Control::Pause, &runtime, &run_id, output).await;
            }
            let run = runtime.pause_run(&run_id).await.map_err(driving_failure)?;
            output.result(&run.to_report(), || shown(&run));
            Ok(0)
        }
        Workflow::Cancel { id: run_id, keep, dry } => {
            let runtime = context.runtime().await?;
            let run_id = id(&run_id)?;
            if dry.dry_run {
                return would(Control::Cancel, &runtime, &run_id, output).await;
            }
            let run = runtime.engine(None).cancel(&run_id, !keep).await;
            let run = run.map_err(driving_failure)?;
            runtime.withdraw_approvals_of_run(&run_id, &context.session()?).await?;
            if run.rollback.status == RollbackStatus::Partial {
                return ended(&run, output);
            }
            // That it was cancelled is what was asked for, not an error of this call.
            let mut report = run.to_report();
            if let Value::Object(report) = &mut report {
                report.remove("error");
            }
            output.result(&report, || shown(&run));
            Ok(0)
        }
    }
}

/// The answer of a dry run: the run as it stands, which nothing is done to.
async fn would(control: Control, runtime: &Runtime, run_id: &RunId, output: &Output) -> Answer {
    let run = runtime.engine(None).would(run_id, control).await.map_err(engine_failure)?;
    let word = match control {
        Control::Pause => "paused",
        Control::Resume(Resume::Continue) => "resumed",
        Control::Resume(Resume::RollBack) => "taken back",
        Control::Cancel => "cancelled",
    };
    let mut report = run.to_report();
    if let Value::Object(report) = &mut report {
        report.remove("error");
    }
    output.result(&report, || format!("{}would be {word}", shown(&run)));
    Ok(0)
}

fn runs(records: &Records, limit: u32) -> Result<Vec<RunRecord>, Failure> {
    let found = records.runs(limit).map_err(Failure::failed)?;
    found.into_iter().map(|run| serde_json::from_value(run).map_err(Failure::failed)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_of_the_engine_has_the_exit_code_that_it_is_documented_with() {
        let run_id = RunId::parse("wfr_1").unwrap();
        let id = || run_id.clone();
        let kept = |reason: &str| EngineError::Document { run_id: id(), reason: reason.into() };
        let illegal = lictor::workflow::StepStatus::Undone
            .transition("s", lictor::workflow::StepStatus::Running)
            .unwrap_err();
        let (status, reason) = (RunStatus::Completed, "it has ended");
        // What it is, the exit code of whoever only looked, and of whoever drove the run.
        let table: [(EngineError, u8, u8); 10] = [
            (EngineError::Input { workflow: "w".into(), findings: Vec::new() }, 2, 2),
            (EngineError::NotFound(id()), 2, 2),
            (EngineError::NotResumable { run_id: id(), status, reason }, 2, 2),
            (EngineError::Busy(id()), 7, 7),
            (kept("its digest is another one"), 6, 6),
            (illegal.into(), 6, 6),
            (StoreError::Stale { run_id: id(), found: 2, given: 1 }.into(), 7, 7),
            (StoreError::Fenced { run_id: id() }.into(), 7, 7),
            (StoreError::Gone { run_id: id(), reason: "erased".into() }.into(), 8, 8),
            (StoreError::Unavailable("disk full".into()).into(), 1, 8),
        ];
        for (error, looked, drove) in table {
            let text = error.to_string();
            assert_eq!(ErrorCode::of_engine(&error).exit_code(), looked, "{text}");
            assert_eq!(driving_failure(error).code.exit_code(), drove, "{text}");
        }
    }
}
