//! A server of somebody else's, for these tests: this very program, asked to be one. What it says it has
//! stands in a file, and may be another thing at any moment.

use std::collections::VecDeque;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::place::{Place, ours};

/// The variable by which a copy of this program knows that it is the server, and where its folder is.
const FOLDER: &str = "STAND_IN_FOLDER";

/// What the test has in its hands of the server.
pub(crate) struct StandIn {
    folder: PathBuf,
}

/// A tool as such servers say it.
pub(crate) fn tool(name: &str, annotations: Value) -> Value {
    json!({
        "name": name, "title": format!("The tool {name}"), "description": "Says what it was told.",
        "inputSchema": { "type": "object", "properties": { "text": { "type": "string" } } },
        "annotations": annotations,
    })
}

/// A tool that says that it only looks, and at home.
pub(crate) fn looks(name: &str) -> Value {
    tool(name, json!({ "readOnlyHint": true, "openWorldHint": false }))
}

impl StandIn {
    pub(crate) fn new(place: &Place, tools: &[Value]) -> Self {
        Self::named(place, "stand-in", tools)
    }

    pub(crate) fn named(place: &Place, name: &str, tools: &[Value]) -> Self {
        let folder = place.path(format!("../{name}"));
        fs::create_dir(&folder).unwrap();
        let stand_in = Self { folder };
        stand_in.has(tools);
        stand_in
    }

    /// From now on it has these.
    pub(crate) fn has(&self, tools: &[Value]) {
        self.put("tools", &json!(tools));
    }

    /// Something else about it: `era`, `pages`, `child`.
    pub(crate) fn put(&self, what: &str, value: &Value) {
        // Whole at any moment.
        let (new, at) = (self.folder.join(format!("{what}.new")), self.folder.join(what));
        fs::write(&new, value.to_string()).unwrap();
        fs::rename(new, at).unwrap();
    }

    /// What stands after a server's name on a command line.
    pub(crate) fn command(&self) -> Vec<String> {
        let set = format!("{FOLDER}={}", self.folder.display());
        let program = std::env::current_exe().unwrap();
        let program = program.to_str().unwrap();
        let all = ["--set", &set, "--", program, "--exact", "stand_in::serves", "--nocapture"];
        all.iter().map(|one| (*one).to_owned()).collect()
    }

    /// The calls that reached it.
    pub(crate) fn calls(&self) -> Vec<Value> {
        let log = fs::read_to_string(self.folder.join("calls")).unwrap_or_default();
        log.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The processes that it was, and had.
    pub(crate) fn processes(&self) -> Vec<u32> {
        let log = fs::read_to_string(self.folder.join("processes")).unwrap_or_default();
        log.lines().map(|line| line.parse().unwrap()).collect()
    }
}

/// `lictor mcp wrap`, for a person who lets in all of it.
#[track_caller]
pub(crate) fn baseline(
    place: &Place,
    name: &str,
    more: &[&str],
    stand_in: &StandIn,
) -> (i32, Value) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lictor"));
    command.args(["--json", "--user", "somebody", "mcp", "wrap", name, "--approve-baseline"]);
    command.args(more).args(stand_in.command()).current_dir(&place.root).stdin(Stdio::null());
    for name in ours() {
        command.env_remove(name);
    }
    command.envs(place.environment()).env("LICTOR_APPROVER_TOKEN", &place.token);
    command.env("LICTOR_SECRET_KEY", "a-secret-of-some-length");
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let json =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {stderr}"));
    (output.status.code().unwrap(), json)
}

/// Not a test unless the variable is set: the server itself.
#[test]
fn serves() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    Serving {
        folder: folder.into(),
        seen: Value::Null,
        listens: Vec::new(),
        later: VecDeque::new(),
    }
    .serve();
}

pub(crate) struct Serving {
    pub(crate) folder: PathBuf,
    seen: Value,
    /// Who listens for what: the request's id, and what it is to hear of.
    pub(crate) listens: Vec<(Value, Value)>,
    /// What it heard while it waited for something else.
    pub(crate) later: VecDeque<String>,
}

fn read(folder: &Path, what: &str) -> Value {
    let text = fs::read_to_string(folder.join(what)).unwrap_or_else(|_| "null".to_owned());
    // Where it stands, for whoever speaks of that.
    let here = std::env::current_dir().unwrap();
    serde_json::from_str(&text.replace("{here}", here.to_str().unwrap())).unwrap()
}

pub(crate) fn append(folder: &Path, what: &str, line: &str) {
    let mut file =
        fs::OpenOptions::new().create(true).append(true).open(folder.join(what)).unwrap();
    file.write_all(format!("{line}\n").as_bytes()).unwrap();
}

pub(crate) fn say(message: &Value) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{message}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

/// Nobody keeps the input: a tool that asks reads the answer to that itself.
pub(crate) fn next_line() -> Option<String> {
    let mut line = String::new();
    let read = std::io::stdin().read_line(&mut line).ok()?;
    (read > 0).then_some(line)
}

impl Serving {
    pub(crate) fn get(&self, what: &str) -> Value {
        read(&self.folder, what)
    }

