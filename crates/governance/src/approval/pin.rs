//! PINs: what an approver knows and whoever shares their terminal does not.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use lictor_context::{Clock, Name, Timestamp};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// So many wrong ones in a row, then it is locked for a while.
const TRIES: u32 = 5;
/// The first while; twice as long each further time, up to a day.
const FIRST_LOCK: Duration = Duration::from_secs(15 * 60);
/// What `FIRST_LOCK` is doubled by at most: 16 hours.
const MOST_DOUBLINGS: u32 = 6;
/// How often a change is tried again when somebody else was faster.
const ATTEMPTS: usize = 64;
/// Memory in KiB and passes of Argon2id, by the recommendation for interactive use.
const COST: (u32, u32) = (19 * 1024, 2);

/// An approver's PIN as it is kept: a slow hash, and how often it was guessed wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PinRecord {
    /// Whose.
    pub name: Name,
    salt: String,
    hash: String,
    memory_kib: u32,
    passes: u32,
    /// When it was set.
    pub set_at: Timestamp,
    /// Wrong ones in a row, those under way included.
    pub failures: u32,
    /// How often it was locked in a row.
    pub lockouts: u32,
    /// Until when nothing counts.
    pub locked_until: Option<Timestamp>,
}

/// Keeps PINs, one a name whatever its letter case, each with a revision from 1.
pub trait PinStore: Send + Sync + fmt::Debug {
    /// The one of a name, with its revision.
    ///
    /// # Errors
    /// When the store fails.
    fn get(&self, name: &Name) -> Result<Option<(PinRecord, u64)>, PinStoreError>;

    /// Keeps one in place of the revision that the caller saw, 0 for none: an atomic
    /// compare-and-set, across processes.
    ///
    /// # Errors
    /// [`PinStoreError::Conflict`] when somebody else was faster.
    fn update(&self, expected_revision: u64, record: &PinRecord) -> Result<(), PinStoreError>;
}

/// The store of PINs did not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PinStoreError {
    /// Somebody else was faster.
    #[error("the PIN was tried or changed by somebody else meanwhile")]
    Conflict,
    /// The store failed.
    #[error("the store of PINs is unavailable: {0}")]
    Unavailable(String),
}

/// Keeps PINs in memory.
#[derive(Debug, Default)]
pub struct MemoryPinStore {
    by_name: Mutex<BTreeMap<String, (PinRecord, u64)>>,
}

impl PinStore for MemoryPinStore {
    fn get(&self, name: &Name) -> Result<Option<(PinRecord, u64)>, PinStoreError> {
        // Every change is one insertion, so nothing is half done when a holder panicked.
        let by_name = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(by_name.get(&name.as_str().to_ascii_lowercase()).cloned())
    }

    fn update(&self, expected_revision: u64, record: &PinRecord) -> Result<(), PinStoreError> {
        let mut by_name = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        let key = record.name.as_str().to_ascii_lowercase();
        if by_name.get(&key).map_or(0, |(_, revision)| *revision) != expected_revision {
            return Err(PinStoreError::Conflict);
        }
        by_name.insert(key, (record.clone(), expected_revision + 1));
        Ok(())
    }
}

/// A PIN was not set, or not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PinError {
    /// It is none that is accepted.
    #[error("a PIN has 6 to 128 characters, not all of them the same")]
    Weak,
    /// It takes more to set one.
    #[error("a PIN is set by somebody who proves who they are with their token or their PIN")]
    NotProven,
    /// It is wrong.
    #[error("that is not the PIN; {left} more may be tried before it is locked")]
    Wrong {
        /// How many tries are left.
        left: u32,
    },
    /// Too many were wrong.
    #[error("the PIN of `{name}` is locked until {until}; a token still counts")]
    Locked {
        /// Whose.
        name: Name,
        /// Until when.
        until: Timestamp,
        /// Whether it was this try that locked it.
        now: bool,
    },
    /// The slow hash or the source of randomness failed.
    #[error("the PIN cannot be held against anything: {0}")]
    Hash(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] PinStoreError),
}

/// PINs over a store.
#[derive(Debug, Clone)]
pub(super) struct Pins {
    pub(super) store: Arc<dyn PinStore>,
    pub(super) clock: Arc<dyn Clock>,
}

