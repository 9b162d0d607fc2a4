//! One file's part of a diff: what its headers say is done to it.

use lictor_context::WorkspacePath;

use super::hunk::{Hunk, hunks};
use super::lines::{Fault, Lines, shown};
use super::name::{Name, Side, common, git_line, side, whole};
use super::scan::refuse_foreign;

/// What a diff says about one file.
#[derive(Debug, Clone)]
pub(super) struct FilePatch {
    /// Where it begins.
    pub(super) line: u32,
    pub(super) op: Op,
    /// What kind of thing it is, where the diff says so; never changes within one patch.
    pub(super) is_link: Option<bool>,
    /// Whether it was and will be executable, where that changes.
    pub(super) executable: Option<(bool, bool)>,
    /// Whether a new file is executable.
    pub(super) new_executable: bool,
    pub(super) hunks: Vec<Hunk>,
}

/// What is done to the file.
#[derive(Debug, Clone)]
pub(super) enum Op {
    Create(WorkspacePath),
    Delete(WorkspacePath),
    Modify(WorkspacePath),
    Rename { from: WorkspacePath, to: WorkspacePath },
    Copy { from: WorkspacePath, to: WorkspacePath },
}

/// The modes that git knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum GitMode {
    File,
    Executable,
    Link,
}

/// The extended headers of git.
#[derive(Debug, Default)]
struct Extended {
    old_mode: Option<GitMode>,
    new_mode: Option<GitMode>,
    created: Option<GitMode>,
    deleted: Option<GitMode>,
    rename_from: Option<Name>,
    rename_to: Option<Name>,
    copy_from: Option<Name>,
    copy_to: Option<Name>,
    index: Option<Index>,
    similarity: Option<()>,
}

/// The `index` line: the blobs of both sides and, where it stays, the mode.
#[derive(Debug)]
struct Index {
    old: Vec<u8>,
    new: Vec<u8>,
    mode: Option<GitMode>,
}

/// The object names of the empty file, SHA-1 and SHA-256.
const EMPTY_BLOBS: [&str; 2] = [
    "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391",
    "473a0f4c3be8a93681a267e3b1e9a7dcda1185436fe141f7749120a303721813",
];

/// A part that begins with `diff --git`.
pub(super) fn git(lines: &mut Lines<'_>) -> Result<FilePatch, Fault> {
    let line = lines.number();
    let header = lines.take_header()?;
    let names = git_line(header.strip_prefix(b"diff --git ").unwrap_or_default(), line);
    let mut extended = Extended::default();
    while let Some(header) = lines.peek_header(0) {
        if !extended.read(header, lines.number())? {
            break;
        }
        lines.take()?;
    }
    let sides = sides(lines)?;
    let body = match &sides {
        Some(_) => some_hunks(lines)?,
        None => {
            let next = lines.peek_header(0).unwrap_or_default();
            refuse_foreign(next, lines.peek_header(1).unwrap_or_default(), lines.number())?;
            Vec::new()
        }
    };
    let op = extended.op(names, sides.as_ref(), line)?;
    extended.check(&op, line, &body)?;
    let mode = extended.mode();
    Ok(FilePatch {
        line,
        op,
        is_link: mode.map(|mode| mode == GitMode::Link),
        executable: match (extended.old_mode, extended.new_mode) {
            (Some(old), Some(new)) if old != new => {
                Some((old == GitMode::Executable, new == GitMode::Executable))
            }
            _ => None,
        },
        new_executable: extended.created == Some(GitMode::Executable),
        hunks: body,
    })
}

/// A part that begins with `---`.
pub(super) fn plain(lines: &mut Lines<'_>) -> Result<FilePatch, Fault> {
    let line = lines.number();
    let Some((old, new)) = sides(lines)? else {
        return Err(Fault::new(line, "`--- NAME` and `+++ NAME` are accepted here"));
    };
    let hunks = some_hunks(lines)?;
    let whole_file = |none: fn(&Hunk) -> bool| matches!(hunks.as_slice(), [hunk] if none(hunk));
    let is_new = old.is_epoch && whole_file(|hunk| hunk.n_before == 0 && hunk.n_old == 0);
    let is_gone = new.is_epoch && whole_file(|hunk| hunk.n_new == 0);
    let op = match (&old.name, &new.name) {
        (None, None) => return Err(Fault::new(line, "both sides are `/dev/null`")),
        (None, Some(name)) if is_new => Op::Create(name.without_prefix(true).path()?),
        (Some(name), None) if is_gone => Op::Delete(name.without_prefix(false).path()?),
        (None, _) | (_, None) => return Err(not_whole(line)),
        (Some(old), Some(new)) => {
            let path = common(old, new)?.path()?;
            if is_new {
                Op::Create(path)
            } else if is_gone {
                Op::Delete(path)
            } else {
                Op::Modify(path)
            }
        }
    };
    Ok(FilePatch { line, op, is_link: None, executable: None, new_executable: false, hunks })
}

