//! `audit`.

use std::fs::File;
use std::io::{BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use lictor::audit::{
    AuditLog, Filter as Query, PublicKey, Verification, cloud_event, ocsf, otlp_record,
    otlp_request, verify_file,
};
use lictor::context::{ExecutionId, Name, RunId, SessionId, Timestamp, WorkspacePath};
use lictor::{ErrorCode, Records};
use serde_json::{Value, json};

use super::{Answer, keeping};
use crate::args::{Audit, Filter};
use crate::audit_args::Format;
use crate::context::{Context, keys_folder};
use crate::failure::Failure;
use crate::files::{self, Out};
use crate::output::{GREEN, Output, visible};

pub(crate) async fn audit(wish: &Audit, context: &Context, output: &Output) -> Answer {
    match wish {
        Audit::Query(filter) => query(filter, context, output).await,
        Audit::Tail { filter, follow } => tail(filter, *follow, context, output).await,
        Audit::Count(filter) => {
            let records = context.records(output).await?;
            let filter = self::filter(filter, context)?;
            let count = records.audit().count(&context.principal.org, &filter);
            let count = count.map_err(Failure::failed)?;
            output.result(&json!({ "count": count }), || count.to_string());
            Ok(0)
        }
        Audit::Export { out, format: Format::Jsonl, filter } => {
            export(out, filter, context, output).await
        }
        Audit::Export { out, format, filter } => copy(out, *format, filter, context, output).await,
        Audit::Verify { proof: Some(proof), key, .. } => {
            keeping::verify_proof(proof, key.as_deref(), output)
        }
        Audit::Verify { file: Some(file), checkpoint, key, allow_unproven_end, .. } => {
            let found = verify_offline(file, checkpoint.as_deref(), key.as_deref())?;
            verified(&found, *allow_unproven_end, output)
        }
        Audit::Verify { file: None, allow_unproven_end, .. } => {
            let records = context.records(output).await?;
            let found = records.audit().verify_store(&context.principal.org);
            verified(&found.map_err(Failure::failed)?, *allow_unproven_end, output)
        }
        Audit::Prove { event, out } => keeping::prove(event, out.as_deref(), context, output).await,
        Audit::Report { html, filter } => report(html.as_deref(), filter, context, output).await,
        Audit::Reveal { .. }
        | Audit::Erase { .. }
        | Audit::Archive { .. }
        | Audit::Hold { .. }
        | Audit::Release { .. }
        | Audit::RotateKey { .. } => keeping::keep(wish, context, output).await,
    }
}

fn filter(wish: &Filter, context: &Context) -> Result<Query, Failure> {
    fn parse<T, E: std::fmt::Display>(
        text: Option<&String>,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Result<Option<T>, Failure> {
        text.map(|text| parse(text).map_err(|error| Failure::usage(error.to_string()))).transpose()
    }
    let given = context.global.given;
    let types = wish.types.iter().map(|text| text.parse()).collect::<Result<Vec<_>, _>>();
    Ok(Query {
        types: types.map_err(|error: lictor::context::UnknownEventType| {
            Failure::usage(error.to_string())
        })?,
        session: parse(
            context.global.session.as_ref().filter(|_| given.session),
            SessionId::parse,
        )?,
        user: given.user.then(|| context.principal.user.clone()),
        agent: given.agent.then(|| context.principal.agent.clone()),
        action: wish.action.clone(),
        success: wish.success,
        since: parse(wish.since.as_ref(), Timestamp::parse)?,
        until: parse(wish.until.as_ref(), Timestamp::parse)?,
        execution: parse(wish.execution.as_ref(), ExecutionId::parse)?,
        run: parse(wish.run.as_ref(), RunId::parse)?,
        limit: wish.limit,
        offset: wish.offset.unwrap_or(0),
        after: wish.after,
        ..Query::default()
    })
}

fn events(trail: &AuditLog, filter: &Query, context: &Context) -> Result<Vec<Vec<u8>>, Failure> {
    let found = trail.query(&context.principal.org, filter).map_err(Failure::failed)?;
    Ok(found.into_iter().map(|stored| stored.bytes).collect())
}

async fn query(wish: &Filter, context: &Context, output: &Output) -> Answer {
    let records = context.records(output).await?;
    let found = events(records.audit(), &filter(wish, context)?, context)?;
    let found = parsed(&found)?;
    output.result(&json!({ "events": found }), || found.iter().map(line).collect());
    Ok(0)
}

async fn tail(wish: &Filter, follow: bool, context: &Context, output: &Output) -> Answer {
    let records = context.records(output).await?;
    let trail = records.audit();
    let mut filter = filter(wish, context)?;
    filter.newest_first = true;
    filter.limit = Some(filter.limit.unwrap_or(20));
    let mut found = events(trail, &filter, context)?;
    found.reverse();
    // Before what was asked for: only what comes after it is followed.
    let newest = Query { newest_first: true, limit: Some(1), ..Query::default() };
    let newest = trail.query(&context.principal.org, &newest).map_err(Failure::failed)?;
    show_lines(&found, output)?;
    if !follow {
        return Ok(0);
    }
    filter = Query { newest_first: false, limit: None, offset: 0, ..filter };
    filter.after = newest.first().map(|event| event.seq);
    while !output.is_unread() {
        tokio::time::sleep(FOLLOW).await;
        let found = trail.query(&context.principal.org, &filter);
        let found = found.map_err(Failure::failed)?;
        filter.after = found.last().map(|event| event.seq).or(filter.after);
        let lines: Vec<Vec<u8>> = found.into_iter().map(|stored| stored.bytes).collect();
        show_lines(&lines, output)?;
    }
    Ok(0)
}

/// How often somebody who follows is told of what is new.
const FOLLOW: std::time::Duration = std::time::Duration::from_millis(200);

fn show_lines(found: &[Vec<u8>], output: &Output) -> Result<(), Failure> {
    if output.is_json() {
        found.iter().for_each(|bytes| output.line(&String::from_utf8_lossy(bytes)));
    } else {
        parsed(found)?.iter().for_each(|event| output.line(line(event).trim_end()));
    }
    Ok(())
}

/// So many log records stand in one line of OTLP/JSON at most.
const OTLP_RECORDS: usize = 1_000;

/// An export in the format of another system.
async fn copy(
    out: &Path,
    format: Format,
    wish: &Filter,
    context: &Context,
    output: &Output,
) -> Answer {
    let records = context.records(output).await?;
    let filter = filter(wish, context)?;
    let (audit, org) = (records.audit(), &context.principal.org);
    let origin = audit.origin(org);
    within_reach(out, &records, context)?;
    let mut file = Out::begin(out, |file| {
        let mut head = Vec::new();
        file.take(HEAD).read_to_end(&mut head).map_err(Failure::input)?;
        let head = String::from_utf8_lossy(&head);
        Ok(head.starts_with("{\"") && head.contains("lictor"))
    })?;
    let mut logged = Vec::new();
    let mut count = 0_u64;
    let mut written = Ok(());
    let found = audit.each(org, &filter, |line| {
        count += 1;
        let made = match format {
            Format::Cloudevents => cloud_event(line, &origin),
            Format::Ocsf => ocsf(line),
            Format::Otlp | Format::Jsonl => {
                logged.extend(otlp_record(line));
                let full = logged.len() >= OTLP_RECORDS;
                full.then(|| otlp_request(std::mem::take(&mut logged), &origin))
            }
        };
        if let Some(made) = made.filter(|_| written.is_ok()) {
            written = writeln!(file, "{made}");
        }
        Ok(())
    });
    found.map_err(Failure::failed)?;
    if !logged.is_empty() {
        written = written.and_then(|()| writeln!(file, "{}", otlp_request(logged, &origin)));
    }
    written.map_err(Failure::failed)?;
    file.finish()?;
    let json = json!({ "file": out, "events": count });
    output.result(&json, || format!("{count} events in {}", out.display()));
    Ok(0)
}

async fn report(html: Option<&Path>, wish: &Filter, context: &Context, output: &Output) -> Answer {
    let records = context.records(output).await?;
    let trail = records.audit();
    let org = &context.principal.org;
    let report = trail.report(org, &filter(wish, context)?).map_err(Failure::failed)?;
    let found = trail.verify_store(org).map_err(Failure::failed)?;
    let problem = found.problem.as_deref().map(|problem| format!(": {problem}"));
    let said = format!("{}{}", found.verdict, problem.unwrap_or_default());
    if let Some(html) = html {
        within_reach(html, &records, context)?;
        let page = report.html(&said);
        let begins = page.split("<title>").next().unwrap_or_default();
        files::create(html, page.as_bytes(), begins.as_bytes())?;
    }
    let Value::Object(mut json) = json!(found) else { return Err(Failure::failed(said)) };
    json.insert("report".to_owned(), json!(report));
    json.insert("html".to_owned(), json!(html));
    let text = || visible(&format!("{said}\n{}", report.text()));
    if found.verdict.is_proven() || found.verdict.is_unproven_end() {
        output.result(&Value::Object(json), text);
        return Ok(0);
    }
    // What it says may be what somebody made of the trail, and whoever reads it has to know.
    if !output.is_json() {
        output.result(&Value::Null, text);
    }
    let why = format!("{said}; what the report says may not be what happened");
    let mut failure = Failure::new(ErrorCode::Integrity, why);
    failure.known = json;
    Err(failure)
}

fn parsed(found: &[Vec<u8>]) -> Result<Vec<Value>, Failure> {
    found.iter().map(|bytes| serde_json::from_slice(bytes).map_err(Failure::failed)).collect()
}

fn line(event: &Value) -> String {
    let text = |key: &str| event[key].as_str().unwrap_or_default();
    let mut line = format!(
        "{:>6} {} {:<20} {}/{} {}",
        event["seq"].to_string(),
        text("timestamp"),
        text("event_type"),
        text("user_id"),
        text("agent_id"),
        text("action_name"),
    );
    if let Some(path) = event.pointer("/action_params/path").and_then(Value::as_str) {
        line.push_str(&format!(" {path}"));
    }
    if let Some(error) = event["error_message"].as_str() {
        line.push_str(&format!(": {error}"));
    }
    visible(line.trim_end()).replace('\n', " ") + "\n"
}

async fn export(out: &Path, wish: &Filter, context: &Context, output: &Output) -> Answer {
    let records = context.records(output).await?;
    let filter = filter(wish, context)?;
    let beside = beside(out);
    within_reach(out, &records, context)?;
    let org = &context.principal.org;
    let replaces = std::fs::metadata(out).is_ok_and(|found| found.len() > 0);
    let mut events = Out::begin(out, |file| stands_in(file, records.audit(), org))?;
    // What lies beside an export of ours is its checkpoint, whatever became of it.
    let mut checkpoint =
        Out::begin(&beside, |file| Ok(replaces || files::starts_with(file, b"lictor/")?))?;
    let exported = records.audit().export(org, &filter, &mut events, &mut checkpoint);
    let exported = exported.map_err(Failure::failed)?;
    events.finish()?;
    checkpoint.finish()?;
    let json = json!({
        "file": out, "checkpoint": beside, "events": exported.events, "size": exported.size,
    });
    output.result(&json, || format!("{} events in {}", exported.events, out.display()));
    Ok(0)
}

/// As much of a file as is looked at to see what it is.
const HEAD: u64 = 128 << 10;

/// Whether a file is an export of what the store still holds, by its first or its last event: it gives way
/// to a newer one, and the only copy of what was archived does not.
fn stands_in(mut file: File, trail: &AuditLog, org: &Name) -> Result<bool, Failure> {
    let read = |file: &mut File, from: SeekFrom| -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        file.seek(from)?;
        file.take(HEAD).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let length = file.metadata().map_err(Failure::input)?.len();
    let head = read(&mut file, SeekFrom::Start(0)).map_err(Failure::input)?;
    let tail = SeekFrom::Start(length.saturating_sub(HEAD));
    let tail = read(&mut file, tail).map_err(Failure::input)?;
    let first = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let last = tail.rsplit(|byte| *byte == b'\n').find(|line| !line.is_empty());
    for line in [first, last.unwrap_or_default()] {
        let event: Option<Value> = serde_json::from_slice(line).ok();
        let seq = event.as_ref().and_then(|event| event.get("seq")).and_then(Value::as_u64);
        let Some(seq) = seq else { continue };
        let one = Query { after: seq.checked_sub(1), limit: Some(1), ..Query::default() };
        let found = trail.query(org, &one).map_err(Failure::failed)?;
        if found.first().is_some_and(|stored| stored.seq == seq && stored.bytes == line) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Refuses to write where nobody may: Lictor's own state, and what the policy forbids. While that is not
/// known, it is all of the workspace.
pub(super) fn within_reach(
    out: &Path,
    records: &Records,
    context: &Context,
) -> Result<(), Failure> {
    let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new(".")).canonicalize();
    let root = context.workspace.canonicalize();
    // What is not there is not written either.
    let (Ok(folder), Ok(root)) = (folder, root) else { return Ok(()) };
    let Ok(below) = folder.strip_prefix(root) else { return Ok(()) };
    let path = below.join(out.file_name().unwrap_or_default());
    let path = path.to_str().and_then(|path| WorkspacePath::parse(path).ok());
    if path.is_some_and(|path| !records.hides(&path)) {
        return Ok(());
    }
    let why = format!("`{}` is out of reach", out.display());
    if records.knows_what_is_hidden() {
        return Err(Failure::new(ErrorCode::Denied, format!("{why}: the policy forbids it")));
    }
    let why = format!("{why}: what the policy forbids is not known while it cannot be read");
    let step = "name a file outside of the workspace";
    Err(Failure::new(ErrorCode::Denied, why).with_step(step))
}

fn beside(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".checkpoint");
    PathBuf::from(name)
}

fn verify_offline(
    file: &Path,
    checkpoint: Option<&Path>,
    key: Option<&Path>,
) -> Result<Verification, Failure> {
    let open = |path: &Path| {
        File::open(path).map_err(|error| {
            Failure::input(format!("`{}` cannot be read: {error}", path.display()))
        })
    };
    let key = public_key(key)?;
    let events = BufReader::new(open(file)?);
    let checkpoint = checkpoint.map_or_else(|| beside(file), Path::to_path_buf);
    // A trail without a checkpoint proves nothing, and that is a verdict, not an error.
    let found = match File::open(&checkpoint) {
        Ok(checkpoint) => verify_file(events, BufReader::new(checkpoint), &key, None),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            verify_file(events, std::io::empty(), &key, None)
        }
        Err(error) => {
            let path = checkpoint.display();
            return Err(Failure::input(format!("`{path}` cannot be read: {error}")));
        }
    };
    found.map_err(Failure::failed)
}

/// The key that somebody believes in: the one that was given, else this machine's.
pub(super) fn public_key(key: Option<&Path>) -> Result<PublicKey, Failure> {
    let key = match key {
        Some(key) => key.to_path_buf(),
        None => keys_folder()?.join("audit.key.pub"),
    };
    let text = std::fs::read_to_string(&key).map_err(|error| {
        Failure::input(format!("the public key `{}` cannot be read: {error}", key.display()))
            .with_step("give the signer's public key with --key FILE")
    })?;
    PublicKey::parse(text.trim()).map_err(Failure::input)
}

fn verified(found: &Verification, allow_unproven_end: bool, output: &Output) -> Answer {
    let good = found.verdict.is_proven() || (allow_unproven_end && found.verdict.is_unproven_end());
    if good {
        output.result(&json!(found), || {
            let root = found.root.map_or_else(String::new, |root| format!(", root {root}"));
            format!("{GREEN}{}{GREEN:#}: {} events{root}", found.verdict, found.events)
        });
        return Ok(0);
    }
    let problem = found.problem.as_deref().unwrap_or("its end is not proven");
    let mut failure = Failure::new(ErrorCode::Integrity, format!("{}: {problem}", found.verdict));
    if let Value::Object(known) = json!(found) {
        failure.known = known;
    }
    Err(failure)
}
