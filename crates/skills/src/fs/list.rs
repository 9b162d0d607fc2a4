//! `fs.list`.

use lictor_capability::{
    Effects, EntryKind, FileMode, Listed, ViewError, ViewErrorKind, WorkspaceView,
};
use lictor_context::WorkspacePath;
use lictor_executor::{HandlerError, Request};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{opening, path};
use crate::skill::{Skill, parse};

/// Named, but not gone into by a recursive listing.
pub(super) const CLOSED: [&str; 2] = [".git", ".lictor"];
/// How many entries are answered unless the input says.
const DEFAULT_ENTRIES: usize = 1000;

#[derive(Deserialize)]
struct Input<'a> {
    path: Option<&'a str>,
    #[serde(default)]
    recursive: bool,
    max_entries: Option<usize>,
}

pub(crate) struct List;

impl Skill for List {
    fn reads_again(&self) -> bool {
        true
    }

    /// Every directory that will be listed is named, so that a rule about one is heard.
    fn effects(&self, request: Request<'_>) -> Result<Effects, HandlerError> {
        let input: Input<'_> = parse(request.input())?;
        let root = input.path.map(|text| path("path", text)).transpose()?;
        let mut effects = match &root {
            Some(root) => opening(request.view, root.clone()),
            None => Effects { reads_root: true, ..Effects::default() },
        };
        if input.recursive && effects.violations.is_empty() {
            let listing = Listing::collect(request.view, root, &input)?;
            effects.reads.extend(listing.entered);
        }
        Ok(effects)
    }

    fn output(
        &self,
        input: &Value,
        _: &Effects,
        view: &dyn WorkspaceView,
    ) -> Result<Value, HandlerError> {
        let input: Input<'_> = parse(input)?;
        let root = input.path.map(|text| path("path", text)).transpose()?;
        let listing = Listing::collect(view, root, &input)?;
        let entries = listing.entries.iter().map(|found| found.report(view));
        let entries = entries.collect::<Result<Vec<_>, _>>()?;
        Ok(json!({ "entries": entries, "truncated": listing.truncated }))
    }
}

#[derive(Default)]
struct Listing {
    entries: Vec<Found>,
    /// The directories below the first that were listed as well.
    entered: Vec<WorkspacePath>,
    truncated: bool,
}

struct Found {
    shown: String,
    /// `None` where the name is not one that Lictor accepts: then it is named, and no more.
    path: Option<WorkspacePath>,
    kind: EntryKind,
}

impl Found {
    fn new(dir: Option<&WorkspacePath>, listed: Listed) -> Self {
        let shown = match dir {
            Some(dir) => format!("{dir}/{}", listed.name),
            None => listed.name,
        };
        let path = WorkspacePath::parse(&shown).ok();
        Self { shown, path, kind: listed.kind }
    }

    fn is_open(&self) -> bool {
        let closed = |path: &WorkspacePath| CLOSED.contains(&path.name());
        self.kind == EntryKind::Directory && !self.path.as_ref().is_none_or(closed)
    }

    fn report(&self, view: &dyn WorkspaceView) -> Result<Value, ViewError> {
        let entry = match &self.path {
            None => None,
            Some(path) => match view.entry(path) {
                Ok(entry) => entry.filter(|entry| entry.kind == self.kind),
                // Names in the root may be listed without the files being readable.
                Err(error) if matches!(error.kind(), ViewErrorKind::Undeclared) => None,
                Err(error) => return Err(error),
            },
        };
        let mut report = json!({ "path": self.shown, "kind": self.kind });
        if let (Some(entry), Some(fields)) = (entry, report.as_object_mut()) {
            if self.kind == EntryKind::File {
                fields.insert("bytes".to_owned(), json!(entry.size));
            }
            if self.kind != EntryKind::Symlink {
                fields.insert("mode".to_owned(), json!(FileMode::from_bits(entry.mode)));
            }
        }
        Ok(report)
    }
}

impl Listing {
    fn collect(
        view: &dyn WorkspaceView,
        root: Option<WorkspacePath>,
        input: &Input<'_>,
    ) -> Result<Self, HandlerError> {
        let most = input.max_entries.unwrap_or(DEFAULT_ENTRIES);
        let mut listing = Self::default();
        let names = view.list(root.as_ref())?;
        let mut open = vec![(root, names.into_iter())];
        while let Some((dir, names)) = open.last_mut() {
            let Some(listed) = names.next() else {
                open.pop();
                continue;
            };
            if listing.entries.len() == most {
                listing.truncated = true;
                break;
            }
            let found = Found::new(dir.as_ref(), listed);
            if input.recursive && found.is_open() {
                match view.list(found.path.as_ref()) {
                    Ok(names) => {
                        listing.entered.extend(found.path.clone());
                        open.push((found.path.clone(), names.into_iter()));
                    }
                    // It came after the effects were described.
                    Err(error) if matches!(error.kind(), ViewErrorKind::Undeclared) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            listing.entries.push(found);
        }
        Ok(listing)
    }
}
