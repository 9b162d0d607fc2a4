//! The door: one session's capabilities as an MCP server, for clients of either era.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use lictor::context::{Digest, Timestamp, canonical_json};
use lictor::executor::UnderWay;
use lictor::{ActError, ActErrorKind, Agent};
use rmcp::handler::server::ServerHandler;
use rmcp::model::{
    CacheScope, CallToolRequestParams, CallToolResponse, CallToolResult, CancelTaskParams,
    CreateTaskResult, ErrorData, GetTaskParams, GetTaskResult, Implementation, ListPromptsResult,
    ListResourceTemplatesResult, ListResourcesResult, ListToolsResult, PaginatedRequestParams,
    ProtocolVersion, ServerCapabilities, ServerConfig, SubscriptionFilter, Tool, UpdateTaskParams,
};
use rmcp::service::{NotificationContext, RequestContext, RoleServer, SubscriptionContext};
use tokio::sync::watch;

use crate::audience::Audience;
use crate::call::{Outcome, Wish, go, tell_progress, wish};
use crate::elicit::{About, Asked, Elicitation};
use crate::menu::Menu;
use crate::offer::Offer;
use crate::say;
use crate::tasks::{Call, Tasks, waited_for};

/// How often the catalogue is looked at for what people let in or took out meanwhile.
const LOOK: Duration = Duration::from_secs(1);

const INSTRUCTIONS: &str = "Tools of a workspace that Lictor governs: every call is judged by a \
policy, recorded, and can mostly be taken back with `undo`. A refusal says why and what to do next. \
Where a person has to agree you are told so; you cannot agree yourself. `log` shows what this \
session did, `pending` what waits for people, `explain` why something was decided so.";

/// One session, served. Cheap to clone; every clone serves the same session.
#[derive(Clone)]
pub struct Door {
    inner: Arc<Inner>,
}

struct Inner {
    offer: RwLock<Arc<Offer>>,
    audience: Audience,
    elicitation: Option<Elicitation>,
    /// Calls that wait for people.
    tasks: Tasks,
    /// The tools of other servers, when it is these that are served.
    menu: Option<Menu>,
    /// Calls that are not answered yet.
    calls: UnderWay,
    /// Whether no new call is taken, and those under way are called off.
    closed: watch::Sender<bool>,
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Door").field("agent", &self.offer().agent).finish_non_exhaustive()
    }
}

impl Door {
    /// Serves a session. With `elicitation`, the person behind the client is asked for what it may
    /// approve; without, and for everything else, people answer elsewhere.
    #[must_use]
    pub fn new(agent: Agent, elicitation: Option<Elicitation>) -> Self {
        Self::serving(agent, elicitation, None)
    }

    /// Serves the tools of other servers, as people let them in, and nothing else: each call goes down
    /// the road of this session, and what it answers comes back as it is.
    #[must_use]
    pub fn over(agent: Agent, elicitation: Option<Elicitation>, menu: Menu) -> Self {
        Self::serving(agent, elicitation, Some(menu))
    }

    fn serving(agent: Agent, elicitation: Option<Elicitation>, menu: Option<Menu>) -> Self {
        Self {
            inner: Arc::new(Inner {
                offer: RwLock::new(Arc::new(Offer::of(agent, menu.as_ref()))),
                audience: Audience::default(),
                elicitation,
                tasks: Tasks::default(),
                menu,
                calls: UnderWay::default(),
                closed: watch::Sender::new(false),
            }),
        }
    }

    /// The tools that are offered at this moment, in the order in which they are listed.
    #[must_use]
    pub fn tools(&self) -> Vec<Tool> {
        self.offer().tools().to_vec()
    }

