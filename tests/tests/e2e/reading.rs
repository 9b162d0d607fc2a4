//! Where the policy is broken nothing is done, and all that was done can be read: no less, and nothing that a
//! policy would hide.

use std::fs;
use std::path::Path;

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::place::{POLICY, Place, lines, message, text};

/// A workflow whose input holds a secret by its name.
const WORKFLOW: &str = "\
id: notes
version: 1.0.0
title: Notes
input: { type: object }
steps:
  - id: write
    use: fs.write
    with: { path: out/notes.txt, content: done }
";

/// A place with something of everything: a change, a refusal, a look, an undo, a run, a request.
struct Past {
    place: Place,
    execution: String,
    looked: String,
    refused: String,
    decision: String,
    approval: String,
    run: String,
}

fn past() -> Past {
    let policy = format!("{POLICY}audit: {{ redact: [\"cus_[0-9]+\"] }}\n");
    let place = Place::with_policy(&policy);
    let path = "path=plans/a.txt";
    let wrote = place.run(&["call", "fs.write", path, "content=the-lines-of-a", "--quiet"]).done();
    let refused = ["call", "fs.write", "path=no/x", "content=for cus_4711"];
    let refused = place.run(&refused).ends(3, "denied");
    let looked = place.run(&["call", "time.now"]).done();
    place
        .run(&["call", "fs.write", "path=ask/b", "content=the-lines-of-b"])
        .ends(4, "approval_required");
    place.run(&["call", "fs.write", "path=c", "content=c"]).done();
    place.run(&["undo"]).done();
    let workflow = place.document("notes.workflow.yaml", WORKFLOW);
    let input = json!({ "password": "canary-of-a-run", "for": "cus_4712" }).to_string();
    let run = place.run(&["run", &workflow, "--input", &input]).done();
    Past {
        execution: text(&wrote, "execution_id").to_owned(),
        looked: text(&looked, "execution_id").to_owned(),
        refused: text(&refused["decision"], "id").to_owned(),
        decision: text(&wrote["decision"], "id").to_owned(),
        approval: place.waiting(),
        run: text(&run, "run_id").to_owned(),
        place,
    }
}

/// Breaks the policy of the workspace.
fn broken(place: &Place) {
    place.policy("version: 1\nnonsense: true\n");
    place.run(&["call", "fs.write", "path=z", "content=z"]).ends(2, "invalid_input");
}

impl Past {
    /// Every verb that only reads, and says what it read.
    fn verbs(&self) -> Vec<Vec<&str>> {
        let executions = [&self.execution, &self.looked];
        let others = [&self.refused, &self.decision, &self.approval, &self.run];
        let mut verbs: Vec<Vec<&str>> = vec![
            vec!["log"],
            vec!["log", "--all", "--limit", "3"],
            vec!["log", "--path", "plans/**"],
            vec!["workflow", "list"],
            vec!["workflow", "show", &self.run],
            vec!["approvals", "list"],
            vec!["approvals", "list", "--all"],
            vec!["audit", "query"],
            vec!["audit", "query", "--execution", &self.execution],
            vec!["audit", "count"],
            vec!["audit", "verify"],
            vec!["audit", "prove", "2"],
            vec!["audit", "report"],
        ];
        verbs.extend(executions.into_iter().chain(others).map(|id| vec!["show", id.as_str()]));
        verbs
    }
}

#[test]
fn what_was_done_is_told_alike_where_the_policy_is_broken() {
    let past = past();
    let place = &past.place;
    let tail = |place: &Place| place.person(&["audit", "tail", "--json"]);
    let under_a_policy: Vec<Value> =
        past.verbs().iter().map(|verb| place.run(verb).done()).collect();
    let tailed = tail(place).stdout;
    let before = place.tree();
    broken(place);
    let broken_policy = place.read(".lictor/policy.yaml");
    for (verb, told) in past.verbs().iter().zip(under_a_policy) {
        let answer = place.run(verb);
        let note = answer.told().to_owned();
        assert!(note.contains("only read") && note.contains("nonsense"), "{verb:?}: {note:?}");
        assert_eq!(answer.done(), told, "{verb:?}");
    }
    assert_eq!(place.run(&["log", "--quiet"]).told(), "");
    let spoken = tail(place);
    assert_eq!(spoken.stdout, tailed);
    assert!(spoken.stderr.contains("nonsense"), "{}", spoken.stderr);
    place.policy(&format!("{POLICY}audit: {{ redact: [\"cus_[0-9]+\"] }}\n"));
    assert_eq!(place.tree(), before, "reading changes nothing");
    assert!(broken_policy.contains("nonsense"));
}

