//! The files in which MCP clients keep their servers: `mcpServers` or `servers`, JSON with comments and
//! trailing commas.

use std::collections::BTreeMap;
use std::path::Path;

use lictor::document::{Limits, Source, StrictValue, from_json};
use serde_json::{Map, Value};

use crate::context::env_text;
use crate::failure::Failure;
use crate::files;

/// A server, as such a file says it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Said {
    pub(crate) name: String,
    pub(crate) command: Vec<String>,
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
    if said.contains_key("url") || said.contains_key("serverUrl") {
        return Err("it is reached over HTTP, which is not done yet".to_owned());
    }
    for key in ["autoApprove", "alwaysAllow", "envFile"] {
        if said.contains_key(key) {
            tracing::warn!("`{key}` of the MCP server `{name}` is not taken over");
        }
    }
    let text = |key: &str| match said.get(key) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(format!("`{key}` is no text")),
    };
    let mut command = vec![text("command")?.ok_or("it has no `command`")?];
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
    let texts = |key: &str| -> Result<BTreeMap<String, String>, String> {
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
    };
    let mut env = texts("env")?;
    for value in env.values_mut() {
        *value = filled(value)?;
    }
    let workspace = said.get("workspace") == Some(&Value::Bool(true));
    let (name, cwd, secrets) = (name.to_owned(), text("cwd")?, texts("secrets")?);
    Ok(Said { name, command, cwd, env, secrets, workspace })
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

/// JSON without comments and trailing commas; every byte keeps its place, so that errors name it.
fn plain(bytes: &[u8]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    let (mut at, mut in_text) = (0, false);
    // Where a comma stands that nothing but room has followed.
    let mut comma: Option<usize> = None;
    let get = |at: usize| bytes.get(at).copied().unwrap_or(0);
    let blank = |out: &mut Vec<u8>, at: usize| {
        if let Some(byte) = out.get_mut(at).filter(|byte| **byte != b'\n') {
            *byte = b' ';
        }
    };
    while at < bytes.len() {
        match (in_text, get(at)) {
            (true, b'\\') => at += 1,
            (true, b'"') => in_text = false,
            (true, _) => {}
            (false, b'"') => (in_text, comma) = (true, None),
            (false, b'/') if get(at + 1) == b'/' => {
                while at < bytes.len() && get(at) != b'\n' {
                    blank(&mut out, at);
                    at += 1;
                }
                continue;
            }
            (false, b'/') if get(at + 1) == b'*' => {
                let begin = at;
                while at < bytes.len()
                    && !(at >= begin + 2 && get(at) == b'*' && get(at + 1) == b'/')
                {
                    blank(&mut out, at);
                    at += 1;
                }
                blank(&mut out, at);
                blank(&mut out, at + 1);
                at += 2;
                continue;
            }
            (false, b',') => comma = Some(at),
            (false, b'}' | b']') => {
                if let Some(comma) = comma.take() {
                    blank(&mut out, comma);
                }
            }
            (false, byte) if byte.is_ascii_whitespace() => {}
            (false, _) => comma = None,
        }
        at += 1;
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn comments_and_trailing_commas_are_taken_out_and_texts_stay() {
        let text = "{ // one, two }\n \"a\": [1, 2, /* ] */ ], \"b\": \"// no, \\\" /* comment */ ,}\", }\n";
        let read: Value = serde_json::from_slice(&plain(text.as_bytes())).unwrap();
        assert_eq!(read, json!({ "a": [1, 2], "b": "// no, \" /* comment */ ,}" }));
        assert_eq!(plain(text.as_bytes()).len(), text.len());
        for odd in ["", "/", "/*", "//", "\"\\", "[1,,]", "/* *"] {
            assert_eq!(plain(odd.as_bytes()).len(), odd.len(), "{odd}");
        }
    }

    #[test]
    fn what_is_filled_in_later_stands_in_variables_only() {
        let said = |value: Value| server("s", value.as_object().unwrap());
        let one = said(
            json!({ "command": "c", "args": ["${workspaceFolder}/x"], "env": { "A": "${NO_SUCH:-b}c" } }),
        );
        let one = one.unwrap();
        assert_eq!(one.command, ["c", "{workspace}/x"]);
        assert_eq!(one.env["A"], "bc");
        for (bad, why) in [
            (json!({ "command": "c", "args": ["${KEY}"] }), "only `${workspaceFolder}`"),
            (json!({ "command": "c", "env": { "A": "${LICTOR_SECRET_X}" } }), "Lictor's own"),
            (json!({ "command": "c", "env": { "A": "${input:key}" } }), "secret"),
            (json!({ "url": "http://x" }), "HTTP"),
            (json!({ "command": "c", "disabled": true }), "disabled"),
            (json!({}), "no `command`"),
        ] {
            let told = said(bad).unwrap_err();
            assert!(told.contains(why), "{told}");
        }
    }
}
