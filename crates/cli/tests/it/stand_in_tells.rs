//! What the server of these tests asks and tells in the middle of a call, as its era has it.

use serde_json::{Value, json};

use crate::stand_in::{Serving, append, next_line, say};

/// What marks a notice as one that somebody listens for.
const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";

impl Serving {
    fn is_modern(&self) -> bool {
        self.get("era") == "modern"
    }

    /// What a tool asks the client; nothing, where it asks nothing.
    fn question(&self, params: &Value) -> Option<Value> {
        let text = params["arguments"]["text"].as_str().unwrap_or_default();
        Some(match params["name"].as_str()? {
            "asks" => json!({ "method": "elicitation/create", "params": {
                "mode": "form", "message": text, "requestedSchema": {
                    "type": "object", "properties": { "name": { "type": "string" } },
                    "required": ["name"],
                },
            } }),
            "opens" => {
                let url = "https://example.org/sign-in";
                let mut about = json!({ "mode": "url", "message": text, "url": url });
                // The newer protocol has none.
                if self.get("page id").is_string() {
                    about["elicitationId"] = self.get("page id");
                }
                json!({ "method": "elicitation/create", "params": about })
            }
            "samples" => json!({ "method": "sampling/createMessage", "params": {
                "messages": [{ "role": "user", "content": { "type": "text", "text": text } }],
                "systemPrompt": "Answer in one word.", "maxTokens": 10,
            } }),
            "looks_around" => json!({ "method": "roots/list", "params": {} }),
            _ => return None,
        })
    }

    /// A tool that asks, and says what it heard.
    fn ask(&mut self, params: &Value) -> Value {
        let question = self.question(params).unwrap();
        let heard = if self.is_modern() {
            match params["inputResponses"].get("who") {
                None => {
                    return json!({
                        "resultType": "input_required", "inputRequests": { "who": question },
                        "requestState": "their own state",
                    });
                }
                Some(_) if params["requestState"] != "their own state" => json!("no state"),
                Some(said) => said.clone(),
            }
        } else {
            let mut request = question;
            request["jsonrpc"] = json!("2.0");
            request["id"] = json!("question-1");
            say(&request);
            if self.get("done at once") == json!(true) {
                done_with(&self.get("page id"));
            }
            let said = self.hears(|message| message["id"] == "question-1");
            said.get("result").unwrap_or(&said["error"]).clone()
        };
        append(&self.folder, "calls", &params.to_string());
        json!({ "resultType": "complete", "content": [{ "type": "text", "text": heard.to_string() }] })
    }

    /// What is more than a request and its answer; whether this was.
    pub(crate) fn tells(&mut self, message: &Value) -> bool {
        let (id, params) = (&message["id"], &message["params"]);
        match message["method"].as_str().unwrap_or_default() {
            "notifications/cancelled" => self.cancelled(&params["requestId"]),
            "notifications/roots/list_changed" => self.note(json!({ "told": "roots" })),
            "logging/setLevel" => {
                self.note(json!({ "level": params["level"] }));
                say(&json!({ "jsonrpc": "2.0", "id": id, "result": {} }));
            }
            "subscriptions/listen" if self.is_modern() => {
                let filter = params["notifications"].clone();
                if !filter["resourceSubscriptions"].is_null() {
                    self.note(json!({ "listened for": filter["resourceSubscriptions"] }));
                }
                let about = json!({ "_meta": { SUBSCRIPTION: id }, "notifications": filter });
                notice("notifications/subscriptions/acknowledged", about);
                self.listens.push((id.clone(), filter));
            }
            "resources/subscribe" if !self.is_modern() => {
                let filter = json!({ "resourceSubscriptions": [params["uri"]] });
                self.note(json!({ "listened for": filter["resourceSubscriptions"] }));
                self.listens.push((Value::Null, filter));
                say(&json!({ "jsonrpc": "2.0", "id": id, "result": {} }));
            }
            "resources/unsubscribe" if !self.is_modern() => {
                self.listens.retain(|(_, what)| what["resourceSubscriptions"][0] != params["uri"]);
                self.note(json!({ "not listened for": params["uri"] }));
                say(&json!({ "jsonrpc": "2.0", "id": id, "result": {} }));
            }
            "tools/call" => return self.tells_in_a_call(id, params),
            _ => return false,
        }
        true
    }

