//! The launcher: another process of the same program, which puts a command into its sandbox.
//!
//! Three stages, each the next one's parent, for what the kernel gives to a process only before it
//! has threads, or to its children only:
//!
//! 1. `outer` leaves the namespaces that it was started in;
//! 2. `init` is the first process of the new ones. It feeds the command, reads what it prints, keeps
//!    the limits, and when it ends the kernel ends everything in there;
//! 3. `inner` confines itself, and becomes the command.
//!
//! The order comes by standard input, which stays open for as long as somebody wants the command to
//! go on; the report goes to standard output.

mod init;
mod inner;
mod order;
mod outer;
mod processes;

use std::ffi::OsString;
use std::process::ExitCode;

pub(crate) use order::{End, Limits, Order, Report};
pub(crate) use outer::SHARED;

/// The word that begins the arguments of a launcher, so that a program can tell that it is one.
pub const LAUNCHER: &str = "__launch";

/// Runs a stage of the launcher: what a program does whose first argument is [`LAUNCHER`], before it
/// starts any thread, with the arguments behind that word.
#[must_use]
pub fn launch(arguments: &[OsString]) -> ExitCode {
    let arguments: Vec<&str> = arguments.iter().filter_map(|text| text.to_str()).collect();
    // `lictor-launch` is nothing else, and gets the word all the same.
    let arguments = arguments.strip_prefix(&[LAUNCHER]).unwrap_or(&arguments);
    match arguments {
        ["outer", "isolated", network] => outer::isolated(network),
        ["outer", "bare"] => outer::bare(),
        ["init"] => init::run(true),
        ["inner", token, confinement, "--", command @ ..] => {
            inner::become_command(token, confinement, command)
        }
        _ => ExitCode::from(2),
    }
}
