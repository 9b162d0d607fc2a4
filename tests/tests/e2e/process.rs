//! `process.run`, the command that every workspace can ask for: what its description promises, and
//! that a policy's word about a program holds whatever the program is called.

use std::path::Path;

use serde_json::{Value, json};

use crate::place::{Answer, Place, message, text};

/// Everything is allowed but what is named otherwise: these tests are about the capability.
const POLICY: &str = "version: 1\ndefault: deny\n\
    paths: { forbidden: [\"**/.env\", \"**/*.pem\"], protected: [\"ask/**\"], allowed: [\"**\"] }\n\
    risk: { low: allow, medium: allow, high: allow }\n\
    rules:\n  - { name: programs, when: { effect: process }, verdict: allow }\n";

/// A workspace with a policy; nothing, said aloud, where commands cannot be held.
fn place(policy: &str) -> Option<Place> {
    let place = Place::with_policy(policy);
    let doctor = place.run(&["doctor"]).done();
    let checks = doctor["checks"].as_array().unwrap();
    let sandbox = checks.iter().find(|check| check["name"] == "command sandbox").unwrap();
    if sandbox["ok"] != true {
        eprintln!("SKIPPED: this machine cannot hold commands: {}", sandbox["detail"]);
        return None;
    }
    Some(place)
}

fn run(place: &Place, input: &Value) -> Answer {
    place.run(&["call", "process.run", "--input", &input.to_string()])
}

/// One example: what is there, what is asked for, what it answers, and what is there then.
struct Example {
    name: &'static str,
    files: &'static [(&'static str, &'static str)],
    input: Value,
    output: Value,
    after: &'static [(&'static str, Option<&'static str>)],
}

fn printed(stdout: &str) -> Value {
    json!({ "exit_code": 0, "stdout": stdout, "stderr": "" })
}

fn examples() -> Vec<Example> {
    let files: &[_] = &[("src/b.txt", "two\n"), ("src/a.txt", "one\n"), ("top.txt", "top\n")];
    let example = |name, input, output, after| Example { name, files, input, output, after };
    vec![
        example(
            "a program with arguments, each as it is",
            json!({ "argv": ["printf", "%s|", "a b", "$HOME", "*", "; ls"] }),
            printed("a b|$HOME|*|; ls|"),
            &[],
        ),
        example(
            "text on standard input",
            json!({ "argv": ["sort", "-u"], "stdin": "b\na\nb\n" }),
            printed("a\nb\n"),
            &[],
        ),
        example("nothing on standard input", json!({ "argv": ["cat"] }), printed(""), &[]),
        example(
            "a folder, and where it begins",
            json!({ "argv": ["cat", "a.txt", "b.txt"], "cwd": "src", "inputs": ["src/**"] }),
            printed("one\ntwo\n"),
            &[],
        ),
        example(
            "nothing is there but what is named",
            json!({ "argv": ["find", ".", "-type", "f"], "inputs": ["src/a*"] }),
            printed("./src/a.txt\n"),
            &[],
        ),
        example(
            "everything",
            json!({ "argv": ["cat", "top.txt", "src/a.txt"], "inputs": ["**"] }),
            printed("top\none\n"),
            &[],
        ),
        example(
            "changes land as one",
            json!({ "argv": ["sh", "-c", "sort *.txt > sorted; rm b.txt; echo three >> a.txt"],
                    "cwd": "src", "inputs": ["src/*.txt"] }),
            printed(""),
            &[
                ("src/sorted", Some("one\ntwo\n")),
                ("src/b.txt", None),
                ("src/a.txt", Some("one\nthree\n")),
            ],
        ),
        example(
            "another exit code is an answer, and drops what was changed",
            json!({ "argv": ["sh", "-c", "echo x > src/a.txt; echo no >&2; exit 3"], "inputs": ["src/**"] }),
            json!({ "exit_code": 3, "stdout": "", "stderr": "no\n" }),
            &[("src/a.txt", Some("one\n"))],
        ),
    ]
}

#[test]
fn examples_do_what_they_say() {
    for example in examples() {
        let Some(place) = place(POLICY) else { return };
        for (path, content) in example.files {
            place.write(path, content);
        }
        let before = place.tree().without(".lictor");
        let done = run(&place, &example.input).done();
        assert_eq!(done["output"], example.output, "{}", example.name);
        for (path, content) in example.after {
            match content {
                Some(content) => assert_eq!(place.read(path), *content, "{}", example.name),
                None => assert!(!place.exists(path), "{}", example.name),
            }
        }
        if done["files"].as_array().is_some_and(|files| !files.is_empty()) {
            place.run(&["undo"]).done();
        }
        assert_eq!(place.tree().without(".lictor"), before, "{}: undone", example.name);
        place.verify();
    }
}

#[test]
fn every_workspace_has_it_and_the_policy_of_init_asks() {
    let place = Place::initialised();
    let shown = place.run(&["capability", "show", "process.run"]).done();
    assert_eq!((&shown["state"], &shown["risk"]), (&json!("active"), &json!("high")));
    let asked = run(&place, &json!({ "argv": ["true"] })).ends(4, "approval_required");
    assert!(asked.to_string().contains("programs-are-reviewed"), "{asked}");
    let approval = place.waiting();
    let view = place.person(&["approvals", "show", &approval]).stdout;
    assert!(view.contains("true") && view.contains("sha256:"), "it says what starts: {view}");
}

