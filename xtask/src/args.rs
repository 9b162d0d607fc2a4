//! The command line: what is accepted, and what is said about the rest.

use crate::{compare, mutants};

/// Printed by `cargo xtask help`, and with exit code 2 for anything that is not a command.
pub(crate) const HELP: &str = "\
usage: cargo xtask <command>

  layers [--mermaid]   the crates by rank and what they depend on; refuses upward and sideways edges
  tidy                 the text of the repository: headers, sizes, leftovers, links, manifests
  test-matrix          which guarantee is proven by which tests; refuses one without
  mutants [--list] [--check] [--resume] [--only <name>]
                       takes one safeguard of the transactions away after the other; some test must go red.
                       --check only compiles each; --resume passes over those that were killed before
  check [options]      fmt, layers, tidy, deny, book, clippy, docs, each crate alone, packages
  test [args]          unit, integration and compile-fail tests, doctests; args go to `cargo test`
  ci [options]         check, then test: what decides about a change
  bench [package..]    everything that measures; writes docs/benchmarks.md, unless only of some packages
  compare [options]    public engines from package registries on the same work; writes docs/comparison.md.
                       --total <n> workflows a run, --rounds <n> runs of which the median counts
  conformance [--strict]
                       the official suite of the Model Context Protocol against the door over HTTP; from npm, and
                       skipped aloud where that is not to be had (a failure with --strict)
  chaos [options]      workflows with failures injected: nothing may be left; `chaos --help`
  load [options]       workflows as fast as they go: throughput, latency, commits; `load --help`
  soak [options]       load, chaos, kills and undo together for minutes, and what grows; `soak --help`
  help                 this text

options of `check` and `ci`:
  --fast               only the steps that compile nothing
  --skip <step>        leave one step out; may be repeated
  --keep-going         run the remaining steps after a failure
  --strict             a missing tool is a failure, not a skip";

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Print the help.
    Help,
    /// Print the layers and check them.
    Layers {
        mermaid: bool,
    },
    /// Check the text of the repository.
    Tidy,
    /// Print which tests prove which guarantee.
    TestMatrix,
    /// The mutation gate.
    Mutants(mutants::Options),
    /// Measure, and write the report.
    Bench {
        wanted: Vec<String>,
    },
    Compare(compare::Options),
    /// The official suite of the Model Context Protocol.
    Conformance {
        strict: bool,
    },
    /// Start the program for load and chaos, which is built optimised.
    Program {
        args: Vec<String>,
    },
    /// Every check that is not a test.
    Check(Options),
    /// The tests.
    Test {
        extra: Vec<String>,
    },
    /// Checks, then tests.
    Ci(Options),
}

/// How to run a list of steps.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// Only what compiles nothing.
    pub(crate) fast: bool,
    /// A missing tool is a failure.
    pub(crate) strict: bool,
    /// Do not stop at the first failure.
    pub(crate) keep_going: bool,
    /// Steps to leave out.
    pub(crate) skip: Vec<String>,
}

/// Reads the arguments after the program's name.
pub(crate) fn parse(args: impl IntoIterator<Item = String>) -> Result<Command, String> {
    let mut args = args.into_iter();
    let Some(name) = args.next() else {
        return Err("no command given\n".to_owned());
    };
    let rest: Vec<String> = args.collect();
    match name.as_str() {
        "help" | "--help" | "-h" => Ok(Command::Help),
        "layers" => {
            let mermaid = rest == ["--mermaid"];
            if mermaid || rest.is_empty() {
                Ok(Command::Layers { mermaid })
            } else {
                Err("`layers` takes `--mermaid` or nothing\n".to_owned())
            }
        }
        "tidy" if rest.is_empty() => Ok(Command::Tidy),
        "tidy" => Err("`tidy` takes no arguments\n".to_owned()),
        "test-matrix" if rest.is_empty() => Ok(Command::TestMatrix),
        "test-matrix" => Err("`test-matrix` takes no arguments\n".to_owned()),
        "mutants" => Ok(Command::Mutants(mutants(rest)?)),
        "check" => Ok(Command::Check(options(rest)?)),
        "test" => Ok(Command::Test { extra: rest }),
        "bench" => Ok(Command::Bench { wanted: rest }),
        "compare" => Ok(Command::Compare(compared(rest)?)),
        "conformance" => match rest.as_slice() {
            [] => Ok(Command::Conformance { strict: false }),
            [only] if only == "--strict" => Ok(Command::Conformance { strict: true }),
            _ => Err("`conformance` takes `--strict` or nothing\n".to_owned()),
        },
        "chaos" | "load" | "soak" => {
            let mut args = vec![name];
            args.extend(rest);
            Ok(Command::Program { args })
        }
        "ci" => Ok(Command::Ci(options(rest)?)),
        other => Err(format!("there is no command `{other}`\n")),
    }
}

