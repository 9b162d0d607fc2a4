//! The mutation gate of the transaction protocol: take one safeguard away, and some test has to
//! go red.
//!
//! Each mutant of [`list::MUTANTS`] is put into a copy of the working tree and its tests are run
//! there. What survives without being listed as surviving, with the reason, fails the gate. It is
//! no part of `ci`: each mutant is a build and a test run of its own.

mod list;

use std::path::Path;

use crate::model::Workspace;
use crate::process::{self, Tested};
use crate::report::{self, Failure};
use list::{MUTANTS, Mutant};

/// What to do with which mutants.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// Only print them.
    pub(crate) list: bool,
    /// Only compile them.
    pub(crate) check: bool,
    /// Pass over those that an earlier run has seen killed.
    pub(crate) resume: bool,
    /// Only those with these names; all when empty.
    pub(crate) only: Vec<String>,
}

/// What became of a mutant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Killed,
    Survived,
    /// It does not compile: the list is out of date.
    Broken,
}

/// Runs the gate. `true` when nothing survived but what is known to.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<bool, Failure> {
    let chosen = choose(options)?;
    if options.list {
        for mutant in chosen {
            let known = mutant.survives.map(|why| format!(" (known to survive: {why})"));
            report::say(&format!("{}  {}{}", mutant.name, mutant.file, known.unwrap_or_default()));
        }
        return Ok(true);
    }
    let scratch = process::scratch_copy(&workspace.root, "mutants")?;
    if options.check {
        return check(&scratch, &chosen);
    }
    let noted = scratch.with_extension("killed");
    let before =
        if options.resume { process::read(&noted).unwrap_or_default() } else { String::new() };
    let mut killed: Vec<&str> = before.lines().collect();
    let mut good = true;
    for mutant in chosen {
        if killed.contains(&mutant.name) {
            report::say(&format!("{}: killed before", mutant.name));
            continue;
        }
        let (fate, took) = process::timed(|| try_one(&scratch, mutant));
        let fate = fate?;
        if fate == Fate::Killed {
            killed.push(mutant.name);
            process::write(&noted, &killed.join("\n"))?;
        }
        let seconds = took.as_secs();
        let verdict = match (fate, mutant.survives) {
            (Fate::Killed, None) => "killed".to_owned(),
            (Fate::Survived, Some(why)) => format!("survived, as is known: {why}"),
            (fate, known) => {
                good = false;
                match (fate, known) {
                    (Fate::Killed, _) => {
                        "killed, and listed as surviving: take that out".to_owned()
                    }
                    (Fate::Survived, _) => "SURVIVED: no test needs it".to_owned(),
                    (Fate::Broken, _) => "does not compile: bring the list up to date".to_owned(),
                }
            }
        };
        report::say(&format!("{}: {verdict} ({seconds} s)", mutant.name));
    }
    Ok(good)
}

/// Whether each compiles: one that does not proves nothing.
fn check(scratch: &Path, chosen: &[&Mutant]) -> Result<bool, Failure> {
    let mut good = true;
    for mutant in chosen {
        let compiles = mutated(scratch, mutant, || process::cargo_check(scratch, mutant.test))?;
        let verdict = if compiles { "compiles" } else { "DOES NOT COMPILE" };
        report::say(&format!("{}: {verdict}", mutant.name));
        good &= compiles;
    }
    Ok(good)
}

fn choose(options: &Options) -> Result<Vec<&'static Mutant>, Failure> {
    for name in &options.only {
        if !MUTANTS.iter().any(|mutant| mutant.name == name) {
            return Err(Failure::new(format!("there is no mutant `{name}`; see `--list`")));
        }
    }
    let wanted = |mutant: &&Mutant| {
        options.only.is_empty() || options.only.iter().any(|name| name == mutant.name)
    };
    Ok(MUTANTS.iter().filter(wanted).collect())
}

fn try_one(scratch: &Path, mutant: &Mutant) -> Result<Fate, Failure> {
    let tested = mutated(scratch, mutant, || process::cargo_test(scratch, mutant.test))?;
    Ok(match tested {
        Tested::Passed => Fate::Survived,
        Tested::Failed => Fate::Killed,
        Tested::NotBuilt => Fate::Broken,
    })
}

/// Does something while a mutant is in the copy.
fn mutated<T>(
    scratch: &Path,
    mutant: &Mutant,
    work: impl FnOnce() -> Result<T, Failure>,
) -> Result<T, Failure> {
    let file = scratch.join(mutant.file);
    let whole = process::read(&file)?;
    process::write(&file, &mutate(&whole, mutant)?)?;
    let done = work();
    process::write(&file, &whole)?;
    done
}

/// The text with the one place replaced.
fn mutate(whole: &str, mutant: &Mutant) -> Result<String, Failure> {
    let n = whole.matches(mutant.find).count();
    if n == 1 {
        return Ok(whole.replacen(mutant.find, mutant.replace, 1));
    }
    let (name, file) = (mutant.name, mutant.file);
    Err(Failure::new(format!("mutant `{name}`: its text is in {file} {n} times, and not once")))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{MUTANTS, Options, choose, mutate};
    use crate::process;

    /// A list that does not fit the code any more would let everything survive, or nothing.
    #[test]
    fn every_mutant_fits_the_code_as_it_is() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace");
        for mutant in MUTANTS {
            let whole = process::read(&root.join(mutant.file)).expect("a file");
            let mutated = mutate(&whole, mutant).unwrap_or_else(|error| panic!("{error}"));
            assert_ne!(mutated, whole, "{}", mutant.name);
        }
    }

    #[test]
    fn names_are_unique_and_can_be_chosen() {
        for mutant in MUTANTS {
            let only = vec![mutant.name.to_owned()];
            let chosen = choose(&Options { only, ..Options::default() }).expect("it is there");
            assert_eq!(chosen.len(), 1, "{}", mutant.name);
        }
        let only = vec!["no-such".to_owned()];
        assert!(choose(&Options { only, ..Options::default() }).is_err());
    }
}
