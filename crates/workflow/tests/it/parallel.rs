//! Side by side: order, bounds, turns, lists, waits, and engines that take over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use lictor_workflow::{
    EngineError, FailureKind, Hooks, Limits, Resume, RunRecord, RunStatus, StepCall, StepStatus,
};
use proptest::prelude::*;
use serde_json::json;

use crate::rig::{CHAIN, Rig, failure, statuses, workflow};

/// The document of a graph: step `n` needs the steps of `needs[n]`, and its output is the sum of
/// theirs and one.
fn document(needs: &[Vec<usize>]) -> String {
    let mut text = "id: graph\nversion: 1.0.0\nsteps:\n".to_owned();
    for (step, needs) in needs.iter().enumerate() {
        let names: Vec<String> = needs.iter().map(|need| format!("s{need}")).collect();
        let sum: String =
            needs.iter().map(|need| format!(" + steps.s{need}.output.echo.n")).collect();
        text.push_str(&format!(
            "  - {{ id: s{step}, use: a.b, needs: [{}], with: {{ n: \"{{{{ 1{sum} }}}}\" }} }}\n",
            names.join(", ")
        ));
    }
    text
}

fn sums(needs: &[Vec<usize>]) -> Vec<u64> {
    let mut sums: Vec<u64> = Vec::new();
    for needs in needs {
        sums.push(1 + needs.iter().map(|need| sums[*need]).sum::<u64>());
    }
    sums
}

fn graph() -> impl Strategy<Value = Vec<Vec<usize>>> {
    proptest::collection::vec(proptest::collection::vec(any::<prop::sample::Index>(), 0..3), 1..12)
        .prop_map(|steps| {
            let needs = |(step, needs): (usize, Vec<prop::sample::Index>)| match step {
                0 => Vec::new(),
                _ => needs
                    .iter()
                    .map(|need| need.index(step))
                    .collect::<BTreeSet<_>>()
                    .into_iter()
                    .collect(),
            };
            steps.into_iter().enumerate().map(needs).collect()
        })
}

/// What of the graph can go at a time, when every step takes as long: the steps of each round.
fn rounds(needs: &[Vec<usize>], most: usize) -> Vec<BTreeSet<usize>> {
    let mut done = BTreeSet::new();
    let mut rounds = Vec::new();
    while done.len() < needs.len() {
        let ready = (0..needs.len())
            .filter(|step| !done.contains(step) && needs[*step].iter().all(|it| done.contains(it)));
        let round: BTreeSet<usize> = ready.take(most).collect();
        done.extend(round.iter().copied());
        rounds.push(round);
    }
    rounds
}

fn paused_tokio() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Every step takes a second of the paused clock, so the run takes as many seconds as the
    /// model has rounds: parallelism is real, bounded, and never waits for what it need not. The
    /// results are those of the graph, however it was scheduled.
    #[test]
    fn the_scheduler_does_what_the_model_does(needs in graph(), most in 1_usize..5) {
        paused_tokio().block_on(async {
            let mut rig = Rig::new();
            rig.engine = rig.another_engine("bounded")
                .with_limits(Limits { per_run: most, per_process: 64 });
            rig.road.world().takes = Duration::from_secs(1);
            let run = rig.run(&document(&needs), json!({})).await;
            assert_eq!(run.status(), RunStatus::Completed, "{:?}", run.error);
            let took = run.ended_at.unwrap().since(run.started_at.unwrap());
            // Steps begin in the order of the plan, which may differ from the model's where the
            // bound makes them choose.
            let rounds = rounds(&needs, most).len() as u64;
            if most >= needs.len() {
                assert_eq!(took.as_secs(), rounds);
            }
            assert!(rig.road.world().most_at_once <= most);
            let sums = sums(&needs);
            let mut ended: BTreeMap<usize, _> = BTreeMap::new();
            for (step, sum) in sums.iter().enumerate() {
                let record = run.step(&format!("s{step}")).unwrap();
                assert_eq!(record.output["echo"]["n"], *sum);
                ended.insert(step, (record.started_at.unwrap(), record.ended_at.unwrap()));
            }
            for (step, needs) in needs.iter().enumerate() {
                for need in needs {
                    assert!(ended[need].1 <= ended[&step].0, "s{step} began before s{need} ended");
                }
            }
        });
    }

    /// However the graph, whatever fails: it is taken back in reverse start order, all of it.
    #[test]
    fn rollback_is_the_reverse_of_the_starts(needs in graph(), fails in any::<prop::sample::Index>()) {
        paused_tokio().block_on(async {
            let rig = Rig::new();
            rig.road.world().takes = Duration::from_millis(10);
            let fails = format!("s{}", fails.index(needs.len()));
            let text = document(&needs)
                .replace("use: a.b", "use: fs.write")
                .replace("with: {", "with: { path: \"{{ run_id }}\", content: x,");
            // Each writes a file of its own.
            let text: String = text.lines().map(|line| match line.split_once("{ id: s") {
                Some((_, rest)) => {
                    let id: String = rest.chars().take_while(char::is_ascii_digit).collect();
                    line.replace("{{ run_id }}", &format!("f{id}"))
                        .split(", n: ").next().unwrap().to_owned() + " } }\n"
                }
                None => format!("{line}\n"),
            }).collect();
            rig.fault(&fails, [failure(FailureKind::Failed, false)]);
            let run = rig.run(&text, json!({})).await;
            assert_eq!(run.status(), RunStatus::RolledBack, "{:?}", run.rollback);
            assert!(rig.road.world().files.is_empty());
            let mut begun: Vec<(u32, &str)> = run.steps.iter()
                .filter(|step| step.status == StepStatus::Undone)
                .map(|step| (step.start_order.unwrap(), step.id.as_str()))
                .collect();
            begun.sort_unstable_by(|a, b| b.cmp(a));
            let expect: Vec<&str> = begun.iter().map(|(_, id)| *id).collect();
            assert_eq!(run.rollback.undone, expect);
        });
    }
}

