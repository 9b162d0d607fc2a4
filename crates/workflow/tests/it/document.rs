//! What is refused, and where.

use lictor_document::Source;
use lictor_workflow::{MAX_STEPS, Workflow, WorkflowError};

use crate::rig::workflow;

fn problems(text: &str) -> Vec<String> {
    let source = Source::new("w.yaml", text.as_bytes());
    let error: WorkflowError = Workflow::from_yaml(&source).expect_err("it is refused");
    let shown = |problem: &lictor_document::DocumentError| {
        format!("{}:{}: {}", problem.line(), problem.column(), problem.message())
    };
    error.problems().iter().map(shown).collect()
}

/// The steps of a document, and the problems that start with these texts.
#[track_caller]
fn check(steps: &str, expect: &[&str]) {
    let found = problems(&format!("id: w\nversion: 1.0.0\nsteps:\n{steps}"));
    let all = found.len() == expect.len()
        && found.iter().zip(expect).all(|(found, expect)| found.starts_with(expect));
    assert!(all, "{steps}\n{found:#?}");
}

#[test]
fn shapes() {
    check("  - { id: a }\n", &["4:11: step `a` has none of `use`, `approval` and `wait`"]);
    check(
        "  - { id: a, use: time.now, approval: { message: x } }\n",
        &["4:11: step `a` has more than one of `use`, `approval` and `wait`"],
    );
    check("  []\n", &["4:3: found 0 steps; accepted here: 1 to 1000"]);
    check("  - { id: a, use: time.now, uses: b }\n", &["4:29: unknown key `uses`"]);
    check("  - { id: a, use: time }\n", &["4:19: `time` is not a capability id"]);
    check(
        "  - { id: a, use: time.now@latest }\n",
        &["4:19: `time.now@latest` does not end in versions"],
    );
    check("  - { id: a, use: time.now, on_error: stop }\n", &["4:39: unknown value `stop`"]);
    check("  - { id: a, use: time.now, timeout: 0s }\n", &["4:38: `timeout` is zero"]);
    check("  - { id: a, use: time.now, timeout: 5 }\n", &["4:38: "]);
    check(
        "  - { id: a, use: time.now, retry: { attempts: 0 } }\n",
        &["4:36: `attempts` is out of range"],
    );
    check("  - { id: a, use: time.now, with: [1] }\n", &["4:35: `with` is a mapping"]);
    check(
        "  - { id: a, use: time.now, with: \"x {{ input }}\" }\n",
        &["4:35: `with` is a mapping"],
    );
    check("  - { id: a b, use: time.now }\n", &["4:11: `a b` is not a step id"]);
    check(
        "  - { id: a, use: time.now }\n  - { id: a, use: time.now }\n",
        &["5:11: step `a` stands already on line 4"],
    );
    check(
        "  - { id: a, approval: { message: x, approvals: 0 }, with: {}, retry: {} }\n",
        &[
            "4:49: `approvals` is out of range",
            "4:60: `with` is not accepted",
            "4:71: `retry` is not",
        ],
    );
    check("  - { id: a, approval: { message: ' ' } }\n", &["4:35: `message` says nothing"]);
    check("  - { id: a, use: time.now, when: input.x }\n", &["4:35: `when` is no expression"]);
    check(
        "  - { id: a, use: time.now, when: \"a {{ input.x }}\" }\n",
        &["4:35: `when` is no expression"],
    );
    check("  - { id: a, use: time.now, when: 1 }\n", &["4:35: `when` is no expression"]);
}

#[test]
fn needs() {
    check(
        "  - { id: a, use: time.now, needs: [b] }\n",
        &["4:37: `needs` names `b`, and there is no"],
    );
    check(
        "  - { id: a, use: time.now, needs: [a] }\n",
        &["4:37: the steps need each other: a -> a"],
    );
    check(
        "  - { id: z, use: time.now }\n\
         \x20 - { id: a, use: time.now, needs: [z, b] }\n\
         \x20 - { id: b, use: time.now, needs: [c] }\n\
         \x20 - { id: c, use: time.now, needs: [z, a] }\n\
         \x20 - { id: d, use: time.now, needs: [c] }\n",
        &["5:40: the steps need each other: a -> b -> c -> a"],
    );
    check(
        "  - { id: b, use: time.now }\n  - { id: a, use: time.now, needs: [b, b] }\n",
        &["5:40: `needs` names `b` twice"],
    );
}

#[test]
fn templates() {
    check(
        "  - { id: a, use: t.n, with: { x: \"{{ input. }}\", y: [\"{% if %}\"] } }\n",
        &["4:35: `{{ input. }}`: ", "4:55: `{%` is not accepted"],
    );
    check(
        "  - { id: a, use: t.n, with: { x: \"{{ steps.b.output }}\" } }\n  - { id: b, use: t.n }\n",
        &["4:35: step `a` names step `b`, which is not among its `needs`"],
    );
    check(
        "  - { id: a, use: t.n, with: { x: \"{{ steps.a.output }}\" } }\n",
        &["4:35: step `a` names its own output"],
    );
    check(
        "  - { id: a, use: t.n, with: { x: \"{{ steps.b.output[0:1] }} {{ env.HOME }}\" } }\n",
        &[
            "4:35: there is no step `b`",
            "4:35: there is no `env` here; accepted here: input, steps",
        ],
    );
    check(
        "  - { id: a-b, use: t.n }\n\
         \x20 - { id: c, use: t.n, needs: [a-b], with: { x: \"{{ steps.a-b.output }}\" } }\n",
        &["5:", "5:"],
    );
    check(
        "  - { id: a, use: t.n }\n\
         \x20 - { id: c, use: t.n, needs: [a], with: { x: \"{{ steps.a.result + workflow.name }}\" } }\n",
        &["5:47: there is no `steps.a.result`", "5:47: there is no `workflow.name`"],
    );
    check(
        "  - { id: a, use: t.n, with: { x: \"{{ output.id }}\" }, when: \"{{ steps.z }}\" }\n",
        &["4:35: there is no `output` here", "4:62: there is no step `z`"],
    );
    check(
        "  - { id: a, approval: { message: \"{{ steps.b.output }}\" } }\n  - { id: b, use: t.n }\n",
        &["4:35: step `a` names step `b`"],
    );
    check(
        "  - { id: a, use: t.n, compensate: { use: u.v, with: { x: \"{{ outptu.id }}\" } } }\n",
        &["4:59: there is no `outptu` here; accepted here: input, steps, run_id, workflow, output"],
    );
}

