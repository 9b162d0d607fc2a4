//! `text.render`: MiniJinja, fenced in.
//!
//! Fuel bounds how many steps a template takes, not how much one step makes: twenty times
//! `set x = x ~ x` is a gigabyte. So [`scan`] refuses what could make a value grow from step to
//! step, and [`filters`] are our own choice, the growing ones with a bound.

mod filters;
mod scan;

use lictor_capability::{Effects, WorkspaceView};
use lictor_executor::HandlerError;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::bounded::Bounded;
use crate::skill::{Skill, parse};

/// The most bytes of a template.
const MAX_TEMPLATE: usize = 64 << 10;
/// The most bytes of the variables' JSON.
const MAX_VARIABLES: usize = 256 << 10;
/// The most bytes of a text, and of what a filter makes.
const MAX_TEXT: usize = 1 << 20;
/// The most steps.
const FUEL: u64 = 50_000;

#[derive(Deserialize)]
struct Input<'a> {
    template: &'a str,
    variables: Map<String, Value>,
}

pub(crate) struct Render;

impl Skill for Render {
    fn output(
        &self,
        input: &Value,
        _: &Effects,
        _: &dyn WorkspaceView,
    ) -> Result<Value, HandlerError> {
        let Input { template, variables } = parse(input)?;
        Ok(json!({ "text": render(template, &variables)? }))
    }
}

pub(crate) fn render(
    template: &str,
    variables: &Map<String, Value>,
) -> Result<String, HandlerError> {
    if template.len() > MAX_TEMPLATE {
        let message = format!("`template` is longer than {MAX_TEMPLATE} bytes");
        return Err(HandlerError::input(message));
    }
    if serde_json::to_writer(Bounded::new(MAX_VARIABLES), variables).is_err() {
        let message = format!("`variables` are more than {MAX_VARIABLES} bytes of JSON");
        return Err(HandlerError::input(message));
    }
    scan::check(template).map_err(|refusal| {
        let message = format!("template, line {}: {}", refusal.line, refusal.reason);
        HandlerError::input(message)
    })?;
    let environment = environment();
    let compiled = environment
        .template_from_named_str("template", template)
        .map_err(|error| explain(&error, &[]))?;
    let mut out = Bounded::new(MAX_TEXT);
    let context = minijinja::Value::from(Serde(variables));
    let rendered = compiled.render_captured_to(context, &mut out).map(drop);
    if out.overflowed() {
        return Err(HandlerError::failed(format!("the text would hold more than {MAX_TEXT} bytes")));
    }
    rendered.map_err(|error| {
        let mut missing: Vec<String> = compiled
            .undeclared_variables(false)
            .into_iter()
            .filter(|name| !variables.contains_key(name) && name != "range")
            .collect();
        missing.sort();
        explain(&error, &missing)
    })?;
    Ok(out.into_text())
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::empty();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    // The newline at the end of a template belongs to the text. These delimiters are the default
    // ones, so there is nothing that building them could refuse.
    if let Ok(syntax) = SyntaxConfig::builder().keep_trailing_newline(true).build() {
        environment.set_syntax(syntax);
    }
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(64);
    filters::add_to(&mut environment);
    environment
}

/// What is wrong, and in which line. Details are passed on where they name parts of the template;
/// others could quote a variable's value.
fn explain(error: &Error, missing: &[String]) -> HandlerError {
    let reason = match (error.kind(), error.detail()) {
        (ErrorKind::OutOfFuel, _) => "it takes too many steps".to_owned(),
        (ErrorKind::UndefinedError, _) if !missing.is_empty() => {
            format!("a value is undefined; not among the variables: {}", missing.join(", "))
        }
        (
            kind @ (ErrorKind::SyntaxError
            | ErrorKind::UnknownFilter
            | ErrorKind::UnknownTest
            | ErrorKind::UnknownFunction),
            Some(detail),
        ) => format!("{kind}: {detail}"),
        (kind, _) => match filters::refusal(error) {
            Some(refusal) => refusal.to_owned(),
            None => kind.to_string(),
        },
    };
    match error.line() {
        Some(line) => HandlerError::input(format!("template, line {line}: {reason}")),
        None => HandlerError::input(format!("template: {reason}")),
    }
}
