//! `capability import`: other people's descriptions of tools become proposals.

use std::path::{Path, PathBuf};

use lictor::capability::import::{
    Import, Imported, NotImported, SkillFolder, from_anthropic, from_claude_skill, from_command,
    from_openai, from_openapi,
};
use lictor::context::{Session, WorkspacePath};
use lictor::document::{Limits, Source, StrictValue, from_json, from_yaml};
use lictor::governance::CatalogueKind;
use lictor::{CatalogueFailure, ErrorCode, Runtime};
use serde_json::{Value, json};

use super::Answer;
use crate::catalogue_args::{ImportFrom, ImportWish};
use crate::consent;
use crate::context::Context;
use crate::failure::Failure;
use crate::files;
use crate::output::{DIM, GREEN, Output, visible};

/// Documents of this kind are large.
const LIMITS: Limits = Limits::DEFAULT.with_max_bytes(32 << 20).with_max_values(4_000_000);
/// The most files of a skill's folder that are looked at.
const MAX_FILES: usize = 1000;

pub(crate) async fn import(wish: ImportWish, context: &Context, output: &Output) -> Answer {
    let mut import = read(&wish, context)?;
    chosen(&mut import, &wish.only)?;
    if import.contracts.is_empty() {
        let failure = Failure::input("nothing of it can be proposed");
        return Err(failure.with_details(json!({ "left_out": import.left_out })));
    }
    if wish.dry.dry_run {
        let json = json!({ "would_propose": import.contracts, "left_out": import.left_out });
        output.result(&json, || shown(&import.contracts, &import.left_out));
        return Ok(0);
    }
    let runtime = context.runtime().await?;
    let session = context.session()?;
    let mut proposed = Vec::new();
    let mut done = Vec::new();
    for imported in std::mem::take(&mut import.contracts) {
        match propose(&runtime, &session, &wish, &imported).await {
            Ok(json) => {
                proposed.push(json);
                done.push(imported);
            }
            // About this one only; the others may well be accepted.
            Err(error) if error.code() == ErrorCode::InvalidInput => {
                import
                    .left_out
                    .push(NotImported { origin: imported.origin, why: error.to_string() });
            }
            Err(error) => {
                let failure = Failure::new(error.code(), error.to_string())
                    .with_details(json!({ "proposed": proposed }));
                return Err(consent::refused("capability.import", failure, &runtime, context).await);
            }
        }
    }
    if proposed.is_empty() {
        let failure = Failure::input("nothing of it can be proposed");
        return Err(failure.with_details(json!({ "left_out": import.left_out })));
    }
    let json = json!({ "proposed": proposed, "left_out": import.left_out });
    output.result(&json, || {
        format!(
            "{}\nan approver lets each in: lictor capability approve ID",
            shown(&done, &import.left_out)
        )
    });
    Ok(0)
}

async fn propose(
    runtime: &Runtime,
    session: &Session,
    wish: &ImportWish,
    imported: &Imported,
) -> Result<Value, CatalogueFailure> {
    let text = imported.to_text();
    let source = Source::new(imported.id(), text.as_bytes());
    let why = wish.reason.clone().unwrap_or_else(|| format!("imported: {}", imported.origin));
    let made = runtime.propose(session, CatalogueKind::Capability, &source, &why).await?;
    Ok(json!({
        "id": imported.id(), "origin": imported.origin, "lost": imported.lost,
        "state": made.entry.state, "digest": made.entry.document.digest(), "file": made.file,
        "already": made.already,
    }))
}

fn shown(contracts: &[Imported], left_out: &[NotImported]) -> String {
    let mut text = String::new();
    for one in contracts {
        let risk = one.contract.get("risk").and_then(Value::as_str).unwrap_or_default();
        text.push_str(&format!("{GREEN}{}{GREEN:#} {risk} {DIM}{}{DIM:#}\n", one.id(), one.origin));
        for lost in &one.lost {
            text.push_str(&format!("  not carried over: {lost}\n"));
        }
    }
    for one in left_out {
        text.push_str(&format!("left out: {}: {}\n", one.origin, one.why));
    }
    visible(text.trim_end())
}

