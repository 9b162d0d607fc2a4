//! What was judged: in canonical bytes, read back, and as people are shown it.

mod decode;
mod encode;
mod hidden;
mod lines;
mod text;
mod view;

use std::collections::BTreeMap;
use std::sync::Arc;

use lictor_capability::{ChangeKind, Content, Described, Executable, Risk, State, UndoScope};
use lictor_context::Digest;

pub(crate) use encode::{action_bytes, action_digest};
pub(crate) use hidden::Hidden;
pub use text::{visible, visible_bytes};

/// More is not kept for one request: what people cannot be shown, they cannot approve.
const MAX_KEPT: usize = 64 << 20;

/// An action as it was judged: its canonical bytes and the contents that they name, each under its
/// digest. It is kept with a request as long as people may be asked about it.
#[derive(Clone, PartialEq, Eq)]
pub struct Judged {
    digest: Digest,
    parts: BTreeMap<Digest, Arc<[u8]>>,
}

impl std::fmt::Debug for Judged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Contents do not belong into logs.
        f.debug_struct("Judged").field("digest", &self.digest).finish_non_exhaustive()
    }
}

impl Judged {
    /// What a decision was about. `contents` may hold what the workspace holds now, and new
    /// content that does not come with the action itself; what nothing names is left out.
    pub(crate) fn new(
        described: &Described,
        action: Vec<u8>,
        contents: impl IntoIterator<Item = Arc<[u8]>>,
    ) -> Result<Self, JudgedError> {
        let items = &described.effects().changes.items;
        let states = items.iter().flat_map(|item| [item.before, item.after]);
        let named: Vec<Digest> = states.filter_map(|state| state?.digest()).collect();
        let inline = items.iter().filter_map(|item| match item.content.as_ref()? {
            Content::Inline(bytes) => Some(Arc::clone(bytes)),
            Content::Target(target) => Some(Arc::from(target.as_bytes())),
            Content::CopyOf(_) | Content::Kept(_) | Content::Streamed(_) => None,
        });
        let digest = Digest::of(&action);
        let mut size = action.len();
        let mut parts = BTreeMap::from([(digest, Arc::from(action))]);
        for bytes in inline.chain(contents) {
            let name = Digest::of(&bytes);
            if named.contains(&name) && !parts.contains_key(&name) {
                size = size.saturating_add(bytes.len());
                parts.insert(name, bytes);
            }
        }
        if size > MAX_KEPT {
            return Err(JudgedError::TooLarge { bytes: size });
        }
        for item in items.iter().filter(|item| item.content.is_some()) {
            let wanted = item.after.and_then(|state| state.digest());
            if !wanted.is_some_and(|wanted| parts.contains_key(&wanted)) {
                return Err(JudgedError::NotShown { path: item.path().to_owned() });
            }
        }
        Ok(Self { digest, parts })
    }

    /// As it was kept: the action's digest, and the parts.
    #[must_use]
    pub fn from_parts(
        digest: Digest,
        parts: impl IntoIterator<Item = (Digest, Arc<[u8]>)>,
    ) -> Self {
        Self { digest, parts: parts.into_iter().collect() }
    }

    /// The parts, to be kept: the canonical bytes under the action's digest, every content under
    /// its own.
    pub fn parts(&self) -> impl Iterator<Item = (Digest, &Arc<[u8]>)> {
        self.parts.iter().map(|(digest, bytes)| (*digest, bytes))
    }

    /// The digest of the action.
    #[must_use]
    pub fn action_digest(&self) -> Digest {
        self.digest
    }

    /// Whether every part is still what its digest says, and all of them are there.
    ///
    /// # Errors
    /// When one is not, or the canonical bytes are not readable.
    pub fn verify(&self) -> Result<JudgedAction, JudgedError> {
        for (digest, bytes) in &self.parts {
            if Digest::of(bytes) != *digest {
                return Err(JudgedError::Damaged { digest: *digest });
            }
        }
        let bytes = self.parts.get(&self.digest);
        let bytes = bytes.ok_or(JudgedError::Damaged { digest: self.digest })?;
        let action = decode::action(bytes);
        let action = action.map_err(|_| JudgedError::Damaged { digest: self.digest })?;
        for item in action.items.iter().filter(|item| item.new_content) {
            let digest = item.after.and_then(|state| state.digest()).unwrap_or(self.digest);
            if !self.parts.contains_key(&digest) {
                return Err(JudgedError::Damaged { digest });
            }
        }
        Ok(action)
    }

