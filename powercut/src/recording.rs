//! One recording: everything that reached the disk while the steps were done, and what the
//! workspace and the trail were after each of them.

use std::ffi::OsString;
use std::fs::{DirBuilder, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};

use crate::disk::{Entry, Image, Log};
use crate::failure::Failure;
use crate::plan::{STEPS, Step};
use crate::server::{DISK, Server};
use crate::system::{self, Kind};
use crate::tree::Tree;
use crate::worker::{Lazy, Places, Recorded, Said};

/// The boot that the recorded process believes to run under.
const OTHER_BOOT: &str = "00000000-0000-4000-8000-000000000000\n";

/// The folders of a run, in memory.
#[derive(Debug)]
pub(crate) struct Scratch {
    folder: PathBuf,
}

impl Scratch {
    /// Makes them in an empty folder.
    pub(crate) fn make(folder: &Path) -> Result<Self, Failure> {
        system::mount_memory(folder)?;
        let scratch = Self { folder: folder.to_owned() };
        for name in ["fuse", "live", "cut"] {
            DirBuilder::new().create(scratch.place(name))?;
        }
        File::create_new(scratch.place("boot"))?.write_all(OTHER_BOOT.as_bytes())?;
        Ok(scratch)
    }

    pub(crate) fn place(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Takes everything away.
    pub(crate) fn remove(self) -> Result<(), Failure> {
        system::unmount(&self.folder)
    }
}

/// How things stood when so many steps were acknowledged.
#[derive(Debug, Clone)]
pub(crate) struct Stage {
    pub(crate) tree: Tree,
    pub(crate) recorded: Recorded,
}

/// Everything that reached the disk from `base` on.
pub(crate) struct Recording {
    pub(crate) base: Image,
    pub(crate) log: Log,
    /// One more than there are steps.
    pub(crate) stages: Vec<Stage>,
}

impl Recording {
    /// Does all the steps on a fresh file system.
    pub(crate) fn make(
        kind: Kind,
        scratch: &Scratch,
        seed: u64,
        lazy: Lazy,
    ) -> Result<Self, Failure> {
        let seed = seed.to_string();
        let recording = Self::on(kind, scratch, fresh(kind, scratch)?, lazy, &["--seed", &seed])?;
        recording.check()?;
        Ok(recording)
    }

    /// Recovers on a disk that the power has left.
    pub(crate) fn of_recovery(
        kind: Kind,
        scratch: &Scratch,
        image: Image,
        lazy: Lazy,
    ) -> Result<Self, Failure> {
        Self::on(kind, scratch, image, lazy, &["--recover"])
    }

    /// The same stages, but for what was on record at one of them.
    pub(crate) fn with_record(&self, n: usize, record: &Recorded) -> Self {
        let mut stages = self.stages.clone();
        if let Some(stage) = stages.get_mut(n) {
            stage.recorded.events = record.events;
            stage.recorded.trail.clone_from(&record.trail);
        }
        Self { base: Image::new(0), log: Log::new(), stages }
    }

    fn on(
        kind: Kind,
        scratch: &Scratch,
        image: Image,
        lazy: Lazy,
        arguments: &[&str],
    ) -> Result<Self, Failure> {
        let server = Server::mount(image, &scratch.place("fuse"))?;
        let live = scratch.place("live");
        let mut all: Vec<OsString> = vec!["--work".into(), live.clone().into()];
        all.extend(arguments.iter().map(OsString::from));
        all.extend(lazy.arguments().map(OsString::from));
        let mounted = system::mount(kind, &scratch.place("fuse").join(DISK), &live);
        let recording = mounted.and_then(|()| {
            system::pretend_boot(&scratch.place("boot"))?;
            let recording = Self::listen(&server, &live, &all);
            system::real_boot()?;
            system::unmount(&live)?;
            recording
        });
        server.unmount()?;
        recording
    }

    fn listen(server: &Server, live: &Path, arguments: &[OsString]) -> Result<Self, Failure> {
        let mut worker = system::start_self(arguments)?;
        let (Some(mut input), Some(output)) = (worker.stdin.take(), worker.stdout.take()) else {
            return Err(Failure::new("the worker has no pipes"));
        };
        let workspace = Places::on(live).workspace;
        let mut stages = Vec::new();
        let mut recorded = None;
        for line in BufReader::new(output).lines() {
            match serde_json::from_str(&line?)? {
                Said::Ready(recorded) => {
                    system::sync(live)?;
                    server.record();
                    stages.push(Stage { tree: Tree::read(&workspace)?, recorded });
                }
                Said::Begun => server.mark(Entry::Begun),
                Said::Acknowledged(recorded) => {
                    server.mark(Entry::Acknowledged);
                    stages.push(Stage { tree: Tree::read(&workspace)?, recorded });
                }
                Said::Over => {
                    system::sync(live)?;
                    recorded = server.recorded();
                }
            }
            input.write_all(b"\n")?;
        }
        let status = worker.wait()?;
        match recorded {
            Some((base, log)) if status.success() => Ok(Self { base, log, stages }),
            _ => Err(Failure::new(format!("the worker did not come to its end: {status}"))),
        }
    }

    /// With the power on, an undo gives back the very tree, and a redo as well.
    fn check(&self) -> Result<(), Failure> {
        if self.stages.len() != STEPS.len() + 1 {
            return Err(Failure::new(format!("{} stages are recorded", self.stages.len())));
        }
        for (n, step) in STEPS.iter().enumerate() {
            let tree = |n: usize| self.stages.get(n).map(|stage| &stage.tree);
            if tree(n) == tree(n + 1) {
                return Err(Failure::new(format!("step {n} ({step:?}) changed nothing")));
            }
            // Each undo and redo follows what it takes back.
            if !matches!(step, Step::Apply(_)) && tree(n + 1) != tree(n - 1) {
                return Err(Failure::new(format!("step {n} ({step:?}) did not restore the tree")));
            }
        }
        Ok(())
    }
}

/// An empty file system.
fn fresh(kind: Kind, scratch: &Scratch) -> Result<Image, Failure> {
    let path = scratch.place("fresh");
    let file = File::options().read(true).write(true).create_new(true).open(&path)?;
    file.set_len(kind.size())?;
    system::make(kind, &path)?;
    let image = Image::from_file(&file, kind.size());
    remove(&path)?;
    image
}

#[expect(clippy::disallowed_methods, reason = "a file of the test's own")]
fn remove(path: &Path) -> Result<(), Failure> {
    Ok(std::fs::remove_file(path)?)
}
