//! Approvals: who is asked, who may answer, and what an answer is good for.

use std::process::Command;

use serde_json::{Value, json};

use crate::place::{Answer, POLICY, Place, has, text};
use crate::tree::digest;

/// A change that people are asked about.
fn asking(place: &Place) -> String {
    place.write("ask/a.txt", "old");
    place.seal("ask.json", &change("new"))
}

fn change(content: &str) -> Value {
    json!([
        { "op": "modify", "path": "ask/a.txt", "before": digest(b"old"), "content": content },
    ])
}

/// Applies it and is told to wait; gives the approval's id.
#[track_caller]
fn asked(place: &Place, document: &str) -> String {
    let asked = place.run(&["apply", document]).ends(4, "approval_required");
    has(&asked, &["decision"]);
    assert_eq!(asked["decision"]["verdict"], "need_approval");
    assert!(!asked["error"]["next_steps"].as_array().unwrap().is_empty());
    text(&asked["error"]["details"], "approval_id").to_owned()
}

#[track_caller]
fn approved(place: &Place, document: &str) -> String {
    let id = asked(place, document);
    place.run_as_approver(&["approvals", "approve", &id, "--reason", "fine"]).done();
    id
}

#[track_caller]
fn assert_not_applied(place: &Place) {
    assert_eq!(place.read("ask/a.txt"), "old");
    assert_eq!(place.run(&["log"]).done()["executions"], json!([]));
}

/// A second approver; gives their token.
#[track_caller]
fn enrolled(place: &Place, name: &str) -> String {
    let added = place.run_as_approver(&["approvers", "add", name, "--role", "dev"]).done();
    has(&added, &["name", "token"]);
    text(&added, "token").to_owned()
}

#[test]
fn an_approval_lets_the_same_application_through_once() {
    let place = Place::new();
    let document = asking(&place);
    let id = asked(&place, &document);
    assert_eq!(asked(&place, &document), id, "the open request is not asked again");
    let shown = place.run(&["approvals", "show", &id]).done();
    assert_eq!(shown["id"], id.as_str());
    assert!(shown.to_string().contains("ask/a.txt"), "{shown}");
    assert_eq!(place.waiting(), id);

    let approved = place.run_as_approver(&["approvals", "approve", &id]).done();
    assert_eq!(approved["id"], id.as_str());
    assert_not_applied(&place);
    let applied = place.run(&["apply", &document]).done();
    assert_eq!(applied["status"], "applied");
    assert_eq!(place.read("ask/a.txt"), "new");
    assert_eq!(place.run(&["approvals", "list"]).done()["approvals"], json!([]));

    // Used up: another application of the like asks anew, and so does the same one once undone.
    place.run(&["undo"]).ends(4, "approval_required");
    let other = place.seal(
        "other.json",
        &json!([
            { "op": "create", "path": "ask/b.txt", "content": "new" },
        ]),
    );
    assert_ne!(asked(&place, &other), id);
    let trail = place.trail();
    for (kind, count) in [("approval_requested", 5), ("approval_granted", 1)] {
        let found = trail.iter().filter(|event| event["event_type"] == kind).count();
        assert!(found >= 1 && found <= count, "{kind}: {found}");
    }
    let done = trail.iter().find(|event| event["event_type"] == "action_completed").unwrap();
    assert_eq!(done["requires_approval"], true);
    assert_eq!(done["approval_granted"], true);
    place.verify();
}

#[test]
fn a_call_waits_and_goes_through_alike() {
    let place = Place::new();
    let call = ["call", "fs.write", "path=ask/x", "content=x"];
    place.run(&call).ends(4, "approval_required");
    place.run_as_approver(&["approvals", "approve", &place.waiting()]).done();
    place.run(&call).done();
    assert_eq!(place.read("ask/x"), "x");
    place.run(&["call", "fs.write", "path=ask/x", "content=y"]).ends(4, "approval_required");
}

#[test]
fn a_token_comes_from_a_file_as_well() {
    let place = Place::new();
    let document = asking(&place);
    let id = asked(&place, &document);
    let file = place.document("token", format!("{}\n", place.token));
    place.run(&["approvals", "approve", &id, "--token-file", &file]).done();
    place.run(&["apply", &document]).done();
    assert_eq!(place.read("ask/a.txt"), "new");
}

