//! Test only: the door over HTTP with what the official conformance suite wants to find, beside its own
//! tools. It serves, runs the command that it is given with `--url URL` behind it, and ends as that does.
//! `cargo xtask conformance` runs the suite so. Nobody has to show a token here, because the suite has none.
//!
//! As `conformance upstream` it is a server on standard input and output with the same, and as `conformance
//! through LICTOR COMMAND…` the suite is run against `LICTOR mcp wrap` over that one.
#![expect(deprecated, reason = "the older revision has logging, and the suite looks for it")]

mod fixtures;
mod through;

use std::process::{Command, ExitCode};
use std::sync::{Arc, Mutex, PoisonError};

use fixtures::{Fixtures, is_fixture};
use lictor::context::{BoxFuture, Name, Principal, Session, SystemClock};
use lictor::governance::ClientError;
use lictor::{Runtime, RuntimeOptions};
use lictor_mcp::{Door, HttpOptions, HttpServer, HttpTerms, Keeper, McpService, Serving};
use rmcp::ServiceExt as _;
use rmcp::handler::server::ServerHandler;
use rmcp::model::{
    CacheScope, CallToolRequestParams, CallToolResponse, ErrorData, GetPromptRequestParams,
    GetPromptResponse, ListPromptsResult, ListResourceTemplatesResult, ListResourcesResult,
    ListToolsResult, PaginatedRequestParams, ReadResourceRequestParams, ReadResourceResponse,
    ServerCapabilities, ServerConfig, SetLevelRequestParams, SubscribeRequestParams,
    SubscriptionFilter, Tool, UnsubscribeRequestParams,
};
use rmcp::service::{
    NotificationContext, RequestContext, RoleServer, SubscriptionContext, SubscriptionSink,
};

type Failed = Box<dyn std::error::Error>;

/// The door, and what the suite wants to find.
#[derive(Clone)]
struct Profile {
    door: Door,
    fixtures: Arc<Fixtures>,
    sinks: Arc<Mutex<Vec<SubscriptionSink>>>,
}

impl Serving for Profile {
    fn service(&self, terms: &HttpTerms) -> McpService {
        McpService::new(self.clone(), terms)
    }

    fn watch(&self) -> BoxFuture<'_, ()> {
        self.door.watch()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.door.close()
    }
}

impl Profile {
    fn sinks(&self) -> Vec<SubscriptionSink> {
        self.sinks.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn change(&self, name: &str) {
        for sink in self.sinks() {
            let told = match name {
                "test_trigger_tool_change" => sink.notify_tool_list_changed().await,
                _ => sink.notify_prompt_list_changed().await,
            };
            // A stream that is closed, or that did not ask for this.
            drop(told);
        }
    }
}

impl ServerHandler for Profile {
    fn get_info(&self) -> ServerConfig {
        let mut info = self.door.get_info();
        info.capabilities = ServerCapabilities::builder()
            .enable_tools()
            .enable_tool_list_changed()
            .enable_prompts()
            .enable_prompts_list_changed()
            .enable_resources()
            .enable_resources_subscribe()
            .enable_completions()
            .enable_logging()
            .build();
        info
    }

    async fn list_tools(
        &self,
        request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let mut list = self.door.list_tools(request, context).await?;
        list.tools.extend(fixtures::tools());
        Ok(list)
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        let own = fixtures::tools().into_iter().find(|tool| tool.name == name);
        own.or_else(|| self.door.get_tool(name))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        if request.name.starts_with("test_trigger_") {
            self.change(&request.name).await;
        }
        if is_fixture(&request.name) {
            return self.fixtures.call(request, &context).await;
        }
        self.door.call_tool(request, context).await
    }

    async fn on_initialized(&self, context: NotificationContext<RoleServer>) {
        self.door.on_initialized(context).await;
    }

    fn accepted_subscription_filter(
        &self,
        filter: &SubscriptionFilter,
    ) -> Option<SubscriptionFilter> {
        Some(filter.supported_by(&self.get_info().capabilities))
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        let sink = context.sink().clone();
        self.sinks.lock().unwrap_or_else(PoisonError::into_inner).push(sink);
        context.cancelled().await;
        Ok(())
    }

    async fn list_prompts(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        let list = ListPromptsResult::with_all_items(fixtures::prompts()?);
        Ok(list.with_ttl_ms(0).with_cache_scope(CacheScope::Private))
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        fixtures::prompt(&request)
    }

