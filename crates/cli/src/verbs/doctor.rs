//! `doctor`: what is set up here, what is enforced, what is missing.

use std::borrow::Cow;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use lictor::context::Name;
use lictor::governance::{ChangeDurability, PolicySet, RecordDurability};
use lictor::handlers::Launcher;
use lictor::lock::{Status, WorkspaceLock};
use lictor::undo_records::{Means, means};
use lictor::{Runtime, load_policies};
use serde_json::{Value, json};

use super::Answer;
use super::undo::size;
use crate::context::{Context, keys_folder};
use crate::output::{GREEN, Output, RED};

struct Found {
    name: &'static str,
    ok: bool,
    detail: String,
    next: Cow<'static, str>,
}

impl Found {
    fn new(
        name: &'static str,
        ok: bool,
        detail: impl Into<String>,
        next: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { name, ok, detail: detail.into(), next: next.into() }
    }

    fn to_json(&self) -> Value {
        let next = if self.ok { "" } else { &*self.next };
        json!({ "name": self.name, "ok": self.ok, "detail": self.detail, "next": next })
    }
}

pub(crate) async fn doctor(context: &Context, output: &Output) -> Answer {
    let root = &context.workspace;
    let state = root.join(".lictor");
    let mut found =
        vec![Found::new("workspace", state.is_dir(), root.display().to_string(), "lictor init")];
    if state.is_dir() {
        let private = std::fs::metadata(&state).map(|meta| meta.permissions().mode() & 0o077 == 0);
        found.push(Found::new(
            "private state",
            private.unwrap_or(false),
            ".lictor is for its owner only",
            "chmod 700 .lictor",
        ));
        found.push(policy(&context.options().map(|options| {
            load_policies(root, &options.policies).map_err(|error| error.to_string())
        })));
        found.push(lock(&state));
        found.push(exchange(root));
        match context.runtime().await {
            Ok(runtime) => opened(&runtime, context, &mut found),
            Err(failure) => found.push(Found::new(
                "state and trail",
                false,
                failure.message.clone(),
                "read the message; nothing is done without a trail",
            )),
        }
    }
    let key = keys_folder().map(|folder| folder.join("audit.key"));
    found.push(Found::new(
        "signing key outside of the workspace",
        key.as_ref().is_ok_and(|key| key.is_file() && !key.starts_with(root)),
        key.map_or_else(|failure| failure.message.clone(), |key| key.display().to_string()),
        "it is made at the first use; keep it out of the workspace",
    ));
    let ok = found.iter().all(|one| one.ok);
    let checks: Vec<Value> = found.iter().map(Found::to_json).collect();
    output.result(&json!({ "ok": ok, "checks": checks }), || {
        found
            .iter()
            .map(|one| {
                let (style, word) = if one.ok { (GREEN, "ok") } else { (RED, "missing") };
                let next = if one.ok { String::new() } else { format!(" ({})", one.next) };
                format!("{style}{word:<8}{style:#} {}: {}{next}\n", one.name, one.detail)
            })
            .collect()
    });
    Ok(0)
}

fn policy(loaded: &Result<Result<PolicySet, String>, crate::failure::Failure>) -> Found {
    let name = "policy";
    match loaded {
        Ok(Ok(set)) if set.layers().is_empty() => {
            Found::new(name, false, "there is none, so everything is denied", "lictor init")
        }
        Ok(Ok(set)) => {
            Found::new(name, true, format!("{} layer(s), {}", set.layers().len(), set.digest()), "")
        }
        Ok(Err(error)) => Found::new(name, false, error.clone(), "lictor policy lint"),
        Err(failure) => Found::new(name, false, failure.message.clone(), "lictor policy lint"),
    }
}

fn lock(state: &Path) -> Found {
    let name = "one writer";
    match WorkspaceLock::new(state.join("lock")).status() {
        Ok(Status::Free { last: None }) => Found::new(name, true, "kernel lock, free", ""),
        Ok(Status::Free { last: Some(last) }) if last.released => {
            Found::new(name, true, format!("kernel lock, free; last held by {last}"), "")
        }
        Ok(Status::Free { last: Some(last) }) => {
            Found::new(name, false, format!("its last holder died: {last}"), "lictor recover")
        }
        Ok(Status::Held { .. }) => Found::new(name, true, "kernel lock, held just now", ""),
        Err(error) => Found::new(name, false, error.to_string(), "use a file system with locks"),
    }
}