    fn note(&self, what: Value) {
        append(&self.folder, "calls", &what.to_string());
    }

    fn cancelled(&mut self, id: &Value) {
        let listened = self.listens.iter().position(|(known, _)| known == id && !id.is_null());
        match listened.map(|at| self.listens.remove(at)) {
            Some((_, filter)) => {
                self.note(json!({ "not listened for": filter["resourceSubscriptions"][0] }));
            }
            None => self.note(json!({ "cancelled": id })),
        }
    }

    /// Waits for one message; what else it hears is for later.
    fn hears(&mut self, what: impl Fn(&Value) -> bool) -> Value {
        loop {
            let Some(line) = next_line() else { return json!({ "result": "nobody" }) };
            let message: Value = serde_json::from_str(&line).unwrap();
            if what(&message) {
                return message;
            }
            self.later.push_back(line);
        }
    }

    fn tells_in_a_call(&mut self, id: &Value, params: &Value) -> bool {
        if self.question(params).is_some() {
            let result = self.ask(params);
            say(&json!({ "jsonrpc": "2.0", "id": id, "result": result }));
            return true;
        }
        let text = params["arguments"]["text"].as_str().unwrap_or_default();
        match params["name"].as_str().unwrap_or_default() {
            "tells" | "tells_late" => {
                if params["name"] == "tells_late" {
                    self.hears(|message| message["method"] == "notifications/roots/list_changed");
                }
                let token = &params["_meta"]["progressToken"];
                let secret = std::env::var("KEY").unwrap_or_default();
                for at in [1, 2] {
                    let message = format!("{at} of 2, with {secret}");
                    let about = json!({
                        "progressToken": token, "progress": at, "total": 2, "message": message,
                    });
                    notice("notifications/progress", about);
                }
                let about = json!({
                    "level": "warning", "logger": "stand-in", "data": format!("{text} {secret}"),
                });
                notice("notifications/message", about);
            }
            "finishes" => done_with(&params["arguments"]["text"]),
            "wants_a_page" => {
                let about = json!({ "elicitations": [{
                    "mode": "url", "elicitationId": text, "message": "Sign in, please.",
                    "url": "https://example.org/sign-in",
                }] });
                let error = json!({ "code": -32042, "message": "sign in first", "data": about });
                say(&json!({ "jsonrpc": "2.0", "id": id, "error": error }));
                return true;
            }
            "touches" => {
                for (listens, filter) in &self.listens {
                    let uris = filter["resourceSubscriptions"].as_array();
                    if !uris.is_some_and(|uris| uris.iter().any(|uri| uri == text)) {
                        continue;
                    }
                    let mut about = json!({ "uri": text });
                    if !listens.is_null() {
                        about["_meta"] = json!({ SUBSCRIPTION: listens });
                    }
                    notice("notifications/resources/updated", about);
                }
            }
            // It does not answer before it is told that nobody wants it any more, and not then.
            "waits" => {
                self.note(json!({ "waits": id }));
                self.hears(|message| message["params"]["requestId"] == *id);
                self.cancelled(id);
                return true;
            }
            _ => return false,
        }
        self.note(params.clone());
        let content = json!([{ "type": "text", "text": text }]);
        let result = json!({ "resultType": "complete", "content": content });
        say(&json!({ "jsonrpc": "2.0", "id": id, "result": result }));
        true
    }
}

/// A page was done with.
fn done_with(id: &Value) {
    notice("notifications/elicitation/complete", json!({ "elicitationId": id }));
}

fn notice(method: &str, about: Value) {
    say(&json!({ "jsonrpc": "2.0", "method": method, "params": about }));
}
