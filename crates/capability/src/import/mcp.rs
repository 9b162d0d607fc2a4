//! MCP servers: how one is started, and the tools that it lists.

use serde_json::{Value, json};

use super::{Draft, Import, NotImported, literal_title};
use crate::contract::{HttpOrigin, McpPart, McpPin, McpServer, McpTool, looks_like};

/// How long a call gets, unless somebody says otherwise.
const TIMEOUT: &str = "60s";
/// The longest description that is repeated as the contract's own; the pin holds all of it.
const MAX_TEXT: usize = 16 << 10;

/// From how a server is started, or reached, to the contract of that.
///
/// # Errors
/// When its name is none, its command is empty, or its URL has no host.
pub fn from_mcp_server(server: &McpServer) -> Result<Import, super::ImportError> {
    let id = McpServer::id_of(&server.server).map_err(super::ImportError)?;
    let (verb, what, effects) = match &server.url {
        None => {
            let program = server.command.first().cloned().unwrap_or_default();
            let what = format!("Start `{}` and keep it running.", server.command.join(" "));
            ("Start", what, json!({ "process": [program] }))
        }
        Some(url) => {
            let origin = HttpOrigin::of(url).map_err(super::ImportError)?;
            let what = format!("Connect to `{url}` and stay connected.");
            ("Reach", what, json!({ "net": [origin.effect()] }))
        }
    };
    let title = format!("{verb} the MCP server {}", server.server);
    let mut draft = Draft::new(&id, &title, &what, "local");
    draft.set(json!({
        "input": { "type": "object", "additionalProperties": false },
        "output": { "type": "object" },
        "risk": "medium",
        "effects": effects,
        "undo": { "strategy": "none" },
        "timeout": TIMEOUT,
        "handler": { "mcp_server": server },
    }));
    draft.lost = match &server.url {
        None => vec!["what the program does beside its tools: nothing holds it".to_owned()],
        Some(_) => vec!["what its machine does: nothing there is held or seen".to_owned()],
    };
    let mut import = Import::default();
    import.take(server.server.clone(), Ok(draft));
    Ok(import)
}

/// From what a server lists of one part, as it would be served, to contracts. What a tool says of
/// itself is a hint of somebody who is not trusted: it may raise the risk that is proposed, and what is
/// not said is supposed at its worst. Names that are taken twice, or that people would take for one
/// another, are left out, all of them. URIs are no names that people read, and only the same one twice is
/// left out.
#[must_use]
pub fn from_mcp(server: &McpServer, part: McpPart, listed: &[Value]) -> Import {
    let mut import = Import::default();
    let names: Vec<Option<&str>> = listed.iter().map(|one| part.name_in(one)).collect();
    let drawn = |name: &str| match part {
        McpPart::Tool | McpPart::Prompt => looks_like(name),
        McpPart::Resource | McpPart::Template | McpPart::About => name.to_owned(),
    };
    for (definition, name) in listed.iter().zip(&names) {
        let Some(name) = name else {
            let (origin, key) = (format!("a {}", part.as_str()), part.key());
            import.left_out.push(NotImported { origin, why: format!("it has no `{key}`") });
            continue;
        };
        let this = drawn(name);
        let alike = names.iter().flatten().filter(|other| drawn(other) == this);
        let others: Vec<&&str> = alike.collect();
        let made = match others.as_slice() {
            [_] => match part {
                McpPart::Tool => draft(server, name, definition),
                _ => reads(server, part, name, definition),
            },
            several if several.iter().all(|other| *other == name) => {
                Err("the server lists it more than once".to_owned())
            }
            several => {
                let quoted = several.iter().map(|other| format!("`{other}`"));
                let list = quoted.collect::<Vec<_>>().join(", ");
                Err(format!("its name is easily taken for another one: {list}"))
            }
        };
        import.take((*name).to_owned(), made);
    }
    import
}

/// A prompt, a resource, a template, or what a server says of itself: got by asking, which changes
/// nothing that the protocol knows of.
fn reads(
    server: &McpServer,
    part: McpPart,
    name: &str,
    definition: &Value,
) -> Result<Draft, String> {
    let id = McpTool::id_of(&server.server, part, name)?;
    let pin = McpPin::of(part, definition)?;
    let text = |key: &str| definition.get(key).and_then(Value::as_str).unwrap_or_default();
    let description: String = match part {
        McpPart::About => text("instructions"),
        _ => text("description"),
    }
    .chars()
    .take(MAX_TEXT)
    .collect();
    let shown = [text("title"), text("name"), name].into_iter().find(|text| !text.is_empty());
    let title = format!("{}: {}", said(part), literal_title(shown.unwrap_or(name)));
    let source = format!("mcp:{}", server.server);
    let mut draft = Draft::new(&id, &title, &description, &source);
    let files: &[&str] = if server.workspace { &["**"] } else { &[] };
    draft.set(json!({
        "kind": "mcp",
        "input": asked(part),
        "output": { "type": "object" },
        "risk": "low",
        "idempotent": true,
        "effects": { "fs": { "read": files } },
        "undo": { "strategy": "none" },
        "timeout": TIMEOUT,
        "handler": { "mcp": McpTool {
            server: server.server.clone(), tool: name.to_owned(), part, pin: Some(Box::new(pin)),
        } },
    }));
    tell_hidden(&mut draft, definition);
    Ok(draft)
}

