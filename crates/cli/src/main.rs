//! The `lictor` command: every verb over the same library that everybody else embeds.

mod args;
mod audit_args;
mod catalogue_args;
#[cfg(feature = "mcp")]
mod clients;
mod consent;
mod context;
mod failure;
mod files;
#[cfg(feature = "mcp")]
mod mcp_args;
mod output;
mod page;
mod people_args;
mod pin;
#[cfg(feature = "mcp")]
mod server_file;
#[cfg(feature = "mcp")]
mod told;
#[cfg(feature = "mcp")]
mod upstreams;
mod verbs;

use std::process::ExitCode;
use std::time::Duration;

use args::{Cli, Global};
use failure::Failure;
use output::Output;

/// A fifth of what an action costs is memory that comes and goes.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long what nobody waited for may go on when a verb is done.
const LAST_WORK: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    // Another process of ours, that holds a command.
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    if arguments.first().is_some_and(|first| first == lictor::handlers::LAUNCHER) {
        return lictor::handlers::launch(&arguments);
    }
    let cli = match Cli::read() {
        Ok(cli) => cli,
        Err(error) => return unparsed(&error),
    };
    let output = Output::new(&cli.global);
    logging(&cli.global);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => {
            let outcome = runtime.block_on(verbs::run(cli, &output));
            // Who reads standard input reads on while its other end stays, and is not waited for.
            runtime.shutdown_timeout(LAST_WORK);
            outcome
        }
        Err(error) => Err(Failure::failed(format!("no async runtime: {error}"))),
    };
    match outcome {
        Ok(code) => output.ended(code),
        Err(failure) => output.failure(&failure),
    }
}

/// What clap could not read. Help and the version are no errors.
fn unparsed(error: &clap::Error) -> ExitCode {
    let json = std::env::args_os().any(|argument| argument == "--json");
    if error.use_stderr() && json {
        return Output::json_only().failure(&Failure::usage(said(error)));
    }
    if error.use_stderr() {
        // What was written is quoted, and it may have been a secret.
        output::tell(error.render().to_string().trim_end());
        return ExitCode::from(2);
    }
    // Printing can fail only when nobody reads.
    ExitCode::from(if error.print().is_err() { 2 } else { 0 })
}

/// What clap says without what it shows for people: how to use the command, and its whole help.
fn said(error: &clap::Error) -> String {
    use clap::error::ErrorKind;
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return "a verb is missing; `lictor help` lists them".to_owned();
    }
    let text = error.to_string();
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let said = lines.take_while(|line| {
        !["Usage:", "For more information", "tip:"].iter().any(|part| line.starts_with(part))
    });
    said.collect::<Vec<_>>().join(" ").trim_start_matches("error: ").to_owned()
}

fn logging(global: &Global) {
    let level = match global.verbose {
        _ if global.quiet => tracing::Level::ERROR,
        0 => tracing::Level::WARN,
        1 => tracing::Level::INFO,
        2 => tracing::Level::DEBUG,
        _ => tracing::Level::TRACE,
    };
    let plain = tracing_subscriber::fmt().with_max_level(level).with_writer(|| output::Told);
    if global.verbose > 0 {
        plain.init();
    } else {
        plain.without_time().with_target(false).with_ansi(false).init();
    }
}
