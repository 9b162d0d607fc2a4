//! What the suite wants to find: tools, prompts and resources of given names that answer given things.

use std::collections::BTreeMap;
use std::time::Duration;

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ClientCapabilities, ErrorData,
    GetPromptRequestParams, GetPromptResponse, GetPromptResult, InputRequiredResult,
    InputResponses, ProgressNotificationParam, Prompt, ReadResourceResult, RequestStateCodec,
    Resource, ResourceTemplate, SealOptions, ServerNotification, ServerRequest, Tool,
};
use rmcp::service::{RequestContext, RoleServer};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// One red pixel.
const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==";
/// A sound without samples.
const WAV: &str = "UklGRiQAAABXQVZFZm10IBAAAAABAAEARKwAAIhYAQACABAAZGF0YQAAAAA=";
/// Between two messages of one call.
const PAUSE: Duration = Duration::from_millis(50);
/// What states are bound to.
const BOUND: &[u8] = b"conformance";

const TOOLS: [(&str, &[&str]); 25] = [
    ("test_simple_text", &[]),
    ("test_image_content", &[]),
    ("test_audio_content", &[]),
    ("test_embedded_resource", &[]),
    ("test_multiple_content_types", &[]),
    ("test_tool_with_logging", &[]),
    ("test_error_handling", &[]),
    ("test_tool_with_progress", &[]),
    ("test_sampling", &["prompt"]),
    ("test_elicitation", &["message"]),
    ("test_elicitation_sep1034_defaults", &[]),
    ("test_elicitation_sep1330_enums", &[]),
    ("test_missing_capability", &[]),
    ("test_streaming_elicitation", &[]),
    ("test_logging_tool", &[]),
    ("test_trigger_tool_change", &[]),
    ("test_trigger_prompt_change", &[]),
    ("test_input_required_result_elicitation", &[]),
    ("test_input_required_result_sampling", &[]),
    ("test_input_required_result_list_roots", &[]),
    ("test_input_required_result_request_state", &[]),
    ("test_input_required_result_multiple_inputs", &[]),
    ("test_input_required_result_multi_round", &[]),
    ("test_input_required_result_tampered_state", &[]),
    ("test_input_required_result_capabilities", &[]),
];

/// A tool whose schema has everything that is easily lost on the way.
const SCHEMA: &str = "json_schema_2020_12_tool";
/// A tool that has an argument in a header as well.
const HEADER: &str = "test_custom_header";

pub(crate) fn is_fixture(name: &str) -> bool {
    [SCHEMA, HEADER].contains(&name) || TOOLS.iter().any(|(known, _)| *known == name)
}

/// What is written here as JSON is what the type says; a slip of the pen is an error of the server.
fn of<T: DeserializeOwned>(value: Value) -> Result<T, ErrorData> {
    serde_json::from_value(value)
        .map_err(|error| ErrorData::internal_error(format!("a fixture: {error}"), None))
}

pub(crate) fn tools() -> Vec<Tool> {
    let tool = |(name, required): &(&str, &[&str])| {
        let properties: BTreeMap<&str, Value> =
            required.iter().map(|key| (*key, json!({ "type": "string" }))).collect();
        of(json!({
            "name": name, "description": "A fixture of the conformance suite.",
            "inputSchema": { "type": "object", "properties": properties, "required": required },
        }))
        .ok()
    };
    let with_schema = |name: &str, schema: Value| {
        let about = "A fixture of the conformance suite.";
        of(json!({ "name": name, "description": about, "inputSchema": schema })).ok()
    };
    let schemas = [with_schema(SCHEMA, schema()), with_schema(HEADER, header())];
    TOOLS.iter().filter_map(tool).chain(schemas.into_iter().flatten()).collect()
}

fn schema() -> Value {
    let text = || json!({ "type": "string" });
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "$defs": { "address": {
            "$anchor": "addressDef", "type": "object",
            "properties": { "street": text(), "city": text() },
        } },
        "properties": {
            "name": text(), "address": { "$ref": "#/$defs/address" },
            "contactMethod": { "type": "string", "enum": ["phone", "email"] },
            "phone": text(), "email": text(),
        },
        "allOf": [{ "anyOf": [{ "required": ["phone"] }, { "required": ["email"] }] }],
        "if": {
            "properties": { "contactMethod": { "const": "phone" } }, "required": ["contactMethod"],
        },
        "then": { "required": ["phone"] },
        "else": { "required": ["email"] },
        "additionalProperties": false,
    })
}

