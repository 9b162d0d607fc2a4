//! Unified diffs: read strictly, matched exactly, turned into the changes of a change set.

mod apply; // what a workspace makes of the diff
mod changes;
mod file; // one file's part: headers and names
mod hunk;
mod lines;
mod name;
mod scan; // from prose to parts

use std::collections::HashMap;
use std::fmt;

use lictor_context::WorkspacePath;
use lictor_document::{DocumentError, Limits, Source};

use crate::change::{Change, Conflict};
use crate::view::{ViewError, WorkspaceView};
use file::{FilePatch, Op};
use lines::Fault;

/// A unified diff, as `git diff`, `git format-patch` and `diff -u` write it.
#[derive(Clone)]
pub struct UnifiedDiff {
    name: String,
    text: Vec<u8>,
    patches: Vec<FilePatch>,
}

impl UnifiedDiff {
    /// Reads a diff. Prose around it is skipped; anything that could be a change and is not
    /// understood is refused, never skipped.
    ///
    /// # Errors
    /// When the text holds no unified diff, one that is broken or cut off, or something that a
    /// change set cannot express: binary patches, submodules, combined diffs.
    pub fn parse(source: &Source<'_>, limits: &Limits) -> Result<Self, DocumentError> {
        let n_bytes = u64::try_from(source.bytes.len()).unwrap_or(u64::MAX);
        if n_bytes > limits.max_bytes {
            let message = format!(
                "the diff holds {n_bytes} bytes; accepted here: at most {}",
                limits.max_bytes
            );
            return Err(DocumentError::at(source.name, 1, 1, message));
        }
        let patches = scan::patches(source.bytes)
            .and_then(|patches| refuse_repeated(&patches).map(|()| patches))
            .map_err(|fault| fault.into_error(source))?;
        Ok(Self { name: source.name.to_owned(), text: source.bytes.to_vec(), patches })
    }

    /// The changes that the diff means in the workspace behind `view`. Every hunk must fit at the
    /// very lines that it states; then `before` is the digest of what the workspace holds.
    ///
    /// # Errors
    /// When the workspace holds something else than the diff says, or cannot be read.
    pub fn into_changes(self, view: &dyn WorkspaceView) -> Result<Vec<Change>, DiffError> {
        changes::changes(&self.patches, &self.text, view).map_err(|(line, kind)| DiffError {
            file: self.name,
            line,
            kind: Box::new(kind),
        })
    }

    /// Every path that it speaks about, the old and the new one of a rename.
    #[must_use]
    pub fn paths(&self) -> Vec<&WorkspacePath> {
        fn ends(op: &Op) -> (&WorkspacePath, Option<&WorkspacePath>) {
            match op {
                Op::Create(path) | Op::Delete(path) | Op::Modify(path) => (path, None),
                Op::Rename { from, to } | Op::Copy { from, to } => (from, Some(to)),
            }
        }
        let pairs = self.patches.iter().map(|patch| ends(&patch.op));
        pairs.flat_map(|(path, other)| std::iter::once(path).chain(other)).collect()
    }

    /// How many files it speaks about.
    #[must_use]
    pub fn count(&self) -> usize {
        self.patches.len()
    }
}

impl fmt::Debug for UnifiedDiff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnifiedDiff")
            .field("name", &self.name)
            .field("files", &self.patches.len())
            .finish_non_exhaustive()
    }
}

/// A diff does not become changes in this workspace.
#[derive(Debug, thiserror::Error)]
#[error("{file}:{line}: {kind}")]
pub struct DiffError {
    file: String,
    line: u32,
    kind: Box<DiffErrorKind>,
}

impl DiffError {
    /// Why not.
    #[must_use]
    pub fn kind(&self) -> &DiffErrorKind {
        &self.kind
    }

    /// The name of the diff.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The line of the diff that does not fit, from 1.
    #[must_use]
    pub fn line(&self) -> u32 {
        self.line
    }
}

/// Why a diff does not become changes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiffErrorKind {
    /// The workspace holds something else than the diff says. Of a hunk that does not fit,
    /// `expected` and `found` name the line.
    #[error("{0}")]
    Conflict(Conflict),
    /// The outcome is nothing that a change set can hold.
    #[error("`{path}`: {problem}")]
    Unsupported {
        /// Which file.
        path: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The workspace could not be read.
    #[error(transparent)]
    View(#[from] ViewError),
}

/// A path has one past and one future; only a deletion and a new file may share a name.
fn refuse_repeated(patches: &[FilePatch]) -> Result<(), Fault> {
    let mut past: HashMap<&WorkspacePath, u32> = HashMap::with_capacity(patches.len());
    let mut future: HashMap<&WorkspacePath, u32> = HashMap::with_capacity(patches.len());
    for patch in patches {
        let (old, new) = match &patch.op {
            Op::Create(path) | Op::Copy { to: path, .. } => (None, Some(path)),
            Op::Delete(path) => (Some(path), None),
            Op::Modify(path) => (Some(path), Some(path)),
            Op::Rename { from, to } => (Some(from), Some(to)),
        };
        let first = old
            .and_then(|path| past.insert(path, patch.line).map(|line| (path, line)))
            .or(new.and_then(|path| future.insert(path, patch.line).map(|line| (path, line))));
        if let Some((path, line)) = first {
            let message = format!(
                "`{path}` appears twice; it stands already on line {line}; accepted here: each file once"
            );
            return Err(Fault::new(patch.line, message));
        }
    }
    Ok(())
}
