//! Contracts: what a capability takes, gives, risks and may do at most.

mod ceiling;
mod command;
mod fill;
mod http;
mod mcp;
mod schema;
mod workflow;

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use lictor_context::{CapabilityFacts, Digest, Name, Quote};
use lictor_document::{
    DocumentError, HumanDuration, Limits, Located, Source, StrictValue, from_yaml,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub use ceiling::{EffectCeiling, FsCeiling};
pub use command::{CommandInput, CommandOutput, CommandSpec, EnvValue, Sandbox, SecretName};
pub use http::{
    HttpBody, HttpHeader, HttpMethod, HttpOrigin, HttpQuery, HttpSpec, HttpValue, InputValue,
    SecretHeader, check_header,
};
pub use mcp::{McpPart, McpPin, McpServer, McpTool, PIN_FORMULA, looks_like, pin_digest};
use schema::Schema;
pub use schema::{SchemaFinding, SchemaSide};
pub use workflow::WorkflowDocument;

use crate::risk::Risk;

/// The id of a capability: words joined by dots, `fs.write`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CapabilityId(Arc<str>);

/// A text that should have been a capability id is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0} is not a capability id: lower-case words joined by dots are accepted, `fs.write` for \
     example"
)]
pub struct InvalidCapabilityId(Quote);

impl CapabilityId {
    /// Takes an id from outside: `[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+`, at most 128 bytes.
    ///
    /// # Errors
    /// When the text is not such an id.
    pub fn parse(text: &str) -> Result<Self, InvalidCapabilityId> {
        let word = |word: &str| {
            word.starts_with(|first: char| first.is_ascii_lowercase())
                && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        };
        if text.len() <= 128 && text.contains('.') && text.split('.').all(word) {
            Ok(Self(Arc::from(text)))
        } else {
            Err(InvalidCapabilityId(Quote::of(text)))
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CapabilityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for CapabilityId {
    type Error = InvalidCapabilityId;
    fn try_from(text: String) -> Result<Self, InvalidCapabilityId> {
        Self::parse(&text)
    }
}

impl std::str::FromStr for CapabilityId {
    type Err = InvalidCapabilityId;
    fn from_str(text: &str) -> Result<Self, InvalidCapabilityId> {
        Self::parse(text)
    }
}

impl From<CapabilityId> for String {
    fn from(id: CapabilityId) -> String {
        id.0.as_ref().to_owned()
    }
}

/// What kind of thing a capability is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CapabilityKind {
    /// Runs here, and describes what it will do.
    Skill,
    /// A function of the host program.
    Tool,
    /// A tool of an MCP server.
    Mcp,
    /// A workflow.
    Workflow,
}

impl CapabilityKind {
    /// The word that files use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Skill => "skill",
            Self::Tool => "tool",
            Self::Mcp => "mcp",
            Self::Workflow => "workflow",
        }
    }
}

/// How an effect is taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UndoStrategy {
    /// By the record that is kept of every file change.
    #[default]
    Automatic,
    /// By calling another capability.
    Compensate,
    /// Not at all.
    None,
}

/// The undo section of a contract.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Undo {
    /// How.
    #[serde(default)]
    pub strategy: UndoStrategy,
    /// What to call, with strategy `compensate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compensate: Option<Compensate>,
}

/// A call that takes an effect back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Compensate {
    /// The capability.
    #[serde(rename = "use")]
    pub capability: CapabilityId,
    /// Its input; templates see the `output` of what is taken back.
    #[serde(default)]
    pub with: StrictValue,
}

/// Whether a person is always asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Confirm {
    /// As the policy says.
    #[default]
    Policy,
    /// Every time.
    Always,
    /// The contract asks for nothing of its own; not accepted for high and critical risk.
    Never,
}

/// How the pause between attempts grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Backoff {
    /// Stays the same.
    Constant,
    /// Doubles.
    #[default]
    Exponential,
}

