//! From operations to items: what a change set means against what the workspace holds.
//!
//! Operations are read in order, and all of them see the workspace as their author saw it: a
//! `rename` onto a path whose present holder leaves in the same set is fine, so chains and swaps
//! need no temporary names. Nothing is done here; conflicts are collected, not thrown, because
//! the gate must speak first.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use lictor_context::{Digest, WorkspacePath};

use super::items::{ChangeKind, Changes, Conflict, ConflictReason, Content, Item, State};
use super::lines::{MAX_COUNTED, changed_lines};
use super::set::{Body, Change, ChangeSetError, FileMode};
use crate::effects::Violation;
use crate::view::{Entry, EntryKind, ViewError, ViewErrorKind, WorkspaceView};

/// What a change set means here.
#[derive(Debug, Default)]
pub struct Resolved {
    /// The items.
    pub changes: Changes,
    /// Where the workspace holds something else than expected.
    pub conflicts: Vec<Conflict>,
    /// What no policy can allow.
    pub violations: Vec<Violation>,
}

/// Resolving failed: the set contradicts itself, or the workspace could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// The set contradicts itself.
    #[error(transparent)]
    Set(#[from] ChangeSetError),
    /// The workspace could not be read.
    #[error(transparent)]
    View(#[from] ViewError),
}

/// Works out what `changes` mean in the workspace behind `view`.
///
/// # Errors
/// When the set contradicts itself, or the workspace cannot be read. A workspace that holds
/// something else is no error here: it is a conflict in the answer.
pub fn resolve(changes: &[Change], view: &dyn WorkspaceView) -> Result<Resolved, ResolveError> {
    let mut resolver = Resolver::new(changes, view);
    for (index, change) in changes.iter().enumerate() {
        resolver.apply(index, change)?;
    }
    resolver.finish()
}

struct Resolver<'a> {
    view: &'a dyn WorkspaceView,
    /// The operation at which a path's holder leaves: looked up to allow chains and swaps.
    leaves: HashMap<&'a WorkspacePath, usize>,
    items: Vec<Item>,
    /// The old bytes of an item, for counting lines.
    old: Vec<Option<Vec<u8>>>,
    /// Paths that an item has in the new tree.
    here: HashMap<WorkspacePath, usize>,
    /// Paths of the old tree whose holder was touched; what they hold now stands in `here`.
    taken: HashSet<WorkspacePath>,
    /// Paths whose old holder leaves only later, while a new one has moved in already. Until it
    /// leaves, the path names the old one; its item, once it is loaded.
    displaced: HashMap<WorkspacePath, Option<usize>>,
    out: Resolved,
}

/// What was found at a path of the old tree.
struct Found {
    state: State,
    bytes: Option<Vec<u8>>,
}

impl<'a> Resolver<'a> {
    fn new(changes: &'a [Change], view: &'a dyn WorkspaceView) -> Self {
        let leaves = changes.iter().enumerate().filter_map(|(index, change)| match change {
            Change::Delete { path, .. } | Change::Rename { path, .. } | Change::Rmdir { path } => {
                Some((path, index))
            }
            Change::Create { .. }
            | Change::Modify { .. }
            | Change::Chmod { .. }
            | Change::Mkdir { .. }
            | Change::Symlink { .. } => None,
        });
        Self {
            view,
            leaves: leaves.collect(),
            items: Vec::with_capacity(changes.len()),
            old: Vec::with_capacity(changes.len()),
            here: HashMap::with_capacity(changes.len()),
            taken: HashSet::with_capacity(changes.len()),
            displaced: HashMap::new(),
            out: Resolved::default(),
        }
    }

