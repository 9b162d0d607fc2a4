//! The filters, tests and functions that templates have here.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use minijinja::value::{Kwargs, Rest, Value, ValueKind, ValueOrKwargs};
use minijinja::{Environment, Error, ErrorKind, State, filters, tests};
use serde::Serialize as _;

use super::MAX_TEXT;
use crate::bounded::Bounded;

/// The most elements of a `range`.
const MAX_RANGE: u64 = 10_000;
/// The widest `indent`.
const MAX_INDENT: usize = 64;
/// The most work of all filters of one text: bytes that go in or come out, and an element of a
/// list for [`ELEMENT`] of them. Fuel counts a filter as one step, whatever it is given.
const MAX_WORK: u64 = 64 << 20;
const ELEMENT: u64 = 32;

const TOO_LONG: &str = "a filter's result is too long; 1 MiB is the most";
const TOO_WIDE: &str = "`indent` takes 64 at most";
const NO_ATTRIBUTE: &str = "`map` takes `attribute` here, and nothing else";
const TOO_MANY: &str = "`range` has 10000 elements at most, and a step of 1 or more";
const NO_NUMBERS: &str = "`times` multiplies numbers";
const TOO_MUCH: &str = "the filters have too much to do";
const REFUSALS: [&str; 6] = [TOO_LONG, TOO_WIDE, NO_ATTRIBUTE, TOO_MANY, NO_NUMBERS, TOO_MUCH];

pub(super) fn add_to(environment: &mut Environment<'_>) {
    let work = Arc::new(AtomicU64::new(0));
    let mut add = |name: &'static str, filter: Value| {
        let work = Arc::clone(&work);
        let metered = move |state: &mut State<'_, '_>, arguments: Rest<ValueOrKwargs>| {
            let arguments = arguments.into_values();
            charge(&work, &arguments)?;
            let made = filter.call(state, &arguments)?;
            charge(&work, [&made])?;
            Ok::<Value, Error>(made)
        };
        environment.add_filter(name, metered);
    };
    add("abs", Value::from_function(filters::abs));
    add("attr", Value::from_function(filters::attr));
    add("bool", Value::from_function(filters::bool));
    add("capitalize", Value::from_function(filters::capitalize));
    add("d", Value::from_function(filters::default));
    add("default", Value::from_function(filters::default));
    add("dictsort", Value::from_function(filters::dictsort));
    add("e", Value::from_function(escape));
    add("escape", Value::from_function(escape));
    add("first", Value::from_function(filters::first));
    add("float", Value::from_function(filters::float));
    add("groupby", Value::from_function(filters::groupby));
    add("indent", Value::from_function(indent));
    add("int", Value::from_function(filters::int));
    add("items", Value::from_function(filters::items));
    add("join", Value::from_function(join));
    add("last", Value::from_function(filters::last));
    add("length", Value::from_function(filters::length));
    add("lines", Value::from_function(filters::lines));
    add("list", Value::from_function(filters::list));
    add("lower", Value::from_function(filters::lower));
    add("map", Value::from_function(map));
    add("max", Value::from_function(filters::max));
    add("min", Value::from_function(filters::min));
    add("reject", Value::from_function(filters::reject));
    add("rejectattr", Value::from_function(filters::rejectattr));
    add("replace", Value::from_function(replace));
    add("reverse", Value::from_function(filters::reverse));
    add("round", Value::from_function(filters::round));
    add("select", Value::from_function(filters::select));
    add("selectattr", Value::from_function(filters::selectattr));
    add("sort", Value::from_function(filters::sort));
    add("split", Value::from_function(filters::split));
    add("string", Value::from_function(string));
    add("times", Value::from_function(times));
    add("title", Value::from_function(filters::title));
    add("tojson", Value::from_function(tojson));
    add("trim", Value::from_function(filters::trim));
    add("unique", Value::from_function(filters::unique));
    add("upper", Value::from_function(filters::upper));

    environment.add_function("range", range);

    environment.add_test("boolean", tests::is_boolean);
    environment.add_test("defined", tests::is_defined);
    environment.add_test("divisibleby", tests::is_divisibleby);
    environment.add_test("endingwith", tests::is_endingwith);
    environment.add_test("eq", tests::is_eq);
    environment.add_test("equalto", tests::is_eq);
    environment.add_test("even", tests::is_even);
    environment.add_test("false", tests::is_false);
    environment.add_test("float", tests::is_float);
    environment.add_test("ge", tests::is_ge);
    environment.add_test("gt", tests::is_gt);
    environment.add_test("in", tests::is_in);
    environment.add_test("integer", tests::is_integer);
    environment.add_test("iterable", tests::is_iterable);
    environment.add_test("le", tests::is_le);
    environment.add_test("lt", tests::is_lt);
    environment.add_test("mapping", tests::is_mapping);
    environment.add_test("ne", tests::is_ne);
    environment.add_test("none", tests::is_none);
    environment.add_test("number", tests::is_number);
    environment.add_test("odd", tests::is_odd);
    environment.add_test("sequence", tests::is_sequence);
    environment.add_test("startingwith", tests::is_startingwith);
    environment.add_test("string", tests::is_string);
    environment.add_test("true", tests::is_true);
    environment.add_test("undefined", tests::is_undefined);
}

/// The message, if the error is one of ours; ours quote no values.
pub(super) fn refusal(error: &Error) -> Option<&'static str> {
    REFUSALS.into_iter().find(|refusal| error.detail() == Some(refusal))
}

