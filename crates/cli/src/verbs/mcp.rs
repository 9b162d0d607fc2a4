//! `mcp`: doors for models.

use lictor::Agent;
use lictor::context::{AgentProfile, Name, Selection};
use lictor_mcp::{Door, Elicitation, ServeError};

use super::Answer;
use crate::args::Mcp;
use crate::context::Context;
use crate::failure::Failure;
use crate::mcp_args::Serve;
use crate::output::Output;

/// Who asks, when nobody says which agent.
const AGENT: &str = "mcp";

pub(crate) async fn mcp(wish: Mcp, context: &Context, _: &Output) -> Answer {
    match wish {
        Mcp::Serve(wish) => serve(wish, context).await,
    }
}

async fn serve(wish: Serve, context: &Context) -> Answer {
    let agent = agent(wish, context).await?;
    // Whoever runs the client is who sits behind it.
    let elicitation = Elicitation::new(context.os_user.clone()).map_err(Failure::failed)?;
    let served = lictor_mcp::serve_stdio(&Door::new(agent, Some(elicitation))).await;
    served.map(|()| 0).map_err(|error| match error {
        ServeError::Beginning(_) => Failure::input(error),
        ServeError::Task(_) => Failure::failed(error),
    })
}

async fn agent(wish: Serve, context: &Context) -> Result<Agent, Failure> {
    let mut principal = context.principal.clone();
    if !context.global.given.agent_named {
        principal.agent = Name::parse(AGENT).map_err(Failure::input)?;
    }
    let capabilities =
        if wish.only.is_empty() { Selection::All } else { Selection::Only(wish.only) };
    let profile = AgentProfile { capabilities, ..AgentProfile::default() };
    let session = context.session_of(principal)?.with_profile(profile);
    Ok(context.runtime().await?.agent(&session))
}