#[test]
fn files_for_others_are_written_beside_the_workspace_where_the_policy_is_broken() {
    let past = past();
    let place = &past.place;
    let name = |name: &str| place.beside(name).to_str().unwrap().to_owned();
    let write = |to: &str| {
        let outs =
            ["jsonl", "events", "log", "page", "proof"].map(|kind| name(&format!("{to}.{kind}")));
        let [jsonl, cloud, otlp, page, proof] = &outs;
        for verb in [
            &["audit", "export", jsonl][..],
            &["audit", "export", cloud, "--format", "cloudevents"],
            &["audit", "export", otlp, "--format", "otlp"],
            &["audit", "report", "--html", page],
            &["audit", "prove", "3", "--out", proof],
        ] {
            place.run(verb).done();
        }
        let beside = format!("{jsonl}.checkpoint");
        let files = outs.iter().chain([&beside]);
        files.map(|file| fs::read_to_string(file).unwrap()).collect::<Vec<_>>()
    };
    let under_a_policy = write("before");
    broken(place);
    assert_eq!(write("after"), under_a_policy);
    assert_eq!(write("after"), under_a_policy, "over its own, again");
    let exported = name("after.jsonl");
    let verified = place.run(&["audit", "verify", "--file", &exported]).done();
    assert_eq!(verified["verdict"], "complete");
    assert_eq!(verified["events"], lines(Path::new(&exported)).len());
    // What the policy forbids in there is not known.
    let before = place.tree();
    for verb in [
        &["audit", "export", "plans/out"][..],
        &["audit", "export", ".lictor/policy.yaml"],
        &["audit", "export", "plans/out", "--format", "ocsf"],
        &["audit", "report", "--html", "plans/out"],
        &["audit", "prove", "3", "--out", "plans/out"],
    ] {
        let denied = place.run(verb).ends(3, "denied");
        assert!(message(&denied).contains("is not known"), "{denied}");
        assert!(denied["error"]["next_steps"].to_string().contains("outside"), "{denied}");
    }
    assert_eq!(place.tree(), before);
}

/// Whatever a policy leaves out of records or hides from whoever looks.
#[test]
fn nothing_is_shown_in_clear_because_the_policy_is_broken() {
    let past = past();
    let place = &past.place;
    broken(place);
    let page = place.beside("page").to_str().unwrap().to_owned();
    let out = place.beside("out").to_str().unwrap().to_owned();
    let mut verbs = past.verbs();
    let ids = [&past.execution, &past.decision, &past.approval, &past.run];
    verbs.extend(ids.map(|id| vec!["diff", id.as_str()]));
    verbs.extend([
        vec!["audit", "tail"],
        vec!["audit", "report", "--html", &page],
        vec!["audit", "export", &out],
    ]);
    let mut all = String::new();
    for verb in &verbs {
        let spoken = place.person(verb);
        assert_eq!(spoken.code, Some(0), "{verb:?}: {}", spoken.stderr);
        all += &(spoken.stdout + &spoken.stderr);
        if verb.get(1) != Some(&"tail") {
            all += &place.run(verb).done().to_string();
        }
    }
    all += &(fs::read_to_string(page).unwrap() + &fs::read_to_string(out).unwrap());
    assert!(all.contains("plans/a.txt"), "something was shown at all");
    for secret in ["cus_4711", "cus_4712", "canary-of-a-run", "the-lines-of-a", "the-lines-of-b"] {
        assert!(!all.contains(secret), "{secret}");
    }
}

#[test]
fn a_diff_names_what_changed_and_shows_no_line_while_it_is_not_known_what_is_hidden() {
    let past = past();
    let place = &past.place;
    let shown = place.run(&["diff", &past.execution]).done();
    assert!(text(&shown, "diff").contains("the-lines-of-a"));
    // As under a policy that hides it.
    place.policy(&POLICY.replace("\"no/**\"", "\"no/**\", \"plans/**\""));
    let hidden = place.run(&["diff", &past.execution]).done();
    assert!(!text(&hidden, "diff").contains("the-lines-of-a"));
    broken(place);
    assert_eq!(place.run(&["diff", &past.execution]).done(), hidden);
    assert_eq!(hidden["files"], shown["files"]);
}

#[test]
fn runs_that_no_policy_was_held_against_wait_for_one() {
    let past = past();
    let place = &past.place;
    let db = Connection::open(place.root.join(".lictor/lictor.db")).unwrap();
    let old = "UPDATE run SET record = json_set(record, '$.input.password', 'canary-in-clear'), \
               sealed = NULL, looked = 0";
    assert_eq!(db.execute(old, []).unwrap(), 1);
    drop(db);
    broken(place);
    for verb in [&["show", &past.run][..], &["workflow", "show", &past.run], &["workflow", "list"]]
    {
        let refused = place.run(verb).ends(1, "failed");
        assert!(message(&refused).contains("older version"), "{refused}");
        assert!(!refused.to_string().contains("canary-in-clear"), "{refused}");
    }
    place.run(&["log"]).done();
    place.policy(POLICY);
    let shown = place.run(&["show", &past.run]).done().to_string();
    assert!(shown.contains(&past.run) && !shown.contains("canary-in-clear"), "{shown}");
}

/// The user's policy counts like the workspace's.
#[test]
fn a_broken_policy_of_the_user_is_one_as_well() {
    let past = past();
    let place = &past.place;
    let told = place.run(&["log"]).done();
    let config = place.home().join("config/lictor");
    fs::create_dir_all(&config).unwrap();
    fs::write(config.join("policy.yaml"), "version: 1\ndefault: maybe\n").unwrap();
    place.run(&["call", "fs.write", "path=z", "content=z"]).ends(2, "invalid_input");
    let answer = place.run(&["log"]);
    assert!(answer.told().contains("maybe"), "{}", answer.told());
    assert_eq!(answer.done(), told);
}
