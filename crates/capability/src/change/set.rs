//! The change set as it is written: operations, and a checksum over them.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use lictor_context::{ChangeSetId, Digest, PlanId, Quote, WorkspacePath};
use serde::{Deserialize, Serialize};

/// Permission bits, written as four octal digits: `0644`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FileMode(u32);

/// A text that should have been permission bits is not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} is not a file mode: four octal digits are accepted, `0644` for example; set-id and \
     sticky bits are not",
    .0
)]
pub struct InvalidMode(Quote);

impl InvalidMode {
    fn of(text: &str) -> Self {
        Self(Quote::up_to(16, text))
    }
}

impl FileMode {
    /// What a new file gets.
    pub const FILE: Self = Self(0o644);
    /// What a new directory gets.
    pub const DIRECTORY: Self = Self(0o755);

    /// From permission bits; others are dropped.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits & 0o7777)
    }

    /// The bits.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }
}

impl fmt::Display for FileMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

impl TryFrom<String> for FileMode {
    type Error = InvalidMode;
    fn try_from(text: String) -> Result<Self, InvalidMode> {
        let digits = text.len() == 4 && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
        match u32::from_str_radix(&text, 8) {
            Ok(bits) if digits && bits <= 0o777 => Ok(Self(bits)),
            _ => Err(InvalidMode::of(&text)),
        }
    }
}

impl From<FileMode> for String {
    fn from(mode: FileMode) -> String {
        mode.to_string()
    }
}

/// The bytes of a file, and how their author wrote them down; the checksum is over what was
/// written.
#[derive(Clone, PartialEq, Eq)]
pub struct Body {
    bytes: Arc<[u8]>,
    base64: bool,
}

impl Body {
    /// Text where it is UTF-8, base64 where it is not.
    #[must_use]
    pub fn new(bytes: impl Into<Arc<[u8]>>) -> Self {
        let bytes = bytes.into();
        let base64 = std::str::from_utf8(&bytes).is_err();
        Self { bytes, base64 }
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &Arc<[u8]> {
        &self.bytes
    }

    fn decode(encoded: &str) -> Result<Self, String> {
        let bytes = BASE64
            .decode(encoded)
            .map_err(|error| format!("`content_base64` is not padded standard base64: {error}"))?;
        Ok(Self { bytes: Arc::from(bytes), base64: true })
    }

    fn write_into(&self, raw: RawChange) -> RawChange {
        match std::str::from_utf8(&self.bytes) {
            Ok(text) if !self.base64 => RawChange { content: Some(text.to_owned()), ..raw },
            _ => RawChange { content_base64: Some(BASE64.encode(&self.bytes)), ..raw },
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Body({} bytes)", self.bytes.len())
    }
}

/// One operation of a change set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A new file. Refused where something stands already.
    Create {
        /// Where.
        path: WorkspacePath,
        /// Its bytes.
        content: Body,
        /// Its mode; `0644` when not given.
        mode: Option<FileMode>,
    },
    /// Other content for a file.
    Modify {
        /// Which file.
        path: WorkspacePath,
        /// The digest of what the author saw.
        before: Digest,
        /// The new bytes.
        content: Body,
        /// The new mode, when that changes as well.
        mode: Option<FileMode>,
    },
    /// A file or a symbolic link goes.
    Delete {
        /// Which.
        path: WorkspacePath,
        /// The digest of what the author saw.
        before: Digest,
    },
    /// A file or a symbolic link gets another name.
    Rename {
        /// The old name.
        path: WorkspacePath,
        /// The new one.
        to: WorkspacePath,
        /// The digest of what the author saw.
        before: Digest,
    },
    /// Other permission bits.
    Chmod {
        /// Which file or directory.
        path: WorkspacePath,
        /// The mode that the author saw.
        before_mode: FileMode,
        /// The new mode.
        mode: FileMode,
    },
    /// A new directory; parents come with it.
    Mkdir {
        /// Where.
        path: WorkspacePath,
        /// Its mode; `0755` when not given.
        mode: Option<FileMode>,
    },
    /// An empty directory goes.
    Rmdir {
        /// Which.
        path: WorkspacePath,
    },
    /// A new symbolic link.
    Symlink {
        /// Where.
        path: WorkspacePath,
        /// What it says; relative, and inside the workspace.
        target: String,
    },
}

impl Change {
    /// The path that the operation names first.
    #[must_use]
    pub fn path(&self) -> &WorkspacePath {
        match self {
            Self::Create { path, .. }
            | Self::Modify { path, .. }
            | Self::Delete { path, .. }
            | Self::Rename { path, .. }
            | Self::Chmod { path, .. }
            | Self::Mkdir { path, .. }
            | Self::Rmdir { path }
            | Self::Symlink { path, .. } => path,
        }
    }
}

/// The JSON form of a change: every field there is, checked against the operation afterwards, so
/// that an error can point at the very field.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawChange {
    op: String,
    path: Option<WorkspacePath>,
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    to: Option<WorkspacePath>,
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    before: Option<Digest>,
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    before_mode: Option<FileMode>,
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    content: Option<String>,
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    content_base64: Option<String>,
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    mode: Option<FileMode>,
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    target: Option<String>,
}

