//! Contracts of commands, through the command: what they change goes down the road, and what is
//! hostile is held, said clearly, and leaves nothing running.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use serde_json::{Value, json};

use crate::place::{Answer, Place, message};
use crate::tree::Tree;

pub(crate) const ID: &str = "tests.run";

/// Starting programs is allowed, and so is writing but below `ask`, which people are asked about.
pub(crate) const POLICY: &str = "version: 1\ndefault: deny\n\
    paths: { forbidden: [\"**/.env\"], protected: [\"ask/**\"], allowed: [\"**\"] }\n\
    risk: { low: allow, medium: allow, high: need_approval }\n\
    rules:\n  - { name: programs, when: { effect: process, program: sh }, verdict: allow }\n";

/// A contract over a shell script; the input's `x` is its first argument.
fn contract(script: &str, more: &Value) -> Value {
    let mut command =
        json!({ "argv": ["sh", "-c", script.replace('{', "{{").replace('}', "}}"), "sh", "{x}"] });
    for (key, value) in more["command"].as_object().into_iter().flatten() {
        command[key] = value.clone();
    }
    let mut contract = json!({
        "id": ID, "version": "1.0.0", "title": "T", "description": "D", "kind": "tool",
        "source": "local", "risk": "low", "timeout": "20s",
        "input": { "type": "object", "properties": { "x": { "type": "string" } } },
        "output": {},
        "effects": { "fs": { "read": ["src/**"], "write": ["src/**", "ask", "ask/**"], "delete": ["src/**"] },
                     "process": ["sh"] },
        "handler": { "command": command },
    });
    for (key, value) in more.as_object().into_iter().flatten().filter(|(key, _)| *key != "command")
    {
        contract[key] = value.clone();
    }
    contract
}

/// Whether this machine can hold commands; said aloud where it cannot, because there they are
/// refused.
pub(crate) fn can_hold(place: &Place) -> bool {
    let doctor = place.run(&["doctor"]).done();
    let checks = doctor["checks"].as_array().unwrap();
    let sandbox = checks.iter().find(|check| check["name"] == "command sandbox").unwrap();
    if sandbox["ok"] != true {
        eprintln!("SKIPPED: this machine cannot hold commands: {}", sandbox["detail"]);
    }
    sandbox["ok"] == true
}

/// A workspace in which such a contract is in use.
///
/// Nothing, said aloud, on a machine that cannot hold commands: there they are refused.
pub(crate) fn in_use(script: &str, more: Value) -> Option<Place> {
    let place = Place::with_policy(POLICY);
    if !can_hold(&place) {
        return None;
    }
    place.write("src/a.txt", "one\n");
    place.write("src/.env", "TOKEN=s3cr3t-c4n4ry\n");
    place.write("other/b.txt", "two\n");
    let file = place.document("c.yaml", contract(script, &more).to_string());
    let bob = |command: &mut Command| _ = command.env("LICTOR_USER", "bob");
    place.run_with(&["capability", "propose", &file], bob).done();
    place.run_as_approver(&["capability", "approve", ID]).done();
    Some(place)
}

/// It prints what it has to say as text.
fn text() -> Value {
    json!({ "command": { "output": "text" } })
}

fn call(place: &Place, x: &str) -> Answer {
    place.run(&["call", ID, &format!("x={x}")])
}

/// The command that ran, and whose changes wait for people.
fn waits(asked: &Value) -> String {
    message(asked).split('`').nth(1).unwrap().to_owned()
}

/// The processes of this machine whose arguments hold a text.
fn running(marker: &str) -> Vec<String> {
    let found = std::fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
        let arguments = std::fs::read(entry.path().join("cmdline")).ok()?;
        let arguments = String::from_utf8_lossy(&arguments).replace('\0', " ");
        arguments.contains(marker).then_some(arguments)
    });
    found.collect()
}

