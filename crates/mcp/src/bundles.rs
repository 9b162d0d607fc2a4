//! Packs and facades as tools: each stands for the workflows that it leads to, and begins one of them
//! by the capability that does. What that is, is judged as always.

use std::sync::Arc;

use lictor::capability::{CapabilityId, Facade, Pack};
use lictor::context::{Digest, Name};
use lictor::{ActError, ActErrorKind, Agent, Led};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::offer::{Bundled, Served};

/// The longest name that every client takes.
const MAX_NAME: usize = 64;

/// The tools over packs and facades that lead this session anywhere.
pub(crate) fn bundles(agent: &Agent) -> Vec<Bundled> {
    let can_begin = agent.workflows();
    let holds = |pack: &Pack| pack.workflows.iter().any(|id| can_begin.contains_key(id));
    let packs = agent.packs().into_iter().filter(|pack| holds(pack)).map(of_pack);
    let leads = |facade: &Arc<Facade>| {
        let named = can_begin.keys().map(Some);
        [None].into_iter().chain(named).any(|named| agent.lead_facade(facade, named).is_ok())
    };
    let facades = agent.facades().into_iter().filter(leads).map(of_facade);
    packs.chain(facades).collect()
}

fn of_pack(pack: Arc<Pack>) -> Bundled {
    let workflows: Vec<&str> = pack.workflows.iter().map(Name::as_str).collect();
    let description = format!(
        "{}. Begins one of the workflows {}, and answers with its end, or says for whom it waits.",
        pack.title,
        workflows.join(", ")
    );
    let name = bundle_name("pack", &pack.id);
    let definition = definition(&pack.title, &description, Some(&workflows));
    Bundled { name, definition, served: Served::Pack(pack) }
}

fn of_facade(facade: Arc<Facade>) -> Bundled {
    let said = facade.triggers.iter().chain(&facade.examples);
    let said: Vec<String> = said.map(|text| format!("\"{text}\"")).collect();
    let description = format!(
        "{}. For what is asked like {}. It leads to the {}{}, and answers with its end, or says for \
         whom it waits.",
        facade.title,
        said.join(", "),
        facade.routes.primary,
        facade.routes.fallback.as_ref().map_or_else(String::new, |other| format!(
            ", or where that may not be used to the {other}"
        )),
    );
    let name = bundle_name("facade", &facade.id);
    let definition = definition(&facade.title, &description, None);
    Bundled { name, definition, served: Served::Facade(facade) }
}

fn definition(title: &str, description: &str, workflows: Option<&[&str]>) -> Value {
    let mut workflow = json!({
        "type": "string",
        "description": "The workflow's id; needed only where it could be more than one.",
    });
    if let (Some(workflows), Some(fields)) = (workflows, workflow.as_object_mut()) {
        fields.insert("enum".to_owned(), json!(workflows));
    }
    json!({
        "title": title,
        "description": description,
        "inputSchema": {
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "input": { "type": "object", "description": "What the workflow takes." },
                "workflow": workflow,
            },
        },
        "annotations": {
            "title": title,
            "readOnlyHint": false, "destructiveHint": true, "idempotentHint": false,
            "openWorldHint": true,
        },
    })
}

/// The name of a tool over a pack or a facade. No capability's name begins so: none has `--` before
/// its forty-eighth letter. What fits no client is cut, with a piece of its digest in place of the rest.
fn bundle_name(kind: &str, id: &Name) -> String {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    let id = id.as_str();
    let whole = format!("{kind}--{id}");
    if whole.len() <= MAX_NAME && !id.contains("--") && id.bytes().all(fits) {
        return whole;
    }
    let kept: String = id.chars().filter(|one| one.is_ascii_alphanumeric()).take(32).collect();
    let digest = Digest::of(id.as_bytes()).hex();
    format!("{kind}--{kept}--{}", digest.get(..15).unwrap_or(&digest))
}

/// The arguments of such a tool.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    #[serde(default)]
    input: Map<String, Value>,
    #[serde(default)]
    workflow: Option<Name>,
}

/// Where a call leads, and with which input.
///
/// # Errors
/// When it leads nowhere, or its arguments make no sense.
pub(crate) fn lead(
    agent: &Agent,
    served: &Served,
    given: Map<String, Value>,
) -> Result<(Led, CapabilityId, Value), ActError> {
    let wanted: Wanted = serde_json::from_value(Value::Object(given)).map_err(|error| {
        ActErrorKind::Invalid(format!("it takes `input` and `workflow`, and not this: {error}"))
    })?;
    let named = wanted.workflow.as_ref();
    let led = match served {
        Served::Pack(pack) => agent.lead_pack(pack, named),
        Served::Facade(facade) => agent.lead_facade(facade, named),
        Served::Capability(_) | Served::Apply | Served::Undo => {
            let why = "it leads nowhere".to_owned();
            return Err(ActErrorKind::NotFound(why).into());
        }
    };
    let led = led.map_err(|error| ActErrorKind::Invalid(error.to_string()))?;
    let capability = led.capability.clone();
    Ok((led, capability, Value::Object(wanted.input)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::offer::served_name;

    #[test]
    fn a_name_leads_to_one_bundle() {
        let long = "x".repeat(100);
        let ids = ["docs", "Docs", "docs.v2", "docs-v2", "docs:v2", "docs--v2", "-docs", &long];
        let mut names = BTreeSet::new();
        for kind in ["pack", "facade"] {
            for id in ids {
                let name = bundle_name(kind, &Name::parse(id).unwrap());
                let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
                assert!(name.len() <= MAX_NAME && name.bytes().all(fits), "{name}");
                assert!(names.insert(name), "{kind} {id}");
            }
        }
        for id in ["pack.docs", "facade.docs", "facade.docs.v2"] {
            assert!(!names.contains(&served_name(&CapabilityId::parse(id).unwrap())), "{id}");
        }
    }
}
