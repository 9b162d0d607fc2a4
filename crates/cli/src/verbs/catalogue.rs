//! `capability`, `pack` and `facade`: one life, three kinds.

use lictor::context::Digest;
use lictor::governance::{CatalogueEntry, CatalogueKind, Document, LifeState};
use lictor::{CatalogueFailure, LifeStep, Runtime};
use serde_json::{Value, json};

use super::Answer;
use crate::catalogue_args::{Bundle, Capability, Decide, FacadeWish, Named, Propose};
use crate::consent;
use crate::context::Context;
use crate::failure::Failure;
use crate::files;
use crate::output::{DIM, GREEN, Output, at_terminal, visible};

pub(crate) async fn capability(wish: Capability, context: &Context, output: &Output) -> Answer {
    match wish {
        Capability::Life(wish) => life(CatalogueKind::Capability, wish, context, output).await,
        Capability::Import(wish) => super::import::import(wish, context, output).await,
        Capability::Export { format } => super::tools::export(&format, context, output).await,
        Capability::Graph { dot, .. } => super::tools::graph(dot, context, output).await,
    }
}

pub(crate) async fn pack(wish: Bundle, context: &Context, output: &Output) -> Answer {
    life(CatalogueKind::Pack, wish, context, output).await
}

pub(crate) async fn facade(wish: FacadeWish, context: &Context, output: &Output) -> Answer {
    match wish {
        FacadeWish::Life(wish) => life(CatalogueKind::Facade, wish, context, output).await,
        FacadeWish::Route { text } => route(&text, context, output).await,
    }
}

async fn life(kind: CatalogueKind, wish: Bundle, context: &Context, output: &Output) -> Answer {
    let runtime = context.runtime().await?;
    let (next, wish) = match wish {
        Bundle::List => return list(kind, &runtime, output),
        Bundle::Show(named) => return show(kind, &named, &runtime, output),
        Bundle::Propose(wish) => return propose(kind, &wish, &runtime, context, output).await,
        Bundle::Approve(wish) => (LifeState::Active, wish),
        Bundle::Unfreeze(wish) => (LifeState::Active, wish),
        Bundle::Reject(wish) => (LifeState::Rejected, wish),
        Bundle::Freeze(wish) => (LifeState::Frozen, wish),
        Bundle::Deprecate(wish) => (LifeState::Deprecated, wish),
    };
    decide(kind, next, &wish, &runtime, context, output).await
}

fn plural(kind: CatalogueKind) -> &'static str {
    kind.folder()
}

fn list(kind: CatalogueKind, runtime: &Runtime, output: &Output) -> Answer {
    let entries = runtime.catalogue().list(kind);
    let problems = runtime.catalogue_problems();
    let shown: Vec<Value> = entries.iter().map(summary).collect();
    output.result(&json!({ plural(kind): shown, "problems": problems }), || {
        let mut text: String = entries.iter().map(line).collect();
        for one in &problems {
            let problem = visible(&one.problem);
            text.push_str(&format!("not counted: {}: {problem}\n", visible(&one.file)));
        }
        text
    });
    Ok(0)
}

fn summary(entry: &CatalogueEntry) -> Value {
    let document = &entry.document;
    let mut shown = json!({
        "id": document.id(), "version": document.version(), "title": document.title(),
        "state": entry.state, "digest": document.digest(), "changed": entry.changed(),
    });
    if let (Some(contract), Some(fields)) = (document.contract(), shown.as_object_mut()) {
        fields.insert("kind".to_owned(), json!(contract.kind));
        fields.insert("source".to_owned(), json!(contract.source));
        fields.insert("risk".to_owned(), json!(contract.risk));
        if let Some(workflow) = contract.calls_workflow() {
            fields.insert("workflow".to_owned(), json!(workflow));
        }
    }
    shown
}

fn line(entry: &CatalogueEntry) -> String {
    let document = &entry.document;
    let risk = document.contract().map_or("", |contract| contract.risk.as_str());
    let changed = if entry.changed() { " (changed since it was proposed)" } else { "" };
    let calls = document.contract().and_then(|contract| contract.calls_workflow());
    let calls = calls.map_or_else(String::new, |id| format!(" (workflow {id})"));
    format!(
        "{:<20} {:<8} {:<10} {risk:<8} {DIM}{}{DIM:#}{calls}{changed}\n",
        document.id(),
        document.version(),
        entry.state.as_str(),
        visible(document.title())
    )
}