fn read(wish: &ImportWish, context: &Context) -> Result<Import, Failure> {
    let bad = |error: lictor::capability::import::ImportError| Failure::input(error.to_string());
    let namespace = wish.namespace.as_str();
    if !wish.command.is_empty() {
        return from_command(namespace, &wish.command).map_err(bad);
    }
    let (Some(file), Some(from)) = (&wish.file, wish.from) else {
        return Err(Failure::usage("name a file and what it is, with --from; or give a --command"));
    };
    match from {
        ImportFrom::Openai => from_openai(namespace, &document(file)?).map_err(bad),
        ImportFrom::Anthropic => from_anthropic(namespace, &document(file)?).map_err(bad),
        ImportFrom::Openapi => {
            from_openapi(namespace, &document(file)?, wish.server.as_deref()).map_err(bad)
        }
        ImportFrom::ClaudeSkill => {
            from_claude_skill(namespace, &skill(file, context)?).map_err(bad)
        }
    }
}

/// JSON where it begins like JSON, else YAML; both are read strictly.
fn document(file: &Path) -> Result<Value, Failure> {
    let given = files::read(file, LIMITS.max_bytes)?;
    let begins = given.bytes.iter().find(|byte| !byte.is_ascii_whitespace());
    let read = if matches!(begins, Some(b'{' | b'[')) {
        from_json::<StrictValue>(&given.source(), &LIMITS)
    } else {
        from_yaml::<StrictValue>(&given.source(), &LIMITS)
    };
    read.map(StrictValue::into_inner).map_err(|error| Failure::document(&error))
}

/// Only what was asked for, by id or by a beginning that ends in `*`.
fn chosen(import: &mut Import, only: &[String]) -> Result<(), Failure> {
    for wanted in only {
        if !import.contracts.iter().any(|one| fits(one.id(), wanted)) {
            let ids = import.contracts.iter().map(Imported::id);
            let nearest = lictor::capability::nearest(wanted, ids);
            let failure = Failure::not_found(format!("nothing of it is called `{wanted}`"))
                .with_details(json!({ "left_out": import.left_out }));
            return Err(match nearest {
                Some(nearest) => failure.with_step(format!("did you mean `{nearest}`?")),
                None => failure.with_step("--dry-run lists what there is"),
            });
        }
    }
    if !only.is_empty() {
        import.contracts.retain(|one| only.iter().any(|wanted| fits(one.id(), wanted)));
    }
    Ok(())
}

fn fits(id: &str, wanted: &str) -> bool {
    wanted.strip_suffix('*').map_or(id == wanted, |beginning| id.starts_with(beginning))
}

/// A skill's folder. It has to lie in the workspace: what its capabilities read and run is what
/// stands there.
fn skill(folder: &Path, context: &Context) -> Result<SkillFolder, Failure> {
    let io = |error: std::io::Error| {
        Failure::input(format!("`{}` cannot be read: {error}", folder.display()))
    };
    let root = context.workspace.canonicalize().map_err(io)?;
    let here = folder.canonicalize().map_err(io)?;
    let inside = |path: &Path| -> Result<WorkspacePath, Failure> {
        let text = path.strip_prefix(&root).ok().and_then(Path::to_str).unwrap_or_default();
        WorkspacePath::parse(text).map_err(|error| {
            Failure::input(format!(
                "a skill's folder lies in the workspace, as files of it: {error}"
            ))
        })
    };
    let path = inside(&here)?;
    let given = files::read(&here.join("SKILL.md"), Limits::DEFAULT.max_bytes)?;
    let skill = String::from_utf8(given.bytes)
        .map_err(|_| Failure::input(format!("`{}` is not UTF-8", given.name)))?;
    let (mut left, mut files): (Vec<PathBuf>, Vec<WorkspacePath>) = (vec![here], Vec::new());
    while let Some(folder) = left.pop() {
        for entry in std::fs::read_dir(folder).map_err(io)? {
            let entry = entry.map_err(io)?;
            let kind = entry.file_type().map_err(io)?;
            if kind.is_dir() {
                left.push(entry.path());
            } else if kind.is_file() {
                files.push(inside(&entry.path())?);
            }
            if files.len() + left.len() > MAX_FILES {
                let message = format!("the folder holds more than {MAX_FILES} files");
                return Err(Failure::input(message));
            }
        }
    }
    files.sort();
    Ok(SkillFolder { path, skill, files })
}
