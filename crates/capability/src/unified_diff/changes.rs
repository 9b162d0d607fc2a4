//! From the parts of a diff to changes, against what the workspace holds.

use std::collections::HashSet;

use lictor_context::{Digest, WorkspacePath};

use super::DiffErrorKind as Kind;
use super::apply::apply;
use super::file::{FilePatch, Op};
use crate::change::{Body, Change, Conflict, ConflictReason, FileMode};
use crate::view::{EntryKind, ViewError, ViewErrorKind, WorkspaceView};

/// The largest file that hunks are held against, in bytes.
const MAX_FILE: u64 = 64 << 20;
/// Set-user-id, set-group-id and sticky; a change set does not hold them.
const SPECIAL_BITS: u32 = 0o7000;

type Failure = (u32, Kind);

/// The changes that the patches mean.
pub(super) fn changes(
    patches: &[FilePatch],
    text: &[u8],
    view: &dyn WorkspaceView,
) -> Result<Vec<Change>, Failure> {
    let mut converter =
        Converter { text, view, changes: Vec::with_capacity(patches.len()), edits: Vec::new() };
    for patch in patches {
        converter.convert(patch)?;
    }
    let Converter { changes, edits, .. } = converter;
    let mut all = emptied_directories(patches, view)?;
    all.extend(changes);
    all.extend(edits);
    Ok(all)
}

struct Converter<'a> {
    text: &'a [u8],
    view: &'a dyn WorkspaceView,
    changes: Vec<Change>,
    /// What is done to renamed files under their new names. It comes last: only then does every
    /// new name stand for what will be there.
    edits: Vec<Change>,
}

/// What stands at a path.
struct Found {
    mode: u32,
    is_link: bool,
}

