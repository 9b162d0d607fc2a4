//! The handlers: starting a server, and calling one of its tools.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lictor::capability::{
    CapabilityId, Contract, EffectCeiling, Effects, HttpOrigin, McpServer, McpTool, Risk,
    UndoScope, UndoStrategy, WorkspaceView,
};
use lictor::context::WorkspacePath;
use lictor::executor::{Granted, Handler, HandlerError, HandlerErrorKind, Request};
use lictor::handlers::{HttpClient, Mask};
use rmcp::ServiceError;
use rmcp::model::{CallToolRequestParams, CallToolResult, ErrorCode, ErrorData, ServerResult};
use serde_json::{Map, Value, json};

use super::asking::{NoResult, Wanted};
use super::dial::{self, Dial};
use super::files::{self, Copy};
use super::link::{Link, Way};
use super::pages::URL_ELICITATION_REQUIRED;
use super::pinned::Pinned;
use super::process::Order;
use super::{Inner, ended};

/// A list that is older is asked for again before a call.
pub(super) const MAX_AGE: Duration = Duration::from_secs(30);
/// What stands for the folder that a server works in.
const WORKSPACE: &str = "{workspace}";

/// Starts a server.
pub(super) struct StartsServer {
    spec: McpServer,
    inner: Arc<Inner>,
}

impl StartsServer {
    pub(super) fn new(spec: &McpServer, inner: Arc<Inner>) -> Self {
        Self { spec: spec.clone(), inner }
    }

    fn client(&self, url: &str) -> Result<HttpClient, HandlerError> {
        let requests = self.inner.requests.get();
        let requests = requests.ok_or_else(|| {
            HandlerError::failed("this program does not say how servers with a URL are reached")
        })?;
        requests.client(url).map_err(HandlerError::input)
    }

    /// How it is reached, with all that it is sent. Secrets are looked up here and kept nowhere else.
    fn dial(&self, url: &str, secrets: &mut Vec<String>) -> Result<Dial, HandlerError> {
        let server = &self.spec.server;
        let mut headers: Vec<(String, String)> = Vec::new();
        for name in &self.spec.headers {
            let Some(value) = self.inner.surroundings.header(server, name) else {
                let why = format!("nobody says what the header `{name}` of `{server}` holds");
                return Err(HandlerError::failed(why));
            };
            // `Bearer …`: what comes back may repeat the one without the other.
            secrets.extend(value.split_whitespace().last().map(str::to_owned));
            secrets.push(value.clone());
            headers.push((name.clone(), value));
        }
        headers.extend(self.spec.set.iter().map(|(name, text)| (name.clone(), text.clone())));
        for (name, secret) in &self.spec.secrets {
            let found = self.secret(secret)?;
            // Every other scheme is a word before a space.
            let bare = name.eq_ignore_ascii_case("authorization") && !found.contains(' ');
            headers
                .push((name.clone(), if bare { format!("Bearer {found}") } else { found.clone() }));
            secrets.push(found);
        }
        Ok(Dial::new(self.client(url)?, url, headers))
    }

    fn secret(&self, name: &str) -> Result<String, HandlerError> {
        let found = self.inner.secrets.secret(name);
        found.ok_or_else(|| HandlerError::failed(format!("there is no secret `{name}`")))
    }

    /// The program that was judged, ready to be started, and what it works in.
    fn program_of(
        &self,
        granted: &Granted<'_>,
        secrets: &mut Vec<String>,
    ) -> Result<(Way, Option<Copy>), HandlerError> {
        let found = self.inner.programs.find(self.program(), granted.view())?;
        let Some(first) =
            found.first().filter(|_| found == granted.described().effects().executables)
        else {
            let program = self.program().escape_debug();
            let problem = format!("the program `{program}` is another one than was judged");
            return Err(HandlerError::changed(problem));
        };
        let copy = match self.spec.workspace {
            true => Some(Copy::new(&self.inner.scratch)?),
            false => None,
        };
        let works_in = copy.as_ref().map_or(self.inner.root.as_path(), Copy::folder);
        let order = self.order(&first.path, works_in, secrets)?;
        Ok((Way::Program(order), copy))
    }

