//! One call of a client, down the road: what it was about before, whom it has to ask, what it comes to.

use std::future::Future;

use lictor::capability::{CapabilityId, McpPart};
use lictor::context::{Digest, canonical_json};
use lictor::{ActError, ActErrorKind, Agent, ErrorCode};
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CompleteRequestMethod, CompleteRequestParams,
    CompleteResult, CreateTaskResult, ErrorCode as RpcCode, ErrorData, GetPromptRequestMethod,
    GetPromptRequestParams, GetPromptResponse, GetPromptResult, InputRequiredResult,
    InputResponses, ReadResourceRequestMethod, ReadResourceRequestParams, ReadResourceResponse,
    ReadResourceResult, Reference, ResultType,
};
use rmcp::service::{RequestContext, RoleServer};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::call::{Outcome, Wish, go, not_there, tell_progress, wish};
use crate::door::Door;
use crate::elicit::{About, Asked};
use crate::offer::Offer;
use crate::relay::{Resumed, Running, Went};
use crate::say;
use crate::tasks::{Call, waited_for};
use crate::upstream::Facing;

/// What a client asked before, and answers now.
#[derive(Default)]
struct Round {
    state: Option<String>,
    said: Option<InputResponses>,
}

/// What a client wants, as it said it.
struct Wanted<'a> {
    offer: &'a Offer,
    wish: &'a Wish,
    about: About<'a>,
    context: &'a RequestContext<RoleServer>,
}

/// What came of it.
enum Ended {
    Done(Outcome),
    Refused(ActError),
    /// It waits for people, and nobody could be asked at once.
    Waits(ActError),
    /// The client is asked, and comes again.
    Asks(InputRequiredResult),
}

impl Door {
    /// Who calls: servers are told, when they are started, what they may ask.
    pub(crate) fn face(&self, context: &RequestContext<RoleServer>) {
        let Some(menu) = &self.inner.menu else { return };
        let modern = context.protocol_version().is_some_and(|version| !version.has_initialize());
        let can = context.client_capabilities().unwrap_or_default();
        menu.face(Facing { modern, can });
    }

    /// A call goes on as long as its client wants it and the server does not close. Dropping it takes
    /// back what it had begun.
    pub(crate) async fn while_wanted<T>(
        &self,
        context: &RequestContext<RoleServer>,
        call: impl Future<Output = Result<T, ErrorData>>,
    ) -> Result<T, ErrorData> {
        let _under_way = self.inner.calls.begin();
        self.face(context);
        let called_off = |why: &'static str| Err(ErrorData::internal_error(why, None));
        tokio::select! {
            biased;
            () = context.ct.cancelled() => called_off("the client cancelled the call"),
            () = self.closing() => called_off("the server is closing"),
            answer = call => answer,
        }
    }

    pub(crate) async fn call(
        &self,
        request: CallToolRequestParams,
        context: &RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let name = request.name.to_string();
        let offer = self.offer_of(&name).await;
        let redactor = offer.agent.runtime().audit().redactor();
        let refused = |error: &ActError, wish: Option<&Wish>| {
            Ok(say::refusal(error, (&offer, &name), wish, &redactor).into())
        };
        let arguments = arguments_digest(request.arguments.as_ref());
        let wish = match wish(&offer, &name, request.arguments).await {
            Ok(wish) => wish,
            Err(error) => return refused(&error, None),
        };
        let about = About { agent: &offer.agent, tool: &name, arguments };
        let wanted = Wanted { offer: &offer, wish: &wish, about, context };
        let round = Round { state: request.request_state, said: request.input_responses };
        match self.down(&wanted, round).await? {
            Ended::Done(outcome) => Ok(say::outcome(&outcome, (&offer, &wish), &redactor).into()),
            Ended::Asks(asks) => Ok(asks.into()),
            Ended::Refused(error) => refused(&error, Some(&wish)),
            Ended::Waits(error) => match self.as_task(&error, &wish, &name, context) {
                Some(task) => Ok(task.into()),
                None => refused(&error, Some(&wish)),
            },
        }
    }

    pub(crate) async fn prompt(
        &self,
        request: GetPromptRequestParams,
        context: &RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        let offer = self.refresh().await;
        let Some(foreign) = &offer.foreign else {
            return Err(ErrorData::method_not_found::<GetPromptRequestMethod>());
        };
        let Some((id, _)) = foreign.has.prompts.get(&request.name) else {
            let error = not_there(&offer, McpPart::Prompt, &request.name).await;
            return Err(self.as_error(&error, None));
        };
        let input = match request.arguments {
            Some(arguments) => json!({ "arguments": arguments }),
            None => json!({}),
        };
        let round = Round { state: request.request_state, said: request.input_responses };
        let got = self.read(&offer, id, (&request.name, input), round, context).await?;
        Ok(match got {
            Got::Output(output) => {
                let mut result = of::<GetPromptResult>(output)?;
                result.result_type = Some(ResultType::COMPLETE);
                GetPromptResponse::Complete(result)
            }
            Got::Asks(asks) => GetPromptResponse::InputRequired(asks),
        })
    }

