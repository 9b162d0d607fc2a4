//! What is done about the trail itself: proofs, what was sealed, persons, retention, keys. Whoever
//! could do that unasked could hide what they did, so all but proofs are an approver's.

use std::path::Path;

use lictor::audit::{AuditLog, Cut, EraseErrorKind, Proof, RevealErrorKind};
use lictor::context::{Name, Session, Timestamp};
use lictor::{ErrorCode, Runtime};
use serde_json::{Value, json};

use super::Answer;
use super::approvals::record_done;
use super::audit::{public_key, within_reach};
use crate::args::Audit;
use crate::consent;
use crate::context::Context;
use crate::failure::Failure;
use crate::files;
use crate::output::{GREEN, Output, visible};

/// The place of an event that is named by its id or by its place.
fn place(event: &str, trail: &AuditLog, context: &Context) -> Result<u64, Failure> {
    if let Ok(seq) = event.parse() {
        return Ok(seq);
    }
    let found = trail.find_event(&context.principal.org, event);
    let missing = || Failure::not_found(format!("there is no event `{event}`"));
    found.map_err(Failure::failed)?.ok_or_else(missing)
}

pub(super) async fn prove(
    event: &str,
    out: Option<&Path>,
    context: &Context,
    output: &Output,
) -> Answer {
    let records = context.records(output).await?;
    let seq = place(event, records.audit(), context)?;
    let proof = records.audit().prove(&context.principal.org, seq).map_err(Failure::not_found)?;
    let text = proof.text();
    match out {
        Some(out) => {
            within_reach(out, &records, context)?;
            let begins = text.lines().next().unwrap_or_default();
            files::create(out, text.as_bytes(), begins.as_bytes())?;
            let json = json!({ "seq": seq, "file": out });
            output.result(&json, || format!("event {seq} is proven by {}", out.display()));
        }
        None => output.result(&json!({ "seq": seq, "proof": text }), || text),
    }
    Ok(0)
}

/// Checks the proof of one event, offline.
pub(super) fn verify_proof(file: &Path, key: Option<&Path>, output: &Output) -> Answer {
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::input(format!("`{}` cannot be read: {error}", file.display())))?;
    let key = public_key(key)?;
    let proven = Proof::parse(&text).and_then(|proof| proof.verify(&key, None));
    let proven = proven.map_err(|error| Failure::new(ErrorCode::Integrity, error.to_string()))?;
    let event: Value = serde_json::from_slice(&proven.event).map_err(Failure::failed)?;
    let json = json!({
        "verdict": "proven", "seq": proven.seq, "size": proven.size, "origin": proven.origin,
        "event": event,
    });
    output.result(&json, || {
        let (seq, size, origin) = (proven.seq, proven.size, &proven.origin);
        let event = visible(&serde_json::to_string_pretty(&event).unwrap_or_default());
        format!("{GREEN}proven{GREEN:#}: event {seq} of {size} of {origin}\n{event}")
    });
    Ok(0)
}

/// The verbs that are an approver's.
pub(super) async fn keep(wish: &Audit, context: &Context, output: &Output) -> Answer {
    let runtime = context.runtime().await?;
    let session = context.session()?;
    let at = At { runtime: &runtime, session: &session, context, output };
    match wish {
        Audit::Reveal { event } => at.reveal(event).await,
        Audit::Erase { subject, dry } => at.erase(subject, dry.dry_run).await,
        Audit::Archive { out, before, until, dry } => {
            let cut = at.cut(before.as_deref(), *until)?;
            at.archive(out, cut, dry.dry_run).await
        }
        Audit::Hold { name, reason, dry } => at.hold(name, reason, true, dry.dry_run).await,
        Audit::Release { name, reason, dry } => at.hold(name, reason, false, dry.dry_run).await,
        Audit::RotateKey { dry } => at.rotate_key(dry.dry_run).await,
        _ => Err(Failure::usage("this is done elsewhere")),
    }
}

struct At<'a> {
    runtime: &'a Runtime,
    session: &'a Session,
    context: &'a Context,
    output: &'a Output,
}

