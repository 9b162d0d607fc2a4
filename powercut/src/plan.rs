//! What is done while everything is recorded: a first tree, two change sets that touch it by every
//! operation, and the steps. All of it follows from a seed.

use std::fs::{DirBuilder, File, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use lictor::capability::{Body, Change, ChangeDocument, FileMode};
use lictor::context::{Digest, WorkspacePath};

use crate::failure::Failure;
use crate::random::Random;

/// One step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// One of the two change sets.
    Apply(usize),
    /// Of what stands last.
    Undo,
    /// Of the last undo.
    Redo,
}

/// The steps of one recording.
pub(crate) const STEPS: [Step; 7] =
    [Step::Apply(0), Step::Undo, Step::Redo, Step::Apply(1), Step::Undo, Step::Redo, Step::Undo];

/// So many files are changed besides the ones with a story: publishing takes a while then.
const N_PLAIN: usize = 24;

/// The bytes of a file in one of its versions: empty, small, about a block, or several.
fn bytes(seed: u64, name: &str, version: u64) -> Vec<u8> {
    let mixed = name.bytes().fold(seed ^ (version << 56), |hash, byte| {
        hash.wrapping_mul(0x0100_0000_01b3) ^ u64::from(byte)
    });
    let mut random = Random::new(mixed);
    let length = match random.below(8) {
        0 => 1 + random.below(40),
        1 => 4096,
        2 => 4097 + random.below(20_000),
        _ => 1 + random.below(4200),
    };
    let mut bytes = format!("{name} {version}\n").into_bytes();
    bytes.extend(random.bytes(if name == "data.bin" { 150_000 } else { length }));
    bytes
}

/// The files of the first tree, with their modes.
fn files() -> Vec<(String, u32)> {
    let mut files: Vec<(String, u32)> = [
        ("src/main.rs", 0o644),
        ("src/old.rs", 0o644),
        ("bin/tool", 0o755),
        ("data.bin", 0o600),
        ("docs/old/readme.md", 0o644),
        ("docs/guide.md", 0o444),
        ("swap/left", 0o644),
        ("swap/right", 0o755),
        ("chain/1", 0o644),
        ("chain/2", 0o640),
        ("chain/3", 0o600),
        ("kind", 0o644),
        ("kinds/inside", 0o644),
        ("untouched", 0o644),
    ]
    .map(|(path, mode)| (path.to_owned(), mode))
    .into();
    files.extend((0..N_PLAIN).map(|n| (plain(n), 0o644)));
    files
}

fn plain(n: usize) -> String {
    format!("many/{}/f{n}", n % 4)
}

/// Makes the first tree in an empty folder.
pub(crate) fn make_tree(root: &Path, seed: u64) -> Result<(), Failure> {
    let folder = |path: &str| {
        DirBuilder::new().recursive(true).mode(0o755).create(root.join(path))?;
        Ok::<_, Failure>(())
    };
    for path in ["empty", "locked", "many/0", "many/1", "many/2", "many/3"] {
        folder(path)?;
    }
    for (path, mode) in files() {
        if let Some((parent, _)) = path.rsplit_once('/') {
            folder(parent)?;
        }
        let mut file = File::create_new(root.join(&path))?;
        file.write_all(&bytes(seed, &path, 0))?;
        file.set_permissions(Permissions::from_mode(mode))?;
    }
    File::create_new(root.join("nothing-in-it"))?;
    symlink("src/main.rs", root.join("link"))?;
    Ok(())
}

/// One of the change sets; the second one is made for what the first one leaves.
pub(crate) fn document(which: usize, seed: u64) -> Result<ChangeDocument, Failure> {
    let author = Author { seed };
    let changes = if which == 0 { author.first()? } else { author.second()? };
    Ok(ChangeDocument::seal(None, changes)?)
}

struct Author {
    seed: u64,
}

