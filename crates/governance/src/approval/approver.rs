//! People who may approve, and how they prove who they are.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lictor_context::{Clock, Digest, Name, Timestamp};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::pin::{PinError, PinStore, PinStoreError, Pins};
use super::record::any_of;
use crate::policy::Channel;
use crate::token;

/// What tokens begin with, so that scanners for leaked secrets find them.
const TOKEN_PREFIX: &str = "lat_";
/// How long a code that is shown may be typed.
const CHALLENGE: Duration = Duration::from_secs(300);
/// Letters and digits that nobody takes for one another; 32 of them.
const CODE_LETTERS: &[u8; 32] = b"23456789ABCDEFGHJKLMNPQRSTUVWXYZ";

/// How somebody proved who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Proof {
    /// By their token.
    Token,
    /// By typing, at a terminal, a code that was shown there.
    Terminal,
    /// The same, and by their PIN as well.
    TerminalPin,
    /// By a service whose key the policy names, which signed their answer.
    Signed,
    /// By typing a code that an MCP client was given to show: somebody has read the question, or a
    /// program has, because the client that shows it also runs the model.
    Elicited,
}

impl Proof {
    /// Whether it proves somebody who answers by a channel: a code that was typed proves somebody at
    /// a terminal, and nothing about another channel.
    pub(super) fn fits(self, channel: Channel) -> bool {
        match self {
            Self::Token => channel != Channel::Terminal,
            Self::Terminal | Self::TerminalPin => channel == Channel::Terminal,
            Self::Signed => channel == Channel::Webhook,
            Self::Elicited => channel == Channel::Elicitation,
        }
    }
}

/// Somebody who may approve and proved it. Only [`Approvers::authenticate`] and
/// [`TerminalChallenge::answer`] make one.
#[derive(Debug)]
pub struct ProvenApprover {
    name: Name,
    roles: Vec<Name>,
    proof: Proof,
}

impl ProvenApprover {
    pub(super) fn by(record: ApproverRecord, proof: Proof) -> Self {
        Self { name: record.name, roles: record.roles, proof }
    }

    /// Who.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Their roles.
    #[must_use]
    pub fn roles(&self) -> &[Name] {
        &self.roles
    }

    /// How they proved it.
    #[must_use]
    pub fn proof(&self) -> Proof {
        self.proof
    }
}

/// An approver as they are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApproverRecord {
    /// Their name; the same as their user name, so that they cannot approve what they ask for
    /// where the policy forbids it.
    pub name: Name,
    /// The digest of their token.
    pub token_digest: Digest,
    /// Their roles.
    pub roles: Vec<Name>,
    /// Who enrolled them; `None` for the first one.
    pub added_by: Option<Name>,
    /// When.
    pub added_at: Timestamp,
    /// When they were struck off.
    pub revoked_at: Option<Timestamp>,
}

/// A token, to be shown once. It is wiped from memory when dropped.
pub struct ApproverToken(Zeroizing<String>);

impl ApproverToken {
    /// The text.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ApproverToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApproverToken(..)")
    }
}

/// Keeps approvers. Names are unique whatever their letter case, and stay taken after a
/// revocation.
pub trait ApproverStore: Send + Sync + fmt::Debug {
    /// Keeps a new one. With `only_first`, atomically only if there is none yet.
    ///
    /// # Errors
    /// [`ApproverStoreError::Exists`] when the name is taken or `only_first` does not hold.
    fn insert(&self, record: &ApproverRecord, only_first: bool) -> Result<(), ApproverStoreError>;

    /// All of them, by name, those who were struck off as well.
    ///
    /// # Errors
    /// When the store fails.
    fn list(&self) -> Result<Vec<ApproverRecord>, ApproverStoreError>;

    /// Strikes one off; without effect on one who is already.
    ///
    /// # Errors
    /// [`ApproverStoreError::Unknown`] when there is none of this name.
    fn revoke(&self, name: &Name, at: Timestamp) -> Result<(), ApproverStoreError>;
}

/// The store of approvers did not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApproverStoreError {
    /// The name is taken, or there are approvers where there had to be none.
    #[error("there is such an approver already")]
    Exists,
    /// There is no such approver.
    #[error("there is no such approver")]
    Unknown,
    /// The store failed.
    #[error("the store of approvers is unavailable: {0}")]
    Unavailable(String),
}

/// Keeps approvers in memory.
#[derive(Debug, Default)]
pub struct MemoryApproverStore {
    by_name: Mutex<BTreeMap<String, ApproverRecord>>,
}

impl MemoryApproverStore {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, ApproverRecord>> {
        // Every change is one step, so nothing is half done when a holder panicked.
        self.by_name.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn folded(name: &Name) -> String {
    name.as_str().to_ascii_lowercase()
}

impl ApproverStore for MemoryApproverStore {
    fn insert(&self, record: &ApproverRecord, only_first: bool) -> Result<(), ApproverStoreError> {
        let mut by_name = self.lock();
        let key = folded(&record.name);
        if by_name.contains_key(&key) || (only_first && !by_name.is_empty()) {
            return Err(ApproverStoreError::Exists);
        }
        by_name.insert(key, record.clone());
        Ok(())
    }