#[test]
fn the_caller_may_approve_at_once_by_token() {
    let place = Place::new();
    let document = asking(&place);
    let applied = place.run_as_approver(&["apply", &document, "--approve"]).done();
    assert_eq!(applied["decision"]["verdict"], "need_approval");
    assert_eq!(place.read("ask/a.txt"), "new");
    place.run_as_approver(&["undo", "--approve"]).done();
    assert_eq!(place.read("ask/a.txt"), "old");
    place.run_as_approver(&["call", "fs.write", "path=ask/b", "content=b", "--approve"]).done();
}

#[test]
fn a_token_alone_approves_nothing() {
    let place = Place::new();
    let document = asking(&place);
    place.run_as_approver(&["apply", &document]).ends(4, "approval_required");
    assert_not_applied(&place);
}

#[test]
fn without_token_and_terminal_nobody_is_prompted_and_nothing_approved() {
    let place = Place::new();
    let document = asking(&place);
    let id = asked(&place, &document);
    for arguments in [
        &["approvals", "approve", id.as_str()][..],
        &["approvals", "deny", &id],
        &["apply", &document, "--approve"],
        &["approvers", "add", "bob"],
        &["approvers", "revoke", "bob"],
    ] {
        // Even who writes "yes" into a pipe is not asked.
        place.run_with_stdin(arguments, b"yes\ny\n").ends(3, "denied");
        let spoken = place.person(arguments);
        assert_eq!(spoken.code, Some(3), "{arguments:?}: {spoken:?}");
    }
    assert_eq!(place.run(&["approvals", "show", &id]).done()["state"], "pending");
    assert_not_applied(&place);
    let refused = place.trail();
    let refused = refused.iter().filter(|event| event["event_type"] == "action_rejected");
    assert_eq!(refused.count(), 10, "who tried to approve in vain stands in the trail");
}

#[test]
fn a_wrong_token_and_a_name_on_a_flag_approve_nothing() {
    let place = Place::new();
    let document = asking(&place);
    let id = asked(&place, &document);
    let people = place.run(&["approvers", "list"]).done();
    let me = text(&people["approvers"][0], "name").to_owned();
    let digest = digest(place.token.as_bytes());
    for token in ["wrong", &place.token[1..], &format!("{}x", place.token), &me, &digest] {
        place.run_with_token(token, &["approvals", "approve", &id]).ends(3, "denied");
        place.run_with_token(token, &["apply", &document, "--approve"]).ends(3, "denied");
    }
    place.run(&["approvals", "approve", &id, "--user", &me]).ends(3, "denied");
    assert_not_applied(&place);
}

#[test]
fn a_denial_stands() {
    let place = Place::new();
    let document = asking(&place);
    let id = asked(&place, &document);
    let denied = place.run_as_approver(&["approvals", "deny", &id, "--reason", "not now"]).done();
    assert_eq!(denied["state"], "denied");
    place.run_as_approver(&["approvals", "approve", &id]).ends(3, "denied");
    place.run(&["apply", &document]).ends_with_one_of(&[3, 4]);
    assert_not_applied(&place);
    let trail = place.trail();
    let event = trail.iter().find(|event| event["event_type"] == "approval_denied").unwrap();
    assert_eq!(event["approval_granted"], false);
    assert!(event.to_string().contains("not now"), "{event}");
}

/// Approves, lets `change` happen, applies, and wants it refused.
#[track_caller]
fn never_applies(place: &Place, codes: &[i32], change: impl FnOnce(&Place, &str) -> Answer) {
    let document = asking(place);
    approved(place, &document);
    change(place, &document).ends_with_one_of(codes);
    assert_eq!(place.run(&["log"]).done()["executions"], json!([]));
    assert_ne!(place.read("ask/a.txt"), "new");
    place.verify();
}

