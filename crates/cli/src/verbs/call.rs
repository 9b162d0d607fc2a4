//! `call` and `check call`.

use std::path::Path;

use lictor::capability::{Action, CapabilityId};
use lictor::context::ExecutionId;
use lictor::document::{Limits, Source, StrictValue, from_json};
use lictor::{Agent, Done};
use serde_json::{Map, Value};

use super::{Answer, checked, view, workflow};
use crate::args::{Call, Consent, Input, Land};
use crate::consent::{self, risk};
use crate::context::Context;
use crate::failure::Failure;
use crate::files::{self, MAX_CHANGES};
use crate::output::{Output, cuts_secret, parts_secret};

pub(crate) async fn call(wish: Call, context: &Context, output: &Output) -> Answer {
    if wish.dry.dry_run {
        return check(&wish.input, context, output).await;
    }
    let agent = consent::under(context.agent().await?, &wish.under)?;
    let action = action(&agent, &wish.input)?;
    let agent = workflow::agreeing(wish.consent, agent, &action, context, output).await?;
    let outcome = act(&agent, action, wish.consent, context, output).await?;
    said(&outcome, output);
    Ok(0)
}

/// What a command changed in its copy, when people were asked about that.
pub(crate) async fn land(wish: Land, context: &Context, output: &Output) -> Answer {
    let agent = consent::under(context.agent().await?, &wish.under)?;
    let id = ExecutionId::parse(&wish.id).map_err(Failure::input)?;
    let action = agent.landing_action(&id)?;
    if wish.dry.dry_run {
        return checked(&agent, action, output);
    }
    let outcome = act(&agent, action, wish.consent, context, output).await?;
    said(&outcome, output);
    Ok(0)
}

async fn act(
    agent: &Agent,
    action: Action,
    wish: Consent,
    context: &Context,
    output: &Output,
) -> Result<Done, Failure> {
    let check = || Ok(vec![agent.check(action.clone())?]);
    let consent = consent::in_advance(agent, check, wish, context, output).await?;
    Ok(agent.act(action, consent.as_ref()).await?)
}

fn said(outcome: &Done, output: &Output) {
    output.result(&outcome.to_json(), || {
        let mut text = serde_json::to_string_pretty(&outcome.record.output).unwrap_or_default();
        if !outcome.record.files.is_empty() {
            let id = &outcome.record.execution_id;
            text.push_str(&format!("\n{id}\n{}", view::files(&outcome.record.files)));
        }
        text
    });
}

pub(crate) async fn check(input: &Input, context: &Context, output: &Output) -> Answer {
    let agent = context.agent().await?;
    checked(&agent, action(&agent, input)?, output)
}

fn action(agent: &Agent, input: &Input) -> Result<Action, Failure> {
    let capability = CapabilityId::parse(&input.capability).map_err(Failure::input)?;
    let schema = agent.graph().get(&capability, None).map(|contract| contract.input_schema());
    let value = value(input, schema)?;
    let mut action = agent.action(capability, value);
    if let Some(range) = &input.version_range {
        let range = range.parse().map_err(|error| {
            Failure::usage(format!("`{range}` is not a range of versions: {error}"))
        })?;
        action = action.with_version(range);
    }
    Ok(match risk(input.risk.as_deref())? {
        Some(risk) => action.with_risk(risk),
        None => action,
    })
}

/// The input: what is given at once, and key by key. A key that the contract wants as text is text,
/// whatever it looks like.
fn value(input: &Input, schema: Option<&Value>) -> Result<Value, Failure> {
    let mut object = match &input.input {
        None => Map::new(),
        Some(text) => object(text)?,
    };
    for pair in &input.pairs {
        let (key, value) = pair_value(pair, schema)?;
        if object.insert(key.clone(), value).is_some() {
            return Err(Failure::usage(format!("`{key}` is given twice")));
        }
    }
    Ok(Value::Object(object))
}

/// A JSON object from the command line, or from standard input for `-`.
pub(crate) fn object(text: &str) -> Result<Map<String, Value>, Failure> {
    let stdin;
    let (name, bytes) = if text == "-" {
        stdin = files::read(Path::new("-"), MAX_CHANGES)?;
        (stdin.name.as_str(), stdin.bytes.as_slice())
    } else {
        ("--input", text.as_bytes())
    };
    match json(name, bytes, &Limits::default().with_max_bytes(MAX_CHANGES))? {
        Value::Object(object) => Ok(object),
        _ => Err(Failure::usage("--input takes a JSON object")),
    }
}

/// A value, in which each declared secret of its text is still whole: by a part nobody would know it.
fn json(name: &str, bytes: &[u8], limits: &Limits) -> Result<Value, Failure> {
    let value: StrictValue =
        from_json(&Source::new(name, bytes), limits).map_err(|error| Failure::document(&error))?;
    let value = value.into_inner();
    if parts_secret(&String::from_utf8_lossy(bytes), &value) {
        let why = "a declared secret would be taken apart: write each within one JSON string";
        return Err(Failure::usage(why));
    }
    Ok(value)
}

fn pair_value(pair: &str, schema: Option<&Value>) -> Result<(String, Value), Failure> {
    let json = |text: &str| json("KEY:=VALUE", text.as_bytes(), &Limits::default());
    let Some((key, value)) = pair.split_once('=') else {
        return Err(Failure::usage(format!("`{pair}` is not KEY=VALUE")));
    };
    let (name, sign) = key.strip_suffix(':').map_or((key, "="), |name| (name, ":="));
    if cuts_secret(&[name, sign, value])
        || value.strip_prefix('@').is_some_and(|path| cuts_secret(&["@", path]))
    {
        let why = "KEY=VALUE would be taken apart within a declared secret; give it with --input";
        return Err(Failure::usage(why));
    }
    if let Some(key) = key.strip_suffix(':') {
        return Ok((key.to_owned(), json(value)?));
    }
    if let Some(path) = value.strip_prefix('@') {
        let given = files::read(Path::new(path), MAX_CHANGES)?;
        let text = String::from_utf8(given.bytes)
            .map_err(|_| Failure::input(format!("`{path}` is not UTF-8 text")))?;
        return Ok((key.to_owned(), Value::String(text)));
    }
    if schema.is_some_and(|schema| takes_text(schema, key)) {
        return Ok((key.to_owned(), Value::String(value.to_owned())));
    }
    // Numbers, booleans, null, lists and objects are taken as such; everything else is text.
    let looks = value
        .starts_with(['{', '[', '"', '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9'])
        || matches!(value, "true" | "false" | "null");
    let value = match json(value) {
        Ok(parsed) if looks => parsed,
        _ => Value::String(value.to_owned()),
    };
    Ok((key.to_owned(), value))
}

/// Whether a contract's input takes text under a key.
fn takes_text(schema: &Value, key: &str) -> bool {
    let property = schema.get("properties").and_then(|properties| properties.get(key));
    property.and_then(|property| property.get("type")) == Some(&Value::from("string"))
}
