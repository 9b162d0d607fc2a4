//! The keys of persons: one small file each, in a folder outside of the store. To destroy a
//! person's key is to erase what was sealed under it, wherever copies of it lie.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use lictor_context::{Hasher, Name};
use zeroize::Zeroizing;

use crate::key::publish;
use crate::log::hex;

/// The length of a key's id, in bytes.
const ID_LEN: usize = 16;
/// The length of a file: the id and the key.
const FILE_LEN: usize = ID_LEN + 32;

/// A person's key could not be had, or not be destroyed.
#[derive(Debug, thiserror::Error)]
#[error("cannot use the keys of persons in `{}`", .folder.display())]
pub struct SubjectError {
    folder: PathBuf,
    #[source]
    kind: SubjectErrorKind,
}

/// Why a person's key could not be had, or not be destroyed.
#[derive(Debug, thiserror::Error)]
pub enum SubjectErrorKind {
    /// A file could not be read or written.
    #[error("a file could not be read or written")]
    Io(#[source] io::Error),
    /// The file does not hold a key.
    #[error("the file of a key is damaged")]
    Damaged,
    /// The system gave no random bytes.
    #[error("the system gave no random bytes")]
    Random,
}

impl SubjectError {
    /// Why.
    #[must_use]
    pub fn kind(&self) -> &SubjectErrorKind {
        &self.kind
    }

    /// Whether the key is not to be had just now, and that is all.
    pub(crate) fn is_outage(&self) -> bool {
        matches!(self.kind, SubjectErrorKind::Io(_) | SubjectErrorKind::Random)
    }
}

/// A person's key. Overwritten when it is dropped, and never shown.
pub(crate) struct SubjectKey {
    id: String,
    key: Zeroizing<[u8; 32]>,
    stamp: Stamp,
}

/// Tells one file from the next one under the same name.
type Stamp = (u64, u64);

impl SubjectKey {
    /// 32 hex digits; says nothing about whose it is.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn bytes(&self) -> &[u8; 32] {
        &self.key
    }
}

/// A folder with the keys.
pub(crate) struct Subjects {
    folder: PathBuf,
    known: Mutex<HashMap<String, Arc<SubjectKey>>>,
}

impl Subjects {
    pub(crate) fn open(folder: &Path) -> Result<Self, SubjectError> {
        let subjects = Self { folder: folder.to_owned(), known: Mutex::default() };
        make_private(folder).map_err(|error| subjects.refuse(SubjectErrorKind::Io(error)))?;
        Ok(subjects)
    }

    /// The key of a person; made when there is none.
    pub(crate) fn key(&self, org: &Name, user: &Name) -> Result<Arc<SubjectKey>, SubjectError> {
        let key = || loop {
            if let Some(key) = self.find(org, user)? {
                return Ok(key);
            }
            let mut bytes = Zeroizing::new([0; FILE_LEN]);
            getrandom::fill(bytes.as_mut_slice()).map_err(|_| SubjectErrorKind::Random)?;
            // Another process may be faster; then theirs is read the next time around.
            publish(&self.path(org, user), bytes.as_slice(), 0o600)
                .map_err(SubjectErrorKind::Io)?;
        };
        key().map_err(|kind| self.refuse(kind))
    }

    /// The key of a person, if there is one.
    pub(crate) fn existing(
        &self,
        org: &Name,
        user: &Name,
    ) -> Result<Option<Arc<SubjectKey>>, SubjectError> {
        self.find(org, user).map_err(|kind| self.refuse(kind))
    }