#[test]
fn a_step_further_away_may_be_named() {
    let text = "id: w\nversion: 1.0.0\nsteps:\n\
                \x20 - { id: a-1, use: t.n }\n\
                \x20 - { id: b, use: t.n, needs: [a-1] }\n\
                \x20 - { id: c, use: t.n, needs: [b], with: { x: \"{{ steps['a-1'].output }}\" } }\n\
                output: { all: \"{{ steps }}\", c: \"{{ steps.c.output }}\" }\n";
    assert_eq!(workflow(text).plan().order, ["a-1", "b", "c"]);
}

#[test]
fn an_input_that_the_schema_does_not_have_may_not_be_named() {
    let found = problems(
        "id: w\nversion: 1.0.0\ninput: { properties: { x: {} }, additionalProperties: false }\n\
         steps:\n  - { id: a, use: t.n, with: { x: \"{{ input.x }} {{ input.y.z }}\" } }\n",
    );
    assert_eq!(found, ["5:35: there is no `input.y`; accepted here: x"]);
}

#[test]
fn a_document_full_of_problems_is_refused_soon() {
    let needs = "x,".repeat(200_000);
    let found = problems(&format!(
        "id: w\nversion: 1.0.0\nsteps:\n  - {{ id: a, use: t.n, needs: [{needs}] }}\n"
    ));
    assert_eq!(found.len(), 100);
}

#[test]
fn every_problem_is_named_at_once() {
    let found = problems(
        "id: a b\nversion: 1.0.0\npack: c d\ninput: { type: nothing }\ntimeout: 0s\n\
         output: \"{{ steps.no.output }}\"\nsteps:\n  - { id: 1, use: x }\n  - { id: ok, use: t.n, needs: [q] }\n",
    );
    let places: Vec<&str> = found.iter().filter_map(|line| line.split(": ").next()).collect();
    assert_eq!(places, ["1:5", "3:7", "4:8", "5:10", "6:9", "8:11", "8:19", "9:33"], "{found:#?}");
}

#[test]
fn the_message_shows_file_line_and_column() {
    let text = "id: w\nversion: 1.0.0\nsteps:\n  - { id: a }\n";
    let error = Workflow::from_yaml(&Source::new("w.yaml", text.as_bytes())).unwrap_err();
    assert_eq!(
        error.to_string(),
        "w.yaml:4:11: step `a` has none of `use`, `approval` and `wait`; one is needed\n  |\n\
         4 |   - { id: a }\n  |           ^"
    );
}

#[test]
fn hostile_documents() {
    let deep = format!(
        "id: w\nversion: 1.0.0\nsteps:\n  - {{ id: a, use: t.n, with: {{ x: {}{} }} }}\n",
        "[".repeat(80),
        "]".repeat(80)
    );
    let many: String = (0..=MAX_STEPS).map(|n| format!("  - {{ id: s{n}, use: t.n }}\n")).collect();
    let nested = format!("{}1{}", "(".repeat(5000), ")".repeat(5000));
    let cases = [
        (String::new(), "1:1"),
        ("[]".to_owned(), "1:1"),
        ("id: w\nid: w\n".to_owned(), "2:1"),
        ("id: w\nversion: 1.0\nsteps: []\n".to_owned(), "2:10"),
        ("id: w\nversion: 1.0.0\n".to_owned(), "1:1"),
        ("id: w\nversion: 1.0.0\nsteps: &a [*a]\n".to_owned(), "3:"),
        ("id: w\nversion: 1.0.0\nsteps: { a: { use: t.n } }\n".to_owned(), "3:8"),
        (
            "id: w\nversion: 1.0.0\nsteps:\n  - { id: a, use: t.n, with: { x: .nan } }\n"
                .to_owned(),
            "4:35",
        ),
        (
            "id: w\nversion: 1.0.0\nsteps:\n  - { id: a, use: t.n, with: { x: 1, x: 2 } }\n"
                .to_owned(),
            "4:38",
        ),
        ("id: w\nversion: 1.0.0\nsteps:\n  - !!python/object { id: a }\n".to_owned(), "4:5"),
        ("\u{feff}id: w\n".to_owned(), "1:1"),
        (deep, "4:"),
        (format!("id: w\nversion: 1.0.0\nsteps:\n{many}"), "4:3"),
        (
            format!(
                "id: w\nversion: 1.0.0\nsteps:\n  - {{ id: a, use: t.n, with: {{ x: \"{{{{ {nested} }}}}\" }} }}\n"
            ),
            "4:35",
        ),
        (
            format!(
                "id: w\nversion: 1.0.0\nsteps:\n  - {{ id: a, use: t.n, with: {{ x: \"{}\" }} }}\n",
                "{{ 1 }}".repeat(50_000)
            ),
            "4:35",
        ),
    ];
    for (text, at) in cases {
        let found = problems(&text);
        let shown: String = text.chars().take(120).collect();
        assert!(found.iter().any(|problem| problem.starts_with(at)), "{shown}\n{found:#?}");
    }
}