#[test]
fn an_approval_is_not_good_for_another_document() {
    let place = Place::new();
    never_applies(&place, &[4], |place, _| {
        let other = place.seal("other.json", &change("new!"));
        place.run(&["apply", &other])
    });
    assert_eq!(place.read("ask/a.txt"), "old");
    let place = Place::new();
    never_applies(&place, &[6], |place, document| {
        let text = std::fs::read_to_string(document).unwrap();
        place.run(&["apply", &place.document("b.json", text.replace("\"new\"", "\"evil\""))])
    });
    let place = Place::new();
    never_applies(&place, &[4], |place, document| {
        // The same changes under another plan: another intent was agreed to.
        let text = std::fs::read_to_string(document).unwrap();
        let mut sealed: Value = serde_json::from_str(&text).unwrap();
        sealed["plan"]["intent"] = json!("something else");
        place.run(&["apply", &place.document("b.json", sealed.to_string())])
    });
}

#[test]
fn an_approval_is_not_good_under_another_policy() {
    let place = Place::new();
    never_applies(&place, &[3, 4], |place, document| {
        place.policy(&format!("{POLICY}# edited\n"));
        place.run(&["apply", document])
    });
    // Neither is one that is given only then.
    let place = Place::new();
    let document = asking(&place);
    let id = asked(&place, &document);
    place.policy(&format!("{POLICY}# edited\n"));
    place.run_as_approver(&["approvals", "approve", &id]).ends(6, "integrity");
    assert_not_applied(&place);
}

#[test]
fn an_approval_is_not_good_for_another_workspace_state() {
    let place = Place::new();
    never_applies(&place, &[5], |place, document| {
        place.write("ask/a.txt", "a person's");
        place.run(&["apply", document])
    });
    // A call that overwrites whatever is there is bound to what was there.
    let place = Place::new();
    place.write("ask/a.txt", "old");
    let call = ["call", "fs.write", "path=ask/a.txt", "content=new"];
    place.run(&call).ends(4, "approval_required");
    place.run_as_approver(&["approvals", "approve", &place.waiting()]).done();
    place.write("ask/a.txt", "a person's");
    place.run(&call).ends(4, "approval_required");
    assert_eq!(place.read("ask/a.txt"), "a person's");
}

#[test]
fn an_approval_is_not_good_for_another_principal() {
    for flag in ["--user", "--agent", "--org"] {
        let place = Place::new();
        never_applies(&place, &[3, 4], |place, document| {
            place.run(&["apply", document, flag, "somebody-else"])
        });
    }
}

#[test]
fn several_approvals_are_several_people() {
    let place = Place::new();
    let ann = enrolled(&place, "ann");
    let document = asking(&place);
    let bare = json!({ "changes": change("new") }).to_string();
    let document_of_risk = place.document("bare.json", bare);
    let apply = ["apply", document_of_risk.as_str(), "--risk", "critical"];
    assert!(std::path::Path::new(&document).is_file());
    let asked = place.run(&apply).ends(4, "approval_required");
    assert_eq!(asked["decision"]["approvals_needed"], 2);
    let id = place.waiting();
    place.run_as_approver(&["approvals", "approve", &id]).done();
    place.run(&apply).ends(4, "approval_required");
    place.run_as_approver(&["approvals", "approve", &id]).ends(3, "denied");
    place.run(&apply).ends(4, "approval_required");
    assert_not_applied(&place);
    place.run_with_token(&ann, &["approvals", "approve", &id]).done();
    place.run(&apply).done();
    assert_eq!(place.read("ask/a.txt"), "new");
}

#[test]
fn the_requester_does_not_approve_where_the_policy_says_so() {
    let place =
        Place::with_policy(&format!("{POLICY}approvals: {{ requester_may_approve: false }}\n"));
    let document = asking(&place);
    let people = place.run(&["approvers", "list"]).done();
    let me = text(&people["approvers"][0], "name").to_owned();
    let ann = enrolled(&place, "ann");
    let apply = ["apply", document.as_str(), "--user", &me];
    place.run(&apply).ends(4, "approval_required");
    let id = place.waiting();
    place.run_as_approver(&["approvals", "approve", &id]).ends(3, "denied");
    let at_once = ["apply", document.as_str(), "--user", &me, "--approve"];
    place.run_as_approver(&at_once).ends(3, "denied");
    assert_not_applied(&place);
    place.run_with_token(&ann, &["approvals", "approve", &id]).done();
    place.run(&apply).done();
    assert_eq!(place.read("ask/a.txt"), "new");
}

