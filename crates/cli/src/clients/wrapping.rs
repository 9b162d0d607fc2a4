//! A server of a client's file, started behind the road from then on: `lictor mcp wrap NAME -- COMMAND…`
//! in place of its command. What else the file says of it stays, its variables included: the client
//! gives them to us, and we hand on the ones that are named.

use std::ops::Range;
use std::path::Path;

use lictor::capability::McpServer;
use serde_json::json;

use crate::context::home;

use super::text::{Document, Edit, Field, Kind, Node};

/// What a client fills in that is no secret; what else stands in a command would be pinned and kept.
const FILLED_IN: [&str; 5] =
    ["workspaceFolder", "workspaceFolderBasename", "userHome", "pathSeparator", "/"];
/// What clients call servers that are reached by a URL.
const URLS: [&str; 3] = ["url", "serverUrl", "httpUrl"];

/// How servers are to be started.
#[derive(Debug, Clone)]
pub(crate) struct How {
    /// The command that is us.
    pub(crate) lictor: String,
    /// The workspace, where the client may start us somewhere else.
    pub(crate) workspace: Option<String>,
    /// Who asks.
    pub(crate) agent: Option<&'static str>,
}

/// A server of a file.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) name: String,
    pub(crate) what: What,
}

/// What becomes of a server.
#[derive(Debug, Clone)]
pub(crate) enum What {
    /// It is started behind the road.
    Wrapped(Wrapped),
    /// It is us already.
    Already,
    /// It stays as it is, and why.
    Left(String),
}

/// A server that is started behind the road.
#[derive(Debug, Clone)]
pub(crate) struct Wrapped {
    /// Its own command, whole.
    pub(crate) command: Vec<String>,
    /// The arguments that we are given in place of it.
    pub(crate) start: Vec<String>,
    /// The variables that it gets, by name.
    pub(crate) variables: Vec<String>,
    /// What a person should know.
    pub(crate) notes: Vec<String>,
    edits: Vec<Edit>,
}

/// Tables of servers: by the way that leads to them in the document.
pub(crate) fn tables<'a>(document: &'a Document, root: &Path) -> Vec<&'a Node> {
    let top = document.root();
    let of_project = top
        .get("projects")
        .and_then(|projects| projects.get(&root.display().to_string()))
        .and_then(|project| project.get("mcpServers"));
    let all = [top.get("mcpServers"), top.get("servers"), of_project];
    all.into_iter().flatten().filter(|table| table.fields().is_some()).collect()
}

/// What becomes of the servers of a table.
pub(crate) fn look(document: &Document, table: &Node, how: &How) -> Vec<Found> {
    let one = |field: &Field| {
        let what = match (One { document, name: &field.name, said: &field.value, how }).look() {
            Ok(what) => what,
            Err(why) => What::Left(why),
        };
        Found { name: field.name.clone(), what }
    };
    table.fields().unwrap_or_default().iter().map(one).collect()
}

/// The file with these servers behind the road.
pub(crate) fn rewritten(document: &Document, found: &[Found]) -> Vec<u8> {
    let edits: Vec<Edit> = found
        .iter()
        .filter_map(|one| match &one.what {
            What::Wrapped(wrapped) => Some(wrapped.edits.clone()),
            What::Already | What::Left(_) => None,
        })
        .flatten()
        .collect();
    document.with(&edits)
}

/// What of a file people may see: how its servers are started, and nothing that may be a secret.
pub(crate) fn shown(document: &Document, root: &Path) -> Vec<Range<usize>> {
    let mut shown = Vec::new();
    for table in tables(document, root) {
        for server in table.fields().unwrap_or_default() {
            let keys = ["type", "command", "args", "cwd"];
            let found = keys.iter().filter_map(|key| server.value.get(key));
            shown.extend(found.map(|node| node.span.clone()));
        }
    }
    shown
}