/// How often to try.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retry {
    /// Attempts in all, 1 to 100.
    pub attempts: u32,
    /// How the pause grows.
    pub backoff: Backoff,
    /// The first pause.
    pub initial: HumanDuration,
    /// The longest pause.
    pub max: HumanDuration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 1,
            backoff: Backoff::Exponential,
            initial: HumanDuration::from_millis(200),
            max: HumanDuration::from_secs(10),
        }
    }
}

impl Retry {
    /// The pause after the `attempt`-th try, counted from 1.
    #[must_use]
    pub fn pause(&self, attempt: u32) -> Duration {
        let initial = self.initial.as_duration();
        let grown = match self.backoff {
            Backoff::Constant => initial,
            Backoff::Exponential => {
                initial.saturating_mul(2_u32.saturating_pow(attempt.saturating_sub(1)))
            }
        };
        grown.min(self.max.as_duration())
    }
}

/// Who does it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum HandlerSpec {
    /// Code of the host program, by name.
    Builtin(String),
    /// A command.
    Command(Box<CommandSpec>),
    /// An HTTP request.
    Http(Box<HttpSpec>),
    /// A tool of an MCP server.
    Mcp(McpTool),
    /// The start of an MCP server.
    McpServer(Box<McpServer>),
    /// A workflow, by its id.
    Workflow(Name),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawContract {
    id: CapabilityId,
    version: semver::Version,
    title: String,
    description: String,
    kind: CapabilityKind,
    source: String,
    #[serde(default)]
    owner: String,
    #[serde(default)]
    tags: Vec<String>,
    input: Located<StrictValue>,
    output: Located<StrictValue>,
    risk: Risk,
    #[serde(default)]
    effects: Located<EffectCeiling>,
    #[serde(default)]
    undo: Located<Undo>,
    #[serde(default)]
    confirm: Located<Confirm>,
    #[serde(default)]
    timeout: Option<HumanDuration>,
    #[serde(default)]
    retry: Located<Retry>,
    #[serde(default)]
    idempotent: bool,
    handler: Located<HandlerSpec>,
}

/// The time that a call gets when its contract names none.
const DEFAULT_TIMEOUT: HumanDuration = HumanDuration::from_secs(30);

/// A contract: read, checked, and with its schemas compiled at first use.
#[derive(Debug, Clone)]
pub struct Contract {
    /// Its id.
    pub id: CapabilityId,
    /// Its version.
    pub version: semver::Version,
    /// A title for people.
    pub title: String,
    /// A description, for models as much as for people.
    pub description: String,
    /// What kind of thing it is.
    pub kind: CapabilityKind,
    /// Where it comes from: `builtin`, `local`, `mcp:<server>`, `http`, …
    pub source: String,
    /// Who answers for it.
    pub owner: String,
    /// Tags.
    pub tags: Vec<String>,
    /// The least risk of a call.
    pub risk: Risk,
    /// The most that a call may do.
    pub effects: EffectCeiling,
    /// How a call is taken back.
    pub undo: Undo,
    /// Whether a person is always asked.
    pub confirm: Confirm,
    /// How long a call may take.
    pub timeout: HumanDuration,
    /// How often to try.
    pub retry: Retry,
    /// Whether a second call does no further harm.
    pub idempotent: bool,
    /// Who does it.
    pub handler: HandlerSpec,
    handler_at: (u32, u32),
    workflow: Option<WorkflowDocument>,
    input: Schema,
    output: Schema,
    digest: OnceLock<Digest>,
}

impl Contract {
    /// Reads a contract, and compiles its schemas to see that they are schemas.
    ///
    /// # Errors
    /// When the text is no contract, with the place and what is accepted there.
    pub fn from_yaml(source: &Source<'_>) -> Result<Self, ContractError> {
        let contract = Self::from_yaml_lazily(source)?;
        for (side, schema) in
            [(SchemaSide::Input, &contract.input), (SchemaSide::Output, &contract.output)]
        {
            if let Err(problem) = schema.compile() {
                let (line, column) = schema.place;
                let kind = ContractErrorKind::Schema { side, problem };
                return Err(ContractError {
                    kind: ContractErrorKind::Document(
                        DocumentError::at(source.name, line, column, kind.to_string())
                            .with_excerpt_of(source),
                    ),
                });
            }
        }
        Ok(contract)
    }

