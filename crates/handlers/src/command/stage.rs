//! The copy that a command runs in: made of what its action reads, and compared with what was put
//! there when the command has ended.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};

use lictor_capability::{
    Body, Change, Effect, EffectCeiling, EffectKind, EntryKind, FileMode, ViewError, ViewErrorKind,
    WorkspaceView,
};
use lictor_context::{Digest, WorkspacePath};
use lictor_executor::HandlerError;

/// The most that is copied in, and the most that is taken over, in bytes.
const MAX_BYTES: u64 = 256 << 20;
/// The most of one file that is copied in, in bytes.
const MAX_FILE: u64 = 64 << 20;
/// The most that is taken over, in bytes: what a change set may hold.
const MAX_CHANGED: u64 = 64 << 20;
/// The most things that are copied in, or looked at afterwards.
const MAX_THINGS: usize = 50_000;

/// What was put somewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Stood {
    File {
        digest: Digest,
        mode: u32,
    },
    /// With its mode, where that is known: a folder on the way to something was not asked for.
    Directory {
        mode: Option<u32>,
    },
    Symlink {
        target: String,
    },
}

/// A folder of its own, with the copy in `work`. It goes with this.
#[derive(Debug)]
pub struct Stage {
    folder: PathBuf,
    /// Held for as long as the folder is in use: whoever finds one that is not takes it away.
    _sign: File,
    put: BTreeMap<String, Stood>,
    bytes: u64,
}

fn failed(what: &Path, error: &std::io::Error) -> HandlerError {
    HandlerError::failed(format!("the staging copy: `{}`: {error}", what.display()))
}