    fn serve(mut self) {
        append(&self.folder, "processes", &std::process::id().to_string());
        if self.get("child") == json!(true) {
            // It would be there for long, and nobody waits for it.
            let mut command = Command::new("sleep");
            command.arg("600").stdin(Stdio::null()).stdout(Stdio::null());
            let mut child = command.spawn().unwrap();
            append(&self.folder, "processes", &child.id().to_string());
            std::thread::spawn(move || child.wait());
        }
        self.seen = self.get("tools");
        while let Some(line) = self.later.pop_front().or_else(next_line) {
            let Ok(message) = serde_json::from_str::<Value>(&line) else { continue };
            let id = message["id"].clone();
            let now = self.get("tools");
            if now != self.seen && self.get("quiet") != json!(true) {
                self.seen = now;
                say(&json!({ "jsonrpc": "2.0", "method": "notifications/tools/list_changed" }));
            }
            if self.tells(&message) || id.is_null() {
                continue;
            }
            match self.answer(message["method"].as_str().unwrap_or_default(), &message["params"]) {
                Ok(result) => say(&json!({ "jsonrpc": "2.0", "id": id, "result": result })),
                Err((code, why)) => say(&json!({
                    "jsonrpc": "2.0", "id": id, "error": { "code": code, "message": why },
                })),
            }
        }
    }

    fn answer(&self, method: &str, params: &Value) -> Result<Value, (i32, &'static str)> {
        let era = self.get("era");
        let mut capabilities = json!({ "tools": { "listChanged": true } });
        if let Value::Object(more) = self.get("capabilities") {
            capabilities.as_object_mut().unwrap().extend(more);
        }
        let instructions = self.get("instructions");
        let instructions = instructions.as_str().unwrap_or_default();
        let listed = |what: &str| {
            json!({
                what: self.get(what), "ttlMs": 0, "cacheScope": "private", "resultType": "complete",
            })
        };
        match method {
            "initialize" if era != "modern" => Ok(json!({
                "protocolVersion": "2025-11-25", "capabilities": capabilities,
                "serverInfo": { "name": "stand-in", "version": "1.0.0" },
                "instructions": instructions,
            })),
            "server/discover" if era == "modern" => Ok(json!({
                "resultType": "complete", "supportedVersions": ["2026-07-28"],
                "capabilities": capabilities, "ttlMs": 0, "cacheScope": "private",
                "instructions": instructions,
            })),
            "ping" => Ok(json!({})),
            "tools/list" => {
                let mut page = json!({
                    "tools": self.get("tools"), "ttlMs": 86_400_000, "cacheScope": "public",
                    "resultType": "complete",
                });
                if self.get("pages") == "for ever" {
                    page["nextCursor"] = json!("more");
                }
                Ok(page)
            }
            "prompts/list" => Ok(listed("prompts")),
            "resources/list" => Ok(listed("resources")),
            "resources/templates/list" => Ok(listed("resourceTemplates")),
            "prompts/get" => {
                append(&self.folder, "calls", &params.to_string());
                let text =
                    format!("Greet {}.", params["arguments"]["whom"].as_str().unwrap_or("all"));
                Ok(json!({ "resultType": "complete", "messages": [
                    { "role": "user", "content": { "type": "text", "text": text } },
                ] }))
            }
            "resources/read" => {
                append(&self.folder, "calls", &params.to_string());
                let uri = params["uri"].as_str().unwrap_or_default();
                let text = match uri.strip_prefix("file://") {
                    Some(path) => {
                        fs::read_to_string(path).unwrap_or_else(|error| error.to_string())
                    }
                    None => format!("what {uri} holds"),
                };
                Ok(
                    json!({ "resultType": "complete", "ttlMs": 0, "cacheScope": "private", "contents": [
                    { "uri": uri, "mimeType": "text/plain", "text": text },
                ] }),
                )
            }
            "completion/complete" => {
                append(&self.folder, "calls", &params.to_string());
                let value = params["argument"]["value"].as_str().unwrap_or_default();
                Ok(json!({ "resultType": "complete", "completion": {
                    "values": [format!("{value}-completed")], "hasMore": false,
                } }))
            }
            "tools/call" => self.call(params),
            _ => Err((-32601, "there is no such method")),
        }
    }

    fn call(&self, params: &Value) -> Result<Value, (i32, &'static str)> {
        append(&self.folder, "calls", &params.to_string());
        let said = params["arguments"]["text"].as_str().unwrap_or_default();
        let text = match params["name"].as_str().unwrap_or_default() {
            "dies" => {
                std::io::stderr().write_all(b"it was too much for me\n").unwrap();
                std::process::exit(3);
            }
            "write" | "writes_and_dies" => {
                let at = params["arguments"]["path"].as_str().unwrap();
                fs::create_dir_all(
                    Path::new(at)
                        .parent()
                        .filter(|it| *it != Path::new(""))
                        .unwrap_or(Path::new(".")),
                )
                .unwrap();
                fs::write(at, said).unwrap();
                if params["name"] == "writes_and_dies" {
                    std::process::exit(3);
                }
                fs::canonicalize(at).unwrap().display().to_string()
            }
            "read" => fs::read_to_string(params["arguments"]["path"].as_str().unwrap())
                .unwrap_or_else(|error| error.to_string()),
            "refuses" => return Err((-32602, "not with these arguments")),
            "environment" => {
                let all = std::env::vars().map(|(name, value)| format!("{name}={value}"));
                all.collect::<Vec<_>>().join("\n")
            }
            "fails" => {
                return Ok(json!({
                    "content": [{ "type": "text", "text": "no such thing" }], "isError": true,
                }));
            }
            _ => said.to_owned(),
        };
        Ok(json!({
            "resultType": "complete",
            "content": [{ "type": "text", "text": text, "annotations": { "audience": ["user"] } }],
            "structuredContent": { "said": said }, "_meta": { "their/own": 1 },
        }))
    }
}
