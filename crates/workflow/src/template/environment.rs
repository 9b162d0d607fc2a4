//! The expression language: MiniJinja, strict, with fuel, without what reaches or grows too far.

use std::sync::OnceLock;

use minijinja::value::Value;
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior};

/// Most bytes of a text that is rendered or built by a filter.
pub(crate) const MAX_TEXT: usize = 8 << 20;
/// Most instructions of one expression.
const FUEL: u64 = 1_000_000;
const MAX_INDENT: usize = 256;

/// The filters that expressions may use.
pub(crate) const FILTERS: &[&str] = &[
    "abs",
    "attr",
    "bool",
    "capitalize",
    "count",
    "d",
    "default",
    "dictsort",
    "first",
    "float",
    "indent",
    "int",
    "items",
    "join",
    "last",
    "length",
    "lines",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "select",
    "selectattr",
    "sort",
    "split",
    "string",
    "sum",
    "title",
    "tojson",
    "trim",
    "unique",
    "upper",
];

/// Filters of MiniJinja that are not offered: they escape HTML, print internals, or make much out
/// of little.
const WITHHELD: &[&str] =
    &["batch", "chain", "e", "escape", "format", "groupby", "pprint", "safe", "slice", "zip"];

/// The tests that expressions may use.
pub(crate) const TESTS: &[&str] = &[
    "boolean",
    "defined",
    "divisibleby",
    "endingwith",
    "eq",
    "equalto",
    "even",
    "false",
    "float",
    "ge",
    "greaterthan",
    "gt",
    "in",
    "int",
    "integer",
    "iterable",
    "le",
    "lessthan",
    "lower",
    "lt",
    "mapping",
    "ne",
    "none",
    "number",
    "odd",
    "sameas",
    "sequence",
    "startingwith",
    "string",
    "true",
    "undefined",
    "upper",
];

/// The functions that expressions may call.
pub(crate) const FUNCTIONS: &[&str] = &["dict", "range"];

pub(crate) fn environment() -> &'static Environment<'static> {
    static ENVIRONMENT: OnceLock<Environment<'static>> = OnceLock::new();
    ENVIRONMENT.get_or_init(|| {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_fuel(Some(FUEL));
        for name in WITHHELD {
            environment.remove_filter(name);
        }
        environment.remove_global("debug");
        environment.remove_global("namespace");
        environment.add_filter("replace", replace);
        environment.add_filter("join", join);
        environment.add_filter("indent", indent);
        environment
    })
}

fn too_large() -> Error {
    Error::new(ErrorKind::InvalidOperation, "the text would be larger than 8 MiB")
}

fn within(n_bytes: usize) -> Result<(), Error> {
    if n_bytes <= MAX_TEXT { Ok(()) } else { Err(too_large()) }
}

fn replace(text: &str, from: &str, to: &str) -> Result<String, Error> {
    let n_matches = text.matches(from).count();
    within(n_matches.saturating_mul(to.len()).saturating_add(text.len()))?;
    Ok(text.replace(from, to))
}

fn join(items: &Value, separator: Option<&str>) -> Result<String, Error> {
    let mut text = String::new();
    for (idx, item) in items.try_iter()?.enumerate() {
        if item.is_undefined() {
            return Err(Error::from(ErrorKind::UndefinedError));
        }
        if idx > 0 {
            text.push_str(separator.unwrap_or_default());
        }
        match item.as_str() {
            Some(item) => text.push_str(item),
            None => text.push_str(&item.to_string()),
        }
        within(text.len())?;
    }
    Ok(text)
}

fn indent(
    text: &str,
    width: Option<usize>,
    first: Option<bool>,
    blank: Option<bool>,
) -> Result<String, Error> {
    let width = width.unwrap_or(4);
    if width > MAX_INDENT {
        return Err(Error::new(ErrorKind::InvalidOperation, "the indent is wider than 256"));
    }
    let margin = " ".repeat(width);
    let n_lines = text.split('\n').count();
    within(n_lines.saturating_mul(width).saturating_add(text.len()))?;
    let mut indented = String::with_capacity(text.len() + n_lines * width);
    for (idx, line) in text.split('\n').enumerate() {
        if idx > 0 {
            indented.push('\n');
        }
        let wanted = idx > 0 || first.unwrap_or(false);
        if wanted && (!line.is_empty() || blank.unwrap_or(false)) {
            indented.push_str(&margin);
        }
        indented.push_str(line);
    }
    Ok(indented)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_listed_exists_and_what_is_withheld_does_not() {
        let exists = |what: &str, name: &str| {
            let text = format!("'{name}' is {what}");
            let expression = environment().compile_expression_owned(text).unwrap();
            expression.eval(()).unwrap().is_true()
        };
        for name in FILTERS {
            assert!(exists("filter", name), "{name}");
        }
        for name in TESTS {
            assert!(exists("test", name), "{name}");
        }
        for name in WITHHELD {
            assert!(!exists("filter", name), "{name}");
        }
    }

    #[test]
    fn filters_do_not_grow_without_bound() {
        for text in [
            "('a' * 4000000)|replace('a', 'bbbb')",
            "range(10000)|join('x' * 10000)",
            "'a'|indent(100000)",
        ] {
            let expression = environment().compile_expression_owned(text).unwrap();
            assert!(expression.eval(()).is_err(), "{text}");
        }
    }
}