/// The workspace, without what waits and works in `.lictor`.
fn tree(place: &Place) -> Tree {
    place.tree().without(".lictor")
}

/// Nothing runs any more, and no copy is left.
#[track_caller]
pub(crate) fn nothing_is_left(place: &Place, marker: &str) {
    assert_eq!(running(marker), [] as [&str; 0]);
    let staging = place.root.join(".lictor/staging");
    let left: Vec<_> =
        std::fs::read_dir(staging).unwrap().flatten().map(|one| one.path()).collect();
    assert!(left.is_empty(), "{left:?}");
    place.verify();
}

/// At least so many bytes: a number that no other test reads, and no other run of these tests beside
/// this one.
fn bytes(least: u64, of: u64) -> String {
    (least + 4 * u64::from(std::process::id()) + of).to_string()
}

/// A number that no other test sleeps for.
pub(crate) fn marker(of: &str) -> String {
    let digits: String = of.bytes().map(|byte| byte.to_string()).collect();
    format!("4{}.{}", std::process::id(), &digits[..digits.len().min(12)])
}

#[test]
fn json_goes_in_and_comes_out_and_arguments_are_never_taken_apart() {
    let script = r#"read -r input; printf '{"got": %s, "x": "%s", "n": %d}' "$input" "$1" "$#""#;
    let Some(place) = in_use(script, json!({ "effects": { "process": ["sh"] } })) else { return };
    let done = call(&place, "a b; rm -rf $HOME `id` *").done();
    let x = "a b; rm -rf $HOME `id` *";
    assert_eq!(done["output"], json!({ "got": { "x": x }, "x": x, "n": 1 }));
    let shown = place.run(&["show", done["execution_id"].as_str().unwrap()]).done();
    assert_eq!(shown["status"], "applied");
    let option = place.run(&["call", ID, "x=--version"]);
    assert!(message(&option.ends(2, "invalid_input")).contains("option"));
    nothing_is_left(&place, "never-there");
}

#[test]
fn what_a_command_changes_lands_as_one_change_set_and_can_be_undone() {
    let script = "cd src; echo two >> a.txt; mkdir new; echo n > new/b; ln -s a.txt link; \
                  chmod 755 a.txt; ls -a; test ! -e ../other";
    let Some(place) = in_use(script, text()) else { return };
    let before = tree(&place);
    let done = call(&place, "").done();
    assert_eq!(done["output"]["stdout"], ".\n..\na.txt\nlink\nnew\n", "no .env was copied");
    assert_eq!(place.read("src/a.txt"), "one\ntwo\n");
    assert_eq!(place.read("src/new/b"), "n\n");
    let shown = place.run(&["show", done["execution_id"].as_str().unwrap()]).done();
    let ran = shown["lands"].as_str().unwrap();
    let ran = place.run(&["show", ran]).done();
    assert_eq!((&ran["status"], &ran["files"]), (&json!("applied"), &json!([])));
    assert!(ran["staged"].as_str().unwrap().starts_with("sha256:"));
    let trail = place.trail();
    let of = |kind: &str| trail.iter().filter(|event| event["event_type"] == kind).count();
    assert_eq!((of("decision_made"), of("action_started"), of("action_completed")), (2, 2, 2));
    place.run(&["undo"]).done();
    assert_eq!(tree(&place), before);
    nothing_is_left(&place, "never-there");
}

#[test]
fn a_change_that_the_contract_does_not_declare_is_refused_and_nothing_lands() {
    let script = "echo two > src/a.txt; echo new > elsewhere.txt";
    let Some(place) = in_use(script, text()) else { return };
    let before = tree(&place);
    let refused = call(&place, "").ends(3, "denied");
    assert!(
        message(&refused).contains("does not declare `fs.write` of `elsewhere.txt`"),
        "{refused}"
    );
    assert!(message(&refused).contains("the command ran as `exe_"), "{refused}");
    assert_eq!(tree(&place), before);
    nothing_is_left(&place, "never-there");
}