#[test]
fn a_revoked_approver_approves_nothing() {
    let place = Place::new();
    let document = asking(&place);
    let ann = enrolled(&place, "ann");
    let id = asked(&place, &document);
    place.run_as_approver(&["approvers", "revoke", "ann"]).done();
    place.run_with_token(&ann, &["approvals", "approve", &id]).ends(3, "denied");
    place.run_with_token(&ann, &["approvers", "add", "eve"]).ends(3, "denied");
    assert_not_applied(&place);
    let people = place.run(&["approvers", "list"]).done();
    let found = people["approvers"].as_array().unwrap().iter().find(|one| one["name"] == "ann");
    assert!(found.unwrap()["revoked_at"].is_string());
    // The last one stays, or nobody could ever be enrolled again.
    let others = people["approvers"].as_array().unwrap().iter();
    let me = others.map(|one| text(one, "name")).find(|name| *name != "ann").unwrap();
    place.run_as_approver(&["approvers", "revoke", me]).ends(2, "invalid_input");
}

#[test]
fn who_may_approve_is_recorded_and_tokens_are_kept_nowhere() {
    let place = Place::new();
    let ann = enrolled(&place, "ann");
    place.run_as_approver(&["approvers", "add", "ann"]).ends(2, "invalid_input");
    place.run_as_approver(&["approvers", "revoke", "ann"]).done();
    place.run_as_approver(&["approvers", "revoke", "nobody"]).ends(2, "not_found");
    let trail = place.trail();
    for name in ["approvers.add", "approvers.revoke"] {
        let of = |success: bool| {
            let events = trail.iter().filter(|event| event["action_name"] == name);
            events.filter(|event| event["success"] == success).count()
        };
        assert_eq!((of(true), of(false)), (1, 1), "{name}");
    }
    for token in [&ann, &place.token] {
        crate::secrets::assert_nowhere(&place, token);
    }
}

#[test]
fn an_approval_that_expired_is_none() {
    let place = Place::with_policy(&format!("{POLICY}approvals: {{ timeout: 1ms }}\n"));
    let document = asking(&place);
    let id = asked(&place, &document);
    place.run_as_approver(&["approvals", "approve", &id]).ends(3, "denied");
    place.run(&["apply", &document]).ends_with_one_of(&[3, 4]);
    assert_not_applied(&place);
}

#[test]
fn a_command_that_is_told_to_be_quiet_still_asks_nobody() {
    let place = Place::new();
    let document = asking(&place);
    let mut command: Command = place.command(&["apply", &document, "--approve", "--quiet"]);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(output.stdout.is_empty());
    assert_not_applied(&place);
}

/// What a check of `doctor` says and advises.
#[track_caller]
fn advised(place: &Place, what: &str) -> (String, String) {
    let doctor = place.run(&["doctor"]).done();
    let checks = doctor["checks"].as_array().unwrap();
    let of = |check: &&Value| {
        check["name"] == "approvals" && text(check, "detail").contains(what) && check["ok"] == false
    };
    let found = checks.iter().find(of).unwrap_or_else(|| panic!("no `{what}` in {doctor}"));
    (text(found, "detail").to_owned(), text(found, "next").to_owned())
}

#[test]
fn a_role_that_the_policy_wants_is_wanted_of_whoever_approves_and_doctor_misses_it() {
    let asking_roles = "approvals: { roles: [{ from: low, roles: [lead] }] }\n";
    let place = Place::with_policy(&format!("{POLICY}{asking_roles}"));
    let document = asking(&place);
    let id = asked(&place, &document);
    let (_, next) = advised(&place, "`lead` only, and nobody");
    assert_eq!(next, "lictor approvers add NAME --role lead");
    let refused = place.run_as_approver(&["approvals", "approve", &id]).ends(3, "denied");
    assert!(refused.to_string().contains("only `lead`"), "{refused}");
    place.run_as_approver(&["apply", &document, "--approve"]).ends(3, "denied");
    assert_not_applied(&place);
    let added = place.run_as_approver(&["approvers", "add", "lea", "--role", "lead"]).done();
    let lea = text(&added, "token").to_owned();
    place.run_with_token(&lea, &["approvals", "approve", &id]).done();
    place.run(&["apply", &document]).done();
    place.verify();
}

