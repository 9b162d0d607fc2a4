//! The files in which MCP clients keep their servers: `mcpServers` or `servers`, JSON with comments and
//! trailing commas.

use std::collections::BTreeMap;
use std::path::Path;

use lictor::capability::HttpOrigin;
use lictor::document::{Limits, Source, StrictValue, from_json};
use serde_json::{Map, Value};

use crate::clients::text::plain;
use crate::context::env_text;
use crate::failure::Failure;
use crate::files;

/// A server, as such a file says it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Said {
    pub(crate) name: String,
    /// Empty when it has a URL.
    pub(crate) command: Vec<String>,
    pub(crate) url: Option<String>,
    /// Headers with what they hold; that may be a secret.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) cwd: Option<String>,
    /// Variables with what they hold; that may be a secret.
    pub(crate) env: BTreeMap<String, String>,
    /// Of Lictor's own: variables that hold a declared secret.
    pub(crate) secrets: BTreeMap<String, String>,
    /// Of Lictor's own: whether it works on files of the workspace.
    pub(crate) workspace: bool,
}

/// What such a file holds.
#[derive(Debug, Default)]
pub(crate) struct ServerFile {
    pub(crate) servers: Vec<Said>,
    /// What is not taken, and why.
    pub(crate) left_out: Vec<(String, String)>,
}

/// Reads one.
pub(crate) fn read(path: &Path) -> Result<ServerFile, Failure> {
    let given = files::read(path, Limits::default().max_bytes)?;
    let plain = plain(&given.bytes);
    let source = Source::new(&given.name, &plain);
    let document = from_json::<StrictValue>(&source, &Limits::default());
    let document = document.map_err(|error| Failure::document(&error))?.into_inner();
    let keys = ["mcpServers", "servers"];
    let found = keys.iter().find_map(|key| document.get(key).and_then(Value::as_object));
    let Some(all) = found else {
        let name = given.name;
        return Err(Failure::input(format!("`{name}` has neither `mcpServers` nor `servers`")));
    };
    let mut file = ServerFile::default();
    for (name, said) in all {
        match said
            .as_object()
            .ok_or_else(|| "it is no object".to_owned())
            .and_then(|said| server(name, said))
        {
            Ok(said) => file.servers.push(said),
            Err(why) => file.left_out.push((name.clone(), why)),
        }
    }
    Ok(file)
}

fn server(name: &str, said: &Map<String, Value>) -> Result<Said, String> {
    if said.get("disabled") == Some(&Value::Bool(true)) {
        return Err("it is disabled".to_owned());
    }
    for key in ["autoApprove", "alwaysAllow", "envFile"] {
        if said.contains_key(key) {
            tracing::warn!("`{key}` of the MCP server `{name}` is not taken over");
        }
    }
    match URLS.iter().find(|key| said.contains_key(**key)) {
        Some(key) => elsewhere(name, said, key),
        None => program(name, said),
    }
}

/// What clients call the URL of a server that is reached over HTTP.
const URLS: [&str; 3] = ["url", "serverUrl", "httpUrl"];

fn text(said: &Map<String, Value>, key: &str) -> Result<Option<String>, String> {
    match said.get(key) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(format!("`{key}` is no text")),
    }
}

fn texts(said: &Map<String, Value>, key: &str) -> Result<BTreeMap<String, String>, String> {
    let fields = match said.get(key) {
        None => return Ok(BTreeMap::new()),
        Some(Value::Object(fields)) => fields,
        Some(_) => return Err(format!("`{key}` is no object")),
    };
    let pair = |(name, value): (&String, &Value)| match value {
        Value::String(text) => Ok((name.clone(), text.clone())),
        Value::Number(number) => Ok((name.clone(), number.to_string())),
        Value::Bool(flag) => Ok((name.clone(), flag.to_string())),
        _ => Err(format!("`{key}.{name}` is no text")),
    };
    fields.iter().map(pair).collect()
}

/// The same, with what stands for something else filled in.
fn filled_texts(said: &Map<String, Value>, key: &str) -> Result<BTreeMap<String, String>, String> {
    let mut texts = texts(said, key)?;
    for value in texts.values_mut() {
        *value = filled(value)?;
    }
    Ok(texts)
}

