//! `--http`: a server for many clients, each with a token.

use std::net::SocketAddr;
use std::sync::Arc;

use lictor::context::{Principal, Session, SystemClock};
use lictor::governance::ClientToken;
use lictor::{ErrorCode, Runtime};
use lictor_mcp::{Door, Elicitation, HttpError, HttpOptions, HttpServer, RegisteredClients};
use serde_json::json;

use super::{Answer, mcp_clients};
use crate::context::{Context, env_text};
use crate::failure::Failure;
use crate::files;
use crate::mcp_args::HttpFace;
use crate::output::Output;
use crate::told;

/// Serves each client what is furnished for its session, until told to end.
pub(crate) async fn serve(
    (wish, address): (&HttpFace, SocketAddr),
    principal: Principal,
    context: &Context,
    output: &Output,
    furnish: impl Fn(Session, Option<Elicitation>) -> Door + Send + Sync + 'static,
) -> Answer {
    if context.global.session.is_some() {
        let why = "`--session` is one session, and over HTTP each client has its own";
        return Err(Failure::usage(why));
    }
    let runtime = context.runtime().await?;
    let (keeper, made) = keeper(wish, &principal, &runtime, context).await?;
    let mut options = HttpOptions::new(address);
    (options.remote, options.hosts) = (wish.allow_remote, wish.host.clone());
    let here = address.ip().is_loopback();
    let furnish = move |principal: &Principal| {
        // Who may sit elsewhere is not asked through their client.
        let elicitation = Elicitation::new(principal.user.clone()).ok().filter(|_| here);
        furnish(Session::new(principal.clone(), &SystemClock), elicitation)
    };
    let server = HttpServer::bind(&options, Arc::new(keeper), furnish).await.map_err(unbound)?;
    let until = told::to_end()?;
    if !here {
        output.note("other machines can reach this server, and what goes over it is not encrypted");
    }
    let (url, token) = (server.url(), made.as_ref().map(ClientToken::expose));
    output.result(&json!({ "url": url, "client": principal, "token": token }), || {
        let token = token.map(|token| mcp_clients::shown_once(&principal, token));
        format!("serving at {url}\n{}", token.unwrap_or_default())
    });
    drop(made);
    server.run(until).await;
    Ok(0)
}

/// Who knows the clients. Where nobody could come in yet, the first one is let in.
async fn keeper(
    wish: &HttpFace,
    principal: &Principal,
    runtime: &Runtime,
    context: &Context,
) -> Result<(RegisteredClients, Option<ClientToken>), Failure> {
    let keeper = RegisteredClients::new(runtime.clone());
    if let Some(token) = given(wish)? {
        let keeper = keeper.with_given(principal.clone(), token.trim());
        return Ok((keeper.map_err(|error| Failure::usage(error.to_string()))?, None));
    }
    let made = runtime.clients().add_first(principal.clone()).map_err(mcp_clients::failure)?;
    if made.is_some() {
        mcp_clients::record("mcp.clients.add", principal, runtime, context).await?;
    }
    Ok((keeper, made))
}

fn given(wish: &HttpFace) -> Result<Option<String>, Failure> {
    let Some(path) = &wish.client_token_file else { return Ok(env_text("LICTOR_CLIENT_TOKEN")) };
    let text = String::from_utf8(files::read(path, 4096)?.bytes);
    text.map(Some).map_err(|_| Failure::usage("the token file holds no text"))
}

fn unbound(error: HttpError) -> Failure {
    match &error {
        HttpError::Remote(_) => Failure::usage(format!("{error}: `--allow-remote`")),
        HttpError::Listen { source, .. } => {
            Failure::new(ErrorCode::Failed, format!("{error}: {source}"))
        }
    }
}
