//! What was found, counted.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use lictor::executor::Recovery;
use serde::Serialize;

use crate::cuts::{Cut, Kind};
use crate::judge::{Found, Side, Wrong};
use crate::worker::Lazy;

/// So many findings of each kind are told in full.
const N_TOLD: usize = 4;

/// What was counted of some states.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Counts {
    states: u64,
    /// Between the beginning of a step and its acknowledgement.
    in_a_step: u64,
    unmountable: u64,
    /// Neither old nor new before the recovery: what it was for.
    mixed_before: u64,
    old: u64,
    new: u64,
    torn: u64,
    lost: u64,
    refused: u64,
    tampered: u64,
    events_lost: u64,
    disagrees: u64,
    unsettled: u64,
    /// Something that had never begun was not swept by the first recovery.
    left_over: u64,
    undone: u64,
    undo_failed: u64,
}

impl Counts {
    fn add(&mut self, cut: &Cut, found: &Found) {
        let n = |yes: bool| u64::from(yes);
        let wrong = |what: Wrong| n(found.wrong.contains(&what));
        self.states += 1;
        self.in_a_step += n(cut.begun > cut.acknowledged);
        self.unmountable += n(!found.mounted);
        self.mixed_before += n(found.mixed_before);
        self.old += n(found.side == Some(Side::Old));
        self.new += n(found.side == Some(Side::New));
        self.torn += wrong(Wrong::Torn);
        self.lost += wrong(Wrong::Lost);
        self.refused += wrong(Wrong::Refused);
        self.tampered += wrong(Wrong::Tampered);
        self.events_lost += wrong(Wrong::EventsLost);
        self.disagrees += wrong(Wrong::Disagrees);
        self.unsettled += wrong(Wrong::Unsettled);
        self.left_over += n(found.left_over);
        self.undone += n(found.undone);
        self.undo_failed += wrong(Wrong::UndoFailed);
    }

    fn columns(&self) -> [(&'static str, u64); 16] {
        [
            ("states", self.states),
            ("in a step", self.in_a_step),
            ("mixed before", self.mixed_before),
            ("old", self.old),
            ("new", self.new),
            ("torn", self.torn),
            ("lost", self.lost),
            ("unmountable", self.unmountable),
            ("refused", self.refused),
            ("tampered", self.tampered),
            ("events lost", self.events_lost),
            ("disagrees", self.disagrees),
            ("unsettled", self.unsettled),
            ("left over", self.left_over),
            ("undone", self.undone),
            ("undo failed", self.undo_failed),
        ]
    }
}

/// One run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    fs: &'static str,
    seed: u64,
    lazy: bool,
    lazy_changes: bool,
    #[serde(skip)]
    named: &'static str,
    recordings: u64,
    writes: usize,
    flushes: usize,
    seconds: f64,
    total: Counts,
    prefix: Counts,
    subset: Counts,
    tear: Counts,
    /// Of all three, cut while the recovery from a first cut was at work.
    again: Counts,
    recoveries: BTreeMap<String, u64>,
    findings: Vec<String>,
    /// Findings that are no failure: the file system's own, or what `--lazy` gives up.
    remarks: BTreeMap<String, u64>,
    failed: u64,
}

impl Report {
    pub(crate) fn new(fs: &'static str, seed: u64, lazy: Lazy) -> Self {
        Self {
            fs,
            seed,
            lazy: lazy.database,
            lazy_changes: lazy.changes,
            named: lazy.named(),
            recordings: 0,
            writes: 0,
            flushes: 0,
            seconds: 0.0,
            total: Counts::default(),
            prefix: Counts::default(),
            subset: Counts::default(),
            tear: Counts::default(),
            again: Counts::default(),
            recoveries: BTreeMap::new(),
            findings: Vec::new(),
            remarks: BTreeMap::new(),
            failed: 0,
        }
    }

    pub(crate) fn recorded(&mut self, writes: usize, flushes: usize) {
        self.recordings += 1;
        self.writes += writes;
        self.flushes += flushes;
    }

