//! The documents on disk: `.lictor/capabilities`, `.lictor/packs`, `.lictor/facades`.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use lictor_capability::WorkflowDocument;
use lictor_context::Digest;
use lictor_document::{Limits, Source};
use lictor_governance::{CatalogueKey, CatalogueKind, Document};

use super::flows::{Flows, over};

/// More files than this in one folder are no catalogue.
pub(super) const MAX_FILES: usize = 20_000;

/// Something in the folders that is no document of the catalogue, and why.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct CatalogueProblem {
    /// The file, relative to the workspace.
    pub file: String,
    /// What is wrong with it.
    pub problem: String,
}

/// A file that was read.
#[derive(Debug, Clone)]
struct Seen {
    stamp: Stamp,
    bytes: Digest,
    document: Result<Document, String>,
    /// Of a contract that calls a workflow: that document, and the contract over it.
    resolved: Option<(WorkflowDocument, Document)>,
}

impl Seen {
    /// The document as it is used: over that of the workflow that it calls, if it calls one.
    fn resolved(&mut self, flows: &Flows) -> Result<Document, String> {
        let document = self.document.as_ref().map_err(Clone::clone)?;
        let Some(found) = flows.called_by(document)? else { return Ok(document.clone()) };
        match &self.resolved {
            // The very same one: whoever holds it sees that nothing has changed.
            Some((of, known)) if *of == found => Ok(known.clone()),
            _ => {
                let document = over(document, found.clone());
                self.resolved = Some((found, document.clone()));
                Ok(document)
            }
        }
    }
}

/// Tells whether a file was touched since it was read. It saves reading, and is no proof: what is
/// used is read anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stamp {
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// The folders, as they were when they were last looked at.
#[derive(Debug, Default)]
pub(super) struct Files {
    seen: BTreeMap<(CatalogueKind, String), Seen>,
    /// Where each document lies.
    places: BTreeMap<CatalogueKey, (CatalogueKind, String)>,
    /// What contracts may call.
    flows: Flows,
    /// What all of that amounts to, and what was odd in the folders themselves.
    found: Found,
    odd: Vec<CatalogueProblem>,
    /// The [changes](Flows::changes) of the flows by then; nothing when it has to be worked out.
    sorted_out: Option<u64>,
}

/// What lies in the folders.
#[derive(Debug, Clone, Default)]
pub(super) struct Found {
    pub(super) documents: Vec<Document>,
    pub(super) problems: Vec<CatalogueProblem>,
}

fn shown(kind: CatalogueKind, name: &str) -> String {
    format!(".lictor/{}/{name}", kind.folder())
}

impl Files {
    /// Looks at the folders below `root` (`.lictor`) again; says whether anything is another one than
    /// the last time. What is found is then [`Files::found`].
    pub(super) fn look(&mut self, root: &Path) -> bool {
        self.flows.look(root);
        let mut before = std::mem::take(&mut self.seen);
        let (mut odd, mut read_any) = (Vec::new(), false);
        for kind in CatalogueKind::ALL {
            let folder = root.join(kind.folder());
            match self.folder(kind, &folder, &mut before, &mut read_any) {
                Ok(in_folder) => odd.extend(in_folder),
                Err(error) => odd.push(CatalogueProblem {
                    file: format!(".lictor/{}", kind.folder()),
                    problem: format!("the folder cannot be read: {error}"),
                }),
            }
        }
        let flows = Some(self.flows.changes());
        // What is left there has gone.
        if !read_any && before.is_empty() && odd == self.odd && flows == self.sorted_out {
            return false;
        }
        // Not before it is done.
        self.sorted_out = None;
        let problems = [self.flows.problems(), &odd].concat();
        let mut found = Found { documents: Vec::new(), problems };
        self.sort_out(&mut found);
        (self.found, self.odd, self.sorted_out) = (found, odd, flows);
        true
    }

    /// What lay there when it was last looked.
    pub(super) fn found(&self) -> &Found {
        &self.found
    }

