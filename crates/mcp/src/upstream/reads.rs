//! Getting what a server has to be read: a prompt, a resource, what could stand in an argument of one.
//! Nothing that the protocol knows of is changed by it, so it is judged and recorded as reading.

use std::sync::Arc;

use lictor::capability::{CapabilityId, Contract, EffectCeiling, Effects, McpPart, McpTool};
use lictor::executor::{Granted, Handler, HandlerError, Request};
use rmcp::ServiceError;
use rmcp::model::{
    CompleteRequestParams, GetPromptRequestParams, ReadResourceRequestParams, ServerResult,
};
use serde_json::{Map, Value, json};

use super::Inner;
use super::asking::{NoResult, Wanted};
use super::files;
use super::handler::{MAX_AGE, masked, no_result};
use super::link::Link;
use super::pinned::Pinned;
use super::template::fits;

/// Gets one thing of one server.
pub(super) struct Reads {
    pinned: Pinned,
    most: EffectCeiling,
}

impl Reads {
    pub(super) fn new(spec: &McpTool, contract: &Contract, inner: Arc<Inner>) -> Self {
        Self { pinned: Pinned::new(spec, inner), most: contract.effects.clone() }
    }

    /// Whether its server works in a copy of the workspace.
    fn files(&self) -> bool {
        !self.most.fs.read.is_empty()
    }

    /// What is asked of the server.
    fn wanted(&self, input: &Value) -> Result<Option<Wanted>, HandlerError> {
        let McpTool { tool, part, .. } = &self.pinned.spec;
        if let Some(complete) = input.get("complete") {
            let about = match part {
                McpPart::Prompt => json!({ "type": "ref/prompt", "name": tool }),
                _ => json!({ "type": "ref/resource", "uri": tool }),
            };
            let mut params = complete.clone();
            if let Some(fields) = params.as_object_mut() {
                fields.insert("ref".to_owned(), about);
            }
            let params: CompleteRequestParams =
                serde_json::from_value(params).map_err(|e| HandlerError::input(e.to_string()))?;
            return Ok(Some(Wanted::Complete(params)));
        }
        Ok(match part {
            McpPart::Prompt => {
                let mut params = GetPromptRequestParams::new(tool.clone());
                params.arguments = input.get("arguments").and_then(Value::as_object).cloned();
                Some(Wanted::Prompt(params))
            }
            McpPart::Resource => {
                Some(Wanted::Resource(ReadResourceRequestParams::new(tool.clone())))
            }
            McpPart::Template => {
                let uri = input.get("uri").and_then(Value::as_str).unwrap_or_default();
                if !fits(tool, uri) {
                    let why = format!("`uri` does not fit `{}`", tool.escape_debug());
                    return Err(HandlerError::input(why));
                }
                Some(Wanted::Resource(ReadResourceRequestParams::new(uri)))
            }
            McpPart::Tool | McpPart::About => None,
        })
    }

    async fn get(
        &self,
        link: &Link,
        wanted: Wanted,
        granted: &Granted<'_>,
    ) -> Result<Value, HandlerError> {
        let server = &self.pinned.spec.server;
        let talk = self.pinned.inner.talks.of(granted.described().action().id());
        let Some(asked) = link.ask(server, wanted, talk.as_ref(), granted).await else {
            let limit = granted.limit().as_millis();
            return Err(HandlerError::failed(format!(
                "`{server}` did not answer within {limit} ms"
            )));
        };
        let result = match asked {
            Ok(ServerResult::GetPromptResult(result)) => serde_json::to_value(result),
            Ok(ServerResult::ReadResourceResult(result)) => serde_json::to_value(result),
            Ok(ServerResult::CompleteResult(result)) => serde_json::to_value(result),
            Ok(_) => {
                let why = format!("`{server}` answered with something else than a result");
                return Err(HandlerError::failed(why));
            }
            Err(error) => {
                let said = match &error {
                    NoResult::Service(ServiceError::McpError(said)) | NoResult::Client(said) => {
                        Some(said)
                    }
                    _ => None,
                };
                if let (Some(talk), Some(said)) = (&talk, said) {
                    talk.refuse(masked(said, link.mask()), link.pages());
                }
                return Err(no_result(link, server, error).await);
            }
        };
        let mut result = result.map_err(HandlerError::failed)?;
        if let Some(fields) = result.as_object_mut() {
            fields.remove("resultType");
        }
        Ok(result)
    }
}

#[async_trait::async_trait]
impl Handler for Reads {
    fn describe(&self, request: Request<'_>) -> Result<Effects, HandlerError> {
        self.pinned.stands()?;
        self.wanted(request.input())?;
        if !self.files() {
            return Ok(Effects::default());
        }
        let reads = files::reads(request.view)?;
        Ok(Effects { reads, reads_root: true, ..Effects::default() })
    }

    async fn run(&self, granted: Granted<'_>) -> Result<Value, HandlerError> {
        let Pinned { spec, inner } = &self.pinned;
        let Some(wanted) = self.wanted(granted.input())? else {
            // It was said when the server began, and is what was let in.
            return Ok(self.pinned.pin()?.definition.as_value().clone());
        };
        let link = self.pinned.link()?;
        let listing = link.fresh(MAX_AGE).await;
        let listing = listing.map_err(|why| {
            HandlerError::failed(format!("the MCP server `{}`: {why}", spec.server))
        })?;
        self.pinned.compare(&listing)?;
        let copy = inner.server(&spec.server).state().copy.clone();
        let Some(copy) = copy.filter(|_| self.files()) else {
            return Ok(link.mask().value(self.get(&link, wanted, &granted).await?));
        };
        let _filled = copy.filled(&granted, &self.most).await?;
        let (root, folder) = (&inner.root, copy.folder());
        let wanted = match wanted {
            Wanted::Resource(mut params) => {
                params.uri = files::Led::new(root, &copy).uri_in(&params.uri);
                Wanted::Resource(params)
            }
            Wanted::Prompt(mut params) => {
                let led = |given: Map<String, Value>| files::into_copy(given, root, folder);
                params.arguments = params.arguments.map(led);
                Wanted::Prompt(params)
            }
            other => other,
        };
        let got = self.get(&link, wanted, &granted).await?;
        Ok(link.mask().value(files::out_of_copy(got, root, folder)))
    }

    fn first(&self) -> Option<CapabilityId> {
        self.pinned.first()
    }

    fn blocks(&self) -> bool {
        // Copying does.
        self.files()
    }

    fn keeps_time(&self) -> bool {
        true
    }
}
