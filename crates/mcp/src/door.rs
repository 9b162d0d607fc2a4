//! The door: one session's capabilities as an MCP server, for clients of either era.
#![expect(deprecated, reason = "clients and servers of today use the older protocol")]

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use lictor::context::{BoxFuture, Timestamp};
use lictor::executor::UnderWay;
use lictor::{ActError, Agent};
use rmcp::handler::server::ServerHandler;
use rmcp::model::{
    CacheScope, CallToolRequestParams, CallToolResponse, CallToolResult, CancelTaskParams,
    CompleteRequestParams, CompleteResult, ConstString, DiscoverResult, ErrorData,
    GetPromptRequestParams, GetPromptResponse, GetTaskParams, GetTaskResult, Implementation,
    InitializeRequestParams, InitializeResult, ListPromptsRequestMethod, ListPromptsResult,
    ListResourceTemplatesRequestMethod, ListResourceTemplatesResult, ListResourcesRequestMethod,
    ListResourcesResult, ListToolsResult, PaginatedRequestParams, ProtocolVersion,
    ReadResourceRequestParams, ReadResourceResponse, ServerCapabilities, ServerConfig,
    SetLevelRequestMethod, SetLevelRequestParams, SubscribeRequestMethod, SubscribeRequestParams,
    SubscriptionFilter, Tool, UnsubscribeRequestMethod, UnsubscribeRequestParams, UpdateTaskParams,
};
use rmcp::service::{NotificationContext, RequestContext, RoleServer, SubscriptionContext};
use tokio::sync::{broadcast, watch};
use tokio::time::Instant;

use crate::audience::{Audience, News};
use crate::call::go;
use crate::elicit::Elicitation;
use crate::menu::{Menu, Served};
use crate::offer::{Offer, Served as Means};
use crate::relay::Relay;
use crate::say;
use crate::tasks::{Call, Tasks};
use crate::upstream::{Facing, Heard, Upstreams};

/// How often the catalogue is looked at for what people let in or took out meanwhile.
const LOOK: Duration = Duration::from_secs(1);

const INSTRUCTIONS: &str = "Tools of a workspace that Lictor governs: every call is judged by a \
policy, recorded, and can mostly be taken back with `undo`. A refusal says why and what to do next. \
Where a person has to agree you are told so; you cannot agree yourself. `log` shows what this \
session did, `pending` what waits for people, `explain` why something was decided so.";

/// One session, served. Cheap to clone; every clone serves the same session.
#[derive(Clone)]
pub struct Door {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    offer: RwLock<Arc<Offer>>,
    pub(crate) audience: Audience,
    pub(crate) elicitation: Option<Elicitation>,
    /// Calls that wait for people.
    tasks: Tasks,
    /// What other servers have, when it is this that is served.
    pub(crate) menu: Option<Menu>,
    /// Calls to other servers, and what goes between them and their clients.
    pub(crate) relay: Relay,
    /// Calls that are not answered yet.
    pub(crate) calls: UnderWay,
    /// Whether no new call is taken, and those under way are called off.
    closed: watch::Sender<bool>,
    /// When the whole catalogue was last looked at.
    looked: Mutex<Instant>,
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

    /// Serves what other servers have, as people let it in, and nothing else: each call goes down the road
    /// of this session, and what it answers comes back as it is. What a server asks and tells in between
    /// reaches the client whose call it is.
    #[must_use]
    pub fn over(agent: Agent, elicitation: Option<Elicitation>, menu: Menu) -> Self {
        Self::serving(agent, elicitation, Some(menu))
    }