#[test]
fn people_are_asked_about_what_was_changed_and_it_lands_without_another_run() {
    let script = "echo here > src/a.txt; mkdir -p ask; od -An -N8 -tx8 /dev/urandom > ask/n";
    let Some(place) = in_use(script, text()) else { return };
    let ran = waits(&call(&place, "").ends(4, "approval_required"));
    assert!(!place.exists("ask") && place.read("src/a.txt") == "one\n", "all or nothing");
    let approval = place.waiting();
    let shown = place.run(&["approvals", "show", &approval]).done().to_string();
    assert!(shown.contains("ask/n"), "{shown}");
    place.run(&["land", &ran]).ends(4, "approval_required");
    place.run_as_approver(&["approvals", "approve", &approval]).done();
    let landed = place.run(&["land", &ran]).done();
    assert_eq!(place.read("ask/n").trim().len(), 16);
    assert_eq!(landed["files"].as_array().unwrap().len(), 2, "{landed}");
    place.run(&["land", &ran]).ends(2, "not_found");
    nothing_is_left(&place, "never-there");
}

#[test]
fn kept_changes_that_somebody_edited_or_exchanged_do_not_land() {
    let Some(place) = in_use("mkdir -p ask; echo \"$1\" > ask/n", text()) else { return };
    let ran = ["good", "evil"].map(|x| waits(&call(&place, x).ends(4, "approval_required")));
    let [kept, other] =
        ran.each_ref().map(|ran| place.root.join(format!(".lictor/staged/{ran}.sealed")));
    let asked = place.run(&["approvals", "list"]).done();
    for approval in asked["approvals"].as_array().unwrap() {
        place.run_as_approver(&["approvals", "approve", approval["id"].as_str().unwrap()]).done();
    }
    let whole = std::fs::read(&kept).unwrap();
    assert!(!String::from_utf8_lossy(&whole).contains("good"), "it is sealed");
    for at in [0, 40, whole.len() / 2, whole.len() - 1] {
        let mut edited = whole.clone();
        edited[at] ^= 1;
        std::fs::write(&kept, edited).unwrap();
        place.run(&["land", &ran[0]]).ends(6, "integrity");
    }
    std::fs::copy(other, &kept).unwrap();
    place.run(&["land", &ran[0]]).ends(6, "integrity");
    assert!(!place.exists("ask"));
    std::fs::write(&kept, whole).unwrap();
    place.run(&["land", &ran[0]]).done();
    assert_eq!(place.read("ask/n"), "good\n");
    place.verify();
}

/// What a command was given may look like a secret: then no record has it whole, and what waits for
/// people is sealed. It lands all the same, from another process.
#[test]
fn what_a_command_changed_lands_whatever_was_left_out_of_the_record_of_its_input() {
    let script = "mkdir -p ask; printf '%s' \"$1\" | wc -c | tr -d ' ' > ask/n; echo \"$1\"";
    for x in ["ghp_c4n4ryc4n4ryc4n4ryc4n4ry", "api_key=c4n4ry-value", "plain"] {
        let Some(place) = in_use(script, text()) else { return };
        let ran = waits(&call(&place, x).ends(4, "approval_required"));
        let shown = place.run(&["show", &ran]).done().to_string();
        assert!(!shown.contains("c4n4ry"), "{shown}");
        for entry in std::fs::read_dir(place.root.join(".lictor/staged")).unwrap() {
            let kept = std::fs::read(entry.unwrap().path()).unwrap();
            assert!(!String::from_utf8_lossy(&kept).contains(x), "it is sealed");
        }
        place.run_as_approver(&["approvals", "approve", &place.waiting()]).done();
        let landed = place.run(&["land", &ran]).done();
        assert_eq!(place.read("ask/n"), format!("{}\n", x.len()));
        // Whoever asked gets what the command said.
        assert_eq!(landed["output"]["stdout"], format!("{x}\n"), "{landed}");
        assert!(!place.trail().iter().any(|event| event.to_string().contains("c4n4ry")));
        place.verify();
    }
}

