//! What a call through the road costs beside one through a bare relay, over the same server: the server
//! itself, a relay of the protocol that does nothing else, one that makes a line durable for each call,
//! and `mcp wrap` with policy, pin and trail: each call durable before it is answered, or its records a
//! moment later in one flush with others (`durability: { records: lazy }`), also over a server of which
//! many tools were let in.
//!
//! `cargo bench -p lictor-mcp --bench relay`. All ways take turns within each round, so that what else the
//! machine does is alike for all. Ways that are named (`-- mcp/buffered`) are the only ones that are gone;
//! beside the time of a call stands what it takes of the processors in this process, without its server's.
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a bench that cannot set itself up may stop"
)]

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lictor::capability::McpServer;
use lictor::context::{AgentProfile, Name, Principal, Session, SystemClock};
use lictor::governance::{CatalogueKey, CatalogueKind, Channel, LifeState, ProvenApprover};
use lictor::handlers::NoSecrets;
use lictor::{LifeStep, Runtime, RuntimeOptions};
use lictor_mcp::{Door, Menu, Standing, Surroundings, Upstreams};
use rmcp::ServiceExt as _;
use rmcp::handler::server::ServerHandler;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ErrorData,
    ListToolsResult, PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool,
};
use rmcp::service::{Peer, RequestContext, RoleClient, RoleServer, RunningService};
use serde_json::json;