impl Stage {
    /// An empty one in a folder.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new(scratch: &Path, name: &str) -> Result<Self, HandlerError> {
        let folder = scratch.join(name);
        let dir = |mode: u32, path: &Path| {
            let made = DirBuilder::new().recursive(true).mode(mode).create(path);
            made.map_err(|error| failed(path, &error))
        };
        dir(0o700, scratch)?;
        let at = scratch.join(format!("{name}.lock"));
        let sign = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&at);
        let sign = sign.map_err(|error| failed(&at, &error))?;
        sign.try_lock().map_err(|error| failed(&at, &std::io::Error::other(error)))?;
        dir(0o700, &folder)?;
        dir(0o755, &folder.join("work"))?;
        Ok(Self { folder, _sign: sign, put: BTreeMap::new(), bytes: 0 })
    }

    /// The folder.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether a folder of that path was put there, and no link.
    pub(super) fn holds_folder(&self, path: &str) -> bool {
        matches!(self.put.get(path), Some(Stood::Directory { .. }))
    }

    /// The copy.
    #[must_use]
    pub fn work(&self) -> PathBuf {
        self.folder.join("work")
    }

    /// Takes away what the copy holds. The folder itself stays: somebody may stand in it.
    ///
    /// # Errors
    /// When something of it cannot be taken away.
    pub fn clear(&mut self) -> Result<(), HandlerError> {
        let work = self.work();
        let entries = open_folder(&work).map_err(|error| failed(&work, &error))?;
        for entry in entries {
            remove(&entry.map_err(|error| failed(&work, &error))?.path());
        }
        let left = open_folder(&work).map_err(|error| failed(&work, &error))?.next().is_some();
        if left {
            return Err(HandlerError::failed("not all of the staging copy could be taken away"));
        }
        self.put.clear();
        self.bytes = 0;
        Ok(())
    }

    /// Copies what a path holds, as far as the contract reads it and no policy hides it.
    ///
    /// # Errors
    /// When it cannot be read, or is too much.
    pub fn copy_in(
        &mut self,
        asked_for: &WorkspacePath,
        view: &dyn WorkspaceView,
        most: &EffectCeiling,
    ) -> Result<(), HandlerError> {
        for parent in parents(asked_for) {
            self.put.entry(parent).or_insert(Stood::Directory { mode: None });
        }
        let work = self.work();
        if let Some(parent) = asked_for.parent() {
            let at = work.join(parent.as_str());
            std::fs::create_dir_all(&at).map_err(|error| failed(&at, &error))?;
        }
        let mut waiting = vec![asked_for.clone()];
        while let Some(path) = waiting.pop() {
            let asked = path == *asked_for;
            if self.put.len() > MAX_THINGS {
                return Err(too_much("things"));
            }
            if !most.admits(Effect { kind: EffectKind::FsRead, target: path.as_str() }) {
                continue;
            }
            match self.copy_one(&path, view) {
                Ok(children) => waiting.extend(children),
                Err(Refused::Hidden(error)) if asked => return Err(error.into()),
                Err(Refused::Hidden(_)) => {}
                Err(Refused::Failed(error)) => return Err(error),
            }
        }
        Ok(())
    }

    fn copy_one(
        &mut self,
        path: &WorkspacePath,
        view: &dyn WorkspaceView,
    ) -> Result<Vec<WorkspacePath>, Refused> {
        let Some(entry) = view.entry(path)? else {
            return Err(ViewError::new(path.as_str(), ViewErrorKind::NotFound).into());
        };
        let at = self.work().join(path.as_str());
        let fail = |error: std::io::Error| Refused::Failed(failed(&at, &error));
        let mode = entry.mode & 0o777;
        let (stood, children) = match entry.kind {
            EntryKind::Special => return Ok(Vec::new()),
            EntryKind::Directory => {
                let listed = view.list(Some(path))?;
                std::fs::create_dir_all(&at).map_err(fail)?;
                let child = |name: &str| WorkspacePath::parse(&format!("{path}/{name}")).ok();
                let children = listed.iter().filter_map(|one| child(&one.name)).collect();
                (Stood::Directory { mode: Some(mode) }, children)
            }
            EntryKind::Symlink => {
                let target = view.read_link(path)?;
                match std::os::unix::fs::symlink(&target, &at) {
                    Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                        return Err(fail(error));
                    }
                    Err(_) | Ok(()) => (Stood::Symlink { target }, Vec::new()),
                }
            }
            EntryKind::File => {
                let bytes = view.read(path, MAX_FILE)?;
                self.bytes = self.bytes.saturating_add(bytes.len() as u64);
                if self.bytes > MAX_BYTES {
                    return Err(Refused::Failed(too_much("bytes")));
                }
                let opened = OpenOptions::new().write(true).create(true).truncate(true).open(&at);
                opened.and_then(|mut file| file.write_all(&bytes)).map_err(fail)?;
                (Stood::File { digest: Digest::of(&bytes), mode }, Vec::new())
            }
        };
        if !matches!(stood, Stood::Symlink { .. }) {
            let folder = matches!(stood, Stood::Directory { .. });
            let mode = if folder { entered(mode) } else { mode };
            std::fs::set_permissions(&at, Permissions::from_mode(mode)).map_err(fail)?;
        }
        self.put.insert(path.as_str().to_owned(), stood);
        Ok(children)
    }

    /// Gives all of it to another user.
    pub(super) fn give_to(&self, user: u32, group: u32) -> Result<(), HandlerError> {
        let give = |at: &Path| {
            std::os::unix::fs::lchown(at, Some(user), Some(group))
                .map_err(|error| failed(at, &error))
        };
        give(&self.folder)?;
        give(&self.work())?;
        for path in self.put.keys() {
            give(&self.work().join(path))?;
        }
        Ok(())
    }

    /// What is different now, as changes. Nobody works in there any more.
    ///
    /// # Errors
    /// When something of it cannot be a change.
    pub fn changes(&self) -> Result<Vec<Change>, HandlerError> {
        let found = Found::walk(&self.work())?;
        let mut changes = Vec::new();
        // What goes, goes first, the deepest of it before the rest.
        for (path, stood) in self.put.iter().rev() {
            if found.things.get(path).is_some_and(|now| same_kind(stood, &now.stands)) {
                continue;
            }
            let path = parse(path)?;
            changes.push(match stood {
                Stood::File { digest, .. } => Change::Delete { path, before: *digest },
                Stood::Symlink { target } => {
                    Change::Delete { path, before: Digest::of(target.as_bytes()) }
                }
                Stood::Directory { .. } => Change::Rmdir { path },
            });
        }
        let mut left = MAX_CHANGED;
        for (path, now) in &found.things {
            let stood = self.put.get(path).filter(|stood| same_kind(stood, &now.stands));
            let new = change(parse(path)?, stood, now, &found, &mut left)?;
            changes.extend(new);
        }
        Ok(changes)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        remove(&self.folder);
        let sign = self.folder.with_extension("lock");
        remove(&sign);
    }
}

