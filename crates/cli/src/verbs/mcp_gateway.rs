//! `mcp gateway`: in place of all the servers of a client's file.

use lictor::capability::McpServer;
use serde_json::{Value, json};

use super::Answer;
use super::mcp_wrap::{Deed, serve, session, start_text, variables};
use crate::context::Context;
use crate::failure::Failure;
use crate::mcp_args::Gateway;
use crate::output::{Output, visible};
use crate::server_file::{self, ServerFile};

pub(crate) async fn gateway(wish: Gateway, context: &Context, output: &Output) -> Answer {
    let ServerFile { servers, left_out } = server_file::read(&wish.config)?;
    for (name, why) in &left_out {
        tracing::warn!("the MCP server `{}` is left out: {why}", name.escape_debug());
    }
    let mut specs = Vec::new();
    for said in servers {
        for (name, value) in &said.env {
            context.given.say(&said.name, name, value);
        }
        for (name, value) in &said.headers {
            context.given.say_header(&said.name, name, value);
        }
        specs.push(McpServer {
            server: said.name,
            command: said.command,
            cwd: said.cwd,
            // Their names; what they hold is in the file, and goes to the server only.
            env: if said.url.is_some() { Vec::new() } else { variables(said.env.keys()) },
            headers: said.headers.into_keys().collect(),
            url: said.url,
            set: Default::default(),
            secrets: said.secrets,
            workspace: said.workspace,
        });
    }
    let left_out: Vec<Value> =
        left_out.iter().map(|(name, why)| json!({ "server": name, "why": why })).collect();
    if specs.is_empty() {
        let why = "the file names no server that can be started or reached";
        return Err(Failure::input(why).with_details(json!({ "left_out": left_out })));
    }
    if wish.dry.dry_run {
        let json = json!({ "start": specs, "left_out": left_out });
        let texts = specs.iter().map(|spec| visible(&start_text(spec))).collect::<Vec<_>>();
        output.result(&json, || texts.join("\n\n"));
        return Ok(0);
    }
    let runtime = context.runtime().await?;
    let session = session(context, &specs)?;
    if !wish.approve_baseline {
        return serve(specs, &runtime, &session, (&wish.face, context, output)).await;
    }
    let deed = Deed { runtime: &runtime, session: &session, context, output };
    let (mut done, mut texts, mut failed) = (Vec::new(), Vec::new(), None);
    for spec in &specs {
        match deed.baseline(spec, &[]).await {
            Ok((json, text)) => {
                done.push(json);
                texts.push(text);
            }
            // The others can be let in all the same.
            Err(failure) => {
                output.note(&visible(&format!("{}: {}", spec.server, failure.message)));
                done.push(json!({ "server": spec.server, "error": failure.message }));
                failed.get_or_insert(failure);
            }
        }
    }
    let json = json!({ "servers": done, "left_out": left_out });
    if let Some(mut failure) = failed {
        failure.details = json;
        return Err(failure);
    }
    output.result(&json, || texts.join("\n"));
    Ok(0)
}
