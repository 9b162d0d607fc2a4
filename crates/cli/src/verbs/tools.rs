//! `capability export` and `capability graph`.

use lictor::capability::{Relations, ToolFormat};
use lictor::governance::{CatalogueKind, Document};
use serde_json::{Value, json};

use super::Answer;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::Output;

pub(crate) async fn export(format: &str, context: &Context, output: &Output) -> Answer {
    let format: ToolFormat = format
        .parse()
        .map_err(|error: lictor::capability::UnknownFormat| Failure::usage(error.to_string()))?;
    let agent = context.agent().await?;
    let list = agent.graph().tools(format);
    let tools: Vec<&Value> = list.tools.iter().map(|tool| &tool.definition).collect();
    let names: serde_json::Map<String, Value> =
        list.tools.iter().map(|tool| (tool.name.clone(), json!(tool.capability))).collect();
    let json = json!({
        "format": format.to_string(), "tools": tools, "names": names, "left_out": list.left_out,
    });
    output.result(&json, || serde_json::to_string_pretty(&tools).unwrap_or_default());
    Ok(0)
}

pub(crate) async fn graph(dot: bool, context: &Context, output: &Output) -> Answer {
    let agent = context.agent().await?;
    let mut relations = Relations::default();
    for contract in agent.graph().iter() {
        relations.add_contract(contract);
    }
    for kind in [CatalogueKind::Pack, CatalogueKind::Facade] {
        for entry in agent.runtime().catalogue().list(kind) {
            match &entry.document {
                Document::Pack(pack) => relations.add_pack(pack),
                Document::Facade(facade) => relations.add_facade(facade),
                Document::Capability(_) => {}
            }
        }
    }
    let drawn = if dot { relations.to_dot() } else { relations.to_mermaid() };
    let json = json!({
        "nodes": relations.nodes, "relations": relations.relations, "drawing": drawn,
    });
    output.result(&json, || drawn.trim_end().to_owned());
    Ok(0)
}