fn header() -> Value {
    let region = json!({ "type": "string", "x-mcp-header": "Region" });
    json!({ "type": "object", "properties": { "region": region }, "required": ["region"] })
}

pub(crate) fn prompts() -> Result<Vec<Prompt>, ErrorData> {
    let argument = |name: &str| json!({ "name": name, "description": "A text.", "required": true });
    let of_suite = "A fixture of the conformance suite.";
    of(json!([
        { "name": "test_simple_prompt", "description": of_suite },
        { "name": "test_prompt_with_arguments", "description": of_suite,
          "arguments": [argument("arg1"), argument("arg2")] },
        { "name": "test_prompt_with_embedded_resource", "description": of_suite,
          "arguments": [argument("resourceUri")] },
        { "name": "test_prompt_with_image", "description": of_suite },
        { "name": "test_input_required_result_prompt", "description": of_suite },
    ]))
}

pub(crate) fn prompt(request: &GetPromptRequestParams) -> Result<GetPromptResponse, ErrorData> {
    let given = |key: &str| {
        let arguments = request.arguments.as_ref();
        arguments.and_then(|given| given.get(key)).and_then(Value::as_str).unwrap_or_default()
    };
    let said = |content: Value| json!({ "role": "user", "content": content });
    let text = |text: &str| said(json!({ "type": "text", "text": text }));
    let messages = match request.name.as_str() {
        "test_simple_prompt" => vec![text("This is a simple prompt for testing.")],
        "test_prompt_with_arguments" => vec![text(&format!(
            "Prompt with arguments: arg1='{}', arg2='{}'",
            given("arg1"),
            given("arg2")
        ))],
        "test_prompt_with_embedded_resource" => vec![
            said(json!({ "type": "resource", "resource": {
                "uri": given("resourceUri"), "mimeType": "text/plain",
                "text": "Embedded resource content for testing.",
            } })),
            text("Please process the embedded resource above."),
        ],
        "test_prompt_with_image" => vec![
            said(json!({ "type": "image", "data": PNG, "mimeType": "image/png" })),
            text("Please analyze the image above."),
        ],
        "test_input_required_result_prompt" => {
            match accepted(request.input_responses.as_ref(), "user_context", "context") {
                Some(context) => vec![text(&format!("In the context of {context}."))],
                None => {
                    let asks = form("What context should the prompt use?", "context", "string");
                    return Ok(asking(json!({ "user_context": asks }), None)?.into());
                }
            }
        }
        other => {
            return Err(ErrorData::invalid_params(format!("there is no prompt `{other}`"), None));
        }
    };
    Ok(GetPromptResult::new(of(json!(messages))?).into())
}

pub(crate) fn resources() -> Result<Vec<Resource>, ErrorData> {
    let resource = |name: &str, kind: &str| {
        json!({ "uri": format!("test://{name}"), "name": name, "mimeType": kind,
                "description": "A fixture of the conformance suite." })
    };
    of(json!([
        resource("static-text", "text/plain"),
        resource("static-binary", "image/png"),
        resource("watched-resource", "text/plain"),
    ]))
}

pub(crate) fn templates() -> Result<Vec<ResourceTemplate>, ErrorData> {
    of(json!([{
        "uriTemplate": "test://template/{id}/data", "name": "template",
        "description": "A fixture of the conformance suite.", "mimeType": "application/json",
    }]))
}

pub(crate) fn resource(uri: &str) -> Result<ReadResourceResult, ErrorData> {
    let id = uri.strip_prefix("test://template/").and_then(|rest| rest.strip_suffix("/data"));
    let contents = match (uri, id) {
        (_, Some(id)) => json!({ "uri": uri, "mimeType": "application/json", "text":
            json!({ "id": id, "templateTest": true, "data": format!("Data for ID: {id}") })
                .to_string() }),
        ("test://static-text", _) => json!({ "uri": uri, "mimeType": "text/plain",
            "text": "This is the content of the static text resource." }),
        ("test://static-binary", _) => {
            json!({ "uri": uri, "mimeType": "image/png", "blob": PNG })
        }
        ("test://watched-resource", _) => {
            json!({ "uri": uri, "mimeType": "text/plain", "text": "Nothing happened." })
        }
        _ => {
            let about = Some(json!({ "uri": uri }));
            return Err(ErrorData::invalid_params("Resource not found", about));
        }
    };
    Ok(ReadResourceResult::new(of(json!([contents]))?))
}

