//! A report for people: who did what, what was refused, what was undone, what waits.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use lictor_context::Name;
use serde::Serialize;
use serde_json::Value;

use crate::error::{QueryError, QueryErrorKind};
use crate::filter::Filter;
use crate::stores::TrailStore;
use crate::trail::AuditLog;

/// More entries of a list than this are counted, and the newest are shown.
const MAX_LISTED: usize = 200;

/// What a report says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whose trail it is of.
    pub org: String,
    /// How many events it is made from.
    pub events: u64,
    /// The time of the first of them.
    pub from: Option<String>,
    /// The time of the last of them.
    pub until: Option<String>,
    /// What each user's agent did.
    pub actors: Vec<Actor>,
    /// What was refused.
    pub refused: List,
    /// What failed.
    pub failed: List,
    /// What was undone or rolled back.
    pub undone: List,
    /// Of which it is not known whether it happened, or what could not be put back.
    pub open: List,
    /// What people are asked and have not answered.
    pub waiting: List,
    /// What was done to the trail itself: gaps, keys, what was pruned, who was erased.
    pub trail: List,
}

/// One user and one of their agents.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Actor {
    /// The user.
    pub user: String,
    /// The agent.
    pub agent: String,
    /// How many sessions.
    pub sessions: u64,
    /// How many actions were done, by name.
    pub done: BTreeMap<String, u64>,
    /// How many were refused.
    pub refused: u64,
    /// How many failed.
    pub failed: u64,
}

/// Some events, in a line each: the newest of them, and how many there are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct List {
    /// How many there are.
    pub count: u64,
    /// The newest.
    pub entries: Vec<Entry>,
}

/// An event in a line.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Its place.
    pub seq: u64,
    /// Its time.
    pub time: String,
    /// Its type.
    pub kind: String,
    /// Whose it is.
    pub who: String,
    /// The action.
    pub action: String,
    /// On what, or why.
    pub about: String,
}

impl List {
    fn push(&mut self, entry: Entry) {
        self.count += 1;
        if self.entries.len() == MAX_LISTED {
            self.entries.remove(0);
        }
        self.entries.push(entry);
    }
}

impl<S: TrailStore> AuditLog<S> {
    /// Reports on the events of an organisation that match.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn report(&self, org: &Name, filter: &Filter) -> Result<Report, QueryError> {
        let mut made = Making::default();
        self.each(org, filter, |line| {
            made.add(&serde_json::from_slice(line).unwrap_or_default());
            Ok::<_, QueryErrorKind>(())
        })?;
        Ok(made.finish(org))
    }
}

#[derive(Default)]
struct Making {
    report: Report,
    actors: BTreeMap<(String, String), Actor>,
    sessions: std::collections::BTreeSet<String>,
    waiting: BTreeMap<String, Entry>,
}

impl Making {
    fn add(&mut self, event: &Value) {
        let text =
            |key: &str| event.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let report = &mut self.report;
        report.events += 1;
        let time = text("timestamp");
        report.from.get_or_insert_with(|| time.clone());
        report.until = Some(time);
        let key = (text("user_id"), text("agent_id"));
        let actor = self.actors.entry(key.clone()).or_insert_with(|| Actor {
            user: key.0,
            agent: key.1,
            ..Actor::default()
        });
        if self.sessions.insert(text("session_id")) {
            actor.sessions += 1;
        }
        let approval = event.pointer("/metadata/approval");
        let approval_id = approval.and_then(|one| one.get("id")).and_then(Value::as_str);
        match text("event_type").as_str() {
            "action_completed" => *actor.done.entry(text("action_name")).or_insert(0) += 1,
            "action_rejected" => {
                actor.refused += 1;
                report.refused.push(entry(event));
            }
            "action_failed" | "workflow_failed" => {
                actor.failed += 1;
                report.failed.push(entry(event));
            }
            "undo_completed" | "rollback_completed" | "workflow_rolled_back" => {
                report.undone.push(entry(event));
            }
            "action_unknown" | "rollback_failed" | "undo_conflict" => {
                report.open.push(entry(event));
            }
            "approval_requested" => {
                if let Some(id) = approval_id {
                    self.waiting.insert(id.to_owned(), entry(event));
                }
            }
            "approval_granted" => {
                let number = |key: &str| approval.and_then(|one| one.get(key)?.as_u64());
                let granted = approval.and_then(|one| one.get("granted_by")?.as_array());
                let enough = granted.map_or(1, Vec::len) as u64 >= number("needed").unwrap_or(1);
                if let Some(id) = approval_id.filter(|_| enough) {
                    self.waiting.remove(id);
                }
            }
            "approval_denied" => {
                if let Some(id) = approval_id {
                    self.waiting.remove(id);
                }
            }
            "audit_gap" | "audit_pruned" | "key_rotated" | "subject_erased" | "hold_placed"
            | "hold_released" | "lock_broken" | "recovery_completed" => {
                report.trail.push(entry(event));
            }
            _ => {}
        }
    }

    fn finish(self, org: &Name) -> Report {
        let mut report = self.report;
        org.as_str().clone_into(&mut report.org);
        report.actors = self.actors.into_values().collect();
        let mut waiting: Vec<Entry> = self.waiting.into_values().collect();
        waiting.sort_by_key(|entry| entry.seq);
        waiting.into_iter().for_each(|entry| report.waiting.push(entry));
        report
    }
}

