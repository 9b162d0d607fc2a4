//! Templates: texts with MiniJinja expressions in them.

mod environment;
mod scan;
mod tree;

use std::collections::BTreeMap;
use std::fmt;

use minijinja::value::{Serde, Value as Any, ValueKind};
use minijinja::{Error, ErrorKind};
use serde_json::{Map, Number, Value};

use environment::{FILTERS, FUNCTIONS, MAX_TEXT, TESTS, environment};
pub(crate) use scan::Reference;
pub(crate) use tree::{Node, Problem, Tree};

/// Longer texts are not templates.
const MAX_SOURCE: usize = 256 << 10;
/// Longer expressions are not quoted in messages.
const MAX_SHOWN: usize = 120;
/// The deepest value that an expression may make.
const MAX_DEPTH: usize = 100;

/// A text with expressions in it.
///
/// A text that is exactly one `{{ expression }}` evaluates to the expression's value, of
/// whatever JSON type; any other text renders to text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    source: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Expression { source: String, references: Vec<Reference> },
}

/// A template could not be evaluated. It names what is missing, never a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TemplateError(pub(crate) String);

/// The values that templates see, made once per run and shared.
#[derive(Debug, Clone)]
pub(crate) struct Scope(Any);

impl Scope {
    pub(crate) fn new(entries: impl IntoIterator<Item = (&'static str, Any)>) -> Self {
        Self(Self::object(entries))
    }

    /// An object, as expressions see it.
    pub(crate) fn object<K: Into<String>>(entries: impl IntoIterator<Item = (K, Any)>) -> Any {
        let entries = entries.into_iter().map(|(name, value)| (name.into(), value));
        Any::from(entries.collect::<BTreeMap<String, Any>>())
    }

    /// A JSON value, as expressions see it.
    pub(crate) fn value(value: &Value) -> Any {
        Any::from(Serde(value))
    }
}

/// What a value with templates comes to, for somebody who has an `output` and nothing else: the input of
/// a contract's compensation. Keys are no templates, and a `{secret: NAME}` stays one.
///
/// # Errors
/// When a template in it is none, or names what is not there.
pub fn fill(value: &Value, output: &Value) -> Result<Value, TemplateError> {
    let scope = Scope::new([("output", Scope::value(output))]);
    filled(value, &scope)
}

fn filled(value: &Value, scope: &Scope) -> Result<Value, TemplateError> {
    Ok(match value {
        Value::String(text) => Template::parse(text)?.evaluate(scope)?,
        Value::Array(items) => {
            items.iter().map(|item| filled(item, scope)).collect::<Result<Value, _>>()?
        }
        Value::Object(fields) if fields.len() == 1 && fields.contains_key("secret") => {
            value.clone()
        }
        Value::Object(fields) => {
            let filled = fields.iter().map(|(key, item)| Ok((key.clone(), filled(item, scope)?)));
            Value::Object(filled.collect::<Result<_, _>>()?)
        }
        other => other.clone(),
    })
}

impl Template {
    /// Reads a text.
    ///
    /// # Errors
    /// When an expression in it is none, or uses a filter, test or function that does not exist.
    pub fn parse(source: &str) -> Result<Self, TemplateError> {
        if source.len() > MAX_SOURCE && source.contains("{{") {
            let n_kib = MAX_SOURCE >> 10;
            return Err(TemplateError(format!("a template of more than {n_kib} KiB is refused")));
        }
        let mut parts = Vec::new();
        let mut rest = source;
        let mut trim = false;
        loop {
            let open = rest.find("{{");
            let mut text = rest.get(..open.unwrap_or(rest.len())).unwrap_or_default();
            for mark in ["{%", "{#"] {
                if text.contains(mark) {
                    return Err(TemplateError(format!(
                        "`{mark}` is not accepted in a template, expressions `{{{{ … }}}}` are; \
                         write {{{{ \"{mark}\" }}}} where the characters themselves are meant"
                    )));
                }
            }
            if trim {
                text = text.trim_start();
            }
            let Some(open) = open else {
                push_text(&mut parts, text);
                break;
            };
            let mut inner = rest.get(open + 2..).unwrap_or_default();
            if let Some(tail) = inner.strip_prefix('-') {
                inner = tail;
                text = text.trim_end();
            }
            push_text(&mut parts, text);
            let Some(end) = scan::end_of_expression(inner) else {
                return Err(TemplateError("`{{` is never closed by `}}`".to_owned()));
            };
            parts.push(expression(inner.get(..end).unwrap_or_default().trim())?);
            rest = inner.get(end..).unwrap_or_default();
            trim = rest.starts_with('-');
            rest = rest.trim_start_matches(['-', '+']).strip_prefix("}}").unwrap_or_default();
        }
        Ok(Self { source: source.to_owned(), parts })
    }

