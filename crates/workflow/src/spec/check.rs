//! From the raw document to a workflow, with every problem on the way.

use std::collections::HashMap;
use std::sync::Arc;

use lictor_capability::{CapabilityId, EffectCeiling, Retry, Risk};
use lictor_context::{Digest, Name};
use lictor_document::{DocumentError, HumanDuration, Located, Source};
use semver::VersionReq;
use serde_json::Value;

use super::names::Names;
use super::order::{order, reach};
use super::raw::{RawApproval, RawCompensate, RawStep, RawUndo, RawWorkflow};
use super::{
    ApprovalStep, AskFor, Call, Compensation, Foreach, MAX_PROBLEMS, MAX_STEPS, OnError, Reach,
    Schedule, Step, UndoTerms, When, Work, Workflow,
};
use crate::error::WorkflowError;
use crate::schema::Schema;
use crate::template::{Node, Problem, Reference, Template, Tree};

/// The longest message of an approval.
const MAX_MESSAGE: usize = 4096;

pub(super) struct Checker<'a> {
    source: &'a Source<'a>,
    /// The keys that the input may have, where its schema names all of them.
    pub(super) input_keys: Option<Vec<String>>,
    problems: Vec<DocumentError>,
}

pub(super) fn check(raw: RawWorkflow, source: &Source<'_>) -> Result<Workflow, WorkflowError> {
    let mut checker = Checker { source, input_keys: None, problems: Vec::new() };
    let built = checker.workflow(raw);
    let Checker { mut problems, .. } = checker;
    match built {
        Some(workflow) if problems.is_empty() => Ok(workflow),
        _ => {
            problems.sort_by_key(|problem| (problem.line(), problem.column()));
            Err(WorkflowError::new(problems))
        }
    }
}