impl At<'_> {
    fn org(&self) -> &Name {
        &self.context.principal.org
    }

    fn dry(&self, json: &Value, text: String) -> u8 {
        self.output.result(json, || text);
        0
    }

    /// Has an approver agree, and records who it was.
    async fn agreed(&self, what: &str, params: Value) -> Result<(), Failure> {
        let (by, channel) =
            consent::approver(what, self.runtime, self.context, self.output).await?;
        record_done(what, params, (&by, channel), self.runtime, self.context).await
    }

    async fn reveal(&self, event: &str) -> Answer {
        let seq = place(event, self.runtime.audit(), self.context)?;
        self.agreed("audit.reveal", json!({ "seq": seq })).await?;
        let revealed = self.runtime.audit().reveal(self.org(), seq).map_err(|error| {
            let code = match error.kind() {
                RevealErrorKind::NoEvent | RevealErrorKind::Erased { .. } => ErrorCode::NotFound,
                RevealErrorKind::Damaged { .. } => ErrorCode::Integrity,
                RevealErrorKind::Store(_) | RevealErrorKind::Key(_) => ErrorCode::Failed,
            };
            Failure::new(code, format!("{error}: {}", error.kind()))
        })?;
        let fields: Vec<Value> = revealed
            .iter()
            .map(|one| {
                let salt: String = one.salt.iter().map(|byte| format!("{byte:02x}")).collect();
                json!({ "pointer": one.pointer, "content": one.content, "salt": salt })
            })
            .collect();
        self.output.result(&json!({ "seq": seq, "sealed": fields }), || {
            revealed
                .iter()
                .map(|one| format!("{}\n{}\n", one.pointer, visible(&one.content)))
                .collect()
        });
        Ok(0)
    }

    async fn erase(&self, subject: &str, dry: bool) -> Answer {
        let user = Name::parse(subject).map_err(|error| Failure::usage(error.to_string()))?;
        if dry {
            return Ok(self.dry(&json!({ "erased": false }), format!("would erase `{user}`")));
        }
        let what = "audit.erase";
        let (by, channel) =
            consent::approver(what, self.runtime, self.context, self.output).await?;
        let clock = self.runtime.clock().as_ref();
        let erased = self.runtime.audit().erase_subject(self.session, &user, clock);
        let erased = erased.map_err(|error| {
            let code = match error.kind() {
                EraseErrorKind::NoKey => ErrorCode::NotFound,
                _ => ErrorCode::Failed,
            };
            Failure::new(code, format!("{error}: {}", error.kind()))
        })?;
        // Without the person's name: only the key's.
        let params = json!({ "subject": erased.key });
        record_done(what, params, (&by, channel), self.runtime, self.context).await?;
        let json = json!({ "erased": true, "key": erased.key, "seq": erased.seq });
        self.output.result(&json, || {
            format!("what was sealed of `{user}` is erased; event {} says so", erased.seq)
        });
        Ok(0)
    }

    fn cut(&self, before: Option<&str>, until: Option<u64>) -> Result<Cut, Failure> {
        if let Some(until) = until {
            return Ok(Cut::Seq(until));
        }
        if let Some(before) = before {
            let time = Timestamp::parse(before);
            return time.map(Cut::Before).map_err(|error| Failure::usage(error.to_string()));
        }
        let kept = self.runtime.gate().policies().settings().audit_retention;
        let kept = i64::try_from(kept.as_duration().as_micros()).unwrap_or(i64::MAX);
        let now = self.runtime.clock().now().as_micros();
        Ok(Cut::Before(Timestamp::from_micros(now.saturating_sub(kept))))
    }

    async fn archive(&self, out: &Path, cut: Cut, dry: bool) -> Answer {
        if dry {
            let holds = self.runtime.audit().holds(self.org()).map_err(Failure::failed)?;
            let json = json!({ "archived": false, "holds": holds });
            return Ok(self.dry(&json, format!("would archive to {}", out.display())));
        }
        let cut_at = match cut {
            Cut::Seq(seq) => json!({ "until_seq": seq }),
            Cut::Before(time) => json!({ "before": time }),
        };
        self.agreed("audit.archive", cut_at).await?;
        let clock = self.runtime.clock().as_ref();
        let done = self.runtime.audit().archive(self.session, cut, out, clock);
        let done = done.map_err(|error| {
            Failure::new(ErrorCode::Failed, format!("{error}: {}", error.kind()))
        })?;
        let json = json!({
            "archived": true, "first_seq": done.first_seq, "until_seq": done.until_seq,
            "digest": done.digest, "files": done.files,
        });
        self.output.result(&json, || {
            let count = done.until_seq - done.first_seq;
            format!("{count} events are in {}, and not in the store any more", out.display())
        });
        Ok(0)
    }

    async fn hold(&self, name: &str, reason: &str, place: bool, dry: bool) -> Answer {
        let (what, verb) =
            if place { ("audit.hold", "placed") } else { ("audit.release", "released") };
        if dry {
            return Ok(self.dry(&json!({ "hold": name }), format!("`{name}` would be {verb}")));
        }
        self.agreed(what, json!({ "hold": name })).await?;
        let (trail, clock) = (self.runtime.audit(), self.runtime.clock().as_ref());
        let changed = if place {
            trail.place_hold(self.session, name, reason, clock)
        } else {
            trail.release_hold(self.session, name, reason, clock)
        };
        changed.map_err(Failure::input)?;
        let holds = trail.holds(self.org()).map_err(Failure::failed)?;
        self.output.result(&json!({ "hold": name, "holds": holds }), || {
            format!("`{}` is {verb}", visible(name))
        });
        Ok(0)
    }

    async fn rotate_key(&self, dry: bool) -> Answer {
        let trail = self.runtime.audit();
        if dry {
            let key = trail.public_key().to_string();
            return Ok(self.dry(&json!({ "key": key }), format!("would follow {key}")));
        }
        self.agreed("audit.rotate_key", json!({})).await?;
        let orgs = trail.orgs().map_err(Failure::failed)?;
        let clock = self.runtime.clock();
        let sessions: Vec<Session> = orgs
            .into_iter()
            .map(|org| {
                let principal =
                    lictor::context::Principal { org, ..self.context.principal.clone() };
                Session::new(principal, clock.as_ref())
            })
            .collect();
        let key = trail.rotate_key(&sessions, clock.as_ref()).map_err(|error| {
            Failure::new(ErrorCode::Failed, format!("{error}: {}", error.kind()))
        })?;
        let json = json!({ "key": key.to_string(), "logs": sessions.len() });
        self.output.result(&json, || format!("{key} signs from now on"));
        Ok(0)
    }
}