    /// Looks at the catalogue again and again, and tells clients when their tools have changed;
    /// never ends by itself.
    pub async fn watch(&self) {
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            self.refresh().await;
        }
    }

    /// Calls off what is under way, takes no new calls, and waits until nothing is half done:
    /// what was begun has come to its end, or was taken back, and that is recorded.
    pub async fn close(&self) {
        self.inner.closed.send_replace(true);
        self.inner.calls.ended().await;
        self.offer().agent.runtime().at_rest().await;
    }

    fn offer(&self) -> Arc<Offer> {
        // It is exchanged whole, so nothing is half done when a holder panicked.
        Arc::clone(&self.inner.offer.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The tools as the catalogue is now.
    async fn refresh(&self) -> Arc<Offer> {
        let before = self.offer();
        let agent = before.agent.refreshed();
        if before.is_of(&agent, self.inner.menu.as_ref()) {
            return before;
        }
        let now = Arc::new(Offer::of(agent, self.inner.menu.as_ref()));
        *self.inner.offer.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&now);
        self.inner.audience.tools_changed().await;
        now
    }

    /// Resolves when no call is to go on.
    async fn closing(&self) {
        // The sender is ours, so the channel does not close while we wait.
        drop(self.inner.closed.subscribe().wait_for(|closed| *closed).await);
    }

    async fn call(
        &self,
        request: CallToolRequestParams,
        context: &RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let offer = self.refresh().await;
        let agent = &offer.agent;
        let name = request.name.to_string();
        let redactor = agent.runtime().audit().redactor();
        let refused = |error: &ActError, wish: Option<&Wish>| {
            Ok(say::refusal(error, (&offer, &name), wish, &redactor).into())
        };
        let arguments = arguments_digest(request.arguments.as_ref());
        let wish = match wish(&offer, &name, request.arguments).await {
            Ok(wish) => wish,
            Err(error) => return refused(&error, None),
        };
        let about = About { agent, tool: &name, arguments };
        if let (Some(elicitation), Some(state)) = (&self.inner.elicitation, &request.request_state)
        {
            let responses = request.input_responses.as_ref();
            match elicitation.redeem(&about, state, responses).await {
                Ok(Asked::Refused(error)) => return refused(&error, Some(&wish)),
                Ok(_) => {}
                Err(_) => {
                    return Err(ErrorData::invalid_params("the request state does not hold", None));
                }
            }
        }
        let error = match self.go(agent, &wish, &name, context).await {
            Ok(outcome) => return Ok(say::outcome(&outcome, (&offer, &wish), &redactor).into()),
            Err(error) => error,
        };
        match self.ask(&error, &about, context).await {
            Asked::Waits => match self.as_task(&error, &wish, &name, context) {
                Some(task) => Ok(task.into()),
                None => refused(&error, Some(&wish)),
            },
            Asked::Refused(error) => refused(&error, Some(&wish)),
            Asked::ByAnswer(asks) => Ok(asks.into()),
            Asked::Agreed => match self.go(agent, &wish, &name, context).await {
                Ok(outcome) => Ok(say::outcome(&outcome, (&offer, &wish), &redactor).into()),
                Err(error) => refused(&error, Some(&wish)),
            },
        }
    }

    /// A task in place of a refusal, where people are waited for and the client knows tasks.
    fn as_task(
        &self,
        error: &ActError,
        wish: &Wish,
        name: &str,
        context: &RequestContext<RoleServer>,
    ) -> Option<CreateTaskResult> {
        let knows = context.client_capabilities().is_some_and(|client| client.supports_tasks());
        let id = waited_for(error).filter(|_| knows)?;
        let call = Call { name: name.to_owned(), wish: wish.clone() };
        Some(self.inner.tasks.keep(id, call, self.now()))
    }

    /// What a call of a task comes to; nothing when the server closes before.
    pub(crate) async fn finish(&self, call: &Call) -> Option<CallToolResult> {
        let _under_way = self.inner.calls.begin();
        tokio::select! {
            biased;
            () = self.closing() => None,
            result = async {
                let offer = self.refresh().await;
                match go(&offer.agent, &call.wish).await {
                    Ok(outcome) => {
                        let redactor = offer.agent.runtime().audit().redactor();
                        say::outcome(&outcome, (&offer, &call.wish), &redactor)
                    }
                    Err(error) => self.refusal(&error, call),
                }
            } => Some(result),
        }
    }

    /// The answer of something that was not done.
    pub(crate) fn refusal(&self, error: &ActError, call: &Call) -> CallToolResult {
        let offer = self.offer();
        let redactor = offer.agent.runtime().audit().redactor();
        say::refusal(error, (&offer, &call.name), Some(&call.wish), &redactor)
    }

    pub(crate) fn agent(&self) -> Agent {
        self.offer().agent.clone()
    }

    pub(crate) fn tasks(&self) -> &Tasks {
        &self.inner.tasks
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.offer().agent.runtime().clock().now()
    }

    /// Down the road, with word of it to a client that wants to hear.
    async fn go(
        &self,
        agent: &Agent,
        wish: &Wish,
        name: &str,
        context: &RequestContext<RoleServer>,
    ) -> Result<Outcome, ActError> {
        let Some(token) = context.meta.get_progress_token() else { return go(agent, wish).await };
        tokio::select! {
            biased;
            never = tell_progress(&context.peer, token, name) => match never {},
            outcome = go(agent, wish) => outcome,
        }
    }

    /// Asks the person behind the client, where that is what is missing.
    async fn ask(
        &self,
        error: &ActError,
        about: &About<'_>,
        context: &RequestContext<RoleServer>,
    ) -> Asked {
        let ActErrorKind::ApprovalRequired(approval) = error.kind() else { return Asked::Waits };
        let can_ask = context.client_capabilities().and_then(|client| client.elicitation);
        // Without a mode named it is forms, which is what there was first.
        let can_ask = can_ask.is_some_and(|modes| modes.form.is_some() || modes.url.is_none());
        match &self.inner.elicitation {
            // A command that ran does not run again for an answer about its changes.
            Some(elicitation) if can_ask && error.ran().is_none() => {
                elicitation.ask(about, approval, context).await
            }
            _ => Asked::Waits,
        }
    }
}