    fn serving(agent: Agent, elicitation: Option<Elicitation>, menu: Option<Menu>) -> Self {
        let agent = agent.following();
        Self {
            inner: Arc::new(Inner {
                offer: RwLock::new(Arc::new(Offer::of(agent, menu.as_ref()))),
                audience: Audience::default(),
                elicitation,
                tasks: Tasks::default(),
                menu,
                relay: Relay::new(),
                calls: UnderWay::default(),
                closed: watch::Sender::new(false),
                looked: Mutex::new(Instant::now()),
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
    pub fn watch(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let mut looks = tokio::time::interval(LOOK);
            looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            let upstreams = self.inner.menu.as_ref().map(Menu::upstreams);
            let mut heard = upstreams.map(Upstreams::heard);
            let mut news = upstreams.map(Upstreams::news);
            loop {
                tokio::select! {
                    _ = looks.tick() => { self.refresh().await; }
                    () = changed(&mut news) => { self.refresh().await; }
                    Some(heard) = next(&mut heard) => match heard {
                        Heard::Log(log) => self.inner.audience.log(&log).await,
                        Heard::Updated(uri) => self.inner.audience.updated(&uri).await,
                    },
                }
            }
        })
    }

    /// Calls off what is under way, takes no new calls, and waits until nothing is half done:
    /// what was begun has come to its end, or was taken back, and that is recorded. Then the session
    /// ends.
    pub fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.inner.closed.send_replace(true);
            self.inner.relay.close();
            self.inner.calls.ended().await;
            let agent = self.agent();
            agent.runtime().at_rest().await;
            if let Err(error) = agent.end().await {
                tracing::warn!(%error, "the end of the session could not be recorded");
            }
        })
    }

    pub(crate) fn offer(&self) -> Arc<Offer> {
        // It is exchanged whole, so nothing is half done when a holder panicked.
        Arc::clone(&self.inner.offer.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What a call of a tool is made under: the tools as they were a moment ago, if it is one of them, or
    /// else as the catalogue is now. So a call does not cost more the more tools there are. What it asks
    /// for is held against record and file on the road, and looked for anew where it is not as it was.
    pub(crate) async fn offer_of(&self, name: &str) -> Arc<Offer> {
        let before = self.offer();
        let of_late = self.looked().elapsed() < LOOK && before.is_of_menu(self.inner.menu.as_ref());
        match before.served(name) {
            Some(Means::Capability(_)) if of_late => before,
            _ => self.refresh().await,
        }
    }

    fn looked(&self) -> MutexGuard<'_, Instant> {
        self.inner.looked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The tools as the catalogue is now.
    pub(crate) async fn refresh(&self) -> Arc<Offer> {
        let before = self.offer();
        // Before it is looked: what changes meanwhile is looked at again.
        *self.looked() = Instant::now();
        let agent = before.agent.refreshed();
        if before.is_of(&agent, self.inner.menu.as_ref()) {
            return before;
        }
        let now = Arc::new(Offer::of(agent, self.inner.menu.as_ref()));
        *self.inner.offer.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&now);
        self.inner.audience.tell(News::Tools).await;
        if let (Some(before), Some(now)) = (&before.foreign, &now.foreign) {
            let (prompts, resources) = now.differs(before);
            if prompts {
                self.inner.audience.tell(News::Prompts).await;
            }
            if resources {
                self.inner.audience.tell(News::Resources).await;
            }
        }
        now
    }

    /// Resolves when no call is to go on.
    pub(crate) async fn closing(&self) {
        // The sender is ours, so the channel does not close while we wait.
        drop(self.inner.closed.subscribe().wait_for(|closed| *closed).await);
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
}

/// Comes back when something of servers has changed; never where there are none.
async fn changed(news: &mut Option<watch::Receiver<u64>>) {
    match news {
        // The servers outlive this.
        Some(news) => drop(news.changed().await),
        None => std::future::pending().await,
    }
}

/// The next word of servers to everybody; never where there are none.
async fn next(heard: &mut Option<broadcast::Receiver<Heard>>) -> Option<Heard> {
    let Some(heard) = heard else { return std::future::pending().await };
    // Whoever is slow has missed some; the servers outlive this.
    heard.recv().await.ok()
}

impl ServerHandler for Door {
    fn get_info(&self) -> ServerConfig {
        let capabilities =
            ServerCapabilities::builder().enable_tools().enable_tool_list_changed().enable_tasks();
        let mut capabilities = capabilities.build();
        let offer = self.offer();
        if let Some(foreign) = &offer.foreign {
            foreign.has.declare(&mut capabilities);
        }
        ServerConfig::new(capabilities)
            .with_server_info(Implementation::new("lictor", env!("CARGO_PKG_VERSION")))
            .with_protocol_version(ProtocolVersion::LATEST_WITH_INITIALIZE)
            .with_instructions(match &offer.foreign {
                None => INSTRUCTIONS.to_owned(),
                Some(foreign) => foreign.menu.instructions(&foreign.has),
            })
    }

    async fn initialize(
        &self,
        request: InitializeRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<InitializeResult, ErrorData> {
        context.peer.set_peer_info(request.clone());
        if let Some(menu) = &self.inner.menu {
            menu.face(Facing { modern: false, can: request.capabilities.clone() });
        }
        self.refresh().await;
        self.negotiate_initialize(&request)
    }

    async fn discover(
        &self,
        context: RequestContext<RoleServer>,
    ) -> Result<DiscoverResult, ErrorData> {
        self.face(&context);
        self.refresh().await;
        let versions = ServerHandler::supported_protocol_versions(self).into_owned();
        Ok(DiscoverResult::from_server_info(versions, self.get_info()))
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        self.face(&context);
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
        self.while_wanted(&context, self.call(request, &context)).await
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
        let uris = context.sink().accepted().resource_subscriptions.clone().unwrap_or_default();
        for uri in &uris {
            if let Err(error) = self.watch_resource(uri, true).await {
                tracing::info!("nobody hears when `{}` changes: {error}", uri.escape_debug());
            }
        }
        context.cancelled().await;
        self.inner.audience.remove_sink(id);
        for uri in &uris {
            if self.inner.audience.remove_watch(uri) {
                drop(self.watch_resource(uri, false).await);
            }
        }
        Ok(())
    }

    // What is not declared is not there, rather than there and empty.

    async fn list_prompts(
        &self,
        _: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        self.face(&context);
        let offer = self.refresh().await;
        let has = foreign::<ListPromptsRequestMethod>(&offer)?;
        let prompts = has.prompts.values().map(|(_, prompt)| prompt.clone()).collect();
        Ok(ListPromptsResult::with_all_items(prompts)
            .with_ttl_ms(0)
            .with_cache_scope(CacheScope::Private))
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        self.while_wanted(&context, self.prompt(request, &context)).await
    }

    async fn list_resources(
        &self,
        _: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        self.face(&context);
        let offer = self.refresh().await;
        let has = foreign::<ListResourcesRequestMethod>(&offer)?;
        let resources = has.resources.values().map(|at| at.definition.clone()).collect();
        Ok(ListResourcesResult::with_all_items(resources)
            .with_ttl_ms(0)
            .with_cache_scope(CacheScope::Private))
    }

    async fn list_resource_templates(
        &self,
        _: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        self.face(&context);
        let offer = self.refresh().await;
        let has = foreign::<ListResourceTemplatesRequestMethod>(&offer)?;
        let templates = has.templates.values().map(|at| at.definition.clone()).collect();
        Ok(ListResourceTemplatesResult::with_all_items(templates)
            .with_ttl_ms(0)
            .with_cache_scope(CacheScope::Private))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        self.while_wanted(&context, self.resource(request, &context)).await
    }

    async fn complete(
        &self,
        request: CompleteRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CompleteResult, ErrorData> {
        self.while_wanted(&context, self.completion(request, &context)).await
    }

    async fn subscribe(
        &self,
        request: SubscribeRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        if self.inner.menu.is_none() {
            return Err(ErrorData::method_not_found::<SubscribeRequestMethod>());
        }
        self.watch_resource(&request.uri, true).await?;
        match self.inner.audience.add_watch(&request.uri, context.peer) {
            true => Ok(()),
            false => Err(ErrorData::internal_error("too many resources are listened for", None)),
        }
    }

    async fn unsubscribe(
        &self,
        request: UnsubscribeRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        if self.inner.menu.is_none() {
            return Err(ErrorData::method_not_found::<UnsubscribeRequestMethod>());
        }
        if self.inner.audience.remove_watch(&request.uri) {
            self.watch_resource(&request.uri, false).await?;
        }
        Ok(())
    }

    async fn set_level(
        &self,
        request: SetLevelRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        let logs = self.get_info().capabilities.logging.is_some();
        let Some(menu) = self.inner.menu.as_ref().filter(|_| logs) else {
            return Err(ErrorData::method_not_found::<SetLevelRequestMethod>());
        };
        self.inner.relay.set_level(request.level);
        menu.upstreams().set_level(menu.servers(), request.level).await;
        Ok(())
    }

    async fn on_roots_list_changed(&self, _: NotificationContext<RoleServer>) {
        if let Some(menu) = &self.inner.menu {
            menu.upstreams().roots_changed(menu.servers()).await;
        }
    }
}

/// What other servers have, where it is this that is served.
fn foreign<M: ConstString>(offer: &Offer) -> Result<&Served, ErrorData> {
    let foreign = offer.foreign.as_ref().map(|foreign| &foreign.has);
    foreign.ok_or_else(ErrorData::method_not_found::<M>)
}
