//! `policy lint`, `test` and `fuzz`.

use std::path::{Path, PathBuf};

use lictor::context::{Clock as _, SystemClock};
use lictor::document::{Limits, Source};
use lictor::governance::{
    CaseResult, FuzzReport, LintFinding, LintLevel, PolicyCases, PolicySet, Survivor,
};
use serde_json::{Value, json};

use super::Answer;
use crate::context::Context;
use crate::failure::Failure;
use crate::files;
use crate::output::{GREEN, Output, RED, visible};

/// More files than this are not looked at when patterns are held against the workspace.
const MAX_FILES: usize = 20_000;

pub(crate) fn lint(
    set: &PolicySet,
    in_force: bool,
    strict: bool,
    context: &Context,
    output: &Output,
) -> Answer {
    let files = if in_force { workspace_files(&context.workspace) } else { Vec::new() };
    let findings = set.lint(&files);
    let layers = set.layers().len();
    let json = json!({
        "valid": true, "layers": layers, "digest": set.digest(), "findings": findings,
    });
    let shown = || {
        let mut text = format!("{GREEN}valid{GREEN:#}: {layers} layer(s), {}\n", set.digest());
        text.extend(findings.iter().map(remark));
        text
    };
    let warnings = findings.iter().filter(|one| one.level == LintLevel::Warning).count();
    let why = format!("{warnings} warning(s)");
    finish(json, shown, (strict && warnings > 0).then_some(why), output)
}

fn remark(finding: &LintFinding) -> String {
    let level = match finding.level {
        LintLevel::Note => "note",
        LintLevel::Warning => "warning",
    };
    let text = format!("{}: {level}: {}: {}", finding.place, finding.rule, finding.message);
    format!("{} ({})\n", visible(&text), finding.code)
}

pub(crate) fn test(
    set: &PolicySet,
    cases: &[PathBuf],
    context: &Context,
    output: &Output,
) -> Answer {
    let files = if cases.is_empty() { case_files(&context.workspace)? } else { cases.to_vec() };
    let now = SystemClock.now();
    let mut results: Vec<CaseResult> = Vec::new();
    for file in &files {
        let given = files::read(file, Limits::default().max_bytes)?;
        let cases = PolicyCases::from_yaml(&Source::new(&given.name, &given.bytes));
        results.extend(cases.map_err(Failure::input)?.run(set, now));
    }
    let failed = results.iter().filter(|result| !result.passed).count();
    let json = json!({
        "valid": true, "layers": set.layers().len(), "digest": set.digest(),
        "files": files, "cases": results.len(), "failed": failed, "results": results,
    });
    let shown = || {
        // Self-tests are part of reading: a policy whose examples fail is not read.
        let mut text = format!("{GREEN}valid{GREEN:#}: the examples of the rules hold\n");
        for result in results.iter().filter(|result| !result.passed) {
            let why = visible(&result.problems.join("; "));
            text.push_str(&format!(
                "{RED}failed{RED:#} {} {}: {why}\n",
                result.place,
                visible(&result.name)
            ));
            for reason in &result.reasons {
                text.push_str(&format!("    {}\n", visible(reason)));
            }
        }
        text.push_str(&format!("{} of {} case(s) passed\n", results.len() - failed, results.len()));
        text
    };
    finish(json, shown, (failed > 0).then(|| format!("{failed} case(s) failed")), output)
}

/// The files of cases that lie beside the policy.
fn case_files(workspace: &Path) -> Result<Vec<PathBuf>, Failure> {
    let folder = workspace.join(".lictor");
    let Ok(entries) = std::fs::read_dir(&folder) else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(Failure::failed)?.path();
        if path.to_string_lossy().ends_with(".policy-test.yaml") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

pub(crate) fn fuzz(set: &PolicySet, output: &Output) -> Answer {
    let report = set.fuzz(SystemClock.now());
    let n = report.survivors.len();
    let shown = || survivors(&report);
    let why = format!("{n} way(s) around the policy");
    finish(json!(report), shown, (n > 0).then_some(why), output)
}

fn survivors(report: &FuzzReport) -> String {
    let FuzzReport { witnesses, attempts, ways, survivors, untested } = report;
    let mut text =
        format!("{witnesses} witness(es), {attempts} attempt(s) in {} way(s)\n", ways.len());
    for Survivor { rule, place, witness, mutation, attempt, wanted, got } in survivors {
        let line = format!(
            "{place} {rule}: {witness}: {mutation}: {attempt:?}: {got} instead of {wanted}"
        );
        text.push_str(&format!("{RED}survivor{RED:#} {}\n", visible(&line)));
    }
    for rule in untested {
        text.push_str(&format!("not tried, no example is known: {}\n", visible(rule)));
    }
    if survivors.is_empty() {
        text.push_str(&format!("{GREEN}no survivors{GREEN:#}\n"));
    }
    text
}

/// The answer, beside the error that it ends with.
fn finish(
    json: Value,
    shown: impl FnOnce() -> String,
    why: Option<String>,
    output: &Output,
) -> Answer {
    let Some(why) = why else {
        output.result(&json, shown);
        return Ok(0);
    };
    if !output.is_json() {
        output.result(&json, shown);
    }
    let mut failure = Failure::failed(why);
    if let Value::Object(known) = json {
        failure.known = known;
    }
    Err(failure)
}

/// The files of a workspace, as far as they are few enough, without what nobody writes by hand.
fn workspace_files(root: &Path) -> Vec<String> {
    let mut folders = vec![root.to_path_buf()];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let skipped = [".git", ".lictor", "target", "node_modules"];
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() && !skipped.iter().any(|one| name == **one) {
                folders.push(entry.path());
            } else if kind.is_file()
                && let Ok(path) = entry.path().strip_prefix(root)
            {
                found.push(path.to_string_lossy().into_owned());
            }
            if found.len() > MAX_FILES {
                // Nothing is said of patterns that match nothing, rather than something wrong.
                return Vec::new();
            }
        }
    }
    found
}
