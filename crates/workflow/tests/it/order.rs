//! Orders of random workflows.

use std::collections::HashMap;

use lictor_document::Source;
use lictor_workflow::Workflow;
use proptest::prelude::*;

use crate::rig::workflow;

/// Edges lead to steps earlier in a hidden order; the document lists the steps shuffled.
fn dag() -> impl Strategy<Value = (Vec<usize>, Vec<Vec<usize>>)> {
    (1_usize..24).prop_flat_map(|n| {
        let shuffled = Just((0..n).collect::<Vec<_>>()).prop_shuffle();
        let needs: Vec<_> = (0..n)
            .map(|step| {
                proptest::collection::btree_set(0..step.max(1), 0..=step.min(4))
                    .prop_map(move |set| set.into_iter().filter(|it| *it < step).collect())
            })
            .collect();
        (shuffled, needs)
    })
}

fn document(listed: &[usize], needs: &[Vec<usize>]) -> String {
    let mut text = "id: w\nversion: 1.0.0\nsteps:\n".to_owned();
    for step in listed {
        let names: Vec<String> = needs[*step].iter().map(|need| format!("s{need}")).collect();
        let names = names.join(", ");
        text.push_str(&format!("  - {{ id: s{step}, use: t.n, needs: [{names}] }}\n"));
    }
    text
}

proptest! {
    #[test]
    fn the_order_respects_needs((listed, needs) in dag()) {
        let workflow = workflow(&document(&listed, &needs));
        let plan = workflow.plan();
        let at: HashMap<&str, usize> =
            plan.order.iter().enumerate().map(|(idx, id)| (id.as_str(), idx)).collect();
        prop_assert_eq!(at.len(), needs.len());
        let level = |id: &str| plan.levels.iter().position(|ids| ids.iter().any(|it| it == id));
        prop_assert_eq!(plan.levels.iter().map(Vec::len).sum::<usize>(), needs.len());
        for (step, needs) in needs.iter().enumerate() {
            let step = format!("s{step}");
            for need in needs {
                let need = format!("s{need}");
                prop_assert!(at[need.as_str()] < at[step.as_str()]);
                prop_assert!(level(&need) < level(&step));
            }
        }
    }

    #[test]
    fn one_edge_back_is_a_cycle_and_is_named((listed, mut needs) in dag(), from in 0_usize..24) {
        let n = needs.len();
        prop_assume!(n > 1);
        let last = n - 1;
        let first = from % last;
        needs[last].push(first);
        needs[last].sort_unstable();
        needs[last].dedup();
        needs[first].push(last);
        let text = document(&listed, &needs);
        let refused = Workflow::from_yaml(&Source::new("w.yaml", text.as_bytes()));
        let error = refused.expect_err("it is a cycle");
        let message = error.problems()[0].message();
        let named = message.strip_prefix("the steps need each other: ").expect("the cycle");
        let steps: Vec<usize> =
            named.split(" -> ").map(|id| id.trim_start_matches('s').parse().expect("an id")).collect();
        prop_assert_eq!(steps.first(), steps.last());
        for pair in steps.windows(2) {
            prop_assert!(needs[pair[0]].contains(&pair[1]), "{}", message);
        }
    }
}

#[test]
fn steps_that_do_not_wait_keep_the_order_of_the_document() {
    let text = "id: w\nversion: 1.0.0\nsteps:\n  - { id: c, use: t.n, needs: [a] }\n\
                \x20 - { id: b, use: t.n }\n  - { id: a, use: t.n }\n";
    let workflow = workflow(text);
    assert_eq!(workflow.plan().order, ["b", "a", "c"]);
    assert_eq!(workflow.plan().levels, [vec!["b", "a"], vec!["c"]]);
}