impl Converter<'_> {
    fn convert(&mut self, patch: &FilePatch) -> Result<(), Failure> {
        match &patch.op {
            Op::Create(path) => {
                let content = self.applied(patch, path, &[])?;
                let mode = patch.new_executable.then_some(FileMode::from_bits(0o755));
                self.create(patch, path, content, patch.is_link == Some(true), mode)
            }
            Op::Delete(path) => self.delete(patch, path),
            Op::Modify(path) => self.modify(patch, path),
            Op::Rename { from, to } => self.rename(patch, from, to),
            Op::Copy { from, to } => {
                let found = self.find(patch, from)?;
                let content = self.applied(patch, from, &self.content(patch, from, &found)?)?;
                // A copy is no more readable than what it was made from.
                let mode =
                    patch.executable.map_or(found.mode, |(_, new)| with_bit(found.mode, new));
                let mode = FileMode::from_bits(mode & 0o777);
                self.create(patch, to, content, found.is_link, Some(mode))
            }
        }
    }

    fn create(
        &mut self,
        patch: &FilePatch,
        path: &WorkspacePath,
        content: Vec<u8>,
        is_link: bool,
        mode: Option<FileMode>,
    ) -> Result<(), Failure> {
        self.changes.push(if is_link {
            Change::Symlink { path: path.clone(), target: target(patch, path, content)? }
        } else {
            let mode = mode.filter(|mode| *mode != FileMode::FILE);
            Change::Create { path: path.clone(), content: Body::new(content), mode }
        });
        Ok(())
    }

    fn delete(&mut self, patch: &FilePatch, path: &WorkspacePath) -> Result<(), Failure> {
        let found = self.find(patch, path)?;
        let old = self.content(patch, path, &found)?;
        if !self.applied(patch, path, &old)?.is_empty() {
            let expected = Some("no lines but those of the diff".to_owned());
            return Err(conflict(patch.line, path, ConflictReason::ContentDiffers, expected, None));
        }
        self.changes.push(Change::Delete { path: path.clone(), before: Digest::of(&old) });
        Ok(())
    }

    fn modify(&mut self, patch: &FilePatch, path: &WorkspacePath) -> Result<(), Failure> {
        let found = self.find(patch, path)?;
        let path = path.clone();
        if !patch.hunks.is_empty() {
            let old = self.content(patch, &path, &found)?;
            let content = self.applied(patch, &path, &old)?;
            let (before, path) = (Digest::of(&old), path.clone());
            if found.is_link {
                let target = target(patch, &path, content)?;
                self.changes.push(Change::Delete { path: path.clone(), before });
                self.changes.push(Change::Symlink { path, target });
            } else {
                let content = Body::new(content);
                self.changes.push(Change::Modify { path, before, content, mode: None });
            }
        }
        self.changes.extend(chmod(patch, path, &found));
        Ok(())
    }

    fn rename(
        &mut self,
        patch: &FilePatch,
        from: &WorkspacePath,
        to: &WorkspacePath,
    ) -> Result<(), Failure> {
        let found = self.find(patch, from)?;
        let (path, new) = (from.clone(), to.clone());
        if patch.hunks.is_empty() {
            let before = self.view.digest(from).map_err(|error| (patch.line, error.into()))?;
            self.changes.push(Change::Rename { path, to: new, before });
        } else {
            let old = self.content(patch, from, &found)?;
            let content = self.applied(patch, from, &old)?;
            let before = Digest::of(&old);
            if found.is_link {
                self.changes.push(Change::Delete { path, before });
                return self.create(patch, to, content, true, None);
            }
            self.changes.push(Change::Rename { path, to: new.clone(), before });
            let content = Body::new(content);
            self.edits.push(Change::Modify { path: new, before, content, mode: None });
        }
        self.edits.extend(chmod(patch, to.clone(), &found));
        Ok(())
    }

    /// What stands at the old path; it must be the kind of thing that the diff says.
    fn find(&self, patch: &FilePatch, path: &WorkspacePath) -> Result<Found, Failure> {
        let missing = || conflict(patch.line, path, ConflictReason::Missing, None, None);
        let entry = match self.view.entry(path) {
            Ok(entry) => entry.ok_or_else(missing)?,
            Err(error) if matches!(error.kind(), ViewErrorKind::NotADirectory) => {
                return Err(missing());
            }
            Err(error) => return Err((patch.line, error.into())),
        };
        // A plain diff, and one without modes, speaks of files.
        let wants_link = patch.is_link.unwrap_or(false)
            || (patch.is_link.is_none()
                && patch.hunks.is_empty()
                && !matches!(patch.op, Op::Delete(_)));
        let is_link = match entry.kind {
            EntryKind::File if patch.is_link != Some(true) => false,
            EntryKind::Symlink if wants_link => true,
            kind => {
                let wanted = if patch.is_link == Some(true) { "a symbolic link" } else { "a file" };
                let reason = ConflictReason::KindDiffers;
                let found = Some(named(kind).to_owned());
                return Err(conflict(patch.line, path, reason, Some(wanted.to_owned()), found));
            }
        };
        if let Some((was, _)) = patch.executable {
            if entry.mode & SPECIAL_BITS != 0 {
                let problem =
                    "its mode has set-id or sticky bits, and a change set does not hold them";
                return Err((patch.line, Kind::Unsupported { path: path.to_string(), problem }));
            }
            if was != (entry.mode & 0o100 != 0) {
                let expected = if was { "an executable file" } else { "a file not executable" };
                let found = FileMode::from_bits(entry.mode).to_string();
                let (expected, found) = (Some(expected.to_owned()), Some(found));
                let reason = ConflictReason::ModeDiffers;
                return Err(conflict(patch.line, path, reason, expected, found));
            }
        }
        Ok(Found { mode: entry.mode, is_link })
    }

    fn content(
        &self,
        patch: &FilePatch,
        path: &WorkspacePath,
        found: &Found,
    ) -> Result<Vec<u8>, Failure> {
        let content = if found.is_link {
            self.view.read_link(path).map(String::into_bytes)
        } else {
            self.view.read(path, MAX_FILE)
        };
        content.map_err(|error| (patch.line, error.into()))
    }

    fn applied(
        &self,
        patch: &FilePatch,
        path: &WorkspacePath,
        old: &[u8],
    ) -> Result<Vec<u8>, Failure> {
        apply(&patch.hunks, self.text, old).map_err(|mismatch| {
            let (expected, found) = (Some(mismatch.expected), Some(mismatch.found));
            conflict(mismatch.line, path, ConflictReason::ContentDiffers, expected, found)
        })
    }
}