    fn program(&self) -> &str {
        self.spec.command.first().map_or("", String::as_str)
    }

    /// What is started, with all that it gets. Secrets are looked up here and kept nowhere.
    fn order(
        &self,
        file: &str,
        works_in: &Path,
        secrets: &mut Vec<String>,
    ) -> Result<Order, HandlerError> {
        let root = &self.inner.root;
        let folder = works_in.display().to_string();
        let filled = |text: &String| text.replace(WORKSPACE, &folder);
        let mut env: BTreeMap<String, OsString> = BTreeMap::new();
        for name in &self.spec.env {
            let value = self.inner.surroundings.variable(&self.spec.server, name);
            env.extend(value.map(|value| (name.clone(), value)));
        }
        env.extend(self.spec.set.iter().map(|(name, text)| (name.clone(), filled(text).into())));
        for (name, secret) in &self.spec.secrets {
            let found = self.secret(secret)?;
            env.insert(name.clone(), OsString::from(&found));
            secrets.push(found);
        }
        let cwd =
            self.spec.cwd.as_ref().map_or_else(|| works_in.to_owned(), |cwd| works_in.join(cwd));
        Ok(Order {
            // A path of the workspace is one from its root, wherever we stand.
            program: root.join(Path::new(file)),
            arguments: self.spec.command.iter().skip(1).map(filled).collect(),
            cwd,
            env,
        })
    }
}

#[async_trait::async_trait]
impl Handler for StartsServer {
    fn describe(&self, request: Request<'_>) -> Result<Effects, HandlerError> {
        if let Some(url) = &self.spec.url {
            self.client(url)?.check()?;
            let origin = HttpOrigin::of(url).map_err(HandlerError::input)?;
            let undo = UndoScope::None;
            return Ok(Effects { hosts: vec![origin.effect()], undo, ..Effects::default() });
        }
        let program = self.program();
        let executables = self.inner.programs.find(program, request.view)?;
        Ok(Effects {
            reads: own(&executables.first().map(|one| one.path.clone()), request.view),
            programs: vec![program.to_owned()],
            executables,
            undo: UndoScope::None,
            ..Effects::default()
        })
    }

    async fn run(&self, granted: Granted<'_>) -> Result<Value, HandlerError> {
        let mut secrets = Vec::new();
        let way = match &self.spec.url {
            Some(url) => (Way::Url(self.dial(url, &mut secrets)?), None),
            None => self.program_of(&granted, &mut secrets)?,
        };
        let starting = self.inner.start(&self.spec, way, &secrets);
        let server = &self.spec.server;
        let link = match tokio::time::timeout(granted.limit(), starting).await {
            Ok(Ok(link)) => link,
            Ok(Err(why)) => {
                return Err(HandlerError::failed(format!("the MCP server `{server}`: {why}")));
            }
            // What was started ended with the wait.
            Err(_) => {
                let limit = granted.limit().as_millis();
                let why = format!("the MCP server `{server}` did not begin within {limit} ms");
                return Err(HandlerError::failed(why));
            }
        };
        let info = link.peer().peer_info();
        let version = info.as_ref().map(|info| info.protocol_version.to_string());
        Ok(json!({
            "server": server, "protocol": version, "tools": link.listing().tools().len(),
        }))
    }

    fn keeps_time(&self) -> bool {
        true
    }
}

/// A program that lies in the workspace is read.
fn own(path: &Option<String>, view: &dyn WorkspaceView) -> Vec<WorkspacePath> {
    let path = path.as_deref().and_then(|path| WorkspacePath::parse(path).ok());
    path.filter(|path| matches!(view.entry(path), Ok(Some(_)))).into_iter().collect()
}

/// Calls one tool.
pub(super) struct CallsTool {
    pinned: Pinned,
    risk: Risk,
    most: EffectCeiling,
    /// Whether it works on files of the workspace.
    files: bool,
    /// What of a call can be taken back.
    undo: UndoScope,
}

