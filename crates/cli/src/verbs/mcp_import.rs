//! `mcp import`: the servers that clients start already, behind the road from then on.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use lictor::context::{Clock as _, Digest, Event, EventFacts, EventType, SystemClock};
use lictor::{ErrorCode, Runtime};
use lictor_lines::Comparison;
use serde_json::{Value, json};

use super::Answer;
use crate::clients::backup::{self, Kept, Shelf};
use crate::clients::places::{self, Client, Place, Scope};
use crate::clients::text::{Document, MAX_BYTES};
use crate::clients::wrapping::{self, Found, What, Wrapped, filled_in};
use crate::context::{Context, keys_folder};
use crate::failure::Failure;
use crate::mcp_args::Import;
use crate::output::{Output, at_terminal, visible};
use crate::{files, page};

pub(crate) async fn import(wish: Import, context: &Context, output: &Output) -> Answer {
    let root = root(context);
    if wish.revert {
        return revert(&wish, &root, context, output).await;
    }
    let planned = plan(&wish, &root)?;
    let text: String = planned.iter().map(|one| one.text(&wish.lictor)).collect();
    let changed = planned.iter().any(Planned::changes);
    if wish.dry.dry_run || !changed {
        let json = json!({ "files": planned.iter().map(|one| one.json(None)).collect::<Vec<_>>() });
        let end = if changed { "" } else { "nothing is to be changed" };
        output.result(&json, || format!("{text}{end}"));
        return Ok(0);
    }
    let seen = planned.iter().map(|one| one.json(None)).collect();
    agreed(&text, wish.yes, seen, output)?;
    let trail = Trail::of(&root, context).await?;
    let mut done: Vec<Value> = Vec::new();
    for one in &planned {
        let written = match one.changes() {
            true => one.write(&trail).await.map(Some),
            false => Ok(None),
        };
        match written {
            Ok(copy) => done.push(one.json(copy.as_deref())),
            // Those before are written, and are named.
            Err(failure) => return Err(failure.with_details(json!({ "files": done }))),
        }
    }
    let mut steps: Vec<String> = Vec::new();
    for step in planned.iter().flat_map(|one| one.steps(&root)) {
        // Several clients may start the same one.
        if !steps.contains(&step) {
            steps.push(step);
        }
    }
    output.result(&json!({ "files": done, "next_steps": steps }), || {
        let mut text = String::from(
            "written; `lictor mcp import --revert` with the same options takes it back\n",
        );
        text.push_str("let in what is started, with all of its tools:\n");
        steps.iter().for_each(|step| text.push_str(&format!("  {}\n", visible(step))));
        text
    });
    Ok(0)
}

fn root(context: &Context) -> PathBuf {
    let root = &context.workspace;
    root.canonicalize().unwrap_or_else(|_| root.clone())
}

/// The places that were asked for. Of those that are only looked for, some need not be there.
fn wanted(wish: &Import, root: &Path) -> Result<Vec<Place>, Failure> {
    if let Some(file) = &wish.file {
        return Ok(vec![Place::file(file.clone())]);
    }
    if wish.client == [Client::ClaudeDesktop] && wish.scope == Scope::Project {
        let why = "Claude Desktop keeps nothing in a project; its own file is that of the user";
        return Err(Failure::usage(why).with_step("--scope user"));
    }
    Ok(places::known(&wish.client, wish.scope, root))
}

/// One file, and what becomes of it.
struct Planned {
    place: Place,
    /// Where it really lies: a link to it stays one.
    path: PathBuf,
    before: Vec<u8>,
    after: Vec<u8>,
    found: Vec<Found>,
    diff: String,
}

fn plan(wish: &Import, root: &Path) -> Result<Vec<Planned>, Failure> {
    let mut planned = Vec::new();
    let wanted = wanted(wish, root)?;
    for place in &wanted {
        let known = place.path.canonicalize();
        let path = match (known, &wish.file) {
            (Ok(path), _) => path,
            (Err(_), None) => continue,
            (Err(error), Some(file)) => {
                return Err(Failure::input(format!(
                    "`{}` cannot be read: {error}",
                    file.display()
                )));
            }
        };
        planned.extend(look_at(place, path, wish, root)?);
    }
    if planned.is_empty() {
        let looked: Vec<String> =
            wanted.iter().map(|place| place.path.display().to_string()).collect();
        let why = format!("no client keeps servers there; looked for {}", looked.join(", "));
        return Err(Failure::not_found(why).with_step("--scope all").with_step("--file FILE"));
    }
    say_of_clashes(&mut planned, root);
    for name in &wish.server {
        if !planned.iter().any(|one| one.found.iter().any(|found| found.name == *name)) {
            let why = format!("no file that was looked at has a server `{}`", name.escape_debug());
            return Err(Failure::not_found(why));
        }
    }
    Ok(planned)
}

