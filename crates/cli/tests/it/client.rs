//! A client of the real binary, of either era.
#![expect(deprecated, reason = "the older protocol has logs, sampling and roots")]

use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use rmcp::model::{
    CallToolRequest, CallToolRequestParams, CallToolResponse, CallToolResult, ClientCapabilities,
    ClientConfig, CreateMessageRequestParams, CreateMessageResult, CustomNotification,
    ElicitRequestParams, ElicitResult, ElicitationAction, ErrorData, Implementation,
    ListRootsResult, ListToolsResult, LoggingLevel, LoggingMessageNotificationParam,
    ProgressNotificationParam, ProtocolVersion, RequestMetaObject,
    ResourceUpdatedNotificationParam, SubscriptionFilter, Tool,
};
use rmcp::service::{
    ClientLifecycleMode, ClientServiceExt as _, NotificationContext, PeerRequestOptions,
    RequestContext, RequestHandle, RoleClient, RunningService,
};
use rmcp::{ClientHandler, ServiceError};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Map, Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::{Notify, Semaphore, watch};

use crate::place::{Place, ours};

/// The protocol before and after `initialize` went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Era {
    Legacy,
    Modern,
}

/// What a client does with a question for its user: gets its text, gives an answer.
pub(crate) type Person =
    Arc<Mutex<dyn FnMut(&str) -> (ElicitationAction, Option<Value>) + Send + 'static>>;

/// What the client heard.
#[derive(Clone)]
pub(crate) struct Ear {
    changed: Arc<Semaphore>,
    progressed: Arc<Semaphore>,
    person: Option<Person>,
    /// What it can beside that, and what of all that it was told and asked.
    can: Value,
    heard: Arc<Mutex<Vec<(&'static str, Value)>>>,
    /// Whether its user has made up their mind.
    decided: Arc<watch::Sender<bool>>,
    hears: Arc<Notify>,
}

impl Ear {
    fn new(person: Option<Person>) -> Self {
        let none = || Arc::new(Semaphore::new(0));
        let can = match person {
            None => json!({}),
            Some(_) => json!({ "elicitation": {} }),
        };
        let (heard, hears) = (Arc::default(), Arc::default());
        let decided = Arc::new(watch::Sender::new(true));
        Self { changed: none(), progressed: none(), person, can, heard, decided, hears }
    }

    fn hear(&self, what: &'static str, said: Value) {
        self.heard.lock().unwrap().push((what, said));
        self.hears.notify_waiters();
    }
}

impl ClientHandler for Ear {
    fn get_info(&self) -> ClientConfig {
        let capabilities: ClientCapabilities = serde_json::from_value(self.can.clone()).unwrap();
        ClientConfig::new(capabilities, Implementation::new("tests", "1.0.0"))
    }

    async fn on_tool_list_changed(&self, _: NotificationContext<RoleClient>) {
        self.changed.add_permits(1);
    }

    async fn on_progress(
        &self,
        params: ProgressNotificationParam,
        _: NotificationContext<RoleClient>,
    ) {
        self.hear("progress", json!(params));
        self.progressed.add_permits(1);
    }

    async fn on_custom_notification(
        &self,
        said: CustomNotification,
        _: NotificationContext<RoleClient>,
    ) {
        self.hear("custom", json!([said.method, said.params]));
    }

    async fn on_logging_message(
        &self,
        params: LoggingMessageNotificationParam,
        _: NotificationContext<RoleClient>,
    ) {
        self.hear("log", json!(params));
    }

    async fn on_resource_updated(
        &self,
        params: ResourceUpdatedNotificationParam,
        _: NotificationContext<RoleClient>,
    ) {
        self.hear("updated", json!(params.uri));
    }

    async fn create_message(
        &self,
        params: CreateMessageRequestParams,
        _: RequestContext<RoleClient>,
    ) -> Result<CreateMessageResult, ErrorData> {
        self.hear("sampled", json!(params));
        let said = json!({ "role": "assistant", "content": { "type": "text", "text": "Paris" },
                           "model": "a model of these tests" });
        Ok(serde_json::from_value(said).unwrap())
    }

    async fn list_roots(
        &self,
        _: RequestContext<RoleClient>,
    ) -> Result<ListRootsResult, ErrorData> {
        self.hear("roots", json!({}));
        let said = json!({ "roots": [{ "uri": "file:///of/the/client", "name": "theirs" }] });
        Ok(serde_json::from_value(said).unwrap())
    }

