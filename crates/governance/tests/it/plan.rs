//! Agreement to a run's whole plan: it answers for the calls that the plan names, and for nothing else.

use std::sync::Arc;

use lictor_capability::{Action, CapabilityId, Described, EffectCeiling, Origin, Risk};
use lictor_context::{ApprovalId, Clock, Digest, ManualClock, RunId};
use lictor_governance::{
    Approvals, Approvers, Channel, Consented, MemoryApprovalStore, MemoryApproverStore,
    PlannedCall, PlannedPack, PlannedRun, PlannedStep, ProvenApprover, RunPlan, WriteGate,
};
use proptest::prelude::*;
use serde_json::json;

use crate::common::{Ask, clock, name, policies};

const ASKS: &str = "version: 1\npaths: {protected: [\"**\"], forbidden: [\"src/no/**\"]}\n\
                    escalate: [{when: {path: \"db/**\"}, risk: critical}]\n\
                    risk: {critical: {verdict: need_approval, approvals: 2}}\n";

struct House {
    gate: WriteGate,
    approvals: Approvals,
    approvers: Approvers,
    root: ProvenApprover,
}

impl House {
    fn new() -> Self {
        let clock = clock();
        let time: Arc<dyn Clock> = Arc::<ManualClock>::clone(&clock);
        let gate = WriteGate::new(policies(ASKS), time);
        let register = Arc::new(MemoryApproverStore::default());
        let approvals = Approvals::new(&gate, Arc::new(MemoryApprovalStore::default()))
            .with_approvers(register.clone());
        let approvers = Approvers::new(register, clock);
        let (_, token) = approvers.bootstrap(name("root"), Vec::new()).unwrap();
        let root = approvers.authenticate(token.expose()).unwrap();
        Self { gate, approvals, approvers, root }
    }

    fn plan(&self) -> RunPlan {
        let step = |id: &str, ask: &Ask, writes: &str| {
            let contract = ask.contract();
            let mut effects = EffectCeiling::default();
            effects.fs.write = vec![writes.to_owned()];
            PlannedStep {
                id: id.to_owned(),
                compensates: false,
                capability: contract.id.clone(),
                contract: contract.digest(),
                risk: contract.risk,
                effects,
                each: false,
                calls: None,
            }
        };
        let inner = PlannedRun {
            workflow: name("inner"),
            document: Digest::of(b"inner document"),
            steps: vec![step("one", &Ask::new("fs.put"), "in/**")],
        };
        let begins = step("begin", &Ask::new("flow.inner"), "none");
        RunPlan {
            run_id: run("1"),
            workflow: name("release"),
            document: Digest::of(b"document"),
            input: Digest::of(b"input"),
            pack: Some(PlannedPack { id: name("docs"), digest: Digest::of(b"pack") }),
            policy: self.gate.policies().digest(),
            steps: vec![
                step("one", &Ask::new("fs.write"), "src/**"),
                step("two", &Ask::new("fs.put"), "out/**"),
                PlannedStep { compensates: true, ..step("two", &Ask::new("fs.back"), "out/**") },
                PlannedStep { each: true, ..step("all", &Ask::new("fs.write"), "all/**") },
                PlannedStep { calls: Some(Box::new(inner)), ..begins },
            ],
        }
    }

    /// The action that asks people about a plan.
    fn asking(&self, plan: &RunPlan) -> Described {
        let ask = Ask { confirm: "always".to_owned(), ..Ask::new("workflow.plan") };
        let ask = ask.input(json!({ "plan": plan }));
        let action = ask.action().with_risk(plan.risk());
        ask.describe_as(action)
    }

    /// People agree to a plan.
    fn agree(&self, plan: &RunPlan) -> ApprovalId {
        let described = self.asking(plan);
        let decision = self.gate.decide(&described);
        let asked = self.approvals.request(&described, &decision, []).unwrap();
        self.approvals.grant(asked.id(), &self.root, Channel::Token).unwrap();
        let spent = self.approvals.spend(decision.action_digest()).unwrap().unwrap();
        drop(self.gate.authorize(described, &decision, Some(spent)).unwrap());
        asked.id().clone()
    }

    /// Whether the agreement lets a call through, to a warrant.
    fn passes(&self, id: &ApprovalId, plan: &RunPlan, called: &Called) -> bool {
        let action = called.action();
        let described = called.ask.describe_as(action);
        let decision = self.gate.decide(&described);
        let plan = self.asking(plan);
        let call = PlannedCall {
            within: &called.within,
            step: called.step,
            compensates: called.compensates,
            item: called.item,
        };
        let spent = self.approvals.spend_plan((id, &plan), (&described, call), &decision).unwrap();
        let Some(spent) = spent else { return false };
        assert_eq!(spent.by(), &Consented::Plan(id.clone()));
        let warrant = self.gate.authorize(described, &decision, Some(spent)).unwrap();
        assert_eq!(warrant.approval().unwrap().granted_by()[0].approver.as_str(), "root");
        true
    }
}

