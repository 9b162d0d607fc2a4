//! How much of an action could be taken back, and what stands in the way of the rest: said when it
//! is judged, not when somebody wants it back.

use std::fmt::Display;
use std::sync::Arc;

use lictor_capability::{Described, Effects, Item, State, UndoScope, UndoStrategy};

use crate::policy::UndoRetention;

/// More of a kind than this are counted, not named.
const MAX_NAMED: usize = 5;

/// The most that the journal of an execution takes by itself, and each thing that it touches.
const JOURNAL: u64 = 16 << 10;
const JOURNAL_ITEM: u64 = 2 << 10;

/// Text that was written is kept once more up to this size, for merging.
const MOST_TEXT: u64 = 256 << 10;

/// How much could be taken back, and why not more.
pub(crate) struct Undoing {
    pub(crate) scope: UndoScope,
    pub(crate) because: Vec<Arc<str>>,
}

impl Undoing {
    /// Of an action, where undo records are kept like this.
    pub(crate) fn of(described: &Described, kept: &UndoRetention) -> Self {
        let effects = described.effects();
        let mut because = Vec::new();
        let mut scope = effects.undo;
        if scope != UndoScope::Full {
            stays(described, &mut because);
        }
        if let Some(why) = not_kept(effects, kept) {
            scope = UndoScope::None;
            because.push(why);
        }
        Self { scope, because: because.into_iter().map(Arc::from).collect() }
    }
}

/// What is done that no undo record holds.
fn stays(described: &Described, because: &mut Vec<String>) {
    let (contract, effects) = (described.contract(), described.effects());
    let compensate = contract.undo.compensate.as_ref().map(|call| &call.capability);
    let ends = match compensate {
        Some(call) => format!("is made up for by `{call}`, and not undone"),
        None => "stays done".to_owned(),
    };
    named(because, &effects.hosts, |host| format!("what is done at `{host}` {ends}"));
    named(because, &effects.tools, |tool| format!("what the tool `{tool}` does {ends}"));
    if !effects.contained {
        named(because, &effects.programs, |program| format!("what `{program}` does {ends}"));
    }
    if described.action().origin().lands.is_some() {
        because.push("what the command did elsewhere stays done".to_owned());
    }
    if contract.undo.strategy == UndoStrategy::None {
        because.push(format!("the contract of `{}` rules an undo out", contract.id));
    }
    if because.is_empty() {
        because.push(format!("`{}` cannot take back all that it does", contract.id));
    }
}

fn named(because: &mut Vec<String>, names: &[String], say: impl Fn(&dyn Display) -> String) {
    because.extend(names.iter().take(MAX_NAMED).map(|name| say(&name.escape_debug())));
    if names.len() > MAX_NAMED {
        because.push(format!("and {} more", names.len() - MAX_NAMED));
    }
}

/// Why the record of changes may be purged as soon as it is there.
fn not_kept(effects: &Effects, kept: &UndoRetention) -> Option<String> {
    let items = &effects.changes.items;
    if items.is_empty() {
        return None;
    }
    // An undo shares its slots with what it takes back: they are kept together, or not at all.
    let records = 1 + effects.takes_back.len() as u64;
    let bytes = items.iter().map(takes_up).fold(JOURNAL, u64::saturating_add);
    let bytes = bytes.saturating_mul(records);
    let goes = kept.age.is_some_and(|age| age.as_duration().is_zero())
        || kept.count.is_some_and(|most| most < records)
        || kept.bytes.is_some_and(|most| most.as_bytes() < bytes);
    goes.then(|| {
        format!("undo records are kept {kept}, and the one of this may be purged right away")
    })
}

/// What the record of one change takes up at most.
fn takes_up(item: &Item) -> u64 {
    let size = |state: &Option<State>| match state {
        Some(State::File { bytes, .. }) => *bytes,
        Some(State::Symlink { .. } | State::Directory { .. }) | None => 0,
    };
    let set_aside =
        if item.to.is_none() || item.content.is_some() { size(&item.before) } else { 0 };
    let text = if item.before.is_some() && item.content.is_some() { size(&item.after) } else { 0 };
    let text = if text <= MOST_TEXT { text } else { 0 };
    JOURNAL_ITEM.saturating_add(set_aside).saturating_add(text)
}