fn said(text: impl Into<String>) -> Result<CallToolResponse, ErrorData> {
    content(json!([{ "type": "text", "text": text.into() }]))
}

fn content(blocks: Value) -> Result<CallToolResponse, ErrorData> {
    Ok(CallToolResult::success(of(blocks)?).into())
}

fn asking(requests: Value, state: Option<String>) -> Result<InputRequiredResult, ErrorData> {
    let mut asks = json!({ "resultType": "input_required", "inputRequests": requests });
    if let (Some(state), Some(fields)) = (state, asks.as_object_mut()) {
        fields.insert("requestState".to_owned(), json!(state));
    }
    of(asks)
}

fn form(message: &str, field: &str, kind: &str) -> Value {
    json!({ "method": "elicitation/create", "params": {
        "mode": "form", "message": message, "requestedSchema": {
            "type": "object", "properties": { field: { "type": kind } }, "required": [field],
        },
    } })
}

fn sample(prompt: &str, most: u32) -> Value {
    json!({ "method": "sampling/createMessage", "params": {
        "messages": [{ "role": "user", "content": { "type": "text", "text": prompt } }],
        "maxTokens": most,
    } })
}

fn roots() -> Value {
    json!({ "method": "roots/list", "params": {} })
}

fn answer(responses: Option<&InputResponses>, key: &str) -> Option<Value> {
    serde_json::to_value(responses?.get(key)?).ok()
}

/// What was typed into a field of a form that was accepted.
fn accepted(responses: Option<&InputResponses>, key: &str, field: &str) -> Option<Value> {
    let said = answer(responses, key)?;
    let found = said.get("content")?.get(field).cloned().filter(|value| !value.is_null());
    found.filter(|_| said.get("action").is_some_and(|action| action == "accept"))
}

/// The text of a sampled message.
fn sampled(said: &Value) -> Option<&str> {
    let content = said.get("content")?;
    let content = content.as_array().map_or(Some(content), |all| all.first())?;
    content.get("text")?.as_str()
}

/// What holds states.
pub(crate) struct Fixtures {
    codec: RequestStateCodec,
}

impl Fixtures {
    pub(crate) fn new() -> Result<Self, Box<dyn std::error::Error>> {
        let mut key = [0_u8; 32];
        getrandom::fill(&mut key)?;
        Ok(Self { codec: RequestStateCodec::try_new(key.to_vec())? })
    }

    fn seal(&self, state: &str) -> Option<String> {
        let options = SealOptions::new().associated_data(BOUND).ttl(Duration::from_secs(60));
        Some(self.codec.seal_with(state.as_bytes(), &options))
    }

    fn open(&self, request: &CallToolRequestParams) -> Result<Option<String>, ErrorData> {
        let Some(state) = &request.request_state else { return Ok(None) };
        let opened = self.codec.open_with(state, BOUND);
        let opened = opened.ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let refused = || ErrorData::invalid_params("the request state does not hold", None);
        opened.map(Some).ok_or_else(refused)
    }

    pub(crate) async fn call(
        &self,
        request: CallToolRequestParams,
        context: &RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        match request.name.as_ref() {
            "test_image_content" => {
                content(json!([{ "type": "image", "data": PNG, "mimeType": "image/png" }]))
            }
            "test_audio_content" => {
                content(json!([{ "type": "audio", "data": WAV, "mimeType": "audio/wav" }]))
            }
            "test_embedded_resource" => content(json!([{ "type": "resource", "resource": {
                "uri": "test://embedded-resource", "mimeType": "text/plain",
                "text": "This is an embedded resource content.",
            } }])),
            "test_multiple_content_types" => content(json!([
                { "type": "text", "text": "Multiple content types test:" },
                { "type": "image", "data": PNG, "mimeType": "image/png" },
                { "type": "resource", "resource": {
                    "uri": "test://mixed-content-resource", "mimeType": "application/json",
                    "text": "{\"test\":\"data\",\"value\":123}",
                } },
            ])),
            "test_error_handling" => {
                let content = json!([{
                    "type": "text", "text": "This tool intentionally returns an error for testing",
                }]);
                Ok(CallToolResult::error(of(content)?).into())
            }
            "test_missing_capability" => missing_capability(context),
            "test_tool_with_logging" => logging(context).await,
            "test_tool_with_progress" => progress(context).await,
            "test_sampling" | "test_elicitation" => in_the_call(&request, context).await,
            "test_elicitation_sep1034_defaults" => elicit(defaults(), context).await,
            "test_elicitation_sep1330_enums" => elicit(enums(), context).await,
            name if name.starts_with("test_input_required_result_")
                || name == "test_streaming_elicitation" =>
            {
                self.rounds(&request, context)
            }
            HEADER => {
                let arguments = request.arguments.unwrap_or_default();
                let region = arguments.get("region").and_then(Value::as_str).unwrap_or_default();
                said(format!("The region is {region}."))
            }
            _ => said("This is a simple text response for testing."),
        }
    }

