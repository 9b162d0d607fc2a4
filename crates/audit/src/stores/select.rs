//! Finding lines where nothing is kept beside them: each is read and looked at.

use std::ops::ControlFlow;

use lictor_context::{Name, Timestamp};

use super::{StoreError, StoredLine, TakeLine, TrailReader};
use crate::filter::Filter;
use crate::header::Header;

/// So many lines are read at once when they are wanted from the end on.
const RUN: u64 = 1024;

/// The lines that match. `first` is the first that is there, `end` is after the last.
pub(super) fn select(
    reader: &dyn TrailReader,
    (org, filter): (&Name, &Filter),
    (first, end): (u64, u64),
    take: &mut TakeLine<'_>,
) -> Result<(), StoreError> {
    let mut page = Page { filter, passed: 0, taken: 0 };
    if !filter.newest_first {
        let from = filter.after.map_or(first, |after| after.saturating_add(1).max(first));
        return reader.lines(org, from..end, &mut |line| page.offer(line, take));
    }
    let mut until = filter.after.map_or(end, |after| after.min(end));
    let mut over = page.full();
    while until > first && over.is_continue() {
        let from = until.saturating_sub(RUN).max(first);
        let mut run = Vec::new();
        reader.lines(org, from..until, &mut |line| {
            run.push((line.seq, line.bytes.to_vec()));
            ControlFlow::Continue(())
        })?;
        over = run.iter().rev().try_for_each(|(seq, bytes)| {
            page.offer(StoredLine { seq: *seq, bytes, leaf: None }, take)
        });
        until = from;
    }
    Ok(())
}

/// How many lines match.
pub(super) fn count(
    reader: &dyn TrailReader,
    org: &Name,
    filter: &Filter,
) -> Result<u64, StoreError> {
    let mut count = 0;
    reader.lines(org, 0..u64::MAX, &mut |line| {
        count += u64::from(matches(filter, line.bytes));
        ControlFlow::Continue(())
    })?;
    Ok(count)
}

/// How far a page is.
struct Page<'a> {
    filter: &'a Filter,
    passed: u64,
    taken: u64,
}

impl Page<'_> {
    fn full(&self) -> ControlFlow<()> {
        match self.filter.limit {
            Some(limit) if self.taken >= limit => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    }

    fn offer(&mut self, line: StoredLine<'_>, take: &mut TakeLine<'_>) -> ControlFlow<()> {
        self.full()?;
        if !matches(self.filter, line.bytes) {
            return ControlFlow::Continue(());
        }
        if self.passed < self.filter.offset {
            self.passed += 1;
            return ControlFlow::Continue(());
        }
        self.taken += 1;
        take(line)?;
        self.full()
    }
}

fn is(wanted: Option<&str>, found: Option<&str>) -> bool {
    wanted.is_none_or(|wanted| found == Some(wanted))
}

/// Whether a line is one that is asked for, wherever it stands.
fn matches(filter: &Filter, line: &[u8]) -> bool {
    let Some(header) = Header::parse(line) else { return false };
    let in_time = || {
        let Ok(time) = Timestamp::parse(&header.timestamp) else { return false };
        filter.since.is_none_or(|since| time >= since) && filter.until.is_none_or(|end| time < end)
    };
    (filter.types.is_empty() || filter.types.iter().any(|kind| kind.as_str() == header.event_type))
        && is(filter.session.as_ref().map(|id| id.as_str()), Some(&header.session_id))
        && is(filter.user.as_ref().map(Name::as_str), Some(&header.user_id))
        && is(filter.agent.as_ref().map(Name::as_str), Some(&header.agent_id))
        && is(filter.action.as_deref(), header.action_name.as_deref())
        && is(filter.execution.as_ref().map(|id| id.as_str()), header.execution_id.as_deref())
        && is(filter.run.as_ref().map(|id| id.as_str()), header.workflow_run_id.as_deref())
        && filter.success.is_none_or(|wanted| header.success == Some(wanted))
        && ((filter.since.is_none() && filter.until.is_none()) || in_time())
}