    /// The text as it was written.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The text, when there is no expression in it.
    #[must_use]
    pub fn constant(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// Whether it is exactly one expression, and so may give a value of any type.
    #[must_use]
    pub fn is_expression(&self) -> bool {
        matches!(self.parts.as_slice(), [Part::Expression { .. }])
    }

    pub(crate) fn references(&self) -> impl Iterator<Item = &Reference> {
        self.parts.iter().flat_map(|part| match part {
            Part::Text(_) => [].as_slice(),
            Part::Expression { references, .. } => references.as_slice(),
        })
    }

    pub(crate) fn evaluate(&self, scope: &Scope) -> Result<Value, TemplateError> {
        if let [Part::Expression { source, references }] = self.parts.as_slice() {
            let value = evaluate(source, references, scope)?;
            return to_json(&value, 0).map_err(|problem| said(source, &problem));
        }
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(literal) => text.push_str(literal),
                Part::Expression { source, references } => {
                    let value = evaluate(source, references, scope)?;
                    // Undefined values inside lists are found by the conversion.
                    let json = to_json(&value, 0).map_err(|problem| said(source, &problem))?;
                    match json {
                        Value::String(value) => text.push_str(&value),
                        Value::Array(_) | Value::Object(_) => text.push_str(&json.to_string()),
                        _ => text.push_str(&value.to_string()),
                    }
                }
            }
            if text.len() > MAX_TEXT {
                return Err(TemplateError("the text is larger than 8 MiB".to_owned()));
            }
        }
        Ok(Value::String(text))
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

fn push_text(parts: &mut Vec<Part>, text: &str) {
    if !text.is_empty() {
        parts.push(Part::Text(text.to_owned()));
    }
}

fn expression(source: &str) -> Result<Part, TemplateError> {
    if let Err(error) = environment().compile_expression_owned(source.to_owned()) {
        let detail = error.detail().unwrap_or("it is not an expression").to_owned();
        return Err(said(source, &detail));
    }
    let scan = scan::scan(source);
    let unknown = |what: &str, names: &[String], known: &[&str]| {
        let name = names.iter().find(|name| !known.contains(&name.as_str()))?;
        let known = known.join(", ");
        Some(said(source, &format!("there is no {what} `{name}`; accepted here: {known}")))
    };
    let called: Vec<String> = scan
        .references
        .iter()
        .filter(|reference| reference.called)
        .map(|reference| reference.root.clone())
        .collect();
    let problem = unknown("filter", &scan.filters, FILTERS)
        .or_else(|| unknown("test", &scan.tests, TESTS))
        .or_else(|| unknown("function", &called, FUNCTIONS));
    match problem {
        Some(problem) => Err(problem),
        None => {
            let references = scan.references.into_iter().filter(|it| !it.called).collect();
            Ok(Part::Expression { source: source.to_owned(), references })
        }
    }
}

fn said(source: &str, problem: &str) -> TemplateError {
    // Whole, or not at all: a part of a secret is found by nobody.
    let n_chars = source.chars().count();
    TemplateError(if n_chars <= MAX_SHOWN {
        format!("`{{{{ {source} }}}}`: {problem}")
    } else {
        format!("an expression of {n_chars} characters: {problem}")
    })
}

fn evaluate(source: &str, references: &[Reference], scope: &Scope) -> Result<Any, TemplateError> {
    let value = environment()
        .compile_expression_owned(source.to_owned())
        .and_then(|expression| expression.eval(scope.0.clone()))
        .map_err(|error| said(source, &explain(&error, references, scope)))?;
    if value.is_undefined() {
        return Err(said(source, &missing(references, scope)));
    }
    Ok(value)
}

/// Why an evaluation failed; without MiniJinja's details where those would show values.
fn explain(error: &Error, references: &[Reference], scope: &Scope) -> String {
    match error.kind() {
        ErrorKind::UndefinedError => missing(references, scope),
        ErrorKind::OutOfFuel => "it takes too long".to_owned(),
        ErrorKind::UnknownMethod => "there is no such method; filters are accepted".to_owned(),
        kind => kind.to_string(),
    }
}

/// The first name that leads nowhere.
fn missing(references: &[Reference], scope: &Scope) -> String {
    for reference in references {
        let mut value = scope.0.get_attr(&reference.root).unwrap_or(Any::UNDEFINED);
        let mut walked = reference.root.clone();
        let mut within = None;
        for name in &reference.path {
            if value.is_undefined() {
                break;
            }
            within = value.is_none().then(|| walked.clone());
            value = value.get_attr(name).unwrap_or(Any::UNDEFINED);
            walked.push('.');
            walked.push_str(name);
        }
        if value.is_undefined() {
            return match within {
                Some(null) => format!("`{walked}` is missing: `{null}` is null"),
                None => format!("`{walked}` is missing"),
            };
        }
    }
    "something in it is missing".to_owned()
}

fn to_json(value: &Any, depth: usize) -> Result<Value, String> {
    if depth > MAX_DEPTH {
        return Err("the value is nested too deep".to_owned());
    }
    let elements = || value.try_iter().map_err(|error| error.kind().to_string());
    match value.kind() {
        ValueKind::Undefined => Err("a value in it is missing".to_owned()),
        ValueKind::None => Ok(Value::Null),
        ValueKind::Bool => Ok(Value::Bool(value.is_true())),
        ValueKind::Number if value.is_integer() => match i64::try_from(value.clone()) {
            Ok(number) => Ok(Value::Number(number.into())),
            Err(_) => Err("the integer does not fit 64 bits".to_owned()),
        },
        ValueKind::Number => {
            let number = f64::try_from(value.clone()).ok().and_then(Number::from_f64);
            number.map(Value::Number).ok_or_else(|| "the number is not finite".to_owned())
        }
        ValueKind::String => match value.as_str() {
            Some(text) => Ok(Value::String(text.to_owned())),
            None => Err("the text is none".to_owned()),
        },
        ValueKind::Seq | ValueKind::Iterable => {
            elements()?.map(|item| to_json(&item, depth + 1)).collect::<Result<_, _>>()
        }
        ValueKind::Map => {
            let mut map = Map::new();
            for key in elements()? {
                let Some(name) = key.as_str() else {
                    return Err("a key is not text".to_owned());
                };
                let item = value.get_item(&key).map_err(|error| error.kind().to_string())?;
                map.insert(name.to_owned(), to_json(&item, depth + 1)?);
            }
            Ok(Value::Object(map))
        }
        _ => Err("the value has no JSON form".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(template: &str, expect: Result<Value, &str>) {
        let input = Scope::value(&json!({
            "n": 1, "f": 1.0, "big": i64::MAX, "yes": true, "none": null, "text": "a\n", "list": [1, "b"],
            "map": {"k": {"deep": [null]}}, "content": "secret-canary"
        }));
        let scope = Scope::new([("input", input)]);
        let found = Template::parse(template).and_then(|template| template.evaluate(&scope));
        assert_eq!(found.map_err(|error| error.0), expect.map_err(str::to_owned), "{template}");
    }

    #[test]
    fn one_expression_keeps_its_type() {
        check("{{ input.n }}", Ok(json!(1)));
        check("{{input.f}}", Ok(json!(1.0)));
        check("{{ input.big }}", Ok(json!(i64::MAX)));
        check("{{- input.yes -}}", Ok(json!(true)));
        check("{{ input.none }}", Ok(json!(null)));
        check("{{ input.list }}", Ok(json!([1, "b"])));
        check("{{ input.map }}", Ok(json!({"k": {"deep": [null]}})));
        check("{{ {'a': {'b': input.n}} }}", Ok(json!({"a": {"b": 1}})));
        check("{{ input.list | map('string') | join('-') }}", Ok(json!("1-b")));
        check("{{ '}}' }}", Ok(json!("}}")));
        check("{{ -input.n }}", Ok(json!(-1)));
        check("{{ range(3) }}", Ok(json!([0, 1, 2])));
    }

    #[test]
    fn other_texts_render() {
        check("", Ok(json!("")));
        check("plain } text {", Ok(json!("plain } text {")));
        check(" {{ input.n }}", Ok(json!(" 1")));
        check("{{ input.n }}\n", Ok(json!("1\n")));
        check("{{ input.text }}{{ input.f }}", Ok(json!("a\n1.0")));
        check("a {{- input.n -}} b", Ok(json!("a1b")));
        check(
            "x: {{ input.list }} {{ input.map }}",
            Ok(json!(r#"x: [1,"b"] {"k":{"deep":[null]}}"#)),
        );
        check("{{ '{%' }} {{ '{{' }}", Ok(json!("{% {{")));
    }

    #[test]
    fn what_is_missing_is_named() {
        check("{{ input.x }}", Err("`{{ input.x }}`: `input.x` is missing"));
        check(
            "a {{ input.map.k.no.deeper }}",
            Err("`{{ input.map.k.no.deeper }}`: `input.map.k.no` is missing"),
        );
        check(
            "{{ input.none.x }}",
            Err("`{{ input.none.x }}`: `input.none.x` is missing: `input.none` is null"),
        );
        check(
            "{{ [input.n, input.x] }}",
            Err("`{{ [input.n, input.x] }}`: a value in it is missing"),
        );
        check("{{ input.x | default(2) }}", Ok(json!(2)));
    }

    #[test]
    fn what_is_no_expression_is_refused() {
        for template in ["{{ }}", "{{ a", "{{ a b }}", "{% if a %}", "{# a #}", "{{ 'a }}"] {
            assert!(Template::parse(template).is_err(), "{template}");
        }
        check(
            "{{ input.n | uper }}",
            Err(&format!(
                "`{{{{ input.n | uper }}}}`: there is no filter `uper`; accepted here: {}",
                FILTERS.join(", ")
            )),
        );
        for template in ["{{ input is weird }}", "{{ debug() }}", "{{ input.n | safe }}"] {
            assert!(Template::parse(template).is_err(), "{template}");
        }
    }

    #[test]
    fn an_expression_does_not_run_for_ever_or_print_values() {
        let long =
            format!("{{{{ range(99999) | map('string') | list | length {} }}}}", "+ 1".repeat(9));
        check(&long, Ok(json!(99999 + 9)));
        check("{{ 10 ** 40 }}", Err("`{{ 10 ** 40 }}`: invalid operation"));
        for template in
            ["{{ input.content + 1 }}", "{{ input.content | int }}", "{{ input.content.x.y }}"]
        {
            let scope = Scope::new([("input", Scope::value(&json!({"content": "secret-canary"})))]);
            let error = Template::parse(template).and_then(|it| it.evaluate(&scope)).unwrap_err();
            assert!(!error.to_string().contains("canary"), "{error}");
        }
    }
}
