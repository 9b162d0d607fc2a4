//! What people read: findings, failures, and the only place that prints.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool talks; every other module returns what it has to say"
)]

use std::fmt;

/// Something that could not be done at all, in contrast to a finding.
#[derive(Debug)]
pub(crate) struct Failure(String);

impl Failure {
    /// A failure that reads as a sentence.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A rule that is not kept: where, which, and what to do instead.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    /// Relative to the root.
    pub(crate) file: String,
    /// From 1.
    pub(crate) line: usize,
    /// The rule's name.
    pub(crate) rule: &'static str,
    /// What to do instead.
    pub(crate) advice: String,
}

impl Finding {
    /// A finding at a line.
    pub(crate) fn new(
        file: impl Into<String>,
        line: usize,
        rule: &'static str,
        advice: impl Into<String>,
    ) -> Self {
        Self { file: file.into(), line, rule, advice: advice.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}: {}", self.file, self.line, self.rule, self.advice)
    }
}

/// A line for the reader of the output.
pub(crate) fn say(text: &str) {
    println!("{text}");
}

/// A line for the reader of the errors.
pub(crate) fn problem(text: &str) {
    eprintln!("{text}");
}

/// Prints the findings and one summary line; true if there are none.
pub(crate) fn findings(check: &str, findings: &[Finding]) -> bool {
    for finding in findings {
        say(&finding.to_string());
    }
    say(&summary(check, findings.len()));
    findings.is_empty()
}

fn summary(check: &str, n_findings: usize) -> String {
    match n_findings {
        0 => format!("{check}: nothing to object"),
        1 => format!("{check}: 1 finding"),
        n => format!("{check}: {n} findings"),
    }
}

#[cfg(test)]
mod tests {
    use super::{Finding, summary};

    #[test]
    fn a_finding_is_a_line_an_editor_can_follow() {
        let finding = Finding::new("src/lib.rs", 3, "header", "say what the file is for");
        assert_eq!(finding.to_string(), "src/lib.rs:3: header: say what the file is for");
    }

    #[test]
    fn the_summary_counts() {
        assert_eq!(summary("tidy", 0), "tidy: nothing to object");
        assert_eq!(summary("tidy", 1), "tidy: 1 finding");
        assert_eq!(summary("tidy", 2), "tidy: 2 findings");
    }
}