impl Checker<'_> {
    pub(super) fn problem(&mut self, (line, column): (u32, u32), message: impl AsRef<str>) {
        // Every problem reads the document once more for its excerpt.
        if self.problems.len() >= MAX_PROBLEMS {
            return;
        }
        let error = DocumentError::at(self.source.name, line, column, message);
        self.problems.push(error.with_excerpt_of(self.source));
    }

    fn name(&mut self, text: &Located<String>) -> Option<Name> {
        let name = Name::parse(&text.value);
        name.map_err(|error| self.problem(place(text), error.to_string())).ok()
    }

    fn workflow(&mut self, raw: RawWorkflow) -> Option<Workflow> {
        let id = self.name(&raw.id);
        let pack = raw.pack.as_ref().map(|pack| self.name(pack));
        let input = raw.input.map(|schema| {
            let at = place(&schema);
            self.input_keys = keys(schema.value.as_value());
            Schema::compile(schema.value.into_inner()).map_err(|problem| {
                self.problem(
                    at,
                    format!("`input` is no JSON Schema that is accepted here: {problem}"),
                );
            })
        });
        let timeout = raw.timeout.map(|timeout| self.positive(&timeout, "timeout"));
        let n_steps = raw.steps.value.len();
        if !(1..=MAX_STEPS).contains(&n_steps) {
            let message = format!("found {n_steps} steps; accepted here: 1 to {MAX_STEPS}");
            self.problem(place(&raw.steps), message);
            return None;
        }
        for ceiling in raw.steps.value.iter().filter_map(|step| step.effects.as_ref()) {
            self.ceiling(ceiling, raw.approvals);
        }
        let ids: Vec<Located<String>> =
            raw.steps.value.iter().map(|step| step.id.clone()).collect();
        let positions = self.ids(&ids);
        let needs: Vec<Vec<(usize, (u32, u32))>> =
            raw.steps.value.iter().map(|step| self.needs(step, &positions)).collect();
        let steps: Vec<Option<Step>> = raw
            .steps
            .value
            .into_iter()
            .zip(&needs)
            .map(|(step, needs)| self.step(step, needs.iter().map(|(need, _)| *need).collect()))
            .collect();
        let mut problems = Vec::new();
        let output = raw.output.map(|output| Tree::parse(output, &mut problems));
        self.templates(problems);
        // Names are checked as soon as there is an order, whatever else is wrong.
        let (schedule, reach) = self.order(&ids, &needs)?;
        let names = Names { ids: &ids, positions: &positions };
        for (step, reach) in steps.iter().zip(&reach) {
            if let Some(step) = step {
                self.step_names(step, &names, reach);
            }
        }
        if let Some(output) = &output {
            for (reference, at) in Tree::references(output) {
                self.reference(reference, at, &names, None, &[]);
            }
        }
        let id = id?;
        Some(Workflow {
            title: raw.title.unwrap_or_else(|| id.to_string()),
            id,
            version: raw.version.value,
            pack: match pack {
                Some(pack) => Some(pack?),
                None => None,
            },
            approvals: raw.approvals,
            auto_rollback: raw.auto_rollback,
            timeout,
            steps: steps.into_iter().collect::<Option<_>>()?,
            output,
            schedule,
            reach,
            input: input.transpose().ok()?,
            source_name: self.source.name.to_owned(),
            source: Arc::from(String::from_utf8_lossy(self.source.bytes)),
            digest: Digest::of(self.source.bytes),
        })
    }

    fn ceiling(&mut self, ceiling: &Located<EffectCeiling>, asks: AskFor) {
        if asks != AskFor::Plan {
            let message = "`effects` says what people agree to beforehand; it is accepted with \
                           `approvals: plan` only";
            self.problem(place(ceiling), message);
        }
        if let Err(problem) = ceiling.value.check() {
            self.problem(place(ceiling), problem);
        }
    }

    fn ids<'i>(&mut self, ids: &'i [Located<String>]) -> HashMap<&'i str, usize> {
        let mut positions: HashMap<&str, usize> = HashMap::new();
        for (idx, id) in ids.iter().enumerate() {
            let fits = id.value.len() <= 64
                && id.value.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                && id.value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
            if !fits {
                self.problem(
                    place(id),
                    format!(
                        "`{}` is not a step id; accepted here: a letter or _, then letters, \
                         digits, _ and -, at most 64 characters",
                        id.value
                    ),
                );
            }
            match positions.get(id.value.as_str()).and_then(|first| ids.get(*first)) {
                Some(first) => self.problem(
                    place(id),
                    format!("step `{}` stands already on line {}", id.value, first.line),
                ),
                None => {
                    positions.insert(&id.value, idx);
                }
            }
        }
        positions
    }

    fn needs(
        &mut self,
        step: &RawStep,
        positions: &HashMap<&str, usize>,
    ) -> Vec<(usize, (u32, u32))> {
        let mut needs: Vec<(usize, (u32, u32))> = Vec::new();
        for need in &step.needs {
            match positions.get(need.value.as_str()) {
                None => self.problem(
                    place(need),
                    format!("`needs` names `{}`, and there is no such step", need.value),
                ),
                Some(found) if needs.iter().any(|(known, _)| known == found) => {
                    self.problem(place(need), format!("`needs` names `{}` twice", need.value));
                }
                Some(found) => needs.push((*found, place(need))),
            }
        }
        needs
    }

    fn order(
        &mut self,
        ids: &[Located<String>],
        needs: &[Vec<(usize, (u32, u32))>],
    ) -> Option<(Schedule, Vec<Reach>)> {
        let plain: Vec<Vec<usize>> =
            needs.iter().map(|needs| needs.iter().map(|(need, _)| *need).collect()).collect();
        let names: Vec<&str> = ids.iter().map(|id| id.value.as_str()).collect();
        match order(&names, &plain) {
            Ok(schedule) => {
                let reach = reach(&schedule, &plain);
                Some((schedule, reach))
            }
            Err(cycle) => {
                let around = cycle.iter().chain(cycle.first());
                let path: Vec<&str> = around.filter_map(|step| names.get(*step).copied()).collect();
                let second = cycle.get(1).or(cycle.first());
                let at = cycle
                    .first()
                    .and_then(|first| needs.get(*first))
                    .and_then(|needs| needs.iter().find(|(need, _)| Some(need) == second))
                    .map_or((0, 0), |(_, at)| *at);
                self.problem(at, format!("the steps need each other: {}", path.join(" -> ")));
                None
            }
        }
    }

    fn step(&mut self, raw: RawStep, needs: Vec<usize>) -> Option<Step> {
        let at = place(&raw.id);
        let when_place = raw.when.as_ref().map_or(at, place);
        let when = match raw.when {
            Some(when) => Some(self.when(when)?),
            None => None,
        };
        let on_error = raw.on_error.as_ref().map_or(OnError::Fail, |on_error| on_error.value);
        if raw.capability.is_none() {
            let extra = [
                ("with", raw.with.as_ref().map(place)),
                ("timeout", raw.timeout.as_ref().map(place)),
                ("retry", raw.retry.as_ref().map(place)),
                ("compensate", raw.compensate.as_ref().map(place)),
                ("effects", raw.effects.as_ref().map(place)),
                ("undo", raw.undo.as_ref().map(place)),
                ("on_error", raw.on_error.as_ref().map(place)),
                ("foreach", raw.foreach.as_ref().map(place)),
            ];
            let kind = if raw.approval.is_some() { "approval" } else { "wait" };
            for (key, found) in extra {
                if let Some(at) = found {
                    let message = format!(
                        "`{key}` is not accepted beside `{kind}`; accepted here: id, needs, when, \
                         {kind}"
                    );
                    self.problem(at, message);
                }
            }
        }
        if let (Some(parallel), None) = (&raw.parallel, &raw.foreach) {
            let message = "`parallel` says how many items of a `foreach` go at a time, and there \
                           is none";
            self.problem(place(parallel), message);
        }
        let foreach = match raw.foreach {
            Some(foreach) => Some(self.foreach(foreach, raw.parallel)?),
            None => None,
        };
        let work = match (raw.capability, raw.approval, raw.wait) {
            (Some(capability), None, None) => {
                let retry = self.retry(raw.retry);
                let timeout = raw.timeout.map(|timeout| self.positive(&timeout, "timeout"));
                let undo = raw.undo.map(|undo| self.undo_terms(undo)).unwrap_or_default();
                let compensate = raw.compensate.map(|compensate| self.compensation(compensate));
                let with = self.input(&capability.value, raw.with);
                let (id, version) = self.capability(&capability)?;
                Work::Call(Box::new(Call {
                    capability: id,
                    version,
                    timeout,
                    retry,
                    compensate: match compensate {
                        Some(compensate) => Some(compensate?),
                        None => None,
                    },
                    undo,
                    effects: raw.effects.map(|effects| effects.value),
                    with,
                    place: place(&capability),
                }))
            }
            (None, Some(approval), None) => Work::Approval(self.approval(approval.value)?),
            (None, None, Some(wait)) => Work::Wait(self.positive(&wait, "wait")),
            (None, None, None) => {
                let message = format!(
                    "step `{}` has none of `use`, `approval` and `wait`; one is needed",
                    raw.id.value
                );
                self.problem(at, message);
                return None;
            }
            _ => {
                let message = format!(
                    "step `{}` has more than one of `use`, `approval` and `wait`; one is accepted",
                    raw.id.value
                );
                self.problem(at, message);
                return None;
            }
        };
        Some(Step { id: raw.id.value, needs, when, foreach, work, on_error, when_place })
    }

    fn foreach(
        &mut self,
        list: Located<String>,
        parallel: Option<Located<u32>>,
    ) -> Option<Foreach> {
        let at = place(&list);
        if let Some(parallel) = &parallel
            && !(1..=100).contains(&parallel.value)
        {
            self.problem(place(parallel), "`parallel` is out of range; accepted here: 1 to 100");
        }
        let parallel = parallel.map(|parallel| parallel.value);
        match Template::parse(&list.value) {
            Ok(list) if list.is_expression() => Some(Foreach { list, parallel, place: at }),
            Ok(_) => {
                let message = "`foreach` is one \"{{ expression }}\" that gives a list";
                self.problem(at, message);
                None
            }
            Err(error) => {
                self.problem(at, error.to_string());
                None
            }
        }
    }

    fn when(&mut self, when: Located<Node>) -> Option<When> {
        let at = place(&when);
        match when.value {
            Node::Scalar(Value::Bool(value)) => return Some(When::Constant(value)),
            Node::Scalar(Value::String(text)) => match Template::parse(&text) {
                Ok(template) if template.is_expression() => {
                    return Some(When::Expression(template));
                }
                Ok(_) => {}
                Err(error) => {
                    self.problem(at, error.to_string());
                    return None;
                }
            },
            Node::Scalar(_) | Node::List(_) | Node::Map(_) => {}
        }
        let message = "`when` is no expression; accepted here: true, false or one \
                       \"{{ expression }}\"";
        self.problem(at, message);
        None
    }

    fn retry(&mut self, retry: Option<Located<Retry>>) -> Retry {
        let Some(retry) = retry else { return Retry::default() };
        if !(1..=100).contains(&retry.value.attempts) {
            self.problem(place(&retry), "`attempts` is out of range; accepted here: 1 to 100");
        }
        retry.value
    }

    fn positive(&mut self, duration: &Located<HumanDuration>, key: &str) -> HumanDuration {
        if duration.value.as_millis() == 0 {
            self.problem(
                place(duration),
                format!("`{key}` is zero; accepted here: more than that"),
            );
        }
        duration.value
    }

    fn undo_terms(&mut self, raw: Located<RawUndo>) -> UndoTerms {
        let RawUndo { timeout, retry } = raw.value;
        let timeout = timeout.map(|timeout| self.positive(&timeout, "timeout"));
        let retry = retry.map(|retry| self.retry(Some(retry)));
        UndoTerms { timeout, retry: retry.unwrap_or(UndoTerms::default().retry) }
    }

    fn compensation(&mut self, raw: Located<RawCompensate>) -> Option<Compensation> {
        let RawCompensate { capability, with, timeout, retry } = raw.value;
        let with = self.input(&capability.value, with);
        let timeout = timeout.map(|timeout| self.positive(&timeout, "timeout"));
        let retry = retry.map(|retry| self.retry(Some(retry)));
        let (id, version) = self.capability(&capability)?;
        let place = place(&capability);
        Some(Compensation { capability: id, version, timeout, retry, with, place })
    }

    fn approval(&mut self, raw: RawApproval) -> Option<ApprovalStep> {
        let at = place(&raw.message);
        if raw.message.value.trim().is_empty() || raw.message.value.len() > MAX_MESSAGE {
            let message = format!("`message` says nothing, or more than {MAX_MESSAGE} bytes");
            self.problem(at, message);
        }
        let approvals = raw.approvals.map_or(1, |approvals| {
            if !(1..=20).contains(&approvals.value) {
                let message = "`approvals` is out of range; accepted here: 1 to 20";
                self.problem(place(&approvals), message);
            }
            approvals.value
        });
        let timeout = raw.timeout.map(|timeout| self.positive(&timeout, "timeout"));
        let message = Template::parse(&raw.message.value);
        let message = message.map_err(|error| self.problem(at, error.to_string())).ok()?;
        Some(ApprovalStep {
            message,
            risk: raw.risk.unwrap_or(Risk::High),
            approvals,
            timeout,
            place: at,
        })
    }

    fn capability(&mut self, text: &Located<String>) -> Option<(CapabilityId, Option<VersionReq>)> {
        let (id, version) = match text.value.split_once('@') {
            Some((id, version)) => (id, Some(version)),
            None => (text.value.as_str(), None),
        };
        let id = CapabilityId::parse(id);
        let version = version.map(VersionReq::parse).transpose();
        match (id, version) {
            (Ok(id), Ok(version)) => Some((id, version)),
            (Err(error), _) => {
                self.problem(place(text), error.to_string());
                None
            }
            (_, Err(error)) => {
                let message = format!(
                    "`{}` does not end in versions: {error}; `fs.write@^1.2` is accepted",
                    text.value
                );
                self.problem(place(text), message);
                None
            }
        }
    }

    fn input(&mut self, capability: &str, with: Option<Located<Node>>) -> Located<Tree> {
        let Some(with) = with else { return Tree::empty() };
        let mut problems = Vec::new();
        let at = place(&with);
        let tree = match with.value {
            Node::Map(mut entries) if is_template_taker(capability) => {
                let own = entries.iter().position(|(key, node)| key == "template" && is_own(node));
                let own = own.map(|idx| (idx, entries.remove(idx)));
                let mut parsed: Vec<(String, Located<Tree>)> = entries
                    .into_iter()
                    .map(|(key, node)| (key, Tree::parse(node, &mut problems)))
                    .collect();
                if let Some((idx, (key, node))) = own {
                    parsed.insert(idx, (key, Tree::verbatim(node)));
                }
                Located { value: Tree::map(parsed), line: at.0, column: at.1 }
            }
            value => Tree::parse(Located { value, line: at.0, column: at.1 }, &mut problems),
        };
        self.templates(problems);
        let fits = match &tree.value {
            Tree::Map(_) | Tree::Constant(Value::Object(_)) => true,
            Tree::Template(template) => template.is_expression(),
            Tree::Constant(_) | Tree::List(_) => false,
        };
        if !fits {
            self.problem(at, "`with` is a mapping, or one \"{{ expression }}\" that gives one");
        }
        tree
    }

    fn templates(&mut self, problems: Vec<Problem>) {
        for problem in problems {
            self.problem(place(&problem), problem.value.to_string());
        }
    }
}

/// The keys of objects that fit a schema, if it names all of them.
fn keys(schema: &Value) -> Option<Vec<String>> {
    let closed = schema.get("additionalProperties") == Some(&Value::Bool(false))
        && schema.get("patternProperties").is_none();
    let properties = schema.get("properties")?.as_object()?;
    closed.then(|| properties.keys().cloned().collect())
}

fn place<T>(located: &Located<T>) -> (u32, u32) {
    (located.line, located.column)
}

/// `text.render` takes a template of its own, with names of its own.
fn is_template_taker(capability: &str) -> bool {
    capability.split('@').next() == Some("text.render")
}

/// A template for `text.render` reaches it as it is written, unless it is one expression over what
/// the run knows: then that is where the template comes from.
fn is_own(node: &Located<Node>) -> bool {
    let Node::Scalar(Value::String(text)) = &node.value else { return false };
    let Ok(template) = Template::parse(text) else { return true };
    let from_run = |it: &Reference| ["input", "steps"].contains(&it.root.as_str());
    !(template.is_expression() && template.references().any(from_run))
}
