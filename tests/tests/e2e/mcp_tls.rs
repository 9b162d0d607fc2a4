//! MCP servers behind `https://`: who is trusted there is said by whoever runs the command, and nobody else
//! is told anything. The certificates are made for each test.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use crate::place::{Answer, Place};
use crate::tls::{Authority, trusting};

const POLICY: &str = "version: 1\ndefault: deny\nrules:\n\
    \x20 - { name: reached, when: { effect: net, capability: \"mcp_server.*\" }, verdict: allow }\n\
    \x20 - { name: tools, when: { effect: mcp }, verdict: allow }\n\
    risk: { low: allow, medium: allow, high: need_approval, critical: deny }\n";

/// An MCP server over TLS, with one tool, that keeps no connection.
struct Far {
    port: u16,
    heard: Arc<Mutex<Vec<String>>>,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Far {
    fn new(config: Arc<ServerConfig>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (heard, ends) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (tell, end) = (Arc::clone(&heard), Arc::clone(&ends));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if end.load(Ordering::Acquire) {
                    return;
                }
                let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
                answer(StreamOwned::new(connection, stream.unwrap()), &tell);
            }
        });
        Self { port, heard, ends, thread: Some(thread) }
    }

    fn url(&self) -> String {
        format!("https://localhost:{}/mcp", self.port)
    }

    /// The methods that it was asked.
    fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Release);
        // It waits for somebody to come.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// Reads one request, where whoever comes trusts this server, and answers it.
fn answer(tls: StreamOwned<ServerConnection, TcpStream>, heard: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(tls);
    let (mut head, mut line) = (String::new(), String::new());
    while line != "\r\n" {
        line.clear();
        match reader.read_line(&mut line) {
            Ok(n) if n > 0 => head.push_str(&line),
            // Whoever does not trust us goes before they say anything.
            _ => return,
        }
    }
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().unwrap())
    });
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).unwrap();
    let message: Value = serde_json::from_slice(&body).unwrap_or_default();
    let method = message["method"].as_str().unwrap_or("-").to_owned();
    heard.lock().unwrap().push(method.clone());
    let result = match method.as_str() {
        "initialize" => json!({
            "protocolVersion": "2025-11-25", "capabilities": { "tools": {} },
            "serverInfo": { "name": "far", "version": "1.0.0" },
        }),
        "tools/list" => json!({ "tools": [{
            "name": "echo", "description": "Says what it was told.",
            "inputSchema": { "type": "object", "properties": { "text": { "type": "string" } } },
            "annotations": { "readOnlyHint": true, "openWorldHint": false },
        }] }),
        "tools/call" => json!({
            "content": [{ "type": "text", "text": message["params"]["arguments"]["text"] }],
        }),
        _ => Value::Null,
    };
    let (status, body) = match (&message["id"], &result) {
        (Value::Null, _) if method == "-" => ("405 Method Not Allowed", String::new()),
        (Value::Null, _) => ("202 Accepted", String::new()),
        (id, Value::Null) => {
            let error = json!({ "code": -32601, "message": "there is no such method" });
            ("200 OK", json!({ "jsonrpc": "2.0", "id": id, "error": error }).to_string())
        }
        (id, result) => {
            ("200 OK", json!({ "jsonrpc": "2.0", "id": id, "result": result }).to_string())
        }
    };
    let length = body.len();
    let said = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    );
    let mut tls = reader.into_inner();
    drop(tls.write_all(said.as_bytes()));
    tls.conn.send_close_notify();
    drop(tls.flush());
}

/// As an approver who trusts the authorities of a file, if there is one.
fn run(place: &Place, arguments: &[&str], ca: Option<&str>) -> Answer {
    place.run_with(arguments, |command| {
        command.env("LICTOR_APPROVER_TOKEN", &place.token);
        trusting(ca)(command);
    })
}

#[test]
fn a_server_is_reached_where_its_authority_is_named_and_else_is_told_nothing() {
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let place = Place::with_policy(POLICY);
    let named = place.document("ca.pem", &ours.pem);
    let another = place.document("other.pem", &other.pem);
    let far = Far::new(ours.server("localhost"));
    let url = far.url();
    let baseline =
        ["--user", "somebody", "mcp", "wrap", "far", "--approve-baseline", "--url", &url];
    // The public authorities, and another private one: neither has signed this.
    for ca in [None, Some(another.as_str())] {
        let refused = run(&place, &baseline, ca);
        assert_ne!(refused.code, 0, "{}", refused.json);
        let why = refused.json.to_string();
        assert!(why.contains("UnknownIssuer"), "{why}");
        assert_eq!(far.heard(), Vec::<String>::new());
    }
    let told = run(&place, &baseline, Some(&named)).done();
    assert_eq!(told["tools"][0]["tool"], "echo", "{told}");

    // Having been let in does not make it trusted.
    let call = ["--user", "somebody", "--agent", "mcp", "call", "mcp.far.echo", "text=over tls"];
    let before = far.heard().len();
    for ca in [None, Some(another.as_str())] {
        let refused = run(&place, &call, ca);
        assert_ne!(refused.code, 0, "{}", refused.json);
        assert_eq!(far.heard().len(), before);
    }
    let done = run(&place, &call, Some(&named)).done();
    assert_eq!(done["output"]["content"][0]["text"], "over tls", "{done}");
    place.verify();
}

#[test]
fn a_server_whose_certificate_is_for_another_name_is_told_nothing() {
    let ours = Authority::new("ours");
    let place = Place::with_policy(POLICY);
    let named = place.document("ca.pem", &ours.pem);
    let far = Far::new(ours.server("other.example"));
    let url = far.url();
    let baseline =
        ["--user", "somebody", "mcp", "wrap", "far", "--approve-baseline", "--url", &url];
    let refused = run(&place, &baseline, Some(&named));
    assert_ne!(refused.code, 0, "{}", refused.json);
    assert!(refused.json.to_string().contains("not valid for"), "{}", refused.json);
    assert_eq!(far.heard(), Vec::<String>::new());
}