#[test]
fn the_program_that_was_approved_is_the_one_that_runs() {
    let asks = POLICY.replace("high: allow", "high: need_approval");
    let Some(place) = place(&asks) else { return };
    place.write("tool", "#!/bin/sh\necho good\n");
    place.set_mode("tool", 0o755);
    let input = json!({ "argv": ["./tool"] });
    run(&place, &input).ends(4, "approval_required");
    place.run_as_approver(&["approvals", "approve", &place.waiting()]).done();
    place.write("tool", "#!/bin/sh\necho evil\n");
    run(&place, &input).ends(4, "approval_required");
    place.write("tool", "#!/bin/sh\necho good\n");
    let done = run(&place, &input).done();
    assert_eq!(done["output"], printed("good\n"), "a program of the workspace is copied unasked");
}

#[test]
fn changes_are_approved_apart_from_the_run() {
    let asks = POLICY.replace("high: allow", "high: need_approval");
    let Some(place) = place(&asks) else { return };
    let input = json!({ "argv": ["sh", "-c", "echo new > made.txt"] });
    run(&place, &input).ends(4, "approval_required");
    place.run_as_approver(&["approvals", "approve", &place.waiting()]).done();
    let landing = run(&place, &input).ends(4, "approval_required");
    assert!(!place.exists("made.txt"));
    let ran = message(&landing).split('`').nth(1).unwrap().to_owned();
    let next = landing["error"]["next_steps"].to_string();
    assert!(next.contains(&format!("lictor land {ran}")), "{next}");
    let approval = place.waiting();
    let shown = place.run(&["approvals", "show", &approval]).done().to_string();
    assert!(shown.contains("made.txt"), "{shown}");
    place.run_as_approver(&["approvals", "approve", &approval]).done();
    place.run(&["land", &ran]).done();
    assert_eq!(place.read("made.txt"), "new\n");
    place.verify();
}

#[test]
fn a_rule_about_a_program_holds_whatever_it_is_called() {
    let real = Path::new("/bin/sh").canonicalize().unwrap();
    let name = real.file_name().unwrap().to_str().unwrap();
    let called: [&[&str]; 4] =
        [&["sh"], &["/bin/sh"], &["/bin/../bin/sh"], &[real.to_str().unwrap()]];
    for rule in ["sh", name, real.to_str().unwrap()] {
        let denies = format!(
            "{POLICY}  - {{ name: no-shell, when: {{ program: \"{rule}\" }}, verdict: deny }}\n"
        );
        let Some(place) = place(&denies) else { return };
        for argv in called {
            // By its own name it is nobody's link.
            let by_link = rule == "sh" && argv[0] == real.to_str().unwrap();
            let argv = [argv, &["-c", "echo ran"]].concat();
            let answer = run(&place, &json!({ "argv": argv }));
            if by_link && name != "sh" {
                answer.done();
            } else {
                let denied = answer.ends(3, "denied");
                assert!(denied.to_string().contains("no-shell"), "{rule} {argv:?}: {denied}");
            }
        }
        run(&place, &json!({ "argv": ["true"] })).done();
    }
}

#[test]
fn what_lets_a_program_through_lets_no_other_of_its_name_through() {
    let only = POLICY.replace("effect: process }", "effect: process, program: sort }");
    let Some(place) = place(&only) else { return };
    run(&place, &json!({ "argv": ["sort"], "stdin": "x" })).done();
    place.write("bin/sort", "#!/bin/sh\necho other\n");
    place.set_mode("bin/sort", 0o755);
    for argv in [["./bin/sort"], ["bin/sort"], ["cat"]] {
        run(&place, &json!({ "argv": argv })).ends(3, "denied");
    }
}

#[test]
fn forbidden_files_are_left_out_of_folders_and_refused_by_name() {
    let Some(place) = place(POLICY) else { return };
    place.write("keys/a.pem", "s3cr3t\n");
    place.write("keys/readme", "hello\n");
    let list = json!({ "argv": ["ls", "keys"], "inputs": ["keys/**"] });
    assert_eq!(run(&place, &list).done()["output"], printed("readme\n"));
    for named in ["keys/a.pem", "keys/*", "**/*.pem"] {
        let refused = run(&place, &json!({ "argv": ["cat", "keys/a.pem"], "inputs": [named] }));
        let refused = refused.ends(3, "denied");
        assert!(refused.to_string().contains("keys/a.pem"), "it says which: {refused}");
    }
    let own = json!({ "argv": ["ls"], "inputs": [".lictor/**"] });
    assert!(run(&place, &own).ends(3, "denied").to_string().contains(".lictor"));
}

