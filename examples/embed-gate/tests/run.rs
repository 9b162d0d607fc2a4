//! The example does what its text says, over real HTTP.
#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may fail loudly")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// The service; it ends with this.
struct Service(Child, String);

impl Drop for Service {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn serve(folder: &std::path::Path) -> Service {
    let mut child = Command::new(env!("CARGO_BIN_EXE_lictor-example-embed-gate"))
        .arg(folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("http://").unwrap().strip_suffix("/judge").unwrap();
    Service(child, address.to_owned())
}

fn judge(service: &Service, diff: &str) -> (u16, Value) {
    let mut stream = TcpStream::connect(&service.1).unwrap();
    write!(
        stream,
        "POST /judge HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{diff}",
        service.1,
        diff.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    (status, serde_json::from_str(body).unwrap())
}

fn create(path: &str) -> String {
    format!("--- /dev/null\n+++ b/{path}\n@@ -0,0 +1 @@\n+x\n")
}

#[test]
fn the_gate_judges_diffs_that_come_over_http_and_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let service = serve(folder.path());
    for (path, verdict) in [
        ("src/a.rs", "allow"),
        ("Cargo.toml", "need_approval"),
        ("src/.env", "deny"),
        ("elsewhere/a.rs", "deny"),
    ] {
        let (status, said) = judge(&service, &create(path));
        assert_eq!((status, said["verdict"].as_str()), (200, Some(verdict)), "{path}: {said}");
        assert!(!said["reasons"].as_array().unwrap().is_empty(), "{path}: {said}");
    }
    let (status, said) = judge(&service, "no diff at all");
    assert_eq!(status, 400, "{said}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is written");
}
