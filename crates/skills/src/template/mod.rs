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
        return Err(HandlerError::failed(format!(
            "the text would hold more than {MAX_TEXT} bytes"
        )));
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::render;

    #[track_caller]
    fn refused(template: &str, variables: &Value) -> String {
        let variables = variables.as_object().unwrap();
        render(template, variables).expect_err(template).to_string()
    }

    #[test]
    fn no_template_grows_beyond_its_bounds() {
        let long = "a".repeat(200_000);
        let variables =
            json!({ "s": long, "quotes": "\"".repeat(200_000), "list": vec![&long; 1] });
        for template in [
            "{{ (s ~ s ~ s ~ s ~ s ~ s ~ s ~ s)|upper ~ s }}",
            "{{ [s, s, s, s, s, s, s, s]|join }}",
            "{{ quotes|tojson|tojson|tojson|tojson|tojson }}",
            "{{ s|replace('a', s) }}",
            "{{ s|replace('', s) }}",
            "{{ quotes|e }}",
            "{{ s|split('')|join(s) }}",
            "{{ s|split('')|join('\n')|indent(64) }}",
            "{{ [[s, s, s], [s, s, s], [s, s, s]]|string }}",
            "{{ s|indent(65) }}",
            "{{ range(10001) }}",
            "{{ range(0, 9223372036854775807, 1) }}",
            "{{ range(-9223372036854775807, 9223372036854775807, 1) }}",
            "{{ range(10)|map('string') }}",
            "{{ s|times(1000) }}",
            "{{ list|times(1000) }}",
        ] {
            let error = refused(template, &variables);
            assert!(error.len() < 200, "{template}: {error}");
        }
    }

    #[test]
    fn inputs_are_bounded() {
        let error = refused(&"a".repeat((64 << 10) + 1), &json!({}));
        assert!(error.contains("longer than 65536 bytes"), "{error}");
        let error = refused("", &json!({ "a": "a".repeat(256 << 10) }));
        assert!(error.contains("more than 262144 bytes"), "{error}");
    }

    #[test]
    fn arithmetic() {
        let variables = json!({ "a": 3, "b": 1.5, "big": i64::MAX });
        let text = render(
            "{{ a|times(2) }} {{ a|times(b) }} {{ big|times(big) > 8.5e37 }} {{ range(1, 9, 3) }} {{ range(3, 1) }}",
            variables.as_object().unwrap(),
        );
        assert_eq!(text.unwrap(), "6 4.5 True [1, 4, 7] []");
    }

    #[test]
    fn the_escape_filter_is_for_html_and_nothing_else_escapes() {
        let variables = json!({ "a": "<a href=\"x\">'&'" });
        let text = render("{{ a }} {{ a|e }}", variables.as_object().unwrap()).unwrap();
        let expected = "<a href=\"x\">'&' &lt;a href=&quot;x&quot;&gt;&#x27;&amp;&#x27;";
        assert_eq!(text, expected);
    }

    #[test]
    fn work_that_fuel_does_not_see_is_bounded() {
        let variables = json!({ "s": "a".repeat(200_000) });
        for work in
            ["s|split('')", "range(9999)|sort", "s|upper|lower|title|trim", "(s ~ s)|length"]
        {
            let template =
                format!("{{% for i in range(9999) %}}{{% if {work} %}}{{% endif %}}{{% endfor %}}");
            let error = refused(&template, &variables);
            assert!(error.contains("too much to do"), "{work}: {error}");
        }
    }
}