    async fn create_elicitation(
        &self,
        request: ElicitRequestParams,
        _: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        let person = self.person.as_ref().expect("nobody may be asked");
        let asked = json!(request);
        self.hear("asked", asked.clone());
        self.decided.subscribe().wait_for(|decided| *decided).await.unwrap();
        let (action, content) =
            person.lock().unwrap()(asked["message"].as_str().expect("a question has a text"));
        let mut result = ElicitResult::new(action);
        result.content = content;
        Ok(result)
    }
}

pub(crate) struct Client {
    running: RunningService<RoleClient, Ear>,
    ear: Ear,
    child: Child,
}

/// A server that nobody talks to yet.
pub(crate) struct Server {
    child: Child,
    stdin: ChildStdin,
    stdout: ChildStdout,
}

impl Server {
    /// Closes the server's input; it ends in good order.
    pub(crate) async fn end_of_input(self) {
        let Self { mut child, stdin, stdout } = self;
        drop(stdin);
        assert!(child.wait().await.unwrap().success());
        drop(stdout);
    }

    /// Tells it to end, and keeps its input open; it ends in good order.
    pub(crate) async fn told_to_end(self, by: Signal) {
        let Self { mut child, stdin, stdout } = self;
        signal(&child, by);
        // Waiting closes what is the child's own.
        let status = child.wait().await.unwrap();
        assert!(status.success(), "{status}");
        drop((stdin, stdout));
    }

    /// The number of its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id().unwrap()
    }
}

/// What a call was answered.
#[derive(Debug)]
pub(crate) struct Answer(Result<CallToolResult, ServiceError>);

impl Answer {
    fn result(&self) -> &CallToolResult {
        self.0.as_ref().unwrap_or_else(|error| panic!("no answer: {error}"))
    }

    pub(crate) fn is_refused(&self) -> bool {
        self.0.as_ref().map_or(true, |result| result.is_error == Some(true))
    }

    /// It was done; its output.
    #[track_caller]
    pub(crate) fn done(&self) -> Value {
        assert!(!self.is_refused(), "{}", self.whole());
        self.result().structured_content.clone().expect("an output")
    }

    /// It was refused; the JSON that says why.
    #[track_caller]
    pub(crate) fn refused(&self) -> Value {
        assert!(self.is_refused(), "{}", self.whole());
        self.result().structured_content.clone().expect("a refusal says why")
    }

    /// Why it was refused, also where the schema of the tool's own answer leaves no room for that.
    #[track_caller]
    pub(crate) fn error(&self) -> Value {
        assert!(self.is_refused(), "{}", self.whole());
        let own = self.result().structured_content.clone().unwrap_or_default();
        let said = [own, self.about("lictor/refusal")].map(|one| one["error"].clone());
        let why = said.into_iter().find(|error| error["code"].is_string());
        why.unwrap_or_else(|| panic!("it says no reason of ours: {}", self.whole()))
    }

    /// What stands beside the output.
    pub(crate) fn execution(&self) -> Value {
        self.about("lictor/execution")
    }

    pub(crate) fn about(&self, what: &str) -> Value {
        json!(self.result().meta)[what].clone()
    }

    /// What the model reads.
    pub(crate) fn text(&self) -> String {
        let content = json!(self.result().content);
        let texts = content.as_array().unwrap().iter().filter_map(|block| block["text"].as_str());
        texts.collect::<Vec<_>>().join("\n")
    }

    pub(crate) fn whole(&self) -> String {
        match &self.0 {
            Ok(result) => json!(result).to_string(),
            Err(error) => error.to_string(),
        }
    }
}

impl Client {
    pub(crate) fn spawn(
        place: &Place,
        arguments: &[&str],
        set: impl FnOnce(&mut Command),
    ) -> (Server,) {
        Self::spawn_as(place, "serve", arguments, set)
    }