/// One name, one command: what is started otherwise under a name has to be let in anew each time.
fn say_of_clashes(planned: &mut [Planned], root: &Path) {
    let mut commands: BTreeMap<String, BTreeSet<Vec<String>>> = BTreeMap::new();
    for (name, wrapped) in planned.iter().flat_map(Planned::wrapped) {
        let command = wrapped.command.iter().map(|word| filled_in(word, root)).collect();
        commands.entry(name.to_owned()).or_default().insert(command);
    }
    commands.retain(|_, commands| commands.len() > 1);
    for found in planned.iter_mut().flat_map(|one| &mut one.found) {
        if let What::Wrapped(wrapped) = &mut found.what
            && commands.contains_key(&found.name)
        {
            wrapped.notes.push(format!(
                "`{}` stands for another command in another of these files, and only one of them can be \
                 let in: give one of them another name",
                found.name
            ));
        }
    }
}

/// A file, if it holds servers.
fn look_at(
    place: &Place,
    path: PathBuf,
    wish: &Import,
    root: &Path,
) -> Result<Option<Planned>, Failure> {
    let given = files::read(&path, MAX_BYTES)?;
    let document = Document::read(&given.name, &given.bytes)?;
    let how = place.how(&wish.lictor, root);
    let tables = wrapping::tables(&document, root);
    if tables.is_empty() {
        return match wish.file {
            Some(_) => Err(Failure::input(format!(
                "`{}` has neither `mcpServers` nor `servers`",
                given.name
            ))),
            None => Ok(None),
        };
    }
    let mut found: Vec<Found> =
        tables.iter().flat_map(|table| wrapping::look(&document, table, &how)).collect();
    if !wish.server.is_empty() {
        for one in found.iter_mut().filter(|one| !wish.server.contains(&one.name)) {
            one.what = What::Left("it was not asked for".to_owned());
        }
    }
    let after = wrapping::rewritten(&document, &found);
    let changed = Document::read(&given.name, &after)?;
    let diff = masked_diff(&given.name, &document, &changed, root);
    Ok(Some(Planned { place: place.clone(), path, before: given.bytes, after, found, diff }))
}

/// How one text becomes another, without what may be a secret.
fn masked_diff(name: &str, old: &Document, new: &Document, root: &Path) -> String {
    let masked = |document: &Document| document.masked(&wrapping::shown(document, root));
    let (old, new) = (masked(old), masked(new));
    let diff = Comparison::matched(old.as_bytes(), new.as_bytes()).unified(name, name, 3);
    // Of an empty line only its sign is there, which would be drawn as what hides.
    visible(&diff.lines().map(|line| format!("{}\n", line.trim_end())).collect::<String>())
}

impl Planned {
    fn changes(&self) -> bool {
        self.before != self.after
    }

    fn wrapped(&self) -> impl Iterator<Item = (&str, &Wrapped)> {
        self.found.iter().filter_map(|one| match &one.what {
            What::Wrapped(wrapped) => Some((one.name.as_str(), wrapped)),
            What::Already | What::Left(_) => None,
        })
    }

    /// What people are shown: each command whole, and the difference.
    fn text(&self, lictor: &str) -> String {
        let client = self.place.client.map_or("a file", Client::name);
        let mut text = format!("{client}: {}\n", self.path.display());
        for Found { name, what } in &self.found {
            match what {
                What::Already => text.push_str(&format!("  `{name}` is behind Lictor already\n")),
                What::Left(why) => text.push_str(&format!("  `{name}` is left as it is: {why}\n")),
                What::Wrapped(wrapped) => {
                    text.push_str(&format!("  `{name}` is started by this command, whole:\n"));
                    wrapped.command.iter().for_each(|part| line(&mut text, part));
                    if !wrapped.variables.is_empty() {
                        let names = wrapped.variables.join(", ");
                        text.push_str(&format!("    with {names}, as the file says\n"));
                    }
                    text.push_str("    and from then on by\n");
                    line(&mut text, lictor);
                    wrapped.start.iter().for_each(|part| line(&mut text, part));
                    for note in &wrapped.notes {
                        text.push_str(&format!("    note: {note}\n"));
                    }
                }
            }
        }
        format!("{}{}", visible(&text), self.diff)
    }