fn charge<'v>(work: &AtomicU64, values: impl IntoIterator<Item = &'v Value>) -> Result<(), Error> {
    let weight = |value: &Value| match (value.as_str(), value.len()) {
        (Some(text), _) => text.len() as u64,
        (None, Some(length)) => ELEMENT * length as u64,
        (None, None) => 1,
    };
    let more = values.into_iter().map(weight).sum::<u64>();
    let before = work.fetch_add(more, Ordering::Relaxed);
    if before.saturating_add(more) > MAX_WORK { Err(refuse(TOO_MUCH)) } else { Ok(()) }
}

fn refuse(why: &'static str) -> Error {
    Error::new(ErrorKind::InvalidOperation, why)
}

fn written<E>(out: Bounded, outcome: Result<(), E>) -> Result<String, Error> {
    match outcome {
        Ok(()) => Ok(out.into_text()),
        Err(_) => Err(refuse(TOO_LONG)),
    }
}

fn string(value: &Value) -> Result<String, Error> {
    let mut out = Bounded::new(MAX_TEXT);
    let outcome = write!(out, "{value}");
    written(out, outcome)
}

/// For HTML and XML.
fn escape(value: &Value) -> Result<String, Error> {
    let text = string(value)?;
    let mut out = Bounded::new(MAX_TEXT);
    let outcome = text.chars().try_for_each(|c| match c {
        '&' => out.write_str("&amp;"),
        '<' => out.write_str("&lt;"),
        '>' => out.write_str("&gt;"),
        '"' => out.write_str("&quot;"),
        '\'' => out.write_str("&#x27;"),
        other => out.write_char(other),
    });
    written(out, outcome)
}

/// Plain JSON: nothing is escaped for HTML, because nothing here is HTML.
fn tojson(value: &Value, indent: Option<bool>) -> Result<String, Error> {
    let mut out = Bounded::new(MAX_TEXT);
    let outcome = if indent.unwrap_or(false) {
        value.serialize(&mut serde_json::Serializer::pretty(&mut out))
    } else {
        value.serialize(&mut serde_json::Serializer::new(&mut out))
    };
    written(out, outcome)
}

fn join(value: &Value, separator: Option<Cow<'_, str>>) -> Result<String, Error> {
    let separator = separator.unwrap_or_default();
    let mut out = Bounded::new(MAX_TEXT);
    for (index, item) in value.try_iter()?.enumerate() {
        let outcome = match index {
            0 => write!(out, "{item}"),
            _ => write!(out, "{separator}{item}"),
        };
        outcome.map_err(|_| refuse(TOO_LONG))?;
    }
    written(out, Ok::<(), Error>(()))
}

fn replace(value: Cow<'_, str>, from: Cow<'_, str>, to: Cow<'_, str>) -> Result<String, Error> {
    let found = value.matches(&*from).count();
    match found.checked_mul(to.len()).and_then(|more| more.checked_add(value.len())) {
        Some(most) if most <= MAX_TEXT => Ok(value.replace(&*from, &to)),
        _ => Err(refuse(TOO_LONG)),
    }
}

/// Indents every line but the first; empty lines stay empty.
fn indent(value: Cow<'_, str>, width: Option<usize>, first: Option<bool>) -> Result<String, Error> {
    let width = width.unwrap_or(4);
    if width > MAX_INDENT {
        return Err(refuse(TOO_WIDE));
    }
    let mut out = Bounded::new(MAX_TEXT);
    for (index, line) in value.split_inclusive('\n').enumerate() {
        let blank = line.trim_end_matches(['\n', '\r']).is_empty();
        let width = if blank || (index == 0 && !first.unwrap_or(false)) { 0 } else { width };
        write!(out, "{:width$}{line}", "").map_err(|_| refuse(TOO_LONG))?;
    }
    written(out, Ok::<(), Error>(()))
}

/// An attribute of every element. To map by a filter would make many texts out of one.
fn map(value: &Value, kwargs: Kwargs) -> Result<Vec<Value>, Error> {
    let attribute: &str = kwargs.get("attribute").map_err(|_| refuse(NO_ATTRIBUTE))?;
    kwargs.assert_all_used().map_err(|_| refuse(NO_ATTRIBUTE))?;
    let pick = |item: Value| attribute.split('.').try_fold(item, |item, name| item.get_attr(name));
    value.try_iter()?.map(pick).collect()
}

fn times(left: Value, right: Value) -> Result<Value, Error> {
    if left.kind() != ValueKind::Number || right.kind() != ValueKind::Number {
        return Err(refuse(NO_NUMBERS));
    }
    if left.is_integer()
        && right.is_integer()
        && let (Ok(left), Ok(right)) = (i64::try_from(left.clone()), i64::try_from(right.clone()))
        && let Some(product) = left.checked_mul(right)
    {
        return Ok(Value::from(product));
    }
    Ok(Value::from(f64::try_from(left)? * f64::try_from(right)?))
}

fn range(lower: i64, upper: Option<i64>, step: Option<i64>) -> Result<Vec<i64>, Error> {
    let (lower, upper) = upper.map_or((0, lower), |upper| (lower, upper));
    let step = usize::try_from(step.unwrap_or(1)).ok().filter(|step| *step > 0);
    match step {
        Some(step) if upper <= lower || upper.abs_diff(lower) / (step as u64) <= MAX_RANGE => {
            Ok((lower..upper).step_by(step).collect())
        }
        _ => Err(refuse(TOO_MANY)),
    }
}
