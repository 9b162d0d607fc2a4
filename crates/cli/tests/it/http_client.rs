//! A client over HTTP that says exactly what a test wants, in either era, and the server to it.

use std::process::Stdio;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::http::request;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rmcp::model::ProtocolVersion;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout, Command};

use crate::client::Era;
use crate::place::{Place, ours};

const LEGACY: &str = "2025-11-25";

/// `lictor mcp serve --http`, running.
pub(crate) struct HttpServer {
    child: Child,
    _stdout: Lines<BufReader<ChildStdout>>,
    pub(crate) address: String,
    /// The token that it made, if it made one.
    pub(crate) token: Option<String>,
}

impl HttpServer {
    pub(crate) async fn start(place: &Place, arguments: &[&str]) -> Self {
        Self::start_with(place, arguments, |_| {}).await
    }

    pub(crate) async fn start_with(
        place: &Place,
        arguments: &[&str],
        set: impl FnOnce(&mut Command),
    ) -> Self {
        Self::start_as(place, "serve", arguments, set).await
    }

    /// Another server than `mcp serve`.
    pub(crate) async fn start_as(
        place: &Place,
        verb: &str,
        arguments: &[&str],
        set: impl FnOnce(&mut Command),
    ) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lictor"));
        command.args(["mcp", verb, "--json", "--http", "127.0.0.1:0"]).args(arguments);
        command.current_dir(&place.root).kill_on_drop(true);
        for name in ours() {
            command.env_remove(name);
        }
        command.envs(place.environment());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        set(&mut command);
        let mut child = command.spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = stdout.next_line().await.unwrap().expect("it says where it listens");
        let said: Value = serde_json::from_str(&line).unwrap();
        let url = said["url"].as_str().unwrap();
        let address = url.strip_prefix("http://").and_then(|url| url.strip_suffix("/mcp"));
        let address = address.expect("its address").to_owned();
        let token = said["token"].as_str().map(str::to_owned);
        Self { child, _stdout: stdout, address, token }
    }

    /// Tells it to end, as a service manager does; it ends in good order.
    pub(crate) async fn end(mut self) {
        let id = i32::try_from(self.child.id().unwrap()).unwrap();
        let process = rustix::process::Pid::from_raw(id).unwrap();
        rustix::process::kill_process(process, rustix::process::Signal::TERM).unwrap();
        let status = self.child.wait().await.unwrap();
        assert!(status.success(), "{status}");
    }
}

/// One client, with a token or without.
#[derive(Clone)]
pub(crate) struct HttpClient {
    address: String,
    pub(crate) token: Option<String>,
    era: Era,
    /// What it says that it can, in the era that says so with each request.
    pub(crate) can: Value,
    /// What comes along with every request, in place of what would.
    pub(crate) headers: Vec<(&'static str, String)>,
}

/// An answer that has begun.
pub(crate) struct Begun {
    pub(crate) status: u16,
    pub(crate) response: Response<Incoming>,
    seen: String,
}

impl Begun {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name).and_then(|value| value.to_str().ok())
    }

    /// The next message; none when there is no more.
    pub(crate) async fn message(&mut self) -> Option<Value> {
        let stream = self.header("content-type") == Some("text/event-stream");
        loop {
            if stream && let Some((event, rest)) = self.seen.split_once("\n\n") {
                let data: Vec<&str> =
                    event.lines().filter_map(|line| line.strip_prefix("data:")).collect();
                let data = data.join("\n");
                self.seen = rest.to_owned();
                if let Ok(message) = serde_json::from_str(&data) {
                    return Some(message);
                }
                continue;
            }
            match self.response.frame().await {
                Some(frame) => {
                    let bytes = frame.unwrap().into_data().unwrap_or_default();
                    self.seen.push_str(std::str::from_utf8(&bytes).unwrap());
                }
                None => {
                    let left = std::mem::take(&mut self.seen);
                    return serde_json::from_str(&left).ok();
                }
            }
        }
    }

    /// The message that answers, after whatever came before it.
    pub(crate) async fn answer(&mut self) -> Value {
        loop {
            let message = self.message().await.expect("an answer");
            if message.get("result").is_some() || message.get("error").is_some() {
                return message;
            }
        }
    }

    pub(crate) async fn text(self) -> String {
        let bytes = self.response.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(bytes.to_vec()).unwrap()
    }
}

