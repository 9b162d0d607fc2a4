//! A workflow held against the contracts of a session.

use lictor_capability::{CapabilityGraph, CapabilityId, Contract};
use lictor_document::{DocumentError, Located, Source};
use semver::VersionReq;
use serde_json::Value;

use super::{MAX_PROBLEMS, Work, Workflow};
use crate::error::WorkflowError;
use crate::schema::Schema;
use crate::template::Tree;

pub(super) fn check(workflow: &Workflow, graph: &CapabilityGraph) -> Result<(), WorkflowError> {
    let mut against = Against { workflow, graph, problems: Vec::new() };
    for step in &workflow.steps {
        let Work::Call(call) = &step.work else { continue };
        against.call(&call.capability, call.version.as_ref(), &call.with, call.place);
        if let Some(back) = &call.compensate {
            against.call(&back.capability, back.version.as_ref(), &back.with, back.place);
        }
    }
    if against.problems.is_empty() { Ok(()) } else { Err(WorkflowError::new(against.problems)) }
}

struct Against<'a> {
    workflow: &'a Workflow,
    graph: &'a CapabilityGraph,
    problems: Vec<DocumentError>,
}

impl Against<'_> {
    fn problem(&mut self, (line, column): (u32, u32), message: impl AsRef<str>) {
        if self.problems.len() >= MAX_PROBLEMS {
            return;
        }
        let source = Source::new(&self.workflow.source_name, self.workflow.source.as_bytes());
        let error = DocumentError::at(source.name, line, column, message);
        self.problems.push(error.with_excerpt_of(&source));
    }

    fn call(
        &mut self,
        id: &CapabilityId,
        version: Option<&VersionReq>,
        with: &Located<Tree>,
        at: (u32, u32),
    ) {
        let Some(contract) = self.graph.get(id, version) else {
            let message = match (self.graph.get(id, None), self.graph.nearest(id)) {
                (Some(newest), _) => {
                    format!("`{id}` is there in version {}, which does not fit", newest.version)
                }
                (None, Some(nearest)) => {
                    format!("there is no capability `{id}`; did you mean `{nearest}`?")
                }
                (None, None) => format!("there is no capability `{id}`"),
            };
            self.problem(at, message);
            return;
        };
        // Without `with`, the input stands nowhere; then the capability's name does.
        let place = if with.line == 0 { at } else { (with.line, with.column) };
        match &with.value {
            Tree::Constant(input) => self.constant(contract, input, place),
            tree => self.partial(id, contract.input_schema(), tree, place, &mut Vec::new()),
        }
    }

    fn constant(&mut self, contract: &Contract, input: &Value, at: (u32, u32)) {
        for finding in contract.check_input(input).err().into_iter().flatten() {
            self.problem(at, format!("`{}` does not take this input: {finding}", contract.id));
        }
    }

    /// Checks what is certain of a value with expressions in it, and nothing else: a schema that
    /// says it in another way than by `type`, `required`, `properties` and `items` speaks when the
    /// step runs.
    fn partial(
        &mut self,
        id: &CapabilityId,
        schema: &Value,
        tree: &Tree,
        at: (u32, u32),
        path: &mut Vec<String>,
    ) {
        let said = |path: &[String], problem: String| {
            format!("`{id}` does not take this input: /{}: {problem}", path.join("/"))
        };
        let kind = match tree {
            Tree::Constant(value) => {
                if refers(schema) {
                    return;
                }
                let findings = Schema::compile(schema.clone()).map(|schema| schema.check(value));
                for finding in findings.ok().and_then(Result::err).into_iter().flatten() {
                    let at_all = format!("/{}{}", path.join("/"), finding.at);
                    let problem = &finding.problem;
                    self.problem(
                        at,
                        format!("`{id}` does not take this input: {at_all}: {problem}"),
                    );
                }
                return;
            }
            Tree::Template(template) if template.is_expression() => return,
            Tree::Template(_) => "string",
            Tree::List(_) => "array",
            Tree::Map(_) => "object",
        };
        if !accepts(schema, kind) {
            self.problem(at, said(path, format!("a value of type {kind} is not accepted")));
            return;
        }
        match tree {
            Tree::Constant(_) | Tree::Template(_) => {}
            Tree::List(items) => {
                let Some(of_items) = schema.get("items") else { return };
                if schema.get("prefixItems").is_some() {
                    return;
                }
                for (idx, item) in items.iter().enumerate() {
                    path.push(idx.to_string());
                    self.partial(id, of_items, &item.value, (item.line, item.column), path);
                    path.pop();
                }
            }
            Tree::Map(entries) => {
                let required = schema.get("required").and_then(Value::as_array);
                for key in required.into_iter().flatten().filter_map(Value::as_str) {
                    if !entries.iter().any(|(known, _)| known == key) {
                        self.problem(at, said(path, format!("`{key}` is missing")));
                    }
                }
                let properties = schema.get("properties").and_then(Value::as_object);
                let closed = schema.get("additionalProperties") == Some(&Value::Bool(false))
                    && schema.get("patternProperties").is_none();
                for (key, item) in entries {
                    let place = (item.line, item.column);
                    path.push(key.clone());
                    match properties.and_then(|properties| properties.get(key)) {
                        Some(schema) => self.partial(id, schema, &item.value, place, path),
                        None if closed => {
                            self.problem(place, said(path, "there is no such key".to_owned()));
                        }
                        None => {}
                    }
                    path.pop();
                }
            }
        }
    }
}

fn accepts(schema: &Value, kind: &str) -> bool {
    match schema.get("type") {
        Some(Value::String(accepted)) => accepted == kind,
        Some(Value::Array(accepted)) => accepted.iter().any(|it| it.as_str() == Some(kind)),
        _ => schema != &Value::Bool(false),
    }
}

/// Whether a part of a schema points to somewhere outside of itself, perhaps.
fn refers(schema: &Value) -> bool {
    match schema {
        Value::Object(map) => {
            map.keys().any(|key| key == "$ref" || key == "$dynamicRef") || map.values().any(refers)
        }
        Value::Array(items) => items.iter().any(refers),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}