/// The mode change: git knows one bit, and the file's other bits stay as they are.
fn chmod(patch: &FilePatch, path: WorkspacePath, found: &Found) -> Option<Change> {
    let (_, executable) = patch.executable?;
    let before_mode = FileMode::from_bits(found.mode);
    let mode = FileMode::from_bits(with_bit(found.mode, executable));
    Some(Change::Chmod { path, before_mode, mode })
}

/// Whoever may read may execute, or nobody may.
fn with_bit(mode: u32, executable: bool) -> u32 {
    if executable { mode | 0o100 | (mode & 0o444) >> 2 } else { mode & !0o111 }
}

fn target(patch: &FilePatch, path: &WorkspacePath, content: Vec<u8>) -> Result<String, Failure> {
    String::from_utf8(content).map_err(|_| {
        let problem = "the target of the symbolic link is not UTF-8";
        (patch.line, Kind::Unsupported { path: path.to_string(), problem })
    })
}

fn named(kind: EntryKind) -> &'static str {
    match kind {
        EntryKind::File => "a file",
        EntryKind::Directory => "a directory",
        EntryKind::Symlink => "a symbolic link",
        EntryKind::Special => "a FIFO, a socket or a device",
    }
}

fn conflict(
    line: u32,
    path: &WorkspacePath,
    reason: ConflictReason,
    expected: Option<String>,
    found: Option<String>,
) -> Failure {
    (
        line,
        Kind::Conflict(Conflict {
            path: path.to_string(),
            reason,
            expected,
            found,
            restores: None,
        }),
    )
}

/// Diffs do not speak of directories. One that stands where a new file will be goes with the last
/// file in it; others stay, empty or not.
fn emptied_directories(
    patches: &[FilePatch],
    view: &dyn WorkspaceView,
) -> Result<Vec<Change>, Failure> {
    let leaving: HashSet<&WorkspacePath> = patches
        .iter()
        .filter_map(|patch| match &patch.op {
            Op::Delete(path) | Op::Rename { from: path, .. } => Some(path),
            Op::Create(_) | Op::Modify(_) | Op::Copy { .. } => None,
        })
        .collect();
    let parents: HashSet<WorkspacePath> =
        leaving.iter().flat_map(|path| path.ancestors()).collect();
    let mut all = Vec::new();
    for patch in patches {
        let (Op::Create(path) | Op::Rename { to: path, .. } | Op::Copy { to: path, .. }) =
            &patch.op
        else {
            continue;
        };
        let mut dirs = Vec::new();
        if parents.contains(path)
            && empties(view, path, &leaving, &parents, &mut dirs)
                .map_err(|error| (patch.line, error.into()))?
        {
            all.extend(dirs.into_iter().map(|path| Change::Rmdir { path }));
        }
    }
    Ok(all)
}

/// Whether everything in a directory leaves; the directories in it, the deepest first.
fn empties(
    view: &dyn WorkspaceView,
    dir: &WorkspacePath,
    leaving: &HashSet<&WorkspacePath>,
    parents: &HashSet<WorkspacePath>,
    dirs: &mut Vec<WorkspacePath>,
) -> Result<bool, ViewError> {
    for child in view.list(Some(dir))? {
        let Ok(path) = dir.join(&child.name) else { return Ok(false) };
        let goes = match child.kind {
            EntryKind::Directory => {
                parents.contains(&path) && empties(view, &path, leaving, parents, dirs)?
            }
            EntryKind::File | EntryKind::Symlink | EntryKind::Special => leaving.contains(&path),
        };
        if !goes {
            return Ok(false);
        }
    }
    dirs.push(dir.clone());
    Ok(true)
}
