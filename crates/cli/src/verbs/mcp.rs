//! `mcp`: doors for models.

use lictor::Agent;
use lictor::context::{AgentProfile, Name, Principal, Selection, Session};
use lictor_mcp::{Door, Elicitation, ServeError};

use super::{Answer, mcp_clients, mcp_http};
use crate::args::Mcp;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::Output;
use crate::told;

/// Who asks, when nobody says which agent.
pub(super) const AGENT: &str = "mcp";

pub(crate) async fn mcp(wish: Mcp, context: &Context, output: &Output) -> Answer {
    let principal = principal(context)?;
    match wish {
        Mcp::Serve(wish) => match wish.face.http {
            Some(address) => {
                let runtime = context.runtime().await?;
                let profile = profile(wish.only);
                let furnish = move |session: Session, elicitation: Option<Elicitation>| {
                    Door::new(runtime.agent(&session.with_profile(profile.clone())), elicitation)
                };
                mcp_http::serve((&wish.face, address), principal, context, output, furnish).await
            }
            None => serve(wish.only, principal, context).await,
        },
        Mcp::Clients(wish) => mcp_clients::clients(wish, principal, context, output).await,
        Mcp::Wrap(wish) => super::mcp_wrap::wrap(wish, context, output).await,
        Mcp::Gateway(wish) => super::mcp_gateway::gateway(wish, context, output).await,
        Mcp::Import(wish) => super::mcp_import::import(wish, context, output).await,
    }
}

pub(super) fn principal(context: &Context) -> Result<Principal, Failure> {
    let mut principal = context.principal.clone();
    if !context.global.given.agent_named {
        principal.agent = Name::parse(AGENT).map_err(Failure::input)?;
    }
    Ok(principal)
}

pub(super) fn profile(only: Vec<String>) -> AgentProfile {
    let capabilities = if only.is_empty() { Selection::All } else { Selection::Only(only) };
    AgentProfile { capabilities, ..AgentProfile::default() }
}

async fn serve(only: Vec<String>, principal: Principal, context: &Context) -> Answer {
    let session = context.session_of(principal)?.with_profile(profile(only));
    let agent: Agent = context.runtime().await?.agent(&session);
    // Whoever runs the client is who sits behind it.
    let elicitation = Elicitation::new(context.os_user.clone()).map_err(Failure::failed)?;
    let door = Door::new(agent, Some(elicitation));
    served(lictor_mcp::serve_stdio(&door, told::to_end()?).await)
}

/// What came of a session on standard input and output.
pub(super) fn served(served: Result<(), ServeError>) -> Answer {
    served.map(|()| 0).map_err(|error| match error {
        ServeError::Beginning(_) => Failure::input(error),
        ServeError::Task(_) => Failure::failed(error),
    })
}
