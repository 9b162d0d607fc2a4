//! `fs.glob` and `fs.search`: names and lines, found by pattern.

use globset::{Glob, GlobBuilder, GlobSet, GlobSetBuilder};
use lictor_capability::{Effects, EntryKind, ViewErrorKind, WorkspaceView};
use lictor_context::WorkspacePath;
use lictor_executor::{HandlerError, Request};
use serde::Deserialize;
use serde_json::{Value, json};

use super::list::CLOSED;
use super::{look, opening};
use crate::pattern;
use crate::skill::{Skill, parse};

/// The most names that one call looks at.
const MAX_SCANNED: usize = 100_000;
/// How many paths and lines are answered unless the input says.
const DEFAULT_ANSWERS: usize = 200;
/// The most files that one search reads, the most bytes of one, and of all of them.
const MAX_FILES: usize = 2000;
const MAX_FILE: u64 = 4 << 20;
const MAX_READ: u64 = 64 << 20;
/// The most bytes of a line that are shown.
const MAX_LINE: usize = 500;

#[derive(Deserialize)]
struct GlobInput<'a> {
    pattern: &'a str,
    max_entries: Option<usize>,
}

pub(crate) struct GlobNames;

impl Skill for GlobNames {
    fn reads_again(&self) -> bool {
        true
    }

    /// As of a listing: every directory whose names are looked at.
    fn effects(&self, request: Request<'_>) -> Result<Effects, HandlerError> {
        let input: GlobInput<'_> = parse(request.input())?;
        let scope = Scope::new("pattern", input.pattern, &[], true)?;
        let (mut effects, open) = scope.start(request.view)?;
        if open {
            effects.reads.extend(scope.scan(request.view)?.entered);
        }
        Ok(effects)
    }

    fn output(
        &self,
        input: &Value,
        _: &Effects,
        view: &dyn WorkspaceView,
    ) -> Result<Value, HandlerError> {
        let input: GlobInput<'_> = parse(input)?;
        let scope = Scope::new("pattern", input.pattern, &[], true)?;
        let most = input.max_entries.unwrap_or(DEFAULT_ANSWERS);
        let mut scan = scope.scan(view)?;
        let truncated = scan.truncated || scan.found.len() > most;
        scan.found.truncate(most);
        let entry = |found: &Found| json!({ "path": found.path, "kind": found.kind });
        let entries: Vec<Value> = scan.found.iter().map(entry).collect();
        Ok(json!({ "entries": entries, "truncated": truncated }))
    }
}

#[derive(Deserialize)]
struct SearchInput<'a> {
    pattern: &'a str,
    glob: Option<&'a str>,
    #[serde(default)]
    exclude: Vec<&'a str>,
    #[serde(default)]
    hidden: bool,
    max_matches: Option<usize>,
}

impl SearchInput<'_> {
    fn scope(&self) -> Result<Scope, HandlerError> {
        Scope::new("glob", self.glob.unwrap_or("**"), &self.exclude, self.hidden)
    }
}

pub(crate) struct Search;

impl Skill for Search {
    fn reads_again(&self) -> bool {
        true
    }

    /// Every single file that will be read is named, so that a rule about one is heard.
    fn effects(&self, request: Request<'_>) -> Result<Effects, HandlerError> {
        let input: SearchInput<'_> = parse(request.input())?;
        pattern::compile(input.pattern)?;
        let scope = input.scope()?;
        let (mut effects, open) = scope.start(request.view)?;
        if !open {
            return Ok(effects);
        }
        let scan = scope.scan(request.view)?;
        let files = scan.found.into_iter().filter(|found| found.kind == EntryKind::File);
        let files: Vec<WorkspacePath> = files.map(|found| found.path).collect();
        if scan.truncated || files.len() > MAX_FILES {
            return Err(HandlerError::input(format!(
                "the search would read more than {MAX_FILES} files or look at more than \
                 {MAX_SCANNED} names; narrow it by `glob` or `exclude`"
            )));
        }
        if !files.is_empty() {
            // A directory that is read stands for all that it holds: it is looked at, not declared.
            effects.reads = files;
            effects.reads_root = false;
        }
        Ok(effects)
    }

    fn output(
        &self,
        input: &Value,
        effects: &Effects,
        view: &dyn WorkspaceView,
    ) -> Result<Value, HandlerError> {
        let input: SearchInput<'_> = parse(input)?;
        let regex = pattern::compile(input.pattern)?;
        let most = input.max_matches.unwrap_or(DEFAULT_ANSWERS);
        let mut answer = Answer { matches: Vec::new(), files: 0, skipped: 0, truncated: false };
        let mut left = MAX_READ;
        for path in &effects.reads {
            if view.entry(path)?.is_none_or(|entry| entry.kind != EntryKind::File) {
                continue; // nothing was found, or it went since it was described
            }
            let text = match view.read(path, MAX_FILE.min(left)) {
                Ok(bytes) => {
                    left = left.saturating_sub(bytes.len() as u64);
                    String::from_utf8(bytes).ok()
                }
                Err(error) if matches!(error.kind(), ViewErrorKind::TooLarge { .. }) => None,
                Err(error) => return Err(error.into()),
            };
            let Some(text) = text.filter(|text| !text.contains('\0')) else {
                answer.skipped += 1;
                continue;
            };
            answer.files += 1;
            for (index, line) in text.lines().enumerate() {
                let Some(found) = regex.find(line) else { continue };
                if answer.matches.len() == most {
                    answer.truncated = true;
                    return Ok(answer.report());
                }
                answer.matches.push(json!({
                    "path": path, "line": index + 1, "column": found.start() + 1,
                    "text": cut(line),
                }));
            }
        }
        Ok(answer.report())
    }
}

