//! Each verb's keys and exit codes, and how wrong usage is answered.

use serde_json::{Value, json};

use crate::place::{Place, has, message, text};

#[test]
fn init_makes_a_workspace_once_and_never_overwrites() {
    let mut place = Place::bare();
    let made = place.run(&["init"]).done();
    has(&made, &["workspace", "created", "approver_token"]);
    assert!(made["approver_token"].as_str().unwrap().len() >= 20);
    for path in [".lictor/policy.yaml", ".lictor/capabilities", ".lictor/.gitignore"] {
        assert!(place.exists(path), "{path}");
    }
    place.policy("version: 1\n# mine\n");
    let again = place.run(&["init"]).done();
    assert_eq!(again["created"], json!([]));
    assert_eq!(again["approver_token"], Value::Null, "the token is shown once");
    assert_eq!(place.read(".lictor/policy.yaml"), "version: 1\n# mine\n");
    place.token.clear();
}

/// It would be a way around the policy: whoever makes a workspace may approve everything in it.
#[test]
fn a_workspace_inside_of_another_is_made_by_an_approver_of_that() {
    let place = Place::new();
    place.write("ask/file", "x");
    let inner = place.root.join("ask");
    let inner = inner.to_str().unwrap();
    let tree = place.tree();
    let refused = place.run(&["init", "--workspace", inner]).ends(3, "denied");
    assert!(message(&refused).contains("whose policy would not count there"), "{refused}");
    assert_eq!(place.tree(), tree);
    let last = place.last_event();
    assert_eq!(
        (&last["event_type"], &last["action_name"]),
        (&json!("action_rejected"), &json!("init.inside"))
    );
    place.run_as_approver(&["init", "--workspace", inner]).done();
    assert!(place.exists("ask/.lictor/policy.yaml"));
    assert_eq!(place.last_event()["event_type"], "action_completed");
    // What is there already is not made.
    place.run(&["init", "--workspace", inner]).done();
    // Nobody gets at its policy from the outer one.
    place.run(&["call", "fs.write", "path=ask/.lictor/policy.yaml", "content=x"]).ends(3, "denied");
}

#[test]
fn the_first_approver_is_the_user_of_the_system_whatever_name_is_given() {
    let place = Place::bare();
    place.run(&["init", "--user", "mallory"]).done();
    let people = place.run(&["approvers", "list"]).done();
    assert_ne!(people["approvers"][0]["name"], "mallory");
}

#[test]
fn the_workspace_is_the_nearest_one_upwards() {
    let place = Place::new();
    place.write("deep/er/x", "");
    let inside = place.root.join("deep/er");
    place
        .run_with(&["call", "fs.write", "path=a", "content=x"], |command| {
            command.current_dir(&inside);
        })
        .done();
    assert!(place.exists("a") && !place.exists("deep/er/a"));
    let root = place.root.to_str().unwrap();
    place
        .run_with(&["call", "fs.write", "path=b", "content=x", "--workspace", root], |command| {
            command.current_dir("/");
        })
        .done();
    assert!(place.exists("b"));
}

#[test]
fn without_a_workspace_nothing_is_done() {
    let place = Place::bare();
    let document = place.document(
        "a.json",
        json!({ "changes": [
        { "op": "create", "path": "a", "content": "a" },
    ] })
        .to_string(),
    );
    for arguments in [
        &["apply", document.as_str()][..],
        &["call", "fs.write", "path=a", "content=x"],
        &["log"],
        &["undo"],
        &["audit", "verify"],
    ] {
        let refused = place.run(arguments).ends(2, "invalid_input");
        assert!(refused["error"]["next_steps"].to_string().contains("lictor init"), "{refused}");
    }
    assert!(!place.exists("a") && !place.exists(".lictor"));
}

