//! Who asks for a lock, who has it, and who had it before.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What an acquirer says about itself.
#[derive(Debug, Clone)]
pub struct Claim {
    pub(crate) holder: String,
    pub(crate) execution: String,
    pub(crate) plan: Option<String>,
    pub(crate) acquired_at: String,
    pub(crate) token_floor: u64,
}

impl Claim {
    /// A claim by `holder` (a principal, a session, a program) for one `execution`.
    #[must_use]
    pub fn new(holder: impl Into<String>, execution: impl Into<String>) -> Self {
        Self {
            holder: holder.into(),
            execution: execution.into(),
            plan: None,
            acquired_at: String::new(),
            token_floor: 0,
        }
    }

    /// Names the plan that the execution carries out.
    #[must_use]
    pub fn plan(mut self, plan: impl Into<String>) -> Self {
        self.plan = Some(plan.into());
        self
    }

    /// The caller's time of asking, as text: it is shown to people and never compared.
    #[must_use]
    pub fn acquired_at(mut self, acquired_at: impl Into<String>) -> Self {
        self.acquired_at = acquired_at.into();
        self
    }

    /// The highest token that the caller has recorded elsewhere. The next one is higher even if
    /// the lock file was emptied or lost.
    #[must_use]
    pub fn token_floor(mut self, token_floor: u64) -> Self {
        self.token_floor = token_floor;
        self
    }
}

/// What the lock file says about a holder. It explains; the kernel lock decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Holder {
    /// Who: a principal, a session, a program.
    pub holder: String,
    /// The execution that the lock is held for.
    pub execution: String,
    /// The plan that the execution carries out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// Process id, in the holder's own pid namespace.
    pub pid: u32,
    /// Start of that process in clock ticks since boot (Linux).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process_start: Option<u64>,
    /// The boot during which the lock was taken (Linux).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_id: Option<String>,
    /// The machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// When, as the holder's caller put it.
    pub acquired_at: String,
    /// The number of this holding; each one is higher than those before it.
    pub fencing_token: u64,
    /// The holder gave the lock back in good order.
    pub released: bool,
    /// The lock was taken away by [`break_lock`](crate::WorkspaceLock::break_lock).
    #[serde(default)]
    pub broken: bool,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` for execution `{}`, pid {}", self.holder, self.execution, self.pid)?;
        if let Some(hostname) = &self.hostname {
            write!(f, " on `{hostname}`")?;
        }
        if !self.acquired_at.is_empty() {
            write!(f, ", since {}", self.acquired_at)?;
        }
        Ok(())
    }
}

/// What the last holder left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Predecessor {
    /// It released the lock.
    Clean(Holder),
    /// It ended without releasing, in this boot (or the boot is not known).
    Crashed(Holder),
    /// It did not release, and the machine was started anew since.
    OtherBoot(Holder),
    /// The lock was taken from it by force; it may still be alive.
    Broken(Holder),
    /// The lock file is empty or unreadable.
    Unknown,
}

impl Predecessor {
    /// Whether there may be unfinished work to recover.
    #[must_use]
    pub fn needs_recovery(&self) -> bool {
        !matches!(self, Self::Clean(_))
    }

    /// The holder, where it is known.
    #[must_use]
    pub fn holder(&self) -> Option<&Holder> {
        match self {
            Self::Clean(holder)
            | Self::Crashed(holder)
            | Self::OtherBoot(holder)
            | Self::Broken(holder) => Some(holder),
            Self::Unknown => None,
        }
    }

    pub(crate) fn of(last: Option<Holder>, boot_id: Option<&str>) -> Self {
        let Some(last) = last else {
            return Self::Unknown;
        };
        if last.broken {
            return Self::Broken(last);
        }
        if last.released {
            return Self::Clean(last);
        }
        match (last.boot_id.as_deref(), boot_id) {
            (Some(theirs), Some(ours)) if theirs != ours => Self::OtherBoot(last),
            _ => Self::Crashed(last),
        }
    }
}

/// The state of a lock at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// Nobody holds it.
    Free {
        /// The last one who did, where known; not `released` means that it crashed.
        last: Option<Holder>,
    },
    /// Somebody alive holds it.
    Held {
        /// Who, where the file can be read.
        holder: Option<Holder>,
    },
}

#[cfg(test)]
mod tests {
    use super::{Holder, Predecessor};

    fn holder(boot_id: Option<&str>) -> Holder {
        Holder {
            holder: "agent".into(),
            execution: "exec-1".into(),
            plan: None,
            pid: 7,
            process_start: None,
            boot_id: boot_id.map(str::to_owned),
            hostname: None,
            acquired_at: String::new(),
            fencing_token: 1,
            released: false,
            broken: false,
        }
    }

    #[test]
    fn another_boot_is_told_apart_from_a_crash() {
        let of = |theirs, ours| Predecessor::of(Some(holder(theirs)), ours);
        assert!(matches!(of(Some("a"), Some("b")), Predecessor::OtherBoot(_)));
        assert!(matches!(of(Some("a"), Some("a")), Predecessor::Crashed(_)));
        assert!(matches!(of(None, Some("a")), Predecessor::Crashed(_)));
        assert!(matches!(of(Some("a"), None), Predecessor::Crashed(_)));
        assert_eq!(Predecessor::of(None, None), Predecessor::Unknown);
    }
}