/// A call of a run.
#[derive(Clone)]
struct Called {
    ask: Ask,
    run: &'static str,
    within: Vec<String>,
    step: &'static str,
    compensates: bool,
    item: bool,
}

impl Called {
    fn new(step: &'static str, capability: &str, path: &str) -> Self {
        let ask = Ask::new(capability).write(path);
        Self { ask, run: "1", within: Vec::new(), step, compensates: false, item: false }
    }

    /// The step of the run that a step begins.
    fn inside() -> Self {
        let within = vec!["begin".to_owned()];
        Self { run: "7", within, ..Self::new("one", "fs.put", "in/a") }
    }

    fn action(&self) -> Action {
        let origin = Origin {
            run_id: Some(run(self.run)),
            step_id: Some(self.step.to_owned()),
            ..Origin::default()
        };
        self.ask.action().with_origin(origin)
    }
}

fn run(digit: &str) -> RunId {
    RunId::parse(&format!("wfr_{}", digit.repeat(32))).unwrap()
}

#[test]
fn a_plan_answers_for_the_calls_that_it_names() {
    let house = House::new();
    let plan = house.plan();
    let id = house.agree(&plan);
    let one = Called::new("one", "fs.write", "src/a");
    assert!(house.passes(&id, &plan, &one));
    assert!(house.passes(&id, &plan, &one), "another attempt is the same step");
    assert!(house.passes(&id, &plan, &Called::new("two", "fs.put", "out/a")));
    let back = Called { compensates: true, ..Called::new("two", "fs.back", "out/a") };
    assert!(house.passes(&id, &plan, &back));
    let item = Called { item: true, ..Called::new("all", "fs.write", "all/a") };
    assert!(house.passes(&id, &plan, &item));
    assert!(house.passes(&id, &plan, &Called::inside()), "what one of its steps begins");
}

#[test]
fn a_plan_answers_for_nothing_else() {
    let house = House::new();
    let plan = house.plan();
    let id = house.agree(&plan);
    let one = Called::new("one", "fs.write", "src/a");
    let others = [
        ("another step", Called { step: "three", ..one.clone() }),
        ("another run", Called { run: "2", ..one.clone() }),
        ("inside of what begins nothing", {
            Called { within: vec!["one".to_owned()], ..Called::inside() }
        }),
        ("inside of no step", Called { within: vec!["x".to_owned()], ..Called::inside() }),
        ("deeper than it goes", {
            Called { within: vec!["begin".to_owned(), "one".to_owned()], ..Called::inside() }
        }),
        ("another step inside", Called { step: "two", ..Called::inside() }),
        ("beyond the ceiling inside", {
            Called { ask: Ask::new("fs.put").write("src/a"), ..Called::inside() }
        }),
        (
            "outside what is allowed inside",
            Called { within: Vec::new(), run: "1", ..Called::inside() },
        ),
        ("taking it back", Called { compensates: true, ..one.clone() }),
        ("an item", Called { item: true, ..one.clone() }),
        ("another capability", Called::new("one", "fs.put", "src/a")),
        ("beyond the ceiling", Called::new("one", "fs.write", "out/a")),
        ("two effects, one beyond", {
            let mut two = one.clone();
            two.ask = two.ask.write("out/b");
            two
        }),
        ("deleting", {
            let mut deletes = one.clone();
            deletes.ask = Ask::new("fs.write").delete("src/a");
            deletes
        }),
        ("another contract", {
            let mut changed = one.clone();
            changed.ask.version = "1.0.1".to_owned();
            changed
        }),
        ("another user", {
            let mut bob = one.clone();
            bob.ask.user = "bob".to_owned();
            bob
        }),
        ("a person each time", {
            let mut each = one.clone();
            each.ask.confirm = "always".to_owned();
            each
        }),
    ];
    for (what, called) in others {
        assert!(!house.passes(&id, &plan, &called), "{what}");
    }
    assert!(house.passes(&id, &plan, &one));
}

#[test]
fn what_takes_more_people_or_more_risk_is_asked_about_by_itself() {
    let house = House::new();
    let mut plan = house.plan();
    for step in &mut plan.steps {
        step.effects.fs.write = vec!["**".to_owned()];
    }
    let id = house.agree(&plan);
    assert!(house.passes(&id, &plan, &Called::new("one", "fs.write", "src/a")));
    assert!(!house.passes(&id, &plan, &Called::new("one", "fs.write", "db/a")), "critical");
    assert!(!house.passes(&id, &plan, &Called::new("one", "fs.write", "src/no/a")), "denied");
}