impl Author {
    fn first(&self) -> Result<Vec<Change>, Failure> {
        let mut changes = vec![
            self.create("new.txt", 1, None)?,
            self.create("deep/er/than/before.txt", 1, None)?,
            self.create("deep/run.sh", 1, Some(0o755))?,
            Change::Create { path: path("deep/empty")?, content: Body::new([]), mode: None },
            self.modify("src/main.rs", 0, 1, None)?,
            self.modify("data.bin", 0, 1, None)?,
            self.modify("docs/guide.md", 0, 1, Some(0o600))?,
            self.delete("docs/old/readme.md", 0)?,
            Change::Rmdir { path: path("docs/old")? },
            Change::Rmdir { path: path("empty")? },
            Change::Delete { path: path("link")?, before: Digest::of(b"src/main.rs") },
            Change::Symlink { path: path("current")?, target: "src/main.rs".to_owned() },
            self.rename("src/old.rs", "lib/older.rs", "src/old.rs", 0)?,
            self.rename("swap/left", "swap/right", "swap/left", 0)?,
            self.rename("swap/right", "swap/left", "swap/right", 0)?,
            chmod("bin/tool", 0o755, 0o700)?,
            chmod("locked", 0o755, 0o500)?,
            Change::Mkdir { path: path("fresh")?, mode: Some(FileMode::from_bits(0o750)) },
        ];
        for n in 0..N_PLAIN {
            changes.push(self.modify(&plain(n), 0, 1, None)?);
        }
        Ok(changes)
    }

    fn second(&self) -> Result<Vec<Change>, Failure> {
        let mut changes = vec![
            self.delete("kind", 0)?,
            Change::Mkdir { path: path("kind")?, mode: None },
            self.create("kind/of/another", 2, None)?,
            self.delete("kinds/inside", 0)?,
            Change::Rmdir { path: path("kinds")? },
            self.create("kinds", 2, None)?,
            self.rename("chain/1", "chain/2", "chain/1", 0)?,
            self.rename("chain/2", "chain/3", "chain/2", 0)?,
            self.rename("chain/3", "chain/4", "chain/3", 0)?,
            self.modify("new.txt", 1, 2, None)?,
            self.modify("data.bin", 1, 2, Some(0o640))?,
            self.delete("deep/er/than/before.txt", 1)?,
            Change::Rmdir { path: path("deep/er/than")? },
            chmod("fresh", 0o750, 0o700)?,
            chmod("bin/tool", 0o700, 0o711)?,
            Change::Delete { path: path("current")?, before: Digest::of(b"src/main.rs") },
            Change::Symlink { path: path("current")?, target: "kind".to_owned() },
            Change::Modify {
                path: path("nothing-in-it")?,
                before: Digest::of(b""),
                content: Body::new(&b"something\n"[..]),
                mode: None,
            },
        ];
        for n in (0..N_PLAIN).filter(|n| n % 3 != 0) {
            changes.push(match n % 3 {
                1 => self.modify(&plain(n), 1, 2, Some(0o600))?,
                _ => self.rename(&plain(n), &format!("moved/{n}"), &plain(n), 1)?,
            });
        }
        Ok(changes)
    }

    fn body(&self, name: &str, version: u64) -> Body {
        Body::new(bytes(self.seed, name, version))
    }

    fn digest(&self, name: &str, version: u64) -> Digest {
        Digest::of(&bytes(self.seed, name, version))
    }

    fn create(&self, at: &str, version: u64, mode: Option<u32>) -> Result<Change, Failure> {
        let content = self.body(at, version);
        Ok(Change::Create { path: path(at)?, content, mode: mode.map(FileMode::from_bits) })
    }

    fn modify(&self, at: &str, old: u64, new: u64, mode: Option<u32>) -> Result<Change, Failure> {
        Ok(Change::Modify {
            path: path(at)?,
            before: self.digest(at, old),
            content: self.body(at, new),
            mode: mode.map(FileMode::from_bits),
        })
    }

    fn delete(&self, at: &str, version: u64) -> Result<Change, Failure> {
        Ok(Change::Delete { path: path(at)?, before: self.digest(at, version) })
    }

    /// `name` is the one under which the bytes were made.
    fn rename(&self, at: &str, to: &str, name: &str, version: u64) -> Result<Change, Failure> {
        let before = self.digest(name, version);
        Ok(Change::Rename { path: path(at)?, to: path(to)?, before })
    }
}

fn chmod(at: &str, before: u32, after: u32) -> Result<Change, Failure> {
    Ok(Change::Chmod {
        path: path(at)?,
        before_mode: FileMode::from_bits(before),
        mode: FileMode::from_bits(after),
    })
}

fn path(text: &str) -> Result<WorkspacePath, Failure> {
    Ok(WorkspacePath::parse(text)?)
}
