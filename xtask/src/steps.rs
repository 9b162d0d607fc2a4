//! The steps of `check`, `test` and `ci`, in the order of what they cost.

use std::path::Path;

use crate::args::Options;
use crate::conformance::{self, Verdict};
use crate::model::{Package, Workspace};
use crate::process::{self, Ended};
use crate::report::{self, Failure};
use crate::runner::{self, Outcome, Step};
use crate::{layers, tidy};

/// Everything that is not a test.
pub(crate) fn check(options: &Options) -> Result<bool, Failure> {
    let workspace = process::load_workspace()?;
    run("check", &checks(&workspace), options)
}

/// The tests: unit, integration, compile-fail, documentation.
pub(crate) fn test(extra: &[String]) -> bool {
    // The current directory is as good as the root: `--workspace` covers everything from both.
    run_tests(Path::new("."), extra) == Outcome::Passed
}

/// Load and chaos are programs of their own over the whole runtime: this one stays quick to build.
pub(crate) fn program(wanted: &[String]) -> Result<bool, Failure> {
    let mut args = vec!["run", "--quiet", "--release", "--package", "lictor-bench", "--"];
    args.extend(wanted.iter().map(String::as_str));
    Ok(matches!(process::cargo(Path::new("."), &args, &[])?, Ended::Well))
}

/// What decides about a change: the checks, then the tests.
pub(crate) fn ci(options: &Options) -> Result<bool, Failure> {
    let workspace = process::load_workspace()?;
    let mut steps = checks(&workspace);
    steps.push(Step::heavy("test", || run_tests(&workspace.root, &[])));
    steps.push(Step::heavy("faults", || faults(&workspace.root)));
    steps.push(Step::heavy("cedar", || cedar(&workspace.root)));
    steps.push(Step::heavy("postgres", || postgres(&workspace.root)));
    steps.push(Step::heavy("conformance", || conforms(&workspace.root)));
    run("ci", &steps, options)
}

fn run(command: &str, steps: &[Step<'_>], options: &Options) -> Result<bool, Failure> {
    runner::run(command, steps, options).map_err(Failure::new)
}

fn checks(workspace: &Workspace) -> Vec<Step<'_>> {
    let root = workspace.root.as_path();
    vec![
        Step::light("fmt", || cargo(root, &["fmt", "--all", "--check"])),
        Step::light("layers", || outcome(report::findings("layers", &layers::check(workspace)))),
        Step::light("tidy", || match process::load_tree(root) {
            Ok(tree) => outcome(report::findings("tidy", &tidy::check(workspace, &tree))),
            Err(failure) => failed(&failure),
        }),
        Step::light("deny", || {
            if process::is_installed("cargo-deny") {
                // Advisories are not here: a new one must not block an unrelated change.
                cargo(root, &["deny", "check", "licenses", "bans", "sources"])
            } else {
                Outcome::Skipped("cargo-deny is not installed".to_owned())
            }
        }),
        Step::light("book", || book(root)),
        Step::heavy("clippy", || {
            cargo(root, &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])
        }),
        Step::heavy("docs", || {
            let args = ["doc", "--workspace", "--no-deps"];
            cargo_with(root, &args, &[("RUSTDOCFLAGS", "-Dwarnings")])
        }),
        Step::heavy("alone", || alone(workspace)),
        Step::heavy("package", || package(workspace)),
    ]
}

/// The guide as a book. That its links hold and its commands work, `tidy` and the tests say.
fn book(root: &Path) -> Outcome {
    if !process::is_installed("mdbook") {
        return Outcome::Skipped("mdbook is not installed".to_owned());
    }
    match process::program_says(root, "mdbook", &["build"]) {
        Ok(Some(_)) => Outcome::Passed,
        Ok(None) => failed(&Failure::new("`mdbook build` failed")),
        Err(failure) => failed(&failure),
    }
}

/// What would be published of each crate, and that nothing it needs is missing in it. Offline,
/// because the steps before have fetched what there is to fetch.
fn package(workspace: &Workspace) -> Outcome {
    let mut args = vec!["package", "--quiet", "--no-verify", "--allow-dirty", "--offline"];
    for package in workspace.crates() {
        args.extend(["--package", &package.name]);
    }
    cargo(&workspace.root, &args)
}

/// Unification hides what the user of one crate would miss, so each is built by itself.
fn alone(workspace: &Workspace) -> Outcome {
    for package in workspace.crates() {
        for features in feature_sets(package) {
            let mut args = vec!["check", "--quiet", "--package", &package.name];
            args.extend(features.iter().map(String::as_str));
            report::say(&format!("    {} {}", package.name, features.join(" ")));
            let outcome = cargo(&workspace.root, &args);
            if outcome != Outcome::Passed {
                return outcome;
            }
        }
    }
    Outcome::Passed
}

/// Default features; then, where a crate declares some, none and each single one.
fn feature_sets(package: &Package) -> Vec<Vec<String>> {
    const NONE: &str = "--no-default-features";
    let mut sets = vec![Vec::new()];
    if package.features.get("default").is_some_and(|enabled| !enabled.is_empty()) {
        sets.push(vec![NONE.to_owned()]);
    }
    for name in package.features.keys().filter(|name| *name != "default") {
        sets.push(vec![NONE.to_owned(), "--features".to_owned(), name.clone()]);
    }
    sets
}

fn run_tests(root: &Path, extra: &[String]) -> Outcome {
    let args = test_args(extra);
    cargo(root, &args)
}

