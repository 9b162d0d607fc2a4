//! OpenAPI 3: one contract an operation, done by HTTP.

use serde_json::{Map, Value, json};

use super::credentials::Credentials;
use super::schema::{Carrier, resolved};
use super::{Draft, Import, ImportError, id_of};
use crate::contract::HttpSpec;

/// The methods, with the risk that is proposed: reading, changing, taking away.
const METHODS: [(&str, &str, &str); 6] = [
    ("get", "GET", "low"),
    ("head", "HEAD", "low"),
    ("post", "POST", "medium"),
    ("put", "PUT", "medium"),
    ("patch", "PATCH", "medium"),
    ("delete", "DELETE", "high"),
];

/// From an OpenAPI 3 document. `server` stands in place of the servers that the document names, of
/// which the first with `https` is taken.
///
/// # Errors
/// When it is no such document.
pub fn from_openapi(
    namespace: &str,
    document: &Value,
    server: Option<&str>,
) -> Result<Import, ImportError> {
    let version = document.get("openapi").and_then(Value::as_str).unwrap_or_default();
    if !version.starts_with("3.") {
        return Err(ImportError(
            "this is no OpenAPI 3 document: `openapi: 3.x` is missing".to_owned(),
        ));
    }
    let Some(paths) = document.get("paths").and_then(Value::as_object) else {
        return Err(ImportError("the document has no `paths`, and so no operations".to_owned()));
    };
    let mut import = Import::default();
    for (path, item) in paths {
        let item = match resolved(document, item) {
            Ok(item) => item,
            Err(why) => {
                import.take(path.clone(), Err(why));
                continue;
            }
        };
        for (key, value) in item.as_object().into_iter().flatten() {
            let origin = format!("{} {path}", key.to_uppercase());
            if let Some((_, method, risk)) = METHODS.iter().find(|(known, ..)| known == key) {
                let wish = Wish {
                    namespace,
                    document,
                    server,
                    path,
                    item,
                    operation: value,
                    method,
                    risk,
                };
                import.take(origin, wish.draft());
            } else if ["options", "trace"].contains(&key.as_str()) {
                import.take(origin, Err("this method is not carried over".to_owned()));
            }
        }
    }
    Ok(import)
}

pub(super) struct Wish<'a> {
    pub(super) namespace: &'a str,
    pub(super) document: &'a Value,
    server: Option<&'a str>,
    path: &'a str,
    item: &'a Value,
    pub(super) operation: &'a Value,
    method: &'static str,
    risk: &'static str,
}

/// What the operation takes, as properties of one input.
#[derive(Default)]
struct Taken {
    properties: Map<String, Value>,
    required: Vec<String>,
    query: Vec<String>,
    header_inputs: Map<String, Value>,
    body: bool,
}

