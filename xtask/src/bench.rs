//! `cargo xtask bench`: runs everything that measures, and writes one report. No figure of it is
//! written by hand; each stands beside what it is compared with, from the same run.

mod build; // how long the command takes to build, and of what
mod figures; // what is measured, and what was aimed at
mod page; // the report as people read it

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use crate::process;
use crate::report::{self, Failure};

/// Where the report goes: for people, and for programs.
const PAGE: &str = "docs/benchmarks.md";
const DATA: &str = "docs/benchmarks.json";
/// Where a bench that is not criterion's appends its figures.
const VARIABLE: &str = "LICTOR_BENCH_FIGURES";

/// A figure of a run, in its own unit.
#[derive(Debug, Clone, PartialEq)]
struct Measured {
    value: f64,
    low: f64,
    high: f64,
    unit: String,
}

impl Measured {
    /// What was seen one time.
    fn once(value: f64, unit: &str) -> Self {
        Self { value, low: value, high: value, unit: unit.to_owned() }
    }
}

/// Everything that one run measured.
#[derive(Debug, Default)]
struct Run {
    /// What it ran on, in the order of the report.
    machine: Vec<(&'static str, String)>,
    figures: BTreeMap<String, Measured>,
}

/// Runs the benches of these crates, or all.
pub(crate) fn run(root: &Path, wanted: &[String]) -> Result<bool, Failure> {
    let scratch = process::target(root).join("bench-figures.jsonl");
    process::write(&scratch, "")?;
    let known = |name: &str| figures::BENCHES.iter().any(|bench| bench.package == name);
    if let Some(unknown) = wanted.iter().find(|name| !known(name)) {
        let names: Vec<_> = figures::BENCHES.iter().map(|bench| bench.package).collect();
        let names = names.join(", ");
        return Err(Failure::new(format!("no benches of `{unknown}`; there are those of {names}")));
    }
    let mut ran = Vec::new();
    for bench in figures::BENCHES {
        if !wanted.is_empty() && !wanted.iter().any(|name| name == bench.package) {
            continue;
        }
        report::say(&format!("bench: {} of {}", bench.name, bench.package));
        ran.extend(bench.measure(root, &scratch)?);
    }
    let mut measured = Run { machine: process::machine(root)?, ..Run::default() };
    for (id, figure) in criterion(root)?.into_iter().chain(lines(&process::read(&scratch)?)) {
        measured.figures.insert(id, figure);
    }
    for (id, figure) in ran {
        measured.figures.insert(id, figure);
    }
    if !wanted.is_empty() {
        // A part is no report: what it is compared with may be of another run.
        report::say(&page::table(&measured));
        return Ok(true);
    }
    let missing = figures::missing(&measured);
    if !missing.is_empty() {
        return Err(Failure::new(format!("nothing measured {}", missing.join(", "))));
    }
    process::write(&root.join(DATA), &format!("{:#}\n", data(&measured)))?;
    process::write(&root.join(PAGE), &page::page(&measured))?;
    report::say(&format!("bench: {PAGE} and {DATA} are written"));
    Ok(true)
}

/// What criterion left behind.
fn criterion(root: &Path) -> Result<Vec<(String, Measured)>, Failure> {
    let mut found = Vec::new();
    for folder in process::folders_with(&process::target(root).join("criterion"), "new") {
        let about = process::read(&folder.join("benchmark.json"))?;
        let estimates = process::read(&folder.join("estimates.json"))?;
        let (Ok(about), Ok(estimates)) = (parsed(&about), parsed(&estimates)) else { continue };
        let Some(id) = about.get("full_id").and_then(Value::as_str) else { continue };
        let median = |at: &str| {
            let value = estimates.pointer("/median").and_then(|median| median.pointer(at));
            value.and_then(Value::as_f64).unwrap_or(f64::NAN)
        };
        let measured = Measured {
            value: median("/point_estimate"),
            low: median("/confidence_interval/lower_bound"),
            high: median("/confidence_interval/upper_bound"),
            unit: "ns".to_owned(),
        };
        found.push((id.to_owned(), measured));
    }
    Ok(found)
}

/// What other benches wrote, a figure a line.
fn lines(text: &str) -> Vec<(String, Measured)> {
    let figures = text.lines().filter_map(|line| parsed(line).ok());
    let one = |figure: Value| {
        let number = |key: &str| figure.get(key).and_then(Value::as_f64);
        let text = |key: &str| figure.get(key).and_then(Value::as_str).map(str::to_owned);
        let value = number("value")?;
        let measured = Measured {
            value,
            low: number("low").unwrap_or(value),
            high: number("high").unwrap_or(value),
            unit: text("unit")?,
        };
        Some((text("figure")?, measured))
    };
    figures.filter_map(one).collect()
}

fn parsed(text: &str) -> serde_json::Result<Value> {
    serde_json::from_str(text)
}

fn data(run: &Run) -> Value {
    let machine: serde_json::Map<String, Value> =
        run.machine.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
    let figures: serde_json::Map<String, Value> = run
        .figures
        .iter()
        .map(|(id, it)| {
            let figure =
                json!({ "value": it.value, "low": it.low, "high": it.high, "unit": it.unit });
            (id.clone(), figure)
        })
        .collect();
    json!({ "machine": machine, "figures": figures })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_without_a_number_is_no_figure() {
        let text = "{\"figure\":\"a\",\"value\":2.0,\"unit\":\"ms\"}\nnoise\n{\"figure\":\"b\"}\n";
        let found = lines(text);
        let unit = "ms".to_owned();
        assert_eq!(found, [("a".to_owned(), Measured { value: 2.0, low: 2.0, high: 2.0, unit })]);
    }
}
