//! The project checks itself: `cargo xtask <command>`.
//!
//! Standard library and `serde_json` only, so that it builds in seconds on a cold machine. Rules
//! are pure functions over a [`model::Workspace`] or a [`tree::Tree`], tested here; the modules
//! [`process`] and [`report`] are the only ones that start a process or print.

mod args; // modules in the order a newcomer should read them
mod layers;
mod tidy;

mod guarantees;
mod links;
mod manifests;
mod sources;

mod steps;

mod bench;
mod compare;
mod conformance;
mod mutants;

mod runner;

mod model;
mod tree;

mod process;
mod report;

use std::process::ExitCode;

use crate::args::Command;
use crate::report::Failure;

fn main() -> ExitCode {
    let command = match args::parse(std::env::args().skip(1)) {
        Ok(command) => command,
        Err(complaint) => {
            report::problem(&complaint);
            report::problem(args::HELP);
            return ExitCode::from(2);
        }
    };
    match run(command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            report::problem(&format!("xtask: {failure}"));
            ExitCode::FAILURE
        }
    }
}

/// Whether everything that was asked for passed.
fn run(command: Command) -> Result<bool, Failure> {
    match command {
        Command::Help => {
            report::say(args::HELP);
            Ok(true)
        }
        Command::Layers { mermaid } => {
            let workspace = process::load_workspace()?;
            if mermaid {
                report::say(&layers::mermaid(&workspace));
            } else {
                report::say(&layers::table(&workspace));
            }
            Ok(report::findings("layers", &layers::check(&workspace)))
        }
        Command::Tidy => {
            let workspace = process::load_workspace()?;
            let tree = process::load_tree(&workspace.root)?;
            Ok(report::findings("tidy", &tidy::check(&workspace, &tree)))
        }
        Command::Mutants(options) => mutants::run(&process::load_workspace()?, &options),
        Command::TestMatrix => {
            let workspace = process::load_workspace()?;
            let tree = process::load_tree(&workspace.root)?;
            report::say(guarantees::table(&tree).trim_end());
            Ok(report::findings("test-matrix", &guarantees::check(&tree)))
        }
        Command::Check(options) => steps::check(&options),
        Command::Compare(options) => compare::run(&process::load_workspace()?.root, &options),
        Command::Conformance { strict } => {
            conformance::run(&process::load_workspace()?.root, strict)
        }
        Command::Bench { wanted } => bench::run(&process::load_workspace()?.root, &wanted),
        Command::Program { args } => steps::program(&args),
        Command::Test { extra } => Ok(steps::test(&extra)),
        Command::Ci(options) => steps::ci(&options),
    }
}
