//! `mcp wrap`: in place of an MCP server.

use std::collections::BTreeMap;

use lictor::capability::{HandlerSpec, HttpOrigin, McpPart, McpServer};
use lictor::context::{AgentProfile, Name, Selection, Session};
use lictor::governance::{CatalogueKey, CatalogueKind, LifeState};
use lictor::{LifeStep, Runtime};
use lictor_mcp::{Door, Elicitation, Governed, Menu, Standing, StandingKind};
use serde_json::{Value, json};

use super::Answer;
use super::catalogue::failure;
use super::mcp::AGENT;
use super::mcp_http;
use crate::consent;
use crate::context::Context;
use crate::failure::Failure;
use crate::mcp_args::{HttpFace, Wrap};
use crate::output::{GREEN, Output, visible};
use crate::told;

/// The variables that every server gets: what programs need to find programs, folders and words.
const USUAL: [&str; 8] = ["HOME", "LANG", "LC_ALL", "LOGNAME", "PATH", "TMPDIR", "TZ", "USER"];

pub(crate) async fn wrap(wish: Wrap, context: &Context, output: &Output) -> Answer {
    let runtime = context.runtime().await?;
    let spec = spec(&wish, &runtime)?;
    let session = session(context, std::slice::from_ref(&spec))?;
    if wish.approve_baseline {
        if wish.dry.dry_run {
            let json = json!({ "start": spec });
            output.result(&json, || visible(&format!("{}\nit would be let in", start_text(&spec))));
            return Ok(0);
        }
        let deed = Deed { runtime: &runtime, session: &session, context, output };
        let (json, text) = deed.baseline(&spec, &wish.tool).await?;
        output.result(&json, || text);
        return Ok(0);
    }
    if wish.dry.dry_run {
        output.result(&json!({ "start": spec }), || visible(&start_text(&spec)));
        return Ok(0);
    }
    serve(vec![spec], &runtime, &session, (&wish.face, context, output)).await
}

/// Serves what servers have until the client goes, or over HTTP until told to end. Each server is
/// proposed first.
pub(super) async fn serve(
    servers: Vec<McpServer>,
    runtime: &Runtime,
    session: &Session,
    (face, context, output): (&HttpFace, &Context, &Output),
) -> Answer {
    let upstreams = &context.upstreams;
    for spec in &servers {
        // Whoever starts a server that nobody may propose starts nothing.
        let proposed = upstreams.propose_server(runtime, session, spec).await;
        proposed.map_err(|error| failure(&error))?;
    }
    let agent = runtime.agent(session);
    let names = servers.iter().map(|spec| spec.server.clone()).collect();
    let menu = Menu::new(upstreams.clone(), names);
    if let Some(address) = face.http {
        let (runtime, profile) = (runtime.clone(), session.profile().clone());
        let menu = menu.for_many();
        let furnish = move |session: Session, elicitation: Option<Elicitation>| {
            let agent = runtime.agent(&session.with_profile(profile.clone()));
            Door::over(agent, elicitation, menu.clone())
        };
        let principal = session.principal().clone();
        let serving = mcp_http::serve((face, address), principal, context, output, furnish);
        let served = tokio::select! {
            served = serving => served,
            () = upstreams.attend(&agent, &servers) => Ok(0),
        };
        upstreams.close().await;
        return served;
    }
    let elicitation = Elicitation::new(context.os_user.clone()).map_err(Failure::failed)?;
    let door = Door::over(agent.clone(), Some(elicitation), menu);
    let until = told::to_end()?;
    let served = tokio::select! {
        served = lictor_mcp::serve_stdio(&door, until) => served,
        () = upstreams.attend(&agent, &servers) => Ok(()),
    };
    upstreams.close().await;
    super::mcp::served(served)
}

/// How the server is started: as is said, or else as was proposed.
fn spec(wish: &Wrap, runtime: &Runtime) -> Result<McpServer, Failure> {
    let usage = |problem: String| Failure::usage(problem);
    let id = McpServer::id_of(&wish.name).map_err(usage)?;
    if let Some(url) = &wish.url {
        HttpOrigin::of_input("url", &json!(url)).map_err(usage)?;
        return Ok(McpServer {
            server: wish.name.clone(),
            command: Vec::new(),
            url: wish.url.clone(),
            headers: Vec::new(),
            cwd: None,
            env: Vec::new(),
            set: pairs(&wish.set)?,
            secrets: pairs(&wish.secret)?,
            workspace: false,
        });
    }
    if wish.command.is_empty() {
        let known = runtime.catalogue().versions(CatalogueKind::Capability, id.as_str());
        let contract = known.first().and_then(|entry| entry.document.contract().cloned());
        return match contract.as_ref().map(|contract| &contract.handler) {
            Some(HandlerSpec::McpServer(spec)) => Ok(spec.as_ref().clone()),
            _ => Err(Failure::usage("the server's command is missing; it stands after `--`")
                .with_step(format!(
                    "lictor mcp wrap {} --approve-baseline -- COMMAND…",
                    wish.name
                ))),
        };
    }
    Ok(McpServer {
        server: wish.name.clone(),
        command: wish.command.clone(),
        url: None,
        headers: Vec::new(),
        cwd: wish.cwd.clone(),
        env: variables(&wish.env),
        set: pairs(&wish.set)?,
        secrets: pairs(&wish.secret)?,
        workspace: wish.files,
    })
}