    fn apply(&mut self, index: usize, change: &Change) -> Result<(), ResolveError> {
        match change {
            Change::Create { path, content, mode } => {
                let after = file_state(content, mode.unwrap_or(FileMode::FILE));
                let content = Content::Inline(Arc::clone(content.bytes()));
                self.add(index, path, after, Some(content))
            }
            Change::Mkdir { path, mode } => {
                let mode = mode.unwrap_or(FileMode::DIRECTORY);
                self.add(index, path, State::Directory { mode }, None)
            }
            Change::Symlink { path, target } => {
                if let Some(why) = link_offence(path, target) {
                    self.violate(path, why);
                }
                let after = State::Symlink { digest: Digest::of(target.as_bytes()) };
                self.add(index, path, after, Some(Content::Target(target.clone())))
            }
            Change::Modify { path, before, content, mode } => {
                self.modify(path, *before, content, *mode)
            }
            Change::Chmod { path, before_mode, mode } => self.chmod(path, *before_mode, *mode),
            Change::Delete { path, before } => self.remove(path, Some(*before)),
            Change::Rmdir { path } => self.remove(path, None),
            Change::Rename { path, to, before } => self.rename(index, path, to, *before),
        }
    }

    fn add(
        &mut self,
        index: usize,
        path: &WorkspacePath,
        after: State,
        content: Option<Content>,
    ) -> Result<(), ResolveError> {
        if !self.make_room(index, path)? {
            return Ok(());
        }
        self.push(
            Item {
                kind: ChangeKind::Create,
                from: None,
                to: Some(path.clone()),
                before: None,
                after: Some(after),
                content,
                implicit: false,
            },
            None,
        );
        Ok(())
    }

    fn modify(
        &mut self,
        path: &WorkspacePath,
        before: Digest,
        content: &Body,
        mode: Option<FileMode>,
    ) -> Result<(), ResolveError> {
        let Some(item) = self.source(path)? else { return Ok(()) };
        let Some(State::File { digest, mode: old_mode, .. }) = self.after(item) else {
            self.conflict(path, ConflictReason::KindDiffers);
            return self.check_link(path);
        };
        if digest != before {
            self.differs(path, ConflictReason::ContentDiffers, before, digest);
            return Ok(());
        }
        if let Some(item) = self.items.get_mut(item) {
            item.after = Some(file_state(content, mode.unwrap_or(old_mode)));
            item.content = Some(Content::Inline(Arc::clone(content.bytes())));
        }
        Ok(())
    }

    fn chmod(
        &mut self,
        path: &WorkspacePath,
        before: FileMode,
        mode: FileMode,
    ) -> Result<(), ResolveError> {
        let Some(item) = self.source(path)? else { return Ok(()) };
        // Where the file is in the old tree: it may have been renamed before.
        let origin = self.items.get(item).and_then(|item| item.from.clone());
        if let Some(origin) = origin
            && self.entry(&origin)?.is_some_and(|old| old.kind == EntryKind::File && old.links > 1)
        {
            // The bits belong to the file, not to its name: another name, perhaps outside, would
            // change with it.
            self.violate(
                path,
                "the file has several names (hard links), and a mode change would reach all of them",
            );
        }
        let after = self.after(item);
        let Some(found) = after.as_ref().and_then(State::mode) else {
            self.conflict(path, ConflictReason::KindDiffers);
            return self.check_link(path);
        };
        if found != before {
            self.differs(path, ConflictReason::ModeDiffers, before, found);
            return Ok(());
        }
        if let Some(item) = self.items.get_mut(item) {
            item.after = match item.after {
                Some(State::File { digest, bytes, .. }) => {
                    Some(State::File { digest, mode, bytes })
                }
                Some(State::Directory { .. }) => Some(State::Directory { mode }),
                other => other,
            };
        }
        Ok(())
    }

    /// A delete (`before` given) or an rmdir.
    fn remove(&mut self, path: &WorkspacePath, before: Option<Digest>) -> Result<(), ResolveError> {
        let Some(item) = self.source(path)? else { return Ok(()) };
        let fits = match (self.after(item), before) {
            (Some(State::Directory { .. }), None) => true,
            (Some(state), Some(before)) => match state.digest() {
                Some(digest) if digest == before => true,
                Some(digest) => {
                    let reason = ConflictReason::ContentDiffers;
                    self.differs(path, reason, before, digest);
                    return Ok(());
                }
                None => false,
            },
            _ => false,
        };
        if !fits {
            self.conflict(path, ConflictReason::KindDiffers);
            return self.check_link(path);
        }
        self.depart(path, item);
        if let Some(item) = self.items.get_mut(item) {
            item.to = None;
            item.after = None;
            item.content = None;
        }
        Ok(())
    }

