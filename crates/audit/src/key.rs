//! The signing key: 32 secret bytes in a file of their own, outside of what is governed.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::fault::point;
use crate::log::{Checkpoint, NoteSigner, PublicKey, hex};

/// What signs checkpoints. Its secret is overwritten when it is dropped, and never shown.
pub struct SigningKey {
    signer: NoteSigner,
    /// Where it lies, unless it came from elsewhere.
    path: Option<PathBuf>,
}

/// A signing key could not be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot use the signing key `{}`", .path.display())]
pub struct KeyError {
    path: PathBuf,
    #[source]
    kind: KeyErrorKind,
}

/// Why a signing key could not be had.
#[derive(Debug, thiserror::Error)]
pub enum KeyErrorKind {
    /// A file could not be read or written.
    #[error("the file could not be read or written")]
    Io(#[source] io::Error),
    /// The file does not hold 32 bytes.
    #[error("the file does not hold the 32 bytes of a key")]
    Damaged,
    /// Others than its owner may read or write the file.
    #[error("the file is open to others than its owner; `chmod 600` it")]
    Permissions,
    /// The public half beside it belongs to another key.
    #[error("the public half beside it (`.pub`) belongs to another key")]
    Replaced,
    /// The system gave no random bytes.
    #[error("the system gave no random bytes")]
    Random,
}

impl KeyError {
    /// Why.
    #[must_use]
    pub fn kind(&self) -> &KeyErrorKind {
        &self.kind
    }
}

impl SigningKey {
    /// The key in the file at `path`; when there is none, a new one is made there. The file is
    /// for its owner only; the public half stands beside it, in a file whose name ends in `.pub`.
    ///
    /// # Errors
    /// When the file cannot be read or made, is open to others, or is damaged.
    pub fn load_or_create(path: &Path) -> Result<Self, KeyError> {
        let load = || match load(path) {
            Err(KeyErrorKind::Io(error)) if error.kind() == io::ErrorKind::NotFound => {
                create(path)?;
                load(path)
            }
            other => other,
        };
        load().map_err(|kind| KeyError { path: path.to_owned(), kind })
    }

    /// The key of a seed that is kept elsewhere.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self { signer: NoteSigner::new(seed), path: None }
    }

    /// The half that verifies.
    #[must_use]
    pub fn public(&self) -> &PublicKey {
        self.signer.public()
    }

    pub(crate) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// The key that will follow the one at `path`; made when there is none yet.
    pub(crate) fn next(path: &Path) -> Result<Self, KeyError> {
        Self::load_or_create(&beside(path, ".next"))
    }

    /// The key with this public half: the one at `path`, or the one that follows it. The latter
    /// takes its place, as it would have if nobody had died in between.
    pub(crate) fn find(path: &Path, public: &str) -> Result<Option<Self>, KeyError> {
        let found = || {
            match load(path) {
                Ok(key) if key.public().to_string() == public => return Ok(Some(key)),
                Ok(_) | Err(KeyErrorKind::Replaced) => {}
                Err(error) => return Err(error),
            }
            let next = beside(path, ".next");
            match load(&next) {
                Ok(key) if key.public().to_string() == public => {
                    take_over(path, &next).map_err(KeyErrorKind::Io)?;
                    load(path).map(Some)
                }
                Ok(_) | Err(KeyErrorKind::Replaced) => Ok(None),
                Err(KeyErrorKind::Io(error)) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(error),
            }
        };
        found().map_err(|kind| KeyError { path: path.to_owned(), kind })
    }

    /// The line with which it signs a checkpoint that others signed as well.
    pub(crate) fn signature_line(&self, checkpoint: &Checkpoint) -> String {
        self.signer.signature_line(&checkpoint.text())
    }

    /// The checkpoint as a note that is signed. A log must never sign two that contradict each
    /// other; [`AuditLog`](crate::AuditLog) keeps to it.
    #[must_use]
    pub fn sign(&self, checkpoint: &Checkpoint) -> String {
        self.signer.sign(checkpoint)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SigningKey").field(&self.public().name()).finish()
    }
}