struct One<'a> {
    document: &'a Document,
    name: &'a str,
    said: &'a Node,
    how: &'a How,
}

impl One<'_> {
    fn look(&self) -> Result<What, String> {
        let said = self.said;
        said.fields().ok_or("it is no object")?;
        let kind = said.get("type").and_then(Node::text).unwrap_or("stdio");
        if !["stdio", "http", "sse", "streamable-http", "streamableHttp"].contains(&kind) {
            return Err(format!("its type `{}` is not known", kind.escape_debug()));
        }
        if kind != "stdio" || URLS.iter().any(|key| said.get(key).is_some()) {
            return Err("it is reached over HTTP, and no command starts it; \
                        `lictor mcp gateway` stands before such servers"
                .to_owned());
        }
        let command = said.get("command").and_then(Node::text).ok_or("it has no `command`")?;
        let args = match said.get("args") {
            None => Vec::new(),
            Some(args) => args.texts().ok_or("`args` is no list of texts")?,
        };
        if self.is_us(command, &args) {
            return Ok(What::Already);
        }
        let whole: Vec<String> =
            std::iter::once(command.to_owned()).chain(args.iter().cloned()).collect();
        let (start, variables) = self.start(&whole)?;
        let edits = self.edits(&start, args.len())?;
        let notes =
            ["autoApprove", "alwaysAllow"].into_iter().filter(|key| said.get(key).is_some());
        let notes = notes.map(|key| {
            format!("`{key}` stays: this client does not ask, and the policy decides all the same")
        });
        let notes = notes.collect();
        Ok(What::Wrapped(Wrapped { command: whole, start, variables, notes, edits }))
    }

    /// Whether a command is Lictor's.
    fn is_us(&self, command: &str, args: &[String]) -> bool {
        let named = Path::new(command).file_name().is_some_and(|name| name == "lictor");
        (named || command == self.how.lictor) && args.iter().any(|arg| arg == "mcp")
    }

    /// Our arguments in place of a command, and the variables that are handed on.
    fn start(&self, whole: &[String]) -> Result<(Vec<String>, Vec<String>), String> {
        McpServer::id_of(self.name)?;
        if self.name.starts_with('-') {
            return Err("its name begins like an option".to_owned());
        }
        let mut words = whole.iter();
        if let Some(named) = words.find_map(|word| foreign(word)) {
            return Err(format!(
                "its command has `${{{named}}}`, and what that stands for would be shown and kept; put \
                 it into `env`"
            ));
        }
        let variables = self.variables()?;
        let mut start = vec!["mcp".to_owned(), "wrap".to_owned(), self.name.to_owned()];
        let mut option = |name: &str, value: &str| {
            start.extend([name.to_owned(), value.to_owned()]);
        };
        if let Some(workspace) = &self.how.workspace {
            option("--workspace", workspace);
        }
        if let Some(agent) = self.how.agent {
            option("--agent", agent);
        }
        variables.iter().for_each(|name| option("--env", name));
        if let Some(folder) = self.folder()? {
            option("--cwd", &folder);
        }
        start.push("--".to_owned());
        start.extend(whole.iter().cloned());
        Ok((start, variables))
    }

    fn variables(&self) -> Result<Vec<String>, String> {
        if self.said.get("envFile").is_some() {
            return Err(
                "its `envFile` gives variables that nobody names; put them into `env`".to_owned()
            );
        }
        let Some(env) = self.said.get("env") else { return Ok(Vec::new()) };
        let fields = env.fields().ok_or("`env` is no object")?;
        for Field { name, .. } in fields {
            McpServer::check_variable(name)?;
        }
        Ok(fields.iter().map(|field| field.name.clone()).collect())
    }

    /// The folder that it begins in, from the workspace.
    fn folder(&self) -> Result<Option<String>, String> {
        let Some(cwd) = self.said.get("cwd") else { return Ok(None) };
        let cwd = cwd.text().ok_or("`cwd` is no text")?;
        let inside = cwd.strip_prefix("${workspaceFolder}").map(|rest| rest.trim_matches('/'));
        let inside =
            inside.or_else(|| Some(cwd.trim_start_matches("./")).filter(|_| !cwd.starts_with('/')));
        let outside =
            |inside: &str| inside.contains('$') || inside.split('/').any(|part| part == "..");
        match inside {
            Some("" | ".") => Ok(None),
            Some(inside) if !outside(inside) => Ok(Some(inside.to_owned())),
            _ => Err("its `cwd` leads out of the workspace".to_owned()),
        }
    }

    /// What has to be another one in the file: the command, and the arguments before its own.
    fn edits(&self, start: &[String], own: usize) -> Result<Vec<Edit>, String> {
        let command = self.said.field("command").ok_or("it has no `command`")?;
        let lictor =
            Edit { span: command.value.span.clone(), text: json!(self.how.lictor).to_string() };
        let quoted = |words: &[String]| -> Vec<String> {
            words.iter().map(|word| json!(word).to_string()).collect()
        };
        let Some(args) = self.said.get("args") else {
            let list = format!("\"args\": [{}]", quoted(start).join(", "));
            let at = command.value.span.end;
            let text = match self.indent(command.at) {
                Some(indent) => format!(",{}{indent}{list}", self.document.line_end()),
                None => format!(", {list}"),
            };
            return Ok(vec![lictor, Edit { span: at..at, text }]);
        };
        // Its own arguments stay where they are, with all that stands beside them.
        let before = start.len().saturating_sub(own);
        let words = quoted(start.get(..before).unwrap_or_default());
        let at = args.span.start + 1;
        let first = match &args.kind {
            Kind::List(items) => items.first().map(|item| item.span.start),
            Kind::Object(_) | Kind::Text(_) | Kind::Other => None,
        };
        let text = match first.map(|first| self.lead(at, first)) {
            Some(lead) if lead.contains('\n') => {
                format!("{lead}{},", words.join(&format!(",{lead}")))
            }
            Some(lead) if lead.is_empty() => format!("{}, ", words.join(", ")),
            Some(_) => format!(" {},", words.join(", ")),
            None => words.join(", "),
        };
        Ok(vec![lictor, Edit { span: at..at, text }])
    }

    /// What stands before the first item of a list: nothing, room, or a new line with its indent.
    fn lead(&self, from: usize, to: usize) -> String {
        let room = String::from_utf8_lossy(self.document.between(from..to)).into_owned();
        match room.rsplit_once('\n') {
            Some((_, indent)) => format!("{}{indent}", self.document.line_end()),
            None => room,
        }
    }

    /// The indent of a line that something is the first of.
    fn indent(&self, at: usize) -> Option<String> {
        let before = String::from_utf8_lossy(self.document.between(0..at)).into_owned();
        let (_, indent) = before.rsplit_once('\n')?;
        indent.chars().all(char::is_whitespace).then(|| indent.to_owned())
    }
}

/// A word as a client passes it on that has this workspace open: it is so that it has to be let in.
pub(crate) fn filled_in(word: &str, root: &Path) -> String {
    let home = home().unwrap_or_default();
    let base = root.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let [folder, home] = [root, &home].map(|path| path.display().to_string());
    let values = [folder.as_str(), &base, &home, "/", "/"];
    let with =
        |word: String, (name, value): (&str, &str)| word.replace(&format!("${{{name}}}"), value);
    FILLED_IN.into_iter().zip(values).fold(word.to_owned(), with)
}

/// What a client would fill into a word that is not known to be harmless.
fn foreign(word: &str) -> Option<&str> {
    let mut rest = word;
    while let Some((_, after)) = rest.split_once("${") {
        let (inner, later) = after.split_once('}').unwrap_or((after, ""));
        if !FILLED_IN.contains(&inner) {
            return Some(inner);
        }
        rest = later;
    }
    None
}