impl CallsTool {
    pub(super) fn new(spec: &McpTool, contract: &Contract, inner: Arc<Inner>) -> Self {
        Self {
            pinned: Pinned::new(spec, inner),
            risk: contract.risk,
            most: contract.effects.clone(),
            files: files::works_on_files(contract),
            // What the contract calls afterwards makes up for it, as far as that goes.
            undo: match contract.undo.strategy {
                UndoStrategy::Compensate => UndoScope::Partial,
                UndoStrategy::Automatic | UndoStrategy::None => UndoScope::None,
            },
        }
    }
}

#[async_trait::async_trait]
impl Handler for CallsTool {
    fn describe(&self, request: Request<'_>) -> Result<Effects, HandlerError> {
        self.pinned.stands()?;
        let McpTool { server, tool, .. } = &self.pinned.spec;
        let tools = vec![format!("{server}/{tool}")];
        if !self.files {
            return Ok(Effects { tools, undo: self.undo, ..Effects::default() });
        }
        // What it changes in its copy lands, and can be undone; what else it does, nobody sees.
        let reads = files::reads(request.view)?;
        let undo = UndoScope::Partial;
        Ok(Effects { tools, reads, reads_root: true, undo, ..Effects::default() })
    }

    async fn run(&self, granted: Granted<'_>) -> Result<Value, HandlerError> {
        let Pinned { spec, inner } = &self.pinned;
        let link = self.pinned.link()?;
        let age = if self.risk >= Risk::High { Duration::ZERO } else { MAX_AGE };
        let listing = link.fresh(age).await;
        let listing = listing.map_err(|why| {
            HandlerError::failed(format!("the MCP server `{}`: {why}", spec.server))
        })?;
        self.pinned.compare(&listing)?;
        let copy = inner.server(&spec.server).state().copy.clone();
        match (self.files, copy) {
            (false, None) => {
                let input = granted.input().as_object().cloned().unwrap_or_default();
                let result = self.call(&link, input, &granted).await?;
                Ok(link.mask().value(output(&result)?))
            }
            (true, Some(copy)) => self.call_on_files(&link, &copy, &granted).await,
            (contract, _) => {
                let (server, not) = (&spec.server, if contract { "not " } else { "" });
                Err(HandlerError::changed(format!(
                    "`{server}` was started {not}to work on files of the workspace, and the contract of \
                     its tool `{}` says otherwise",
                    spec.tool
                )))
            }
        }
    }

    fn first(&self) -> Option<CapabilityId> {
        self.pinned.first()
    }

    fn blocks(&self) -> bool {
        // Copying does.
        self.files
    }

    fn keeps_time(&self) -> bool {
        true
    }

    fn stops(&self) -> bool {
        true
    }
}

impl CallsTool {
    /// A call in a copy of the workspace, and what it changed there.
    async fn call_on_files(
        &self,
        link: &Link,
        copy: &Copy,
        granted: &Granted<'_>,
    ) -> Result<Value, HandlerError> {
        let filled = copy.filled(granted, &self.most).await?;
        let root = &self.pinned.inner.root;
        let input = granted.input().as_object().cloned().unwrap_or_default();
        let input = files::into_copy(input, root, copy.folder());
        let called = self.call(link, input, granted).await;
        if matches!(&called, Err(error) if matches!(error.kind(), HandlerErrorKind::Unknown(_))) {
            // It may still be at work in the copy, which the next call gets.
            link.close().await;
        }
        let result = called?;
        let changes = filled.changes()?;
        if !changes.is_empty() {
            granted.stage(changes);
        }
        let output = files::out_of_copy(output(&result)?, root, copy.folder());
        Ok(link.mask().value(output))
    }

