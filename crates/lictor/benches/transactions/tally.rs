//! Medians and device flushes.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

/// What one way to do it took, over all rounds.
#[derive(Default)]
pub(crate) struct Tally {
    times: Vec<Duration>,
    flushes: Vec<u64>,
}

impl Tally {
    /// Does it once. What others left to the disk is written before: a barrier that has to wait
    /// for somebody else's bytes says nothing about either.
    pub(crate) fn time<T>(&mut self, device: &Device, work: impl FnOnce() -> T) -> T {
        rustix::fs::sync();
        let (flushes, began) = (device.flushes(), Instant::now());
        let done = work();
        self.times.push(began.elapsed());
        self.flushes.push(device.flushes().saturating_sub(flushes));
        done
    }

    /// Milliseconds.
    pub(crate) fn median(&self) -> f64 {
        let mut times = self.times.clone();
        times.sort();
        times.get(times.len() / 2).map_or(f64::NAN, |time| time.as_secs_f64() * 1000.0)
    }

    /// Milliseconds.
    pub(crate) fn most(&self) -> f64 {
        self.times.iter().max().map_or(f64::NAN, |time| time.as_secs_f64() * 1000.0)
    }

    /// Milliseconds.
    fn least(&self) -> f64 {
        self.times.iter().min().map_or(f64::NAN, |time| time.as_secs_f64() * 1000.0)
    }

    /// Hands the median over to `cargo xtask bench`.
    pub(crate) fn tell(&self, name: &str) {
        tell(name, self.median(), (self.least(), self.most()), "ms");
    }

    /// What it takes at least: everybody else's flushes are counted, too.
    pub(crate) fn flushes(&self) -> u64 {
        self.flushes.iter().min().copied().unwrap_or(0)
    }
}

/// The device that a folder lies on.
pub(crate) struct Device {
    statistics: Option<std::path::PathBuf>,
}

impl Device {
    pub(crate) fn of(folder: &Path) -> Self {
        let number = fs::metadata(folder).unwrap().dev();
        let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
        let entry = Path::new("/sys/dev/block").join(format!("{major}:{minor}"));
        // Flushes are counted for the whole disk, not for a partition of it.
        let disk = if entry.join("partition").exists() { entry.join("..") } else { entry };
        Self { statistics: Some(disk.join("stat")).filter(|file| file.exists()) }
    }

    /// How many flushes the device has completed.
    fn flushes(&self) -> u64 {
        let Some(file) = &self.statistics else { return 0 };
        let text = fs::read_to_string(file).unwrap();
        text.split_whitespace().nth(15).and_then(|word| word.parse().ok()).unwrap_or(0)
    }
}

/// Hands a figure over to `cargo xtask bench`, if it asks: a line of JSON in the file that it
/// names.
pub(crate) fn tell(name: &str, value: f64, (low, high): (f64, f64), unit: &str) {
    let Some(file) = std::env::var_os("LICTOR_BENCH_FIGURES") else { return };
    let line = serde_json::json!({ "figure": name, "value": value, "low": low, "high": high, "unit": unit });
    let mut file = fs::OpenOptions::new().append(true).open(file).unwrap();
    writeln!(file, "{line}").unwrap();
}