    /// Calls that ask by their answer.
    fn rounds(
        &self,
        request: &CallToolRequestParams,
        context: &RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let state = self.open(request)?;
        let responses = request.input_responses.as_ref();
        let name = || form("What is your name?", "name", "string");
        let confirm = || form("Please confirm", "ok", "boolean");
        let asks = |requests: Value, state: Option<&str>| {
            let state = state.and_then(|state| self.seal(state));
            Ok(asking(requests, state)?.into())
        };
        match request.name.as_ref() {
            "test_input_required_result_sampling" => {
                let heard = answer(responses, "capital_question");
                match heard.as_ref().and_then(sampled) {
                    Some(text) => said(text),
                    None => asks(
                        json!({ "capital_question": sample("What is the capital of France?", 100) }),
                        None,
                    ),
                }
            }
            "test_input_required_result_list_roots" => match answer(responses, "client_roots") {
                Some(heard) if heard.get("roots").is_some_and(Value::is_array) => {
                    said(format!("The roots are {}", heard.get("roots").unwrap_or(&Value::Null)))
                }
                _ => asks(json!({ "client_roots": roots() }), None),
            },
            "test_input_required_result_request_state"
            | "test_input_required_result_tampered_state" => {
                match (accepted(responses, "confirm", "ok"), state) {
                    (Some(_), Some(_)) => said("state-ok"),
                    _ => asks(json!({ "confirm": confirm() }), Some("begun")),
                }
            }
            "test_input_required_result_multiple_inputs" => {
                let all = ["user_name", "greeting", "client_roots"];
                if state.is_some() && all.iter().all(|key| answer(responses, key).is_some()) {
                    return said("All of it was answered.");
                }
                let requests = json!({
                    "user_name": name(), "greeting": sample("Generate a greeting", 50),
                    "client_roots": roots(),
                });
                asks(requests, Some("begun"))
            }
            "test_input_required_result_multi_round" => {
                match (state.as_deref(), accepted(responses, "step1", "name")) {
                    (Some("two"), _) => match accepted(responses, "step2", "color") {
                        Some(color) => said(format!("The color is {color}.")),
                        None => asks(json!({ "step2": second() }), Some("two")),
                    },
                    (Some("one"), Some(_)) => asks(json!({ "step2": second() }), Some("two")),
                    _ => {
                        let first = form("Step 1: What is your name?", "name", "string");
                        asks(json!({ "step1": first }), Some("one"))
                    }
                }
            }
            "test_input_required_result_capabilities" => {
                let can = context.client_capabilities().unwrap_or_default();
                let mut requests = serde_json::Map::new();
                if can.elicitation.is_some() {
                    requests.insert("user_name".to_owned(), name());
                }
                if can.sampling.is_some() {
                    requests.insert("greeting".to_owned(), sample("Generate a greeting", 50));
                }
                asks(Value::Object(requests), None)
            }
            _ => match accepted(responses, "user_name", "name") {
                Some(Value::String(name)) => said(format!("Hello, {name}!")),
                _ => asks(json!({ "user_name": name() }), None),
            },
        }
    }
}

fn second() -> Value {
    form("Step 2: What is your favorite color?", "color", "string")
}

fn missing_capability(context: &RequestContext<RoleServer>) -> Result<CallToolResponse, ErrorData> {
    if context.client_capabilities().is_some_and(|can| can.sampling.is_some()) {
        return said("The client can sample.");
    }
    let needed: ClientCapabilities = of(json!({ "sampling": {} }))?;
    Err(ErrorData::missing_required_client_capability(needed))
}

