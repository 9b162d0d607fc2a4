//! Sessions: who asks, for whom, and within which budget.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::id::{Name, SessionId};

/// Who asks: an organisation, a user of it, and the agent that works for the user.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Principal {
    /// The organisation; the boundary between tenants.
    pub org: Name,
    /// The person.
    pub user: Name,
    /// The agent that acts for the person.
    pub agent: Name,
}

/// Which of the things on offer an agent may see.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Selection {
    /// Everything that is active.
    #[default]
    All,
    /// Only these; a name, or a prefix that ends in `*`.
    Only(Vec<String>),
}

impl Selection {
    /// Whether `name` is among the selected.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(entries) => entries.iter().any(|entry| match entry.strip_suffix('*') {
                Some(prefix) => name.starts_with(prefix),
                None => entry == name,
            }),
        }
    }
}

/// What an agent was set up with. It can only narrow what policy allows.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AgentProfile {
    /// The capabilities that exist for this agent.
    pub capabilities: Selection,
    /// The MCP servers that are connected for this agent.
    pub mcp_servers: Vec<String>,
}

/// What a session may spend; `None` is no limit here (policy may set one).
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Budget {
    /// US dollars.
    pub cost_usd: Option<f64>,
    /// Model tokens.
    pub tokens: Option<u64>,
}

/// One agent at work for one user. Cheap to clone; every event is made from one.
#[derive(Debug, Clone)]
pub struct Session {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    id: SessionId,
    principal: Principal,
    profile: AgentProfile,
    budget: Budget,
    trace_id: Option<String>,
}

impl Session {
    /// A new session, with the default profile and no budget.
    #[must_use]
    pub fn new(principal: Principal, clock: &dyn Clock) -> Self {
        Self::resume(SessionId::generate(clock), principal)
    }

    /// A session that has an id already.
    #[must_use]
    pub fn resume(id: SessionId, principal: Principal) -> Self {
        let inner = Inner {
            id,
            principal,
            profile: AgentProfile::default(),
            budget: Budget::default(),
            trace_id: None,
        };
        Self { inner: Arc::new(inner) }
    }

    /// The same session with another profile.
    #[must_use]
    pub fn with_profile(self, profile: AgentProfile) -> Self {
        self.rebuilt(|inner| inner.profile = profile)
    }

    /// The same session with a budget.
    #[must_use]
    pub fn with_budget(self, budget: Budget) -> Self {
        self.rebuilt(|inner| inner.budget = budget)
    }

    /// The same session with a W3C trace id, which then stands in its events.
    #[must_use]
    pub fn with_trace_id(self, trace_id: impl Into<String>) -> Self {
        let trace_id = trace_id.into();
        self.rebuilt(|inner| inner.trace_id = Some(trace_id))
    }

    fn rebuilt(self, change: impl FnOnce(&mut Inner)) -> Self {
        let mut inner = Inner {
            id: self.inner.id.clone(),
            principal: self.inner.principal.clone(),
            profile: self.inner.profile.clone(),
            budget: self.inner.budget,
            trace_id: self.inner.trace_id.clone(),
        };
        change(&mut inner);
        Self { inner: Arc::new(inner) }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &SessionId {
        &self.inner.id
    }

    /// Who asks.
    #[must_use]
    pub fn principal(&self) -> &Principal {
        &self.inner.principal
    }

    /// What the agent was set up with.
    #[must_use]
    pub fn profile(&self) -> &AgentProfile {
        &self.inner.profile
    }

    /// What it may spend.
    #[must_use]
    pub fn budget(&self) -> Budget {
        self.inner.budget
    }

    /// The trace that it belongs to.
    #[must_use]
    pub fn trace_id(&self) -> Option<&str> {
        self.inner.trace_id.as_deref()
    }
}