/// A server that is reached by a URL.
fn elsewhere(name: &str, said: &Map<String, Value>, key: &str) -> Result<Said, String> {
    let kinds = ["type", "transport", "transportType"];
    let kind = kinds.iter().find_map(|key| said.get(*key)).and_then(Value::as_str);
    match kind {
        None | Some("http" | "streamable-http" | "streamableHttp") => {}
        Some("sse") => {
            return Err(
                "it is reached by the old HTTP+SSE, which is not spoken; `http` is".to_owned()
            );
        }
        Some(other) => {
            return Err(format!("its type `{}` is not known; `http` is", other.escape_debug()));
        }
    }
    if said.get("workspace") == Some(&Value::Bool(true)) {
        return Err("`workspace` is of servers with a command".to_owned());
    }
    let url = text(said, key)?.unwrap_or_default();
    // It is pinned, shown and kept: it is no place for what is filled in later.
    if url.contains("${") {
        return Err("its URL has a `${…}`; put what is secret into `headers`".to_owned());
    }
    HttpOrigin::of_input(key, &Value::String(url.clone()))?;
    Ok(Said {
        name: name.to_owned(),
        command: Vec::new(),
        url: Some(url),
        headers: filled_texts(said, "headers")?,
        cwd: None,
        env: BTreeMap::new(),
        secrets: texts(said, "secrets")?,
        workspace: false,
    })
}

/// A server that is a program.
fn program(name: &str, said: &Map<String, Value>) -> Result<Said, String> {
    let mut command = vec![text(said, "command")?.ok_or("it has neither `command` nor `url`")?];
    let args = match said.get("args") {
        None => Vec::new(),
        Some(Value::Array(args)) => args.clone(),
        Some(_) => return Err("`args` is no list".to_owned()),
    };
    for arg in args {
        let arg = arg.as_str().ok_or("`args` holds what is no text")?;
        command.push(arg.replace("${workspaceFolder}", "{workspace}"));
    }
    // What stands there is pinned, shown and kept: it is no place for what is filled in later.
    if command.iter().any(|part| part.contains("${")) {
        return Err(
            "its command has a `${…}`; only `${workspaceFolder}` is filled in there".to_owned()
        );
    }
    Ok(Said {
        name: name.to_owned(),
        command,
        url: None,
        headers: BTreeMap::new(),
        cwd: text(said, "cwd")?,
        env: filled_texts(said, "env")?,
        secrets: texts(said, "secrets")?,
        workspace: said.get("workspace") == Some(&Value::Bool(true)),
    })
}

/// A value with `${NAME}`, `${NAME:-default}` and `${env:NAME}` filled in.
fn filled(text: &str) -> Result<String, String> {
    let (mut out, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once("${") {
        let (inner, later) = after.split_once('}').ok_or("a `${` has no `}`")?;
        let (name, default) = match inner.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inner.strip_prefix("env:").unwrap_or(inner), None),
        };
        if name.starts_with("input:") {
            return Err(format!("`${{{name}}}` is asked for by the client; give it as a secret"));
        }
        if name.to_ascii_uppercase().starts_with("LICTOR_") {
            return Err(format!("`{name}` is Lictor's own, and no server gets it"));
        }
        let value = env_text(name).or_else(|| default.map(str::to_owned));
        out.push_str(before);
        out.push_str(&value.unwrap_or_default());
        rest = later;
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_filled_in_later_stands_in_variables_only() {
        let said = |value: Value| server("s", value.as_object().unwrap());
        let one = said(
            json!({ "command": "c", "args": ["${workspaceFolder}/x"], "env": { "A": "${NO_SUCH:-b}c" } }),
        );
        let one = one.unwrap();
        assert_eq!(one.command, ["c", "{workspace}/x"]);
        assert_eq!(one.env["A"], "bc");
        let reached = said(json!({
            "type": "http", "url": "https://a.example/mcp",
            "headers": { "Authorization": "Bearer ${NO_SUCH:-b}c" },
        }));
        let reached = reached.unwrap();
        assert_eq!(reached.url.as_deref(), Some("https://a.example/mcp"));
        assert_eq!(reached.headers["Authorization"], "Bearer bc");
        assert!(reached.command.is_empty());
        for (bad, why) in [
            (json!({ "command": "c", "args": ["${KEY}"] }), "only `${workspaceFolder}`"),
            (json!({ "command": "c", "env": { "A": "${LICTOR_SECRET_X}" } }), "Lictor's own"),
            (json!({ "command": "c", "env": { "A": "${input:key}" } }), "secret"),
            (json!({ "type": "sse", "url": "http://x" }), "not spoken"),
            (json!({ "type": "pigeon", "url": "http://x" }), "`pigeon`"),
            (json!({ "url": "http://x/${KEY}" }), "`headers`"),
            (
                json!({ "url": "http://x", "headers": { "A": "${LICTOR_SECRET_X}" } }),
                "Lictor's own",
            ),
            (json!({ "url": "http://x", "workspace": true }), "with a command"),
            (json!({ "command": "c", "disabled": true }), "disabled"),
            (json!({}), "neither `command` nor `url`"),
        ] {
            let told = said(bad).unwrap_err();
            assert!(told.contains(why), "{told}");
        }
    }
}
