//! The processes of a sandbox, as `/proc` shows them.

use std::collections::HashMap;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How often everything that is found is killed, before it is given up: what forks faster than it
/// is found is bounded by its limit of processes.
const ROUNDS: usize = 1000;

/// Which processes are meant.
#[derive(Debug, Clone, Copy)]
pub(super) enum Everybody {
    /// All that there are but this one, which is the first of its namespace.
    InNamespace,
    /// Those that descend from this one. Orphans come to it, so they do, too.
    BelowMe,
}

/// What processes use together.
pub(super) struct Used {
    /// Bytes. What they share is counted for each.
    pub(super) memory: u64,
    /// How many they are.
    pub(super) processes: u64,
}

struct Seen {
    pid: i32,
    parent: i32,
    /// Pages in memory.
    resident: u64,
    zombie: bool,
}

/// Every process that can be seen.
fn seen() -> Vec<Seen> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let look = |name: &str| {
        let pid: i32 = name.parse().ok()?;
        let stat = std::fs::read(format!("/proc/{name}/stat")).ok()?;
        // The program's name stands in brackets and may hold anything, brackets too.
        let stat = String::from_utf8_lossy(&stat);
        let (_, fields) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
        let number = |at: usize| fields.get(at).and_then(|field| field.parse::<i64>().ok());
        Some(Seen {
            pid,
            parent: i32::try_from(number(1)?).ok()?,
            resident: u64::try_from(number(21)?).unwrap_or(0),
            zombie: matches!(fields.first(), Some(&"Z" | &"X")),
        })
    };
    entries.filter_map(|entry| look(entry.ok()?.file_name().to_str()?)).collect()
}

impl Everybody {
    fn found(self) -> Vec<Seen> {
        let me = i32::try_from(std::process::id()).unwrap_or(0);
        let mut all = seen();
        match self {
            Self::InNamespace => all.retain(|one| one.pid != me),
            Self::BelowMe => {
                let parents: HashMap<i32, i32> =
                    all.iter().map(|one| (one.pid, one.parent)).collect();
                all.retain(|one| {
                    let mut at = one.pid;
                    // No chain is longer than there are processes.
                    for _ in 0..parents.len() {
                        match parents.get(&at) {
                            Some(parent) if *parent == me => return true,
                            Some(parent) => at = *parent,
                            None => return false,
                        }
                    }
                    false
                });
            }
        }
        all
    }

    /// What they use.
    pub(super) fn used(self) -> Used {
        let found = self.found();
        let pages: u64 = found.iter().map(|one| one.resident).sum();
        Used {
            memory: pages.saturating_mul(rustix::param::page_size() as u64),
            processes: found.len() as u64,
        }
    }

    /// Kills them all.
    pub(super) fn kill(self) {
        match self {
            Self::InNamespace => {
                // Nobody in there: it was the last.
                if let Err(nix::errno::Errno::ESRCH) = kill(Pid::from_raw(-1), Signal::SIGKILL) {}
            }
            Self::BelowMe => {
                for _ in 0..ROUNDS {
                    let alive: Vec<Seen> =
                        self.found().into_iter().filter(|one| !one.zombie).collect();
                    if alive.is_empty() {
                        return;
                    }
                    for one in alive {
                        if kill(Pid::from_raw(one.pid), Signal::SIGKILL).is_err() {
                            // It went by itself.
                        }
                    }
                }
            }
        }
    }
}