async fn logging(context: &RequestContext<RoleServer>) -> Result<CallToolResponse, ErrorData> {
    for text in ["Tool execution started", "Tool processing data", "Tool execution completed"] {
        let told: ServerNotification = of(json!({
            "method": "notifications/message", "params": { "level": "info", "data": text },
        }))?;
        if let Err(error) = context.peer.send_notification(told).await {
            return Err(ErrorData::internal_error(error.to_string(), None));
        }
        tokio::time::sleep(PAUSE).await;
    }
    said("It logged.")
}

async fn progress(context: &RequestContext<RoleServer>) -> Result<CallToolResponse, ErrorData> {
    for at in [0.0, 50.0, 100.0] {
        if let Some(token) = context.meta.get_progress_token() {
            let param = ProgressNotificationParam::new(token, at).with_total(100.0);
            if let Err(error) = context.peer.notify_progress(param).await {
                return Err(ErrorData::internal_error(error.to_string(), None));
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
    said("It is done.")
}

/// Asks the client in the middle of the call, as the older protocol has it.
async fn ask(request: Value, context: &RequestContext<RoleServer>) -> Result<Value, ErrorData> {
    let request: ServerRequest = of(request)?;
    let answered = context.peer.send_request(request).await;
    let answered = answered.map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
    serde_json::to_value(answered).map_err(|e| ErrorData::internal_error(e.to_string(), None))
}

async fn in_the_call(
    request: &CallToolRequestParams,
    context: &RequestContext<RoleServer>,
) -> Result<CallToolResponse, ErrorData> {
    let arguments = request.arguments.clone().unwrap_or_default();
    let given = |key: &str| arguments.get(key).and_then(Value::as_str).unwrap_or_default();
    if request.name == "test_sampling" {
        let heard = ask(sample(given("prompt"), 100), context).await?;
        return said(format!("LLM response: {}", sampled(&heard).unwrap_or_default()));
    }
    let text = |what: &str| json!({ "type": "string", "description": what });
    let heard = ask(
        json!({ "method": "elicitation/create", "params": {
            "mode": "form", "message": given("message"), "requestedSchema": {
                "type": "object",
                "properties": {
                    "username": text("User's response"), "email": text("User's email address"),
                },
                "required": ["username", "email"],
            },
        } }),
        context,
    )
    .await?;
    said(format!("User response: {}", summary(&heard)))
}

fn summary(heard: &Value) -> String {
    let of = |key: &str| heard.get(key).cloned().unwrap_or_default();
    format!("action={}, content={}", of("action").as_str().unwrap_or_default(), of("content"))
}

async fn elicit(
    schema: Value,
    context: &RequestContext<RoleServer>,
) -> Result<CallToolResponse, ErrorData> {
    let request = json!({ "method": "elicitation/create", "params": {
        "mode": "form", "message": "Please choose.", "requestedSchema": schema,
    } });
    let heard = ask(request, context).await?;
    said(format!("Elicitation completed: {}", summary(&heard)))
}

fn defaults() -> Value {
    json!({ "type": "object", "properties": {
        "name": { "type": "string", "default": "John Doe" },
        "age": { "type": "integer", "default": 30 },
        "score": { "type": "number", "default": 95.5 },
        "status": { "type": "string", "enum": ["active", "inactive", "pending"],
                    "default": "active" },
        "verified": { "type": "boolean", "default": true },
    } })
}

fn enums() -> Value {
    let titled = |value: &str, title: &str| json!({ "const": value, "title": title });
    let values = [
        titled("value1", "First Option"),
        titled("value2", "Second Option"),
        titled("value3", "Third Option"),
    ];
    let choices = [
        titled("value1", "First Choice"),
        titled("value2", "Second Choice"),
        titled("value3", "Third Choice"),
    ];
    json!({ "type": "object", "properties": {
        "untitledSingle": { "type": "string", "enum": ["option1", "option2", "option3"] },
        "titledSingle": { "type": "string", "oneOf": values },
        "legacyEnum": { "type": "string", "enum": ["opt1", "opt2", "opt3"],
                        "enumNames": ["Option One", "Option Two", "Option Three"] },
        "untitledMulti": { "type": "array",
                           "items": { "type": "string", "enum": ["option1", "option2", "option3"] } },
        "titledMulti": { "type": "array", "items": { "anyOf": choices } },
    } })
}
