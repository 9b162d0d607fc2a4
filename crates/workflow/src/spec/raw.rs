//! A workflow document as it is written.

use lictor_capability::{EffectCeiling, Retry, Risk};
use lictor_document::{HumanDuration, Located, StrictValue};
use serde::Deserialize;

use super::{AskFor, OnError};
use crate::template::Node;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawWorkflow {
    pub(super) id: Located<String>,
    pub(super) version: Located<semver::Version>,
    #[serde(default)]
    pub(super) title: Option<String>,
    #[serde(default)]
    pub(super) pack: Option<Located<String>>,
    #[serde(default)]
    pub(super) approvals: AskFor,
    #[serde(default)]
    pub(super) input: Option<Located<StrictValue>>,
    #[serde(default = "yes")]
    pub(super) auto_rollback: bool,
    #[serde(default)]
    pub(super) timeout: Option<Located<HumanDuration>>,
    #[serde(default)]
    pub(super) output: Option<Located<Node>>,
    pub(super) steps: Located<Vec<RawStep>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawStep {
    pub(super) id: Located<String>,
    #[serde(default, rename = "use")]
    pub(super) capability: Option<Located<String>>,
    #[serde(default)]
    pub(super) approval: Option<Located<RawApproval>>,
    #[serde(default)]
    pub(super) wait: Option<Located<HumanDuration>>,
    #[serde(default)]
    pub(super) foreach: Option<Located<String>>,
    #[serde(default)]
    pub(super) parallel: Option<Located<u32>>,
    #[serde(default)]
    pub(super) needs: Vec<Located<String>>,
    #[serde(default)]
    pub(super) with: Option<Located<Node>>,
    #[serde(default)]
    pub(super) when: Option<Located<Node>>,
    #[serde(default)]
    pub(super) timeout: Option<Located<HumanDuration>>,
    #[serde(default)]
    pub(super) retry: Option<Located<Retry>>,
    #[serde(default)]
    pub(super) compensate: Option<Located<RawCompensate>>,
    #[serde(default)]
    pub(super) effects: Option<Located<EffectCeiling>>,
    #[serde(default)]
    pub(super) undo: Option<Located<RawUndo>>,
    #[serde(default)]
    pub(super) on_error: Option<Located<OnError>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawApproval {
    pub(super) message: Located<String>,
    #[serde(default)]
    pub(super) risk: Option<Risk>,
    #[serde(default)]
    pub(super) approvals: Option<Located<u32>>,
    #[serde(default)]
    pub(super) timeout: Option<Located<HumanDuration>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawUndo {
    #[serde(default)]
    pub(super) timeout: Option<Located<HumanDuration>>,
    #[serde(default)]
    pub(super) retry: Option<Located<Retry>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawCompensate {
    #[serde(rename = "use")]
    pub(super) capability: Located<String>,
    #[serde(default)]
    pub(super) with: Option<Located<Node>>,
    #[serde(default)]
    pub(super) timeout: Option<Located<HumanDuration>>,
    #[serde(default)]
    pub(super) retry: Option<Located<Retry>>,
}

const fn yes() -> bool {
    true
}