    /// What was read before is taken out of `before`; `read_any` tells whether one was read anew.
    fn folder(
        &mut self,
        kind: CatalogueKind,
        folder: &Path,
        before: &mut BTreeMap<(CatalogueKind, String), Seen>,
        read_any: &mut bool,
    ) -> io::Result<Vec<CatalogueProblem>> {
        let entries = match fs::read_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other?,
        };
        let mut problems = Vec::new();
        for (count, entry) in entries.enumerate() {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with('.') || !name.ends_with(".yaml") {
                continue;
            }
            let mut odd = |problem: &str| {
                problems.push(CatalogueProblem {
                    file: shown(kind, &name),
                    problem: problem.to_owned(),
                });
            };
            if count >= MAX_FILES {
                odd("there are too many files; this one and what follows is left out");
                break;
            }
            let metadata = entry.path().symlink_metadata()?;
            if !metadata.is_file() {
                odd("it is no regular file; links are not followed");
                continue;
            }
            let stamp = Stamp::of(&metadata);
            let key = (kind, name);
            let seen = match before.remove(&key).filter(|seen| seen.stamp == stamp) {
                Some(seen) => seen,
                None => {
                    *read_any = true;
                    let bytes = read(&entry.path())?;
                    let document = parse(kind, &key.1, &bytes);
                    Seen { stamp, bytes: Digest::of(&bytes), document, resolved: None }
                }
            };
            self.seen.insert(key, seen);
        }
        Ok(problems)
    }

    /// Two files that hold the same id and version hold neither.
    fn sort_out(&mut self, found: &mut Found) {
        self.places.clear();
        let mut holders: BTreeMap<CatalogueKey, Vec<(CatalogueKind, String)>> = BTreeMap::new();
        for (place, seen) in &self.seen {
            match &seen.document {
                Ok(document) => holders.entry(document.key()).or_default().push(place.clone()),
                Err(problem) => found.problems.push(CatalogueProblem {
                    file: shown(place.0, &place.1),
                    problem: problem.clone(),
                }),
            }
        }
        for (key, places) in holders {
            match places.as_slice() {
                [place] => {
                    let seen = self.seen.get_mut(place);
                    match seen.map(|seen| seen.resolved(&self.flows)) {
                        Some(Ok(document)) => found.documents.push(document),
                        Some(Err(problem)) => found
                            .problems
                            .push(CatalogueProblem { file: shown(place.0, &place.1), problem }),
                        None => {}
                    }
                    self.places.insert(key, place.clone());
                }
                several => {
                    for (kind, name) in several {
                        found.problems.push(CatalogueProblem {
                            file: shown(*kind, name),
                            problem: format!("several files hold the {key}; none of them counts"),
                        });
                    }
                }
            }
        }
    }

    /// A document over that of the workflow that it calls, as both are now.
    pub(super) fn resolve(&mut self, root: &Path, document: Document) -> Result<Document, String> {
        self.flows.look(root);
        self.flows.resolve(document)
    }

    /// The digest of a document as its file holds it at this moment, and of a workflow that it calls
    /// as that one's does; `None` when it is gone.
    pub(super) fn digest_now(
        &mut self,
        root: &Path,
        key: &CatalogueKey,
    ) -> io::Result<Option<Digest>> {
        let Some(place) = self.places.get(key) else { return Ok(None) };
        let path = root.join(place.0.folder()).join(&place.1);
        let bytes = match read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let known = self.seen.get(place).filter(|seen| seen.bytes == Digest::of(&bytes));
        let known = known.and_then(|seen| seen.document.as_ref().ok()).cloned();
        let document = match known {
            Some(document) => Ok(document),
            None => parse(place.0, &place.1, &bytes),
        };
        let document = document.map_err(|why| io::Error::new(io::ErrorKind::InvalidData, why))?;
        let document = match document.contract().and_then(|contract| contract.calls_workflow()) {
            Some(id) => over(&document, self.flows.find_now(root, id)?),
            None => document,
        };
        Ok((document.key() == *key).then(|| document.digest()))
    }

    /// The file that holds a document, relative to the workspace.
    pub(super) fn place(&self, key: &CatalogueKey) -> Option<String> {
        self.places.get(key).map(|(kind, name)| shown(*kind, name))
    }

    /// Writes a document that no file holds yet, under a name that no file has yet.
    pub(super) fn add(root: &Path, key: &CatalogueKey, bytes: &[u8]) -> io::Result<String> {
        let folder = root.join(key.kind.folder());
        fs::create_dir_all(&folder)?;
        let names = [format!("{}.yaml", key.id), format!("{}@{}.yaml", key.id, key.version)];
        let mut last = io::Error::from(io::ErrorKind::AlreadyExists);
        for name in names {
            let path: PathBuf = folder.join(&name);
            let opened = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&path);
            match opened {
                Ok(mut file) => {
                    file.write_all(bytes)?;
                    file.sync_all()?;
                    File::open(&folder)?.sync_all()?;
                    return Ok(shown(key.kind, &name));
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }
}

impl Files {
    /// Puts other bytes into a file that is there, whole or not at all. `place` is as
    /// [`Files::place`] gives it.
    #[expect(
        clippy::disallowed_methods,
        reason = "the catalogue's folder is no part of the workspace"
    )]
    pub(super) fn replace(root: &Path, place: &str, bytes: &[u8]) -> io::Result<()> {
        let path = root.join(place.strip_prefix(".lictor/").unwrap_or(place));
        let folder = path.parent().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let mut temporary = tempfile_in(folder)?;
        temporary.1.write_all(bytes)?;
        temporary.1.sync_all()?;
        if let Err(error) = fs::rename(&temporary.0, &path) {
            fs::remove_file(&temporary.0)?;
            return Err(error);
        }
        File::open(folder)?.sync_all()
    }
}

/// A new file that no catalogue looks at, for what is to take another one's place.
fn tempfile_in(folder: &Path) -> io::Result<(PathBuf, File)> {
    let mut random = [0_u8; 16];
    File::open("/dev/urandom")?.read_exact(&mut random)?;
    let path = folder.join(format!(".{}.tmp", Digest::of(&random).hex()));
    let file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&path)?;
    Ok((path, file))
}

/// A file's bytes, one more than a document may have so that the reader says that it is too large.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).unwrap_or(0);
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    // In one go, as a rule: it is read for every action.
    let most = Limits::default().max_bytes + 1;
    let length = usize::try_from(file.metadata()?.len().min(most)).unwrap_or(0);
    let mut bytes = Vec::with_capacity(length + 1);
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn parse(kind: CatalogueKind, name: &str, bytes: &[u8]) -> Result<Document, String> {
    let source_name = shown(kind, name);
    let document = Document::from_yaml(kind, &Source::new(&source_name, bytes));
    let document = document.map_err(|error| error.to_string())?;
    let stem = name.strip_suffix(".yaml").unwrap_or(name);
    let (id, version) = (document.id(), document.version());
    if stem == id || stem == format!("{id}@{version}") {
        return Ok(document);
    }
    Err(format!("it holds `{id}` {version} and belongs into `{id}.yaml` or `{id}@{version}.yaml`"))
}