/// The fault matrices of the transaction protocol and of the trail: the process dies, or a call
/// fails, at each of their points. A step of its own, because the points are not compiled into
/// anything else.
fn faults(root: &Path) -> Outcome {
    let features = ["--features", "fault-injection"];
    for package in ["lictor-undo", "lictor-audit"] {
        let common = ["--package", package];
        let lint =
            [&["clippy", "--all-targets"][..], &common, &features, &["--", "-D", "warnings"]];
        let test = [&["test"][..], &common, &features, &["--test", "fault"]].concat();
        for args in [lint.concat(), test] {
            match cargo(root, &args) {
                Outcome::Passed => {}
                other => return other,
            }
        }
    }
    Outcome::Passed
}

/// What only a build with policies in Cedar can show. It brings a parser and a validator that nobody
/// else waits for, so only the tests about it run again.
fn cedar(root: &Path) -> Outcome {
    let governance = ["--package", "lictor-governance", "--features", "cedar"];
    let lint = [&["clippy", "--all-targets"][..], &governance, &["--", "-D", "warnings"]].concat();
    let own = [&["test"][..], &governance, &["--test", "it", "cedar"]].concat();
    let facade = ["test", "-p", "lictor", "--features", "cedar", "--test", "it", "cedar"];
    let command = ["test", "-p", "lictor-tests", "--features", "cedar", "--test", "it", "cedar"];
    for args in [&lint[..], &own, &facade, &command] {
        match cargo(root, args) {
            Outcome::Passed => {}
            other => return other,
        }
    }
    Outcome::Passed
}

/// The trail in a PostgreSQL server, which the tests start themselves from the system's packages.
fn postgres(root: &Path) -> Outcome {
    let own = ["--package", "lictor-audit", "--features", "postgres"];
    let lint = [&["clippy", "--all-targets"][..], &own, &["--", "-D", "warnings"]].concat();
    let test = [&["test"][..], &own, &["--test", "it", "postgres"]].concat();
    for args in [lint, test] {
        match cargo(root, &args) {
            Outcome::Passed => {}
            other => return other,
        }
    }
    Outcome::Passed
}

/// The official suite of the Model Context Protocol, where npm can be reached.
fn conforms(root: &Path) -> Outcome {
    match conformance::judge(root) {
        Ok(Verdict::Conforms) => Outcome::Passed,
        Ok(Verdict::Fails) => Outcome::Failed,
        Ok(Verdict::Absent) => Outcome::Skipped("npm has no suite for us here".to_owned()),
        Err(failure) => failed(&failure),
    }
}

/// `cargo test` for everything, or for the packages that were named.
fn test_args(extra: &[String]) -> Vec<&str> {
    let names_package = extra
        .iter()
        .take_while(|arg| *arg != "--")
        .any(|arg| arg.starts_with("-p") || arg.starts_with("--package"));
    // One failure does not hide the next.
    let mut args = vec!["test", "--no-fail-fast"];
    if !names_package {
        args.push("--workspace");
    }
    args.extend(extra.iter().map(String::as_str));
    args
}

fn cargo(root: &Path, args: &[&str]) -> Outcome {
    cargo_with(root, args, &[])
}

fn cargo_with(root: &Path, args: &[&str], variables: &[(&str, &str)]) -> Outcome {
    match process::cargo(root, args, variables) {
        Ok(Ended::Well) => Outcome::Passed,
        Ok(Ended::Badly) => Outcome::Failed,
        Err(failure) => failed(&failure),
    }
}

fn failed(failure: &Failure) -> Outcome {
    report::problem(&failure.to_string());
    Outcome::Failed
}

fn outcome(is_good: bool) -> Outcome {
    if is_good { Outcome::Passed } else { Outcome::Failed }
}

#[cfg(test)]
mod tests {
    use super::{checks, feature_sets, test_args};
    use crate::model::{Package, Workspace};

    /// The feature arguments of a crate that declares these.
    #[track_caller]
    fn check(declared: &[(&str, &[&str])], expect: &[&str]) {
        let features = declared
            .iter()
            .map(|(name, on)| ((*name).to_owned(), on.iter().map(|&f| f.to_owned()).collect()))
            .collect();
        let package = Package { features, ..Package::default() };
        let sets: Vec<String> = feature_sets(&package).iter().map(|set| set.join(" ")).collect();
        assert_eq!(sets, expect);
    }

    #[test]
    fn each_feature_is_checked_once() {
        check(&[], &[""]);
        check(&[("default", &[])], &[""]);
        check(&[("serde", &[])], &["", "--no-default-features --features serde"]);
        check(
            &[("default", &["std"]), ("std", &[])],
            &["", "--no-default-features", "--no-default-features --features std"],
        );
    }

    #[test]
    fn naming_a_package_replaces_the_workspace() {
        let args = |line: &str| -> String {
            let extra: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            test_args(&extra).join(" ")
        };
        assert_eq!(args(""), "test --no-fail-fast --workspace");
        assert_eq!(args("--doc"), "test --no-fail-fast --workspace --doc");
        assert_eq!(args("-p lictor-lock"), "test --no-fail-fast -p lictor-lock");
        assert_eq!(args("-- -p"), "test --no-fail-fast --workspace -- -p");
    }

    #[test]
    fn cheap_steps_come_first() {
        let workspace = Workspace::default();
        let steps = checks(&workspace);
        let names: Vec<&str> = steps.iter().map(|step| step.name).collect();
        let expected =
            ["fmt", "layers", "tidy", "deny", "book", "clippy", "docs", "alone", "package"];
        assert_eq!(names, expected);
        assert!(steps.is_sorted_by_key(|step| step.compiles));
    }
}
