//! A verb that did not do what it was asked to.

use lictor::document::{DocumentError, DocumentErrorKind};
use std::ops::{Deref, DerefMut};

use lictor::{ActError, ErrorCode, OpenError};
use serde_json::{Map, Value, json};

/// Why, behind a pointer: results are passed around a lot more often than they fail.
#[derive(Debug)]
pub(crate) struct Failure(Box<Why>);

/// Why, as a person and as a program are told.
#[derive(Debug)]
pub(crate) struct Why {
    pub(crate) code: ErrorCode,
    pub(crate) message: String,
    pub(crate) details: Value,
    pub(crate) next_steps: Vec<String>,
    /// Whatever else is known: `execution_id`, `decision`, …
    pub(crate) known: Map<String, Value>,
    /// What the trail is told instead of the message, where that would quote what was given.
    recorded: Option<String>,
}

impl Failure {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self(Box::new(Why {
            code,
            message: message.into(),
            details: json!({}),
            next_steps: Vec::new(),
            known: Map::new(),
            recorded: None,
        }))
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Usage, message)
    }

    pub(crate) fn input(message: impl std::fmt::Display) -> Self {
        Self::new(ErrorCode::InvalidInput, message.to_string())
    }

    pub(crate) fn failed(message: impl std::fmt::Display) -> Self {
        Self::new(ErrorCode::Failed, message.to_string())
    }

    pub(crate) fn not_found(message: impl std::fmt::Display) -> Self {
        Self::new(ErrorCode::NotFound, message.to_string())
    }

    pub(crate) fn with_details(mut self, details: Value) -> Self {
        self.details = details;
        self
    }

    pub(crate) fn with_code(mut self, code: ErrorCode) -> Self {
        self.code = code;
        self
    }

    pub(crate) fn with_step(mut self, step: impl Into<String>) -> Self {
        self.next_steps.push(step.into());
        self
    }

    /// A document that is refused: a person sees the place, the trail only hears of it.
    pub(crate) fn document(error: &DocumentError) -> Self {
        let quotes = matches!(
            error.kind(),
            DocumentErrorKind::Syntax
                | DocumentErrorKind::Truncated
                | DocumentErrorKind::TrailingData
                | DocumentErrorKind::InvalidType
        );
        let failure = Self::input(error).with_details(json!({ "at": error }));
        if !quotes {
            return failure;
        }
        let (file, line, column) = (error.file(), error.line(), error.column());
        failure.recorded_as(format!("{file}:{line}:{column}: the document is malformed"))
    }

    /// Tells the trail something else than the person.
    pub(crate) fn recorded_as(mut self, text: impl Into<String>) -> Self {
        self.recorded = Some(text.into());
        self
    }

    /// What the trail is told: never the lines of a document that a message shows.
    pub(crate) fn recorded(&self) -> &str {
        self.recorded.as_deref().or_else(|| self.message.lines().next()).unwrap_or_default()
    }

    pub(crate) fn to_json(&self) -> Value {
        let error = json!({
            "code": self.code.as_str(), "message": self.message, "details": self.details,
            "next_steps": self.next_steps,
        });
        let mut object = self.known.clone();
        object.insert("error".to_owned(), error);
        Value::Object(object)
    }
}

impl Deref for Failure {
    type Target = Why;

    fn deref(&self) -> &Why {
        &self.0
    }
}

impl DerefMut for Failure {
    fn deref_mut(&mut self) -> &mut Why {
        &mut self.0
    }
}

impl From<ActError> for Failure {
    fn from(error: ActError) -> Self {
        Self(Box::new(Why {
            code: error.code(),
            message: error.to_string(),
            details: error.details(),
            next_steps: error.next_steps(),
            known: error.known(),
            recorded: None,
        }))
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        let mut message = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            let cause_text = cause.to_string();
            if !message.contains(&cause_text) {
                message = format!("{message}: {cause_text}");
            }
            source = cause.source();
        }
        match &error {
            OpenError::NotInitialised(_) => Self::input(message).with_step("lictor init"),
            OpenError::OtherState { .. } => Self::new(ErrorCode::Denied, message),
            OpenError::Recovery(_) => Self::new(ErrorCode::Incomplete, message),
            OpenError::Audit(_) => Self::new(ErrorCode::Integrity, message),
            OpenError::Workspace(_)
            | OpenError::Policy(_)
            | OpenError::PolicyFile { .. }
            | OpenError::TwoUserPolicies(..)
            | OpenError::PolicyGone(_)
            | OpenError::StateFolder { .. }
            | OpenError::Certificates { .. }
            | OpenError::OwnSkill(_)
            | OpenError::Contract(_)
            | OpenError::Store(_) => Self::input(message),
        }
    }
}
