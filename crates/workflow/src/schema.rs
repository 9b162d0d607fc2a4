//! JSON Schemas, compiled without network or file references, with patterns in linear time.

use std::fmt;
use std::sync::Arc;

use jsonschema::{Draft, PatternOptions, Validator};
use lictor_capability::SchemaFinding;
use serde_json::Value;

/// More findings than this help nobody.
const MAX_FINDINGS: usize = 8;
/// The most memory that one compiled pattern may take, in bytes.
const MAX_PATTERN: usize = 1 << 20;

#[derive(Clone)]
pub(crate) struct Schema {
    value: Value,
    validator: Arc<Validator>,
}

impl Schema {
    pub(crate) fn compile(value: Value) -> Result<Self, String> {
        let validator = jsonschema::options()
            .with_draft(Draft::Draft202012)
            .should_validate_formats(true)
            .with_pattern_options(
                PatternOptions::regex().size_limit(MAX_PATTERN).dfa_size_limit(MAX_PATTERN),
            )
            .offline()
            .build(&value)
            .map_err(|error| error.to_string())?;
        Ok(Self { value, validator: Arc::new(validator) })
    }

    pub(crate) fn value(&self) -> &Value {
        &self.value
    }

    pub(crate) fn check(&self, value: &Value) -> Result<(), Vec<SchemaFinding>> {
        if self.validator.is_valid(value) {
            return Ok(());
        }
        let errors = self.validator.iter_errors(value).take(MAX_FINDINGS);
        let finding = |error: jsonschema::ValidationError<'_>| SchemaFinding {
            at: error.instance_path().to_string(),
            problem: error.masked().to_string(),
        };
        Err(errors.map(finding).collect())
    }
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Schema({})", self.value)
    }
}