/// Arguments are told from others by this; what is approved is told by the action's own digest.
fn arguments_digest(arguments: Option<&serde_json::Map<String, serde_json::Value>>) -> Digest {
    let empty = serde_json::Map::new();
    let bytes = canonical_json(arguments.unwrap_or(&empty));
    // What is no canonical JSON is refused on the road; here it only has to be something.
    bytes.map_or_else(|_| Digest::of(b""), |bytes| Digest::of(&bytes))
}

impl ServerHandler for Door {
    fn get_info(&self) -> ServerConfig {
        let capabilities =
            ServerCapabilities::builder().enable_tools().enable_tool_list_changed().enable_tasks();
        ServerConfig::new(capabilities.build())
            .with_server_info(Implementation::new("lictor", env!("CARGO_PKG_VERSION")))
            .with_protocol_version(ProtocolVersion::LATEST_WITH_INITIALIZE)
            .with_instructions(match &self.inner.menu {
                None => INSTRUCTIONS.to_owned(),
                Some(menu) => menu.instructions(),
            })
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let tools = self.refresh().await.tools().to_vec();
        // A cached list would show what was taken out of use.
        Ok(ListToolsResult::with_all_items(tools)
            .with_ttl_ms(0)
            .with_cache_scope(CacheScope::Private))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        self.offer().tool(name).cloned()
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let _under_way = self.inner.calls.begin();
        // Dropping a call takes back what it had begun.
        tokio::select! {
            biased;
            () = context.ct.cancelled() => Err(called_off("the client cancelled the call")),
            () = self.closing() => Err(called_off("the server is closing")),
            response = self.call(request, &context) => response,
        }
    }

    async fn get_task(
        &self,
        request: GetTaskParams,
        _: RequestContext<RoleServer>,
    ) -> Result<GetTaskResult, ErrorData> {
        self.inner.tasks.look(self, &request.task_id).map(GetTaskResult::new)
    }

    async fn update_task(
        &self,
        request: UpdateTaskParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        // People answer elsewhere: a task asks its client nothing.
        self.inner.tasks.look(self, &request.task_id).map(drop)
    }

    async fn cancel_task(
        &self,
        request: CancelTaskParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.inner.tasks.cancel(self, &request.task_id).await
    }

    async fn on_initialized(&self, context: NotificationContext<RoleServer>) {
        self.inner.audience.add_peer(context.peer);
    }

    fn accepted_subscription_filter(
        &self,
        filter: &SubscriptionFilter,
    ) -> Option<SubscriptionFilter> {
        Some(filter.supported_by(&self.get_info().capabilities))
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        let id = self.inner.audience.add_sink(context.sink().clone());
        context.cancelled().await;
        self.inner.audience.remove_sink(id);
        Ok(())
    }

    // What is not declared is not there, rather than there and empty.

    async fn list_prompts(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        Err(ErrorData::method_not_found::<rmcp::model::ListPromptsRequestMethod>())
    }

    async fn list_resources(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        Err(ErrorData::method_not_found::<rmcp::model::ListResourcesRequestMethod>())
    }

    async fn list_resource_templates(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        Err(ErrorData::method_not_found::<rmcp::model::ListResourceTemplatesRequestMethod>())
    }
}

fn called_off(why: &'static str) -> ErrorData {
    ErrorData::internal_error(why, None)
}