impl Pins {
    pub(super) fn is_set(&self, name: &Name) -> Result<bool, PinError> {
        Ok(self.store.get(name)?.is_some())
    }

    pub(super) fn set(&self, name: &Name, pin: &str) -> Result<(), PinError> {
        let n = pin.chars().count();
        let mut rest = pin.chars();
        let first = rest.next();
        if !(6..=128).contains(&n) || rest.all(|c| Some(c) == first) {
            return Err(PinError::Weak);
        }
        let mut salt = [0_u8; 16];
        getrandom::fill(&mut salt).map_err(|error| PinError::Hash(error.to_string()))?;
        let record = PinRecord {
            name: name.clone(),
            salt: STANDARD_NO_PAD.encode(salt),
            hash: STANDARD_NO_PAD.encode(hash(pin, &salt, COST)?.as_slice()),
            memory_kib: COST.0,
            passes: COST.1,
            set_at: self.clock.now(),
            failures: 0,
            lockouts: 0,
            locked_until: None,
        };
        for _ in 0..ATTEMPTS {
            let revision = self.store.get(name)?.map_or(0, |(_, revision)| revision);
            match self.store.update(revision, &record) {
                Err(PinStoreError::Conflict) => {}
                done => return Ok(done?),
            }
        }
        Err(PinStoreError::Conflict.into())
    }

    /// Holds a PIN against the one that is kept. A try is counted before it is known whether it is
    /// right: however many processes try at once, no more than a handful ever count.
    pub(super) fn check(&self, name: &Name, pin: &str) -> Result<(), PinError> {
        let tried = self.change(name, |record, now| {
            if let Some(until) = record.locked_until.filter(|until| now < *until) {
                return Err(PinError::Locked { name: name.clone(), until, now: false });
            }
            record.failures += 1;
            if record.failures >= TRIES {
                let doubled = 1 << record.lockouts.min(MOST_DOUBLINGS);
                record.locked_until = Some(now.plus(FIRST_LOCK * doubled));
                record.lockouts = record.lockouts.saturating_add(1);
                record.failures = 0;
            }
            Ok(())
        })?;
        let decode = |text: &str| {
            STANDARD_NO_PAD.decode(text).map_err(|_| PinError::Hash("its record is damaged".into()))
        };
        let cost = (tried.memory_kib, tried.passes);
        let found = hash(pin, &decode(&tried.salt)?, cost)?;
        if bool::from(found.as_slice().ct_eq(decode(&tried.hash)?.as_slice())) {
            self.change(name, |record, _| {
                // Set anew meanwhile: then it is not the PIN any more.
                if record.hash != tried.hash {
                    return Err(PinError::Wrong { left: TRIES - 1 });
                }
                (record.failures, record.lockouts, record.locked_until) = (0, 0, None);
                Ok(())
            })?;
            return Ok(());
        }
        match tried.locked_until.filter(|_| tried.failures == 0) {
            Some(until) => Err(PinError::Locked { name: name.clone(), until, now: true }),
            None => Err(PinError::Wrong { left: TRIES.saturating_sub(tried.failures) }),
        }
    }

    fn change(
        &self,
        name: &Name,
        change: impl Fn(&mut PinRecord, Timestamp) -> Result<(), PinError>,
    ) -> Result<PinRecord, PinError> {
        for _ in 0..ATTEMPTS {
            let Some((mut record, revision)) = self.store.get(name)? else {
                return Err(PinError::Hash("there is no PIN".to_owned()));
            };
            change(&mut record, self.clock.now())?;
            match self.store.update(revision, &record) {
                Ok(()) => return Ok(record),
                Err(PinStoreError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(PinStoreError::Conflict.into())
    }
}

fn hash(pin: &str, salt: &[u8], cost: (u32, u32)) -> Result<Zeroizing<Vec<u8>>, PinError> {
    let fail = |error: argon2::Error| PinError::Hash(error.to_string());
    let params = Params::new(cost.0, cost.1, 1, None).map_err(fail)?;
    let mut out = Zeroizing::new(vec![0_u8; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(pin.as_bytes(), salt, &mut out)
        .map_err(fail)?;
    Ok(out)
}