fn compared(args: Vec<String>) -> Result<compare::Options, String> {
    let mut options = compare::Options::default();
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        let mut number = || args.next().and_then(|it| it.parse::<u64>().ok()).filter(|n| *n > 0);
        match (arg.as_str(), number()) {
            ("--total", Some(n)) => options.total = n,
            ("--rounds", Some(n)) => options.rounds = usize::try_from(n).unwrap_or(usize::MAX),
            _ => return Err("`compare` takes `--total N` and `--rounds N`\n".to_owned()),
        }
    }
    Ok(options)
}

fn mutants(args: Vec<String>) -> Result<mutants::Options, String> {
    let mut options = mutants::Options::default();
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--list" => options.list = true,
            "--check" => options.check = true,
            "--resume" => options.resume = true,
            "--only" => match args.next() {
                Some(name) => options.only.push(name),
                None => return Err("`--only` needs the name of a mutant\n".to_owned()),
            },
            other => return Err(format!("there is no option `{other}`\n")),
        }
    }
    Ok(options)
}

fn options(args: Vec<String>) -> Result<Options, String> {
    let mut options = Options::default();
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--fast" => options.fast = true,
            "--strict" => options.strict = true,
            "--keep-going" => options.keep_going = true,
            "--skip" => match args.next() {
                Some(step) => options.skip.push(step),
                None => return Err("`--skip` needs the name of a step\n".to_owned()),
            },
            other => return Err(format!("there is no option `{other}`\n")),
        }
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::{Command, HELP, Options, mutants, parse};

    fn parsed(line: &str) -> Result<Command, String> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn commands_are_understood() {
        assert_eq!(parsed("layers"), Ok(Command::Layers { mermaid: false }));
        assert_eq!(parsed("layers --mermaid"), Ok(Command::Layers { mermaid: true }));
        assert_eq!(parsed("tidy"), Ok(Command::Tidy));
        assert_eq!(parsed("test-matrix"), Ok(Command::TestMatrix));
        assert_eq!(parsed("help"), Ok(Command::Help));
        assert_eq!(parsed("conformance --strict"), Ok(Command::Conformance { strict: true }));
        let only = vec!["barrier-1".to_owned()];
        let mutants = mutants::Options { list: true, only, ..mutants::Options::default() };
        assert_eq!(parsed("mutants --list --only barrier-1"), Ok(Command::Mutants(mutants)));
        let mutants = mutants::Options { check: true, resume: true, ..mutants::Options::default() };
        assert_eq!(parsed("mutants --check --resume"), Ok(Command::Mutants(mutants)));
        let extra = vec!["-p".to_owned(), "lictor-lock".to_owned()];
        assert_eq!(parsed("test -p lictor-lock"), Ok(Command::Test { extra }));
        let args = ["chaos", "--runs", "9"].map(str::to_owned).to_vec();
        assert_eq!(parsed("chaos --runs 9"), Ok(Command::Program { args }));
        let options =
            Options { fast: true, strict: true, keep_going: false, skip: vec!["alone".to_owned()] };
        assert_eq!(parsed("ci --fast --skip alone --strict"), Ok(Command::Ci(options)));
    }

    #[test]
    fn the_rest_is_refused_by_name() {
        for line in [
            "",
            "conformance x",
            "test-matrix x",
            "layers --dot",
            "tidy all",
            "ci --skip",
            "check --slow",
        ] {
            assert!(parsed(line).is_err(), "{line}");
        }
        assert_eq!(parsed("fly"), Err("there is no command `fly`\n".to_owned()));
        let wanted = vec!["lictor-store".to_owned()];
        assert_eq!(parsed("bench lictor-store"), Ok(Command::Bench { wanted }));
    }

    #[test]
    fn help_lists_every_command() {
        for name in [
            "layers",
            "tidy",
            "test-matrix",
            "check",
            "test",
            "ci",
            "bench",
            "conformance",
            "chaos",
            "load",
            "soak",
            "help",
        ] {
            assert!(HELP.contains(&format!("\n  {name} ")), "{name}");
        }
    }
}
