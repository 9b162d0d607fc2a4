//! Whether a store keeps what a [`TrailStore`] promises. Ours pass it; yours should.
//!
//! ```
//! use lictor_audit::{MemoryStore, conformance};
//!
//! let scratch = tempfile::tempdir()?;
//! conformance::check(scratch.path(), || {
//!     let store = MemoryStore::new();
//!     move || store.clone()
//! })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::collections::HashMap;
use std::error::Error;
use std::ops::ControlFlow;
use std::path::Path;
use std::thread;

use lictor_context::{
    Event, EventFacts, EventType, Name, Principal, Session, SessionId, SystemClock,
};

use crate::archive::Cut;
use crate::error::{AppendError, AppendErrorKind, NotAppended};
use crate::filter::{Filter, StoredEvent};
use crate::header::Header;
use crate::key::SigningKey;
use crate::line::{Place, event_line};
use crate::log::{CHAIN_START, Hash, Node, Tree, chain_hash, leaf_hash};
use crate::maker::Cursor;
use crate::stores::{Beside, Head, NewLine, StoreError, TrailReader, TrailStore, TrailWriter};
use crate::trail::{Appended, AuditLog, AuditOptions};
use crate::verify::{Verdict, verify_file};

/// How many threads write at once.
const WRITERS: u64 = 8;
/// How many events each of them appends.
const EACH: u64 = 12;

/// A store does not keep a promise.
#[derive(Debug, thiserror::Error)]
#[error("`{promise}` does not hold")]
pub struct Broken {
    promise: &'static str,
    #[source]
    how: Box<dyn Error + Send + Sync>,
}

impl Broken {
    /// Which promise.
    #[must_use]
    pub fn promise(&self) -> &'static str {
        self.promise
    }
}

/// A promise's name, and what finds out whether it is kept.
type Promise<S, O> = (&'static str, fn(&Rig<S, O>) -> Checked);

/// What is asked for, with a filter, and without one.
type Asked = (&'static str, Filter, fn(&Header<'_>) -> bool);

type Checked = Result<(), Box<dyn Error + Send + Sync>>;

/// Checks a kind of store. `fresh` makes an empty one, and gives what opens it: each call of that is
/// another handle on the same store, as another process would have it. Archives go to `scratch`.
///
/// # Errors
/// The first promise that is broken, and how.
pub fn check<S: TrailStore, O: Fn() -> S + Sync>(
    scratch: &Path,
    fresh: impl Fn() -> O,
) -> Result<(), Broken> {
    let promises: [Promise<S, O>; 9] = [
        ("one_id_for_all_handles", one_id_for_all_handles),
        ("dense_and_by_organisation", dense_and_by_organisation),
        ("all_or_nothing", all_or_nothing),
        ("compare_and_set_of_the_end", compare_and_set_of_the_end),
        ("a_job_reads_what_it_wrote", a_job_reads_what_it_wrote),
        ("many_writers_make_one_chain", many_writers_make_one_chain),
        ("one_snapshot_a_look", one_snapshot_a_look),
        ("pages_agree_with_a_naive_filter", pages_agree_with_a_naive_filter),
        ("pruned_logs_prove_themselves", pruned_logs_prove_themselves),
    ];
    for (promise, holds) in promises {
        let rig = Rig { open: fresh(), scratch: scratch.join(promise) };
        let broken = |how| Broken { promise, how };
        std::fs::create_dir_all(&rig.scratch).map_err(|error| broken(error.into()))?;
        holds(&rig).map_err(broken)?;
    }
    Ok(())
}

struct Rig<S, O: Fn() -> S> {
    open: O,
    scratch: std::path::PathBuf,
}

impl<S: TrailStore, O: Fn() -> S> Rig<S, O> {
    fn log(&self) -> Result<AuditLog<S>, Box<dyn Error + Send + Sync>> {
        let guard = AuditOptions::default().guard_dir(self.scratch.join("guard"));
        Ok(AuditLog::over((self.open)(), SigningKey::from_seed(&[7; 32]), guard)?)
    }
}

fn must(holds: bool, else_say: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(else_say().into()) }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: &T, due: &T) -> Checked {
    must(found == due, || format!("{what}: {found:?}, and {due:?} is due"))
}

fn name(text: &str) -> Result<Name, Box<dyn Error + Send + Sync>> {
    Ok(Name::parse(text)?)
}

