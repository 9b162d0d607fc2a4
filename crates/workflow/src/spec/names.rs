//! What templates may name where they stand.

use std::collections::HashMap;

use lictor_document::Located;

use super::check::Checker;
use super::{Reach, Step, When, Work};
use crate::template::{Reference, Tree};

/// What templates may name everywhere.
const ROOTS: &[&str] = &["input", "steps", "run_id", "workflow"];
/// The steps of a workflow, by their ids.
pub(super) struct Names<'a> {
    pub(super) ids: &'a [Located<String>],
    pub(super) positions: &'a HashMap<&'a str, usize>,
}

impl Checker<'_> {
    pub(super) fn step_names(&mut self, step: &Step, names: &Names<'_>, reach: &Reach) {
        let own = Some((step.id.as_str(), reach));
        let items: &[&str] = if step.foreach.is_some() { &["item", "index"] } else { &[] };
        let back: &[&str] =
            if step.foreach.is_some() { &["output", "item", "index"] } else { &["output"] };
        if let Some(foreach) = &step.foreach {
            for reference in foreach.list.references() {
                self.reference(reference, foreach.place, names, own, &[]);
            }
        }
        if let Some(When::Expression(when)) = &step.when {
            for reference in when.references() {
                self.reference(reference, step.when_place, names, own, &[]);
            }
        }
        match &step.work {
            Work::Call(call) => {
                for (reference, at) in Tree::references(&call.with) {
                    self.reference(reference, at, names, own, items);
                }
                if let Some(compensate) = &call.compensate {
                    for (reference, at) in Tree::references(&compensate.with) {
                        self.reference(reference, at, names, own, back);
                    }
                }
            }
            Work::Approval(approval) => {
                for reference in approval.message.references() {
                    self.reference(reference, approval.place, names, own, &[]);
                }
            }
            Work::Wait(_) => {}
        }
    }

    /// Checks a name that a template takes. Without `own` every step may be named.
    pub(super) fn reference(
        &mut self,
        reference: &Reference,
        at: (u32, u32),
        names: &Names<'_>,
        own: Option<(&str, &Reach)>,
        more: &[&str],
    ) {
        let root = reference.root.as_str();
        if !ROOTS.contains(&root) && !more.contains(&root) {
            let known: Vec<&str> = ROOTS.iter().chain(more).copied().collect();
            let known = known.join(", ");
            self.problem(at, format!("there is no `{root}` here; accepted here: {known}"));
            return;
        }
        let mut path = reference.path.iter().map(String::as_str);
        if root == "workflow" {
            match path.next() {
                Some("id" | "version") | None => {}
                Some(other) => {
                    let message =
                        format!("there is no `workflow.{other}`; accepted here: id, version");
                    self.problem(at, message);
                }
            }
        }
        if root == "input"
            && let Some(key) = path.clone().next()
            && let Some(known) = &self.input_keys
            && !known.iter().any(|it| it == key)
        {
            let message = format!("there is no `input.{key}`; accepted here: {}", known.join(", "));
            self.problem(at, message);
        }
        if root != "steps" {
            return;
        }
        let Some(id) = path.next() else { return };
        let Some(found) = names.positions.get(id) else {
            let dashed = names
                .ids
                .iter()
                .map(|known| known.value.as_str())
                .find(|known| known.strip_prefix(id).is_some_and(|rest| rest.starts_with('-')));
            let hint = dashed.map_or_else(String::new, |dashed| {
                format!("; a step id with a `-` is written steps[\"{dashed}\"]")
            });
            self.problem(at, format!("there is no step `{id}`{hint}"));
            return;
        };
        if let Some((own, reach)) = own
            && !reach.contains(*found)
        {
            let message = if own == id {
                format!("step `{own}` names its own output, which is not there yet")
            } else {
                format!("step `{own}` names step `{id}`, which is not among its `needs`")
            };
            self.problem(at, message);
        }
        if let Some(attribute) = path.next()
            && !["output", "status"].contains(&attribute)
        {
            let message =
                format!("there is no `steps.{id}.{attribute}`; accepted here: output, status");
            self.problem(at, message);
        }
    }
}