    fn rename(
        &mut self,
        index: usize,
        path: &WorkspacePath,
        to: &WorkspacePath,
        before: Digest,
    ) -> Result<(), ResolveError> {
        let Some(item) = self.source(path)? else { return Ok(()) };
        let seen = self.items.get(item).and_then(|item| item.before).and_then(|old| old.digest());
        match self.after(item).and_then(|state| state.digest()) {
            // An edit before the rename: the author may name what was there before either.
            Some(digest) if digest == before || seen == Some(before) => {}
            Some(digest) => {
                let reason = ConflictReason::ContentDiffers;
                self.differs(path, reason, before, digest);
                return Ok(());
            }
            None => {
                return Err(invalid(
                    index,
                    format!("`{path}` is a directory; rename the files in it one by one"),
                ));
            }
        }
        self.depart(path, item);
        if !self.make_room(index, to)? {
            return Ok(());
        }
        self.here.insert(to.clone(), item);
        if let Some(item) = self.items.get_mut(item) {
            item.to = Some(to.clone());
        }
        Ok(())
    }

    /// Whether `path` is free for a new holder, now or by the end of the set.
    fn make_room(&mut self, index: usize, path: &WorkspacePath) -> Result<bool, ResolveError> {
        let leaves_later = self.leaves.get(path).is_some_and(|later| *later > index);
        if let Some(item) = self.here.get(path).copied() {
            let origin = self.items.get(item).and_then(|item| item.from.as_ref());
            if origin == Some(path) && leaves_later {
                self.here.remove(path);
                self.displaced.insert(path.clone(), Some(item));
                return Ok(true);
            }
            // What was to leave the path by then may be another thing now, and stays: that is a
            // conflict already, and no contradiction of the set.
            if self.out.conflicts.iter().any(|conflict| conflict.path == path.as_str()) {
                return Ok(false);
            }
            return Err(invalid(index, format!("two operations put something at `{path}`")));
        }
        if self.taken.contains(path) || self.entry(path)?.is_none() {
            return Ok(true);
        }
        if leaves_later {
            self.displaced.insert(path.clone(), None);
            return Ok(true);
        }
        self.conflict(path, ConflictReason::Exists);
        self.check_link(path)?;
        Ok(false)
    }

    /// The item that `path` names at this point; loads it from the old tree when it is the first
    /// operation that does.
    fn source(&mut self, path: &WorkspacePath) -> Result<Option<usize>, ResolveError> {
        match self.displaced.get(path) {
            Some(Some(item)) => return Ok(Some(*item)),
            Some(None) => {}
            None => {
                if let Some(item) = self.here.get(path) {
                    return Ok(Some(*item));
                }
                if self.taken.contains(path) {
                    self.conflict(path, ConflictReason::Missing);
                    return Ok(None);
                }
            }
        }
        let Some(found) = self.load(path)? else { return Ok(None) };
        self.taken.insert(path.clone());
        let item = Item {
            kind: ChangeKind::Modify,
            from: Some(path.clone()),
            to: Some(path.clone()),
            before: Some(found.state),
            after: Some(found.state),
            content: None,
            implicit: false,
        };
        let item = self.push(item, found.bytes);
        if let Some(displaced) = self.displaced.get_mut(path) {
            *displaced = Some(item);
        }
        Ok(Some(item))
    }

    /// The holder of a path leaves it: the displaced one first.
    fn depart(&mut self, path: &WorkspacePath, item: usize) {
        if self.displaced.remove(path).is_none() && self.here.get(path) == Some(&item) {
            self.here.remove(path);
        }
    }

