//! What one `fsync` costs here, by itself: the floor that everything durable stands on.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::Failure;

/// A page, as a log would append it.
const PAGE: [u8; 4096] = [b'x'; 4096];

/// Medians of an append with `fdatasync`.
///
/// They are two, because virtual machines fall asleep: whoever waits for a disk on a processor with nothing else to
/// do waits for its waking, too. Under load the first one counts, for a caller alone the second one.
#[derive(Debug)]
pub(crate) struct Floor {
    /// One right after the other.
    pub(crate) awake: Duration,
    /// Each after a pause.
    pub(crate) idle: Duration,
}

impl Floor {
    pub(crate) fn measure(folder: &Path) -> Result<Self, Failure> {
        let mut file = File::create(folder.join("floor"))?;
        let awake = median(&mut file, 200, Duration::ZERO)?;
        let idle = median(&mut file, 20, Duration::from_millis(20))?;
        Ok(Self { awake, idle })
    }
}

fn median(file: &mut File, rounds: usize, pause: Duration) -> Result<Duration, Failure> {
    let mut took = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        if !pause.is_zero() {
            std::thread::sleep(pause);
        }
        let begun = Instant::now();
        file.write_all(&PAGE)?;
        file.sync_data()?;
        took.push(begun.elapsed());
    }
    took.sort_unstable();
    Ok(took.get(rounds / 2).copied().unwrap_or_default())
}
