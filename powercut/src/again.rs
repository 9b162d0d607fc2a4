//! The power goes once more while the recovery from the first cut is at work.

use crate::cuts::{self, Cut, Wanted};
use crate::failure::Failure;
use crate::judge::{Found, Judge};
use crate::random::Random;
use crate::recording::Recording;

/// Records the recovery of a disk, cuts that, and hands over what became of each of the disks.
/// Until the recovery was over, old and new may be; from then on only what it had made of it.
pub(crate) fn cut_again(
    judge: &Judge<'_>,
    recording: &Recording,
    first: &Cut,
    random: &mut Random,
    mut each: impl FnMut(&Cut, &Found) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let image = first.image.clone();
    let recovery = Recording::of_recovery(judge.kind, judge.scratch, image, judge.lazy)?;
    let Some(after) = recovery.stages.get(1) else {
        return Err(Failure::new("the recovery was not acknowledged"));
    };
    let stages = recording.stages.iter().enumerate().skip(first.acknowledged).take(2);
    let Some((made, _)) = stages.into_iter().find(|(_, stage)| stage.tree == after.tree) else {
        return Ok(()); // torn, and told already
    };
    let settled = recording.with_record(made, &after.recorded);
    let moments = cuts::moments(&recovery.log);
    let wanted = Wanted { prefixes: moments, random: moments };
    cuts::cut(&recovery.base, &recovery.log, wanted, random, |mut second| {
        let over = second.acknowledged > 0;
        (second.begun, second.acknowledged) =
            if over { (made, made) } else { (first.begun, first.acknowledged) };
        let found = judge.judge(if over { &settled } else { recording }, &second, false)?;
        each(&second, &found)
    })
}