    /// One call, and never a second one: what was sent may have happened.
    async fn call(
        &self,
        link: &Link,
        input: Map<String, Value>,
        granted: &Granted<'_>,
    ) -> Result<CallToolResult, HandlerError> {
        let server = &self.pinned.spec.server;
        let params =
            CallToolRequestParams::new(self.pinned.spec.tool.clone()).with_arguments(input);
        let talk = self.pinned.inner.talks.of(granted.described().action().id());
        let asked = link.ask(server, Wanted::Tool(params), talk.as_ref(), granted);
        let answered = tokio::select! {
            biased;
            answered = asked => answered,
            // It is told; whether that came in time, nobody knows.
            () = granted.unwanted() => {
                let why = format!("nobody waited for `{server}` any more, and it was told so");
                return Err(HandlerError::unknown(why));
            }
        };
        let Some(answered) = answered else {
            let limit = granted.limit().as_millis();
            return Err(HandlerError::unknown(format!(
                "`{server}` did not answer within {limit} ms"
            )));
        };
        let error = match answered {
            Ok(ServerResult::CallToolResult(result)) => return Ok(result),
            Ok(_) => {
                let why = format!("`{server}` answered with something else than a result");
                return Err(HandlerError::unknown(why));
            }
            Err(error) => error,
        };
        if let (Some(talk), NoResult::Service(ServiceError::McpError(error))) = (&talk, &error)
            && FOR_CLIENTS.contains(&error.code)
        {
            talk.refuse(masked(error, link.mask()), link.pages());
        }
        Err(no_result(link, server, error).await)
    }
}

/// What clients do something about by themselves: declare what they can, have somebody open a page.
const FOR_CLIENTS: [ErrorCode; 2] =
    [ErrorCode::MISSING_REQUIRED_CLIENT_CAPABILITY, URL_ELICITATION_REQUIRED];

/// An error of a server without what it was given.
pub(super) fn masked(error: &ErrorData, mask: &Mask) -> ErrorData {
    let data = error.data.clone().map(|data| mask.value(data));
    ErrorData::new(error.code, mask.text(&error.message), data)
}

/// Why a server gave no result, and whether anything may have come of the request.
pub(super) async fn no_result(link: &Link, server: &str, error: NoResult) -> HandlerError {
    let unknown = |why: String| HandlerError::unknown(link.mask().text(&why));
    match error {
        NoResult::Nobody => unknown(format!(
            "`{server}` began it and wants to be answered or waited for, and nobody is there to do so"
        )),
        NoResult::TooOften => unknown(format!("`{server}` asked again and again")),
        NoResult::Client(error) => unknown(format!(
            "`{server}` began it and asked, and was not answered: {}",
            error.message
        )),
        NoResult::Service(ServiceError::McpError(error)) => {
            let said = format!("`{server}` refused it: {}", error.message);
            // These say that the request itself was not taken.
            let untaken = [
                ErrorCode::INVALID_REQUEST,
                ErrorCode::METHOD_NOT_FOUND,
                ErrorCode::INVALID_PARAMS,
                ErrorCode::MISSING_REQUIRED_CLIENT_CAPABILITY,
                URL_ELICITATION_REQUIRED,
            ];
            match untaken.contains(&error.code) {
                true => HandlerError::failed(link.mask().text(&said)),
                false => unknown(said),
            }
        }
        NoResult::Service(error) => match (dial::untaken(&error), link.end_of()) {
            (Some(why), _) => {
                let why = format!("`{server}` was not asked: {why}");
                HandlerError::failed(link.mask().text(&why))
            }
            (None, end) => match end.await {
                Some(why) => unknown(ended(server, &why)),
                None => {
                    let why = dial::plainly(&error);
                    unknown(format!("`{server}` gave no answer: {why}"))
                }
            },
        },
    }
}

/// What a tool answered, as the capability gives it.
fn output(result: &CallToolResult) -> Result<Value, HandlerError> {
    let fail = |error: serde_json::Error| HandlerError::unknown(error.to_string());
    let mut output = serde_json::to_value(result).map_err(fail)?;
    if let Some(fields) = output.as_object_mut() {
        fields.remove("resultType");
        fields.entry("content").or_insert_with(|| json!([]));
    }
    Ok(output)
}