    fn list(&self) -> Result<Vec<ApproverRecord>, ApproverStoreError> {
        Ok(self.lock().values().cloned().collect())
    }

    fn revoke(&self, name: &Name, at: Timestamp) -> Result<(), ApproverStoreError> {
        let mut by_name = self.lock();
        let record = by_name.get_mut(&folded(name)).ok_or(ApproverStoreError::Unknown)?;
        record.revoked_at.get_or_insert(at);
        Ok(())
    }
}

/// The register of people who may approve.
#[derive(Debug)]
pub struct Approvers {
    store: Arc<dyn ApproverStore>,
    clock: Arc<dyn Clock>,
    pins: Option<Pins>,
}

impl Approvers {
    /// A register over a store.
    #[must_use]
    pub fn new(store: Arc<dyn ApproverStore>, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock, pins: None }
    }

    /// With PINs: who has one is asked for it at a terminal, beside the code that is shown.
    #[must_use]
    pub fn with_pins(mut self, store: Arc<dyn PinStore>) -> Self {
        self.pins = Some(Pins { store, clock: Arc::clone(&self.clock) });
        self
    }

    /// Whether somebody has a PIN.
    ///
    /// # Errors
    /// When the store fails.
    pub fn has_pin(&self, name: &Name) -> Result<bool, ApproverError> {
        match &self.pins {
            Some(pins) => Ok(pins.is_set(name)?),
            None => Ok(false),
        }
    }

    /// Sets somebody's own PIN, in place of the one that they had. Who could be anybody at their
    /// terminal cannot: they would set the PIN that is to keep them out.
    ///
    /// # Errors
    /// When it is too weak, they did not prove who they are by a token or a PIN, or the store fails.
    pub fn set_pin(&self, by: &ProvenApprover, pin: &str) -> Result<(), ApproverError> {
        if !matches!(by.proof, Proof::Token | Proof::TerminalPin) {
            return Err(PinError::NotProven.into());
        }
        let Some(pins) = &self.pins else {
            return Err(PinStoreError::Unavailable("none are kept here".to_owned()).into());
        };
        // Whoever was struck off meanwhile sets nothing.
        self.active(&by.name)?;
        Ok(pins.set(&by.name, pin)?)
    }

    /// Enrols the very first approver, whom nobody can vouch for.
    ///
    /// # Errors
    /// When there was any approver before, even one who was struck off.
    pub fn bootstrap(
        &self,
        name: Name,
        roles: Vec<Name>,
    ) -> Result<(ApproverRecord, ApproverToken), ApproverError> {
        self.add(name, roles, None)
    }

    /// Enrols another approver. The token is not kept and cannot be shown again.
    ///
    /// # Errors
    /// When the name is taken, or the store or the source of randomness fails.
    pub fn enroll(
        &self,
        name: Name,
        roles: Vec<Name>,
        by: &ProvenApprover,
    ) -> Result<(ApproverRecord, ApproverToken), ApproverError> {
        self.add(name, roles, Some(by))
    }

    fn add(
        &self,
        name: Name,
        roles: Vec<Name>,
        by: Option<&ProvenApprover>,
    ) -> Result<(ApproverRecord, ApproverToken), ApproverError> {
        let token = token::fresh(TOKEN_PREFIX);
        let token = token.map_err(|error| ApproverError::Randomness(error.to_string()))?;
        let record = ApproverRecord {
            name,
            token_digest: Digest::of(token.as_bytes()),
            roles,
            added_by: by.map(|by| by.name.clone()),
            added_at: self.clock.now(),
            revoked_at: None,
        };
        self.store.insert(&record, by.is_none())?;
        Ok((record, ApproverToken(token)))
    }

    /// Everybody who is or was an approver.
    ///
    /// # Errors
    /// When the store fails.
    pub fn list(&self) -> Result<Vec<ApproverRecord>, ApproverError> {
        Ok(self.store.list()?)
    }

    /// Strikes somebody off. Their token proves nothing from then on.
    ///
    /// # Errors
    /// When there is nobody of this name, or they are the last one: enrol another before.
    pub fn revoke(&self, name: &Name, _by: &ProvenApprover) -> Result<(), ApproverError> {
        let others = self.store.list()?.into_iter();
        let mut others = others.filter(|one| folded(&one.name) != folded(name));
        if !others.any(|one| one.revoked_at.is_none()) {
            return Err(ApproverError::Last);
        }
        Ok(self.store.revoke(name, self.clock.now())?)
    }

    /// Whose token this is.
    ///
    /// # Errors
    /// When it is nobody's, or its owner was struck off.
    pub fn authenticate(&self, token: &str) -> Result<ProvenApprover, ApproverError> {
        let kept = self.store.list()?;
        match token::owner(TOKEN_PREFIX, token, kept, |record| record.token_digest) {
            None => Err(ApproverError::NotRecognised),
            Some(record) if record.revoked_at.is_some() => Err(ApproverError::Revoked),
            Some(record) => Ok(ProvenApprover::by(record, Proof::Token)),
        }
    }