    fn push(&mut self, item: Item, old: Option<Vec<u8>>) -> usize {
        let index = self.items.len();
        if let Some(to) = &item.to
            && !self.here.contains_key(to)
        {
            self.here.insert(to.clone(), index);
        }
        self.items.push(item);
        self.old.push(old);
        index
    }

    fn load(&mut self, path: &WorkspacePath) -> Result<Option<Found>, ResolveError> {
        let Some(entry) = self.entry(path)? else {
            self.conflict(path, ConflictReason::Missing);
            return Ok(None);
        };
        let mode = FileMode::from_bits(entry.mode);
        Ok(Some(match entry.kind {
            EntryKind::Directory => Found { state: State::Directory { mode }, bytes: None },
            EntryKind::Symlink => {
                Found { state: State::Symlink { digest: self.view.digest(path)? }, bytes: None }
            }
            EntryKind::File if entry.size <= MAX_COUNTED => {
                let bytes = self.view.read(path, MAX_COUNTED)?;
                let state =
                    State::File { digest: Digest::of(&bytes), mode, bytes: bytes.len() as u64 };
                Found { state, bytes: Some(bytes) }
            }
            EntryKind::File => Found {
                state: State::File { digest: self.view.digest(path)?, mode, bytes: entry.size },
                bytes: None,
            },
            EntryKind::Special => {
                self.violate(path, "it is a FIFO, a socket or a device");
                return Ok(None);
            }
        }))
    }

    /// Looks at a path; what lies behind a symbolic link becomes a violation and counts as absent.
    fn entry(&mut self, path: &WorkspacePath) -> Result<Option<Entry>, ResolveError> {
        match self.view.entry(path) {
            Ok(entry) => Ok(entry),
            Err(error) => match error.kind() {
                ViewErrorKind::ThroughSymlink { .. } => {
                    self.violate(path, error.kind().to_string());
                    Ok(None)
                }
                // The parent may be on its way out of the tree; `parents` looks at that.
                ViewErrorKind::NotADirectory => Ok(None),
                _ => Err(error.into()),
            },
        }
    }

    fn after(&self, item: usize) -> Option<State> {
        self.items.get(item).and_then(|item| item.after)
    }

    /// What stands in the way may be a link, and one that leads outside is not only a conflict:
    /// whoever names it wants to write there.
    fn check_link(&mut self, path: &WorkspacePath) -> Result<(), ResolveError> {
        let Some(entry) = self.entry(path)? else { return Ok(()) };
        if entry.kind == EntryKind::Symlink
            && let Some(why) = link_offence(path, &self.view.read_link(path)?)
        {
            self.violate(path, format!("it is a symbolic link; {why}"));
        }
        Ok(())
    }

    /// Something leads outside, or could.
    fn violate(&mut self, path: &WorkspacePath, why: impl Into<String>) {
        let violation = Violation::new(path.as_str(), "inside_workspace", why);
        if !self.out.violations.contains(&violation) {
            self.out.violations.push(violation);
        }
    }

    fn conflict(&mut self, path: &WorkspacePath, reason: ConflictReason) {
        let path = path.to_string();
        self.out.conflicts.push(Conflict {
            path,
            reason,
            expected: None,
            found: None,
            restores: None,
        });
    }

    fn differs(
        &mut self,
        path: &WorkspacePath,
        reason: ConflictReason,
        expected: impl ToString,
        found: impl ToString,
    ) {
        self.out.conflicts.push(Conflict {
            path: path.to_string(),
            reason,
            expected: Some(expected.to_string()),
            found: Some(found.to_string()),
            restores: None,
        });
    }

    fn finish(mut self) -> Result<Resolved, ResolveError> {
        self.check_emptied()?;
        let parents = self.parents()?;
        let mut changes = Changes::default();
        for (mut item, old) in
            std::mem::take(&mut self.items).into_iter().zip(std::mem::take(&mut self.old))
        {
            let Some(kind) = item.final_kind() else { continue };
            item.kind = kind;
            changes.lines += changed_lines(&item, old.as_deref());
            if let Some(Content::Inline(bytes)) = &item.content {
                changes.bytes += bytes.len() as u64;
            }
            changes.items.push(item);
        }
        changes.items.splice(0..0, parents);
        self.out.changes = changes;
        Ok(self.out)
    }

