//! Workflows against contracts.

use std::sync::Arc;

use lictor_capability::{CapabilityGraph, Contract};
use lictor_document::Source;

use crate::rig::{Rig, workflow};

fn graph() -> CapabilityGraph {
    let contract = |id: &str, version: &str, input: &str| {
        let text = format!(
            "id: {id}\nversion: {version}\ntitle: t\ndescription: d\nkind: skill\nsource: builtin\n\
             input: {input}\noutput: {{}}\nrisk: low\nhandler: {{ builtin: {id} }}\n"
        );
        let source = Source::new("contract.yaml", text.as_bytes());
        Arc::new(Contract::from_yaml(&source).expect("a contract"))
    };
    let write = "{ type: object, required: [path, content], additionalProperties: false, \
                 properties: { path: { type: string, maxLength: 8 }, content: { type: string }, \
                 mode: { type: integer }, tags: { type: array, items: { enum: [a, b] } } } }";
    let any = "{ anyOf: [{ required: [x] }, { required: [y] }] }";
    let contracts = [contract("fs.write", "1.2.0", write), contract("any.thing", "1.0.0", any)];
    CapabilityGraph::build(&Rig::new().session, &contracts)
}

#[track_caller]
fn check(step: &str, expect: &[&str]) {
    let text = format!("id: w\nversion: 1.0.0\nsteps:\n  - {{ id: a, {step} }}\n");
    let found: Vec<String> = match workflow(&text).validate_against(&graph()) {
        Ok(()) => Vec::new(),
        Err(error) => error
            .problems()
            .iter()
            .map(|it| format!("{}:{}: {}", it.line(), it.column(), it.message()))
            .collect(),
    };
    let all = found.len() == expect.len()
        && found.iter().zip(expect).all(|(found, expect)| found.starts_with(expect));
    assert!(all, "{step}\n{found:#?}");
}

#[test]
fn capabilities_exist() {
    check("use: fs.write, with: { path: a, content: b }", &[]);
    check("use: fs.write@^1.1, with: { path: a, content: b }", &[]);
    check("use: fs.write@2", &["4:19: `fs.write` is there in version 1.2.0, which does not fit"]);
    check("use: fs.wriet", &["4:19: there is no capability `fs.wriet`; did you mean `fs.write`?"]);
    check("use: zip.zap.zop", &["4:19: there is no capability `zip.zap.zop`"]);
    check(
        "use: any.thing, with: { x: 1 }, compensate: { use: fs.writ }",
        &["4:65: there is no capability `fs.writ`; did you mean"],
    );
}

#[test]
fn constant_inputs_fit() {
    let said = "`fs.write` does not take this input: ";
    check("use: fs.write", &[&format!("4:19: {said}"), &format!("4:19: {said}")]);
    check("use: fs.write, with: { path: 1, content: b }", &[&format!("4:35: {said}/path: ")]);
    check("use: any.thing, with: { z: 1 }", &["4:36: `any.thing` does not take this input: "]);
}

#[test]
fn of_inputs_with_expressions_what_is_certain_fits() {
    let t = "content: \"{{ input.x }}\"";
    check(&format!("use: fs.write, with: {{ path: a, {t} }}"), &[]);
    check("use: fs.write, with: \"{{ input }}\"", &[]);
    check("use: any.thing, with: { z: \"{{ input.x }}\" }", &[]);
    let said = "`fs.write` does not take this input: ";
    check(
        &format!("use: fs.write, with: {{ {t} }}"),
        &[&format!("4:35: {said}/: `path` is missing")],
    );
    check(
        &format!("use: fs.write, with: {{ path: a, {t}, pth: 1 }}"),
        &[&format!("4:77: {said}/pth: there is no such key")],
    );
    check(
        &format!("use: fs.write, with: {{ path: far-too-long, {t} }}"),
        &[&format!("4:43: {said}/path: ")],
    );
    check(
        &format!("use: fs.write, with: {{ path: a, {t}, mode: \"{{{{ 1 }}}}0\" }}"),
        &[&format!("4:78: {said}/mode: a value of type string is not accepted")],
    );
    check(
        &format!("use: fs.write, with: {{ path: a, {t}, tags: [a, \"{{{{ input.x }}}}\", c] }}"),
        &[&format!("4:99: {said}/tags/2: ")],
    );
}
