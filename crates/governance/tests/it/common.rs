//! What the tests share: small actions with effects made by hand.

use std::sync::Arc;
use std::time::Duration;

use lictor_capability::{
    Action, CapabilityGraph, CapabilityId, ChangeKind, Contract, Described, Effects, FileMode,
    Item, Origin, Plan, Risk, State,
};
use lictor_context::{
    Digest, ExecutionId, ManualClock, Name, PlanId, Principal, Session, Timestamp, WorkspacePath,
};
use lictor_document::Source;
use lictor_governance::{Policy, PolicyLayer, PolicySet, WriteGate};
use serde_json::{Value, json};

/// A Friday at ten.
pub(crate) const NOW: &str = "2026-11-20T10:00:00Z";

pub(crate) fn clock() -> Arc<ManualClock> {
    clock_at(NOW)
}

pub(crate) fn clock_at(text: &str) -> Arc<ManualClock> {
    Arc::new(ManualClock::new(Timestamp::parse(text).unwrap()))
}

pub(crate) fn minutes(n: u64) -> Duration {
    Duration::from_secs(60 * n)
}

pub(crate) fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

pub(crate) fn path(text: &str) -> WorkspacePath {
    WorkspacePath::parse(text).unwrap()
}

pub(crate) fn policies(text: &str) -> Arc<PolicySet> {
    match PolicySet::workspace(&Source::new("policy.yaml", text.as_bytes())) {
        Ok(set) => Arc::new(set),
        Err(error) => panic!("{error}\n{text}"),
    }
}

pub(crate) fn layered(layers: &[(PolicyLayer, &str)]) -> Arc<PolicySet> {
    let read = |(layer, text): &(PolicyLayer, &str)| {
        let source = Source::new("policy.yaml", text.as_bytes());
        Policy::from_yaml(*layer, &source).unwrap()
    };
    Arc::new(PolicySet::new(layers.iter().map(read)).unwrap())
}

pub(crate) fn gate(text: &str) -> (WriteGate, Arc<ManualClock>) {
    let clock = clock();
    (WriteGate::new(policies(text), clock.clone()), clock)
}

/// An action in the making.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) capability: String,
    pub(crate) version: String,
    pub(crate) kind: String,
    pub(crate) source: String,
    pub(crate) contract_risk: Risk,
    pub(crate) confirm: String,
    pub(crate) risk: Option<Risk>,
    pub(crate) input: Value,
    pub(crate) user: String,
    pub(crate) agent: String,
    pub(crate) plan: Option<Plan>,
    pub(crate) rolls_back: bool,
    pub(crate) effects: Effects,
}

impl Ask {
    pub(crate) fn new(capability: &str) -> Self {
        Self {
            capability: capability.to_owned(),
            version: "1.0.0".to_owned(),
            kind: "skill".to_owned(),
            source: "builtin".to_owned(),
            contract_risk: Risk::Low,
            confirm: "policy".to_owned(),
            risk: None,
            input: json!({}),
            user: "ann".to_owned(),
            agent: "planner".to_owned(),
            plan: None,
            rolls_back: false,
            effects: Effects::default(),
        }
    }

    pub(crate) fn read(mut self, target: &str) -> Self {
        self.effects.reads.push(path(target));
        self
    }

    pub(crate) fn write(mut self, target: &str) -> Self {
        self.effects.changes.items.push(created(target, b"after"));
        self
    }

    pub(crate) fn delete(mut self, target: &str) -> Self {
        self.effects.changes.items.push(Item {
            kind: ChangeKind::Delete,
            from: Some(path(target)),
            to: None,
            before: Some(file(b"before")),
            after: None,
            content: None,
            implicit: false,
        });
        self
    }

    pub(crate) fn input(mut self, input: Value) -> Self {
        self.input = input;
        self
    }

    pub(crate) fn contract(&self) -> Arc<Contract> {
        let programs: Vec<&String> = self.effects.programs.iter().collect();
        let yaml = json!({
            "id": self.capability, "version": self.version, "title": "T", "description": "D",
            "kind": self.kind, "source": self.source, "input": {}, "output": {},
            "risk": self.contract_risk, "confirm": self.confirm,
            "effects": {
                "fs": { "read": ["**"], "write": ["**"], "delete": ["**"] },
                "net": ["**"], "process": programs,
            },
            "handler": { "builtin": "x" },
        })
        .to_string();
        Arc::new(Contract::from_yaml_lazily(&Source::new("c.yaml", yaml.as_bytes())).unwrap())
    }

    pub(crate) fn action(&self) -> Action {
        let clock = clock();
        let principal =
            Principal { org: name("acme"), user: name(&self.user), agent: name(&self.agent) };
        let session = Session::new(principal, &*clock).with_profile(lictor_context::AgentProfile {
            mcp_servers: vec!["files".to_owned()],
            ..Default::default()
        });
        let id = CapabilityId::parse(&self.capability).unwrap();
        self.decorate(Action::new(&session, id, self.input.clone(), &*clock))
    }

    /// What can be said of an action that exists already.
    pub(crate) fn decorate(&self, mut action: Action) -> Action {
        if let Some(risk) = self.risk {
            action = action.with_risk(risk);
        }
        if let Some(plan) = &self.plan {
            let change = lictor_capability::Change::Rmdir { path: path("x") };
            let id = lictor_context::ChangeSetId::parse("chg_1").unwrap();
            let set =
                lictor_capability::ChangeSet::seal(id, plan.id.clone(), vec![change]).unwrap();
            action = action.with_change_set(plan.clone(), set);
        }
        if self.rolls_back {
            let execution = ExecutionId::parse("exe_1").unwrap();
            action =
                action.with_origin(Origin { rolls_back: Some(execution), ..Origin::default() });
        }
        action
    }

    pub(crate) fn describe_as(&self, action: Action) -> Described {
        let contract = self.contract();
        let graph = CapabilityGraph::build(action.session(), [&contract]);
        graph.admit(action).unwrap().describe(self.effects.clone()).unwrap()
    }

    pub(crate) fn describe(&self) -> Described {
        self.describe_as(self.action())
    }
}

pub(crate) fn file(bytes: &[u8]) -> State {
    State::File { digest: Digest::of(bytes), mode: FileMode::FILE, bytes: bytes.len() as u64 }
}

pub(crate) fn created(target: &str, bytes: &[u8]) -> Item {
    Item {
        kind: ChangeKind::Create,
        from: None,
        to: Some(path(target)),
        before: None,
        after: Some(file(bytes)),
        content: None,
        implicit: false,
    }
}

pub(crate) fn plan() -> Plan {
    Plan::bare(PlanId::parse("pln_1").unwrap())
}
