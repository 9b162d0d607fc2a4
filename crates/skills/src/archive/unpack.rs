//! `archive.unzip`.
//!
//! Nothing that an archive says about itself is believed: names go through the parser of paths,
//! sizes are counted while they are read, and what is no file and no directory is refused.

use std::collections::BTreeMap;
use std::io::{Cursor, Read as _};

use lictor_capability::{
    Body, Change, EffectKind, Effects, EntryKind, FileMode, State, WorkspaceView,
};
use lictor_context::WorkspacePath;
use lictor_executor::{HandlerError, Request};
use serde::Deserialize;
use serde_json::{Value, json};
use zip::read::ZipFile;
use zip::result::ZipError;
use zip::{CompressionMethod, ZipArchive};

use super::{MAX_ARCHIVE, MAX_CONTENT, MAX_ENTRIES};
use crate::fs::{look, opening, path};
use crate::skill::{Skill, changing, parse};

/// What an entry of the list at an archive's end begins with.
const LISTED: &[u8] = b"PK\x01\x02";
/// Of the bits that name a kind of file in Unix, those for the kind; a file, and a directory.
const KIND: u32 = 0o170_000;
const KIND_FILE: u32 = 0o100_000;
const KIND_DIRECTORY: u32 = 0o040_000;

#[derive(Deserialize)]
struct Input<'a> {
    from: &'a str,
    to: &'a str,
    #[serde(default)]
    replace: bool,
}

pub(crate) struct Unzip;

impl Skill for Unzip {
    fn effects(&self, request: Request<'_>) -> Result<Effects, HandlerError> {
        let (input, view): (Input<'_>, _) = (parse(request.input())?, request.view);
        let (from, to) = (path("from", input.from)?, path("to", input.to)?);
        let mut asked = opening(view, from.clone());
        asked.intended = vec![(EffectKind::FsWrite, to.clone())];
        if !asked.violations.is_empty() {
            return Ok(asked);
        }
        let bytes = view.read(&from, MAX_ARCHIVE)?;
        let held = unpack(&bytes, &to)?;
        let changes = held
            .into_iter()
            .map(|(path, held)| held.change(path, view, input.replace))
            .filter_map(Result::transpose)
            .collect::<Result<Vec<Change>, HandlerError>>()?;
        Ok(Effects { reads: vec![from], ..changing(&changes, view)? })
    }

    fn output(
        &self,
        input: &Value,
        effects: &Effects,
        _: &dyn WorkspaceView,
    ) -> Result<Value, HandlerError> {
        let input: Input<'_> = parse(input)?;
        let (mut files, mut bytes) = (Vec::new(), 0);
        for item in &effects.changes.items {
            if let (Some(path), Some(State::File { bytes: size, .. })) = (&item.to, item.after) {
                files.push(path);
                bytes += size;
            }
        }
        Ok(json!({ "from": input.from, "to": input.to, "files": files, "bytes": bytes }))
    }
}

/// What an archive holds at a path.
enum Held {
    Directory,
    File(Vec<u8>, Option<FileMode>),
}

impl Held {
    /// The change that makes it so; none where it is so already.
    fn change(
        self,
        path: WorkspacePath,
        view: &dyn WorkspaceView,
        replace: bool,
    ) -> Result<Option<Change>, HandlerError> {
        let there = look(view, &path)?.map(|entry| entry.kind);
        Ok(match (self, there) {
            (Self::Directory, Some(EntryKind::Directory)) => None,
            (Self::Directory, _) => Some(Change::Mkdir { path, mode: None }),
            (Self::File(bytes, mode), Some(EntryKind::File)) if replace => {
                let before = view.digest(&path)?;
                Some(Change::Modify { path, before, content: Body::new(bytes), mode })
            }
            (Self::File(bytes, mode), _) => {
                Some(Change::Create { path, content: Body::new(bytes), mode })
            }
        })
    }
}

/// Everything that the archive holds, by where it goes.
fn unpack(bytes: &[u8], to: &WorkspacePath) -> Result<BTreeMap<WorkspacePath, Held>, HandlerError> {
    let too_many = || {
        HandlerError::input(format!(
            "the archive holds more than {MAX_ENTRIES} entries, the most that are accepted"
        ))
    };
    // Before the library makes room for each: archives inside of this one count as well, and ten
    // times as many are for them.
    let listed = bytes.windows(LISTED.len()).filter(|window| *window == LISTED).count();
    if listed > 10 * MAX_ENTRIES {
        return Err(too_many());
    }
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|error| broken(&error))?;
    if archive.len() > MAX_ENTRIES {
        return Err(too_many());
    }
    if archive.has_duplicate_names() {
        return Err(HandlerError::input(
            "the archive holds a name twice; each name once is accepted",
        ));
    }
    let mut all = BTreeMap::new();
    let mut left = MAX_CONTENT;
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).map_err(|error| broken(&error))?;
        let path = target(&entry, to, index)?;
        let held = held(&mut entry, &path, &mut left)?;
        if all.insert(path.clone(), held).is_some() {
            return Err(HandlerError::input(format!(
                "two entries of the archive go to `{path}`; each path once is accepted"
            )));
        }
    }
    for path in all.keys() {
        let file = path
            .ancestors()
            .find(|above| matches!(all.get(above), Some(Held::File(..))) && above != path);
        if let Some(file) = file {
            return Err(HandlerError::input(format!(
                "the archive holds `{file}` as a file and something below it"
            )));
        }
    }
    Ok(all)
}

