//! Plans: what a change is for, in the words of whoever proposes it.

use lictor_context::{PlanId, Timestamp, WorkspacePath};
use serde::{Deserialize, Serialize};

use crate::risk::Risk;

/// A plan. Nothing in it is believed: it proposes a risk, it names checks, and people read it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Its id; with the change set's checksum it makes the idempotency key.
    pub id: PlanId,
    /// What is wanted, in a line.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub intent: String,
    /// What will be true afterwards.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub objective: String,
    /// Why this way.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub rationale: String,
    /// The paths that the author expects to touch.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub affected_paths: Vec<WorkspacePath>,
    /// The risk that the author sees; policy may raise it, never lower it.
    #[serde(default)]
    pub risk: Risk,
    /// Names of verification commands of the policy, to be run after the change.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub verification: Vec<String>,
    /// How to get back, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback_plan: Option<String>,
    /// Names of health checks of the policy, to be run after the change.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub health_checks: Vec<String>,
    /// Who made the plan, for example `agent:planner`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// When.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Timestamp>,
    /// How sure the author is, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
    /// Plans that have to be done before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dependencies: Vec<String>,
}

impl Plan {
    /// A plan that says nothing but its id.
    #[must_use]
    pub fn bare(id: PlanId) -> Self {
        Self {
            id,
            intent: String::new(),
            objective: String::new(),
            rationale: String::new(),
            affected_paths: Vec::new(),
            risk: Risk::Low,
            verification: Vec::new(),
            rollback_plan: None,
            health_checks: Vec::new(),
            created_by: None,
            created_at: None,
            confidence: None,
            dependencies: Vec::new(),
        }
    }
}
