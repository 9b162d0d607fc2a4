//! Runs a list of steps, times each, and sums up in one line.

use std::time::Duration;

use crate::args::Options;
use crate::process;
use crate::report;

/// One named piece of work.
pub(crate) struct Step<'a> {
    /// What `--skip` and the summary call it.
    pub(crate) name: &'static str,
    /// Whether `--fast` leaves it out.
    pub(crate) compiles: bool,
    /// The work.
    pub(crate) run: Box<dyn Fn() -> Outcome + 'a>,
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Nothing to object.
    Passed,
    /// What the step printed says why.
    Failed,
    /// It could not run for this reason; a failure under `--strict`.
    Skipped(String),
}

/// What became of a list of steps.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    passed: Vec<&'static str>,
    failed: Vec<&'static str>,
    skipped: Vec<&'static str>,
    not_run: Vec<&'static str>,
}

impl<'a> Step<'a> {
    /// A step that starts no compiler.
    pub(crate) fn light(name: &'static str, run: impl Fn() -> Outcome + 'a) -> Self {
        Self { name, compiles: false, run: Box::new(run) }
    }

    /// A step that compiles.
    pub(crate) fn heavy(name: &'static str, run: impl Fn() -> Outcome + 'a) -> Self {
        Self { name, compiles: true, run: Box::new(run) }
    }
}

impl Summary {
    /// Whether nothing failed.
    pub(crate) fn is_good(&self) -> bool {
        self.failed.is_empty()
    }

    fn line(&self, command: &str, took: Duration) -> String {
        let mut parts = Vec::new();
        for (names, verb) in
            [(&self.failed, "failed"), (&self.not_run, "not run"), (&self.skipped, "skipped")]
        {
            if !names.is_empty() {
                parts.push(format!("{verb}: {}", names.join(", ")));
            }
        }
        let verdict = if self.is_good() { "passed" } else { "FAILED" };
        let n_passed = self.passed.len();
        let steps = if n_passed == 1 { "step" } else { "steps" };
        let count = format!("{command}: {verdict}: {n_passed} {steps} passed");
        parts.insert(0, count);
        format!("{} ({})", parts.join("; "), seconds(took))
    }
}

/// Runs the steps in order; stops at the first failure unless told to go on.
pub(crate) fn run(command: &str, steps: &[Step<'_>], options: &Options) -> Result<bool, String> {
    if let Some(unknown) = options.skip.iter().find(|name| !steps.iter().any(|s| s.name == **name))
    {
        let names: Vec<&str> = steps.iter().map(|step| step.name).collect();
        return Err(format!("`--skip {unknown}`: the steps are {}", names.join(", ")));
    }
    let (summary, took) = process::timed(|| run_all(steps, options));
    report::say(&summary.line(command, took));
    Ok(summary.is_good())
}

fn run_all(steps: &[Step<'_>], options: &Options) -> Summary {
    let mut summary = Summary::default();
    for step in steps {
        if options.fast && step.compiles {
            continue;
        }
        if !summary.is_good() && !options.keep_going {
            summary.not_run.push(step.name);
            continue;
        }
        if options.skip.iter().any(|name| name == step.name) {
            report::say(&format!("==> {}: skipped: asked for", step.name));
            summary.skipped.push(step.name);
            continue;
        }
        report::say(&format!("==> {}", step.name));
        let (outcome, took) = process::timed(|| (step.run)());
        let verdict = match outcome {
            Outcome::Passed => {
                summary.passed.push(step.name);
                "passed".to_owned()
            }
            Outcome::Failed => {
                summary.failed.push(step.name);
                "FAILED".to_owned()
            }
            Outcome::Skipped(why) if options.strict => {
                summary.failed.push(step.name);
                format!("FAILED: {why}, and `--strict` allows no skips")
            }
            Outcome::Skipped(why) => {
                summary.skipped.push(step.name);
                format!("skipped: {why}")
            }
        };
        report::say(&format!("    {}: {verdict} ({})", step.name, seconds(took)));
    }
    summary
}

fn seconds(took: Duration) -> String {
    format!("{:.1} s", took.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::time::Duration;

    use super::{Outcome, Step, Summary, run, run_all};
    use crate::args::Options;

    /// Runs `fmt`, `deny`, `build`, `test` with these two in the middle.
    fn run_with(
        deny: &Outcome,
        build: &Outcome,
        options: &Options,
    ) -> (Summary, Vec<&'static str>) {
        let ran = RefCell::new(Vec::new());
        let work = |name, outcome: Outcome| {
            let ran = &ran;
            move || {
                ran.borrow_mut().push(name);
                outcome.clone()
            }
        };
        let steps = [
            Step::light("fmt", work("fmt", Outcome::Passed)),
            Step::light("deny", work("deny", deny.clone())),
            Step::heavy("build", work("build", build.clone())),
            Step::heavy("test", work("test", Outcome::Passed)),
        ];
        let summary = run_all(&steps, options);
        drop(steps);
        (summary, ran.into_inner())
    }

    fn missing() -> Outcome {
        Outcome::Skipped("it is not installed".to_owned())
    }

    #[test]
    fn the_first_failure_stops_and_says_what_was_not_run() {
        let (summary, ran) = run_with(&missing(), &Outcome::Failed, &Options::default());
        assert_eq!(ran, ["fmt", "deny", "build"]);
        assert_eq!(
            summary.line("ci", Duration::from_millis(1250)),
            "ci: FAILED: 1 step passed; failed: build; not run: test; skipped: deny (1.2 s)"
        );
    }

    #[test]
    fn keep_going_runs_the_rest() {
        let options = Options { keep_going: true, ..Options::default() };
        let (summary, ran) = run_with(&Outcome::Failed, &Outcome::Failed, &options);
        assert_eq!(ran, ["fmt", "deny", "build", "test"]);
        assert_eq!(summary.failed, ["deny", "build"]);
        assert!(!summary.is_good());
    }

    #[test]
    fn fast_compiles_nothing() {
        let options = Options { fast: true, ..Options::default() };
        let (summary, ran) = run_with(&Outcome::Passed, &Outcome::Failed, &options);
        assert_eq!(ran, ["fmt", "deny"]);
        assert!(summary.is_good());
    }

    #[test]
    fn strict_allows_no_missing_tool() {
        let options = Options { strict: true, ..Options::default() };
        let (summary, ran) = run_with(&missing(), &Outcome::Passed, &options);
        assert_eq!(ran, ["fmt", "deny"]);
        assert_eq!(summary.failed, ["deny"]);
        assert_eq!(summary.not_run, ["build", "test"]);
    }

    #[test]
    fn a_step_can_be_left_out_by_name_only() {
        let options = Options { skip: vec!["build".to_owned()], ..Options::default() };
        let (summary, ran) = run_with(&Outcome::Passed, &Outcome::Failed, &options);
        assert_eq!(ran, ["fmt", "deny", "test"]);
        assert_eq!(summary.skipped, ["build"]);
        assert!(summary.is_good());
        let unknown = Options { skip: vec!["build".to_owned()], ..Options::default() };
        assert!(run("ci", &[], &unknown).is_err());
    }
}