    /// Counts what was found, and says whether it is a failure.
    pub(crate) fn add(&mut self, cut: &Cut, found: &Found, again: bool) -> bool {
        let kind = match cut.kind {
            _ if again => &mut self.again,
            Kind::Prefix => &mut self.prefix,
            Kind::Subset => &mut self.subset,
            Kind::Tear => &mut self.tear,
        };
        kind.add(cut, found);
        self.total.add(cut, found);
        for recovery in &found.recoveries {
            *self.recoveries.entry(name(*recovery).to_owned()).or_default() += 1;
        }
        if !found.mounted {
            for note in &found.notes {
                *self.remarks.entry(note.clone()).or_default() += 1;
            }
        }
        let failed = found.wrong.iter().any(|wrong| self.is_failure(*wrong));
        self.failed += u64::from(failed);
        let first = found.wrong.first().map(|wrong| format!("{wrong:?}: ")).unwrap_or_default();
        let told = self.findings.iter().filter(|told| told.contains(&first)).count();
        if failed && told < N_TOLD {
            let Cut { kind, at, begun, acknowledged, in_flight, lost, .. } = cut;
            let recording = self.recordings;
            let again = if again { " of its recovery" } else { "" };
            self.findings.push(format!(
                "recording {recording}, {kind:?}{again} after {at} entries ({begun} begun, {acknowledged} \
                 acknowledged, {lost} of {in_flight} writes in flight lost): {}",
                found.notes.join("; ")
            ));
        }
        failed
    }

    /// Without flushes of the database, the last events may go, and with them what the guard and
    /// the index knew.
    fn is_failure(&self, wrong: Wrong) -> bool {
        let given_up = matches!(wrong, Wrong::EventsLost | Wrong::Disagrees | Wrong::Tampered);
        !(self.lazy && given_up)
    }

    pub(crate) fn is_clean(&self) -> bool {
        self.failed == 0
    }

    pub(crate) fn states(&self) -> u64 {
        self.total.states
    }

    pub(crate) fn ended(&mut self, seconds: f64) {
        self.seconds = seconds;
    }

    /// For people.
    pub(crate) fn table(&self) -> String {
        let mut out = format!(
            "{}, seed {}{}: {} recordings of {} writes and {} flushes, {:.0} s\n\n",
            self.fs,
            self.seed,
            self.named,
            self.recordings,
            self.writes,
            self.flushes,
            self.seconds
        );
        let rows = [
            ("prefix", &self.prefix),
            ("subset", &self.subset),
            ("tear", &self.tear),
            ("in recovery", &self.again),
            ("all", &self.total),
        ];
        let names: Vec<&str> = self.total.columns().iter().map(|(name, _)| *name).collect();
        let rule = vec!["---:"; names.len()].join(" | ");
        let mut line = |text: &str| {
            out.push_str(text);
            out.push('\n');
        };
        line(&format!("| cut | {} |", names.join(" | ")));
        line(&format!("| --- | {rule} |"));
        for (name, counts) in rows {
            let numbers = counts.columns().map(|(_, count)| count.to_string());
            line(&format!("| {name} | {} |", numbers.join(" | ")));
        }
        let settled: Vec<String> =
            self.recoveries.iter().map(|(name, n)| format!("{name} {n}")).collect();
        line(&format!("\nrecoveries: {}", settled.join(", ")));
        for (remark, n) in &self.remarks {
            line(&format!("{n} times: {remark}"));
        }
        for finding in &self.findings {
            line(&format!("WRONG: {finding}"));
        }
        let _written = write!(out, "failed: {} of {} states", self.failed, self.total.states);
        out
    }
}

fn name(recovery: Recovery) -> &'static str {
    match recovery {
        Recovery::Finished => "finished",
        Recovery::PutBack => "put back",
        Recovery::Discarded => "discarded",
        Recovery::Incomplete => "incomplete",
    }
}