impl HttpClient {
    pub(crate) fn new(server: &HttpServer, token: Option<&str>, era: Era) -> Self {
        let (address, token) = (server.address.clone(), token.map(str::to_owned));
        Self { address, token, era, can: json!({}), headers: Vec::new() }
    }

    /// One that is ready to call: with a protocol session, in the era that has them.
    pub(crate) async fn ready(server: &HttpServer, token: &str, era: Era) -> Self {
        let mut client = Self::new(server, Some(token), era);
        if era == Era::Legacy {
            let id = client.initialize().await;
            client.headers.push(("mcp-session-id", id));
        }
        client
    }

    /// One of the older protocol that can so much.
    pub(crate) async fn able(server: &HttpServer, token: &str, can: Value) -> Self {
        let mut client = Self::new(server, Some(token), Era::Legacy);
        client.can = can;
        let id = client.initialize().await;
        client.headers.push(("mcp-session-id", id));
        client
    }

    async fn initialize(&self) -> String {
        let begin = json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
            "protocolVersion": LEGACY, "capabilities": self.can,
            "clientInfo": { "name": "tests", "version": "1" },
        } });
        let mut begun = self.post(begin.to_string()).await;
        assert_eq!(begun.status, 200);
        let id = begun.header("mcp-session-id").expect("a session").to_owned();
        begun.answer().await;
        let mut known = self.clone();
        known.headers.push(("mcp-session-id", id.clone()));
        let ready = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        assert_eq!(known.post(ready.to_string()).await.status, 202);
        id
    }

    /// A request of the protocol, as the era has it.
    pub(crate) async fn request(&self, id: u32, method: &str, mut params: Value) -> Begun {
        let mut own = self.clone();
        if self.era == Era::Modern {
            let version = ProtocolVersion::V_2026_07_28.to_string();
            let token = params["_meta"]["progressToken"].clone();
            params["_meta"] = json!({
                "io.modelcontextprotocol/protocolVersion": version,
                "io.modelcontextprotocol/clientInfo": { "name": "tests", "version": "1" },
                "io.modelcontextprotocol/clientCapabilities": self.can,
            });
            if !token.is_null() {
                params["_meta"]["progressToken"] = token;
            }
            own.headers.push(("mcp-protocol-version", version));
            own.headers.push(("mcp-method", method.to_owned()));
            if let Some(name) = params["name"].as_str().or_else(|| params["taskId"].as_str()) {
                own.headers.push(("mcp-name", name.to_owned()));
            }
        } else {
            own.headers.push(("mcp-protocol-version", LEGACY.to_owned()));
        }
        let body = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        own.post(body.to_string()).await
    }

    /// What a tool answers.
    pub(crate) async fn call(&self, name: &str, input: Value) -> Value {
        let params = json!({ "name": name, "arguments": input });
        let mut begun = self.request(1, "tools/call", params).await;
        assert_eq!(begun.status, 200);
        begun.answer().await["result"].clone()
    }

    /// What a server says by itself, in the era that has a stream for it.
    pub(crate) async fn listen(&self) -> Begun {
        self.send(Request::get("/mcp"), String::new()).await
    }

    /// Answers what the server asked.
    pub(crate) async fn answers(&self, question: &Value, result: Value) {
        let answer = json!({ "jsonrpc": "2.0", "id": question["id"], "result": result });
        assert_eq!(self.post(answer.to_string()).await.status, 202);
    }

    pub(crate) async fn post(&self, body: String) -> Begun {
        self.send(Request::post("/mcp"), body).await
    }

    async fn send(&self, request: request::Builder, body: String) -> Begun {
        let stream = TcpStream::connect(&self.address).await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        // It ends with the answer, or when that is dropped.
        tokio::spawn(connection);
        let mut request = request
            .header("accept", "application/json, text/event-stream")
            .header("content-type", "application/json");
        if !self.headers.iter().any(|(name, _)| *name == "host") {
            request = request.header("host", &self.address);
        }
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        let request = request.body(Full::new(Bytes::from(body))).unwrap();
        let response = sender.send_request(request).await.unwrap();
        Begun { status: response.status().as_u16(), response, seen: String::new() }
    }
}