#[test]
fn a_call_answers_with_output_and_decision() {
    let place = Place::new();
    let written = place.run(&["call", "fs.write", "path=a.txt", "content=hello"]).done();
    has(&written, &["execution_id", "status", "output", "decision"]);
    has(
        &written["decision"],
        &[
            "id",
            "verdict",
            "risk_proposed",
            "risk_effective",
            "reasons",
            "required_actions",
            "approvals_needed",
            "action_digest",
            "policy_digest",
            "expires_at",
        ],
    );
    let read = place.run(&["call", "fs.read", "--input", r#"{"path":"a.txt"}"#]).done();
    assert_eq!(read["output"]["content"], "hello");
    let rendered = place
        .run_with_stdin(
            &["call", "text.render", "--input", "-"],
            br#"{"template":"hi {{ name }}","variables":{"name":"you"}}"#,
        )
        .done();
    assert_eq!(rendered["output"]["text"], "hi you");
    // What the contract wants as text is text, whatever it looks like.
    place.run(&["call", "fs.write", "path=n", "content=12"]).done();
    assert_eq!(place.read("n"), "12");
}

#[test]
fn an_input_that_the_contract_refuses_is_invalid() {
    let place = Place::new();
    for arguments in [
        &["call", "fs.write", "path=a"][..],
        &["call", "fs.write", "path=a", "content=x", "colour=red"],
        &["call", "fs.write", "--input", r#"{"path":1,"content":"x"}"#],
        &["call", "fs.write", "--input", "{"],
        &["call", "fs.write", "--input", r#"{"path":"a","path":"b","content":"x"}"#],
    ] {
        place.run(arguments).ends(2, "invalid_input");
    }
    let unknown = place.run(&["call", "fs.wriet", "path=a"]).ends(2, "not_found");
    assert!(unknown.to_string().contains("fs.write"), "{unknown}");
    assert!(!place.exists("a"));
}

#[test]
fn a_run_that_fails_ends_with_one() {
    let place = Place::new();
    let failed = place.run(&["call", "fs.read", "path=missing"]).ends(1, "failed");
    has(&failed, &["execution_id", "decision"]);
    // What is wrong with the input itself is another thing.
    place.run(&["call", "json.parse", "text={"]).ends(2, "invalid_input");
}

#[test]
fn the_environment_is_denied() {
    let place = Place::new();
    place.run(&["call", "env.get", "name=HOME"]).ends_with_one_of(&[1, 2, 3]);
}

#[test]
fn history_is_told_newest_first_and_in_full() {
    let place = Place::new();
    let a = place.run(&["call", "fs.write", "path=src/a", "content=1"]).done();
    let b = place.run(&["call", "fs.write", "path=b", "content=1", "--session", SESSION]).done();
    let (a, b) = (text(&a, "execution_id"), text(&b, "execution_id"));
    let ids = |answer: &Value| -> Vec<String> {
        let all = answer["executions"].as_array().unwrap();
        all.iter().map(|one| text(one, "execution_id").to_owned()).collect()
    };
    assert_eq!(ids(&place.run(&["log"]).done()), [b, a]);
    assert_eq!(ids(&place.run(&["log", "--limit", "1"]).done()), [b]);
    assert_eq!(ids(&place.run(&["log", "--path", "src"]).done()), [a]);
    assert_eq!(ids(&place.run(&["log", "--session", SESSION]).done()), [b]);
    let shown = place.run(&["show", a]).done();
    assert_eq!(shown["execution_id"], a);
    let decision = text(&shown["decision"], "id");
    assert_eq!(place.run(&["show", decision]).done()["verdict"], "allow");
    assert_eq!(place.run(&["policy", "explain", decision]).done()["id"], decision);
    let diff = place.run(&["diff", a]).done();
    has(&diff, &["execution_id", "files", "diff"]);
    assert!(text(&diff, "diff").contains("+1"), "{diff}");
    place.run(&["show", &a.replace('1', "2")]).ends(2, "not_found");
    place.run(&["show", "nonsense"]).ends(2, "not_found");
    place.run(&["show", "apr_nonsense!"]).ends(2, "usage");
}

const SESSION: &str = "ses_01a1f87195887d508e144ffac6a323e7";

#[test]
fn a_denied_decision_can_be_explained() {
    let place = Place::new();
    let denied = place.run(&["call", "fs.write", "path=no/x", "content=x"]).ends(3, "denied");
    let decision = text(&denied["decision"], "id");
    let explained = place.run(&["policy", "explain", decision]).done();
    assert_eq!(explained["verdict"], "deny");
    let rules = explained["reasons"].to_string();
    assert!(rules.contains("paths.forbidden") && rules.contains("policy.yaml:"), "{rules}");
    let spoken = place.person(&["policy", "explain", decision]);
    assert!(spoken.stdout.contains("no/x"), "{spoken:?}");
}

#[test]
fn undo_takes_an_execution_a_number_or_a_session() {
    let place = Place::new();
    let write = |path: &str, session: &str| {
        let path = format!("path={path}");
        let call = ["call", "fs.write", &path, "content=x", "--session", session];
        text(&place.run(&call).done(), "execution_id").to_owned()
    };
    let other = SESSION.replace('1', "2");
    let first = write("a", SESSION);
    write("b", &other);
    write("c", SESSION);
    write("d", &other);
    let undone = place.run(&["undo", &first]).done();
    assert_eq!(undone["undo_of"], json!([first]));
    assert!(!place.exists("a") && place.exists("b"));
    place.run(&["undo", &first]).ends_with_one_of(&[2]);
    place.run(&["undo", "--session", SESSION]).done();
    assert!(!place.exists("c") && place.exists("b") && place.exists("d"));
    let undone = place.run(&["undo", "--last", "2"]).done();
    assert_eq!(undone["undo_of"].as_array().unwrap().len(), 2);
    assert!(!place.exists("b") && !place.exists("d"));
    place.run(&["undo"]).ends(2, "not_found");
    place.run(&["redo", &first]).done();
    assert!(place.exists("a"));
    place.verify();
}

#[test]
fn the_catalogue_shows_every_builtin_with_its_contract() {
    let place = Place::new();
    let list = place.run(&["capability", "list"]).done();
    let all = list["capabilities"].as_array().unwrap();
    for id in [
        "fs.read",
        "fs.write",
        "fs.delete",
        "fs.move",
        "fs.copy",
        "fs.list",
        "fs.hash",
        "text.render",
        "json.parse",
        "json.get",
        "json.stringify",
        "regex.match",
        "time.now",
        "env.get",
    ] {
        let found = all.iter().find(|one| one["id"] == id).unwrap_or_else(|| panic!("no {id}"));
        assert_eq!(found["state"], "active");
        let shown = place.run(&["capability", "show", id]).done();
        has(&shown, &["id", "version", "title", "input", "output", "risk", "effects", "digest"]);
        assert_eq!(shown["digest"], found["digest"]);
    }
    place.run(&["capability", "show", "no.such"]).ends(2, "not_found");
}

#[test]
fn a_policy_is_linted_with_line_and_column() {
    let place = Place::new();
    assert_eq!(place.run(&["policy", "lint"]).done()["valid"], true);
    has(&place.run(&["policy", "show"]).done(), &["digest", "layers", "settings"]);
    place.run(&["policy", "test"]).done();
    let broken = place.document("p.yaml", "version: 1\npaths: { allwed: [] }\n");
    let refused = place.run(&["policy", "lint", &broken]).ends(2, "invalid_input");
    assert!(message(&refused).contains("p.yaml:2:"), "{refused}");
    let failing = place.document("t.yaml", "version: 1\nrules:\n  - name: r\n    when: { capability: \"fs.*\" }\n    verdict: deny\n    match: [ { capability: text.render } ]\n");
    let refused = place.run(&["policy", "test", &failing]).ends(2, "invalid_input");
    assert!(message(&refused).contains("t.yaml:"), "{refused}");
}

#[test]
fn recover_lock_and_doctor_answer() {
    let place = Place::new();
    place.run(&["call", "fs.write", "path=a", "content=x"]).done();
    assert_eq!(place.run(&["recover"]).done()["recovered"], json!([]));
    assert_eq!(place.run(&["lock", "status"]).done()["held"], false);
    assert_eq!(place.run(&["lock", "break"]).done()["broken"], "nothing");
    let doctor = place.run(&["doctor"]).done();
    let checks = doctor["checks"].as_array().unwrap();
    assert!(checks.len() > 5);
    for check in checks {
        has(check, &["name", "ok", "detail"]);
        assert_eq!(check["ok"], true, "{check}");
    }
    let bare = Place::bare();
    assert_eq!(bare.run(&["doctor"]).done()["ok"], false);
}

#[test]
fn wrong_usage_says_so_in_json() {
    let place = Place::new();
    for arguments in [
        &["nonsense"][..],
        &[],
        &["apply"],
        &["apply", "a", "b"],
        &["apply", "--wat"],
        &["undo", "--last", "many"],
        &["undo", "--last", "0"],
        &["undo", "no sense"],
        &["undo", "exe_1", "--last", "2"],
        &["audit"],
        &["audit", "query", "--type", "nonsense"],
        &["audit", "query", "--since", "yesterday"],
        &["call", "fs.read", "path"],
        &["call", "fs.read", "path=a", "path=b"],
        &["log", "--session", "no sense"],
        &["log", "--user", "a b\u{1b}"],
        &["approvals", "show", "no sense"],
        &["workflow", "show", "no sense"],
    ] {
        let wrong = place.run(arguments).ends(2, "usage");
        assert!(!message(&wrong).ends_with(':'), "{arguments:?} is not said in full: {wrong}");
    }
    let missing = place.run(&["apply"]).ends(2, "usage");
    assert!(message(&missing).contains("FILE"), "{missing}");
    place.run(&["apply", "/no/such/file"]).ends(2, "invalid_input");
}

#[test]
fn wrong_usage_and_help_are_for_people_without_json() {
    let place = Place::bare();
    let wrong = place.person(&["apply"]);
    assert_eq!(wrong.code, Some(2));
    assert!(wrong.stdout.is_empty() && wrong.stderr.contains("Usage"), "{wrong:?}");
    for arguments in [&["--help"][..], &["--version"], &["help"]] {
        let helped = place.person(arguments);
        assert_eq!(helped.code, Some(0));
        assert!(helped.stdout.contains("lictor"), "{helped:?}");
    }
}

#[test]
fn every_verb_has_help() {
    let place = Place::bare();
    for verb in [
        "init",
        "apply",
        "change",
        "check",
        "call",
        "run",
        "undo",
        "redo",
        "log",
        "show",
        "diff",
        "approvals",
        "approvers",
        "capability",
        "policy",
        "workflow",
        "recover",
        "lock",
        "audit",
        "doctor",
        "demo",
        "completions",
    ] {
        let helped = place.person(&[verb, "--help"]);
        assert_eq!(helped.code, Some(0), "{verb}");
        assert!(helped.stdout.contains("Usage: lictor"), "{verb}: {}", helped.stdout);
    }
    for verb in ["init", "apply", "call", "run", "undo", "redo", "recover"] {
        let helped = place.person(&[verb, "--help"]);
        assert!(helped.stdout.contains("--dry-run"), "{verb} has no --dry-run");
    }
}

#[test]
fn completions_and_man_pages_are_generated() {
    let place = Place::bare();
    for shell in ["bash", "zsh", "fish"] {
        let script = place.person(&["completions", shell]);
        assert_eq!(script.code, Some(0));
        assert!(script.stdout.contains("approvals"), "{shell}");
    }
    let pages = place.beside("man");
    std::fs::create_dir(&pages).unwrap();
    assert_eq!(place.person(&["man", pages.to_str().unwrap()]).code, Some(0));
    assert!(pages.join("lictor-apply.1").is_file());
}

#[test]
fn who_asks_comes_from_flags_and_environment() {
    let place = Place::new();
    place
        .run_with(&["call", "time.now", "--org", "acme", "--agent", "planner"], |command| {
            command.env("LICTOR_USER", "ann").env("LICTOR_SESSION", SESSION);
        })
        .done();
    let found =
        place.run(&["audit", "query", "--org", "acme", "--type", "action_completed"]).done();
    let event = &found["events"][0];
    assert_eq!(event["org_id"], "acme");
    assert_eq!(event["user_id"], "ann");
    assert_eq!(event["agent_id"], "planner");
    assert_eq!(event["session_id"], SESSION);
}

#[test]
fn a_reader_who_goes_away_changes_neither_outcome_nor_exit_code() {
    let place = Place::new();
    for arguments in [
        &["call", "fs.write", "path=a", "content=x"][..],
        &["audit", "query"],
        &["audit", "tail", "--json"],
        &["log", "--json"],
        &["capability", "list"],
        &["completions", "bash"],
        &["--help"],
    ] {
        let mut command = place.command(arguments);
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        command.stdout(writer).stderr(std::process::Stdio::piped());
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!said.contains("panicked"), "{arguments:?}: {said}");
        let helps = arguments == ["--help"];
        assert!(helps || output.status.code() == Some(0), "{arguments:?}: {said}");
    }
    assert!(place.exists("a"));
    // Also the reason of a refusal may find nobody.
    let mut command = place.command(&["call", "fs.write", "path=no/a", "content=x"]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    command.stderr(writer);
    assert_eq!(command.status().unwrap().code(), Some(3));
}

#[test]
fn a_result_that_cannot_be_written_is_a_failure() {
    let place = Place::new();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command = place.command(&["capability", "list"]);
    command.stdout(full);
    assert_eq!(command.output().unwrap().status.code(), Some(1));
}

#[test]
fn the_database_may_lie_elsewhere() {
    let place = Place::bare();
    let state = place.beside("state");
    std::fs::create_dir(&state).unwrap();
    let state = state.to_str().unwrap();
    place.run(&["init", "--state-dir", state]).done();
    place.policy(crate::place::POLICY);
    let written = ["call", "fs.write", "path=a", "content=x", "--state-dir", state];
    place.run(&written).done();
    assert!(!place.exists(".lictor/lictor.db"));
    // From then on it is known where it lies.
    assert_eq!(place.run(&["log"]).done()["executions"].as_array().unwrap().len(), 1);
    place.run(&["undo", "--state-dir", state]).done();
    assert!(!place.exists("a"));
}

#[test]
fn nobody_brings_another_database_along() {
    let place = Place::new();
    let (other, mine) = (place.beside("other"), place.beside("mine"));
    let (other, mine) = (other.to_str().unwrap(), mine.to_str().unwrap());
    // An agent with a shell: a workspace of its own, and in its database it approves.
    let own = Place::bare();
    let token = own.run(&["init", "--state-dir", mine]).done();
    let token = token["approver_token"].as_str().unwrap();
    let call = ["call", "fs.write", "path=ask/a", "content=x", "--approve", "--state-dir", mine];
    place.run_with_token(token, &call).ends(3, "denied");
    for verb in [&["init"][..], &["init", "--rebind"], &["log"], &["halt", "--reason", "x"]] {
        let refused = [verb, &["--state-dir", other]].concat();
        place.run_with_token(token, &refused).ends(3, "denied");
    }
    assert!(!place.exists("ask/a"));
    place.run(&["log", "--state-dir", ".lictor"]).done();
    // Neither does the workspace that was bound elsewhere go back by itself.
    own.run(&["log", "--state-dir", ".lictor"]).ends(3, "denied");
    assert!(!own.exists(".lictor/lictor.db"));
}

#[test]
fn an_approver_binds_a_workspace_to_another_database() {
    let place = Place::new();
    let state = place.beside("state");
    let state = state.to_str().unwrap();
    place.run(&["call", "fs.write", "path=a", "content=x"]).done();
    place.run(&["init", "--rebind", "--state-dir", state]).ends(3, "denied");
    let bound = place.run_as_approver(&["init", "--rebind", "--state-dir", state]).done();
    let token = bound["approver_token"].as_str().unwrap();
    assert_eq!(place.run(&["log"]).done()["executions"], json!([]));
    place.run(&["call", "fs.write", "path=ask/a", "content=x"]).ends(4, "approval_required");
    let id = place.waiting();
    place.run_as_approver(&["approvals", "approve", &id]).ends(3, "denied");
    place.run_with_token(token, &["approvals", "approve", &id]).done();
    let told = place.trail();
    assert!(told.iter().any(|event| event["action_name"] == "init.rebind"));
    place.verify();
}

#[test]
fn redo_never_undoes() {
    let place = Place::new();
    place.run(&["call", "fs.write", "path=a", "content=new"]).done();
    place.run(&["undo"]).done();
    assert!(!place.exists("a"));
    place.run(&["redo"]).done();
    assert_eq!(place.read("a"), "new");
    place.run(&["redo"]).ends(2, "not_found");
    assert_eq!(place.read("a"), "new");
    place.run(&["undo"]).done();
    assert!(!place.exists("a"));
    place.run(&["redo"]).done();
    assert_eq!(place.read("a"), "new");
}
