//! What a server says by itself, and asks: it goes to whom it is for.
#![expect(deprecated, reason = "clients and servers of today use the older protocol")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use lictor::handlers::Mask;
use rmcp::ClientHandler;
use rmcp::model::{
    ClientCapabilities, ClientConfig, CreateMessageRequest, CreateMessageRequestParams,
    CreateMessageResult, CustomNotification, CustomRequest, CustomResult, ElicitRequest,
    ElicitRequestParams, ElicitResult, ErrorCode, ErrorData, Implementation, InputRequest,
    ListRootsResult, LoggingMessageNotificationParam, ProgressNotificationParam,
    ResourceUpdatedNotificationParam,
};
use rmcp::service::{InboundStreamOrigin, NotificationContext, RequestContext, RoleClient};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::{broadcast, watch};

use crate::audience::News;

use super::asking::give_id;
use super::files::Led;
use super::pages::{self, Pages};
use super::talk::{Flights, Heard, Talk, Word};

/// What a question is called that came without a name.
const KEY: &str = "question";

/// How often servers said that something beside their tools has changed: whoever listens hears that
/// as well where nothing has that they could see.
#[derive(Debug, Default)]
pub(super) struct Said {
    prompts: AtomicU64,
    resources: AtomicU64,
}

impl Said {
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.prompts.load(Ordering::Acquire), self.resources.load(Ordering::Acquire))
    }
}

/// Who hears a server.
#[derive(Debug, Clone)]
pub(super) struct Ears {
    pub(super) server: String,
    pub(super) news: watch::Sender<u64>,
    pub(super) heard: broadcast::Sender<Heard>,
    pub(super) said: Arc<Said>,
    /// What a server may ask of whoever calls.
    pub(super) can: ClientCapabilities,
    /// Whether whoever calls speaks the newer protocol.
    pub(super) modern: bool,
    /// How it and clients speak of the folder that it works in, where these are two.
    pub(super) led: Option<Led>,
}

/// Hears what one connection brings. Nothing that a server asks is answered here: it is put to the
/// client whose call the server works on, and to nobody else.
#[derive(Debug, Clone)]
pub(super) struct Ear {
    pub(super) server: String,
    pub(super) stale: Arc<AtomicBool>,
    pub(super) flights: Arc<Flights>,
    pub(super) pages: Arc<Pages>,
    news: watch::Sender<u64>,
    heard: broadcast::Sender<Heard>,
    said: Arc<Said>,
    can: ClientCapabilities,
    pub(super) led: Option<Led>,
    mask: Mask,
}

impl Ear {
    pub(super) fn new(ears: &Ears, mask: Mask) -> Self {
        let Ears { server, news, heard, said, can, led, .. } = ears.clone();
        let (stale, flights, pages) = (Arc::default(), Arc::default(), Arc::default());
        Self { server, stale, flights, pages, news, heard, said, can, led, mask }
    }

    pub(super) fn changed(&self, what: News) {
        self.stale.store(true, Ordering::Release);
        match what {
            News::Tools => {}
            News::Prompts => drop(self.said.prompts.fetch_add(1, Ordering::AcqRel)),
            News::Resources => drop(self.said.resources.fetch_add(1, Ordering::AcqRel)),
        }
        self.news.send_modify(|count| *count += 1);
    }

    pub(super) fn updated(&self, uri: String) {
        if let Value::String(uri) = self.clean(Value::String(uri)) {
            self.tell(Heard::Updated(uri));
        }
    }

    fn tell(&self, heard: Heard) {
        // Nobody may be connected just now.
        drop(self.heard.send(heard));
    }

    /// Without what the server was given, and about the folder that clients know.
    fn clean(&self, said: Value) -> Value {
        let said = self.mask.value(said);
        match &self.led {
            Some(led) => led.out(said),
            None => said,
        }
    }

    fn masked<T: Serialize + DeserializeOwned>(&self, said: T) -> Result<T, ErrorData> {
        let clean = serde_json::to_value(said).map(|value| self.clean(value));
        clean
            .and_then(serde_json::from_value)
            .map_err(|error| ErrorData::invalid_params(error.to_string(), None))
    }

