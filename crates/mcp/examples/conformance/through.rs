//! The suite against `lictor mcp wrap`, the command itself, over the fixtures as a server of somebody
//! else's. The suite has no token, and the command lets nobody in without: what is between the two adds it
//! to each request, and nothing else.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Output, Stdio};

use hyper::body::Incoming;
use hyper::client::conn::http1 as client;
use hyper::header::{AUTHORIZATION, HeaderValue};
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

use crate::Failed;

/// Whoever wraps this server trusts it: nobody sits by to be asked about each call.
const POLICY: &str = "\
version: 1
default: deny
paths: { allowed: [\"**\"] }
rules:
  - { name: servers, when: { effect: process, capability: \"mcp_server.*\" }, verdict: allow }
  - { name: tools, when: { effect: mcp }, verdict: allow }
risk: { low: allow, medium: allow, high: allow, critical: allow }
";
const TOKEN: &str = "a-token-of-the-suite-that-nobody-could-guess";

pub(crate) async fn run(arguments: &[String]) -> Result<ExitCode, Failed> {
    let (lictor, suite) = arguments.split_first().ok_or("name the command `lictor`")?;
    let place = tempfile::tempdir()?;
    let wrap = Wrap::new(Path::new(lictor), place.path())?;
    let (mut child, address) = wrap.start().await?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/mcp", listener.local_addr()?);
    let between = tokio::spawn(between(listener, address));
    let suite = suite.to_vec();
    let status = tokio::task::spawn_blocking(move || crate::run(&suite, &url)).await??;
    between.abort();
    end(&mut child).await?;
    Ok(ExitCode::from(status))
}

/// The command in a workspace of its own, whose server was let in.
struct Wrap {
    lictor: PathBuf,
    home: PathBuf,
    workspace: PathBuf,
    upstream: PathBuf,
}

impl Wrap {
    fn new(lictor: &Path, place: &Path) -> Result<Self, Failed> {
        let (home, workspace) = (place.join("home"), place.join("workspace"));
        std::fs::create_dir(&home)?;
        std::fs::create_dir(&workspace)?;
        let upstream = std::env::current_exe()?;
        Ok(Self { lictor: std::fs::canonicalize(lictor)?, home, workspace, upstream })
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.lictor);
        command.arg("--json").args(arguments).current_dir(&self.workspace);
        let ours = std::env::vars_os().map(|(name, _)| name);
        for name in ours.filter(|name| name.to_string_lossy().starts_with("LICTOR_")) {
            command.env_remove(name);
        }
        command.env("HOME", &self.home).env("XDG_STATE_HOME", self.home.join("state"));
        command.env("XDG_CONFIG_HOME", self.home.join("config"));
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    fn wrap(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(&["mcp", "wrap", "suite"]);
        command.args(arguments).arg("--").arg(&self.upstream).arg("upstream");
        command
    }

    async fn start(&self) -> Result<(Child, String), Failed> {
        let made = said(self.command(&["init"]).output().await?)?;
        let token = made.get("approver_token").and_then(Value::as_str).unwrap_or_default();
        #[expect(clippy::disallowed_methods, reason = "a workspace of the example's own")]
        std::fs::write(self.workspace.join(".lictor/policy.yaml"), POLICY)?;
        // Nobody lets in what they proposed themselves.
        let mut letting_in = self.wrap(&["--user", "suite", "--approve-baseline"]);
        said(letting_in.env("LICTOR_APPROVER_TOKEN", OsStr::new(token)).output().await?)?;
        let mut serving = self.wrap(&["--user", "suite", "--http", "127.0.0.1:0"]);
        serving.env("LICTOR_CLIENT_TOKEN", TOKEN).stdout(Stdio::piped());
        let mut child = serving.spawn()?;
        let stdout = child.stdout.take().ok_or("it has no output")?;
        let line = BufReader::new(stdout).lines().next_line().await?.unwrap_or_default();
        let said: Value = serde_json::from_str(&line)?;
        let url = said.get("url").and_then(Value::as_str).unwrap_or_default();
        let address = url.strip_prefix("http://").and_then(|url| url.strip_suffix("/mcp"));
        Ok((child, address.ok_or("it does not say where it listens")?.to_owned()))
    }
}

fn said(output: Output) -> Result<Value, Failed> {
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        return Err(format!("{text}{}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

async fn end(child: &mut Child) -> Result<(), Failed> {
    let id = child.id().and_then(|id| i32::try_from(id).ok());
    if let Some(pid) = id.and_then(rustix::process::Pid::from_raw) {
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
    }
    child.wait().await?;
    Ok(())
}

/// Hands on each connection, with the token on each request.
async fn between(listener: TcpListener, address: String) {
    while let Ok((stream, _)) = listener.accept().await {
        let address = address.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| hand_on(request, address.clone()));
            drop(server::Builder::new().serve_connection(TokioIo::new(stream), service).await);
        });
    }
}

async fn hand_on(
    mut request: Request<Incoming>,
    address: String,
) -> std::io::Result<Response<Incoming>> {
    let other = std::io::Error::other::<hyper::Error>;
    let stream = TcpStream::connect(&address).await?;
    let (mut sender, connection) = client::handshake(TokioIo::new(stream)).await.map_err(other)?;
    // It ends with its one answer, or when whoever asked goes.
    tokio::spawn(connection);
    let value = HeaderValue::from_str(&format!("Bearer {TOKEN}")).map_err(std::io::Error::other)?;
    request.headers_mut().insert(AUTHORIZATION, value);
    sender.send_request(request).await.map_err(other)
}
