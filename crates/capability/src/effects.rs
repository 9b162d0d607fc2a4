//! Effects: what an action will do, concretely, worked out before anything is done.

use std::collections::HashSet;
use std::fmt;

use lictor_context::{Digest, ExecutionId, WorkspacePath};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::change::{
    Change, ChangeKind, Changes, Conflict, ConflictReason, ResolveError, Resolved, resolve,
};
use crate::contract::EffectCeiling;
use crate::view::WorkspaceView;

/// The kinds of effect that policies speak about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum EffectKind {
    /// A file or directory is read.
    #[serde(rename = "fs.read")]
    FsRead,
    /// A file or directory is made, changed or moved.
    #[serde(rename = "fs.write")]
    FsWrite,
    /// A file, link or directory goes.
    #[serde(rename = "fs.delete")]
    FsDelete,
    /// A host is talked to.
    #[serde(rename = "net")]
    Net,
    /// A program is started.
    #[serde(rename = "process")]
    Process,
    /// A tool of an MCP server is called.
    #[serde(rename = "mcp")]
    Mcp,
}

impl EffectKind {
    /// Every kind.
    pub const ALL: [Self; 6] =
        [Self::FsRead, Self::FsWrite, Self::FsDelete, Self::Net, Self::Process, Self::Mcp];

    /// The word that policies use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FsRead => "fs.read",
            Self::FsWrite => "fs.write",
            Self::FsDelete => "fs.delete",
            Self::Net => "net",
            Self::Process => "process",
            Self::Mcp => "mcp",
        }
    }
}

impl fmt::Display for EffectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One effect on one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Effect<'a> {
    /// What is done.
    pub kind: EffectKind,
    /// To what: a path, a host, a program, a server's tool.
    pub target: &'a str,
}

/// Something that no policy can allow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// Where.
    pub path: String,
    /// The rule, as decisions name it.
    pub rule: String,
    /// What is wrong.
    pub message: String,
}

impl Violation {
    /// A violation of a builtin rule.
    #[must_use]
    pub fn new(path: impl Into<String>, rule: &str, message: impl Into<String>) -> Self {
        Self { path: path.into(), rule: rule.to_owned(), message: message.into() }
    }
}

/// How much of an action could be taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UndoScope {
    /// Everything; also said of an action that changes nothing.
    #[default]
    Full,
    /// The file changes, but not everything else.
    Partial,
    /// Nothing.
    None,
}

/// The file that a program is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Executable {
    /// The program, as effects name it.
    pub program: String,
    /// Where the file lies: an absolute path, or one of the workspace.
    pub path: String,
    /// The digest of its bytes.
    pub digest: Digest,
}

/// What an action will do. The default is nothing at all.
#[derive(Debug, Clone, Default)]
pub struct Effects {
    /// Paths that it reads; a directory stands for what it holds.
    pub reads: Vec<WorkspacePath>,
    /// Whether it reads the names in the workspace root.
    pub reads_root: bool,
    /// What it changes.
    pub changes: Changes,
    /// Hosts that it talks to, `host[:port]`.
    pub hosts: Vec<String>,
    /// Programs that it starts.
    pub programs: Vec<String>,
    /// The files that these programs are, as they were found.
    pub executables: Vec<Executable>,
    /// Whether all that the programs do stays in a staging copy, and comes as changes of its own.
    pub contained: bool,
    /// Tools of MCP servers that it calls, `server/tool`.
    pub tools: Vec<String>,
    /// How much could be taken back.
    pub undo: UndoScope,
    /// The executions that the changes take back. Removing what such an execution itself had made
    /// is a write, not a deletion.
    pub takes_back: Vec<ExecutionId>,
    /// Where the workspace holds something else than expected. The gate speaks first.
    pub conflicts: Vec<Conflict>,
    /// What is judged beside what happens. With conflicts: what was asked for; none of it will happen,
    /// and yet a conflict would tell what a forbidden file holds. And the other names (hard links) of
    /// what is read or changed: a rule about one of them is a rule about the file.
    pub intended: Vec<(EffectKind, WorkspacePath)>,
    /// What is as it was asked to be already: nothing is done to it, and the answer tells that it
    /// is so. Judged as reading, whatever the contract declares.
    pub unchanged: Vec<WorkspacePath>,
    /// What an undo leaves as somebody has made it since.
    pub left: Vec<LeftAlone>,
    /// What no policy can allow.
    pub violations: Vec<Violation>,
}

/// A thing that an undo leaves as somebody has made it since the execution.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftAlone {
    /// Where it stands.
    pub path: WorkspacePath,
    /// Where what the undo would have put back goes instead; `None` when there is nothing to put
    /// back, or nothing of it is kept.
    pub beside: Option<WorkspacePath>,
    /// What was found.
    pub reason: ConflictReason,
}

