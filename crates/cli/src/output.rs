//! What goes to standard output and what to standard error.
//!
//! A reader who goes away early is no failure: what was done stays done, and the exit code says so.

use std::borrow::Cow;
use std::io::{ErrorKind, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};

use anstyle::{AnsiColor, Style};
use lictor::audit::{REDACTED, Redactor};
use lictor::document::inert;
use serde_json::Value;

use crate::args::Global;
use crate::failure::Failure;

/// How a verb speaks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    json: bool,
    quiet: bool,
}

/// Red for what was refused, and for what is gone in a diff.
pub(crate) const RED: Style = AnsiColor::Red.on_default();
/// Green for what was done, and for what is new in a diff.
pub(crate) const GREEN: Style = AnsiColor::Green.on_default();
/// For what is less important.
pub(crate) const DIM: Style = Style::new().dimmed();

impl Output {
    pub(crate) fn new(global: &Global) -> Self {
        if global.no_color {
            anstream::ColorChoice::Never.write_global();
        }
        Self { json: global.json, quiet: global.quiet }
    }

    pub(crate) fn json_only() -> Self {
        Self { json: true, quiet: true }
    }

    pub(crate) fn is_json(self) -> bool {
        self.json
    }

    /// The result: one JSON object, or lines for people.
    pub(crate) fn result(self, json: &Value, human: impl FnOnce() -> String) {
        if self.json {
            say(&json.to_string());
        } else {
            let text = human();
            let text = text.trim_end();
            if !text.is_empty() {
                say(text);
            }
        }
    }

    /// The result: one JSON object, or a text that other programs read as well. Only a terminal, which
    /// would act on what stands in it, is shown it otherwise than it is.
    pub(crate) fn exact(self, json: &Value, text: &str) {
        if self.json {
            say(&json.to_string());
        } else if std::io::stdout().is_terminal() {
            let text = visible(text);
            say(text.strip_suffix('\n').unwrap_or(&text));
        } else {
            let mut stdout = std::io::stdout().lock();
            let said = stdout.write_all(shown(text).as_bytes()).and_then(|()| stdout.flush());
            written(said);
        }
    }

    /// One line of a stream.
    pub(crate) fn line(self, text: &str) {
        say(text);
    }

    /// Whether nobody reads what is said any more.
    pub(crate) fn is_unread(self) -> bool {
        GONE.load(Ordering::Relaxed)
    }

    /// Something that a person may want to know, beside the result.
    pub(crate) fn note(self, text: &str) {
        if !self.quiet {
            tell(text);
        }
    }

    /// The exit code of what was done; a result that could not be written is a failure.
    pub(crate) fn ended(self, code: u8) -> ExitCode {
        ExitCode::from(if LOST.load(Ordering::Relaxed) { code.max(1) } else { code })
    }

    pub(crate) fn failure(self, failure: &Failure) -> ExitCode {
        if self.json {
            say(&failure.to_json().to_string());
        } else {
            let (code, message) = (failure.code.as_str(), readable(&failure.message));
            tell(&format!("{RED}{code}{RED:#}: {message}"));
            let asks = failure.code == lictor::ErrorCode::ApprovalRequired;
            if let Some(decision) = failure.known.get("decision").filter(|_| asks && !self.quiet) {
                reasons(decision);
            }
            for step in failure.next_steps.iter().filter(|_| !self.quiet) {
                tell(&format!("  {DIM}next:{DIM:#} {}", name(step)));
            }
        }
        ExitCode::from(failure.code.exit_code())
    }
}

/// Whether the reader went away: then there is nobody to go on for.
static GONE: AtomicBool = AtomicBool::new(false);

/// Whether something that was asked for could not be written.
static LOST: AtomicBool = AtomicBool::new(false);

/// What may not be shown, whoever said it.
static SECRETS: LazyLock<Option<Redactor>> = LazyLock::new(|| {
    let secrets = crate::context::secrets();
    // Compiling takes longer than most verbs: only where there is something to hide.
    if secrets.is_empty() { None } else { Redactor::new([""; 0], secrets).ok() }
});