fn session(org: &str, user: &str, id: &str) -> Result<Session, Box<dyn Error + Send + Sync>> {
    let principal = Principal { org: name(org)?, user: name(user)?, agent: name("planner")? };
    Ok(Session::resume(SessionId::parse(id)?, principal))
}

fn event(session: &Session, n: u64) -> Event {
    let kind =
        if n.is_multiple_of(4) { EventType::ActionFailed } else { EventType::ActionCompleted };
    let facts = EventFacts {
        action_name: Some(format!("step.{}", n % 3)),
        success: Some(!n.is_multiple_of(4)),
        ..EventFacts::default()
    };
    Event::new(session, kind, facts, &SystemClock)
}

/// The events of a log are dense, in the log and in their sessions, and verify; so many there are.
fn whole<S: TrailStore>(log: &AuditLog<S>, org: &Name, count: u64, verdict: Verdict) -> Checked {
    let events = log.query(org, &Filter::default())?;
    let mut sessions: HashMap<String, u64> = HashMap::new();
    let first = events.first().map_or(0, |event| event.seq);
    for (due, event) in (first..).zip(&events) {
        let line = Header::parse(&event.bytes).ok_or("a line is no event")?;
        same("seq", &(event.seq, line.seq), &(due, due))?;
        let found = line.session_seq;
        let begins = if first > 0 { found } else { 0 };
        let next = sessions.entry(line.session_id.into_owned()).or_insert(begins);
        same("session_seq", &found, next)?;
        *next += 1;
    }
    same("events", &(first + u64::try_from(events.len())?), &count)?;
    same("the count", &log.count(org, &Filter::default())?, &(count - first))?;
    let found = log.verify_store(org)?;
    must(found.verdict == verdict, || format!("it is {found:?}, and {verdict} is due"))?;
    exported(log, org, &events, verdict)
}

/// An export verifies as the log does, and holds these events.
fn exported<S: TrailStore>(
    log: &AuditLog<S>,
    org: &Name,
    events: &[StoredEvent],
    verdict: Verdict,
) -> Checked {
    let (mut lines, mut evidence) = (Vec::new(), Vec::new());
    log.export(org, &Filter::default(), &mut lines, &mut evidence)?;
    let due: Vec<u8> =
        events.iter().flat_map(|event| event.bytes.iter().copied().chain([b'\n'])).collect();
    must(lines == due, || "an export holds other lines than a query gives".to_owned())?;
    let (key, origin) = (log.public_key(), log.origin(org));
    let found = verify_file(lines.as_slice(), evidence.as_slice(), &key, Some(&origin))?;
    must(found.verdict == verdict, || format!("an export is {found:?}, and {verdict} is due"))
}

fn dense_and_by_organisation<S: TrailStore, O: Fn() -> S>(rig: &Rig<S, O>) -> Checked {
    let log = rig.log()?;
    let (acme, umbrella) = (name("acme")?, name("umbrella")?);
    let sessions = [
        session("acme", "ann", "ses_1")?,
        session("acme", "ann", "ses_2")?,
        session("umbrella", "ann", "ses_1")?,
    ];
    let mut n = 0;
    for size in [1, 7, 40, 2] {
        let mut batch = Vec::new();
        for session in sessions.iter().cycle().take(size) {
            batch.push(event(session, n));
            n += 1;
        }
        for appended in log.append(batch)? {
            let note = log.checkpoint(&appended.org)?.unwrap_or_default();
            let signed = crate::log::Checkpoint::open(&note, &log.public_key())?;
            same("the checkpoint", &signed, &appended.checkpoint)?;
        }
    }
    for log in [&log, &rig.log()?] {
        whole(log, &acme, 35, Verdict::Complete)?;
        whole(log, &umbrella, 15, Verdict::Complete)?;
        same("organisations", &log.orgs()?, &vec![acme.clone(), umbrella.clone()])?;
        same("of nobody", &log.query(&name("nobody")?, &Filter::default())?, &Vec::new())?;
        same("nobody", &log.verify_store(&name("nobody")?)?.verdict, &Verdict::NoEvidence)?;
        for seq in 0..35 {
            same("a proof", &log.prove(&acme, seq)?.verify(&log.public_key(), None)?.seq, &seq)?;
        }
        must(log.prove(&acme, 35).is_err(), || "what is not there is proven".to_owned())?;
    }
    Ok(())
}

