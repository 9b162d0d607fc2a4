//! The other names of a file: hard links, by which a rule about one path would be gone around.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use lictor_capability::{ViewError, ViewErrorKind};
use lictor_context::WorkspacePath;
use rustix::fs::{self, AtFlags, FileType, OFlags, Stat};
use rustix::io::Errno;

use crate::beneath::Workspace;

/// More entries than this are not looked through; what has other names then is not touched.
const MOST_ENTRIES: usize = 1_000_000;
/// What changes were taken from and to. It holds what the workspace held, under no name of its own.
const SLOTS: &str = ".lictor/tx";

/// A file as it is now: device, inode, how many names, and when that changed.
type Key = (u64, u64, u64, i64, i64);

#[derive(Debug, Default)]
struct Found {
    names: HashMap<Key, Vec<String>>,
    /// Whether something could not be looked into, so that names may be missing.
    gaps: bool,
}

/// What the last look through the workspace found. A name more or less, and a name that moves, are a
/// change of the inode: then it is looked through again.
#[derive(Debug, Default)]
pub(crate) struct Names {
    last: Mutex<Option<Arc<Found>>>,
}

#[cfg_attr(
    target_arch = "x86_64",
    expect(clippy::useless_conversion, reason = "these have other widths elsewhere")
)]
fn key(stat: &Stat) -> Option<Key> {
    let links = u64::from(stat.st_nlink);
    let file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    let changed = (i64::from(stat.st_ctime), i64::try_from(stat.st_ctime_nsec).unwrap_or(0));
    (file && links > 1).then_some((stat.st_dev, stat.st_ino, links, changed.0, changed.1))
}

impl Workspace {
    /// The names in this workspace of the file at a path, when it has more than one, itself included.
    pub(crate) fn names_of(&self, path: &WorkspacePath) -> Result<Vec<WorkspacePath>, ViewError> {
        let fail = |kind| ViewError::new(path.as_str(), kind);
        let io = |error: Errno| fail(ViewErrorKind::Io(error.into()));
        let Some(parent) = self.parent(path)? else { return Ok(Vec::new()) };
        let key = match fs::statat(&parent, path.name(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => key(&stat),
            Err(Errno::NOENT) => None,
            Err(error) => return Err(io(error)),
        };
        let Some(key) = key else { return Ok(Vec::new()) };
        let found = self.look(key).map_err(|error| fail(ViewErrorKind::Io(error)))?;
        let names = found.names.get(&key).ok_or_else(|| fail(ViewErrorKind::Changed))?;
        let missing = usize::try_from(key.2).unwrap_or(usize::MAX) > names.len();
        if found.gaps && missing {
            let why = "it has a name that cannot be looked at, so nobody can tell what it is";
            return Err(fail(ViewErrorKind::Io(io::Error::other(why))));
        }
        let parse = |name: &String| {
            WorkspacePath::parse(name).map_err(|_| {
                let why = format!("it is also `{}`, which is no normal path", name.escape_debug());
                fail(ViewErrorKind::Io(io::Error::other(why)))
            })
        };
        names.iter().map(parse).collect()
    }

    fn look(&self, key: Key) -> io::Result<Arc<Found>> {
        // A search that panicked has put nothing there.
        let mut last = self.names.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = last.as_ref().filter(|found| found.names.contains_key(&key)) {
            return Ok(Arc::clone(found));
        }
        let found = Arc::new(self.look_through()?);
        *last = Some(Arc::clone(&found));
        Ok(found)
    }

    fn look_through(&self) -> io::Result<Found> {
        let mut found = Found::default();
        let mut entries = 0_usize;
        let mut folders = vec![String::new()];
        while let Some(folder) = folders.pop() {
            let name = if folder.is_empty() { "." } else { &folder };
            let handle = match self.open_beneath(name, OFlags::DIRECTORY | OFlags::RDONLY) {
                Ok(handle) => handle,
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
                Err(_) => {
                    found.gaps = true;
                    continue;
                }
            };
            for child in fs::Dir::read_from(&handle)? {
                let child = child?;
                let Ok(name) = child.file_name().to_str() else {
                    found.gaps = true;
                    continue;
                };
                if name == "." || name == ".." {
                    continue;
                }
                entries += 1;
                if entries > MOST_ENTRIES {
                    let why = format!("the workspace holds more than {MOST_ENTRIES} entries");
                    return Err(io::Error::other(why));
                }
                let path =
                    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
                let stat = match child.file_type() {
                    FileType::Directory if path == SLOTS => continue,
                    FileType::Directory => None,
                    FileType::RegularFile | FileType::Unknown => {
                        match fs::statat(&handle, name, AtFlags::SYMLINK_NOFOLLOW) {
                            Ok(stat) => Some(stat),
                            Err(Errno::NOENT) => continue,
                            Err(error) => return Err(error.into()),
                        }
                    }
                    _ => continue,
                };
                let is_folder = stat.as_ref().is_none_or(|stat| {
                    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
                });
                if is_folder {
                    folders.push(path);
                } else if let Some(key) = stat.as_ref().and_then(key) {
                    found.names.entry(key).or_default().push(path);
                }
            }
        }
        Ok(found)
    }
}
