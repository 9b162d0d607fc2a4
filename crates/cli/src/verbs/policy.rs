//! `policy`.

use std::path::Path;

use lictor::document::{Limits, Source};
use lictor::governance::{DecisionRecord, PolicySet};
use lictor::load_policies;
use serde_json::json;

use super::{Answer, history};
use crate::args::Policy;
use crate::context::Context;
use crate::failure::Failure;
use crate::files;
use crate::output::{GREEN, Output, visible};

pub(crate) async fn policy(wish: &Policy, context: &Context, output: &Output) -> Answer {
    match wish {
        // Self-tests are part of reading: a policy whose examples fail is not read.
        Policy::Lint { file } | Policy::Test { file } => {
            let set = load(file.as_deref(), context)?;
            let layers = set.layers().len();
            let json = json!({ "valid": true, "layers": layers, "digest": set.digest() });
            output.result(&json, || {
                format!("{GREEN}valid{GREEN:#}: {layers} layer(s), {}", set.digest())
            });
            Ok(0)
        }
        Policy::Show => {
            let set = load(None, context)?;
            let layers: Vec<_> = set
                .layers()
                .iter()
                .map(|policy| {
                    let text = String::from_utf8_lossy(policy.bytes()).into_owned();
                    json!({ "layer": policy.layer(), "text": text })
                })
                .collect();
            let json = json!({
                "digest": set.digest(), "settings": set.settings(), "layers": layers,
            });
            output.result(&json, || {
                let mut text = String::new();
                for layer in &layers {
                    let name = layer["layer"].as_str().unwrap_or_default();
                    let body = layer["text"].as_str().unwrap_or_default();
                    text.push_str(&format!("# layer: {name}\n{}\n", visible(body)));
                }
                if layers.is_empty() {
                    text.push_str("there is no policy, so everything is denied\n");
                }
                text
            });
            Ok(0)
        }
        Policy::Explain { decision } => {
            let runtime = context.runtime().await?;
            let found = history::decision(decision, &runtime, context)?;
            let found = found
                .ok_or_else(|| Failure::not_found(format!("there is no decision `{decision}`")))?;
            output.result(&found, || {
                match serde_json::from_value::<DecisionRecord>(found.clone()) {
                    Ok(record) => visible(&record.explain()),
                    Err(_) => visible(&serde_json::to_string_pretty(&found).unwrap_or_default()),
                }
            });
            Ok(0)
        }
    }
}

fn load(file: Option<&Path>, context: &Context) -> Result<PolicySet, Failure> {
    match file {
        None => Ok(load_policies(&context.workspace, &context.options()?.policies)?),
        Some(path) => {
            let given = files::read(path, Limits::default().max_bytes)?;
            PolicySet::workspace(&Source::new(&given.name, &given.bytes)).map_err(Failure::input)
        }
    }
}