fn not_whole(line: u32) -> Fault {
    let message = "a side is `/dev/null`, and the hunks are not the whole other side; accepted here: one hunk with all lines of the file";
    Fault::new(line, message)
}

/// The `---` and `+++` lines, if they are next.
fn sides(lines: &mut Lines<'_>) -> Result<Option<(Side, Side)>, Fault> {
    if !lines.peek_header(0).is_some_and(|line| line.starts_with(b"--- ")) {
        return Ok(None);
    }
    let line = lines.number();
    let old = side(lines.take_header()?.get(4..).unwrap_or_default(), line)?;
    let Some(new) = lines.peek_header(0).and_then(|line| line.strip_prefix(b"+++ ")) else {
        let message = "`--- NAME` without `+++ NAME` on the next line";
        return Err(Fault::new(line, message));
    };
    let new = side(new, lines.number())?;
    lines.take()?;
    Ok(Some((old, new)))
}

fn some_hunks(lines: &mut Lines<'_>) -> Result<Vec<Hunk>, Fault> {
    let hunks = hunks(lines)?;
    if hunks.is_empty() {
        let found =
            lines.peek(0).map_or_else(|| "the end".to_owned(), |line| shown(line).to_string());
        let message =
            format!("found {found}; accepted here: a hunk, `@@ -LINE,COUNT +LINE,COUNT @@`");
        return Err(Fault::new(lines.number().saturating_sub(1), message));
    }
    Ok(hunks)
}

impl Extended {
    /// Reads a header line; says whether it was one.
    fn read(&mut self, header: &[u8], line: u32) -> Result<bool, Fault> {
        let mut known = true;
        let twice = if let Some(text) = header.strip_prefix(b"old mode ") {
            self.old_mode.replace(mode(text, line)?).is_some()
        } else if let Some(text) = header.strip_prefix(b"new mode ") {
            self.new_mode.replace(mode(text, line)?).is_some()
        } else if let Some(text) = header.strip_prefix(b"new file mode ") {
            self.created.replace(mode(text, line)?).is_some()
        } else if let Some(text) = header.strip_prefix(b"deleted file mode ") {
            self.deleted.replace(mode(text, line)?).is_some()
        } else if let Some(text) = header.strip_prefix(b"rename from ") {
            self.rename_from.replace(whole(text, line, 13)?).is_some()
        } else if let Some(text) = header.strip_prefix(b"rename to ") {
            self.rename_to.replace(whole(text, line, 11)?).is_some()
        } else if let Some(text) = header.strip_prefix(b"copy from ") {
            self.copy_from.replace(whole(text, line, 11)?).is_some()
        } else if let Some(text) = header.strip_prefix(b"copy to ") {
            self.copy_to.replace(whole(text, line, 9)?).is_some()
        } else if header.starts_with(b"similarity index ")
            || header.starts_with(b"dissimilarity index ")
        {
            self.similarity.replace(()).is_some()
        } else if let Some(text) = header.strip_prefix(b"index ") {
            self.index.replace(index(text, line)?).is_some()
        } else {
            known = false;
            false
        };
        if twice {
            let message = format!("{} repeats a header of this file", shown(header));
            return Err(Fault::new(line, message));
        }
        Ok(known)
    }

    fn op(
        &self,
        names: Option<(Name, Name)>,
        sides: Option<&(Side, Side)>,
        line: u32,
    ) -> Result<Op, Fault> {
        let moved = match (&self.rename_from, &self.rename_to, &self.copy_from, &self.copy_to) {
            (None, None, None, None) => None,
            (Some(from), Some(to), None, None) => Some((from, to, true)),
            (None, None, Some(from), Some(to)) => Some((from, to, false)),
            _ => {
                let message =
                    "accepted here: `rename from` with `rename to`, or `copy from` with `copy to`";
                return Err(Fault::new(line, message));
            }
        };
        if let Some((from, to, is_rename)) = moved {
            if let Some((old, new)) = sides {
                for (side, name) in [(old, from), (new, to)] {
                    if !side.name.as_ref().is_some_and(|side| side.is(&name.bytes)) {
                        return Err(name.fault("the `---` and `+++` lines name other files"));
                    }
                }
            }
            if self.created.is_some() || self.deleted.is_some() {
                let message = "a file is renamed or copied, and new or deleted as well";
                return Err(Fault::new(line, message));
            }
            let (from, to) = (from.path()?, to.path()?);
            return Ok(if is_rename { Op::Rename { from, to } } else { Op::Copy { from, to } });
        }
        let Some((old, new)) = names else {
            let message = "the `diff --git` line is not understood; accepted here: one name twice, behind `a/` and `b/` or without them, or `rename from` and `rename to`";
            return Err(Fault::new(line, message));
        };
        let name = common(&old, &new)?;
        let (mut is_new, mut is_gone) = (self.created.is_some(), self.deleted.is_some());
        if let Some(sides) = sides {
            for (side, name) in [(&sides.0, &old), (&sides.1, &new)] {
                if let Some(side) = &side.name
                    && side.bytes != name.bytes
                {
                    let message = format!(
                        "{} is not what the `diff --git` line says; accepted here: {}",
                        shown(&side.bytes),
                        shown(&name.bytes)
                    );
                    return Err(side.fault(message));
                }
            }
            let (no_old, no_new) = (sides.0.name.is_none(), sides.1.name.is_none());
            if (is_new && !no_old) || (is_gone && !no_new) {
                let message = "the file is new or deleted, and the `---` and `+++` lines say otherwise; accepted here: `/dev/null` for the side without it";
                return Err(Fault::new(line, message));
            }
            (is_new, is_gone) = (no_old, no_new);
        }
        match (is_new, is_gone) {
            (true, true) => Err(Fault::new(line, "the file is new and deleted at once")),
            (true, false) => Ok(Op::Create(name.path()?)),
            (false, true) => Ok(Op::Delete(name.path()?)),
            (false, false) => Ok(Op::Modify(name.path()?)),
        }
    }

