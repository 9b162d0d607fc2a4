//! What stood in a file before we changed it, kept where only this user looks: such files hold secrets,
//! and a copy beside one of a project would be committed with it.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};

use lictor::ErrorCode;
use lictor::context::{Digest, Timestamp};
use serde::{Deserialize, Serialize};

use super::text::MAX_BYTES;
use crate::failure::Failure;
use crate::files;

/// One change of a file, so that it can be taken back.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    version: u32,
    pub(crate) path: PathBuf,
    /// What it held before.
    pub(crate) before: Digest,
    /// What it held afterwards.
    pub(crate) after: Digest,
    pub(crate) at: Timestamp,
    /// The servers that were changed in it.
    pub(crate) servers: Vec<String>,
}

/// The changes of one file that stand.
#[derive(Debug)]
pub(crate) struct Shelf {
    folder: PathBuf,
    path: PathBuf,
}

/// The last change of a file.
#[derive(Debug)]
pub(crate) struct Kept {
    number: u32,
    pub(crate) record: Record,
    /// What the file held before.
    pub(crate) bytes: Vec<u8>,
}

impl Shelf {
    /// Of a file, below the folder of the user's keys.
    pub(crate) fn of(keys: &Path, path: &Path) -> Self {
        let name = Digest::of(path.as_os_str().as_encoded_bytes()).hex();
        Self { folder: keys.join("imports").join(name), path: path.to_owned() }
    }

    fn place(&self, number: u32, what: &str) -> PathBuf {
        self.folder.join(format!("{number:04}.{what}"))
    }

    fn numbers(&self) -> io::Result<Vec<u32>> {
        let listed = match std::fs::read_dir(&self.folder) {
            Ok(listed) => listed,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut numbers = Vec::new();
        for entry in listed {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.strip_suffix(".json"));
            numbers.extend(number.and_then(|number| number.parse::<u32>().ok()));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Keeps what a file holds, before it holds something else. It is on the disk when this comes back.
    pub(crate) fn keep(
        &self,
        before: &[u8],
        after: &[u8],
        at: Timestamp,
        servers: Vec<String>,
    ) -> Result<PathBuf, Failure> {
        let record = Record {
            version: 1,
            path: self.path.clone(),
            before: Digest::of(before),
            after: Digest::of(after),
            at,
            servers,
        };
        let kept = || -> io::Result<PathBuf> {
            DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
            let number = self.numbers()?.last().map_or(1, |last| last.saturating_add(1));
            let place = self.place(number, "before");
            // One without a record is of a change that was not begun.
            clear(&place)?;
            private(&place, before)?;
            private(&self.place(number, "json"), &serde_json::to_vec_pretty(&record)?)?;
            File::open(&self.folder)?.sync_all()?;
            Ok(place)
        };
        kept().map_err(|error| {
            let at = self.folder.display();
            Failure::failed(format!(
                "what stands there cannot be kept in `{at}`: {error}; nothing was written"
            ))
        })
    }

    /// The last change that stands.
    pub(crate) fn last(&self) -> Result<Option<Kept>, Failure> {
        let unread = |error: &dyn std::fmt::Display| {
            let at = self.folder.display();
            Failure::new(
                ErrorCode::Integrity,
                format!("the copies in `{at}` cannot be read: {error}"),
            )
        };
        let Some(number) = self.numbers().map_err(|error| unread(&error))?.last().copied() else {
            return Ok(None);
        };
        let record = files::read(&self.place(number, "json"), MAX_BYTES)?;
        let record: Record =
            serde_json::from_slice(&record.bytes).map_err(|error| unread(&error))?;
        let bytes = files::read(&self.place(number, "before"), MAX_BYTES)?.bytes;
        if record.version != 1 || Digest::of(&bytes) != record.before || record.path != self.path {
            return Err(unread(&"they are not what they were"));
        }
        Ok(Some(Kept { number, record, bytes }))
    }

    /// Keeps what is about to be lost, though somebody else made it. Where it is.
    pub(crate) fn replaced(&self, kept: &Kept, now: &[u8]) -> Result<PathBuf, Failure> {
        let place = self.place(kept.number, "replaced");
        let saved = clear(&place).and_then(|()| private(&place, now));
        saved.map_err(|error| {
            Failure::failed(format!("`{}` cannot be written: {error}", place.display()))
        })?;
        Ok(place)
    }

    /// A change that was taken back, or never came to be, is none any more.
    #[expect(clippy::disallowed_methods, reason = "a copy of our own, outside of every workspace")]
    pub(crate) fn drop(&self, kept: &Kept) -> Result<(), Failure> {
        let gone = ["json", "before"]
            .iter()
            .try_for_each(|what| std::fs::remove_file(self.place(kept.number, what)));
        gone.map_err(|error| {
            Failure::failed(format!("`{}` cannot be cleared: {error}", self.folder.display()))
        })
    }
}

/// Replaces what a file holds in one step. Nothing is written when it is not what was looked at.
pub(crate) fn replace(path: &Path, expected: &[u8], bytes: &[u8]) -> Result<(), Failure> {
    let failed = |error: io::Error| {
        Failure::failed(format!("`{}` cannot be written: {error}", path.display()))
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let new = path.with_file_name(format!(".{name}.lictor-{}", std::process::id()));
    let written = || -> io::Result<()> {
        clear(&new)?;
        let known = std::fs::metadata(path)?;
        private(&new, bytes)?;
        let file = File::open(&new)?;
        file.set_permissions(std::fs::Permissions::from_mode(known.mode() & 0o7777))?;
        file.sync_all()
    };
    written().map_err(failed)?;
    if files::read(path, MAX_BYTES)?.bytes != expected {
        clear(&new).map_err(failed)?;
        let why = format!("`{}` was changed meanwhile; nothing was written to it", path.display());
        return Err(Failure::new(ErrorCode::Conflict, why));
    }
    publish(&new, path).map_err(failed)
}

#[expect(clippy::disallowed_methods, reason = "the file of a client, which a person asked for")]
fn publish(new: &Path, path: &Path) -> io::Result<()> {
    std::fs::rename(new, path)?;
    match path.parent() {
        Some(folder) if folder != Path::new("") => File::open(folder)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

#[expect(clippy::disallowed_methods, reason = "what we left ourselves")]
fn clear(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A new file that nobody else reads, on the disk.
fn private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