    /// As [`Contract::from_yaml`], but the schemas are compiled when they are first needed: for
    /// contracts that are known to be good because a test has compiled them.
    ///
    /// # Errors
    /// When the text is no contract.
    pub fn from_yaml_lazily(source: &Source<'_>) -> Result<Self, ContractError> {
        let raw: RawContract = from_yaml(source, &Limits::default())?;
        raw.check(source)?;
        Ok(Self {
            input: Schema::new(raw.input),
            output: Schema::new(raw.output),
            id: raw.id,
            version: raw.version,
            title: raw.title,
            description: raw.description,
            kind: raw.kind,
            source: raw.source,
            owner: raw.owner,
            tags: raw.tags,
            risk: raw.risk,
            effects: raw.effects.value,
            undo: raw.undo.value,
            confirm: raw.confirm.value,
            timeout: raw.timeout.unwrap_or(DEFAULT_TIMEOUT),
            retry: raw.retry.value,
            idempotent: raw.idempotent,
            handler_at: (raw.handler.line, raw.handler.column),
            handler: raw.handler.value,
            workflow: None,
            digest: OnceLock::new(),
        })
    }

    /// The workflow that it calls, where its handler is one.
    #[must_use]
    pub fn calls_workflow(&self) -> Option<&Name> {
        match &self.handler {
            HandlerSpec::Workflow(id) => Some(id),
            HandlerSpec::Builtin(_)
            | HandlerSpec::Command(_)
            | HandlerSpec::Http(_)
            | HandlerSpec::Mcp(_)
            | HandlerSpec::McpServer(_) => None,
        }
    }

    /// Where its document names the handler: line and column.
    #[must_use]
    pub fn handler_at(&self) -> (u32, u32) {
        self.handler_at
    }

    /// The document of that workflow, once it was found. A contract without it calls nothing.
    #[must_use]
    pub fn workflow_document(&self) -> Option<&WorkflowDocument> {
        self.workflow.as_ref()
    }

    /// The same contract over the document that its workflow was found to be. It has another
    /// digest: it is another thing that is let in.
    #[must_use]
    pub fn over_workflow(&self, document: WorkflowDocument) -> Self {
        Self { workflow: Some(document), digest: OnceLock::new(), ..self.clone() }
    }

    /// The schema of the input.
    #[must_use]
    pub fn input_schema(&self) -> &Value {
        &self.input.value
    }

    /// The schema of the output.
    #[must_use]
    pub fn output_schema(&self) -> &Value {
        &self.output.value
    }

    /// Holds an input against its schema.
    ///
    /// # Errors
    /// What does not fit, and where; at most eight findings.
    pub fn check_input(&self, input: &Value) -> Result<(), Vec<SchemaFinding>> {
        self.input.check(input)
    }

    /// Holds an output against its schema.
    ///
    /// # Errors
    /// What does not fit, and where; at most eight findings.
    pub fn check_output(&self, output: &Value) -> Result<(), Vec<SchemaFinding>> {
        self.output.check(output)
    }

    /// The digest of the contract's canonical JSON. Approvals bind to it.
    #[must_use]
    pub fn digest(&self) -> Digest {
        // Everything here came out of a document, so canonical JSON cannot fail on it.
        *self
            .digest
            .get_or_init(|| Digest::of_json(&self.to_json()).unwrap_or_else(|_| Digest::of(b"")))
    }

