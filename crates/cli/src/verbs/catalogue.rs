//! `capability`.

use lictor::capability::{CapabilityId, Contract};
use serde_json::{Value, json};

use super::Answer;
use crate::args::Capability;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{DIM, Output};

pub(crate) async fn capability(wish: &Capability, context: &Context, output: &Output) -> Answer {
    let agent = context.agent().await?;
    let runtime = agent.runtime();
    match wish {
        Capability::List => {
            let entries = runtime.catalogue().list();
            let shown: Vec<Value> = entries
                .iter()
                .map(|entry| {
                    let contract = &entry.contract;
                    json!({
                        "id": contract.id, "version": contract.version, "title": contract.title,
                        "kind": contract.kind, "source": contract.source, "risk": contract.risk,
                        "state": entry.state, "digest": contract.digest(),
                    })
                })
                .collect();
            output.result(&json!({ "capabilities": shown }), || {
                let line = |contract: &Contract, state: &str| {
                    format!(
                        "{:<18} {:<8} {state:<9} {:<8} {DIM}{}{DIM:#}\n",
                        contract.id, contract.version, contract.risk, contract.title
                    )
                };
                entries.iter().map(|entry| line(&entry.contract, entry.state.as_str())).collect()
            });
            Ok(0)
        }
        Capability::Show { id } => {
            let id = CapabilityId::parse(id).map_err(Failure::input)?;
            let contract = agent.graph().get(&id, None).ok_or_else(|| {
                let failure = Failure::not_found(format!("`{id}` does not exist for this session"));
                match agent.graph().nearest(&id) {
                    Some(nearest) => failure.with_step(format!("did you mean `{nearest}`?")),
                    None => failure,
                }
            })?;
            let mut json = contract.to_json();
            if let Some(object) = json.as_object_mut() {
                object.insert("digest".to_owned(), json!(contract.digest()));
            }
            output.result(&json, || serde_json::to_string_pretty(&json).unwrap_or_default());
            Ok(0)
        }
    }
}