    /// Whose call it is about: by the stream that it came on, where there are several; where not, there
    /// has to be no doubt.
    fn whose(&self, context: &RequestContext<RoleClient>) -> Option<Arc<Talk>> {
        match context.extensions.get::<InboundStreamOrigin>() {
            Some(InboundStreamOrigin::OutboundRequest(id)) => self.flights.of_request(id),
            Some(InboundStreamOrigin::Unassociated) | None => self.flights.only(),
        }
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        request: InputRequest,
        context: &RequestContext<RoleClient>,
    ) -> Result<T, ErrorData> {
        let talk = self.whose(context).ok_or_else(|| {
            ErrorData::invalid_request("there is no call that this could be about", None)
        })?;
        let requests = BTreeMap::from([(KEY.to_owned(), self.masked(request)?)]);
        let mut said = tokio::select! {
            biased;
            () = context.ct.cancelled() => {
                return Err(ErrorData::internal_error("it was called off", None));
            }
            said = talk.ask(&self.server, requests, Some(&self.pages)) => said?,
        };
        let said = said.remove(KEY).unwrap_or_default();
        serde_json::from_value(said)
            .map_err(|error| ErrorData::internal_error(format!("the answer: {error}"), None))
    }
}

impl ClientHandler for Ear {
    fn get_info(&self) -> ClientConfig {
        let who = Implementation::new("lictor", env!("CARGO_PKG_VERSION"));
        ClientConfig::new(self.can.clone(), who)
    }

    async fn create_message(
        &self,
        params: CreateMessageRequestParams,
        context: RequestContext<RoleClient>,
    ) -> Result<CreateMessageResult, ErrorData> {
        let request = InputRequest::CreateMessage(CreateMessageRequest::new(params));
        self.ask(request, &context).await
    }

    async fn list_roots(
        &self,
        context: RequestContext<RoleClient>,
    ) -> Result<ListRootsResult, ErrorData> {
        let request = serde_json::from_value(json!({ "method": "roots/list" }))
            .map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
        self.ask(InputRequest::ListRoots(request), &context).await
    }

    async fn create_elicitation(
        &self,
        params: ElicitRequestParams,
        context: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        self.ask(InputRequest::Elicitation(ElicitRequest::new(params)), &context).await
    }

    async fn on_custom_request(
        &self,
        request: CustomRequest,
        context: RequestContext<RoleClient>,
    ) -> Result<CustomResult, ErrorData> {
        let CustomRequest { method, params, .. } = request;
        // One that has a page opened, without the id that the library wants.
        let read = params.filter(|_| method == "elicitation/create").and_then(|mut about| {
            give_id(&mut about);
            serde_json::from_value::<ElicitRequestParams>(about).ok()
        });
        let Some(params) = read else {
            return Err(ErrorData::new(ErrorCode::METHOD_NOT_FOUND, method, None));
        };
        let said = self.create_elicitation(params, context).await?;
        let said = serde_json::to_value(said);
        said.map(CustomResult::new)
            .map_err(|error| ErrorData::internal_error(error.to_string(), None))
    }

    async fn on_custom_notification(
        &self,
        said: CustomNotification,
        _: NotificationContext<RoleClient>,
    ) {
        if let (pages::DONE, Some(about)) = (said.method.as_str(), said.params) {
            // As it was named to whoever was asked.
            self.pages.done(&self.clean(about)).await;
        }
    }

    async fn on_progress(
        &self,
        params: ProgressNotificationParam,
        _: NotificationContext<RoleClient>,
    ) {
        if let Some(talk) = self.flights.of_token(&params.progress_token)
            && let Ok(params) = self.masked(params)
        {
            talk.tell(Word::Progress(params));
        }
    }

    async fn on_logging_message(
        &self,
        params: LoggingMessageNotificationParam,
        _: NotificationContext<RoleClient>,
    ) {
        let Ok(params) = self.masked(params) else { return };
        match self.flights.only() {
            Some(talk) => talk.tell(Word::Log(params)),
            None => self.tell(Heard::Log(params)),
        }
    }

    async fn on_resource_updated(
        &self,
        params: ResourceUpdatedNotificationParam,
        _: NotificationContext<RoleClient>,
    ) {
        self.updated(params.uri);
    }

    async fn on_resource_list_changed(&self, _: NotificationContext<RoleClient>) {
        self.changed(News::Resources);
    }

    async fn on_tool_list_changed(&self, _: NotificationContext<RoleClient>) {
        self.changed(News::Tools);
    }

    async fn on_prompt_list_changed(&self, _: NotificationContext<RoleClient>) {
        self.changed(News::Prompts);
    }
}
