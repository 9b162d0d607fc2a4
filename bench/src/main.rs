//! Load and chaos over the whole runtime: real files, a real database, the real road.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a program that measures, makes scratch workspaces and kills processes of its own"
)]

mod chaos;
mod floor;
mod kill;
mod load;
mod pending;
mod place;
mod random;
mod soak;
mod system;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use serde_json::Value;

use crate::chaos::Chaos;
use crate::kill::Child;
use crate::load::Load;
use crate::soak::Soak;

/// A fifth of what an action costs is memory that comes and goes.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What went wrong with the bench itself.
type Failure = Box<dyn std::error::Error + Send + Sync>;

#[derive(Debug, Parser)]
#[command(name = "lictor-bench", about, disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Runs workflows with failures injected, and looks at what is left.
    Chaos(Chaos),
    /// Runs workflows as fast as they go.
    Load(Load),
    /// Load, chaos, kills and undo beside each other, for minutes.
    Soak(Soak),
    /// What `chaos --mode kill` kills.
    #[command(hide = true)]
    Child(Child),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("lictor-bench: {error}");
            return ExitCode::from(2);
        }
    };
    let ended = runtime.block_on(async {
        match arguments.what {
            What::Chaos(wish) => chaos::chaos(wish).await,
            What::Load(wish) => load::load(wish).await,
            What::Soak(wish) => soak::soak(wish).await,
            What::Child(wish) => kill::child(wish).await,
        }
    });
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("lictor-bench: {error}");
            ExitCode::from(2)
        }
    }
}

/// One line of JSON, or one of names and numbers.
fn say(report: &Value, json: bool) {
    match report.as_object() {
        Some(entries) if !json => {
            for (name, value) in entries {
                println!("{name:<28} {value}");
            }
        }
        _ => println!("{report}"),
    }
}
