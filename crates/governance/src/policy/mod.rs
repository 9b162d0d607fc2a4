//! Policies.
mod settings;
pub use settings::*;
use lictor_capability::{Described, Risk};
use lictor_context::{Digest, Timestamp};
use crate::decision::{Reason, Verdict};

/// Policies by layer.
#[derive(Debug)]
pub struct PolicySet { settings: Settings, digest: Digest }
impl PolicySet {
    /// Their digest.
    #[must_use] pub fn digest(&self) -> Digest { self.digest }
    /// Their settings.
    #[must_use] pub fn settings(&self) -> &Settings { &self.settings }
    pub(crate) fn judge(&self, _described: &Described, _now: Timestamp) -> Judgement { 
        Judgement { verdict: Verdict::Deny, risk_proposed: Risk::Low, risk_effective: Risk::Low, reasons: vec![], required_actions: vec![], approvals_needed: 0}
    }
    /// Empty.
    #[must_use] pub fn empty() -> Self { Self { settings: Settings::default(), digest: Digest::of(b"") } }
}
pub(crate) struct Judgement {
    pub(crate) verdict: Verdict,
    pub(crate) risk_proposed: Risk,
    pub(crate) risk_effective: Risk,
    pub(crate) reasons: Vec<Reason>,
    pub(crate) required_actions: Vec<String>,
    pub(crate) approvals_needed: u32,
}