    fn spawn_as(
        place: &Place,
        verb: &str,
        arguments: &[&str],
        set: impl FnOnce(&mut Command),
    ) -> (Server,) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lictor"));
        command.args(["mcp", verb]).args(arguments).current_dir(&place.root);
        for name in ours() {
            command.env_remove(name);
        }
        command.envs(place.environment()).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        set(&mut command);
        let mut child = command.spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        (Server { child, stdin, stdout },)
    }

    pub(crate) async fn connect(place: &Place, era: Era, arguments: &[&str]) -> Self {
        Self::connect_with(place, era, arguments, |_| {}).await
    }

    pub(crate) async fn connect_with(
        place: &Place,
        era: Era,
        arguments: &[&str],
        set: impl FnOnce(&mut Command),
    ) -> Self {
        let (server,) = Self::spawn(place, arguments, set);
        Self::over(server, era, Ear::new(None)).await
    }

    /// A client of another server than `mcp serve`.
    pub(crate) async fn connect_as(
        place: &Place,
        era: Era,
        verb: &str,
        arguments: &[&str],
        set: impl FnOnce(&mut Command),
    ) -> Self {
        let (server,) = Self::spawn_as(place, verb, arguments, set);
        Self::over(server, era, Ear::new(None)).await
    }

    /// A client of another server, whose user answers questions.
    pub(crate) async fn of_with_person(
        place: &Place,
        era: Era,
        verb: &str,
        arguments: &[&str],
        person: Person,
    ) -> Self {
        let (server,) = Self::spawn_as(place, verb, arguments, |_| {});
        Self::over(server, era, Ear::new(Some(person))).await
    }

    /// A client that can whatever `can` says, and whose user answers questions.
    pub(crate) async fn able(
        place: &Place,
        era: Era,
        verb: &str,
        arguments: &[&str],
        (can, person): (Value, Person),
    ) -> Self {
        let (server,) = Self::spawn_as(place, verb, arguments, |command| {
            command.env("LICTOR_SECRET_KEY", "a-secret-of-some-length");
        });
        let mut ear = Ear::new(Some(person));
        ear.can = can;
        Self::over(server, era, ear).await
    }

    /// Whether its user answers at once, as they do unless told otherwise.
    pub(crate) fn decided(&self, decided: bool) {
        self.ear.decided.send_replace(decided);
    }

    /// What it was told, or asked, of one kind so far.
    pub(crate) fn heard(&self, what: &str) -> Vec<Value> {
        let heard = self.ear.heard.lock().unwrap();
        heard.iter().filter(|(of, _)| *of == what).map(|(_, said)| said.clone()).collect()
    }

    /// Waits until it was told, or asked, so often.
    pub(crate) async fn told(&self, what: &str, times: usize) -> Vec<Value> {
        self.told_where(what, times, |_| true).await
    }

    /// The same, of what is so.
    pub(crate) async fn told_where(
        &self,
        what: &str,
        times: usize,
        is_so: impl Fn(&Value) -> bool,
    ) -> Vec<Value> {
        loop {
            let more = self.ear.hears.notified();
            tokio::pin!(more);
            more.as_mut().enable();
            let mut heard = self.heard(what);
            heard.retain(&is_so);
            if heard.len() >= times {
                return heard;
            }
            more.await;
        }
    }

    /// A call that says how much it wants to have logged.
    pub(crate) async fn call_logging(&self, name: &str, input: Value, level: LoggingLevel) {
        let mut meta = RequestMetaObject::new();
        meta.set_log_level(level);
        let options = PeerRequestOptions::no_options().with_meta(meta);
        let request = CallToolRequest::new(params(name, input)).into();
        let call = self.running.send_cancellable_request(request, options).await.unwrap();
        call.await_response().await.unwrap();
    }

    /// What is beyond tools.
    pub(crate) fn peer(&self) -> &rmcp::service::Peer<RoleClient> {
        self.running.peer()
    }

    /// A client whose user answers questions.
    pub(crate) async fn with_person(place: &Place, era: Era, person: Person) -> Self {
        let (server,) = Self::spawn(place, &[], |_| {});
        Self::over(server, era, Ear::new(Some(person))).await
    }

    async fn over(server: Server, era: Era, ear: Ear) -> Self {
        let Server { child, stdin, stdout } = server;
        let mode = match era {
            Era::Legacy => ClientLifecycleMode::Initialize,
            Era::Modern => ClientLifecycleMode::Discover {
                preferred_versions: vec![ProtocolVersion::V_2026_07_28],
            },
        };
        let running = ear.clone().serve_with_lifecycle((stdout, stdin), mode).await.unwrap();
        Self { running, ear, child }
    }

    pub(crate) async fn list(&self) -> ListToolsResult {
        self.running.list_tools(None).await.unwrap()
    }

    pub(crate) async fn tools(&self) -> Vec<Tool> {
        self.list().await.tools
    }

    pub(crate) async fn call(&self, name: &str, input: Value) -> Answer {
        Answer(self.running.call_tool(params(name, input)).await)
    }

    /// Begins a call, of which it wants to hear how it goes on.
    pub(crate) async fn begin(&self, name: &str, input: Value) -> RequestHandle<RoleClient> {
        let request = CallToolRequest::new(params(name, input)).into();
        let options = PeerRequestOptions::no_options();
        self.running.send_cancellable_request(request, options).await.unwrap()
    }

    /// Waits until the client is told that a call goes on.
    pub(crate) async fn progressed(&self) {
        self.ear.progressed.acquire().await.unwrap().forget();
    }

    /// One round of a call, as the newer protocol has it.
    pub(crate) async fn round(
        &self,
        name: &str,
        input: Value,
        state: Option<(&str, Value)>,
    ) -> Result<CallToolResponse, ServiceError> {
        match state {
            Some((state, said)) => self.answered(name, input, state, "approval", &said).await,
            None => self.running.call_tool_once(params(name, input)).await,
        }
    }

    /// A round that answers one question.
    pub(crate) async fn answered(
        &self,
        name: &str,
        input: Value,
        state: &str,
        key: &str,
        said: &Value,
    ) -> Result<CallToolResponse, ServiceError> {
        let said = [(key.to_owned(), said.clone())].into_iter().collect();
        let params = params(name, input).with_request_state(state).with_input_responses(said);
        self.running.call_tool_once(params).await
    }

    /// Opens a subscription where the era has them.
    pub(crate) async fn listen(&self) {
        let modern = self.running.peer_info().is_some_and(|info| {
            json!(info)["protocolVersion"] == json!(ProtocolVersion::V_2026_07_28)
        });
        if modern {
            let filter = SubscriptionFilter::builder().tools_list_changed().build();
            let mut subscription = self.running.listen(filter).await.unwrap();
            let changed = Arc::clone(&self.ear.changed);
            tokio::spawn(async move {
                while let Ok(Some(_)) = subscription.next().await {
                    changed.add_permits(1);
                }
            });
        }
    }

    /// Waits until the client is told that the tools have changed.
    pub(crate) async fn changed(&self) {
        self.ear.changed.acquire().await.unwrap().forget();
    }

    /// Waits until there are so many tools; their names.
    pub(crate) async fn until_there(&self, n: usize) -> Vec<String> {
        loop {
            let tools = self.tools().await;
            if tools.len() == n {
                return tools.iter().map(|tool| tool.name.to_string()).collect();
            }
            self.changed().await;
        }
    }

    /// Tells the server to end, and stays; it ends in good order.
    pub(crate) async fn told_to_end(mut self, by: Signal) {
        signal(&self.child, by);
        let status = self.child.wait().await.unwrap();
        assert!(status.success(), "{status}");
    }

    /// Tells the server to end again and again, until it is gone; how it went.
    pub(crate) async fn told_until_it_is_gone(mut self, by: Signal) -> ExitStatus {
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            signal(&self.child, by);
            tokio::task::yield_now().await;
        }
    }

    /// Goes; the server ends in good order.
    pub(crate) async fn end(self) {
        let Self { running, mut child, .. } = self;
        running.cancel().await.unwrap();
        let status = child.wait().await.unwrap();
        assert!(status.success(), "{status}");
    }

    /// Says these lines, waits for so many answers, and closes.
    pub(crate) async fn raw(place: &Place, lines: &[&str], answers: usize) -> Vec<Value> {
        let (Server { mut child, mut stdin, stdout },) = Self::spawn(place, &[], |_| {});
        for line in lines {
            stdin.write_all(line.as_bytes()).await.unwrap();
            stdin.write_all(b"\n").await.unwrap();
        }
        let mut said = BufReader::new(stdout).lines();
        let mut found: Vec<Value> = Vec::new();
        while found.iter().filter(|line| line.get("id").is_some()).count() < answers {
            let line = said.next_line().await.unwrap().expect("an answer is missing");
            found.push(serde_json::from_str(&line).unwrap());
        }
        drop(stdin);
        assert!(child.wait().await.unwrap().success());
        assert_eq!(said.next_line().await.unwrap(), None);
        found
    }
}

fn signal(child: &Child, signal: Signal) {
    let id = i32::try_from(child.id().unwrap()).unwrap();
    kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();
}

fn params(name: &str, input: Value) -> CallToolRequestParams {
    let arguments: Map<String, Value> = match input {
        Value::Object(fields) => fields,
        other => panic!("{other} is no input"),
    };
    CallToolRequestParams::new(name.to_owned()).with_arguments(arguments)
}
