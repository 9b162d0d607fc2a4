//! What becomes of a disk after the power went: it is mounted, the runtime is opened, which
//! recovers, and everything is compared with what may be.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use lictor::audit::Verdict;
use lictor::context::Name;
use lictor::executor::{Recovered, Recovery};
use lictor::{OnConflict, Runtime, UndoRequest};

use crate::cuts::Cut;
use crate::failure::Failure;
use crate::recording::{Recording, Scratch, Stage};
use crate::system::{self, Kind};
use crate::tree::Tree;
use crate::worker::{Lazy, ORG, Places, Recorded, agent};

/// How a tree compares with what it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Old,
    New,
    /// Neither; `Lost` when it is what was before the step that was acknowledged.
    Torn,
    Lost,
}

/// Something that must not be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Wrong {
    /// The workspace is neither as before the step nor as after it.
    Torn,
    /// What was acknowledged is not there.
    Lost,
    /// The runtime cannot be opened.
    Refused,
    /// The trail is not proven.
    Tampered,
    /// Events that were acknowledged are missing or others.
    EventsLost,
    /// The index of executions says another thing than the tree.
    Disagrees,
    /// A recovery left something, or a second one found something to finish or to put back.
    Unsettled,
    /// What stands cannot be undone, or not to the very tree.
    UndoFailed,
}

/// What became of one disk.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) mounted: bool,
    /// Whether the tree was a mixture before the recovery.
    pub(crate) mixed_before: bool,
    pub(crate) side: Option<Side>,
    pub(crate) recoveries: Vec<Recovery>,
    pub(crate) undone: bool,
    /// A second recovery swept something that had never begun: untidy, and no harm.
    pub(crate) left_over: bool,
    pub(crate) wrong: Vec<Wrong>,
    /// What there is to say about it, for whoever looks for the reason.
    pub(crate) notes: Vec<String>,
}

impl Found {
    fn wrong(&mut self, wrong: Wrong, note: impl Into<String>) {
        self.wrong.push(wrong);
        self.notes.push(format!("{wrong:?}: {}", note.into()));
    }
}

/// Judges the disks of one recording.
#[derive(Clone, Copy)]
pub(crate) struct Judge<'a> {
    pub(crate) kind: Kind,
    pub(crate) scratch: &'a Scratch,
    pub(crate) lazy: Lazy,
}

impl Judge<'_> {
    /// Where the disk under judgement lies.
    pub(crate) fn disk(&self) -> PathBuf {
        self.scratch.place("cut.img")
    }

    /// Mounts it and looks. With `undo`, what stands is undone as well.
    pub(crate) fn judge(
        &self,
        recording: &Recording,
        cut: &Cut,
        undo: bool,
    ) -> Result<Found, Failure> {
        let path = self.disk();
        let mut options = File::options();
        let file = options.read(true).write(true).create(true).truncate(false).open(&path)?;
        cut.image.put_into(&file)?;
        drop(file);
        let mut found = Found::default();
        let folder = self.scratch.place("cut");
        if let Err(error) = system::mount(self.kind, &path, &folder) {
            found.notes.push(error.to_string());
            return Ok(found);
        }
        found.mounted = true;
        let places = Places::on(&folder);
        let case = Case { judge: self, recording, cut, places };
        // A panic of the runtime is its refusal, not the end of the test.
        match catch_unwind(AssertUnwindSafe(|| case.look(&mut found, undo))) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => found.wrong(Wrong::Refused, error.to_string()),
            Err(_) => found.wrong(Wrong::Refused, "it panicked"),
        }
        system::unmount(&folder)?;
        Ok(found)
    }
}

struct Case<'a> {
    judge: &'a Judge<'a>,
    recording: &'a Recording,
    cut: &'a Cut,
    places: Places,
}

