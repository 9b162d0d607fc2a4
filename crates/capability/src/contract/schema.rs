//! JSON Schemas: compiled once, without network or file references, with patterns in linear time.

use std::fmt;
use std::sync::OnceLock;

use jsonschema::{Draft, PatternOptions, Validator};
use lictor_document::{Located, StrictValue};
use serde::Serialize;
use serde_json::Value;

/// More findings than this help nobody.
const MAX_FINDINGS: usize = 8;
/// The most memory that one compiled pattern may take, in bytes.
const MAX_PATTERN: usize = 1 << 20;

/// Which schema of a contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SchemaSide {
    /// Of the input.
    Input,
    /// Of the output.
    Output,
}

impl fmt::Display for SchemaSide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Input => "input",
            Self::Output => "output",
        })
    }
}

/// Something that does not fit a schema.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SchemaFinding {
    /// Where in the value, as a JSON pointer.
    pub at: String,
    /// What does not fit. Values are masked: an input may hold a secret.
    pub problem: String,
}

impl fmt::Display for SchemaFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = if self.at.is_empty() { "/" } else { &self.at };
        write!(f, "{at}: {}", self.problem)
    }
}

#[derive(Clone)]
pub(super) struct Schema {
    pub(super) value: Value,
    pub(super) place: (u32, u32),
    compiled: OnceLock<Result<Validator, String>>,
}

impl Schema {
    pub(super) fn new(located: Located<StrictValue>) -> Self {
        let place = (located.line, located.column);
        Self { value: located.value.into_inner(), place, compiled: OnceLock::new() }
    }

    pub(super) fn compile(&self) -> Result<&Validator, String> {
        let compiled = self.compiled.get_or_init(|| {
            jsonschema::options()
                .with_draft(Draft::Draft202012)
                .should_validate_formats(true)
                .with_pattern_options(
                    PatternOptions::regex().size_limit(MAX_PATTERN).dfa_size_limit(MAX_PATTERN),
                )
                .offline()
                .build(&self.value)
                .map_err(|error| error.to_string())
        });
        compiled.as_ref().map_err(Clone::clone)
    }

    pub(super) fn check(&self, value: &Value) -> Result<(), Vec<SchemaFinding>> {
        let finding = |at: String, problem: String| SchemaFinding { at, problem };
        let validator = self.compile().map_err(|problem| vec![finding(String::new(), problem)])?;
        if validator.is_valid(value) {
            return Ok(());
        }
        let findings = validator
            .iter_errors(value)
            .take(MAX_FINDINGS)
            .map(|error| finding(error.instance_path().to_string(), error.masked().to_string()));
        Err(findings.collect())
    }
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Schema({})", self.value)
    }
}