fn load(path: &Path) -> Result<SigningKey, KeyErrorKind> {
    let mut file = File::open(path).map_err(KeyErrorKind::Io)?;
    let metadata = file.metadata().map_err(KeyErrorKind::Io)?;
    if is_open_to_others(&metadata) {
        return Err(KeyErrorKind::Permissions);
    }
    let mut seed = Zeroizing::new([0; 32]);
    if metadata.len() != 32 {
        return Err(KeyErrorKind::Damaged);
    }
    file.read_exact(seed.as_mut_slice()).map_err(KeyErrorKind::Io)?;
    let key = SigningKey { path: Some(path.to_owned()), ..SigningKey::from_seed(&seed) };
    let public = beside(path, ".pub");
    match std::fs::read_to_string(&public) {
        Ok(text) if text.trim_end() == key.public().to_string() => Ok(key),
        Ok(_) => {
            // Somebody died while one key took the place of another.
            let next = beside(&beside(path, ".next"), ".pub");
            match std::fs::read_to_string(&next) {
                Ok(text) if text.trim_end() == key.public().to_string() => {
                    replace(&next, &public).map_err(KeyErrorKind::Io)?;
                    Ok(key)
                }
                _ => Err(KeyErrorKind::Replaced),
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let text = format!("{}\n", key.public());
            publish(&public, text.as_bytes(), 0o644).map_err(KeyErrorKind::Io)?;
            Ok(key)
        }
        Err(error) => Err(KeyErrorKind::Io(error)),
    }
}

fn create(path: &Path) -> Result<(), KeyErrorKind> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(seed.as_mut_slice()).map_err(|_| KeyErrorKind::Random)?;
    publish(path, seed.as_slice(), 0o600).map_err(KeyErrorKind::Io)
}

fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    PathBuf::from(name)
}

/// The next key takes the place of the one at `path`, whose secret is overwritten and whose
/// public half stays, under a name with its id.
fn take_over(path: &Path, next: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let public = beside(path, ".pub");
    let mut old = OpenOptions::new().write(true).open(path)?;
    if let Ok(text) = std::fs::read_to_string(&public)
        && let Ok(key) = PublicKey::parse(text.trim_end())
    {
        publish(&beside(path, &format!(".{}.pub", hex(&key.id()))), text.as_bytes(), 0o644)?;
    }
    point("rotate: before the key's file is replaced")?;
    replace(next, path)?;
    // The name is another one's; this is still the old file.
    old.write_all(&[0; 32])?;
    old.sync_all()?;
    point("rotate: before the public half is replaced")?;
    replace(&beside(next, ".pub"), &public)?;
    File::open(folder)?.sync_all()
}

#[expect(clippy::disallowed_methods, reason = "the key file is not part of a workspace")]
fn replace(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::rename(from, to)
}

/// Makes a file appear with all its bytes, or not at all, and never over another one: two
/// processes that start at once end up with one key.
#[expect(clippy::disallowed_methods, reason = "the key file is not part of a workspace")]
pub(crate) fn publish(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let mut nonce = [0; 8];
    getrandom::fill(&mut nonce).map_err(io::Error::other)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", hex(&nonce)));
    let temporary = folder.join(name);
    let mut file = create_new(&temporary, mode)?;
    let published =
        file.write_all(bytes).and_then(|()| file.sync_all()).and_then(
            |()| match std::fs::hard_link(&temporary, path) {
                // Somebody was faster; theirs is the one.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
                other => other,
            },
        );
    std::fs::remove_file(&temporary)?;
    published?;
    File::open(folder)?.sync_all()
}

#[cfg(unix)]
fn create_new(path: &Path, mode: u32) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    OpenOptions::new().write(true).create_new(true).mode(mode).open(path)
}

#[cfg(not(unix))]
fn create_new(path: &Path, _mode: u32) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}

#[cfg(unix)]
fn is_open_to_others(metadata: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    metadata.permissions().mode() & 0o077 != 0
}

#[cfg(not(unix))]
fn is_open_to_others(_metadata: &std::fs::Metadata) -> bool {
    false
}