struct Answer {
    matches: Vec<Value>,
    files: usize,
    skipped: usize,
    truncated: bool,
}

impl Answer {
    fn report(self) -> Value {
        json!({
            "matches": self.matches, "files": self.files, "skipped": self.skipped,
            "truncated": self.truncated,
        })
    }
}

fn cut(line: &str) -> &str {
    line.get(..line.floor_char_boundary(MAX_LINE)).unwrap_or(line)
}

/// Which names a call is about.
struct Scope {
    /// Where it begins: the part of the pattern without wildcards.
    base: Option<WorkspacePath>,
    wanted: GlobSet,
    exclude: GlobSet,
    hidden: bool,
}

struct Found {
    path: WorkspacePath,
    kind: EntryKind,
}

#[derive(Default)]
struct Scan {
    found: Vec<Found>,
    entered: Vec<WorkspacePath>,
    truncated: bool,
}

impl Scope {
    fn new(key: &str, pattern: &str, exclude: &[&str], hidden: bool) -> Result<Self, HandlerError> {
        let wanted = set(key, &[pattern])?;
        let exclude = set("exclude", exclude)?;
        let parts: Vec<&str> = pattern.split('/').collect();
        let plain = parts.iter().take_while(|part| !part.contains(['*', '?', '[', '{', '\\']));
        // The last part is a name to be found, and no directory to look into.
        let plain: Vec<&str> = plain.take(parts.len().saturating_sub(1)).copied().collect();
        let base = if plain.is_empty() { None } else { Some(super::path(key, &plain.join("/"))?) };
        Ok(Self { base, wanted, exclude, hidden })
    }

    /// The effects of beginning, and whether there is a directory to look into.
    fn start(&self, view: &dyn WorkspaceView) -> Result<(Effects, bool), HandlerError> {
        let Some(base) = &self.base else {
            return Ok((Effects { reads_root: true, ..Effects::default() }, true));
        };
        let effects = opening(view, base.clone());
        let entry = if effects.violations.is_empty() { look(view, base)? } else { None };
        let open = entry.is_some_and(|entry| entry.kind == EntryKind::Directory);
        Ok((effects, open))
    }

    fn scan(&self, view: &dyn WorkspaceView) -> Result<Scan, HandlerError> {
        let mut scan = Scan::default();
        let names = match view.list(self.base.as_ref()) {
            Ok(names) => names,
            Err(error)
                if matches!(
                    error.kind(),
                    ViewErrorKind::NotFound | ViewErrorKind::NotADirectory
                ) =>
            {
                return Ok(scan);
            }
            Err(error) => return Err(error.into()),
        };
        let mut open = vec![(self.base.clone(), names.into_iter())];
        let mut scanned = 0;
        while let Some((dir, names)) = open.last_mut() {
            let Some(listed) = names.next() else {
                open.pop();
                continue;
            };
            if scanned == MAX_SCANNED {
                scan.truncated = true;
                break;
            }
            scanned += 1;
            let path = match dir {
                Some(dir) => dir.join(&listed.name),
                None => WorkspacePath::parse(&listed.name),
            };
            // A name that Lictor does not accept cannot be asked for either.
            let Ok(path) = path else { continue };
            if (!self.hidden && listed.name.starts_with('.'))
                || self.exclude.is_match(path.as_str())
            {
                continue;
            }
            if self.wanted.is_match(path.as_str()) {
                scan.found.push(Found { path: path.clone(), kind: listed.kind });
            }
            if listed.kind == EntryKind::Directory && !CLOSED.contains(&path.name()) {
                match view.list(Some(&path)) {
                    Ok(names) => {
                        scan.entered.push(path.clone());
                        open.push((Some(path), names.into_iter()));
                    }
                    // It came after the effects were described, it went, or it is forbidden.
                    Err(error)
                        if matches!(
                            error.kind(),
                            ViewErrorKind::Undeclared
                                | ViewErrorKind::NotFound
                                | ViewErrorKind::Forbidden
                        ) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        scan.found.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(scan)
    }
}

fn set(key: &str, patterns: &[&str]) -> Result<GlobSet, HandlerError> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        set.add(glob(key, pattern)?);
    }
    set.build().map_err(|error| HandlerError::input(format!("`{key}`: {}", error.kind())))
}

/// A glob as everywhere in Lictor: `*` stays within one name, and it begins at the root.
fn glob(key: &str, pattern: &str) -> Result<Glob, HandlerError> {
    GlobBuilder::new(pattern)
        .literal_separator(true)
        .build()
        .map_err(|error| HandlerError::input(format!("`{key}`: {}", error.kind())))
}