/// Takes away what crashes left of staging copies.
pub fn sweep(scratch: &Path) {
    let Ok(entries) = std::fs::read_dir(scratch) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.extension().is_none_or(|end| end != "lock") {
            continue;
        }
        // Whoever holds it is at work.
        let Ok(sign) = File::open(&path) else { continue };
        if sign.try_lock().is_ok() {
            remove(&path.with_extension(""));
            remove(&path);
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a staging copy is not part of a workspace")]
fn remove(path: &Path) {
    let gone = match std::fs::symlink_metadata(path) {
        Ok(met) if met.is_dir() => {
            open_up(path);
            std::fs::remove_dir_all(path)
        }
        Ok(_) => std::fs::remove_file(path),
        Err(_) => return,
    };
    if let Err(error) = gone {
        tracing::warn!(%error, path = %path.display(), "a staging copy could not be taken away");
    }
}

/// Makes folders enterable again whose modes forbid it.
fn open_up(folder: &Path) {
    let mut waiting = vec![folder.to_owned()];
    while let Some(folder) = waiting.pop() {
        let forbidding = std::fs::symlink_metadata(&folder)
            .is_ok_and(|met| met.permissions().mode() & 0o700 != 0o700);
        if forbidding && std::fs::set_permissions(&folder, Permissions::from_mode(0o700)).is_err() {
            continue;
        }
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        let folders =
            entries.flatten().filter(|one| one.file_type().is_ok_and(|kind| kind.is_dir()));
        waiting.extend(folders.map(|one| one.path()));
    }
}

enum Refused {
    Hidden(ViewError),
    Failed(HandlerError),
}

impl From<ViewError> for Refused {
    fn from(error: ViewError) -> Self {
        match error.kind() {
            ViewErrorKind::Forbidden => Self::Hidden(error),
            _ => Self::Failed(error.into()),
        }
    }
}

/// The mode that a folder gets in a copy: its files have to get into it.
fn entered(mode: u32) -> u32 {
    mode | 0o700
}

fn too_much(what: &str) -> HandlerError {
    HandlerError::failed(format!(
        "too many {what} for a staging copy; at most {MAX_THINGS} things with {MAX_BYTES} bytes"
    ))
}

fn parse(path: &str) -> Result<WorkspacePath, HandlerError> {
    WorkspacePath::parse(path).map_err(|error| {
        HandlerError::failed(format!("what it left cannot be taken over: {error}"))
    })
}

fn parents(path: &WorkspacePath) -> Vec<String> {
    std::iter::successors(path.parent(), WorkspacePath::parent)
        .map(|parent| parent.as_str().to_owned())
        .collect()
}

/// What stands somewhere now.
#[derive(Debug)]
struct Now {
    at: PathBuf,
    mode: u32,
    stands: Stands,
}

#[derive(Debug)]
enum Stands {
    File { bytes: u64 },
    Directory,
    Symlink { target: String },
}

fn same_kind(stood: &Stood, now: &Stands) -> bool {
    match (stood, now) {
        (Stood::File { .. }, Stands::File { .. })
        | (Stood::Directory { .. }, Stands::Directory) => true,
        // A link to elsewhere is another link.
        (Stood::Symlink { target }, Stands::Symlink { target: now }) => target == now,
        _ => false,
    }
}

/// Everything that stands in a copy, by its path.
#[derive(Debug)]
struct Found {
    things: BTreeMap<String, Now>,
}

impl Found {
    fn walk(work: &Path) -> Result<Self, HandlerError> {
        let mut things = BTreeMap::new();
        let mut waiting = vec![(work.to_owned(), String::new())];
        while let Some((folder, name)) = waiting.pop() {
            let entries = open_folder(&folder).map_err(|error| failed(&folder, &error))?;
            for entry in entries {
                let entry = entry.map_err(|error| failed(&folder, &error))?;
                let said = entry.file_name();
                let said =
                    said.to_str().ok_or_else(|| refused(&name, "a name in it is no text"))?;
                let path = if name.is_empty() { said.to_owned() } else { format!("{name}/{said}") };
                let now = look(&entry.path(), &path)?;
                if matches!(now.stands, Stands::Directory) {
                    waiting.push((now.at.clone(), path.clone()));
                }
                // Long before a path is too long to be one, and while there is memory.
                parse(&path)?;
                things.insert(path, now);
                if things.len() > MAX_THINGS {
                    return Err(too_much("things"));
                }
            }
        }
        Ok(Self { things })
    }

    fn is_empty_folder(&self, path: &WorkspacePath) -> bool {
        let inside = format!("{path}/");
        let next = self.things.range(inside.clone()..).next();
        next.is_none_or(|(next, _)| !next.starts_with(&inside))
    }
}

fn refused(path: &str, problem: &str) -> HandlerError {
    HandlerError::failed(format!(
        "what it left at `{}` cannot be taken over: {problem}",
        path.escape_debug()
    ))
}

fn open_folder(folder: &Path) -> std::io::Result<std::fs::ReadDir> {
    std::fs::read_dir(folder).or_else(|error| {
        if error.kind() != ErrorKind::PermissionDenied {
            return Err(error);
        }
        std::fs::set_permissions(folder, Permissions::from_mode(0o700))?;
        std::fs::read_dir(folder)
    })
}

fn look(at: &Path, path: &str) -> Result<Now, HandlerError> {
    let met = at.symlink_metadata().map_err(|error| failed(at, &error))?;
    let kind = met.file_type();
    let mode = met.permissions().mode() & 0o7777;
    if !kind.is_symlink() && mode > 0o777 {
        return Err(refused(path, "it has a set-id or sticky bit"));
    }
    let stands = if kind.is_symlink() {
        let target = std::fs::read_link(at).map_err(|error| failed(at, &error))?;
        let target = target.to_str().ok_or_else(|| refused(path, "its target is no text"))?;
        Stands::Symlink { target: target.to_owned() }
    } else if kind.is_dir() {
        Stands::Directory
    } else if kind.is_file() {
        Stands::File { bytes: met.size() }
    } else {
        return Err(refused(path, "it is no file, folder or link"));
    };
    Ok(Now { at: at.to_owned(), mode, stands })
}

fn change(
    path: WorkspacePath,
    stood: Option<&Stood>,
    now: &Now,
    found: &Found,
    left: &mut u64,
) -> Result<Option<Change>, HandlerError> {
    let mode = FileMode::from_bits(now.mode);
    match (&now.stands, stood) {
        (Stands::Symlink { target }, None) => {
            Ok(Some(Change::Symlink { path, target: target.clone() }))
        }
        (Stands::Symlink { .. }, Some(_)) => Ok(None),
        (Stands::Directory, Some(Stood::Directory { mode: Some(before) }))
            if entered(*before) != now.mode =>
        {
            Ok(Some(Change::Chmod { path, before_mode: FileMode::from_bits(*before), mode }))
        }
        // A folder with something in it comes along with that.
        (Stands::Directory, None) if found.is_empty_folder(&path) => {
            Ok(Some(Change::Mkdir { path, mode: Some(mode) }))
        }
        (Stands::Directory, _) => Ok(None),
        (Stands::File { bytes }, stood) => {
            let (before, before_mode) = match stood {
                Some(Stood::File { digest, mode }) => (Some(*digest), *mode),
                _ => (None, 0),
            };
            let content = content(now, *bytes, path.as_str())?;
            if before == Some(Digest::of(&content)) {
                let before_mode = FileMode::from_bits(before_mode);
                return Ok((before_mode != mode).then_some(Change::Chmod {
                    path,
                    before_mode,
                    mode,
                }));
            }
            *left = left
                .checked_sub(content.len() as u64)
                .ok_or_else(|| refused(path.as_str(), "it changed more than fits a change set"))?;
            let content = Body::new(content);
            Ok(Some(match before {
                None => Change::Create { path, content, mode: Some(mode) },
                Some(before) => {
                    let mode = (before_mode != now.mode).then_some(mode);
                    Change::Modify { path, before, content, mode }
                }
            }))
        }
    }
}

fn content(now: &Now, bytes: u64, path: &str) -> Result<Vec<u8>, HandlerError> {
    if bytes > MAX_CHANGED {
        return Err(refused(path, "it holds more than fits a change set"));
    }
    let opened = File::open(&now.at).or_else(|error| {
        if error.kind() != ErrorKind::PermissionDenied {
            return Err(error);
        }
        std::fs::set_permissions(&now.at, Permissions::from_mode(0o600))?;
        File::open(&now.at)
    });
    let mut content = Vec::new();
    let read = opened.and_then(|file| file.take(MAX_CHANGED).read_to_end(&mut content));
    read.map_err(|error| failed(&now.at, &error))?;
    Ok(content)
}
