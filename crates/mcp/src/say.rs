//! What a model reads: results, and refusals that say why and what to do next.

use lictor::audit::Redactor;
use lictor::capability::CapabilityId;
use lictor::{ActError, ActErrorKind, Done, ErrorCode, RunWaits, UndoDone};
use rmcp::model::{CallToolResult, ContentBlock, MetaObject, ResultType};
use serde_json::{Value, json};

use crate::call::{Outcome, Wish, about};
use crate::offer::{Offer, served_name};

/// So many files are named in the text; all of them stand in `_meta`.
const SHOWN_FILES: usize = 20;

/// The answer of something that was done.
pub(crate) fn outcome(
    outcome: &Outcome,
    (offer, wish): (&Offer, &Wish),
    redactor: &Redactor,
) -> CallToolResult {
    let mut result = match outcome {
        Outcome::Done(done) if offer.foreign.is_some() => relayed(done, redactor),
        Outcome::Done(done) => was_done(done, redactor),
        Outcome::Undone(undone) => was_undone(undone, redactor),
    };
    explain(&mut result, wish, redactor);
    result
}

/// Where a pack or a facade led, and why.
fn explain(result: &mut CallToolResult, wish: &Wish, redactor: &Redactor) {
    let Wish::Led(_, led) = wish else { return };
    let text = redactor.without_declared(&format!("Why this: {}.", led.because.join("; ")));
    result.content.push(ContentBlock::text(text));
    let mut meta = result.meta.take().unwrap_or_default();
    meta.0.insert("lictor/route".to_owned(), json!(led));
    result.meta = Some(meta);
}

fn was_done(done: &Done, redactor: &Redactor) -> CallToolResult {
    let output = &done.record.output;
    let mut blocks = vec![output.to_string()];
    if !done.record.files.is_empty() {
        let id = &done.record.execution_id;
        let word = if done.duplicate { "was done before as" } else { "is done, as" };
        let paths = done.record.files.iter().map(|file| file.path.as_str());
        blocks.push(format!(
            "It {word} `{id}`, which changed {}. `undo` with this id takes it back.",
            listed(paths, done.record.files.len())
        ));
    }
    let mut result = success(blocks, output, redactor);
    result.meta = Some(about(done));
    result
}

/// What was read at another server, as it is, with what happened to it here beside it.
pub(crate) fn relayed_output(done: &Done, redactor: &Redactor) -> Value {
    let mut output = without_secrets(&done.record.output, redactor);
    if let Some(fields) = output.as_object_mut() {
        let meta = fields.entry("_meta").or_insert_with(|| json!({}));
        if let Some(meta) = meta.as_object_mut() {
            meta.extend(about(done).0);
        }
    }
    output
}

/// Why something was not done, in a sentence, and the JSON that the command prints.
pub(crate) fn refusal_in_words(error: &ActError, redactor: &Redactor) -> (String, Value) {
    let mut text = format!("{}: {error}", error.code().as_str());
    let steps = error.next_steps();
    if !steps.is_empty() {
        text.push_str(&format!(". What a person can do: {}", steps.join("; ")));
    }
    (redactor.without_declared(&text), without_secrets(&error.to_json(), redactor))
}

/// What another server answered, as it is, with what happened to it here beside it.
fn relayed(done: &Done, redactor: &Redactor) -> CallToolResult {
    let output = without_secrets(&done.record.output, redactor);
    let Ok(mut result) = serde_json::from_value::<CallToolResult>(output) else {
        return was_done(done, redactor);
    };
    result.result_type = Some(ResultType::COMPLETE);
    let mut meta = result.meta.take().unwrap_or_default();
    meta.0.extend(about(done).0);
    result.meta = Some(meta);
    result
}

fn was_undone(undone: &UndoDone, redactor: &Redactor) -> CallToolResult {
    let output = json!({
        "undo_of": undone.undo_of, "executions": undone.executions, "files": undone.files,
        "kept": undone.kept, "merged": undone.merged,
    });
    success(vec![output.to_string()], &output, redactor)
}

fn success(blocks: Vec<String>, output: &Value, redactor: &Redactor) -> CallToolResult {
    let blocks = blocks.iter().map(|text| ContentBlock::text(redactor.without_declared(text)));
    let mut result = CallToolResult::success(blocks.collect());
    // Older clients take objects only.
    result.structured_content = output.is_object().then(|| without_secrets(output, redactor));
    result
}

fn listed<'a>(paths: impl Iterator<Item = &'a str>, n: usize) -> String {
    let shown: Vec<String> =
        paths.take(SHOWN_FILES).map(|path| format!("`{}`", path.escape_debug())).collect();
    let more = n.saturating_sub(shown.len());
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    format!("{}{more}", shown.join(", "))
}