#[test]
fn a_file_that_was_changed_meanwhile_is_a_conflict() {
    let Some(place) = in_use("echo two > src/a.txt; mkdir -p ask; echo n > ask/n", text()) else {
        return;
    };
    let ran = waits(&call(&place, "").ends(4, "approval_required"));
    place.run_as_approver(&["approvals", "approve", &place.waiting()]).done();
    place.write("src/a.txt", "mine\n");
    place.run(&["land", &ran]).ends(5, "conflict");
    assert_eq!(place.read("src/a.txt"), "mine\n");
    assert!(!place.exists("ask"));
}

#[test]
fn a_fork_bomb_is_held_and_ended() {
    let sleep = marker("fork");
    let script = format!("f() {{ sleep {sleep} & f | f & }}; f; f; sleep {sleep}");
    let Some(place) = in_use(&script, json!({ "timeout": "3s", "command": { "output": "text" } }))
    else {
        return;
    };
    let ended = call(&place, "");
    // Either the time is over, or its shell gives up.
    assert!(ended.code == 0 || message(&ended.json).contains("killed"), "{}", ended.json);
    nothing_is_left(&place, &sleep);
}

#[test]
fn a_gibibyte_of_output_is_cut_off() {
    let bytes = bytes(1 << 30, 1);
    let script = format!("head -c {bytes} /dev/zero");
    let Some(place) = in_use(&script, text()) else { return };
    let failed = call(&place, "").ends(1, "failed");
    assert!(message(&failed).contains("printed more than it may"), "{failed}");
    nothing_is_left(&place, &bytes);
}

#[test]
fn a_gibibyte_in_a_file_is_cut_off_and_lands_nowhere() {
    let bytes = bytes(1 << 30, 2);
    let script = format!("head -c {bytes} /dev/zero > src/a.txt");
    let Some(place) = in_use(&script, text()) else { return };
    let done = call(&place, "").done();
    assert_ne!(done["output"]["exit_code"], 0);
    assert_eq!(place.read("src/a.txt"), "one\n");
    nothing_is_left(&place, &bytes);
}

#[test]
fn what_takes_too_much_memory_is_killed() {
    let memory = json!({ "command": { "output": "text", "memory": "64MiB" } });
    // Nothing ends a line, so all of it is kept.
    let bytes = bytes(200_000_000, 3);
    let script = format!("head -c {bytes} /dev/zero | tail");
    let Some(place) = in_use(&script, memory.clone()) else { return };
    let ended = call(&place, "");
    // The kernel gives it no more, or it is seen to have too much.
    let refused = ended.code == 0 && ended.json["output"]["exit_code"] != 0;
    assert!(refused || message(&ended.json).contains("memory"), "one alone: {}", ended.json);
    nothing_is_left(&place, &bytes);
    let sleep = marker("memory");
    let script = format!(
        "for n in 1 2 3 4 5 6 7 8; do (head -c 20000000 /dev/zero; sleep {sleep}) | tail & done; wait"
    );
    let Some(place) = in_use(&script, memory) else { return };
    let failed = call(&place, "").ends(1, "failed");
    assert!(message(&failed).contains("used more memory than it may"), "together: {failed}");
    nothing_is_left(&place, &sleep);
}

#[test]
fn a_child_that_ignores_signals_is_killed_when_its_time_is_over() {
    let sleep = marker("ignores");
    let script = format!("trap '' TERM INT HUP; while :; do sleep {sleep}; done");
    let Some(place) = in_use(&script, json!({ "timeout": "3s", "command": { "output": "text" } }))
    else {
        return;
    };
    let failed = call(&place, "").ends(1, "failed");
    assert!(message(&failed).contains("took longer than it may"), "{failed}");
    nothing_is_left(&place, &sleep);
}

