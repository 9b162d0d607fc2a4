//! Seals over the lives in the database: made with a key that lies outside of every workspace, so
//! that a hand in the database lets nothing in.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use lictor_context::{Digest, Hasher};

/// What makes seals, and holds them against a text.
pub(crate) struct Seal {
    key: [u8; 32],
}

impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seal(..)")
    }
}

impl Seal {
    /// The key in the folder; a new one when there is none.
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        let path = folder.join("catalogue.key");
        match read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                create(folder, &path)?;
                read(&path)
            }
            other => other,
        }
    }

    /// The seal of a text: nested, so that nobody prolongs a sealed text.
    pub(crate) fn of(&self, text: &str) -> String {
        let mut inner = Hasher::new();
        inner.update_framed(b"lictor/catalogue/v1");
        inner.update_framed(&self.key);
        inner.update_framed(text.as_bytes());
        let mut outer = Hasher::new();
        outer.update_framed(&self.key);
        outer.update_framed(inner.finish().as_bytes());
        outer.finish().to_string()
    }

    /// Whether a seal is that of a text.
    pub(crate) fn holds(&self, text: &str, seal: &str) -> bool {
        // Compared by digest: how far two of them agree tells nothing about either.
        Digest::of(self.of(text).as_bytes()) == Digest::of(seal.as_bytes())
    }
}

fn read(path: &Path) -> io::Result<Seal> {
    let mut file = File::open(path)?;
    let metadata = file.metadata()?;
    let damaged = |why| io::Error::new(io::ErrorKind::InvalidData, why);
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err(damaged("it is open to others than its owner; `chmod 600` it"));
    }
    if metadata.len() != 32 {
        return Err(damaged("it does not hold the 32 bytes of a key"));
    }
    let mut key = [0; 32];
    file.read_exact(&mut key)?;
    Ok(Seal { key })
}

/// Makes the key appear whole or not at all, and never over another one.
#[expect(clippy::disallowed_methods, reason = "the key is not part of a workspace")]
fn create(folder: &Path, path: &Path) -> io::Result<()> {
    let mut bytes = [0_u8; 40];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    let (key, nonce) = bytes.split_at(32);
    let temporary = folder.join(format!("catalogue.key.{}.tmp", Digest::of(nonce).hex()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    file.write_all(key)?;
    file.sync_all()?;
    let linked = std::fs::hard_link(&temporary, path);
    std::fs::remove_file(&temporary)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        // Somebody was faster; theirs is the one.
        _ => File::open(folder)?.sync_all(),
    }
}