impl Effects {
    /// Effects that are these changes and nothing else, as they would be in the workspace behind
    /// `view`. Where it holds something else than the changes expect, what they ask for is judged
    /// all the same; where it is so already, that this is told.
    ///
    /// # Errors
    /// When the changes contradict themselves, or the workspace cannot be read.
    pub fn changing(changes: &[Change], view: &dyn WorkspaceView) -> Result<Self, ResolveError> {
        let Resolved { changes: items, conflicts, violations } = resolve(changes, view)?;
        let (mut intended, mut unchanged) = (Vec::new(), Vec::new());
        if conflicts.is_empty() {
            let ends = items.items.iter().flat_map(|item| [&item.from, &item.to]);
            let touched: HashSet<&WorkspacePath> = ends.flatten().collect();
            let paths = changes.iter().map(Change::path);
            unchanged = paths.filter(|path| !touched.contains(path)).cloned().collect();
        } else {
            intended = Self::intended_by(changes);
        }
        Ok(Self { changes: items, conflicts, violations, intended, unchanged, ..Self::default() })
    }

    /// What operations ask for by themselves, whatever the workspace holds.
    #[must_use]
    pub fn intended_by(changes: &[Change]) -> Vec<(EffectKind, WorkspacePath)> {
        let mut intended = Vec::with_capacity(changes.len());
        for change in changes {
            let kind = match change {
                Change::Delete { .. } | Change::Rmdir { .. } => EffectKind::FsDelete,
                Change::Create { .. }
                | Change::Modify { .. }
                | Change::Rename { .. }
                | Change::Chmod { .. }
                | Change::Mkdir { .. }
                | Change::Symlink { .. } => EffectKind::FsWrite,
            };
            intended.push((kind, change.path().clone()));
            if let Change::Rename { to, .. } = change {
                intended.push((kind, to.clone()));
            }
        }
        intended
    }

    /// The effects one by one, in the terms of policies. Both ends of a rename are written.
    #[must_use]
    pub fn iter(&self) -> Vec<Effect<'_>> {
        let mut all = self.declared();
        let unchanged = self.unchanged.iter().filter(|path| !self.reads.contains(path));
        all.extend(
            unchanged.map(|path| Effect { kind: EffectKind::FsRead, target: path.as_str() }),
        );
        all
    }

    /// Those that a contract has to declare.
    #[must_use]
    pub fn declared(&self) -> Vec<Effect<'_>> {
        let mut all = Vec::with_capacity(self.reads.len() + self.changes.items.len());
        let effect = |kind, target| Effect { kind, target };
        all.extend(self.reads.iter().map(|path| effect(EffectKind::FsRead, path.as_str())));
        for item in &self.changes.items {
            let goes = matches!(item.kind, ChangeKind::Delete | ChangeKind::Rmdir);
            let kind = if goes && self.takes_back.is_empty() {
                EffectKind::FsDelete
            } else {
                EffectKind::FsWrite
            };
            let ends =
                [item.from.as_ref(), item.to.as_ref().filter(|to| item.from.as_ref() != Some(*to))];
            all.extend(ends.into_iter().flatten().map(|path| effect(kind, path.as_str())));
        }
        if !self.intended.is_empty() {
            let known: HashSet<_> = all.iter().map(|one| (one.kind, one.target)).collect();
            let wanted = self.intended.iter().map(|(kind, path)| (*kind, path.as_str()));
            let wanted: Vec<_> = wanted.filter(|one| !known.contains(one)).collect();
            all.extend(wanted.into_iter().map(|(kind, path)| effect(kind, path)));
        }
        all.extend(self.hosts.iter().map(|host| effect(EffectKind::Net, host)));
        all.extend(self.programs.iter().map(|program| effect(EffectKind::Process, program)));
        all.extend(self.tools.iter().map(|tool| effect(EffectKind::Mcp, tool)));
        all
    }

    /// Whether nothing but reading happens.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.changes.items.is_empty()
            && self.hosts.is_empty()
            && self.programs.is_empty()
            && self.tools.is_empty()
    }

    /// What an approval binds to: every path with its state before and after, every host, program
    /// and tool.
    #[must_use]
    pub fn to_binding(&self) -> Value {
        let changes: Vec<Value> = self
            .changes
            .items
            .iter()
            .map(|item| json!([item.from, item.to, item.before, item.after]))
            .collect();
        json!({
            "reads": self.reads, "reads_root": self.reads_root, "changes": changes,
            "hosts": self.hosts, "programs": self.programs, "tools": self.tools,
            "executables": self.executables,
            "takes_back": self.takes_back,
        })
    }

    /// What lies beyond a contract's ceiling, if anything.
    #[must_use]
    pub fn beyond(&self, ceiling: &EffectCeiling) -> Option<Beyond> {
        let root = self.reads_root && !ceiling.reads_anything();
        let effect = self.declared().into_iter().find(|effect| !ceiling.admits(*effect));
        match effect {
            Some(effect) => Some(Beyond { kind: effect.kind, target: effect.target.to_owned() }),
            None => root.then(|| Beyond { kind: EffectKind::FsRead, target: ".".to_owned() }),
        }
    }

    /// The digest of [`Effects::to_binding`].
    #[must_use]
    pub fn digest(&self) -> Digest {
        // Strings and numbers: canonical JSON cannot fail on them.
        Digest::of_json(&self.to_binding()).unwrap_or_else(|_| Digest::of(b""))
    }
}

/// An effect that the contract does not declare.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the contract does not declare `{kind}` of `{}`", .target.escape_debug())]
pub struct Beyond {
    kind: EffectKind,
    target: String,
}
