//! One request to a server, with all its rounds: what it asks in between is put to the client whose
//! call it is, in whichever way the server asks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lictor::executor::Granted;
use rmcp::model::{
    CallToolRequest, CallToolRequestParams, ClientRequest, CompleteRequest, CompleteRequestParams,
    ErrorData, GetPromptRequest, GetPromptRequestParams, InputRequiredResult, InputResponses,
    ReadResourceRequest, ReadResourceRequestParams, ServerResult,
};
use rmcp::service::{PeerRequestOptions, RequestHandle, RoleClient, ServiceError};
use serde_json::{Value, json};

use super::link::{Era, Link};
use super::talk::Talk;

/// So often a server may ask within one call.
const MAX_ROUNDS: usize = 10;

/// What is asked of a server.
#[derive(Debug, Clone)]
pub(super) enum Wanted {
    Tool(CallToolRequestParams),
    Prompt(GetPromptRequestParams),
    Resource(ReadResourceRequestParams),
    Complete(CompleteRequestParams),
}

/// Why there is no result.
#[derive(Debug)]
pub(super) enum NoResult {
    /// The connection, or the server, did not give one.
    Service(ServiceError),
    /// The client could not be asked, or did not answer.
    Client(ErrorData),
    /// It asks, and nobody is there to be asked.
    Nobody,
    /// It asks again and again.
    TooOften,
}

impl Wanted {
    fn request(&self) -> ClientRequest {
        match self.clone() {
            Self::Tool(params) => ClientRequest::CallToolRequest(CallToolRequest::new(params)),
            Self::Prompt(params) => ClientRequest::GetPromptRequest(GetPromptRequest::new(params)),
            Self::Resource(params) => {
                ClientRequest::ReadResourceRequest(ReadResourceRequest::new(params))
            }
            Self::Complete(params) => ClientRequest::CompleteRequest(CompleteRequest::new(params)),
        }
    }

    /// The next round of it.
    fn answer(&mut self, said: Option<InputResponses>, state: Option<String>) {
        let (responses, kept) = match self {
            Self::Tool(params) => (&mut params.input_responses, &mut params.request_state),
            Self::Prompt(params) => (&mut params.input_responses, &mut params.request_state),
            Self::Resource(params) => (&mut params.input_responses, &mut params.request_state),
            Self::Complete(_) => return,
        };
        (*responses, *kept) = (said, state);
    }
}

impl Link {
    /// Asks, and goes through all rounds, within the run's time, which stands still while the client is
    /// asked. Nothing, when that is over.
    pub(super) async fn ask(
        &self,
        server: &str,
        wanted: Wanted,
        talk: Option<&Arc<Talk>>,
        granted: &Granted<'_>,
    ) -> Option<Result<ServerResult, NoResult>> {
        if let Some(talk) = talk {
            talk.runs_in(granted.time());
        }
        tokio::select! {
            biased;
            answered = self.rounds(server, wanted, talk) => Some(answered),
            () = granted.time().over() => None,
        }
    }

    async fn rounds(
        &self,
        server: &str,
        mut wanted: Wanted,
        talk: Option<&Arc<Talk>>,
    ) -> Result<ServerResult, NoResult> {
        if let Some(talk) = talk.filter(|_| self.era == Era::Discover) {
            wanted.answer(talk.brought(), None);
        }
        for _ in 0..=MAX_ROUNDS {
            let asks = match self.once(&wanted, talk).await.map_err(NoResult::Service)? {
                ServerResult::InputRequiredResult(asks) => asks,
                ServerResult::CustomResult(said) => match read_again(&said.0) {
                    Some(asks) => asks,
                    None => return Ok(ServerResult::CustomResult(said)),
                },
                result => return Ok(result),
            };
            let talk = talk.ok_or(NoResult::Nobody)?;
            let said = match asks.input_requests {
                Some(requests) => {
                    // It is of the newer protocol, which does not say when a page was done with.
                    Some(talk.ask(server, requests, None).await.map_err(NoResult::Client)?)
                }
                None => None,
            };
            wanted.answer(said, asks.request_state);
        }
        Err(NoResult::TooOften)
    }

    async fn once(
        &self,
        wanted: &Wanted,
        talk: Option<&Arc<Talk>>,
    ) -> Result<ServerResult, ServiceError> {
        let mut options = PeerRequestOptions::no_options();
        if let Some(talk) = talk {
            options = options.with_meta(talk.meta(self.era == Era::Discover));
        }
        // Before it is sent: the server may be quick.
        let flying = talk.map(|talk| self.flights().begin(talk));
        let handle = self.peer().send_request_with_option(wanted.request(), options).await?;
        if let Some(flying) = &flying {
            flying.sent(&handle.id, &handle.progress_token);
        }
        let mut waiting = Waiting(Some(handle));
        waiting.answered().await
    }
}

/// Questions that have no id where the library wants one: the newer protocol took it from those that
/// have a page opened. They get one of ours, which clients of the older protocol are to find there.
fn read_again(said: &Value) -> Option<InputRequiredResult> {
    if said.get("resultType").and_then(Value::as_str) != Some("input_required") {
        return None;
    }
    let mut said = said.clone();
    let requests = said.get_mut("inputRequests").and_then(Value::as_object_mut)?;
    for request in requests.values_mut() {
        let about = request.get_mut("params").filter(|about| about.get("url").is_some());
        about.into_iter().for_each(give_id);
    }
    serde_json::from_value(said).ok()
}

/// An id for a question that has a page opened, if it has none.
pub(super) fn give_id(about: &mut Value) {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    if let Some(fields) = about.as_object_mut() {
        let id = || json!(format!("lictor-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
        fields.entry("elicitationId").or_insert_with(id);
    }
}

/// A request that is called off when nobody waits for its answer any more.
struct Waiting(Option<RequestHandle<RoleClient>>);

impl Waiting {
    async fn answered(&mut self) -> Result<ServerResult, ServiceError> {
        let Some(handle) = &mut self.0 else { return Err(ServiceError::TransportClosed) };
        let answered = (&mut handle.rx).await;
        self.0 = None;
        answered.map_err(|_| ServiceError::TransportClosed)?
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let (Some(handle), Ok(runtime)) = (self.0.take(), tokio::runtime::Handle::try_current())
        else {
            return;
        };
        runtime.spawn(async move {
            // A server that is gone has nothing to be called off.
            drop(handle.cancel(Some("nobody waits for it any more".to_owned())).await);
        });
    }
}