    fn json(&self, copy: Option<&Path>) -> Value {
        let about = |one: &Found| match &one.what {
            What::Already => json!({ "server": one.name, "action": "already" }),
            What::Left(why) => json!({ "server": one.name, "action": "left", "why": why }),
            What::Wrapped(wrapped) => json!({
                "server": one.name, "action": "wrapped", "command": wrapped.command,
                "start": wrapped.start, "variables": wrapped.variables, "notes": wrapped.notes,
            }),
        };
        json!({
            "client": self.place.client.map(Client::name), "path": self.path, "diff": self.diff,
            "servers": self.found.iter().map(about).collect::<Vec<_>>(),
            "written": copy.is_some(), "copy": copy,
        })
    }

    async fn write(&self, trail: &Trail<'_>) -> Result<PathBuf, Failure> {
        let shelf = Shelf::of(&keys_folder()?, &self.path);
        let names: Vec<String> = self.wrapped().map(|(name, _)| name.to_owned()).collect();
        let copy = shelf.keep(&self.before, &self.after, SystemClock.now(), names.clone())?;
        if let Err(failure) = backup::replace(&self.path, &self.before, &self.after) {
            // What it was kept for did not come to be.
            if let Some(kept) = shelf.last()? {
                shelf.drop(&kept)?;
            }
            return Err(failure);
        }
        trail.say("mcp.import", &self.path, &self.before, &self.after, &names).await?;
        Ok(copy)
    }

    /// What lets in the servers that were wrapped.
    fn steps(&self, root: &Path) -> Vec<String> {
        let step = |(_, wrapped): (&str, &Wrapped)| {
            let own = wrapped.start.iter().position(|word| word == "--").unwrap_or_default();
            let (ours, command) = wrapped.start.split_at(own);
            let mut words: Vec<&str> = vec!["lictor"];
            // Who lets it in stands in the workspace, and is a person.
            let aside = |word: &str| ["--workspace", "--agent"].contains(&word);
            let mut before = "";
            for word in ours {
                if !aside(word) && !aside(before) {
                    words.push(word);
                }
                before = word;
            }
            words.push("--approve-baseline");
            let command: Vec<String> = command.iter().map(|word| filled_in(word, root)).collect();
            words.extend(command.iter().map(String::as_str));
            words.into_iter().map(quoted).collect::<Vec<_>>().join(" ")
        };
        self.wrapped().map(step).collect()
    }
}

fn line(text: &mut String, part: &str) {
    text.push_str(&format!("      {}\n", part.escape_debug()));
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@,+%".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// Somebody who has seen it wants it. Without a terminal nobody is asked.
fn agreed(text: &str, yes: bool, seen: Vec<Value>, output: &Output) -> Result<(), Failure> {
    if yes {
        if !output.is_json() {
            output.note(text);
        }
        return Ok(());
    }
    if !at_terminal() || output.is_json() {
        let why =
            "somebody has to agree to this: at a terminal, or by `--yes`; nothing was written";
        let step = "lictor mcp import --dry-run";
        return Err(Failure::usage(why).with_details(json!({ "files": seen })).with_step(step));
    }
    let mut typed = String::new();
    let all = page::before_asking(text, output);
    if all {
        output.note("Write this? Type yes to agree, anything else to leave it:");
        std::io::BufRead::read_line(&mut std::io::stdin().lock(), &mut typed)
            .map_err(Failure::failed)?;
    }
    match typed.trim() {
        "yes" => Ok(()),
        _ => Err(Failure::new(ErrorCode::Denied, "nobody agreed to it; nothing was written")),
    }
}

/// Where it is recorded, if there is a workspace.
struct Trail<'a> {
    runtime: Option<Runtime>,
    context: &'a Context,
}