/// As the command has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// By this variable a copy of this program knows that it is the server, and of how many tools.
const SERVER: &str = "RELAY_BENCH_SERVER";
/// So many tools are many.
const MANY: usize = 200;
/// So many calls are one measurement.
const CALLS: u32 = 40;
/// So many rounds.
const ROUNDS: usize = 25;
const POLICY: &str = "\
version: 1
default: deny
paths: { allowed: [\"**\"] }
rules:
  - { name: servers, when: { effect: process, capability: \"mcp_server.*\" }, verdict: allow }
  - { name: tools, when: { effect: mcp }, verdict: allow }
";
/// What a policy says beside that whose records may come a moment later.
const LAZY: &str = "\
audit: { on_failure: continue }
durability: { records: lazy }
";

/// Says what it was told, by whichever of its tools.
#[derive(Clone)]
struct Echo {
    n_tools: usize,
}

impl ServerHandler for Echo {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let tool = |n: usize| {
            let name = if n == 0 { "echo".to_owned() } else { format!("echo_{n}") };
            let tool = json!({
                "name": name, "description": "Says what it was told.",
                "inputSchema": { "type": "object", "properties": { "text": { "type": "string" } } },
                "annotations": { "readOnlyHint": true, "openWorldHint": false },
            });
            serde_json::from_value::<Tool>(tool).expect("a tool")
        };
        Ok(ListToolsResult::with_all_items((0..self.n_tools).map(tool).collect()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let given = request.arguments.unwrap_or_default();
        let text = given.get("text").and_then(|text| text.as_str()).unwrap_or_default();
        Ok(CallToolResult::success(vec![ContentBlock::text(text)]).into())
    }
}

/// Hands calls on, and does nothing else but to write a line for each, if it has somewhere to.
#[derive(Clone)]
struct Bare {
    to: Peer<RoleClient>,
    line: Option<Arc<File>>,
}

impl ServerHandler for Bare {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        if let Some(file) = &self.line {
            let mut file = file.as_ref();
            writeln!(file, "{}", json!(request)).expect("a line");
            file.sync_data().expect("a durable line");
        }
        let answered = self.to.call_tool_once(request).await;
        answered.map_err(|error| ErrorData::internal_error(error.to_string(), None))
    }
}

type Client = RunningService<RoleClient, ()>;

/// A client of the server itself.
async fn direct() -> (Client, tokio::process::Child) {
    let program = std::env::current_exe().expect("this program");
    let mut command = tokio::process::Command::new(program);
    command.env(SERVER, "1").stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().expect("the server");
    let (output, input) = (child.stdout.take().expect("out"), child.stdin.take().expect("in"));
    (().serve((output, input)).await.expect("the server begins"), child)
}

/// A client of something in this process.
async fn client_of(server: impl ServerHandler) -> Client {
    let (near, far) = tokio::io::duplex(64 << 10);
    tokio::spawn(async move {
        let served = server.serve(far).await.expect("it begins");
        drop(served.waiting().await);
    });
    ().serve(near).await.expect("it begins")
}

#[derive(Debug)]
struct Nothing;

impl Surroundings for Nothing {
    fn variable(&self, _: &str, _: &str) -> Option<OsString> {
        None
    }
}

fn name(text: &str) -> Name {
    Name::parse(text).expect("a name")
}

async fn let_in(runtime: &Runtime, session: &Session, by: &ProvenApprover, one: &Standing) {
    let version = one.version.parse().expect("a version");
    let key = CatalogueKey { kind: CatalogueKind::Capability, id: one.id.to_string(), version };
    let (next, channel) = (LifeState::Active, Channel::Token);
    let step = LifeStep { key: &key, next, seen: Some(one.digest), by, channel, why: "a bench" };
    runtime.step_life(session, step).await.expect("it is let in");
}

/// `mcp wrap` over the same server, of which so many tools were let in.
async fn wrap(place: &Path, more: &str, n_tools: usize) -> (Client, Upstreams) {
    let root = place.join("workspace");
    std::fs::create_dir_all(root.join(".lictor")).expect("a folder");
    std::fs::write(root.join(".lictor/policy.yaml"), format!("{POLICY}{more}")).expect("a policy");
    let scratch = root.join(".lictor/servers");
    let upstreams = Upstreams::new(&root, scratch, Arc::new(Nothing), Arc::new(NoSecrets));
    let mut options = RuntimeOptions::new(&root, place.join("keys"));
    options.handlers = vec![Arc::new(upstreams.clone())];
    let runtime = Runtime::open(options).await.expect("a runtime");
    let (_, token) = runtime.approvers().bootstrap(name("ann"), Vec::new()).expect("an approver");
    let ann = runtime.approvers().authenticate(token.expose()).expect("it is ann");
    let principal = Principal { org: name("local"), user: name("bob"), agent: name("mcp") };
    let profile = AgentProfile { mcp_servers: vec!["bench".to_owned()], ..AgentProfile::default() };
    let session = Session::new(principal, &SystemClock).with_profile(profile);
    let program = std::env::current_exe().expect("this program");
    let spec = McpServer {
        server: "bench".to_owned(),
        command: vec![program.display().to_string()],
        url: None,
        headers: Vec::new(),
        cwd: None,
        env: Vec::new(),
        set: [(SERVER.to_owned(), n_tools.to_string())].into_iter().collect(),
        secrets: Default::default(),
        workspace: false,
    };
    let start = upstreams.propose_server(&runtime, &session, &spec).await.expect("a proposal");
    let_in(&runtime, &session, &ann, &start).await;
    let agent = runtime.agent(&session);
    agent.call(start.id.as_str(), json!({})).await.expect("it is started");
    let listing = upstreams.listed("bench").await.expect("its tools");
    let tools = upstreams.propose_tools(&runtime, &session, &spec, &listing).await;
    for tool in &tools.expect("proposals").tools {
        let_in(&runtime, &session, &ann, tool).await;
    }
    let menu = Menu::new(upstreams.clone(), vec!["bench".to_owned()]);
    let door = Door::over(runtime.agent(&session), None, menu);
    let watched = door.clone();
    tokio::spawn(async move { watched.watch().await });
    (client_of(door).await, upstreams)
}

/// One way, and what its calls took.
struct Way {
    figure: &'static str,
    client: Client,
    times: Vec<Duration>,
    /// What all calls took of the processors, in this process.
    worked: Duration,
}

/// What the threads of this process took of the processors so far, where the system tells.
fn worked() -> Duration {
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let of = |thread: std::fs::DirEntry| {
        let told = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        told.split_whitespace().next()?.parse::<u64>().ok()
    };
    Duration::from_nanos(threads.filter_map(of).sum::<u64>())
}

impl Way {
    async fn round(&mut self) {
        let before = worked();
        for n in 0..CALLS {
            let arguments = json!({ "text": format!("good morning {n}") });
            let arguments = arguments.as_object().cloned().unwrap_or_default();
            let params = CallToolRequestParams::new("echo").with_arguments(arguments);
            let began = Instant::now();
            let answer = self.client.peer().call_tool_once(params).await.expect("an answer");
            self.times.push(began.elapsed());
            let CallToolResponse::Complete(answer) = answer else { unreachable!("it is done") };
            assert!(answer.is_error != Some(true), "{}: {answer:?}", self.figure);
        }
        self.worked += worked().saturating_sub(before);
    }

    /// The median in nanoseconds, as criterion's figures are.
    fn tell(&mut self) {
        self.times.sort();
        let at = |part: f64| {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
            let index = (self.times.len() as f64 * part) as usize;
            self.times.get(index).map_or(f64::NAN, |time| time.as_secs_f64() * 1e9)
        };
        let (low, median, high) = (at(0.05), at(0.5), at(0.95));
        let worked = self.worked.as_secs_f64() * 1e6 / self.times.len() as f64;
        println!(
            "{:<16} p50 {:>8.1} us  p95 {:>8.1} us  processors {worked:>8.1} us a call",
            self.figure,
            median / 1e3,
            high / 1e3
        );
        let Some(file) = std::env::var_os("LICTOR_BENCH_FIGURES") else { return };
        let line = json!({
            "figure": self.figure, "value": median, "low": low, "high": high, "unit": "ns",
        });
        let mut file = OpenOptions::new().append(true).open(file).expect("the figures");
        writeln!(file, "{line}").expect("a figure");
    }
}

async fn measure() {
    let place = tempfile::tempdir().expect("a folder");
    let (first, _child) = direct().await;
    let (second, _other) = direct().await;
    let (third, _third) = direct().await;
    let bare = client_of(Bare { to: second.peer().clone(), line: None }).await;
    let lines = File::create(place.path().join("lines")).expect("a file");
    let line = Some(Arc::new(lines));
    let synced = client_of(Bare { to: third.peer().clone(), line }).await;
    let (buffered, one) = wrap(&place.path().join("buffered"), LAZY, 1).await;
    let (durable, other) = wrap(&place.path().join("durable"), "", 1).await;
    let (many, another) = wrap(&place.path().join("many"), LAZY, MANY).await;
    let way = |figure, client| Way { figure, client, times: Vec::new(), worked: Duration::ZERO };
    let mut ways = vec![
        way("mcp/direct", first),
        way("mcp/bare", bare),
        way("mcp/synced", synced),
        way("mcp/buffered", buffered),
        way("mcp/durable", durable),
        way("mcp/many", many),
    ];
    let named: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    ways.retain(|way| named.is_empty() || named.iter().any(|name| name == way.figure));
    for round in 0..=ROUNDS {
        for way in &mut ways {
            way.round().await;
            if round == 0 {
                // What is done for the first time is not what is measured.
                way.times.clear();
                way.worked = Duration::ZERO;
            }
        }
    }
    ways.iter_mut().for_each(Way::tell);
    one.close().await;
    other.close().await;
    another.close().await;
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.expect("a runtime of tasks");
    if let Some(n_tools) = std::env::var_os(SERVER) {
        let n_tools = n_tools.to_str().and_then(|text| text.parse().ok()).expect("a number");
        runtime.block_on(async {
            let served =
                Echo { n_tools }.serve(rmcp::transport::stdio()).await.expect("a client begins");
            drop(served.waiting().await);
        });
        return;
    }
    runtime.block_on(measure());
}