/// A field that is given has a value: `null` would be one thing to us and another to the
/// author's checksum.
fn present<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}

/// A change set is not well formed, whatever the workspace holds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeSetError {
    /// An operation has a field too few, too many, or a wrong one.
    #[error("changes[{index}]: {problem}")]
    Operation {
        /// Its place in the list, from 0.
        index: usize,
        /// What is wrong and what is accepted.
        problem: String,
    },
    /// The checksum is not the one of these changes.
    #[error("the checksum does not fit the changes: it says {stated}, they have {actual}")]
    Tampered {
        /// What the document says.
        stated: Digest,
        /// What was computed.
        actual: Digest,
    },
    /// The change set belongs to another plan.
    #[error("the change set belongs to plan `{stated}`, not to `{plan}`")]
    OtherPlan {
        /// What the change set says.
        stated: PlanId,
        /// The plan beside it.
        plan: PlanId,
    },
    /// Nothing to do.
    #[error("the change set holds no changes; at least one is accepted")]
    Empty,
}

/// A change set whose checksum fits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeSet {
    id: ChangeSetId,
    plan_id: PlanId,
    changes: Vec<Change>,
    checksum: Digest,
}

impl ChangeSet {
    /// Seals changes: computes the checksum. For the author's side, never for the executor's.
    ///
    /// # Errors
    /// When there are no changes.
    pub fn seal(
        id: ChangeSetId,
        plan_id: PlanId,
        changes: Vec<Change>,
    ) -> Result<Self, ChangeSetError> {
        let checksum = checksum(&changes)?;
        Ok(Self { id, plan_id, changes, checksum })
    }

    /// Takes changes with the checksum that came with them.
    ///
    /// # Errors
    /// When the checksum does not fit, or there are no changes.
    pub fn verify(
        id: ChangeSetId,
        plan_id: PlanId,
        changes: Vec<Change>,
        stated: Digest,
    ) -> Result<Self, ChangeSetError> {
        let actual = checksum(&changes)?;
        if actual != stated {
            return Err(ChangeSetError::Tampered { stated, actual });
        }
        Ok(Self { id, plan_id, changes, checksum: actual })
    }