#[test]
fn what_people_agreed_to_ends_with_them_and_with_the_policy() {
    let house = House::new();
    let plan = house.plan();
    let id = house.agree(&plan);
    let one = Called::new("one", "fs.write", "src/a");
    let nobody = ApprovalId::parse(&format!("apr_{}", "0".repeat(32))).unwrap();
    assert!(!house.passes(&nobody, &plan, &one), "no such approval");
    house.gate.reload(policies(&format!("{ASKS}limits: {{max_files: 7}}\n")));
    assert!(!house.passes(&id, &plan, &one), "another policy");
    house.gate.reload(policies(ASKS));
    assert!(house.passes(&id, &plan, &one));
    house.approvers.enroll(name("eve"), Vec::new(), &house.root).unwrap();
    house.approvers.revoke(&name("root"), &house.root).unwrap();
    assert!(!house.passes(&id, &plan, &one), "whoever agreed may not approve any more");
}

#[test]
fn a_plan_that_nobody_agreed_to_answers_for_nothing() {
    let house = House::new();
    let plan = house.plan();
    let described = house.asking(&plan);
    let decision = house.gate.decide(&described);
    let asked = house.approvals.request(&described, &decision, []).unwrap();
    let one = Called::new("one", "fs.write", "src/a");
    assert!(!house.passes(asked.id(), &plan, &one), "nobody answered");
    house.approvals.deny(asked.id(), &house.root, "no").unwrap();
    assert!(!house.passes(asked.id(), &plan, &one), "somebody refused");
    // An approval of something else is no agreement to a plan.
    let other = Called::new("one", "fs.write", "src/b");
    let described = other.ask.describe_as(other.action());
    let decision = house.gate.decide(&described);
    let asked = house.approvals.request(&described, &decision, []).unwrap();
    house.approvals.grant(asked.id(), &house.root, Channel::Token).unwrap();
    drop(house.approvals.spend(decision.action_digest()).unwrap());
    assert!(!house.passes(asked.id(), &plan, &one));
}

/// The run that a step begins.
fn inner(plan: &mut RunPlan) -> &mut PlannedRun {
    plan.steps.iter_mut().find_map(|step| step.calls.as_deref_mut()).unwrap()
}

/// One thing about a plan made another.
fn mutated(mut plan: RunPlan, what: u8, at: prop::sample::Index) -> RunPlan {
    let other = || Digest::of(b"other");
    let at = at.index(plan.steps.len());
    let next = (at + 1) % plan.steps.len();
    let step = &mut plan.steps[at];
    match what {
        0 => step.id.push('x'),
        1 => step.compensates = !step.compensates,
        2 => step.capability = CapabilityId::parse("fs.other").unwrap(),
        3 => step.contract = other(),
        4 => step.risk = Risk::High,
        5 => step.effects.fs.write.push("more/**".to_owned()),
        6 => step.effects.net.push("example.org".to_owned()),
        7 => step.each = !step.each,
        8 => plan.steps.swap(at, next),
        9 => drop(plan.steps.remove(at)),
        10 => {
            let again = step.clone();
            plan.steps.insert(at, again);
        }
        11 => plan.document = other(),
        12 => plan.input = other(),
        13 => plan.pack = None,
        14 => plan.pack = Some(PlannedPack { id: name("docs"), digest: other() }),
        15 => plan.run_id = run("2"),
        16 => plan.policy = other(),
        18 => inner(&mut plan).document = other(),
        19 => inner(&mut plan).workflow = name("another"),
        20 => inner(&mut plan).steps[0].contract = other(),
        21 => inner(&mut plan).steps[0].effects.fs.write.push("more/**".to_owned()),
        22 => drop(inner(&mut plan).steps.pop()),
        23 => plan.steps.iter_mut().for_each(|step| step.calls = None),
        _ => plan.workflow = name("another"),
    }
    plan
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Whatever is changed of a plan that was agreed to, nothing of it is covered any more: people
    /// are asked again.
    #[test]
    fn any_change_of_an_agreed_plan_asks_again(what in 0_u8..24, at: prop::sample::Index) {
        let house = House::new();
        let plan = house.plan();
        let id = house.agree(&plan);
        let changed = mutated(plan.clone(), what, at);
        prop_assert_ne!(&changed, &plan);
        for called in [
            Called::new("one", "fs.write", "src/a"),
            Called::new("two", "fs.put", "out/a"),
            Called { compensates: true, ..Called::new("two", "fs.back", "out/a") },
            Called { item: true, ..Called::new("all", "fs.write", "all/a") },
            Called::inside(),
        ] {
            prop_assert!(house.passes(&id, &plan, &called), "as it was agreed to");
            prop_assert!(!house.passes(&id, &changed, &called), "{} {:?}", what, changed);
        }
        let (asked, again) = (house.asking(&plan), house.asking(&changed));
        let digest = |described| house.gate.decide(described).action_digest();
        prop_assert_ne!(digest(&asked), digest(&again), "another question");
    }
}