    /// The action as people are shown it: made from these bytes only, after they were verified.
    /// Everything that was judged is in it, nothing is shortened, and no two actions give the same
    /// text.
    ///
    /// # Errors
    /// As [`Judged::verify`].
    pub fn view(&self) -> Result<String, JudgedError> {
        Ok(view::view(self, &self.verify()?))
    }

    fn part(&self, digest: Digest) -> Option<&[u8]> {
        self.parts.get(&digest).map(|bytes| &**bytes)
    }
}

/// What was judged cannot be kept or shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JudgedError {
    /// It is too much to be kept, and so to be shown.
    #[error(
        "people cannot be shown {bytes} bytes; at most {MAX_KEPT} are kept, so make smaller changes"
    )]
    TooLarge {
        /// How much it is.
        bytes: usize,
    },
    /// New content is not at hand.
    #[error("the new content of `{}` is not at hand, so nobody can be shown it", .path.escape_debug())]
    NotShown {
        /// Of what.
        path: String,
    },
    /// What is kept is not what was judged.
    #[error("what is kept of the request is not what was judged: {digest} does not hold")]
    Damaged {
        /// What does not hold.
        digest: Digest,
    },
}

/// An action as its canonical bytes say it.
#[derive(Debug, Clone, PartialEq)]
pub struct JudgedAction {
    /// The capability.
    pub capability: String,
    /// Its version.
    pub version: String,
    /// The digest of its contract.
    pub contract: Digest,
    /// The organisation that asks.
    pub org: String,
    /// The user who asks.
    pub user: String,
    /// The agent that asks.
    pub agent: String,
    /// The digest of the policies.
    pub policy: Digest,
    /// The input.
    pub input: JudgedValue,
    /// The risk that is proposed.
    pub risk: Option<Risk>,
    /// How many people whoever asks wants to agree.
    pub approvals: u64,
    /// The execution that it takes back because what came after it failed.
    pub rolls_back: Option<String>,
    /// What its plan promises.
    pub plan: Option<JudgedPlan>,
    /// The paths that it reads.
    pub reads: Vec<String>,
    /// Whether it reads the names in the workspace root.
    pub reads_root: bool,
    /// What it changes.
    pub items: Vec<JudgedItem>,
    /// Lines added and taken away.
    pub lines: u64,
    /// Bytes of new content.
    pub bytes: u64,
    /// The hosts that it talks to.
    pub hosts: Vec<String>,
    /// The programs that it starts.
    pub programs: Vec<String>,
    /// The files that these programs are.
    pub executables: Vec<Executable>,
    /// The tools of MCP servers that it calls.
    pub tools: Vec<String>,
    /// How much could be taken back.
    pub undo: UndoScope,
    /// The executions that it takes back.
    pub takes_back: Vec<String>,
}

/// What a plan promises.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JudgedPlan {
    /// The verification commands.
    pub verification: Vec<String>,
    /// The health checks.
    pub health_checks: Vec<String>,
    /// How it would be taken back, in words.
    pub rollback_plan: String,
}

/// One thing that an action changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JudgedItem {
    /// What happens to it.
    pub kind: ChangeKind,
    /// Where it is; `None` when it is new.
    pub from: Option<String>,
    /// Where it will be; `None` when it goes.
    pub to: Option<String>,
    /// What it is.
    pub before: Option<State>,
    /// What it will be.
    pub after: Option<State>,
    /// Whether it gets new bytes.
    pub new_content: bool,
    /// Whether nobody asked for it: a parent directory that has to be there.
    pub implicit: bool,
}

/// A value of an input.
#[derive(Debug, Clone, PartialEq)]
pub enum JudgedValue {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Integer(i128),
    /// Another number.
    Float(f64),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Self>),
    /// An object, by key.
    Object(Vec<(String, Self)>),
    /// A secret, or what the policy wants left out: only its digest is kept.
    Hidden(Digest),
}