fn entry(event: &Value) -> Entry {
    let text = |key: &str| event.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let path = event.pointer("/action_params/path").and_then(Value::as_str);
    let files = event.pointer("/metadata/files/0/path").and_then(Value::as_str);
    let mut about = path.or(files).unwrap_or_default().to_owned();
    let error = text("error_message");
    if !error.is_empty() {
        if !about.is_empty() {
            about.push_str(": ");
        }
        about.push_str(&error);
    }
    if about.is_empty()
        && let Some(metadata) = event.get("metadata").filter(|_| text("action_name").is_empty())
    {
        about = metadata.to_string();
    }
    Entry {
        seq: event.get("seq").and_then(Value::as_u64).unwrap_or_default(),
        time: text("timestamp"),
        kind: text("event_type"),
        who: format!("{}/{}", text("user_id"), text("agent_id")),
        action: text("action_name"),
        about,
    }
}

impl Report {
    fn lists(&self) -> [(&'static str, &List); 6] {
        [
            ("Waiting for an answer", &self.waiting),
            ("Not known, or not put back", &self.open),
            ("Refused", &self.refused),
            ("Failed", &self.failed),
            ("Undone", &self.undone),
            ("The trail itself", &self.trail),
        ]
    }

    fn title(&self) -> String {
        let (from, until) = (self.from.as_deref(), self.until.as_deref());
        let span = from.zip(until).map(|(from, until)| format!(", {from} to {until}"));
        format!("{}: {} events{}", self.org, self.events, span.unwrap_or_default())
    }

    /// The report as text, for a terminal. Whoever prints it makes it visible first.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!("{}\n", self.title());
        for actor in &self.actors {
            let Actor { user, agent, sessions, done, refused, failed } = actor;
            let total: u64 = done.values().sum();
            put(
                &mut text,
                format_args!(
                    "\n{user}/{agent}: {sessions} sessions, {total} done, {refused} refused, \
                     {failed} failed\n"
                ),
            );
            for (action, count) in done {
                put(&mut text, format_args!("  {count:>6} {action}\n"));
            }
        }
        for (title, list) in self.lists() {
            if list.count == 0 {
                continue;
            }
            put(&mut text, format_args!("\n{title} ({})\n", list.count));
            for entry in &list.entries {
                let Entry { seq, time, kind, who, action, about } = entry;
                put(&mut text, format_args!("  {seq:>6} {time} {kind} {who} {action} {about}\n"));
            }
        }
        text
    }

    /// The report as one page of HTML: no scripts, nothing from elsewhere, plain enough to print.
    /// `verdict` says whether the trail holds.
    #[must_use]
    pub fn html(&self, verdict: &str) -> String {
        let mut page = format!(
            "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
             style-src 'unsafe-inline'\">\n<title>{title}</title>\n<style>{STYLE}</style></head>\n\
             <body><h1>{title}</h1>\n<p>The trail verifies as <strong>{verdict}</strong>.</p>\n\
             <h2>Who did what</h2>\n<table><tr><th>user<th>agent<th>sessions<th>done<th>refused\
             <th>failed<th>actions\n",
            title = escaped(&self.title()),
            verdict = escaped(verdict),
        );
        for actor in &self.actors {
            let total: u64 = actor.done.values().sum();
            let done: Vec<_> =
                actor.done.iter().map(|(name, count)| format!("{name} ({count})")).collect();
            let Actor { user, agent, sessions, refused, failed, .. } = actor;
            let (user, agent, done) = (escaped(user), escaped(agent), escaped(&done.join(", ")));
            put(
                &mut page,
                format_args!(
                    "<tr><td>{user}<td>{agent}<td>{sessions}<td>{total}<td>{refused}<td>{failed}\
                     <td>{done}\n"
                ),
            );
        }
        page.push_str("</table>\n");
        for (title, list) in self.lists() {
            put(&mut page, format_args!("<h2>{title} ({})</h2>\n", list.count));
            if list.count == 0 {
                page.push_str("<p>Nothing.</p>\n");
                continue;
            }
            page.push_str("<table><tr><th>seq<th>time<th>type<th>who<th>action<th>about\n");
            for entry in &list.entries {
                let cells = [&entry.time, &entry.kind, &entry.who, &entry.action, &entry.about];
                put(&mut page, format_args!("<tr><td>{}", entry.seq));
                for cell in cells {
                    put(&mut page, format_args!("<td>{}", escaped(cell)));
                }
                page.push('\n');
            }
            page.push_str("</table>\n");
        }
        page.push_str("</body></html>\n");
        page
    }
}

const STYLE: &str = "body{font:14px/1.4 sans-serif;margin:2em;color:#000;background:#fff}\
    table{border-collapse:collapse;width:100%}td,th{border:1px solid #999;padding:.2em .5em;\
    text-align:left;vertical-align:top;overflow-wrap:anywhere}h2{margin-top:1.5em}\
    tr{break-inside:avoid}";

fn put(text: &mut String, what: std::fmt::Arguments<'_>) {
    // Writing to a `String` cannot fail.
    text.write_fmt(what).unwrap_or_default();
}

/// Text that is text in HTML, whatever it holds; what is not shown by itself is shown.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c if crate::line::is_hidden(c) => {
                put(&mut safe, format_args!("\\u{{{:x}}}", u32::from(c)))
            }
            c => safe.push(c),
        }
    }
    safe
}