fn full(entry: &CatalogueEntry) -> Value {
    let mut json = entry.document.to_json();
    if let Some(fields) = json.as_object_mut() {
        fields.insert("digest".to_owned(), json!(entry.document.digest()));
        fields.insert("state".to_owned(), json!(entry.state));
        fields.insert("changed".to_owned(), json!(entry.changed()));
        let record = entry.record.as_ref();
        fields.insert("proposed_by".to_owned(), json!(record.map(|record| &record.proposed_by)));
        fields.insert("history".to_owned(), json!(record.map(|record| &record.history)));
    }
    json
}

fn show(kind: CatalogueKind, named: &Named, runtime: &Runtime, output: &Output) -> Answer {
    let entry = find(kind, named, runtime, |_| true)?;
    let json = full(&entry);
    output.result(&json, || visible(&serde_json::to_string_pretty(&json).unwrap_or_default()));
    Ok(0)
}

/// The version that is meant: the one that is named, else the newest of those that `fits`, else
/// the newest.
fn find(
    kind: CatalogueKind,
    named: &Named,
    runtime: &Runtime,
    fits: impl Fn(&CatalogueEntry) -> bool,
) -> Result<CatalogueEntry, Failure> {
    let mut versions = runtime.catalogue().versions(kind, &named.id);
    if versions.is_empty() {
        let failure = Failure::not_found(format!("there is no {kind} `{}`", named.id));
        let known = runtime.catalogue().list(kind);
        let ids = known.iter().map(|entry| entry.document.id());
        let failure = match lictor::capability::nearest(&named.id, ids) {
            Some(nearest) => failure.with_step(format!("did you mean `{nearest}`?")),
            None => failure.with_step(format!("lictor {kind} list")),
        };
        return Err(failure);
    }
    if let Some(version) = &named.of_version {
        let there: Vec<String> =
            versions.iter().map(|entry| entry.document.version().to_string()).collect();
        versions.retain(|entry| entry.document.version().to_string() == *version);
        return versions.pop().ok_or_else(|| {
            let message = format!("there is no {kind} `{}` {version}", named.id);
            Failure::not_found(message).with_step(format!("there is: {}", there.join(", ")))
        });
    }
    let fitting = versions.iter().filter(|entry| fits(entry)).count();
    if fitting > 1 && kind == CatalogueKind::Capability && fitting < versions.len() {
        let message = format!("`{}` has {fitting} versions that this could be about", named.id);
        return Err(Failure::usage(message).with_step("name one with --of-version"));
    }
    let at = versions.iter().position(fits).unwrap_or(0);
    Ok(versions.swap_remove(at))
}

async fn propose(
    kind: CatalogueKind,
    wish: &Propose,
    runtime: &Runtime,
    context: &Context,
    output: &Output,
) -> Answer {
    let given = files::read(&wish.file, lictor::document::Limits::default().max_bytes)?;
    let source = given.source();
    if wish.dry.dry_run {
        let document = Document::from_yaml(kind, &source).map_err(Failure::input)?;
        let document = runtime.as_used(document).map_err(|error| failure(&error))?;
        runtime.catalogue().acceptable(&document).map_err(Failure::input)?;
        let json = json!({ "id": document.id(), "version": document.version(), "digest": document.digest() });
        output.result(&json, || format!("would propose the {}", document.key()));
        return Ok(0);
    }
    let session = context.session()?;
    let why = wish.reason.as_deref().unwrap_or_default();
    let proposed = match runtime.propose(&session, kind, &source, why).await {
        Ok(proposed) => proposed,
        Err(error) => {
            let what = format!("{kind}.propose");
            return Err(consent::refused(&what, failure(&error), runtime, context).await);
        }
    };
    let mut json = full(&proposed.entry);
    if let Some(fields) = json.as_object_mut() {
        fields.insert("file".to_owned(), json!(proposed.file));
        fields.insert("already".to_owned(), json!(proposed.already));
    }
    output.result(&json, || {
        let document = &proposed.entry.document;
        format!(
            "{GREEN}{}{GREEN:#} {} in {}\nan approver lets it in: lictor {kind} approve {}",
            proposed.entry.state,
            document.key(),
            proposed.file,
            document.id()
        )
    });
    Ok(0)
}

