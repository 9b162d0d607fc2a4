//! `csv.parse`.

use std::collections::BTreeSet;

use csv::{ErrorKind, ReaderBuilder, StringRecord};
use lictor_capability::{Effects, WorkspaceView};
use lictor_executor::HandlerError;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::skill::{Skill, parse};

/// The most bytes of a text.
const MAX_TEXT: usize = 1 << 20;
/// The most fields that are answered.
const MAX_FIELDS: usize = 200_000;

#[derive(Deserialize)]
struct Input<'a> {
    text: &'a str,
    delimiter: Option<&'a str>,
    header: Option<bool>,
}

pub(crate) struct Parse;

impl Skill for Parse {
    fn output(
        &self,
        input: &Value,
        _: &Effects,
        _: &dyn WorkspaceView,
    ) -> Result<Value, HandlerError> {
        let Input { text, delimiter, header } = parse(input)?;
        if text.len() > MAX_TEXT {
            return Err(HandlerError::input(format!("`text` is longer than {MAX_TEXT} bytes")));
        }
        if text.starts_with('\u{feff}') {
            return Err(HandlerError::input("`text` starts with a byte-order mark; take it away"));
        }
        let delimiter = match delimiter.unwrap_or(",").as_bytes() {
            [one] if !matches!(one, b'"' | b'\r' | b'\n') && one.is_ascii() => *one,
            _ => {
                return Err(HandlerError::input(
                    "`delimiter` is not accepted; one ASCII character but quotes and line ends is",
                ));
            }
        };
        rows(text, delimiter, header.unwrap_or(true))
    }
}

fn rows(text: &str, delimiter: u8, header: bool) -> Result<Value, HandlerError> {
    let mut reader =
        ReaderBuilder::new().delimiter(delimiter).has_headers(header).from_reader(text.as_bytes());
    let columns = if header {
        let columns = reader.headers().map_err(|error| refused(&error))?.clone();
        Some(named(columns)?)
    } else {
        None
    };
    let (mut rows, mut fields) = (Vec::new(), 0_usize);
    for record in reader.into_records() {
        let record = record.map_err(|error| refused(&error))?;
        fields += record.len();
        if fields > MAX_FIELDS {
            return Err(HandlerError::input(format!(
                "`text` holds more than {MAX_FIELDS} fields; take parts of it"
            )));
        }
        rows.push(match &columns {
            None => record.iter().map(Value::from).collect(),
            Some(columns) => {
                let pairs = columns.iter().zip(record.iter());
                let row: Map<String, Value> =
                    pairs.map(|(name, field)| (name.to_owned(), Value::from(field))).collect();
                Value::Object(row)
            }
        });
    }
    let columns: Option<Vec<String>> =
        columns.map(|columns| columns.iter().map(str::to_owned).collect());
    Ok(json!({ "columns": columns, "rows": rows }))
}

/// Rows become objects, and so each column needs a name of its own.
fn named(columns: StringRecord) -> Result<StringRecord, HandlerError> {
    let mut seen = BTreeSet::new();
    for (index, name) in columns.iter().enumerate() {
        if !seen.insert(name) {
            return Err(HandlerError::input(format!(
                "column {} of the first line has the name of another column; names that differ are \
                 accepted, or `header: false`",
                index + 1
            )));
        }
    }
    Ok(columns)
}

/// Where it is wrong, without the fields that stand there.
fn refused(error: &csv::Error) -> HandlerError {
    let line = error.position().map_or(0, csv::Position::line);
    HandlerError::input(match error.kind() {
        ErrorKind::UnequalLengths { expected_len, len, .. } => format!(
            "the row at line {line} has {len} fields, and the first line has {expected_len}; rows \
             of one length are accepted"
        ),
        _ => format!("`text` is not CSV (RFC 4180) at line {line}"),
    })
}
