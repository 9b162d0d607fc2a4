//! What goes wrong on the way to the caller's types, in the words of documents.

use std::fmt;

use serde::de::{self, Expected, Unexpected};

use crate::error::{DocumentErrorKind as Kind, Fault};
use crate::text::{At, accepted, shown};

/// What went wrong, and where as soon as that is known.
#[derive(Debug)]
pub(crate) struct Failure {
    at: Option<At>,
    kind: Kind,
    message: String,
}

impl Failure {
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { at: None, kind, message: message.into() }
    }

    /// The innermost place wins.
    pub(crate) fn or_at(mut self, at: At) -> Self {
        self.at.get_or_insert(at);
        self
    }

    pub(crate) fn into_fault(self, root: At) -> Fault {
        Fault::new(self.at.unwrap_or(root), self.kind, self.message)
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self { at: Some(fault.at), kind: fault.kind, message: fault.message }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl de::Error for Failure {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(Kind::InvalidValue, message.to_string())
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let message = format!(
            "found {}; accepted here: {}",
            found_name(&found),
            expected_name(&expected.to_string())
        );
        Self::new(Kind::InvalidType, message)
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self { kind: Kind::InvalidValue, ..Self::invalid_type(found, expected) }
    }

    fn invalid_length(n_items: usize, expected: &dyn Expected) -> Self {
        let message = format!("found {n_items} items; accepted here: {expected}");
        Self::new(Kind::InvalidValue, message)
    }

    fn unknown_variant(variant: &str, known: &'static [&'static str]) -> Self {
        let message = format!("unknown value {}; {}", shown(variant), accepted(variant, known));
        Self::new(Kind::UnknownValue, message)
    }

    fn unknown_field(field: &str, known: &'static [&'static str]) -> Self {
        let message = format!("unknown key {}; {}", shown(field), accepted(field, known));
        Self::new(Kind::UnknownKey, message)
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(Kind::MissingKey, format!("missing key `{field}`"))
    }

    fn duplicate_field(field: &'static str) -> Self {
        // The parsers refuse repeated keys; what is left are two names of one field.
        let message = format!("duplicate key `{field}`, under another of its names");
        Self::new(Kind::DuplicateKey, message)
    }
}

pub(crate) fn found_name(found: &Unexpected<'_>) -> String {
    match found {
        Unexpected::Bool(value) => format!("`{value}`"),
        Unexpected::Unsigned(value) => format!("the number `{value}`"),
        Unexpected::Signed(value) => format!("the number `{value}`"),
        Unexpected::Float(value) => format!("the number `{value:?}`"),
        Unexpected::Char(value) => format!("the text {}", shown(&value.to_string())),
        Unexpected::Str(value) => format!("the text {}", shown(value)),
        Unexpected::Unit | Unexpected::Option => String::from("nothing (null)"),
        Unexpected::Seq => String::from("a list"),
        Unexpected::Map => String::from("a mapping"),
        other => other.to_string(),
    }
}

/// Serde names Rust types; people write documents.
fn expected_name(expected: &str) -> String {
    let name = match expected {
        "i8" => "a whole number from -128 to 127",
        "i16" => "a whole number from -32768 to 32767",
        "i32" => "a whole number from -2147483648 to 2147483647",
        "i64" | "i128" | "isize" => "a whole number",
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "u64" | "u128" | "usize" => "a whole number of at least 0",
        "f32" | "f64" => "a number",
        "a boolean" => "true, false",
        "a string" | "a borrowed string" => "text",
        "a sequence" => "a list",
        "a map" => "a mapping",
        "unit" => "nothing (null)",
        other if other.starts_with("struct ") => "a mapping",
        other if other.starts_with("enum ") => "a name, or a mapping with one key",
        other => other,
    };
    name.to_owned()
}
