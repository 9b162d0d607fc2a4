//! `yaml.parse`.

use lictor_capability::{Effects, WorkspaceView};
use lictor_document::{DocumentErrorKind as Kind, Limits, Source, StrictValue, from_yaml};
use lictor_executor::HandlerError;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::json;
use crate::skill::{Skill, parse};

#[derive(Deserialize)]
struct Input<'a> {
    text: &'a str,
}

pub(crate) struct Parse;

impl Skill for Parse {
    fn output(
        &self,
        input: &Value,
        _: &Effects,
        _: &dyn WorkspaceView,
    ) -> Result<Value, HandlerError> {
        let Input { text } = parse(input)?;
        let source = Source::new("text", text.as_bytes());
        let value = from_yaml::<StrictValue>(&source, &Limits::default())
            .map_err(|error| json::refused("YAML", &error, problem(error.kind())))?;
        Ok(json!({ "value": value.into_inner() }))
    }
}

fn problem(kind: Kind) -> &'static str {
    match kind {
        Kind::AliasBudget => "its aliases copy too much",
        Kind::Alias => "an alias without its anchor, or inside of it",
        Kind::SeveralDocuments => "more than one document; one is accepted",
        Kind::KeyNotText => "a key that is not text; write it in quotes",
        Kind::MergeKey => "a merge key (`<<`); write the keys out",
        Kind::Tag => "a tag outside of the core schema, or one that does not fit its value",
        Kind::Directive => "a directive (`%`); none is accepted",
        Kind::Ambiguous => {
            "text that YAML versions read in different ways; write it in quotes, or as `true`, \
             `false` or a plain number"
        }
        Kind::Syntax => "a syntax error; YAML 1.2 with spaces for indentation is accepted",
        other => json::problem(other),
    }
}