    /// The same changes under other ids; the checksum does not cover the ids.
    pub(super) fn named(self, id: ChangeSetId, plan_id: PlanId) -> Self {
        Self { id, plan_id, ..self }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &ChangeSetId {
        &self.id
    }

    /// The plan that it belongs to.
    #[must_use]
    pub fn plan_id(&self) -> &PlanId {
        &self.plan_id
    }

    /// The operations, in order.
    #[must_use]
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// The digest of the canonical JSON of the operations.
    #[must_use]
    pub fn checksum(&self) -> Digest {
        self.checksum
    }
}

fn checksum(changes: &[Change]) -> Result<Digest, ChangeSetError> {
    if changes.is_empty() {
        return Err(ChangeSetError::Empty);
    }
    let raw: Vec<RawChange> = changes.iter().map(RawChange::from).collect();
    // Strings, and nothing that could fail to become JSON.
    Digest::of_json(&raw)
        .map_err(|error| ChangeSetError::Operation { index: 0, problem: error.to_string() })
}

impl From<&Change> for RawChange {
    fn from(change: &Change) -> Self {
        let raw = Self { path: Some(change.path().clone()), ..Self::default() };
        let op = |op: &str, raw: Self| Self { op: op.to_owned(), ..raw };
        match change {
            Change::Create { content, mode, .. } => {
                op("create", Self { mode: *mode, ..content.write_into(raw) })
            }
            Change::Modify { before, content, mode, .. } => {
                op("modify", Self { before: Some(*before), mode: *mode, ..content.write_into(raw) })
            }
            Change::Delete { before, .. } => op("delete", Self { before: Some(*before), ..raw }),
            Change::Rename { to, before, .. } => {
                op("rename", Self { to: Some(to.clone()), before: Some(*before), ..raw })
            }
            Change::Chmod { before_mode, mode, .. } => {
                op("chmod", Self { before_mode: Some(*before_mode), mode: Some(*mode), ..raw })
            }
            Change::Mkdir { mode, .. } => op("mkdir", Self { mode: *mode, ..raw }),
            Change::Rmdir { .. } => op("rmdir", raw),
            Change::Symlink { target, .. } => {
                op("symlink", Self { target: Some(target.clone()), ..raw })
            }
        }
    }
}

/// What each operation takes: its required and its optional fields, beside `op` and `path`.
const OPERATIONS: &[(&str, &[&str], &[&str])] = &[
    ("create", &["content"], &["mode"]),
    ("modify", &["before", "content"], &["mode"]),
    ("delete", &["before"], &[]),
    ("rename", &["to", "before"], &[]),
    ("chmod", &["before_mode", "mode"], &[]),
    ("mkdir", &[], &["mode"]),
    ("rmdir", &[], &[]),
    ("symlink", &["target"], &[]),
];

impl RawChange {
    fn given(&self) -> Vec<&'static str> {
        let content = self.content.is_some() || self.content_base64.is_some();
        [
            ("to", self.to.is_some()),
            ("before", self.before.is_some()),
            ("before_mode", self.before_mode.is_some()),
            ("content", content),
            ("mode", self.mode.is_some()),
            ("target", self.target.is_some()),
        ]
        .into_iter()
        .filter_map(|(name, given)| given.then_some(name))
        .collect()
    }

    fn check_fields(&self) -> Result<(), String> {
        let Some((_, required, optional)) = OPERATIONS.iter().find(|(op, ..)| *op == self.op)
        else {
            let names: Vec<&str> = OPERATIONS.iter().map(|(op, ..)| *op).collect();
            let found = Quote::of(&self.op);
            return Err(format!("unknown op {found}; accepted: {}", names.join(", ")));
        };
        let given = self.given();
        let accepted = || {
            let all: Vec<&str> =
                ["op", "path"].iter().chain(*required).chain(*optional).copied().collect();
            format!("`{}` takes {}", self.op, all.join(", "))
        };
        if let Some(extra) =
            given.iter().find(|name| !required.contains(name) && !optional.contains(name))
        {
            return Err(format!("field `{extra}` is not accepted here; {}", accepted()));
        }
        if let Some(missing) = required.iter().find(|name| !given.contains(name)) {
            return Err(format!("field `{missing}` is missing; {}", accepted()));
        }
        if self.content.is_some() && self.content_base64.is_some() {
            return Err("give either `content` or `content_base64`".to_owned());
        }
        Ok(())
    }

    pub(super) fn into_change(self, index: usize) -> Result<Change, ChangeSetError> {
        let fail = |problem: String| ChangeSetError::Operation { index, problem };
        self.check_fields().map_err(fail)?;
        let missing = |name: &str| fail(format!("field `{name}` is missing"));
        let path = self.path.ok_or_else(|| missing("path"))?;
        let content = match (self.content, self.content_base64) {
            (Some(text), _) => Some(Body { bytes: Arc::from(text.into_bytes()), base64: false }),
            (None, Some(encoded)) => Some(Body::decode(&encoded).map_err(fail)?),
            (None, None) => None,
        };
        let (before, mode) = (self.before, self.mode);
        Ok(match self.op.as_str() {
            "create" => {
                Change::Create { path, content: content.ok_or_else(|| missing("content"))?, mode }
            }
            "modify" => Change::Modify {
                path,
                before: before.ok_or_else(|| missing("before"))?,
                content: content.ok_or_else(|| missing("content"))?,
                mode,
            },
            "delete" => Change::Delete { path, before: before.ok_or_else(|| missing("before"))? },
            "rename" => Change::Rename {
                path,
                to: self.to.ok_or_else(|| missing("to"))?,
                before: before.ok_or_else(|| missing("before"))?,
            },
            "chmod" => Change::Chmod {
                path,
                before_mode: self.before_mode.ok_or_else(|| missing("before_mode"))?,
                mode: mode.ok_or_else(|| missing("mode"))?,
            },
            "mkdir" => Change::Mkdir { path, mode },
            "rmdir" => Change::Rmdir { path },
            _ => Change::Symlink { path, target: self.target.ok_or_else(|| missing("target"))? },
        })
    }
}