#[test]
fn what_writes_outside_of_its_copy_is_held() {
    // Not below `/tmp`, where the copy hides what is there; and open to everybody.
    let open = tempfile::Builder::new().prefix("lictor-open").tempdir_in("/var/tmp").unwrap();
    std::fs::set_permissions(open.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let target = open.path().join("target.txt");
    std::fs::write(&target, "before").unwrap();
    std::fs::set_permissions(&target, std::fs::Permissions::from_mode(0o666)).unwrap();
    let folder = open.path().to_str().unwrap().to_owned();
    let script = format!(
        "for p in {folder}/target.txt {folder}/new /etc/lictor-was-here /var/tmp/lictor-was-here \
         /dev/shm/lictor-was-here /proc/self/oom_score_adj; do echo x > $p && echo wrote $p; done; \
         rm -f {folder}/target.txt && echo removed; mv {folder}/target.txt src/ && echo moved; \
         ln {folder}/target.txt src/hard && echo linked; cat {folder}/target.txt && echo read; \
         chmod 600 {folder}/target.txt && echo chmod; mount -t tmpfs x src && echo mounted; \
         echo x > /tmp/mine; true"
    );
    let Some(place) = in_use(&script, text()) else { return };
    let done = call(&place, "").done();
    // Modes are no business of the kernel's access control, and here they are not the command's.
    assert_eq!(done["output"]["stdout"], "", "{done}");
    assert_eq!(done["files"], json!([]), "what lies beside the copy is not taken over: {done}");
    assert_eq!(std::fs::read_to_string(&target).unwrap(), "before");
    assert_eq!(std::fs::read_dir(open.path()).unwrap().count(), 1);
    nothing_is_left(&place, &folder);
}

#[test]
fn what_reads_the_environment_and_others_memory_finds_no_secret() {
    let script = "env; cat /proc/*/environ /proc/*/cmdline 2>/dev/null | tr '\\0' '\\n'; \
                  cat src/.env ../*/.env /etc/shadow 2>/dev/null; ls /root /home 2>/dev/null; \
                  ls -d /proc/[0-9]* | wc -l; true";
    let more = json!({ "command": { "output": "text", "env": { "GIVEN": { "secret": "DESK" } } } });
    let Some(place) = in_use(script, more) else { return };
    let answer = place.run_with(&["call", ID], |command| {
        command
            .env("LICTOR_SECRET_DESK", "g1v3n-s3cr3t")
            .env("LICTOR_SECRET_OTHER", "0th3r-s3cr3t");
        command.env("AWS_SECRET_ACCESS_KEY", "4ws-s3cr3t");
    });
    let done = answer.done();
    let printed = done["output"]["stdout"].as_str().unwrap();
    for secret in ["s3cr3t", "LICTOR", "AWS", "root:", "TOKEN"] {
        assert!(!printed.contains(secret), "{secret}: {printed}");
    }
    assert!(printed.contains("GIVEN=[secret]"), "{printed}");
    nothing_is_left(&place, "never-there");
}

#[test]
fn a_daemon_that_was_left_behind_is_ended() {
    let sleep = marker("daemon");
    let script = format!(
        "(setsid sh -c 'trap \"\" TERM HUP; sleep {sleep}; sleep {sleep}' >/dev/null 2>&1 </dev/null &); \
         (sleep {sleep} &); echo done"
    );
    let Some(place) = in_use(&script, text()) else { return };
    let done = call(&place, "").done();
    assert_eq!(done["output"]["stdout"], "done\n");
    nothing_is_left(&place, &sleep);
}

#[test]
fn a_command_is_killed_with_us_and_its_copy_goes_with_the_next_start() {
    let sleep = marker("with us");
    let script = format!("(setsid sleep {sleep} &); sleep {sleep}");
    let Some(place) = in_use(&script, text()) else { return };
    let mut lictor = place.command(&["call", ID, "x="]).spawn().unwrap();
    while running(&sleep).len() < 2 {
        assert!(lictor.try_wait().unwrap().is_none(), "it ended by itself");
        std::thread::yield_now();
    }
    lictor.kill().unwrap();
    lictor.wait().unwrap();
    // The kernel ends them; it may take a moment.
    while !running(&sleep).is_empty() {
        std::thread::yield_now();
    }
    place.run(&["log"]).done();
    nothing_is_left(&place, &sleep);
}

#[test]
fn the_network_is_out_of_reach() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let script = format!(
        "command -v bash >/dev/null || exit 9; bash -c 'echo x > /dev/tcp/127.0.0.1/{port}' 2>/dev/null \
         && echo reached; bash -c 'echo x > /dev/udp/127.0.0.1/{port}' 2>/dev/null && echo sent; true"
    );
    let Some(place) = in_use(&script, text()) else { return };
    let done = call(&place, "").done();
    assert_eq!(done["output"], json!({ "exit_code": 0, "stdout": "", "stderr": "" }));
}