fn exchange(root: &Path) -> Found {
    let name = "atomic exchange";
    match means(root) {
        Ok(Means::Exchange) => {
            Found::new(name, true, "renameat2(RENAME_EXCHANGE) works on this mount", "")
        }
        Ok(fallback) => Found::new(
            name,
            false,
            format!("this mount cannot exchange two names; the fallback is used: {fallback}"),
            "use ext4, xfs, btrfs or tmpfs, where a changed file is never missing for a moment",
        ),
        Err(error) => Found::new(name, false, error.to_string(), "make the workspace writable"),
    }
}

fn halts(runtime: &Runtime) -> Found {
    let (name, next) = ("kill switch", "lictor resume");
    match runtime.halts().in_force() {
        Ok(halts) if halts.is_empty() => Found::new(name, true, "no halt is in force", ""),
        Ok(halts) => {
            let all: Vec<String> = halts.iter().map(ToString::to_string).collect();
            Found::new(name, false, all.join("; "), next)
        }
        Err(error) => Found::new(name, false, error.to_string(), "mend the store"),
    }
}

fn undo_records(runtime: &Runtime) -> Found {
    let name = "undo records";
    match runtime.transactions().stored() {
        Ok(kept) => {
            let oldest = kept.oldest_at.map_or_else(String::new, |at| format!(", since {at}"));
            let policy = runtime.gate().policies().settings().undo_retention;
            let (n, bytes) = (kept.records, size(kept.bytes));
            let detail = format!("{n}, {bytes}{oldest}; the policy keeps them {policy}");
            Found::new(name, true, detail, "")
        }
        Err(error) => Found::new(name, false, error.to_string(), "make .lictor/tx readable"),
    }
}

fn opened(runtime: &Runtime, context: &Context, found: &mut Vec<Found>) {
    found.push(Found::new(
        "durable state",
        true,
        format!("{}, WAL, every commit synced", runtime.store().path().display()),
        "",
    ));
    let when = match runtime.gate().policies().settings().change_durability {
        ChangeDurability::Strict => "acknowledged when they are durable",
        ChangeDurability::Lazy => {
            "lazy: acknowledged when it is durable that they will be there; after a power cut the \
             next start finishes them"
        }
    };
    found.push(Found::new("changes of files", true, when, ""));
    let when = match runtime.gate().policies().settings().record_durability {
        RecordDurability::Strict => "written before anything is answered",
        RecordDurability::Lazy => {
            "lazy: those of actions of low risk that change nothing here are written a moment after \
             they are answered, and a process that is killed takes the last of them along"
        }
    };
    found.push(Found::new("records", true, when, ""));
    approvers(runtime, found);
    found.push(halts(runtime));
    found.push(undo_records(runtime));
    let verified = runtime.audit().verify_store(&context.principal.org);
    let (ok, detail) = match verified {
        Ok(verified) => (
            verified.verdict.is_proven() || verified.events == 0,
            format!("{}, {} events", verified.verdict, verified.events),
        ),
        Err(error) => (false, error.to_string()),
    };
    found.push(Found::new("trail", ok, detail, "lictor audit verify"));
    found.push(sandbox());
}

/// Who may approve, and what the policy asks of people that they cannot give.
fn approvers(runtime: &Runtime, found: &mut Vec<Found>) {
    let all = match runtime.approvers().list() {
        Ok(all) => all,
        Err(error) => {
            found.push(Found::new("approvers", false, error.to_string(), "mend the store"));
            return;
        }
    };
    let active = all.iter().filter(|one| one.revoked_at.is_none()).count();
    let next = "lictor init enrols the first one";
    found.push(Found::new("approvers", active > 0, format!("{active} may approve"), next));
    // Who cannot be looked up has none, as far as anybody can tell.
    let has_pin = |name: &Name| runtime.approvers().has_pin(name).unwrap_or(false);
    for one in runtime.gate().policies().unanswerable(&all, has_pin) {
        // Who works alone knows; what to do stands there all the same.
        let detail =
            if one.alone { format!("{} ({})", one.problem, one.next) } else { one.problem };
        found.push(Found::new("approvals", one.alone, detail, one.next));
    }
}

fn sandbox() -> Found {
    let name = "command sandbox";
    let next = "commands of contracts are refused here, unless a contract is content with \
                `sandbox: best_effort`; they need user namespaces and Landlock";
    let launcher = std::env::current_exe().map(Launcher::new);
    match launcher.map_err(|error| error.to_string()).and_then(|launcher| launcher.probe()) {
        Ok(()) => Found::new(
            name,
            true,
            "commands of contracts run in a copy, held by namespaces and Landlock; verification \
             commands run as you",
            next,
        ),
        Err(why) => Found::new(name, false, why, next),
    }
}