/// The usual few, and those that are named beside them.
pub(super) fn variables<'a>(named: impl IntoIterator<Item = &'a String>) -> Vec<String> {
    let mut env: Vec<String> = USUAL.iter().map(|name| (*name).to_owned()).collect();
    env.extend(named.into_iter().cloned());
    env.sort();
    env.dedup();
    env
}

fn pairs(given: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    let pair = |text: &String| {
        let split = text.split_once('=').filter(|(name, _)| !name.is_empty());
        let (name, value) = split.ok_or_else(|| {
            Failure::usage(format!("`{}` is not NAME=VALUE", text.escape_debug()))
        })?;
        Ok((name.to_owned(), value.to_owned()))
    };
    given.iter().map(pair).collect()
}

/// A session that has these servers, and nothing else.
pub(super) fn session(context: &Context, servers: &[McpServer]) -> Result<Session, Failure> {
    let mut principal = context.principal.clone();
    if !context.global.given.agent_named {
        principal.agent = Name::parse(AGENT).map_err(Failure::input)?;
    }
    let mut only = Vec::new();
    for spec in servers {
        let id = McpServer::id_of(&spec.server).map_err(Failure::usage)?;
        only.push(id.to_string());
        let word = id.as_str().trim_start_matches("mcp_server.");
        only.extend(McpPart::ALL.map(|part| match part {
            McpPart::About => format!("{}.{word}", part.namespace()),
            _ => format!("{}.{word}.*", part.namespace()),
        }));
    }
    let mcp_servers = servers.iter().map(|spec| spec.server.clone()).collect();
    let profile = AgentProfile { capabilities: Selection::Only(only), mcp_servers };
    Ok(context.session_of(principal)?.with_profile(profile))
}

/// Only what was asked for.
fn chosen(governed: &mut Governed, only: &[String]) -> Result<(), Failure> {
    for wanted in only {
        if !governed.tools.iter().any(|tool| tool.name == *wanted) {
            let why = governed.left_out.iter().find(|one| one.name == *wanted);
            let why = why.map_or("the server has none of that name", |one| one.why.as_str());
            return Err(Failure::not_found(format!("`{}`: {why}", wanted.escape_debug())));
        }
    }
    if !only.is_empty() {
        governed.tools.retain(|tool| only.contains(&tool.name));
    }
    Ok(())
}

/// What it takes to let things in.
pub(super) struct Deed<'a> {
    pub(super) runtime: &'a Runtime,
    pub(super) session: &'a Session,
    pub(super) context: &'a Context,
    pub(super) output: &'a Output,
}