fn one_id_for_all_handles<S: TrailStore, O: Fn() -> S>(rig: &Rig<S, O>) -> Checked {
    let (one, other) = ((rig.open)(), (rig.open)());
    let none = one.view(|reader| reader.log_id())?;
    same("the id of an empty store", &none, &None)?;
    same("the id", &one.log_id("first")?, &"first".to_owned())?;
    same("the id", &other.log_id("second")?, &"first".to_owned())?;
    let read = (rig.open)().view(|reader| reader.log_id())?;
    same("the id", &read.as_deref(), &Some("first"))
}

/// Runs a job that appends one line and ends the log with `note`, if its end is at `before`; then
/// does `more`.
fn put<S: TrailStore>(
    store: &S,
    (before, note): (u64, &'static str),
    more: impl FnOnce(&mut dyn TrailWriter, &Name) -> Result<(), StoreError> + Send + 'static,
) -> Result<Result<(), NotAppended>, Box<dyn Error + Send + Sync>> {
    let session = session("acme", "ann", "ses_put")?;
    let event = event(&session, before);
    let bytes = event_line(&event, Place { seq: before, session_seq: before });
    let org = name("acme")?;
    let job = move |writer: &mut dyn TrailWriter| {
        let put = || {
            let leaf = leaf_hash(&bytes);
            let end = writer.head(&org)?.and_then(|head| head.parts());
            let (mut tree, chain) = end.unwrap_or((Tree::new(), CHAIN_START));
            tree.push(leaf);
            let cursor = Cursor { tree, chain: chain_hash(&chain, &leaf) };
            let beside = Beside {
                seq: i64::try_from(before).unwrap_or(-1),
                session: "ses_put",
                session_seq: i64::try_from(before).unwrap_or(-1),
                event_type: event.event_type().as_str(),
                user: "ann",
                agent: "planner",
                leaf: &leaf,
                chain: &cursor.chain,
                ..Beside::default()
            };
            writer.insert(&org, &NewLine { bytes: &bytes, beside })?;
            writer.put_session(&org, "ses_put", before + 1)?;
            writer.put_head(&org, before, &cursor.head(note))?;
            more(writer, &org)
        };
        put().map_err(|error: StoreError| AppendError::new(&org, error.into()))?;
        Ok(Appended { logs: Vec::new(), measured: Vec::new() })
    };
    Ok(store.submit(Box::new(job)).wait().map(drop))
}

/// How many lines there are, the note at their end, what the session goes on with, and the holds.
type State = (u64, Option<String>, u64, Vec<String>);

fn state(reader: &dyn TrailReader, org: &Name) -> Result<State, StoreError> {
    let mut lines = 0;
    reader.lines(org, 0..u64::MAX, &mut |_| {
        lines += 1;
        ControlFlow::Continue(())
    })?;
    let note = reader.head(org)?.map(|head| head.note);
    Ok((lines, note, reader.next_session_seq(org, "ses_put")?, reader.holds(org)?))
}

fn is(store: &impl TrailStore, (lines, note): (u64, &str), holds: &[&str]) -> Checked {
    let org = name("acme")?;
    let found = store.view(|reader| state(reader, &org))?;
    let holds = holds.iter().map(|hold| (*hold).to_owned()).collect();
    same("what is there", &found, &(lines, Some(note.to_owned()), lines, holds))
}

fn all_or_nothing<S: TrailStore, O: Fn() -> S>(rig: &Rig<S, O>) -> Checked {
    let store = (rig.open)();
    store.log_id("put")?;
    put(&store, (0, "one"), |_, _| Ok(()))??;
    for _ in 0..2 {
        let refused = put(&store, (1, "never"), |writer, org| {
            writer.put_hold(org, "case", true)?;
            Err(StoreError::Unsupported("it thinks better of it"))
        })?;
        must(refused.is_err(), || "a job that failed was said to be done".to_owned())?;
        is(&store, (1, "one"), &[])?;
        is(&(rig.open)(), (1, "one"), &[])?;
    }
    put(&store, (1, "two"), |writer, org| writer.put_hold(org, "case", true))??;
    is(&(rig.open)(), (2, "two"), &["case"])?;
    put(&(rig.open)(), (2, "three"), |writer, org| writer.put_hold(org, "case", false))??;
    is(&store, (3, "three"), &[])
}

fn compare_and_set_of_the_end<S: TrailStore, O: Fn() -> S>(rig: &Rig<S, O>) -> Checked {
    let (one, other) = ((rig.open)(), (rig.open)());
    one.log_id("put")?;
    put(&one, (0, "one"), |_, _| Ok(()))??;
    for (store, before) in [(&one, 0), (&other, 0), (&one, 2), (&other, 7)] {
        let org = name("acme")?;
        let job = move |writer: &mut dyn TrailWriter| {
            let chain = CHAIN_START.to_vec();
            let head = Head { size: 9, chain, frontier: Vec::new(), note: "forked".to_owned() };
            let put = writer.put_head(&org, before, &head);
            put.map_err(|error| AppendError::new(&org, error.into()))?;
            Ok(Appended { logs: Vec::new(), measured: Vec::new() })
        };
        let Err(NotAppended::Refused(refused)) = store.submit(Box::new(job)).wait() else {
            return Err(format!("an end was put behind {before}, and the log has 1").into());
        };
        let moved = matches!(refused.kind(), AppendErrorKind::Store(StoreError::HeadMoved));
        must(moved, || format!("it says {refused:?}, and `HeadMoved` is due"))?;
        is(&one, (1, "one"), &[])?;
    }
    put(&other, (1, "two"), |_, _| Ok(()))??;
    is(&one, (2, "two"), &[])
}

fn a_job_reads_what_it_wrote<S: TrailStore, O: Fn() -> S>(rig: &Rig<S, O>) -> Checked {
    let store = (rig.open)();
    store.log_id("put")?;
    put(&store, (0, "one"), |_, _| Ok(()))??;
    put(&store, (1, "two"), |writer, org| {
        writer.put_hold(org, "case", true)?;
        let found = state(writer, org)?;
        if found != (2, Some("two".to_owned()), 2, vec!["case".to_owned()]) {
            return Err(StoreError::Damaged(format!("the job reads {found:?}")));
        }
        let mut second = Vec::new();
        writer.lines(org, 1..2, &mut |line| {
            second.push((line.seq, line.bytes.to_vec()));
            ControlFlow::Continue(())
        })?;
        let leaves = writer.hashes(org, Node { level: 0, index: 1 }, 4)?;
        let due: Vec<Hash> = second.iter().map(|(_, bytes)| leaf_hash(bytes)).collect();
        if leaves != due || second.first().map(|(seq, _)| *seq) != Some(1) {
            return Err(StoreError::Damaged("a line that was written is not read".to_owned()));
        }
        Ok(())
    })??;
    is(&store, (2, "two"), &["case"])
}

fn many_writers_make_one_chain<S: TrailStore, O: Fn() -> S + Sync>(rig: &Rig<S, O>) -> Checked {
    let org = name("acme")?;
    // They meet at their first append, of a log that is not there yet.
    let logs: Vec<AuditLog<S>> = (0..WRITERS).map(|_| rig.log()).collect::<Result<_, _>>()?;
    let write = |(n, log): (u64, &AuditLog<S>)| -> Checked {
        // Two of them share a session.
        let session = session("acme", "ann", &format!("ses_{}", n / 2))?;
        for at in 0..EACH / 2 {
            log.append(vec![event(&session, at), event(&session, at + 1)])?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let writers: Vec<_> = (0..).zip(&logs).map(|one| scope.spawn(move || write(one))).collect();
        writers.into_iter().try_for_each(|writer| {
            writer.join().unwrap_or_else(|_| Err("a writer panicked".into()))
        })
    })?;
    for log in logs.iter().chain([&rig.log()?]) {
        whole(log, &org, WRITERS * EACH, Verdict::Complete)?;
    }
    Ok(())
}

fn one_snapshot_a_look<S: TrailStore, O: Fn() -> S>(rig: &Rig<S, O>) -> Checked {
    let store = (rig.open)();
    store.log_id("put")?;
    put(&store, (0, "one"), |_, _| Ok(()))??;
    let org = name("acme")?;
    let (first, then) = (rig.open)().view(|reader| {
        let first = state(reader, &org)?;
        let written = put(&store, (1, "two"), |_, _| Ok(()));
        if !matches!(written, Ok(Ok(()))) {
            return Err(StoreError::Damaged(format!("a look keeps writers away: {written:?}")));
        }
        let then = state(reader, &org)?;
        Ok::<_, StoreError>((first, then))
    })?;
    same("lines and end", &(then.0, &then.1), &(first.0, &first.1))?;
    is(&store, (2, "two"), &[])
}

fn pages_agree_with_a_naive_filter<S: TrailStore, O: Fn() -> S>(rig: &Rig<S, O>) -> Checked {
    let log = rig.log()?;
    let org = name("acme")?;
    let sessions = [session("acme", "ann", "ses_1")?, session("acme", "bob", "ses_2")?];
    for (n, session) in (0..90).zip(sessions.iter().cycle()) {
        let other = crate::conformance::session("umbrella", "ann", "ses_1")?;
        log.append(vec![event(session, n / 2), event(&other, n)])?;
    }
    let all = log.query(&org, &Filter::default())?;
    let matching: [Asked; 5] = [
        ("all", Filter::default(), |_| true),
        ("user", Filter { user: Some(name("bob")?), ..Filter::default() }, |line| {
            line.user_id == "bob"
        }),
        ("action", Filter { action: Some("step.1".to_owned()), ..Filter::default() }, |line| {
            line.action_name.as_deref() == Some("step.1")
        }),
        ("success", Filter { success: Some(false), ..Filter::default() }, |line| {
            line.success == Some(false)
        }),
        (
            "type and session",
            Filter {
                types: vec![EventType::ActionFailed],
                session: Some(SessionId::parse("ses_1")?),
                ..Filter::default()
            },
            |line| line.event_type == "action_failed" && line.session_id == "ses_1",
        ),
    ];
    for (what, filter, matches) in matching {
        let due: Vec<&StoredEvent> = all
            .iter()
            .filter(|event| Header::parse(&event.bytes).is_some_and(|line| matches(&line)))
            .collect();
        same(what, &log.count(&org, &filter)?, &u64::try_from(due.len())?)?;
        for newest_first in [false, true] {
            let ordered: Vec<&StoredEvent> =
                if newest_first { due.iter().rev().copied().collect() } else { due.clone() };
            let filter = Filter { newest_first, limit: Some(7), ..filter.clone() };
            let (mut paged, mut after) = (Vec::new(), None);
            loop {
                let page = log.query(&org, &Filter { after, ..filter.clone() })?;
                let Some(last) = page.last() else { break };
                after = Some(last.seq);
                paged.extend(page);
            }
            must(paged.iter().eq(ordered.iter().copied()), || format!("pages of `{what}`"))?;
            let second = log.query(&org, &Filter { offset: 7, ..filter.clone() })?;
            let due = ordered.iter().skip(7).take(7).copied();
            must(second.iter().eq(due), || format!("the second page of `{what}` by offset"))?;
        }
    }
    Ok(())
}

fn pruned_logs_prove_themselves<S: TrailStore, O: Fn() -> S>(rig: &Rig<S, O>) -> Checked {
    let log = rig.log()?;
    let org = name("acme")?;
    let officer = session("acme", "officer", "ses_officer")?;
    let ann = session("acme", "ann", "ses_1")?;
    for batch in 0..10 {
        log.append((0..60).map(|n| event(&ann, batch * 60 + n)).collect())?;
    }
    let cut = |log: &AuditLog<S>, seq: u64| {
        let out = rig.scratch.join(format!("old-{seq}"));
        log.archive(&officer, Cut::Seq(seq), &out, &SystemClock)
    };
    log.place_hold(&officer, "case", "a court asks", &SystemClock)?;
    must(cut(&log, 300).is_err(), || "it is archived under a hold".to_owned())?;
    whole(&log, &org, 601, Verdict::Complete)?;
    rig.log()?.release_hold(&officer, "case", "it is over", &SystemClock)?;
    let mut size = 602;
    for (seq, until) in [(300, 256), (520, 512)] {
        let archived = cut(&log, seq)?;
        size += 1;
        same("archived", &archived.until_seq, &until)?;
        for log in [&log, &rig.log()?] {
            whole(log, &org, size, Verdict::Pruned)?;
            must(log.prove(&org, until - 1).is_err(), || "what is gone is proven".to_owned())?;
            for seq in until..size {
                let proof = log.prove(&org, seq)?;
                same("a proof", &proof.verify(&log.public_key(), None)?.seq, &seq)?;
            }
        }
        log.append(vec![event(&ann, 0)])?;
        size += 1;
        whole(&rig.log()?, &org, size, Verdict::Pruned)?;
    }
    Ok(())
}
