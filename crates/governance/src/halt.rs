//! The kill switch: nothing new happens for whoever it covers, in every process of a workspace.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use lictor_context::{Clock, HaltId, Name, Principal, SessionId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::approval::{Proof, ProvenApprover};
use crate::policy::Channel;
use crate::reason::kept;

/// Whom a halt covers: whoever fits all that is said. The default covers everybody.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HaltScope {
    /// Only this organisation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub org: Option<Name>,
    /// Only this user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<Name>,
    /// Only this agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<Name>,
    /// Only this session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
}

impl HaltScope {
    /// Whether it covers a session of a principal. Letter case does not matter: a name that is
    /// spelled otherwise is no way out.
    #[must_use]
    pub fn covers(&self, principal: &Principal, session: &SessionId) -> bool {
        let Self { org, user, agent, session: only } = self;
        let fits = |wanted: &Option<Name>, is: &Name| {
            wanted.as_ref().is_none_or(|wanted| wanted.as_str().eq_ignore_ascii_case(is.as_str()))
        };
        fits(org, &principal.org)
            && fits(user, &principal.user)
            && fits(agent, &principal.agent)
            && only.as_ref().is_none_or(|only| only == session)
    }
}

impl fmt::Display for HaltScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { org, user, agent, session } = self;
        let mut parts = Vec::new();
        for (what, name) in [("org", org), ("user", user), ("agent", agent)] {
            parts.extend(name.as_ref().map(|name| format!("{what} {name}")));
        }
        parts.extend(session.as_ref().map(|id| format!("session {id}")));
        f.write_str(if parts.is_empty() { "everybody" } else { "" })?;
        f.write_str(&parts.join(", "))
    }
}

/// One throw of the kill switch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Halt {
    /// Its id.
    pub id: HaltId,
    /// Whom it covers.
    pub scope: HaltScope,
    /// Why.
    pub reason: String,
    /// Who threw it; anybody may.
    pub by: Principal,
    /// When.
    pub at: Timestamp,
    /// Who lifted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifted: Option<Lifted>,
}

impl fmt::Display for Halt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, scope, reason, by, at, lifted: _ } = self;
        write!(
            f,
            "halt {id} of {scope}, by {}/{} at {at}: {}",
            by.user,
            by.agent,
            crate::visible(reason)
        )
    }
}

/// How a halt came to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lifted {
    /// Who lifted it.
    pub by: Name,
    /// By which way they proved who they are.
    pub channel: Channel,
    /// Why.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

/// Keeps halts. What is kept holds for every process that shares the store, from the moment that
/// the call returns.
pub trait HaltStore: Send + Sync + fmt::Debug {
    /// Keeps a new one.
    ///
    /// # Errors
    /// When the store fails.
    fn insert(&self, halt: &Halt) -> Result<(), HaltStoreError>;

    /// Those that are in force, the oldest first.
    ///
    /// # Errors
    /// When the store fails.
    fn in_force(&self) -> Result<Vec<Halt>, HaltStoreError>;

    /// All of them, the newest first.
    ///
    /// # Errors
    /// When the store fails.
    fn list(&self) -> Result<Vec<Halt>, HaltStoreError>;

    /// Exchanges one that is in force for one that is lifted; `false` when it is not in force.
    ///
    /// # Errors
    /// When the store fails.
    fn lift(&self, halt: &Halt) -> Result<bool, HaltStoreError>;
}

/// The store of halts failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it cannot be told whether there is a halt: {0}")]
pub struct HaltStoreError(pub String);

/// Keeps halts in memory.
#[derive(Debug, Default)]
pub struct MemoryHaltStore {
    by_id: Mutex<BTreeMap<HaltId, Halt>>,
}

