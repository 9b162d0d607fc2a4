//! Reading what nobody may see from a terminal.

use std::io::BufRead as _;

use lictor::ErrorCode;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::output::Output;

/// A terminal that does not show what is typed; it does again when this is dropped.
struct Quiet {
    before: Termios,
}

impl Quiet {
    fn new() -> Result<Self, Failure> {
        let denied = |error| Failure::new(ErrorCode::Denied, format!("no terminal: {error}"));
        let before = tcgetattr(std::io::stdin()).map_err(denied)?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        quiet.local_modes.insert(LocalModes::ICANON | LocalModes::ECHONL);
        // What was typed before the question is no answer to it.
        tcsetattr(std::io::stdin(), OptionalActions::Flush, &quiet).map_err(denied)?;
        Ok(Self { before })
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        // Nothing can be done about a terminal that has gone.
        tcsetattr(std::io::stdin(), OptionalActions::Now, &self.before).unwrap_or_default();
    }
}

/// Asks for something that is not shown while it is typed.
pub(crate) fn ask(question: &str, output: &Output) -> Result<Zeroizing<String>, Failure> {
    let _quiet = Quiet::new()?;
    output.note(question);
    let mut typed = Zeroizing::new(String::with_capacity(256));
    let read = std::io::stdin().lock().read_line(&mut typed);
    read.map_err(|error| Failure::new(ErrorCode::Denied, error.to_string()))?;
    let end = typed.trim_end_matches(['\n', '\r']).len();
    typed.truncate(end);
    Ok(typed)
}