impl Wish<'_> {
    fn draft(&self) -> Result<Draft, String> {
        let text = |key: &str| self.operation.get(key).and_then(Value::as_str);
        let fallback = format!("{}_{}", self.method.to_ascii_lowercase(), self.path);
        let id = id_of(self.namespace, text("operationId").unwrap_or(&fallback))?;
        let title = text("summary").or(text("operationId")).unwrap_or(&fallback);
        let mut lost = Vec::new();
        let base = self.base(&mut lost)?;
        let url = format!("{}{}", base.trim_end_matches('/'), self.path);
        let credentials = Credentials::of(self, &mut lost);
        let (input, taken) = self.input(&credentials, &mut lost)?;
        let output = self.output(&mut lost);
        let mut http = json!({
            "method": self.method, "url": url, "query": credentials.query(&taken.query),
            "header_inputs": taken.header_inputs, "headers": credentials.headers,
        });
        if let (Some(fields), true) = (http.as_object_mut(), taken.body) {
            fields.insert("body".to_owned(), json!("body"));
        }
        let spec: HttpSpec = serde_json::from_value(http).map_err(|error| error.to_string())?;
        let safe = spec.method.is_safe();
        let mut draft = Draft::new(&id, title, text("description").unwrap_or(title), "http");
        draft.set(json!({
            "input": input, "output": output, "risk": self.risk,
            "effects": { "net": [spec.origin(&Value::Null)?.effect()] },
            "undo": { "strategy": if safe { "automatic" } else { "none" } },
            "idempotent": safe || ["PUT", "DELETE"].contains(&self.method),
            "handler": { "http": spec },
        }));
        draft.lost = lost;
        Ok(draft)
    }

    /// Where it is sent. Plain HTTP is for those who ask for it.
    fn base(&self, lost: &mut Vec<String>) -> Result<String, String> {
        if let Some(server) = self.server {
            return Ok(server.to_owned());
        }
        let of = |place: &'_ Value| place.get("servers").and_then(Value::as_array).cloned();
        let servers = of(self.operation).or_else(|| of(self.item)).or_else(|| of(self.document));
        let servers = servers.unwrap_or_default();
        let urls = servers.iter().map(|server| {
            let url = server.get("url").and_then(Value::as_str).unwrap_or_default();
            written_out(url, server.get("variables"))
        });
        let urls: Vec<(String, bool)> = urls.collect();
        let Some((url, chosen)) = urls.iter().find(|(url, _)| url.starts_with("https://")) else {
            return Err("the document names no `https` server for it; name one".to_owned());
        };
        if *chosen {
            lost.push("the other values of the server's variables: the default stands".to_owned());
        }
        if urls.len() > 1 {
            lost.push(format!("{} more servers: `{url}` stands", urls.len() - 1));
        }
        Ok(url.clone())
    }

    fn input(
        &self,
        credentials: &Credentials,
        lost: &mut Vec<String>,
    ) -> Result<(Value, Taken), String> {
        let mut carrier = Carrier::new(self.document);
        let mut taken = Taken::default();
        self.parameters((&mut taken, credentials), &mut carrier, lost)?;
        self.body(&mut taken, &mut carrier, lost)?;
        let input = json!({
            "type": "object", "additionalProperties": false, "required": taken.required,
            "properties": taken.properties,
        });
        let (input, more) = carrier.finish(input)?;
        lost.extend(more);
        Ok((input, taken))
    }

    fn parameters(
        &self,
        (taken, credentials): (&mut Taken, &Credentials),
        carrier: &mut Carrier<'_>,
        lost: &mut Vec<String>,
    ) -> Result<(), String> {
        let of = |value: &Value| value.get("parameters").and_then(Value::as_array).cloned();
        let mut seen: Vec<(String, String)> = Vec::new();
        // Those of the operation count over those of its path.
        let own = of(self.operation).unwrap_or_default();
        for parameter in own.iter().chain(&of(self.item).unwrap_or_default()) {
            let parameter = resolved(self.document, parameter)?;
            let text = |key: &str| parameter.get(key).and_then(Value::as_str);
            let (Some(name), Some(place)) = (text("name"), text("in")) else {
                return Err("a parameter has no name or no place".to_owned());
            };
            let key = (name.to_owned(), place.to_owned());
            if seen.contains(&key) {
                continue;
            }
            seen.push(key);
            let required = place == "path" || parameter.get("required") == Some(&json!(true));
            // These say nothing in OpenAPI: bodies and security speak about them.
            let spoken = ["accept", "content-type", "authorization"];
            match place {
                "header" if spoken.contains(&name.to_ascii_lowercase().as_str()) => continue,
                // A secret stands there, and no input.
                _ if credentials.hold(place, name) => continue,
                "path" | "query" | "header" => {}
                other if required => {
                    return Err(format!(
                        "it needs the parameter `{name}` in {other}, which is not sent"
                    ));
                }
                other => {
                    lost.push(format!("the parameter `{name}` in {other}"));
                    continue;
                }
            }
            if taken.properties.contains_key(name) {
                return Err(format!("two of its parameters are called `{name}`"));
            }
            let Some(schema) = parameter.get("schema") else {
                return Err(format!("the parameter `{name}` is no plain value"));
            };
            let mut schema = carrier.schema(schema)?;
            if let (Some(said), Some(fields)) = (text("description"), schema.as_object_mut()) {
                fields.insert("description".to_owned(), json!(said));
            }
            taken.properties.insert(name.to_owned(), schema);
            if required {
                taken.required.push(name.to_owned());
            }
            match place {
                "query" => taken.query.push(name.to_owned()),
                "header" => taken.header_inputs.extend([(name.to_owned(), json!(name))]),
                _ => {}
            }
        }
        Ok(())
    }

    fn body(
        &self,
        taken: &mut Taken,
        carrier: &mut Carrier<'_>,
        lost: &mut Vec<String>,
    ) -> Result<(), String> {
        let Some(body) = self.operation.get("requestBody") else { return Ok(()) };
        let body = resolved(self.document, body)?;
        let required = body.get("required") == Some(&json!(true));
        let content = body.get("content").and_then(Value::as_object);
        let Some(json) = content.and_then(|content| as_json(content)) else {
            let kinds: Vec<&str> =
                content.into_iter().flatten().map(|(kind, _)| kind.as_str()).collect();
            let said = format!("its body is {}, and only JSON is sent", kinds.join(", "));
            if required {
                return Err(said);
            }
            lost.push(said);
            return Ok(());
        };
        if taken.properties.contains_key("body") {
            return Err("a parameter is called `body`, as the body itself".to_owned());
        }
        let schema = json.get("schema").map_or(Ok(json!(true)), |schema| carrier.schema(schema))?;
        taken.properties.insert("body".to_owned(), schema);
        taken.body = true;
        if required {
            taken.required.push("body".to_owned());
        }
        Ok(())
    }

    /// What it answers when it works. Where that cannot be carried over, anything is accepted.
    fn output(&self, lost: &mut Vec<String>) -> Value {
        let around = |body: Value| {
            json!({
                "type": "object", "required": ["status", "body"],
                "properties": { "status": { "type": "integer" }, "body": body },
            })
        };
        let mut carrier = Carrier::new(self.document);
        let carried = self.answers(&mut carrier);
        match carried.and_then(|body| carrier.finish(around(body))) {
            Ok((output, more)) => {
                lost.extend(more);
                output
            }
            Err(why) => {
                lost.push(format!("what it answers: {why}"));
                around(json!(true))
            }
        }
    }

    fn answers(&self, carrier: &mut Carrier<'_>) -> Result<Value, String> {
        let responses = self.operation.get("responses").and_then(Value::as_object);
        let mut bodies = Vec::new();
        for (_, response) in
            responses.into_iter().flatten().filter(|(code, _)| code.starts_with('2'))
        {
            let content =
                resolved(self.document, response)?.get("content").and_then(Value::as_object);
            let schema = content.and_then(|content| as_json(content)?.get("schema"));
            let Some(schema) = schema else { return Ok(json!(true)) };
            let body = carrier.schema(schema)?;
            if !bodies.contains(&body) {
                bodies.push(body);
            }
        }
        Ok(match bodies.len() {
            0 => json!(true),
            1 => bodies.remove(0),
            _ => json!({ "anyOf": bodies }),
        })
    }
}

fn as_json(content: &Map<String, Value>) -> Option<&Value> {
    let fits = |kind: &str| {
        let kind = kind.split(';').next().unwrap_or_default().trim();
        kind == "application/json" || kind.ends_with("+json") || kind == "*/*"
    };
    content.iter().find(|(kind, _)| fits(kind)).map(|(_, json)| json)
}

/// A server's URL with the defaults of its variables, and whether it has any.
fn written_out(url: &str, variables: Option<&Value>) -> (String, bool) {
    let mut out = url.to_owned();
    for (name, variable) in variables.and_then(Value::as_object).into_iter().flatten() {
        let default = variable.get("default").and_then(Value::as_str).unwrap_or_default();
        out = out.replace(&format!("{{{name}}}"), default);
    }
    let chosen = out != url;
    (out, chosen)
}