const LIST: &str = r#"
id: list
version: 1.0.0
steps:
  - id: each
    use: notify.send
    foreach: "{{ input.names }}"
    parallel: 2
    with: { text: "{{ index }} {{ item }}" }
    compensate: { use: notify.retract, with: { id: "{{ index }} {{ item }}" } }
  - { id: last, use: a.b, needs: [each], with: { n: "{{ steps.each.output | length }}" } }
output: "{{ steps.each.output }}"
"#;

#[tokio::test(start_paused = true)]
async fn a_step_is_done_for_each_item_so_many_at_a_time() {
    let rig = Rig::new();
    rig.road.world().takes = Duration::from_secs(1);
    let run = rig.run(LIST, json!({ "names": ["a", "b", "c"] })).await;
    assert_eq!(run.status(), RunStatus::Completed, "{:?}", run.error);
    assert_eq!(run.output, json!([{ "id": "0 a" }, { "id": "1 b" }, { "id": "2 c" }]));
    assert_eq!(rig.road.world().most_at_once, 2);
    assert_eq!(rig.road.world().inputs["last"], json!({ "n": 3 }));

    let none = rig.run(LIST, json!({ "names": [] })).await;
    assert_eq!((none.status(), &none.output), (RunStatus::Completed, &json!([])));
    let no_list = rig.run(LIST, json!({ "names": 7 })).await;
    assert_eq!(no_list.error.unwrap().message, "step `each`: `foreach` does not give a list");
}

#[tokio::test(start_paused = true)]
async fn items_are_taken_back_one_by_one_and_the_step_with_them() {
    let rig = Rig::new();
    rig.fault("last", [failure(FailureKind::Failed, false)]);
    let run = rig.run(LIST, json!({ "names": ["a", "b", "c"] })).await;
    assert_eq!(run.status(), RunStatus::RolledBack);
    assert_eq!(
        statuses(&run),
        [
            "each undone",
            "last failed",
            "each[0] compensated",
            "each[1] compensated",
            "each[2] compensated"
        ]
    );
    assert!(rig.road.world().notes.is_empty());
    assert_eq!(run.rollback.undone, ["each[2]", "each[1]", "each[0]"]);

    let rig = Rig::new();
    rig.road.world().compensation_fails.insert("each[1]".into());
    rig.fault("last", [failure(FailureKind::Failed, false)]);
    let run = rig.run(LIST, json!({ "names": ["a", "b"] })).await;
    assert_eq!(run.status(), RunStatus::Failed);
    assert_eq!(run.step("each").unwrap().status, StepStatus::Stuck);
    assert_eq!(rig.road.world().notes, ["1 b"]);
}

#[tokio::test(start_paused = true)]
async fn an_item_that_fails_fails_the_step() {
    let rig = Rig::new();
    rig.fault("each[1]", [failure(FailureKind::Failed, false)]);
    let run = rig.run(LIST, json!({ "names": ["a", "b", "c"] })).await;
    assert_eq!(run.status(), RunStatus::RolledBack);
    assert_eq!(run.error.unwrap().step.as_deref(), Some("each[1]"));
    assert!(rig.road.world().notes.is_empty());
}

const WAIT: &str = r#"
id: patient
version: 1.0.0
steps:
  - { id: one, use: fs.write, with: { path: a, content: "1" } }
  - { id: rest, wait: 1h, needs: [one] }
  - { id: two, use: fs.write, needs: [rest], with: { path: b, content: "2" } }
"#;