#[test]
fn input_that_makes_no_sense_is_refused_before_anything_runs() {
    let Some(place) = place(POLICY) else { return };
    place.write("src/a.txt", "one\n");
    for (input, says) in [
        (json!({}), "argv"),
        (json!({ "argv": [] }), "argv"),
        (json!({ "argv": ["-rf"] }), "begins with `-`"),
        (json!({ "argv": [""] }), "the program is empty"),
        (json!({ "argv": ["no-such-program-anywhere"] }), "there is no program"),
        (json!({ "argv": ["a\0b"] }), "NUL"),
        (json!({ "argv": ["ls"], "inputs": ["../x"] }), "../x"),
        (json!({ "argv": ["ls"], "inputs": ["/etc/**"] }), "/etc"),
        (json!({ "argv": ["ls"], "inputs": ["src/["] }), "is not a glob"),
        (json!({ "argv": ["ls"], "inputs": ["gone.txt"] }), "there is no `gone.txt`"),
        (json!({ "argv": ["ls"], "inputs": ["src/*.rs"] }), "nothing fits"),
        (json!({ "argv": ["ls"], "cwd": "../beside" }), "../beside"),
        (json!({ "argv": ["ls"], "cwd": "src" }), "would not be in the copy"),
        (json!({ "argv": ["ls"], "shell": true }), "shell"),
    ] {
        let refused = run(&place, &input).ends(2, "invalid_input");
        assert!(message(&refused).contains(says), "{input}: {refused}");
    }
    let file = json!({ "argv": ["ls"], "cwd": "src/a.txt", "inputs": ["src/a.txt"] });
    assert!(message(&run(&place, &file).json).contains("no folder"));
    assert!(!place.exists(".lictor/staged"));
}

#[test]
fn what_it_prints_is_bounded_and_the_caller_s_environment_stays_out() {
    let Some(place) = place(POLICY) else { return };
    let many = json!({ "argv": ["head", "-c", "300000", "/dev/zero"] });
    let failed = run(&place, &many).ends(1, "failed");
    assert!(message(&failed).contains("printed more than it may"), "{failed}");
    let arguments = ["call", "process.run", "--input", r#"{"argv":["env"]}"#];
    let done = place.run_with(&arguments, |command| {
        command.env("AWS_SECRET_ACCESS_KEY", "4ws-s3cr3t");
        command.env("LICTOR_SECRET_X", "0th3r-s3cr3t");
    });
    let done = done.done();
    let mut names: Vec<&str> = text(&done["output"], "stdout")
        .lines()
        .filter_map(|line| line.split_once('=').map(|(name, _)| name))
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["HOME", "LANG", "PATH", "TMPDIR"]);
}

/// Each step has a key of its own, under which it is done once, also by a run that is taken up again.
#[test]
fn what_a_step_changed_is_there_when_it_is_completed_and_goes_with_an_undo_of_the_run() {
    let Some(place) = place(POLICY) else { return };
    place.write("src/a.txt", "b\na\n");
    let before = place.tree().without(".lictor");
    let file = place.document(
        "sort.workflow.yaml",
        "id: sort\nversion: 1.0.0\nsteps:\n\
         - { id: sort, use: process.run, with: { argv: [sort, -o, a.txt, a.txt], cwd: src, inputs: [src/a.txt] } }\n\
         - { id: hash, use: process.run, needs: [sort], with: { argv: [sh, -c, 'cat src/a.txt > src/b.txt'], inputs: ['src/*'] } }\n",
    );
    let run = place.run(&["run", &file]).done();
    assert_eq!(
        (place.read("src/a.txt"), place.read("src/b.txt")),
        ("a\nb\n".into(), "a\nb\n".into())
    );
    let trail = place.trail();
    let said = |kind: &str| trail.iter().filter(|event| event["event_type"] == kind).count();
    assert_eq!((said("action_completed"), said("execution_duplicate")), (4, 0), "run and landed");
    place.run(&["undo", text(&run, "run_id")]).done();
    assert_eq!(place.tree().without(".lictor"), before);
    place.verify();
}

/// People are asked about what the step changed; the run waits for them, and the program does not run again.
#[test]
fn a_step_whose_changes_people_are_asked_about_goes_on_with_what_it_has_done() {
    let Some(place) = place(POLICY) else { return };
    let file = place.document(
        "asked.workflow.yaml",
        "id: asked\nversion: 1.0.0\nsteps:\n\
         - { id: draw, use: process.run, with: { argv: [sh, -c, 'mkdir -p ask; od -An -N8 -tx8 /dev/urandom > ask/n'] } }\n",
    );
    let run = place.run(&["run", &file]).ends(4, "approval_required");
    assert!(!place.exists("ask/n"));
    place.run_as_approver(&["approvals", "approve", &place.waiting()]).done();
    let id = text(&run, "run_id");
    let resumed = place.run(&["workflow", "resume", id]).done();
    assert_eq!(resumed["status"], "completed", "{resumed}");
    assert_eq!(place.read("ask/n").trim().len(), 16);
    let trail = place.trail();
    let ran = |event: &&Value| {
        event["event_type"] == "action_completed" && event["metadata"]["staged"].is_string()
    };
    assert_eq!(trail.iter().filter(ran).count(), 1, "it ran once");
    place.verify();
}