fn said(part: McpPart) -> &'static str {
    match part {
        McpPart::Tool => "Tool",
        McpPart::Prompt => "Prompt",
        McpPart::Resource => "Resource",
        McpPart::Template => "Resources like",
        McpPart::About => "About the MCP server",
    }
}

/// What is asked: the thing itself, or what could stand in an argument of it.
fn asked(part: McpPart) -> Value {
    let complete = json!({
        "type": "object", "required": ["argument"],
        "properties": {
            "argument": {
                "type": "object", "required": ["name", "value"],
                "properties": { "name": { "type": "string" }, "value": { "type": "string" } },
            },
            "context": { "type": "object" },
        },
    });
    let mut properties = serde_json::Map::new();
    match part {
        McpPart::Prompt => {
            properties.insert("arguments".to_owned(), json!({ "type": "object" }));
            properties.insert("complete".to_owned(), complete);
        }
        McpPart::Template => {
            properties.insert("uri".to_owned(), json!({ "type": "string" }));
            properties.insert("complete".to_owned(), complete);
        }
        McpPart::Tool | McpPart::Resource | McpPart::About => {}
    }
    json!({ "type": "object", "additionalProperties": false, "properties": properties })
}

fn tell_hidden(draft: &mut Draft, definition: &Value) {
    let hidden = hidden(definition);
    if hidden > 0 {
        draft.lost.push(format!(
            "{hidden} characters in what it tells models cannot be seen; look at it with care"
        ));
    }
}

fn draft(server: &McpServer, name: &str, tool: &Value) -> Result<Draft, String> {
    let id = McpTool::id_of(&server.server, McpPart::Tool, name)?;
    let pin = McpPin::of(McpPart::Tool, tool)?;
    let text = |key: &str| tool.get(key).and_then(Value::as_str).unwrap_or_default();
    let description: String = text("description").chars().take(MAX_TEXT).collect();
    let hint = |key: &str| tool.pointer(&format!("/annotations/{key}")).and_then(Value::as_bool);
    let title = match text("title") {
        "" => tool.pointer("/annotations/title").and_then(Value::as_str).unwrap_or(name),
        title => title,
    };
    let source = format!("mcp:{}", server.server);
    let mut draft = Draft::new(&id, &literal_title(title), &description, &source);
    let files: &[&str] = if server.workspace { &["**"] } else { &[] };
    draft.set(json!({
        "kind": "mcp",
        "input": tool.get("inputSchema").cloned().unwrap_or_else(|| json!({ "type": "object" })),
        "output": output(),
        "risk": risk(hint("readOnlyHint"), hint("destructiveHint"), hint("openWorldHint")),
        "effects": { "fs": { "read": files, "write": files, "delete": files } },
        "undo": { "strategy": if server.workspace { "automatic" } else { "none" } },
        "timeout": TIMEOUT,
        "handler": { "mcp": McpTool {
            server: server.server.clone(), tool: name.to_owned(), part: McpPart::Tool,
            pin: Some(Box::new(pin)),
        } },
    }));
    draft.lost.push("what it does and risks: only its own word stands for that".to_owned());
    tell_hidden(&mut draft, tool);
    Ok(draft)
}

/// What a call gives: what the tool answered, as it is.
fn output() -> Value {
    json!({
        "type": "object",
        "required": ["content"],
        "properties": {
            "content": { "type": "array", "items": { "type": "object" } },
            "structuredContent": {},
            "isError": { "type": "boolean" },
            "_meta": { "type": "object" },
        },
    })
}

/// The risk that is proposed, by the hints of a tool. As the protocol has it, a tool that does not say
/// otherwise changes things, destroys, and reaches everywhere.
fn risk(read_only: Option<bool>, destructive: Option<bool>, open: Option<bool>) -> &'static str {
    match (read_only.unwrap_or(false), destructive.unwrap_or(true), open.unwrap_or(true)) {
        (true, _, false) => "low",
        (true, _, true) | (false, false, _) => "medium",
        (false, true, _) => "high",
    }
}

/// How many characters of all texts of a tool nobody can see: controls, and what turns text around or
/// takes no room.
fn hidden(value: &Value) -> usize {
    let unseen = |c: char| {
        (c.is_control() && !matches!(c, '\n' | '\t' | '\r'))
            || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fe00}'..='\u{fe0f}'
                | '\u{e0000}'..='\u{e01ef}')
    };
    match value {
        Value::String(text) => text.chars().filter(|c| unseen(*c)).count(),
        Value::Array(items) => items.iter().map(hidden).sum(),
        Value::Object(fields) => fields.values().map(hidden).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}