/// Where an entry goes: its name, as it stands, below the folder, or nowhere.
fn target<R: std::io::Read>(
    entry: &ZipFile<'_, R>,
    to: &WorkspacePath,
    index: usize,
) -> Result<WorkspacePath, HandlerError> {
    let refused = |why: &dyn std::fmt::Display| {
        HandlerError::input(format!(
            "entry {index} of the archive has a name that is refused: {why}"
        ))
    };
    let name = std::str::from_utf8(entry.name_raw()).map_err(|_| refused(&"it is not UTF-8"))?;
    // Both spellings of a directory are in use; nothing else about a name is repaired.
    let name = if entry.is_dir() { name.strip_suffix('/').unwrap_or(name) } else { name };
    let inside = WorkspacePath::parse(name).map_err(|error| refused(&error))?;
    let path = WorkspacePath::parse(&format!("{to}/{inside}")).map_err(|error| refused(&error))?;
    // INVARIANT: what an archive holds stays below the folder.
    if path.is_within(to) && path != *to { Ok(path) } else { Err(refused(&"it leaves the folder")) }
}

fn held<R: std::io::Read>(
    entry: &mut ZipFile<'_, R>,
    path: &WorkspacePath,
    left: &mut u64,
) -> Result<Held, HandlerError> {
    let kind = entry.unix_mode().map_or(0, |mode| mode & KIND);
    let plain = match kind {
        0 => true,
        KIND_FILE => !entry.is_dir(),
        KIND_DIRECTORY => entry.is_dir(),
        _ => false,
    };
    if !plain || entry.is_symlink() {
        return Err(HandlerError::input(format!(
            "`{path}` is a symbolic link or something else that is no file and no directory; \
             archives of files and directories are accepted"
        )));
    }
    if entry.is_dir() {
        return Ok(Held::Directory);
    }
    let known = [CompressionMethod::Stored, CompressionMethod::Deflated];
    if entry.encrypted() || !known.contains(&entry.compression()) {
        return Err(HandlerError::input(format!(
            "`{path}` is encrypted or compressed in another way than `stored` and `deflated`, \
             which are accepted"
        )));
    }
    let mut bytes = Vec::new();
    let read = entry.take(*left + 1).read_to_end(&mut bytes).map_err(|error| {
        HandlerError::input(format!("`{path}` cannot be read from the archive: {error}"))
    })?;
    *left = left.checked_sub(read as u64).ok_or_else(|| {
        HandlerError::input(format!(
            "the archive holds more than {MAX_CONTENT} bytes of files, the most that are accepted"
        ))
    })?;
    // As a strict umask has it: nobody else may write, and nothing runs as somebody else.
    let mode = |mode: u32| FileMode::from_bits((mode & 0o755) | 0o600);
    let mode = entry.unix_mode().filter(|mode| mode & 0o777 != 0).map(mode);
    Ok(Held::File(bytes, mode))
}

fn broken(error: &ZipError) -> HandlerError {
    HandlerError::input(format!("it is no ZIP archive that is accepted here: {error}"))
}