impl Case<'_> {
    fn look(&self, found: &mut Found, undo: bool) -> Result<(), Failure> {
        // The raw tree, as a program that knows nothing of Lictor would see it.
        let before = Tree::read(&self.places.workspace)?;
        found.mixed_before = self.side(&before)?.0 == Side::Torn;
        let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        tokio.block_on(async {
            let runtime = Runtime::open(self.places.options(self.judge.lazy)).await?;
            found.recoveries = runtime.recovered().iter().map(|one| one.recovery).collect();
            for one in runtime.recovered().iter().filter(|one| !one.stuck.is_empty()) {
                found.wrong(Wrong::Unsettled, format!("{:?} left {:?}", one.recovery, one.stuck));
            }
            let stage = self.compare(found)?;
            self.compare_records(&runtime, stage, found)?;
            let again = runtime.recover().await?;
            let harmless = |one: &Recovered| one.recovery == Recovery::Discarded;
            found.left_over = again.iter().any(harmless);
            if !again.iter().all(harmless) {
                found.wrong(Wrong::Unsettled, format!("a second recovery found {again:?}"));
            }
            if undo && found.wrong.is_empty() {
                self.undo(&runtime, found).await?;
            }
            Ok(())
        })
    }

    fn stage(&self, n: usize) -> Result<&Stage, Failure> {
        let stage = self.recording.stages.get(n);
        stage.ok_or_else(|| Failure::new(format!("there is no stage {n}")))
    }

    /// Which of the trees that may be it is, and the stage of that.
    fn side(&self, tree: &Tree) -> Result<(Side, Option<&Stage>), Failure> {
        let acknowledged = self.cut.acknowledged;
        let old = self.stage(acknowledged)?;
        if *tree == old.tree {
            return Ok((Side::Old, Some(old)));
        }
        if self.cut.begun > acknowledged {
            let new = self.stage(acknowledged + 1)?;
            if *tree == new.tree {
                return Ok((Side::New, Some(new)));
            }
        }
        let was = acknowledged.checked_sub(1).map(|n| self.stage(n)).transpose()?;
        let lost = was.is_some_and(|was| was.tree == *tree);
        Ok((if lost { Side::Lost } else { Side::Torn }, None))
    }

    fn compare(&self, found: &mut Found) -> Result<Option<&Stage>, Failure> {
        let tree = Tree::read(&self.places.workspace)?;
        let (side, stage) = self.side(&tree)?;
        found.side = Some(side);
        let differences = |n: usize| {
            let stage = self.stage(n)?;
            let lines = tree.differences(&stage.tree);
            let few: Vec<&str> = lines.iter().take(8).map(String::as_str).collect();
            Ok::<_, Failure>(format!("{} from stage {n}: {}", lines.len(), few.join(", ")))
        };
        let (last, recoveries) = (self.cut.acknowledged, format!("{:?}", found.recoveries));
        match side {
            Side::Old | Side::New => {}
            Side::Torn => {
                let next = (last + 1).min(self.recording.stages.len() - 1);
                let (old, new) = (differences(last)?, differences(next)?);
                found.wrong(Wrong::Torn, format!("after {recoveries}; {old}; {new}"));
            }
            Side::Lost => {
                found.wrong(Wrong::Lost, format!("after {recoveries}; {}", differences(last)?));
            }
        }
        Ok(stage)
    }

    fn compare_records(
        &self,
        runtime: &Runtime,
        stage: Option<&Stage>,
        found: &mut Found,
    ) -> Result<(), Failure> {
        let verified = runtime.audit().verify_store(&Name::parse(ORG)?)?;
        let proven = match verified.verdict {
            Verdict::Complete | Verdict::ValidPrefix => true,
            // Before anything was recorded.
            Verdict::NoEvidence => verified.events == 0,
            _ => false,
        };
        if !proven {
            let (verdict, why) = (verified.verdict, verified.problem.unwrap_or_default());
            found.wrong(Wrong::Tampered, format!("{verdict}: {why}"));
        }
        let last = &self.stage(self.cut.acknowledged)?.recorded;
        let kept = Recorded::read(runtime, Some(last.events))?;
        if (kept.events, &kept.trail) != (last.events, &last.trail) {
            let events = format!("{} of {} events", kept.events, last.events);
            found.wrong(Wrong::EventsLost, format!("{events} stand, or others do"));
        }
        if let Some(stage) = stage
            && kept.standing != stage.recorded.standing
        {
            let (says, is) = (&kept.standing, &stage.recorded.standing);
            found.wrong(Wrong::Disagrees, format!("the index has {says:?}, the tree is of {is:?}"));
        }
        Ok(())
    }

    /// Undoes what stands last, which must give the tree of the stage at which the rest stands.
    async fn undo(&self, runtime: &Runtime, found: &mut Found) -> Result<(), Failure> {
        let before = Recorded::read(runtime, None)?;
        let Some((_, rest)) = before.standing.split_first() else { return Ok(()) };
        let agent = agent(runtime)?;
        let undone = match agent.to_undo(&UndoRequest::Last(1)) {
            Ok(last) => agent.undo(&last, OnConflict::Refuse, None).await,
            Err(error) => Err(error),
        };
        if let Err(error) = undone {
            found.wrong(Wrong::UndoFailed, Failure::from(error).to_string());
            return Ok(());
        }
        found.undone = true;
        let tree = Tree::read(&self.places.workspace)?;
        let stage = self.recording.stages.iter().find(|stage| stage.recorded.standing == rest);
        let expected = stage.ok_or_else(|| Failure::new("no stage has what stands now"))?;
        let differences = tree.differences(&expected.tree);
        if !differences.is_empty() {
            found.wrong(Wrong::UndoFailed, differences.join(", "));
        }
        Ok(())
    }
}