    /// An approver whose answer somebody else vouches for.
    pub(super) fn vouched(&self, name: &Name) -> Result<ProvenApprover, ApproverError> {
        let record = self.active(name)?;
        Ok(ProvenApprover::by(record, Proof::Signed))
    }

    pub(super) fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock)
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(super) fn active(&self, name: &Name) -> Result<ApproverRecord, ApproverError> {
        let all = self.store.list()?;
        let record = all.into_iter().find(|record| folded(&record.name) == folded(name));
        let record = record.ok_or(ApproverStoreError::Unknown)?;
        if record.revoked_at.is_some() { Err(ApproverError::Revoked) } else { Ok(record) }
    }

    /// A code for an enrolled approver to type. For doors that have made sure that a person sits
    /// at a terminal; never to be shown where a model reads.
    ///
    /// # Errors
    /// When there is no such approver, or they were struck off.
    pub fn challenge(&self, name: &Name) -> Result<TerminalChallenge, ApproverError> {
        let record = self.active(name)?;
        let has_pin = self.has_pin(name)?;
        Ok(TerminalChallenge {
            code: code()?,
            pins: self.pins.clone().filter(|_| has_pin),
            until: self.clock.now().plus(CHALLENGE),
            clock: Arc::clone(&self.clock),
            approver: ProvenApprover::by(record, Proof::Terminal),
        })
    }
}

/// Six letters and digits.
pub(super) fn code() -> Result<String, ApproverError> {
    let mut bytes = [0_u8; 6];
    random(&mut bytes)?;
    let letter =
        |byte: &u8| CODE_LETTERS.get(usize::from(byte & 31)).copied().map_or('2', char::from);
    Ok(bytes.iter().map(letter).collect())
}

fn random(bytes: &mut [u8]) -> Result<(), ApproverError> {
    getrandom::fill(bytes).map_err(|error| ApproverError::Randomness(error.to_string()))
}

/// A code that is shown at a terminal, to be typed there: one try.
pub struct TerminalChallenge {
    code: String,
    until: Timestamp,
    /// Where the PIN is, when there is one.
    pins: Option<Pins>,
    clock: Arc<dyn Clock>,
    approver: ProvenApprover,
}

impl TerminalChallenge {
    /// The code to show: six letters and digits.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.code
    }

    /// Whether the PIN is asked for as well.
    #[must_use]
    pub fn wants_pin(&self) -> bool {
        self.pins.is_some()
    }

    /// Whether that is the code. Who gets it wrong is not asked for anything else.
    ///
    /// # Errors
    /// When it is not the code, or came too late.
    pub fn check_code(&self, typed: &str) -> Result<(), ApproverError> {
        if !typed.trim().eq_ignore_ascii_case(&self.code) || self.clock.now() >= self.until {
            return Err(ApproverError::WrongCode);
        }
        Ok(())
    }

    /// Takes the code and the PIN.
    ///
    /// # Errors
    /// When one of them is wrong, it came too late, too many wrong PINs were tried, or there is none.
    pub fn answer_with_pin(self, typed: &str, pin: &str) -> Result<ProvenApprover, ApproverError> {
        self.check_code(typed)?;
        let pins = self.pins.as_ref().ok_or(ApproverError::PinMissing)?;
        pins.check(&self.approver.name, pin)?;
        Ok(ProvenApprover { proof: Proof::TerminalPin, ..self.approver })
    }

    /// Takes what was typed; letter case and blanks around it do not matter.
    ///
    /// # Errors
    /// When it is not the code, or came too late; and when there is a PIN, which has to come along.
    pub fn answer(self, typed: &str) -> Result<ProvenApprover, ApproverError> {
        self.check_code(typed)?;
        if self.wants_pin() { Err(ApproverError::PinMissing) } else { Ok(self.approver) }
    }
}

impl fmt::Debug for TerminalChallenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TerminalChallenge")
            .field("approver", &self.approver.name)
            .finish_non_exhaustive()
    }
}

/// The register of approvers did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApproverError {
    /// The token is nobody's.
    #[error("the token is not an approver's")]
    NotRecognised,
    /// They were struck off.
    #[error("the approver was revoked")]
    Revoked,
    /// What was typed is not the code, or came too late.
    #[error("that is not the code that was shown, or it came too late")]
    WrongCode,
    /// There is a PIN, and it did not come along; or there is none, and one did.
    #[error("the PIN is missing")]
    PinMissing,
    /// The PIN.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// The policy lets others enrol approvers and strike them off.
    #[error("the policy lets only {} enrol approvers and strike them off", any_of(.roles))]
    NotEnrolling {
        /// The roles, of which one is enough.
        roles: Vec<Name>,
    },
    /// Nobody would be left.
    #[error("the last approver cannot be revoked; enroll another before")]
    Last,
    /// The source of randomness failed.
    #[error("no randomness: {0}")]
    Randomness(String),
    /// The store did not do it.
    #[error(transparent)]
    Store(#[from] ApproverStoreError),
}

impl From<PinStoreError> for ApproverError {
    fn from(error: PinStoreError) -> Self {
        Self::Pin(error.into())
    }
}
