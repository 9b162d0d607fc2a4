//! `policy`.

use std::path::Path;

use lictor::context::{DecisionId, Timestamp};
use lictor::document::{Limits, Source};
use lictor::governance::{DecisionRecord, PolicyLanguage, PolicySet};
use lictor::{
    ErrorCode, Proof, ProofStatus, cedar_schema, load_cedar, load_policies, load_policies_from,
    load_policies_with,
};
use serde_json::{Value, json};

use super::{Answer, history, policy_tools};
use crate::args::{Against, Policy};
use crate::consent;
use crate::context::Context;
use crate::failure::Failure;
use crate::files;
use crate::output::{Output, visible};

async fn prune(dry: bool, context: &Context, output: &Output) -> Answer {
    let (runtime, session) = (context.runtime().await?, context.session()?);
    let rows = if dry {
        runtime.prunable(&session)?
    } else {
        let what = "policy.prune";
        let (by, channel) = consent::approver(what, &runtime, context, output).await?;
        match runtime.prune(&by, channel, &session).await {
            Ok(rows) => rows,
            Err(error) => {
                return Err(consent::refused(what, error.into(), &runtime, context).await);
            }
        }
    };
    output.result(&json!({ "pruned": rows, "dry_run": dry }), || {
        let word = if dry { "would remove" } else { "removed" };
        format!("{word} {} decision(s) and {} counted call(s)", rows.decisions, rows.usage)
    });
    Ok(0)
}

pub(crate) async fn policy(wish: &Policy, context: &Context, output: &Output) -> Answer {
    match wish {
        Policy::Lint { file, strict } => {
            let set = load(file.as_deref(), context)?;
            policy_tools::lint(&set, file.is_none(), *strict, context, output)
        }
        Policy::Test { file, cases } => {
            let set = load(file.as_deref(), context)?;
            policy_tools::test(&set, cases, context, output)
        }
        Policy::Fuzz { file } => {
            let set = load(file.as_deref(), context)?;
            policy_tools::fuzz(&set, output)
        }
        Policy::Show => show(&load(None, context)?, output),
        Policy::Schema => {
            let schema = cedar_schema(&context.workspace, &[])?;
            output.result(&json!({ "language": "cedar", "schema": schema }), || visible(&schema));
            Ok(0)
        }
        Policy::Prune(dry) => prune(dry.dry_run, context, output).await,
        Policy::Explain { decision } => explain(decision, context, output).await,
        Policy::Diff { old, new, against: Against::Log, since } => {
            diff(old, new, since.as_deref(), context, output).await
        }
    }
}

fn show(set: &PolicySet, output: &Output) -> Answer {
    let sources = set.sources();
    let layers: Vec<_> = sources
        .iter()
        .filter(|source| source.language == PolicyLanguage::Yaml)
        .map(|source| json!({ "layer": source.layer, "text": source.text }))
        .collect();
    let cedar: Vec<_> = sources
        .iter()
        .filter(|source| source.language != PolicyLanguage::Yaml)
        .map(|source| json!({ "name": source.name, "text": source.text }))
        .collect();
    let json = json!({
        "digest": set.digest(), "settings": set.settings(), "layers": layers, "cedar": cedar,
    });
    output.result(&json, || {
        let mut text = String::new();
        for source in &sources {
            let name = match source.language {
                PolicyLanguage::Yaml => format!("layer: {}", source.layer),
                PolicyLanguage::Cedar | PolicyLanguage::CedarRoles => source.name.clone(),
            };
            text.push_str(&format!("# {}\n{}\n", visible(&name), visible(&source.text)));
        }
        if layers.is_empty() {
            text.push_str("there is no policy in YAML, so everything is denied\n");
        }
        text
    });
    Ok(0)
}

async fn explain(id: &str, context: &Context, output: &Output) -> Answer {
    let runtime = context.runtime().await?;
    let found = history::decision(id, &runtime.records(), context)?;
    let mut found =
        found.ok_or_else(|| Failure::not_found(format!("there is no decision `{id}`")))?;
    let wanted = DecisionId::parse(id).map_err(|error| Failure::usage(error.to_string()))?;
    let org = &context.principal.org;
    let proof = runtime.prove(org, &wanted)?.unwrap_or_else(|| Proof {
        status: ProofStatus::Unproven,
        because: vec!["what it was made from was not kept".to_owned()],
        inputs_digest: None,
    });
    let text = match serde_json::from_value::<DecisionRecord>(found.clone()) {
        Ok(record) => record.explain(),
        Err(_) => serde_json::to_string_pretty(&found).unwrap_or_default(),
    };
    let word = match proof.status {
        ProofStatus::Proven => "proven: the policies of then say the same again",
        ProofStatus::Unproven => "not proven",
        ProofStatus::Contradicted => "CONTRADICTED",
    };
    let mut text = format!("{}\nreplay: {word}", text.trim_end());
    for because in &proof.because {
        text.push_str("\n  ");
        text.push_str(because);
    }
    if let Value::Object(fields) = &mut found {
        fields.insert("proof".to_owned(), json!(proof));
    }
    if proof.status == ProofStatus::Contradicted {
        if !output.is_json() {
            output.result(&found, || visible(&text));
        }
        let why = "the records of the decision contradict each other";
        let mut failure = Failure::new(ErrorCode::Integrity, why);
        if let Value::Object(known) = found {
            failure.known = known;
        }
        return Err(failure);
    }
    output.result(&found, || visible(&text));
    Ok(0)
}

async fn diff(
    old: &Path,
    new: &Path,
    since: Option<&str>,
    context: &Context,
    output: &Output,
) -> Answer {
    let since = since.map(Timestamp::parse).transpose();
    let since = since.map_err(|error| Failure::usage(error.to_string()))?;
    let (old, new) = (in_place(old, context)?, in_place(new, context)?);
    let runtime = context.runtime().await?;
    let diff = runtime.diff_policies(&context.principal.org, (&old, &new), since)?;
    output.result(&json!(diff), || {
        let mut text =
            format!("{} decision(s), {} would change\n", diff.decisions, diff.changed.len());
        for one in &diff.changed {
            text.push_str(&format!(
                "  {} {} {}: {} -> {}\n",
                one.decision,
                one.capability,
                one.effects.join(", "),
                one.old,
                one.new
            ));
            for reason in &one.because {
                text.push_str(&format!("      {reason}\n"));
            }
        }
        for (decision, why) in &diff.undecided {
            text.push_str(&format!("  {decision}: cannot be said: {why}\n"));
        }
        visible(&text)
    });
    Ok(0)
}

/// A policy file in the place of the workspace's own, or a folder in the place of `.lictor`.
fn in_place(path: &Path, context: &Context) -> Result<PolicySet, Failure> {
    let places = context.options()?.policies;
    if path.is_dir() {
        return Ok(load_policies_from(&context.workspace, path, &places)?);
    }
    let given = files::read(path, Limits::default().max_bytes)?;
    let source = Source::new(&given.name, &given.bytes);
    Ok(load_policies_with(&context.workspace, &places, &source)?)
}

fn load(file: Option<&Path>, context: &Context) -> Result<PolicySet, Failure> {
    let Some(path) = file else {
        return Ok(load_policies(&context.workspace, &context.options()?.policies)?);
    };
    let given = files::read(path, Limits::default().max_bytes)?;
    let source = Source::new(&given.name, &given.bytes);
    if path.extension().is_some_and(|end| end.eq_ignore_ascii_case("cedar")) {
        return Ok(load_cedar(&context.workspace, &[], &source)?);
    }
    PolicySet::workspace(&source).map_err(Failure::input)
}