impl Deed<'_> {
    /// A person lets in the start of a server, and then what it lists. Each is shown before.
    pub(super) async fn baseline(
        &self,
        spec: &McpServer,
        only: &[String],
    ) -> Result<(Value, String), Failure> {
        let Self { runtime, session, context, output } = self;
        let upstreams = &context.upstreams;
        let start = upstreams.propose_server(runtime, session, spec).await;
        let start = start.map_err(|error| failure(&error))?;
        if start.state != LifeState::Active {
            self.let_in(&visible(&start_text(spec)), &[&start]).await?;
        }
        let agent = runtime.agent(session);
        let action = agent.action(start.id.clone(), json!({}));
        let approve = crate::args::Consent { approve: true };
        let asked = || Ok(vec![agent.check(action.clone())?]);
        let consent = consent::in_advance(&agent, asked, approve, context, output).await?;
        agent.act(action, consent.as_ref()).await?;
        let listing = upstreams.listed(&spec.server).await.map_err(Failure::failed)?;
        let governed = upstreams.propose_tools(runtime, session, spec, &listing).await;
        let mut governed = governed.map_err(|error| failure(&error))?;
        chosen(&mut governed, only)?;
        let tools = governed.tools.iter();
        let wanted: Vec<&Standing> =
            tools.filter(|tool| tool.state == LifeState::Proposed).collect();
        let text = governed_text(&spec.server, &governed);
        if !wanted.is_empty() {
            self.let_in(&visible(&text), &wanted).await?;
        }
        let left_out = governed.left_out.iter();
        let left_out =
            left_out.map(|one| json!({ "tool": one.name, "part": one.part, "why": one.why }));
        let json = json!({
            "server": spec.server, "start": spec, "left_out": left_out.collect::<Vec<_>>(),
            "tools": governed.tools.iter().map(tool_json).collect::<Vec<_>>(),
        });
        Ok((json, format!("{}\n{GREEN}{} let in{GREEN:#}", visible(&text), wanted.len())))
    }

    /// An approver looks at what is shown, and lets exactly that in.
    async fn let_in(&self, text: &str, all: &[&Standing]) -> Result<(), Failure> {
        let what = "mcp.wrap";
        let Self { runtime, context, output, .. } = self;
        consent::show_before(what, text, runtime, context, output).await?;
        let (approver, channel) = consent::approver(what, runtime, context, output).await?;
        for one in all {
            let version = one.version.parse().map_err(Failure::failed)?;
            let id = one.id.to_string();
            let key = CatalogueKey { kind: CatalogueKind::Capability, id, version };
            let why = "the baseline of the MCP server";
            let (next, seen) = (LifeState::Active, Some(one.digest));
            let step = LifeStep { key: &key, next, seen, by: &approver, channel, why };
            if let Err(error) = runtime.step_life(self.session, step).await {
                return Err(consent::refused(what, failure(&error), runtime, context).await);
            }
        }
        Ok(())
    }
}

/// The whole command, and all that it gets.
pub(super) fn start_text(spec: &McpServer) -> String {
    if let Some(url) = &spec.url {
        return reach_text(spec, url);
    }
    let mut text = format!("The MCP server `{}` is started by this command, whole:\n", spec.server);
    for part in &spec.command {
        text.push_str(&format!("  {}\n", part.escape_debug()));
    }
    let cwd = spec.cwd.as_deref().unwrap_or(".");
    text.push_str(&format!(
        "in `{}`, with these variables of the environment of whoever starts it: {}",
        cwd.escape_debug(),
        spec.env.join(", ")
    ));
    for (name, value) in &spec.set {
        text.push_str(&format!("\n  {name}={}", value.escape_debug()));
    }
    for (name, secret) in &spec.secrets {
        text.push_str(&format!("\n  {name}= the secret `{secret}`"));
    }
    if spec.workspace {
        text.push_str(
            "\nIt works in a copy of the workspace's files; what it changes there lands by itself.",
        );
    }
    text.push_str("\nNothing holds the program itself: it can do what you can.");
    text
}

/// The whole URL, and all that is sent there.
fn reach_text(spec: &McpServer, url: &str) -> String {
    let mut text =
        format!("The MCP server `{}` is reached at\n  {}", spec.server, url.escape_debug());
    for name in &spec.headers {
        text.push_str(&format!("\n  {name}: as the configuration says"));
    }
    for (name, value) in &spec.set {
        text.push_str(&format!("\n  {name}: {}", value.escape_debug()));
    }
    for (name, secret) in &spec.secrets {
        text.push_str(&format!("\n  {name}: the secret `{secret}`"));
    }
    text.push_str("\nNothing of what its machine does is held or seen.");
    text
}

fn governed_text(server: &str, governed: &Governed) -> String {
    let mut text = format!("The tools of the MCP server `{server}`, and what else it has:\n");
    for tool in &governed.tools {
        let (risk, what) = (tool.risk.as_str(), tool.part.as_str());
        text.push_str(&format!("  {:<32} {what:<8} {risk:<8} {}\n", tool.name, tool.state));
        for note in &tool.notes {
            text.push_str(&format!("    note: {note}\n"));
        }
        if let StandingKind::Changed(lines) = &tool.kind {
            for line in lines {
                text.push_str(&format!("    {line}\n"));
            }
        }
    }
    for one in &governed.left_out {
        text.push_str(&format!("  {}: left out: {}\n", one.name.escape_debug(), one.why));
    }
    text
}

fn tool_json(tool: &Standing) -> Value {
    let (found, changed) = match &tool.kind {
        StandingKind::Same => ("same", Vec::new()),
        StandingKind::New => ("new", Vec::new()),
        StandingKind::Changed(lines) => ("changed", lines.clone()),
    };
    json!({
        "tool": tool.name, "part": tool.part, "id": tool.id, "risk": tool.risk, "digest": tool.digest,
        "was": tool.state, "found": found, "changed": changed, "notes": tool.notes,
    })
}
