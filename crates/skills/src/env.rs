//! `env.get`: the one skill that reads the environment, and only what it was allowed to.

use std::collections::BTreeSet;
use std::env::VarError;

use lictor_capability::{Effects, WorkspaceView};
use lictor_executor::{HandlerError, Request};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::skill::{Skill, parse};

/// What secrets are named after. An output is recorded, and a secret never is.
const SECRETS: &str = "LICTOR_SECRET_";

#[derive(Deserialize)]
struct Input<'a> {
    name: &'a str,
}

pub(crate) struct Get {
    allow: BTreeSet<String>,
}

impl Get {
    pub(crate) fn new(allow: BTreeSet<String>) -> Self {
        Self { allow }
    }

    fn check(&self, name: &str) -> Result<(), HandlerError> {
        if name.starts_with(SECRETS) {
            return Err(HandlerError::input(
                "secrets are not read by `env.get`; give `{secret: NAME}` where one is needed",
            ));
        }
        if self.allow.contains(name) {
            return Ok(());
        }
        let allowed = match self.allow.len() {
            0 => "none".to_owned(),
            _ => self.allow.iter().map(String::as_str).collect::<Vec<_>>().join(", "),
        };
        Err(HandlerError::input(format!(
            "`env.get` may not read this variable; allowed here: {allowed}. Whoever runs Lictor can \
             allow it by adding its name to the skills' `env_allow` setting"
        )))
    }
}

impl Skill for Get {
    /// Nothing happens; but what will be refused needs nobody's approval first.
    fn effects(&self, request: Request<'_>) -> Result<Effects, HandlerError> {
        let input: Input<'_> = parse(request.input())?;
        self.check(input.name)?;
        Ok(Effects::default())
    }

    fn output(
        &self,
        input: &Value,
        _: &Effects,
        _: &dyn WorkspaceView,
    ) -> Result<Value, HandlerError> {
        let Input { name } = parse(input)?;
        self.check(name)?;
        let value = match read(name) {
            Ok(value) => Some(value),
            Err(VarError::NotPresent) => None,
            Err(VarError::NotUnicode(_)) => {
                return Err(HandlerError::failed("the variable's value is not UTF-8"));
            }
        };
        Ok(json!({ "name": name, "found": value.is_some(), "value": value }))
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the module that owns `env.get`")]
fn read(name: &str) -> Result<String, VarError> {
    // Names that no variable can have.
    if name.is_empty() || name.contains(['=', '\0']) {
        return Err(VarError::NotPresent);
    }
    std::env::var(name)
}
