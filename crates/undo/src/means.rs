//! What a file system can do with names, probed once for each mount, and the one operation that
//! differs by it: giving a thing a name that nothing has.

use std::fmt;
use std::io;

use lictor_workspace::DirHandle;
use rustix::fs::{self, AtFlags, RenameFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::fault;

/// How things change places on a mount. Each one below the first is a fallback for file systems
/// that lack what the one above needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Means {
    /// `RENAME_EXCHANGE` and `RENAME_NOREPLACE`: a change in place is one call, and no name is
    /// ever without its file.
    #[default]
    Exchange,
    /// `RENAME_NOREPLACE` only: the old thing goes out, the new one comes in where nothing is. For
    /// a moment nothing is there.
    NoReplace,
    /// Neither, but hard links, which replace nothing either: a link, and the slot's name goes.
    Link,
    /// Not even links: it is looked whether nothing is there, then renamed. A file that somebody
    /// makes at that very name in between is lost.
    Look,
}

impl fmt::Display for Means {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Exchange => "exchange (renameat2 with RENAME_EXCHANGE)",
            Self::NoReplace => "no_replace (renameat2 with RENAME_NOREPLACE, no exchange)",
            Self::Link => "link (hard links, no renameat2 flags)",
            Self::Look => "look (plain renames, no renameat2 flags, no hard links)",
        })
    }
}

impl Means {
    /// Tries them in a folder that is empty and goes away afterwards.
    pub(crate) fn probe(folder: &DirHandle) -> io::Result<Self> {
        let file = |name| crate::store::create_file(folder, name, 0o600).map(drop);
        file("a")?;
        file("b")?;
        if works(exchange((folder, "a"), (folder, "b")))? {
            if works(rename_no_replace((folder, "a"), (folder, "c")))? {
                return Ok(Self::Exchange);
            }
        } else if works(rename_no_replace((folder, "a"), (folder, "c")))? {
            return Ok(Self::NoReplace);
        }
        Ok(if works(link((folder, "b"), (folder, "d")))? { Self::Link } else { Self::Look })
    }

    /// Whether a thing at a path and one in a slot can change places in one call.
    pub(crate) fn exchanges(self) -> bool {
        self == Self::Exchange
    }

    /// Gives a thing a name where nothing is; `EEXIST` when something is there.
    pub(crate) fn put(self, from: (&DirHandle, &str), to: (&DirHandle, &str)) -> Result<(), Errno> {
        match self {
            Self::Exchange | Self::NoReplace => rename_no_replace(from, to),
            Self::Link if !is_directory(from)? => {
                match link(from, to) {
                    // Linked before, and cut short.
                    Err(Errno::EXIST) if same_inode(from, to)? => {}
                    linked => linked?,
                }
                fault::errno("put.linked")?;
                fs::unlinkat(from.0, from.1, AtFlags::empty())
            }
            Self::Link | Self::Look => {
                look(to)?;
                fs::renameat(from.0, from.1, to.0, to.1)
            }
        }
    }

    /// Takes a thing away to a name that is ours alone; `EEXIST` when something is there.
    pub(crate) fn take(
        self,
        from: (&DirHandle, &str),
        to: (&DirHandle, &str),
    ) -> Result<(), Errno> {
        match self {
            Self::Exchange | Self::NoReplace => rename_no_replace(from, to),
            Self::Link | Self::Look => {
                look(to)?;
                fs::renameat(from.0, from.1, to.0, to.1)
            }
        }
    }

    /// Finishes a `put` that was cut short between its link and the removal of the old name.
    pub(crate) fn finish_put(
        self,
        from: (&DirHandle, &str),
        to: (&DirHandle, &str),
    ) -> Result<(), Errno> {
        if self == Self::Link && same_inode(from, to)? && !is_directory(from)? {
            fs::unlinkat(from.0, from.1, AtFlags::empty())?;
        }
        Ok(())
    }
}

/// Two things change places.
pub(crate) fn exchange(one: (&DirHandle, &str), other: (&DirHandle, &str)) -> Result<(), Errno> {
    fault::lacks("exchange")?;
    fs::renameat_with(one.0, one.1, other.0, other.1, RenameFlags::EXCHANGE)
}

fn rename_no_replace(from: (&DirHandle, &str), to: (&DirHandle, &str)) -> Result<(), Errno> {
    fault::lacks("no_replace")?;
    fs::renameat_with(from.0, from.1, to.0, to.1, RenameFlags::NOREPLACE)
}

fn link(from: (&DirHandle, &str), to: (&DirHandle, &str)) -> Result<(), Errno> {
    fault::lacks("link")?;
    fs::linkat(from.0, from.1, to.0, to.1, AtFlags::empty())
}

fn look(at: (&DirHandle, &str)) -> Result<(), Errno> {
    match fs::statat(at.0, at.1, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => Err(Errno::EXIST),
        Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error),
    }
}

fn is_directory(at: (&DirHandle, &str)) -> Result<bool, Errno> {
    let stat = fs::statat(at.0, at.1, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(fs::FileType::from_raw_mode(stat.st_mode).is_dir())
}

fn same_inode(one: (&DirHandle, &str), other: (&DirHandle, &str)) -> Result<bool, Errno> {
    let stat = |at: (&DirHandle, &str)| match fs::statat(at.0, at.1, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some((stat.st_dev, stat.st_ino))),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error),
    };
    let one = stat(one)?;
    Ok(one.is_some() && one == stat(other)?)
}

/// Whether a call is there at all; what else goes wrong with it is an error.
fn works(tried: Result<(), Errno>) -> io::Result<bool> {
    match tried {
        Ok(()) => Ok(true),
        // A file system without links says EPERM, one without flags EINVAL; an old kernel ENOSYS.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