    /// A directory that goes must be empty by then.
    fn check_emptied(&mut self) -> Result<(), ResolveError> {
        let gone: Vec<WorkspacePath> = self
            .items
            .iter()
            .filter(|item| item.to.is_none())
            .filter(|item| matches!(item.before, Some(State::Directory { .. })))
            .filter_map(|item| item.from.clone())
            .collect();
        for dir in gone {
            let stays = self.view.list(Some(&dir))?.into_iter().any(|child| {
                dir.join(&child.name).map_or(true, |path| !self.taken.contains(&path))
            });
            // What moves in is fine when the directory is made anew by then.
            let remade = self
                .here
                .get(&dir)
                .is_some_and(|item| matches!(self.after(*item), Some(State::Directory { .. })));
            let inside = |path: &WorkspacePath| path != &dir && path.is_within(&dir);
            let filled = self.items.iter().any(|item| {
                item.to.as_ref().is_some_and(inside) && (!remade || item.from == item.to)
            });
            if stays || filled {
                self.conflict(&dir, ConflictReason::NotEmpty);
            }
        }
        Ok(())
    }

    /// The directories that new names need and that nobody asked for, from the root down.
    fn parents(&mut self) -> Result<Vec<Item>, ResolveError> {
        let mut known: HashSet<WorkspacePath> = HashSet::new();
        let mut missing: Vec<WorkspacePath> = Vec::new();
        let new: Vec<WorkspacePath> = self
            .items
            .iter()
            .filter(|item| item.from != item.to)
            .filter_map(|item| item.to.clone())
            .collect();
        for path in new {
            for dir in path.ancestors() {
                if !known.insert(dir.clone()) {
                    break;
                }
                if let Some(item) = self.here.get(&dir) {
                    if !matches!(self.after(*item), Some(State::Directory { .. })) {
                        self.conflict(&path, ConflictReason::ParentNotADirectory);
                    }
                    break;
                }
                let entry = if self.taken.contains(&dir) { None } else { self.entry(&dir)? };
                match entry.map(|entry| entry.kind) {
                    None => missing.push(dir),
                    Some(EntryKind::Directory) => break,
                    Some(EntryKind::Symlink) => {
                        let link = dir.to_string();
                        let why = ViewErrorKind::ThroughSymlink { at: link }.to_string();
                        self.violate(&path, why);
                        break;
                    }
                    Some(EntryKind::File | EntryKind::Special) => {
                        self.conflict(&path, ConflictReason::ParentNotADirectory);
                        break;
                    }
                }
            }
        }
        missing.sort();
        Ok(missing
            .into_iter()
            .map(|dir| Item {
                kind: ChangeKind::Mkdir,
                from: None,
                to: Some(dir),
                before: None,
                after: Some(State::Directory { mode: FileMode::DIRECTORY }),
                content: None,
                implicit: true,
            })
            .collect())
    }
}

fn invalid(index: usize, problem: String) -> ResolveError {
    ResolveError::Set(ChangeSetError::Operation { index, problem })
}

fn file_state(content: &Body, mode: FileMode) -> State {
    let bytes = content.bytes();
    State::File { digest: Digest::of(bytes), mode, bytes: bytes.len() as u64 }
}

/// Why a link's target is not accepted: it may only say where to go inside the workspace.
fn link_offence(path: &WorkspacePath, target: &str) -> Option<&'static str> {
    if target.is_empty() || target.chars().any(char::is_control) {
        return Some("the link's target is empty or holds control characters");
    }
    if target.starts_with('/') {
        return Some("the link's target is absolute, and so leads outside of the workspace");
    }
    let mut depth = path.ancestors().count();
    for segment in target.split('/') {
        match segment {
            "" | "." => {}
            ".." if depth == 0 => {
                return Some("the link's target leads outside of the workspace");
            }
            ".." => depth -= 1,
            _ => depth += 1,
        }
    }
    None
}
