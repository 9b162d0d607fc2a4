//! Starts commands in a sandbox: for programs that embed Lictor and have no such mode themselves.

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    lictor_handlers::launch(&arguments)
}