/// A text without the secrets that were declared: before it is taken apart, for nobody knows one by a part.
pub(crate) fn shown(text: &str) -> Cow<'_, str> {
    match &*SECRETS {
        Some(secrets) => Cow::Owned(secrets.without_declared(text)),
        None => Cow::Borrowed(text),
    }
}

/// Whether a text holds a secret that was declared.
pub(crate) fn holds_secret(text: &str) -> bool {
    shown(text) != text
}

/// Whether taking a text apart there takes a secret in it apart: nobody would know it by a part.
pub(crate) fn cuts_secret(parts: &[&str]) -> bool {
    let apart: String = parts.iter().map(|part| shown(part)).collect();
    shown(&parts.concat()) != apart
}

/// Whether what a text was read as lacks a secret that stood in the text: it was taken apart by the syntax.
pub(crate) fn parts_secret(text: &str, value: &Value) -> bool {
    SECRETS.is_some() && marks(text) > marks_in(value)
}

/// How many secrets stand in a text.
fn marks(text: &str) -> usize {
    shown(text).matches(REDACTED).count().saturating_sub(text.matches(REDACTED).count())
}

fn marks_in(value: &Value) -> usize {
    match value {
        Value::String(text) => marks(text),
        Value::Array(items) => items.iter().map(marks_in).sum(),
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| marks(name).saturating_add(marks_in(value))).sum()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

fn say(text: &str) {
    let text = shown(text);
    let mut stdout = anstream::stdout().lock();
    written(writeln!(stdout, "{text}").and_then(|()| stdout.flush()));
}

/// A reader who went away is no failure; anything else that keeps a result from being written is one.
fn written(said: std::io::Result<()>) {
    let gone = said.as_ref().is_err_and(|error| error.kind() == ErrorKind::BrokenPipe);
    GONE.fetch_or(gone, Ordering::Relaxed);
    if let Err(error) = said
        && !gone
    {
        LOST.store(true, Ordering::Relaxed);
        tell(&format!("{RED}failed{RED:#}: the result cannot be written: {error}"));
    }
}

/// Says something on standard error, beside the result.
pub(crate) fn tell(text: &str) {
    let text = shown(text);
    // When this fails as well, nobody is left to be told.
    drop(writeln!(anstream::stderr().lock(), "{text}"));
}

/// Standard error for what is logged, a whole line at a time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Told;

impl std::io::Write for Told {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        std::io::stderr().lock().write_all(shown(&text).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().flush()
    }
}

/// Why people are asked.
fn reasons(decision: &Value) {
    for reason in decision["reasons"].as_array().into_iter().flatten() {
        let text = |key: &str| visible(reason[key].as_str().unwrap_or_default());
        if text("verdict") != "allow" {
            let (path, place) = (text("path"), text("where"));
            let (rule, message) = (text("rule"), text("message"));
            tell(&format!("  {rule} {path}: {message} {DIM}{place}{DIM:#}"));
        }
    }
}

/// Whether a person sits at a terminal: both ends of the talk, so that nothing that is piped is
/// ever asked.
pub(crate) fn at_terminal() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Text of several lines from outside, with everything made visible that a terminal would act on,
/// hide, or draw like something else. Secrets are left out before: afterwards nobody would know them.
pub(crate) fn visible(text: &str) -> String {
    shown(text).split('\n').map(lictor::governance::visible).collect::<Vec<_>>().join("\n")
}

/// A name of something that was done, or a text of one line about it: as it is, but for what a terminal
/// would act on, and what hides or turns text around. What people are asked about is [`visible`].
pub(crate) fn name(text: &str) -> String {
    inert(&shown(text))
}

/// The same of several lines.
pub(crate) fn readable(text: &str) -> String {
    shown(text).split('\n').map(inert).collect::<Vec<_>>().join("\n")
}