impl MemoryHaltStore {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<HaltId, Halt>> {
        // Every change is one insertion, so nothing is half done when a holder panicked.
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HaltStore for MemoryHaltStore {
    fn insert(&self, halt: &Halt) -> Result<(), HaltStoreError> {
        self.lock().insert(halt.id.clone(), halt.clone());
        Ok(())
    }

    fn in_force(&self) -> Result<Vec<Halt>, HaltStoreError> {
        Ok(self.lock().values().filter(|halt| halt.lifted.is_none()).cloned().collect())
    }

    fn list(&self) -> Result<Vec<Halt>, HaltStoreError> {
        Ok(self.lock().values().rev().cloned().collect())
    }

    fn lift(&self, halt: &Halt) -> Result<bool, HaltStoreError> {
        match self.lock().get_mut(&halt.id) {
            Some(kept) if kept.lifted.is_none() => {
                *kept = halt.clone();
                Ok(true)
            }
            _ => Ok(false),
        }
    }
}

/// The kill switch of a workspace. The gate looks at it when it makes a warrant, and executors
/// look again, under the lock, right before anything is done.
#[derive(Debug)]
pub struct Halts {
    store: Arc<dyn HaltStore>,
    clock: Arc<dyn Clock>,
}

impl Halts {
    /// The switch over a store.
    #[must_use]
    pub fn new(store: Arc<dyn HaltStore>, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock }
    }

    /// Throws it. Anybody may: to stop is never dangerous.
    ///
    /// # Errors
    /// When the store fails.
    pub fn halt(
        &self,
        scope: HaltScope,
        reason: &str,
        by: &Principal,
    ) -> Result<Halt, HaltStoreError> {
        let halt = Halt {
            id: HaltId::generate(&*self.clock),
            scope,
            reason: kept(reason),
            by: by.clone(),
            at: self.clock.now(),
            lifted: None,
        };
        self.store.insert(&halt)?;
        Ok(halt)
    }

    /// Lifts a halt. That takes a person: somebody at a terminal, or with their token.
    ///
    /// # Errors
    /// When there is none of this id in force, nobody in person asks, or the store fails.
    pub fn resume(
        &self,
        id: &HaltId,
        by: &ProvenApprover,
        channel: Channel,
        reason: &str,
    ) -> Result<Halt, ResumeError> {
        let person = match by.proof() {
            Proof::Terminal | Proof::TerminalPin => channel == Channel::Terminal,
            Proof::Token => channel == Channel::Token,
            Proof::Signed | Proof::Elicited => false,
        };
        if !person {
            return Err(ResumeError::NotInPerson { channel });
        }
        let unknown = || ResumeError::NotInForce { id: id.clone() };
        let found = self.store.in_force()?.into_iter().find(|halt| halt.id == *id);
        let mut halt = found.ok_or_else(unknown)?;
        halt.lifted = Some(Lifted {
            by: by.name().clone(),
            channel,
            reason: kept(reason),
            at: self.clock.now(),
        });
        if self.store.lift(&halt)? { Ok(halt) } else { Err(unknown()) }
    }

    /// The halts that are in force, the oldest first.
    ///
    /// # Errors
    /// When the store fails.
    pub fn in_force(&self) -> Result<Vec<Halt>, HaltStoreError> {
        self.store.in_force()
    }

    /// All of them, the newest first.
    ///
    /// # Errors
    /// When the store fails.
    pub fn list(&self) -> Result<Vec<Halt>, HaltStoreError> {
        self.store.list()
    }

    /// Whether somebody may begin something new.
    ///
    /// # Errors
    /// When a halt covers them; and when it cannot be told, because then one might.
    pub fn check(&self, principal: &Principal, session: &SessionId) -> Result<(), Halted> {
        let found = self.store.in_force().map_err(Halted::Unknown)?;
        match found.into_iter().find(|halt| halt.scope.covers(principal, session)) {
            Some(halt) => Err(Halted::By(Box::new(halt))),
            None => Ok(()),
        }
    }
}

/// Nothing new may begin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Halted {
    /// There is a halt.
    #[error("{0}")]
    By(Box<Halt>),
    /// It cannot be told.
    #[error("{0}")]
    Unknown(HaltStoreError),
}

/// A halt was not lifted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResumeError {
    /// There is no such halt in force.
    #[error("there is no halt `{id}` in force")]
    NotInForce {
        /// The id.
        id: HaltId,
    },
    /// It takes a person.
    #[error("a halt is lifted by a person at a terminal or with their token, not by {channel}")]
    NotInPerson {
        /// The channel.
        channel: Channel,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] HaltStoreError),
}