async fn decide(
    kind: CatalogueKind,
    next: LifeState,
    wish: &Decide,
    runtime: &Runtime,
    context: &Context,
    output: &Output,
) -> Answer {
    let from = |state| match next {
        LifeState::Active => matches!(state, LifeState::Proposed | LifeState::Frozen),
        LifeState::Rejected | LifeState::Proposed => state == LifeState::Proposed,
        LifeState::Frozen => state == LifeState::Active,
        LifeState::Deprecated => matches!(state, LifeState::Active | LifeState::Frozen),
    };
    let entry = find(kind, &wish.named, runtime, |entry| from(entry.state))?;
    let given = wish.digest.as_deref().map(Digest::parse).transpose();
    let given = given.map_err(|error| Failure::usage(error.to_string()))?;
    let shown = full(&entry);
    if wish.dry.dry_run {
        output.result(&shown, || format!("the {} would be {next}", entry.document.key()));
        return Ok(0);
    }
    if at_terminal() && !output.is_json() {
        output.note(&visible(&serde_json::to_string_pretty(&shown).unwrap_or_default()));
    }
    let what = format!("{kind}.{next}");
    let (approver, channel) = consent::approver(&what, runtime, context, output).await?;
    let key = entry.document.key();
    // What was shown is what is agreed to.
    let looked_at = (next == LifeState::Active).then(|| entry.document.digest());
    let why = wish.reason.as_deref().unwrap_or_default();
    let seen = given.or(looked_at);
    let step = LifeStep { key: &key, next, seen, by: &approver, channel, why };
    let session = context.session()?;
    let entry = match runtime.step_life(&session, step).await {
        Ok(entry) => entry,
        Err(error) => {
            let mut failure = failure(&error);
            if next == LifeState::Active && !entry.is_proposed_by_somebody() {
                failure.next_steps.extend(proposing(&entry, runtime));
            }
            return Err(consent::refused(&what, failure, runtime, context).await);
        }
    };
    output.result(&full(&entry), || format!("{GREEN}{}{GREEN:#} {key}", entry.state));
    Ok(0)
}

/// How a document is let in that nobody has proposed as it is now.
fn proposing(entry: &CatalogueEntry, runtime: &Runtime) -> Vec<String> {
    let (kind, id) = (entry.document.kind(), entry.document.id());
    let Some(file) = runtime.catalogue_file(&entry.document.key()) else { return Vec::new() };
    vec![
        format!("lictor {kind} propose {file}"),
        format!("then an approver who did not propose it: lictor {kind} approve {id}"),
    ]
}

pub(super) fn failure(error: &CatalogueFailure) -> Failure {
    if let CatalogueFailure::Unreadable(lictor::governance::DocumentUnreadable::Bundle(error)) =
        error
    {
        return Failure::document(error.document());
    }
    Failure::new(error.code(), error.to_string())
}

async fn route(text: &str, context: &Context, output: &Output) -> Answer {
    let runtime = context.runtime().await?;
    let (routed, considered) = runtime.route(text);
    let Some(routed) = routed else {
        let failure = Failure::not_found("no active facade has a trigger that stands in the text");
        return Err(failure
            .with_details(json!({ "considered": considered }))
            .with_step("lictor facade list"));
    };
    let json = json!({
        "facade": routed.facade, "trigger": routed.trigger, "route": routed.route,
        "because": routed.because, "considered": considered,
    });
    if routed.route.is_none() {
        let why = routed.because.join("; ");
        return Err(Failure::new(lictor::ErrorCode::Denied, why).with_details(json));
    }
    output.result(&json, || {
        let target = routed.route.as_ref().map(ToString::to_string).unwrap_or_default();
        format!("{GREEN}{target}{GREEN:#}\n{}", visible(&routed.because.join("\n")))
    });
    Ok(0)
}