    fn find(&self, org: &Name, user: &Name) -> Result<Option<Arc<SubjectKey>>, SubjectErrorKind> {
        let path = self.path(org, user);
        let name = path.to_string_lossy().into_owned();
        // Each time: another process may have destroyed it meanwhile.
        let metadata = match std::fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.known().remove(&name);
                return Ok(None);
            }
            other => other.map_err(SubjectErrorKind::Io)?,
        };
        if let Some(key) = self.known().get(&name)
            && key.stamp == stamp(&metadata)
        {
            return Ok(Some(Arc::clone(key)));
        }
        let mut file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(SubjectErrorKind::Io)?,
        };
        let metadata = file.metadata().map_err(SubjectErrorKind::Io)?;
        let mut bytes = Zeroizing::new(Vec::with_capacity(FILE_LEN));
        file.read_to_end(&mut bytes).map_err(SubjectErrorKind::Io)?;
        let (id, key) = bytes.split_first_chunk::<ID_LEN>().ok_or(SubjectErrorKind::Damaged)?;
        let key: [u8; 32] = key.try_into().map_err(|_| SubjectErrorKind::Damaged)?;
        if key == [0; 32] {
            // Being destroyed just now, or that was interrupted: then it ends here.
            remove(&path, &self.folder).map_err(SubjectErrorKind::Io)?;
            return Ok(None);
        }
        let key = SubjectKey { id: hex(id), key: Zeroizing::new(key), stamp: stamp(&metadata) };
        let key = Arc::new(key);
        self.known().insert(name, Arc::clone(&key));
        Ok(Some(key))
    }

    /// Destroys a person's key, if it has this id: overwrites it, and removes its file.
    pub(crate) fn destroy_of(&self, org: &Name, user: &Name, id: &str) -> Result<(), SubjectError> {
        let path = self.path(org, user);
        let destroy = || {
            if holds(&path, id)? {
                overwrite(&path, &self.folder).map_err(SubjectErrorKind::Io)?;
            }
            self.known().remove(&*path.to_string_lossy());
            Ok(())
        };
        destroy().map_err(|kind| self.refuse(kind))
    }

    /// As [`destroy_of`](Self::destroy_of), when it is not known (any more) whose key it is: looks
    /// at all of them.
    pub(crate) fn destroy(&self, id: &str) -> Result<(), SubjectError> {
        let destroy = || {
            for entry in std::fs::read_dir(&self.folder).map_err(SubjectErrorKind::Io)? {
                let path = entry.map_err(SubjectErrorKind::Io)?.path();
                if path.extension().is_some_and(|end| end == "key") && holds(&path, id)? {
                    overwrite(&path, &self.folder).map_err(SubjectErrorKind::Io)?;
                    self.known().remove(&*path.to_string_lossy());
                }
            }
            Ok(())
        };
        destroy().map_err(|kind| self.refuse(kind))
    }

    /// The names of persons do not stand in it.
    fn path(&self, org: &Name, user: &Name) -> PathBuf {
        let mut hasher = Hasher::new();
        hasher.update_framed(b"lictor/subject/v1");
        hasher.update_framed(org.as_str().as_bytes());
        hasher.update_framed(user.as_str().as_bytes());
        self.folder.join(format!("{}.key", hasher.finish().hex()))
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<SubjectKey>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refuse(&self, kind: SubjectErrorKind) -> SubjectError {
        SubjectError { folder: self.folder.clone(), kind }
    }
}

impl std::fmt::Debug for Subjects {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Subjects").field(&self.folder).finish()
    }
}

fn holds(path: &Path, id: &str) -> Result<bool, SubjectErrorKind> {
    let mut found = [0; ID_LEN];
    match File::open(path).and_then(|mut file| file.read_exact(&mut found)) {
        Ok(()) => Ok(hex(&found) == id),
        // Somebody else destroys it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(SubjectErrorKind::Io(error)),
    }
}

/// The key is overwritten in place before its name goes: whoever reads the disk later does not
/// find it in a block that is free. The id stays until then, so that it can be done again.
fn overwrite(path: &Path, folder: &Path) -> io::Result<()> {
    crate::fault::point("erase: before the key is overwritten")?;
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    let mut id = [0; ID_LEN];
    file.read_exact(&mut id)?;
    file.write_all(&[0; FILE_LEN - ID_LEN])?;
    file.sync_all()?;
    crate::fault::point("erase: before the key's file is removed")?;
    remove(path, folder)
}

#[expect(clippy::disallowed_methods, reason = "the keys of persons are not part of a workspace")]
fn remove(path: &Path, folder: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.and_then(|()| File::open(folder)?.sync_all()),
    }
}

fn make_private(folder: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt as _;
        builder.mode(0o700);
    }
    builder.create(folder)
}

#[cfg(unix)]
fn stamp(metadata: &std::fs::Metadata) -> Stamp {
    use std::os::unix::fs::MetadataExt as _;
    // An inode is used again; the time at which it changed last is another one then.
    (metadata.ino(), metadata.ctime().unsigned_abs() << 30 | metadata.ctime_nsec().unsigned_abs())
}

#[cfg(not(unix))]
fn stamp(metadata: &std::fs::Metadata) -> Stamp {
    let modified = metadata.modified().ok();
    let age = modified.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    (metadata.len(), age.map_or(0, |age| u64::try_from(age.as_nanos()).unwrap_or(u64::MAX)))
}