#[tokio::test(start_paused = true)]
async fn a_wait_goes_on_where_it_was_in_another_process() {
    let rig = Rig::new();
    let run = rig.submit(WAIT, json!({})).await;
    let id = run.run_id.clone();
    let begun = tokio::time::Instant::now();
    // Its driver goes away after twenty minutes.
    let dropped = tokio::time::timeout(Duration::from_secs(1200), rig.engine.drive(&id)).await;
    assert!(dropped.is_err());
    assert!(!rig.road.world().files.contains_key("b"));
    let other = rig.another_engine("other");
    let busy = other.drive(&id).await;
    assert!(matches!(busy, Err(EngineError::Busy(_))), "the lease has not run out: {busy:?}");
    assert!(other.recover(4).await.unwrap().is_empty());
    tokio::time::advance(Duration::from_secs(600)).await;
    let recovered = other.recover(4).await.unwrap();
    let [(of, Ok(run))] = recovered.as_slice() else { panic!("{recovered:?}") };
    assert_eq!((of, run.status()), (&id, RunStatus::Completed));
    let waited = begun.elapsed().as_secs();
    assert!((3600..3602).contains(&waited), "{waited}");
}

#[tokio::test(start_paused = true)]
async fn a_run_that_waits_can_be_stopped_at_once_from_anywhere() {
    for far in [false, true] {
        let rig = Rig::new();
        let run = rig.submit(WAIT, json!({})).await;
        let id = run.run_id.clone();
        let other = rig.another_engine("other");
        let asked = if far { &other } else { &rig.engine };
        let begun = tokio::time::Instant::now();
        let (paused, ()) = tokio::join!(rig.engine.drive(&id), async {
            tokio::time::sleep(Duration::from_secs(60)).await;
            assert_eq!(asked.pause(&id).await.unwrap().status(), RunStatus::Running);
        });
        assert_eq!(paused.unwrap().status(), RunStatus::Paused);
        // From another process it is seen when the lease is renewed.
        let most = if far { 71 } else { 60 };
        assert!(begun.elapsed() <= Duration::from_secs(most), "{:?}", begun.elapsed());

        let (cancelled, ()) = tokio::join!(rig.engine.resume(&id, Resume::Continue), async {
            tokio::time::sleep(Duration::from_secs(60)).await;
            asked.cancel(&id, true).await.unwrap();
        });
        assert_eq!(cancelled.unwrap().status(), RunStatus::RolledBack);
        assert!(rig.road.world().files.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_stops_at_its_time_limit_even_while_it_waits() {
    let rig = Rig::new();
    let text = WAIT.replace("version: 1.0.0\n", "version: 1.0.0\ntimeout: 5m\n");
    let run = rig.run(&text, json!({})).await;
    assert_eq!(run.status(), RunStatus::RolledBack);
    assert_eq!(run.error.unwrap().kind, FailureKind::TimedOut);
    assert_eq!(run.ended_at.unwrap().since(run.started_at.unwrap()).as_secs(), 300);
}

#[tokio::test(start_paused = true)]
async fn what_only_looks_is_saved_with_what_comes_next() {
    let rig = Rig::new();
    let text = r#"
id: looks
version: 1.0.0
steps:
  - { id: now, use: time.now }
  - { id: render, use: text.render, needs: [now], with: { template: "x" } }
  - { id: write, use: fs.write, needs: [render], with: { path: a, content: "{{ steps.now.output.time }}" } }
  - { id: hash, use: fs.hash, needs: [write], with: { path: a } }
"#;
    rig.road.world().looks = ["now", "render", "hash"].map(str::to_owned).into();
    let run = rig.engine.run(&rig.session, &workflow(text), json!({})).await.unwrap();
    assert_eq!(run.status(), RunStatus::Completed);
    // One before the effect and one at the end.
    assert_eq!((run.revision, rig.failing.n_saves()), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_run_with_much_to_do_does_not_keep_others_waiting() {
    let mut rig = Rig::new();
    rig.engine = rig.another_engine("narrow").with_limits(Limits { per_run: 16, per_process: 2 });
    rig.road.world().takes = Duration::from_secs(1);
    let wide = document(&vec![Vec::new(); 16]);
    let (many, one) =
        (rig.submit(&wide, json!({})).await, rig.submit(&document(&[vec![]]), json!({})).await);
    let begun = tokio::time::Instant::now();
    let (many, one) = tokio::join!(
        async {
            rig.engine.drive(&many.run_id).await.unwrap();
            begun.elapsed().as_secs()
        },
        async {
            rig.engine.drive(&one.run_id).await.unwrap();
            begun.elapsed().as_secs()
        }
    );
    assert!(one <= 3 && many >= 8, "the narrow run took {one} s, the wide one {many} s");
}

/// Refuses some, and writes down what it saw.
#[derive(Default)]
struct Watch {
    refuses: BTreeSet<String>,
    seen: Mutex<Vec<String>>,
}

impl Watch {
    fn saw(&self, what: String) {
        self.seen.lock().unwrap().push(what);
    }

    fn judge(&self, what: &str) -> Result<(), String> {
        if self.refuses.contains(what) { Err("not today".to_owned()) } else { Ok(()) }
    }
}

#[async_trait]
impl Hooks for Watch {
    async fn pre_execution(&self, run: &RunRecord) -> Result<(), String> {
        self.saw("pre_execution".to_owned());
        self.judge(&run.workflow.id)
    }

    async fn pre_step(&self, call: &StepCall) -> Result<(), String> {
        self.saw(format!("pre_step {}", call.step_id));
        self.judge(&call.step_id)
    }

    async fn post_step(
        &self,
        call: &StepCall,
        answer: &Result<lictor_workflow::StepDone, lictor_workflow::StepFailure>,
    ) {
        self.saw(format!("post_step {} {}", call.step_id, answer.is_ok()));
    }

    async fn post_execution(&self, run: &RunRecord) {
        self.saw(format!("post_execution {}", run.status()));
    }

    async fn on_halt(&self, run: &RunRecord) {
        self.saw(format!("on_halt {}", run.status()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_hook_sees_everything_and_what_it_refuses_does_not_happen() {
    let rig = Rig::new();
    let watched = async |refuses: &[&str]| {
        let refuses = refuses.iter().map(|it| (*it).to_owned()).collect();
        let watch = Arc::new(Watch { refuses, ..Watch::default() });
        let engine = rig.another_engine("watched").with_hooks(Arc::<Watch>::clone(&watch));
        let run = engine.run(&rig.session, &workflow(CHAIN), json!({})).await.unwrap();
        let seen = watch.seen.lock().unwrap().clone();
        (run, seen)
    };
    let (run, seen) = watched(&[]).await;
    assert_eq!(run.status(), RunStatus::Completed);
    assert_eq!(seen.len(), 10);
    assert_eq!(seen[..3], ["pre_execution", "pre_step one", "post_step one true"]);
    assert_eq!(seen[9], "post_execution completed");

    rig.road.world().log.clear();
    let (run, seen) = watched(&["chain"]).await;
    assert_eq!((run.status(), seen[1].as_str()), (RunStatus::Failed, "on_halt failed"));
    assert_eq!(run.error.unwrap().kind, FailureKind::Denied);
    assert!(rig.log().is_empty());

    let (run, seen) = watched(&["one"]).await;
    assert_eq!(run.status(), RunStatus::RolledBack);
    assert_eq!(seen, ["pre_execution", "pre_step one", "on_halt rolled_back"]);
    assert!(rig.log().is_empty());
}

#[tokio::test(start_paused = true)]
async fn one_run_that_cannot_go_on_does_not_keep_the_others() {
    let rig = Rig::new();
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(rig.submit(CHAIN, json!({})).await);
    }
    let mut bad = ids[0].clone();
    let spoilt = bad.run_id.clone();
    bad.workflow.source.push_str("\n# changed\n");
    rig.overwrite(bad).await;
    let recovered = rig.engine.recover(2).await.unwrap();
    assert_eq!(recovered.len(), 3);
    for (id, outcome) in &recovered {
        if *id == spoilt {
            assert!(matches!(outcome, Err(EngineError::Document { .. })));
        } else {
            assert_eq!(outcome.as_ref().unwrap().status(), RunStatus::Completed);
        }
    }
    assert!(recovered.iter().any(|(id, _)| *id == spoilt));
    let again = rig.engine.recover(2).await.unwrap();
    assert_eq!(again.len(), 1, "it is still there to be looked at");
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_seen_while_another_branch_goes_on() {
    let rig = Rig::new();
    let text = r#"
id: both
version: 1.0.0
steps:
  - { id: long, wait: 2h }
  - { id: ask, approval: { message: "Go?" } }
  - { id: after, use: fs.write, needs: [ask], with: { path: a, content: "1" } }
"#;
    let pending = lictor_workflow::ApprovalState::Pending { approval_id: "apr_1".into() };
    rig.road.world().answer = Some(pending);
    let run = rig.submit(text, json!({})).await;
    let id = run.run_id.clone();
    let (run, ()) = tokio::join!(rig.engine.drive(&id), async {
        tokio::time::sleep(Duration::from_secs(60)).await;
        rig.road.world().answer = Some(lictor_workflow::ApprovalState::Granted);
        let seen = rig.engine.resume(&id, Resume::Continue).await.unwrap();
        assert_eq!(seen.status(), RunStatus::Running);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(rig.road.world().files.contains_key("a"), "it did not wait for the other branch");
    });
    assert_eq!(run.unwrap().status(), RunStatus::Completed);
}