    pub(crate) async fn resource(
        &self,
        request: ReadResourceRequestParams,
        context: &RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let offer = self.refresh().await;
        let Some(foreign) = &offer.foreign else {
            return Err(ErrorData::method_not_found::<ReadResourceRequestMethod>());
        };
        let uri = request.uri;
        let Some((_, id, by_template)) = foreign.has.resource(&uri) else {
            let error = not_there(&offer, McpPart::Resource, &uri).await;
            return Err(self.as_error(&error, Some(&uri)));
        };
        let input = if by_template { json!({ "uri": uri }) } else { json!({}) };
        let round = Round { state: request.request_state, said: request.input_responses };
        let got = self.read(&offer, id, (&uri, input), round, context).await?;
        Ok(match got {
            Got::Output(output) => {
                let mut result = of::<ReadResourceResult>(output)?;
                result.result_type = Some(ResultType::COMPLETE);
                // Nobody is to keep what may not be read the next time.
                result.ttl_ms = Some(0);
                result.cache_scope = Some(rmcp::model::CacheScope::Private);
                ReadResourceResponse::Complete(result)
            }
            Got::Asks(asks) => ReadResourceResponse::InputRequired(asks),
        })
    }

    pub(crate) async fn completion(
        &self,
        request: CompleteRequestParams,
        context: &RequestContext<RoleServer>,
    ) -> Result<CompleteResult, ErrorData> {
        let offer = self.refresh().await;
        let declared = rmcp::ServerHandler::get_info(self).capabilities.completions.is_some();
        let Some(foreign) = offer.foreign.as_ref().filter(|_| declared) else {
            return Err(ErrorData::method_not_found::<CompleteRequestMethod>());
        };
        let (part, name) = match &request.r#ref {
            Reference::Prompt(prompt) => (McpPart::Prompt, prompt.name.clone()),
            Reference::Resource(template) => (McpPart::Template, template.uri.clone()),
            _ => return Err(ErrorData::invalid_params("nobody knows what that refers to", None)),
        };
        let found = match part {
            McpPart::Prompt => foreign.has.prompts.get(&name).map(|(id, _)| id),
            _ => foreign.has.templates.get(&name).map(|at| &at.capability),
        };
        let Some(id) = found else {
            let error = not_there(&offer, part, &name).await;
            return Err(self.as_error(&error, None));
        };
        let mut complete = Map::new();
        complete.insert("argument".to_owned(), json!(request.argument));
        if let Some(given) = &request.context {
            complete.insert("context".to_owned(), json!(given));
        }
        let input = json!({ "complete": complete });
        match self.read(&offer, id, (&name, input), Round::default(), context).await? {
            Got::Output(output) => {
                let mut result = of::<CompleteResult>(output)?;
                result.result_type = Some(ResultType::COMPLETE);
                Ok(result)
            }
            Got::Asks(_) => {
                Err(ErrorData::internal_error("nobody is asked while something is typed", None))
            }
        }
    }

    /// Begins or ends to listen for changes of a resource, which is for who may read it.
    pub(crate) async fn watch_resource(&self, uri: &str, on: bool) -> Result<(), ErrorData> {
        let offer = self.refresh().await;
        let found = offer.foreign.as_ref().and_then(|foreign| {
            let (server, id, by_template) = foreign.has.resource(uri)?;
            Some((foreign, server, id, by_template))
        });
        let Some((foreign, server, id, by_template)) = found else {
            let error = not_there(&offer, McpPart::Resource, uri).await;
            return Err(self.as_error(&error, Some(uri)));
        };
        let input = if by_template { json!({ "uri": uri }) } else { json!({}) };
        let checked = offer.agent.check(offer.agent.action(id.clone(), input));
        let checked = checked.map_err(|error| self.as_error(&error, None))?;
        if checked.decision.verdict != lictor::governance::Verdict::Allow {
            let why = "the policy does not let this session read it without being asked";
            return Err(ErrorData::invalid_request(why, Some(json!({ "uri": uri }))));
        }
        foreign.menu.upstreams().watch(server, uri, on).await
    }

    async fn read(
        &self,
        offer: &Offer,
        id: &CapabilityId,
        (name, input): (&str, Value),
        round: Round,
        context: &RequestContext<RoleServer>,
    ) -> Result<Got, ErrorData> {
        let arguments = arguments_digest(input.as_object());
        let tool = format!("{id} {name}");
        let about = About { agent: &offer.agent, tool: &tool, arguments };
        let wish = Wish::Action(Box::new(offer.agent.action(id.clone(), input)));
        let wanted = Wanted { offer, wish: &wish, about, context };
        match self.down(&wanted, round).await? {
            Ended::Done(Outcome::Done(done)) => {
                let redactor = offer.agent.runtime().audit().redactor();
                Ok(Got::Output(say::relayed_output(&done, &redactor)))
            }
            Ended::Done(Outcome::Undone(_)) => {
                Err(ErrorData::internal_error("nothing was read", None))
            }
            Ended::Asks(asks) => Ok(Got::Asks(asks)),
            Ended::Refused(error) | Ended::Waits(error) => Err(self.as_error(&error, None)),
        }
    }

    /// A refusal of something that has no results that could say so.
    fn as_error(&self, error: &ActError, uri: Option<&str>) -> ErrorData {
        let redactor = self.agent().runtime().audit().redactor();
        let (text, mut data) = say::refusal_in_words(error, &redactor);
        let code = match error.code() {
            ErrorCode::NotFound | ErrorCode::InvalidInput | ErrorCode::Usage => {
                RpcCode::INVALID_PARAMS
            }
            _ => RpcCode::INTERNAL_ERROR,
        };
        if let (Some(uri), Some(fields)) = (uri, data.as_object_mut()) {
            fields.insert("uri".to_owned(), json!(uri));
        }
        ErrorData::new(code, text, Some(data))
    }

    /// Down the road, with everything that has to be asked on the way.
    async fn down(&self, wanted: &Wanted<'_>, mut round: Round) -> Result<Ended, ErrorData> {
        if let Some(state) = round.state.take() {
            if let Some(ended) = self.again(wanted, &state, &round).await? {
                return Ok(ended);
            }
            // They answered something that Lictor asked.
            round.said = None;
        }
        let error = match self.go(wanted, round.said).await? {
            Ended::Refused(error) => error,
            ended => return Ok(ended),
        };
        match self.ask(&error, &wanted.about, wanted.context).await {
            Asked::Waits => Ok(Ended::Waits(error)),
            Asked::Refused(error) => Ok(Ended::Refused(error)),
            Asked::ByAnswer(asks) => Ok(Ended::Asks(asks)),
            Asked::Agreed => self.go(wanted, None).await,
        }
    }

    /// A client comes again with a state that it was given; nothing, where the call is to be made.
    async fn again(
        &self,
        wanted: &Wanted<'_>,
        state: &str,
        round: &Round,
    ) -> Result<Option<Ended>, ErrorData> {
        let bound = wanted.about.bound();
        match self.inner.relay.resume(&bound, state, round.said.as_ref()) {
            Resumed::Goes(running) => return self.stay(running, wanted).await.map(Some),
            Resumed::Again(asks) => return Ok(Some(Ended::Asks(asks))),
            Resumed::Gone => {
                let why = "the request state was used already, or is too old: begin the call anew";
                return Err(ErrorData::invalid_params(why, None));
            }
            Resumed::NotOurs => {}
        }
        let does_not_hold = || ErrorData::invalid_params("the request state does not hold", None);
        let Some(elicitation) = &self.inner.elicitation else {
            return match self.inner.menu {
                Some(_) => Err(does_not_hold()),
                None => Ok(None),
            };
        };
        match elicitation.redeem(&wanted.about, state, round.said.as_ref()).await {
            Ok(Asked::Refused(error)) => Ok(Some(Ended::Refused(error))),
            Ok(_) => Ok(None),
            Err(_) => Err(does_not_hold()),
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
        Some(self.tasks().keep(id, call, self.now()))
    }

    /// Down the road, with word of it to a client that wants to hear.
    async fn go(
        &self,
        wanted: &Wanted<'_>,
        brought: Option<InputResponses>,
    ) -> Result<Ended, ErrorData> {
        let Wanted { offer, wish, about, context } = wanted;
        let agent: &Agent = &offer.agent;
        if let Some(foreign) = &offer.foreign {
            let running = self.inner.relay.begin(agent, wish, &foreign.menu, brought, context);
            return self.stay(running, wanted).await;
        }
        let outcome = match context.meta.get_progress_token() {
            None => go(agent, wish).await,
            Some(token) => tokio::select! {
                biased;
                never = tell_progress(&context.peer, token, about.tool) => match never {},
                outcome = go(agent, wish) => outcome,
            },
        };
        Ok(match outcome {
            Ok(outcome) => Ended::Done(outcome),
            Err(error) => Ended::Refused(error),
        })
    }

    async fn stay(&self, running: Running, wanted: &Wanted<'_>) -> Result<Ended, ErrorData> {
        let bound = wanted.about.bound();
        let relay = &self.inner.relay;
        match relay.serve(running, &bound, wanted.context, wanted.about.tool).await {
            Went::Done(outcome) => Ok(Ended::Done(outcome)),
            Went::Failed(error) => Ok(Ended::Refused(error)),
            Went::Asks(asks) => Ok(Ended::Asks(asks)),
            Went::Said(error) => Err(error),
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

/// What was read.
enum Got {
    Output(Value),
    Asks(InputRequiredResult),
}

fn of<T: DeserializeOwned>(output: Value) -> Result<T, ErrorData> {
    serde_json::from_value(output)
        .map_err(|error| ErrorData::internal_error(format!("what was read: {error}"), None))
}

/// Arguments are told from others by this; what is approved is told by the action's own digest.
fn arguments_digest(arguments: Option<&Map<String, Value>>) -> Digest {
    let empty = Map::new();
    let bytes = canonical_json(arguments.unwrap_or(&empty));
    // What is no canonical JSON is refused on the road; here it only has to be something.
    bytes.map_or_else(|_| Digest::of(b""), |bytes| Digest::of(&bytes))
}
