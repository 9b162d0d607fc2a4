//! A server of somebody else's that is reached over HTTP: a few lines of it, by hand, so that it can
//! break off where a test wants.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

use crate::client::Era;

/// What it has, and what it was asked.
#[derive(Default)]
struct State {
    modern: bool,
    stream: bool,
    elsewhere: bool,
    tools: Vec<Value>,
    token: Option<String>,
    sessions: Vec<String>,
    calls: Vec<Value>,
    connections: usize,
}

/// The server, from outside.
pub(crate) struct Elsewhere {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    serving: AbortHandle,
}

/// What a request is answered with.
struct Answer {
    status: &'static str,
    headers: String,
    body: String,
}

impl Answer {
    fn of(status: &'static str, body: Value) -> Self {
        let headers = "content-type: application/json\r\n".to_owned();
        Self { status, headers, body: body.to_string() }
    }

    fn empty(status: &'static str) -> Self {
        Self { status, headers: String::new(), body: String::new() }
    }
}

impl Elsewhere {
    pub(crate) async fn new(era: Era, tools: &[Value]) -> Self {
        let state = State { modern: era == Era::Modern, tools: tools.to_vec(), ..State::default() };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, state) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(state)));
        let serving = serve(listener, Arc::clone(&state));
        Self { address, state, serving }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    /// It wants this to be shown.
    pub(crate) fn wants(&self, token: &str) {
        self.state.lock().unwrap().token = Some(token.to_owned());
    }

    /// It answers calls by streams.
    pub(crate) fn streams(&self) {
        self.state.lock().unwrap().stream = true;
    }

    /// It lives at another path, and says so.
    pub(crate) fn moves(&self) {
        self.state.lock().unwrap().elsewhere = true;
    }

    /// From now on it has these, and tells nobody.
    pub(crate) fn has(&self, tools: &[Value]) {
        self.state.lock().unwrap().tools = tools.to_vec();
    }

    pub(crate) fn calls(&self) -> Vec<Value> {
        self.state.lock().unwrap().calls.clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.state.lock().unwrap().connections
    }

    /// It goes, with all of its connections.
    pub(crate) async fn goes(&self) {
        self.serving.abort();
        // Its port is free when nobody answers there.
        while TcpStream::connect(self.address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    }

    /// It is there again, and knows nobody.
    pub(crate) async fn comes_back(&mut self) {
        self.state.lock().unwrap().sessions.clear();
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.serving = serve(listener, Arc::clone(&self.state));
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn serve(listener: TcpListener, state: Arc<Mutex<State>>) -> AbortHandle {
    let serving = tokio::spawn(async move {
        // They end with it.
        let mut connections = JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            state.lock().unwrap().connections += 1;
            connections.spawn(connection(stream, Arc::clone(&state)));
        }
    });
    serving.abort_handle()
}

async fn connection(mut stream: TcpStream, state: Arc<Mutex<State>>) {
    let mut seen = Vec::new();
    let mut buffer = [0_u8; 4096];
    loop {
        let text = String::from_utf8_lossy(&seen).into_owned();
        let whole = text.split_once("\r\n\r\n").and_then(|(head, body)| {
            let length = header(head, "content-length").map_or(0, |n| n.parse().unwrap());
            body.get(..length).map(|body| (head.to_owned(), body.to_owned()))
        });
        let Some((head, body)) = whole else {
            match stream.read(&mut buffer).await {
                Ok(n) if n > 0 => seen.extend_from_slice(&buffer[..n]),
                _ => return,
            }
            continue;
        };
        seen.drain(..head.len() + 4 + body.len());
        let answer = state.lock().unwrap().answer(&head, &body);
        // Nothing, and the connection ends.
        let Some(Answer { status, headers, body }) = answer else { return };
        let length = body.len();
        let said = format!("HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\n\r\n{body}");
        if stream.write_all(said.as_bytes()).await.is_err() {
            return;
        }
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

impl State {
    fn answer(&mut self, head: &str, body: &str) -> Option<Answer> {
        if self.elsewhere && !head.lines().next().unwrap().contains("/mcp/ ") {
            let mut answer = Answer::empty("307 Temporary Redirect");
            answer.headers = "location: /mcp/\r\n".to_owned();
            return Some(answer);
        }
        if self.token.as_deref() != header(head, "authorization").filter(|_| self.token.is_some()) {
            return Some(Answer::empty("401 Unauthorized"));
        }
        match head.split(' ').next().unwrap() {
            "POST" => {}
            "DELETE" => return Some(Answer::empty("200 OK")),
            _ => return Some(Answer::empty("405 Method Not Allowed")),
        }
        let message: Value = serde_json::from_str(body).unwrap();
        let (id, method) = (message["id"].clone(), message["method"].as_str().unwrap().to_owned());
        if !self.modern && method != "initialize" {
            let session = header(head, "mcp-session-id").unwrap_or_default();
            if !self.sessions.iter().any(|known| known == session) {
                return Some(Answer::empty("404 Not Found"));
            }
        }
        if id.is_null() {
            return Some(Answer::empty("202 Accepted"));
        }
        let result = match self.result(&method, &message["params"])? {
            Ok(result) => result,
            Err(why) => {
                let error = json!({ "code": -32601, "message": why });
                let error = json!({ "jsonrpc": "2.0", "id": id, "error": error });
                let status = if self.modern { "404 Not Found" } else { "200 OK" };
                return Some(Answer::of(status, error));
            }
        };
        let mut answer =
            Answer::of("200 OK", json!({ "jsonrpc": "2.0", "id": id, "result": result }));
        if method == "initialize" {
            let session = format!("session-{}", self.sessions.len());
            answer.headers.push_str(&format!("mcp-session-id: {session}\r\n"));
            self.sessions.push(session);
        }
        if self.stream && method == "tools/call" {
            answer.headers = "content-type: text/event-stream\r\n".to_owned();
            answer.body = format!(": one moment\n\ndata: {}\n\n", answer.body);
        }
        Some(answer)
    }

    /// What it answers; nothing at all when it breaks off.
    fn result(&mut self, method: &str, params: &Value) -> Option<Result<Value, &'static str>> {
        let capabilities = json!({ "tools": { "listChanged": true } });
        Some(Ok(match (method, self.modern) {
            ("initialize", false) => json!({
                "protocolVersion": "2025-11-25", "capabilities": capabilities,
                "serverInfo": { "name": "elsewhere", "version": "1.0.0" },
            }),
            ("server/discover", true) => json!({
                "resultType": "complete", "supportedVersions": ["2026-07-28"],
                "capabilities": capabilities, "ttlMs": 0, "cacheScope": "private",
            }),
            ("tools/list", _) => json!({
                "tools": self.tools, "ttlMs": 86_400_000, "cacheScope": "public",
                "resultType": "complete",
            }),
            ("tools/call", _) => {
                self.calls.push(params.clone());
                if params["name"] == "breaks" {
                    return None;
                }
                let said = match params["name"].as_str().unwrap() {
                    // What a careless server would say.
                    "repeats" => format!("you showed {:?}", self.token),
                    _ => params["arguments"]["text"].as_str().unwrap_or_default().to_owned(),
                };
                json!({ "resultType": "complete", "content": [{ "type": "text", "text": said }] })
            }
            _ => return Some(Err("there is no such method")),
        }))
    }
}