/// The answer of something that was not done: a tool error, so that the model reads it, with the
/// same JSON as the command prints.
pub(crate) fn refusal(
    error: &ActError,
    (offer, name): (&Offer, &str),
    wish: Option<&Wish>,
    redactor: &Redactor,
) -> CallToolResult {
    let mut text = format!("{}: {error}\n", error.code().as_str());
    text.push_str(&what_now(error, offer, name));
    if let Some(Wish::Undo(undoing)) = wish
        && let Some(stopped) = undoing.stopped(&offer.agent)
    {
        text.push_str(&format!("\n{stopped}"));
    }
    let text = redactor.without_declared(&text);
    let mut result = CallToolResult::error(vec![ContentBlock::text(text)]);
    let why = without_secrets(&error.to_json(), redactor);
    // A tool of another server that says what it answers never said that it answers this.
    let foreign = offer.foreign.as_ref().and_then(|_| offer.tool(name));
    if foreign.is_some_and(|tool| tool.output_schema.is_some()) {
        let mut meta = MetaObject::default();
        meta.0.insert("lictor/refusal".to_owned(), why);
        result.meta = Some(meta);
    } else {
        result.structured_content = Some(why);
    }
    if let Some(wish) = wish {
        explain(&mut result, wish, redactor);
    }
    result
}

fn what_now(error: &ActError, offer: &Offer, name: &str) -> String {
    let name = name.escape_debug();
    let mut text = match error.code() {
        ErrorCode::ApprovalRequired => return wait_for_people(error, &name.to_string()),
        ErrorCode::Denied => {
            "Nothing was done. Repeating the call does not help: do it another way, or tell the \
             person what you wanted and why it is refused."
                .to_owned()
        }
        ErrorCode::InvalidInput | ErrorCode::Usage => {
            format!("Nothing was done. Call `{name}` again with arguments that it takes.")
        }
        ErrorCode::NotFound => match nearest(error, offer, &name.to_string()) {
            Some(nearest) => format!("Nothing was done. Did you mean `{nearest}`?"),
            None => "Nothing was done. The list of tools says what there is.".to_owned(),
        },
        ErrorCode::Conflict => {
            "Nothing was done. The workspace holds something else than you saw: \
            look at it again, and make the change from what it holds now."
                .to_owned()
        }
        ErrorCode::Busy => "Nothing was done. Somebody else is at work in this workspace; try \
            again in a moment."
            .to_owned(),
        ErrorCode::Integrity => {
            "Something is not what was approved or recorded. Do not go on with \
            this; tell the person."
                .to_owned()
        }
        ErrorCode::Failed => {
            "It did not work, and nothing of it is left: what it had changed was put back."
                .to_owned()
        }
        ErrorCode::Incomplete => "Some of it may have happened, or could not be put back. Do not \
            repeat it; tell the person."
            .to_owned(),
    };
    if let Some(decision) = error.decision() {
        text.push_str(&format!(" `explain` with `{}` shows every rule that spoke.", decision.id));
    }
    let steps = error.next_steps();
    if !steps.is_empty() && error.code() != ErrorCode::NotFound {
        text.push_str(&format!("\nWhat a person can do: {}.", steps.join("; ")));
    }
    text
}

fn wait_for_people(error: &ActError, name: &str) -> String {
    let approval = match error.kind() {
        ActErrorKind::ApprovalRequired(approval) => approval,
        ActErrorKind::RunWaits(waits) => return wait_for_run(waits, name),
        _ => return String::new(),
    };
    let (id, until) = (approval.id(), approval.expires_at());
    let mut text = format!(
        "Nothing was done yet: a person has to agree to exactly this, until {until}. You cannot. \
         Ask them to look at it with `lictor approvals show {id}`, and to answer with `lictor \
         approvals approve {id}` or `deny`. `pending` shows whether they have; then call `{name}` \
         again with the very same arguments."
    );
    if let Some(ran) = error.ran() {
        text = format!(
            "The command ran, and nothing of what it changed is in place. {text} (the changes \
             of `{ran}` land then: `lictor land {ran}`)"
        );
    }
    let required = error.decision().map(|decision| decision.required_actions.as_slice());
    match required {
        Some(required @ [_, ..]) => {
            format!("{text}\nIt might need no approval with: {}.", required.join("; "))
        }
        _ => text,
    }
}

/// Of a run that has begun and goes on later.
fn wait_for_run(waits: &RunWaits, name: &str) -> String {
    let again = format!(
        "then call `{name}` again with the very same arguments: it goes on with this run, and begins \
         nothing twice."
    );
    let run = &waits.run_id;
    match &waits.approval_id {
        Some(id) => format!(
            "The run `{run}` has begun, and waits: a person has to agree before it goes on. You \
             cannot. Ask them to look at it with `lictor approvals show {id}`, and to answer with \
             `lictor approvals approve {id}` or `deny`. `pending` shows whether they have; {again}"
        ),
        None => format!("The run `{run}` has begun, and somebody paused it. Ask them; {again}"),
    }
}

/// The tool that was perhaps meant.
fn nearest(error: &ActError, offer: &Offer, name: &str) -> Option<String> {
    let known = error.details();
    let id = known.get("did_you_mean").and_then(Value::as_str);
    let id = id.and_then(|id| CapabilityId::parse(id).ok()).map(|id| served_name(&id));
    id.filter(|name| offer.tool(name).is_some()).or_else(|| offer.nearest(name).map(str::to_owned))
}

/// A value without the secrets that were declared, whatever they are part of.
fn without_secrets(value: &Value, redactor: &Redactor) -> Value {
    match value {
        Value::String(text) => Value::String(redactor.without_declared(text)),
        Value::Array(items) => items.iter().map(|one| without_secrets(one, redactor)).collect(),
        Value::Object(fields) => {
            let clean = |(key, value): (&String, &Value)| {
                (redactor.without_declared(key), without_secrets(value, redactor))
            };
            Value::Object(fields.iter().map(clean).collect())
        }
        other => other.clone(),
    }
}