#[test]
fn who_enrols_approvers_is_policy_too() {
    let place = Place::new();
    let added = place.run_as_approver(&["approvers", "add", "sue", "--role", "security"]).done();
    let sue = text(&added, "token").to_owned();
    place.policy(&format!("{POLICY}approvals: {{ enroll_roles: [security] }}\n"));
    place.run_as_approver(&["approvers", "add", "eve", "--role", "security"]).ends(3, "denied");
    place.run_as_approver(&["approvers", "revoke", "sue"]).ends(3, "denied");
    place.run_with_token(&sue, &["approvers", "add", "bob"]).done();
    place.run_with_token(&sue, &["approvers", "revoke", "bob"]).done();
    let people = place.run(&["approvers", "list"]).done().to_string();
    assert!(!people.contains("eve"), "{people}");
}

#[test]
fn doctor_names_who_has_no_pin_and_where_people_are_too_few() {
    let place = Place::with_policy(&format!("{POLICY}approvals: {{ pin_from: high }}\n"));
    let people = place.run(&["approvers", "list"]).done();
    let me = text(&people["approvers"][0], "name").to_owned();
    let (said, next) = advised(&place, "wants a PIN from high risk on");
    assert!(said.ends_with(&format!("have none: {me}")), "{said}");
    assert!(next.contains("lictor approvers pin"), "{next}");
    // One person alone is told so, and that is no fault; of two, three are too few.
    let doctor = place.run(&["doctor"]).done().to_string();
    let alone = format!("takes 2 people, and these may approve it: {me} (lictor approvers add");
    assert!(doctor.contains(&alone), "{doctor}");
    enrolled(&place, "ann");
    let doctor = place.run(&["doctor"]).done().to_string();
    assert!(!doctor.contains("takes 2 people"), "{doctor}");
    place.policy(&POLICY.replace("approvals: 2", "approvals: 3"));
    let (said, next) = advised(&place, "critical risk takes 3 people");
    assert!(said.contains("ann") && said.contains(&me), "{said}");
    assert_eq!(next, "lictor approvers add NAME");
}

/// The template of `init` without the marks that make its section about roles a comment.
fn with_roles(template: &str) -> String {
    let section = |line: &str| {
        let code = line.trim_start().strip_prefix("# ")?;
        let key = ["roles:", "  - { from: high", "  - { capability: \"process", "enroll_roles:"];
        key.iter().any(|key| code.starts_with(key)).then(|| line.replacen("# ", "", 1))
    };
    let lines = template.lines().map(|line| section(line).unwrap_or_else(|| line.to_owned()));
    lines.map(|line| line + "\n").collect()
}

#[test]
fn the_section_about_roles_of_the_template_works_and_the_first_approver_is_the_owner() {
    let place = Place::initialised();
    let first = place.run(&["approvers", "list"]).done();
    assert_eq!(first["approvers"][0]["roles"], json!(["owner"]));
    let policy = with_roles(&place.read(".lictor/policy.yaml"));
    for part in
        ["\n  roles:\n    - { from: high", "\n    - { capability:", "\n  enroll_roles: [owner]\n"]
    {
        assert!(policy.contains(part), "{part}\n{policy}");
    }
    place.policy(&policy);
    place.run(&["policy", "lint", "--strict"]).done();
    let doctor = place.run(&["doctor"]).done().to_string();
    assert!(!doctor.contains("nobody who may approve is that"), "{doctor}");
    let add = |name, role| {
        let added = place.run_as_approver(&["approvers", "add", name, "--role", role]).done();
        text(&added, "token").to_owned()
    };
    let (lead, other) = (add("lea", "lead"), add("otto", "operator"));
    // Somebody who is not the owner enrols nobody.
    place.run_with_token(&lead, &["approvers", "add", "eve"]).ends(3, "denied");
    for (n, token, may) in [(1, &place.token, true), (2, &lead, true), (3, &other, false)] {
        let path = format!("path=migrations/{n}.sql");
        let call = ["call", "fs.write", &path, "content=x"];
        place.run(&call).ends(4, "approval_required");
        let answer = place.run_with_token(token, &["approvals", "approve", &place.waiting()]);
        if may {
            answer.done();
            place.run(&call).done();
        } else {
            answer.ends(3, "denied");
        }
    }
}