impl<'a> Trail<'a> {
    async fn of(root: &Path, context: &'a Context) -> Result<Self, Failure> {
        let runtime = match root.join(".lictor").is_dir() {
            true => Some(context.runtime().await?),
            false => None,
        };
        if runtime.is_none() {
            let root = root.display();
            tracing::warn!(
                "`{root}` is no workspace yet, and nothing starts there: `lictor init` makes it one"
            );
        }
        Ok(Self { runtime, context })
    }

    async fn say(
        &self,
        what: &str,
        path: &Path,
        before: &[u8],
        after: &[u8],
        servers: &[String],
    ) -> Result<(), Failure> {
        let Some(runtime) = &self.runtime else { return Ok(()) };
        let facts = EventFacts {
            action_name: Some(what.to_owned()),
            action_params: Some(json!({
                "file": path, "servers": servers, "before": Digest::of(before),
                "after": Digest::of(after),
            })),
            success: Some(true),
            ..EventFacts::default()
        };
        let session = self.context.session()?;
        let clock = runtime.clock().as_ref();
        let event = Event::new(&session, EventType::ActionCompleted, facts, clock);
        Ok(runtime.record(vec![event]).await?)
    }
}

/// A file that is to be what it was.
struct Back {
    path: PathBuf,
    shelf: Shelf,
    kept: Kept,
    now: Vec<u8>,
}

impl Back {
    fn is_ours(&self) -> bool {
        Digest::of(&self.now) == self.kept.record.after
    }

    /// What is lost and what comes back, as far as people may see it.
    fn diff(&self, root: &Path) -> String {
        let name = self.path.display().to_string();
        match (Document::read(&name, &self.now), Document::read(&name, &self.kept.bytes)) {
            (Ok(now), Ok(before)) => masked_diff(&name, &now, &before, root),
            _ => format!("`{name}` is no JSON any more, and is not shown\n"),
        }
    }

    fn json(&self, root: &Path) -> Value {
        let Kept { record, .. } = &self.kept;
        json!({
            "path": self.path, "servers": record.servers, "imported_at": record.at,
            "changed_since": !self.is_ours(), "diff": self.diff(root),
        })
    }
}

async fn revert(wish: &Import, root: &Path, context: &Context, output: &Output) -> Answer {
    let keys = keys_folder()?;
    let mut found = Vec::new();
    for place in wanted(wish, root)? {
        let Ok(path) = place.path.canonicalize() else { continue };
        let shelf = Shelf::of(&keys, &path);
        let now = files::read(&path, MAX_BYTES)?.bytes;
        while let Some(kept) = shelf.last()? {
            if Digest::of(&now) == kept.record.before {
                // It came to no change, or somebody took it back by hand.
                shelf.drop(&kept)?;
                continue;
            }
            found.push(Back { path, shelf, kept, now });
            break;
        }
    }
    if found.is_empty() {
        let why = "there is nothing to take back in the files that were looked at";
        return Err(Failure::not_found(why).with_step("--scope all").with_step("--file FILE"));
    }
    let seen: Vec<Value> = found.iter().map(|back| back.json(root)).collect();
    let text: String = found.iter().map(|back| back.diff(root)).collect();
    if let Some(foreign) = found.iter().find(|back| !back.is_ours() && !wish.force) {
        let path = foreign.path.display();
        let why =
            format!("`{path}` was changed since, and that would be lost; nothing was written");
        let diff = visible(&foreign.diff(root));
        output.note(&diff);
        return Err(Failure::new(ErrorCode::Conflict, why)
            .with_details(json!({ "files": seen }))
            .with_step("lictor mcp import --revert --force, which keeps a copy of what is there"));
    }
    if wish.dry.dry_run {
        output.result(&json!({ "files": seen }), || text);
        return Ok(0);
    }
    agreed(&text, wish.yes, seen.clone(), output)?;
    let trail = Trail::of(root, context).await?;
    for back in &found {
        let Back { path, shelf, kept, now } = back;
        if !back.is_ours() {
            shelf.replaced(kept, now)?;
        }
        backup::replace(path, now, &kept.bytes)?;
        shelf.drop(kept)?;
        let servers = &kept.record.servers;
        trail.say("mcp.import.revert", path, now, &kept.bytes, servers).await?;
    }
    output.result(&json!({ "files": seen }), || {
        found.iter().map(|back| format!("`{}` is what it was\n", back.path.display())).collect()
    });
    Ok(0)
}