    fn mode(&self) -> Option<GitMode> {
        let index = self.index.as_ref().and_then(|index| index.mode);
        self.created.or(self.deleted).or(self.old_mode).or(index)
    }

    /// Headers that contradict each other, or promise hunks that are not there.
    fn check(&self, op: &Op, line: u32, hunks: &[Hunk]) -> Result<(), Fault> {
        if self.old_mode.is_some() != self.new_mode.is_some() {
            let message = "accepted here: `old mode` and `new mode` together";
            return Err(Fault::new(line, message));
        }
        let link = |mode: Option<GitMode>| mode.map(|mode| mode == GitMode::Link);
        let index = self.index.as_ref().and_then(|index| index.mode);
        let mut kinds = [self.created, self.deleted, self.old_mode, self.new_mode, index]
            .into_iter()
            .filter_map(link);
        let first = kinds.next();
        if kinds.any(|kind| Some(kind) != first) {
            let message = "a file becomes a symbolic link, or a link a file; accepted here: its deletion and a new one";
            return Err(Fault::new(line, message));
        }
        if !hunks.is_empty() {
            return match op {
                Op::Create(_) | Op::Delete(_) => whole_side(op, hunks, line),
                _ => Ok(()),
            };
        }
        let is_empty = |blob: &[u8]| {
            EMPTY_BLOBS.iter().any(|empty| blob.len() >= 4 && empty.as_bytes().starts_with(blob))
        };
        let complete = match (op, &self.index) {
            (Op::Create(_), Some(index)) => is_empty(&index.new),
            (Op::Delete(_), Some(index)) => is_empty(&index.old),
            (Op::Create(_) | Op::Delete(_), None) => first != Some(true),
            (Op::Modify(_), index) => index.is_none() && self.old_mode.is_some(),
            (Op::Rename { .. } | Op::Copy { .. }, Some(index)) => index.old == index.new,
            (Op::Rename { .. } | Op::Copy { .. }, None) => true,
        };
        if complete {
            return Ok(());
        }
        let message = "the headers promise other content, and no hunk follows; accepted here: the whole diff of the file";
        Err(Fault::new(line, message))
    }
}

/// New and deleted files are given as a whole.
fn whole_side(op: &Op, hunks: &[Hunk], line: u32) -> Result<(), Fault> {
    let fits = match (op, hunks) {
        (Op::Create(_), [hunk]) => hunk.n_before == 0 && hunk.n_old == 0,
        (_, [hunk]) => hunk.n_before == 0 && hunk.n_new == 0,
        _ => false,
    };
    if fits { Ok(()) } else { Err(not_whole(line)) }
}

fn mode(text: &[u8], line: u32) -> Result<GitMode, Fault> {
    match text {
        b"100644" => Ok(GitMode::File),
        b"100755" => Ok(GitMode::Executable),
        b"120000" => Ok(GitMode::Link),
        b"160000" => {
            let message = "mode 160000 is a submodule, which a change set cannot hold; accepted here: files and symbolic links";
            Err(Fault::new(line, message))
        }
        _ => {
            let message =
                format!("mode {} is not known; accepted here: 100644, 100755, 120000", shown(text));
            Err(Fault::new(line, message))
        }
    }
}

/// `OLD..NEW` or `OLD..NEW MODE`.
fn index(text: &[u8], line: u32) -> Result<Index, Fault> {
    let mut words = text.splitn(2, |byte| *byte == b' ');
    let blobs = words.next().unwrap_or_default();
    let is_hex = |blob: &[u8]| !blob.is_empty() && blob.iter().all(u8::is_ascii_hexdigit);
    let dots = blobs.windows(2).position(|pair| pair == b"..");
    let parts = dots.and_then(|at| Some((blobs.get(..at)?, blobs.get(at + 2..)?)));
    let Some((old, new)) = parts.filter(|(old, new)| is_hex(old) && is_hex(new)) else {
        let message = format!("{} is no index; accepted here: `OLD..NEW MODE`", shown(text));
        return Err(Fault::new(line, message));
    };
    let mode = words.next().map(|text| mode(text, line)).transpose()?;
    Ok(Index { old: old.to_vec(), new: new.to_vec(), mode })
}
