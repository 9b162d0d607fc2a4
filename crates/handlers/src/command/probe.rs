//! Whether commands can be held here.

use std::collections::BTreeMap;
use std::path::Path;

use super::SYSTEM;
use super::run::{Launcher, NOBODY, Wanted, as_nobody};
use crate::launch::{End, Limits, Order};

/// A program that does nothing, where it usually lies.
const NOTHING: [&str; 2] = ["/usr/bin/true", "/bin/true"];

impl Launcher {
    /// Puts a program that does nothing into the sandbox, as commands are that insist on all of it.
    /// Blocks for some milliseconds.
    ///
    /// # Errors
    /// What is missing here, in words: commands of contracts will be refused then.
    pub fn probe(&self) -> Result<(), String> {
        let program = NOTHING.into_iter().find(|file| Path::new(file).exists());
        let program = program.ok_or("there is no program `true` to try it with")?;
        let order = Order {
            file: program.to_owned(),
            argv: vec!["true".to_owned()],
            cwd: None,
            env: BTreeMap::new(),
            stdin: String::new(),
            system: SYSTEM.iter().map(|place| (*place).to_owned()).collect(),
            ports: Vec::new(),
            strict: true,
            limits: Limits {
                time_ms: 5_000,
                output: 1 << 10,
                memory: 64 << 20,
                file: 1 << 20,
                processes: 8,
            },
        };
        let folder = folder().map_err(|error| format!("a folder to try it in: {error}"))?;
        let report = Wanted::default().run(self, folder.path(), &order);
        match report.map_err(|error| error.to_string())?.end {
            End::Exited(0) => Ok(()),
            End::NoSandbox(why) | End::NotStarted(why) => Err(why),
            other => Err(format!("a program that does nothing ended so: {other:?}")),
        }
    }
}

/// As commands find it: theirs, with a place to work in.
fn folder() -> std::io::Result<tempfile::TempDir> {
    let folder = tempfile::tempdir()?;
    let work = folder.path().join("work");
    std::fs::create_dir(&work)?;
    if as_nobody() {
        for place in [folder.path(), &work] {
            std::os::unix::fs::chown(place, Some(NOBODY), Some(NOBODY))?;
        }
    }
    Ok(folder)
}