/// Calls it where the kernel gives no namespaces.
fn call_without_namespaces(place: &Place) -> Answer {
    let arguments = ["call", ID, "x=", "--json"];
    let lictor = place.command(&arguments);
    let mut command = Command::new("unshare");
    let none = "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$@\"";
    command.args(["--user", "--map-root-user", "sh", "-c", none, "sh"]).arg(lictor.get_program());
    command.args(lictor.get_args()).current_dir(&place.root);
    for (name, value) in lictor.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let output = command.output().unwrap();
    Answer::new(&arguments, output.status.code(), output.stdout, output.stderr)
}

#[test]
fn without_namespaces_nothing_runs_unless_the_contract_is_content_with_less() {
    let sleep = marker("less");
    let script = format!(
        "echo x > {{}}/beside 2>/dev/null && echo wrote; echo more >> src/a.txt; \
         (setsid sleep {sleep} >/dev/null 2>&1 &); echo ran"
    );
    let open = tempfile::Builder::new().prefix("lictor-open").tempdir_in("/var/tmp").unwrap();
    let script = script.replace("{}", open.path().to_str().unwrap());
    let Some(place) = in_use(&script, text()) else { return };
    let failed = call_without_namespaces(&place).ends(1, "failed");
    assert!(message(&failed).contains("this machine gives no namespaces"), "{failed}");
    assert_eq!(place.read("src/a.txt"), "one\n");
    nothing_is_left(&place, &sleep);

    let less = json!({ "command": { "output": "text", "sandbox": "best_effort" } });
    let Some(place) = in_use(&script, less) else { return };
    let done = call_without_namespaces(&place).done();
    assert_eq!(done["output"]["stdout"], "ran\n", "what it writes is held all the same");
    assert_eq!(place.read("src/a.txt"), "one\nmore\n");
    assert_eq!(done["decision"]["undo"], "partial", "nobody knows what else it did: {done}");
    nothing_is_left(&place, &sleep);
}

#[test]
fn what_no_change_set_can_hold_is_refused_whole() {
    for script in
        ["mkfifo src/pipe; echo x > src/a.txt", "chmod 4755 src/a.txt", "ln -s /etc src/etc"]
    {
        let Some(place) = in_use(script, text()) else { return };
        let before = tree(&place);
        let refused = call(&place, "");
        assert!(refused.code == 1 || refused.code == 3, "{script}: {}", refused.json);
        assert_eq!(tree(&place), before, "{script}");
        nothing_is_left(&place, "never-there");
    }
}

#[test]
fn a_program_that_no_rule_allows_is_not_started() {
    let Some(place) = in_use("echo hello", text()) else { return };
    place.policy(&POLICY.replace("program: sh", "program: cat"));
    let denied = call(&place, "").ends(3, "denied");
    assert!(!place.exists(".lictor/staging"), "{denied}");
}