    /// The contract as JSON: what `capability show` prints and what the digest is taken of.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut json = json!({
            "id": self.id, "version": self.version, "title": self.title,
            "description": self.description, "kind": self.kind, "source": self.source,
            "owner": self.owner, "tags": self.tags, "input": self.input.value,
            "output": self.output.value, "risk": self.risk, "effects": self.effects,
            "undo": self.undo, "confirm": self.confirm,
            "timeout": self.timeout, "retry": self.retry,
            "idempotent": self.idempotent, "handler": self.handler,
        });
        if let (Some(fields), Some(document)) = (json.as_object_mut(), &self.workflow) {
            fields.insert("workflow".to_owned(), json!(document));
        }
        json
    }

    /// What events say of it.
    #[must_use]
    pub fn facts(&self) -> CapabilityFacts {
        CapabilityFacts {
            kind: self.kind.as_str().to_owned(),
            source: self.source.clone(),
            version: self.version.to_string(),
            mcp_server: self.source.strip_prefix("mcp:").map(str::to_owned),
        }
    }
}

impl RawContract {
    fn check(&self, source: &Source<'_>) -> Result<(), ContractError> {
        let at = |line, column, message: &str| {
            Err(ContractError::from(
                DocumentError::at(source.name, line, column, message).with_excerpt_of(source),
            ))
        };
        let undo = &self.undo;
        match (undo.value.strategy, &undo.value.compensate) {
            (UndoStrategy::Compensate, None) => {
                return at(
                    undo.line,
                    undo.column,
                    "strategy `compensate` needs `compensate: {use, with}`",
                );
            }
            (UndoStrategy::Automatic | UndoStrategy::None, Some(_)) => {
                return at(
                    undo.line,
                    undo.column,
                    "`compensate` is accepted with strategy `compensate` only",
                );
            }
            _ => {}
        }
        if self.confirm.value == Confirm::Never && self.risk >= Risk::High {
            let message = "confirm `never` is not accepted for high and critical risk; accepted: policy, always";
            return at(self.confirm.line, self.confirm.column, message);
        }
        if !(1..=100).contains(&self.retry.value.attempts) {
            return at(
                self.retry.line,
                self.retry.column,
                "`attempts` is out of range; 1 to 100 are accepted",
            );
        }
        if let HandlerSpec::Http(http) = &self.handler.value
            && let Err(problem) = http.check(self.input.value.as_value(), &self.effects.value)
        {
            return at(self.handler.line, self.handler.column, &problem);
        }
        if let HandlerSpec::Command(command) = &self.handler.value
            && let Err(problem) = command.check(self.input.value.as_value(), &self.effects.value)
        {
            return at(self.handler.line, self.handler.column, &problem);
        }
        let foreign = match &self.handler.value {
            HandlerSpec::Mcp(tool) => tool.check(&self.id, &self.source),
            HandlerSpec::McpServer(server) => server.check(&self.id, &self.effects.value),
            HandlerSpec::Builtin(_)
            | HandlerSpec::Command(_)
            | HandlerSpec::Http(_)
            | HandlerSpec::Workflow(_) => Ok(()),
        };
        if let Err(problem) = foreign {
            return at(self.handler.line, self.handler.column, &problem);
        }
        if matches!(self.handler.value, HandlerSpec::Workflow(_))
            && self.kind != CapabilityKind::Workflow
        {
            let message = "a contract whose handler is a workflow is of kind `workflow`";
            return at(self.handler.line, self.handler.column, message);
        }
        if let Err(problem) = self.effects.value.check() {
            return at(self.effects.line, self.effects.column, &problem);
        }
        Ok(())
    }
}

/// A contract could not be read.
#[derive(Debug, thiserror::Error)]
#[error("{kind}")]
pub struct ContractError {
    kind: ContractErrorKind,
}

impl ContractError {
    /// What is wrong.
    #[must_use]
    pub fn kind(&self) -> &ContractErrorKind {
        &self.kind
    }
}

impl From<DocumentError> for ContractError {
    fn from(error: DocumentError) -> Self {
        Self { kind: ContractErrorKind::Document(error) }
    }
}

/// The ways a contract can be wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ContractErrorKind {
    /// The text, its shape, or a value in it.
    #[error(transparent)]
    Document(DocumentError),
    /// A schema is none.
    #[error("the {side} schema is not a JSON Schema that is accepted here: {problem}")]
    Schema {
        /// Which of the two.
        side: SchemaSide,
        /// What is wrong with it.
        problem: String,
    },
}
