//! What the templates of a run see.

use minijinja::value::Value as Any;
use serde_json::Value;

use crate::record::{RunRecord, StepRecord};
use crate::spec::Workflow;
use crate::template::Scope;

/// What the templates of a step see, by its position in the record: nothing of steps that it does not
/// need. Without a step, all of them. `outputs` gives what a step at a position gave; `output` is the
/// step's own, for what makes up for it.
pub(super) fn scope(
    (workflow, run): (&Workflow, &RunRecord),
    (idx, output): (Option<usize>, Option<&Value>),
    input: Any,
    mut outputs: impl FnMut(usize, &StepRecord) -> Any,
) -> Scope {
    let item = idx.and_then(|idx| run.steps.get(idx)?.item.as_ref());
    let planned = item.map(|item| item.of).or(idx);
    let position = planned.and_then(|idx| workflow.schedule.positions.get(idx).copied());
    let reach = position.and_then(|position| workflow.reach.get(position));
    let mut steps: Vec<(String, Any)> = Vec::new();
    for (at, (record, position)) in run.steps.iter().zip(&workflow.schedule.positions).enumerate() {
        if idx.is_some() && !reach.is_some_and(|reach| reach.contains(*position)) {
            continue;
        }
        let status = Any::from(record.status.as_str());
        let seen = Scope::object([("output", outputs(at, record)), ("status", status)]);
        steps.push((record.id.clone(), seen));
    }
    let named = Scope::object([
        ("id", Any::from(workflow.id.as_str())),
        ("version", Any::from(workflow.version.to_string())),
    ]);
    let mut entries = vec![
        ("input", input),
        ("run_id", Any::from(run.run_id.as_str())),
        ("workflow", named),
        ("steps", Scope::object(steps)),
    ];
    entries.extend(output.map(|output| ("output", Scope::value(output))));
    if let Some(item) = item {
        entries.push(("item", Scope::value(&item.value)));
        entries.push(("index", Any::from(item.index)));
    }
    Scope::new(entries)
}