    async fn list_resources(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        let list = ListResourcesResult::with_all_items(fixtures::resources()?);
        Ok(list.with_ttl_ms(0).with_cache_scope(CacheScope::Private))
    }

    async fn list_resource_templates(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        let list = ListResourceTemplatesResult::with_all_items(fixtures::templates()?);
        Ok(list.with_ttl_ms(0).with_cache_scope(CacheScope::Private))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let read = fixtures::resource(&request.uri)?;
        Ok(read.with_ttl_ms(0).with_cache_scope(CacheScope::Private).into())
    }

    async fn subscribe(
        &self,
        _: SubscribeRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        Ok(())
    }

    async fn unsubscribe(
        &self,
        _: UnsubscribeRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        Ok(())
    }

    async fn set_level(
        &self,
        _: SetLevelRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        Ok(())
    }
}

/// Lets everybody in, as one principal.
struct Everybody(Principal);

impl Keeper for Everybody {
    fn principal(&self, _: Option<&str>) -> Result<Option<Principal>, ClientError> {
        Ok(Some(self.0.clone()))
    }
}

/// A runtime of the example's own.
async fn runtime(place: &std::path::Path) -> Result<Runtime, Failed> {
    let (workspace, keys) = (place.join("workspace"), place.join("keys"));
    std::fs::create_dir_all(workspace.join(".lictor"))?;
    let policy = workspace.join(".lictor/policy.yaml");
    #[expect(clippy::disallowed_methods, reason = "a workspace of the example's own")]
    std::fs::write(policy, "version: 1\ndefault: deny\npaths: { allowed: [\"**\"] }\n")?;
    Ok(Runtime::open(RuntimeOptions::new(&workspace, &keys)).await?)
}

fn principal() -> Result<Principal, Failed> {
    let name = |text| Name::parse(text);
    Ok(Principal { org: name("local")?, user: name("suite")?, agent: name("suite")? })
}

fn profile(runtime: &Runtime, principal: &Principal, fixtures: &Arc<Fixtures>) -> Profile {
    Profile {
        door: Door::new(runtime.agent(&Session::new(principal.clone(), &SystemClock)), None),
        fixtures: Arc::clone(fixtures),
        sinks: Arc::default(),
    }
}

/// The same for one client, on standard input and output.
async fn upstream() -> Result<ExitCode, Failed> {
    let place = tempfile::tempdir()?;
    let runtime = runtime(place.path()).await?;
    let profile = profile(&runtime, &principal()?, &Arc::new(Fixtures::new()?));
    let running = profile.clone().serve(rmcp::transport::stdio()).await?;
    running.waiting().await?;
    profile.close().await;
    Ok(ExitCode::SUCCESS)
}

async fn serve(suite: Vec<String>) -> Result<ExitCode, Failed> {
    let place = tempfile::tempdir()?;
    let runtime = runtime(place.path()).await?;
    let principal = principal()?;
    let fixtures = Arc::new(Fixtures::new()?);
    let furnish = move |principal: &Principal| profile(&runtime, principal, &fixtures);
    let options = HttpOptions::new("127.0.0.1:0".parse()?);
    let server = HttpServer::bind(&options, Arc::new(Everybody(principal)), furnish).await?;
    let url = server.url();
    let (ended, end) = tokio::sync::oneshot::channel::<()>();
    let suite = tokio::task::spawn_blocking(move || {
        let status = run(&suite, &url);
        drop(ended);
        status
    });
    server.run(async { drop(end.await) }).await;
    let code = suite.await??;
    Ok(ExitCode::from(code))
}

pub(crate) fn run(suite: &[String], url: &str) -> std::io::Result<u8> {
    let (program, arguments) = suite
        .split_first()
        .ok_or_else(|| std::io::Error::other("name the command that runs the suite"))?;
    #[expect(clippy::disallowed_methods, reason = "the suite is a program")]
    let status = Command::new(program).args(arguments).args(["--url", url]).status()?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

#[expect(clippy::print_stderr, reason = "a program of its own")]
fn main() -> ExitCode {
    let suite: Vec<String> = std::env::args().skip(1).collect();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("conformance: {error}");
            return ExitCode::FAILURE;
        }
    };
    let done = match suite.split_first() {
        Some((word, [])) if word == "upstream" => runtime.block_on(upstream()),
        Some((word, rest)) if word == "through" => runtime.block_on(through::run(rest)),
        _ => runtime.block_on(serve(suite)),
    };
    done.unwrap_or_else(|error| {
        eprintln!("conformance: {error}");
        ExitCode::FAILURE
    })
}
