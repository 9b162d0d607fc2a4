//! The catalogue through the command: nothing but a builtin or an approved digest is ever done.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::place::{Place, has, message, text};

/// A contract of one's own over a builtin's handler.
fn contract(id: &str, version: &str, title: &str) -> String {
    format!(
        "id: {id}\nversion: {version}\ntitle: {title}\ndescription: Tells the time.\nkind: skill\n\
         source: local\ninput: {{ type: object, additionalProperties: false }}\n\
         output: {{ type: object }}\nrisk: low\nidempotent: true\nhandler: {{ builtin: time.now }}\n"
    )
}

const ID: &str = "clock.tell";

/// Somebody else than the approver proposes.
#[track_caller]
fn propose(place: &Place, kind: &str, name: &str, document: &str) -> Value {
    let file = place.document(name, document);
    place
        .run_with(&[kind, "propose", &file], |command| _ = command.env("LICTOR_USER", "bob"))
        .done()
}

#[track_caller]
fn let_in(place: &Place, kind: &str, id: &str) -> Value {
    place.run_as_approver(&[kind, "approve", id, "--reason", "looked at it"]).done()
}

/// A capability that is in use.
fn in_use() -> Place {
    let place = Place::new();
    propose(&place, "capability", "c.yaml", &contract(ID, "1.0.0", "Clock"));
    let_in(&place, "capability", ID);
    place.run(&["call", ID]).done();
    place
}

fn edit(place: &Place) {
    let path = place.root.join(format!(".lictor/capabilities/{ID}.yaml"));
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("risk: low", "risk: medium")).unwrap();
}

fn state(place: &Place, kind: &str, id: &str) -> String {
    text(&place.run(&[kind, "show", id]).done(), "state").to_owned()
}

#[test]
fn a_proposal_runs_only_after_somebody_else_let_it_in() {
    let place = Place::new();
    place.run(&["call", ID]).ends(2, "not_found");
    let proposed = propose(&place, "capability", "c.yaml", &contract(ID, "1.0.0", "Clock"));
    has(&proposed, &["id", "digest", "state", "proposed_by", "file", "history"]);
    assert_eq!(proposed["state"], "proposed");
    assert!(place.exists(text(&proposed, "file")));
    place.run(&["call", ID]).ends(3, "denied");
    // Without proof, nobody is an approver; with it, still not of something else.
    place.run(&["capability", "approve", ID]).ends(3, "denied");
    let other = format!("sha256:{}", "0".repeat(64));
    place.run_as_approver(&["capability", "approve", ID, "--digest", &other]).ends(6, "integrity");
    place.run(&["call", ID]).ends(3, "denied");
    let active = let_in(&place, "capability", ID);
    assert_eq!(active["state"], "active");
    let done = place.run(&["call", ID]).done();
    assert!(done["output"]["time"].is_string());
    let again = propose(&place, "capability", "c.yaml", &contract(ID, "1.0.0", "Clock"));
    assert_eq!((again["already"].as_bool(), &again["state"]), (Some(true), &json!("active")));

    let trail = place.trail();
    let of = |kind: &str| {
        let found = trail.iter().filter(|event| event["event_type"] == kind);
        found.map(|event| event["metadata"]["catalogue"].clone()).collect::<Vec<_>>()
    };
    let (proposed, approved) = (of("capability_proposed"), of("capability_approved"));
    assert_eq!((proposed.len(), approved.len()), (1, 1));
    assert_eq!(proposed[0]["by"], "bob");
    assert_eq!(approved[0]["why"], "looked at it");
    assert_eq!(approved[0]["channel"], "token");
    assert_eq!(approved[0]["digest"], active["digest"]);
    assert!(trail.iter().any(|event| event["event_type"] == "action_rejected"));
    place.verify();
}

#[test]
fn whatever_becomes_of_a_capability_is_on_record() {
    let place = in_use();
    for verb in ["freeze", "unfreeze", "deprecate"] {
        place.run_as_approver(&["capability", verb, ID, "--reason", "because"]).done();
    }
    let other = "local.other";
    propose(&place, "capability", "other.yaml", &contract(other, "1.0.0", "Other"));
    place.run_as_approver(&["capability", "reject", other, "--reason", "because"]).done();
    let trail = place.trail();
    let kinds = trail.iter().filter_map(|event| event["event_type"].as_str());
    let kinds: Vec<&str> = kinds.filter(|kind| kind.starts_with("capability_")).collect();
    let due = [
        "capability_proposed",
        "capability_approved",
        "capability_frozen",
        "capability_approved",
        "capability_deprecated",
        "capability_proposed",
        "capability_rejected",
    ];
    assert_eq!(kinds, due);
}

#[test]
fn the_list_for_people_shows_titles_and_makes_visible_only_what_hides() {
    let place = Place::new();
    propose(&place, "capability", "c.yaml", &contract(ID, "1.0.0", "\"Clock \\u202e\""));
    let listed = place.person(&["capability", "list"]).stdout;
    let line = listed.lines().find(|line| line.starts_with(ID)).unwrap();
    assert!(line.ends_with("Clock \\u{202e}"), "{line}");
    assert!(!listed.contains('\u{1b}') && !listed.contains("u{1b}"), "{listed}");
}

#[test]
fn nobody_lets_in_what_they_proposed_themselves() {
    let place = Place::new();
    let file = place.document("c.yaml", contract(ID, "1.0.0", "Clock"));
    place.run(&["capability", "propose", &file]).done();
    let refused = place.run_as_approver(&["capability", "approve", ID]).ends(3, "denied");
    assert!(message(&refused).contains("another approver"), "{refused}");
    assert_eq!(state(&place, "capability", ID), "proposed");
    let added = place.run_as_approver(&["approvers", "add", "carol"]).done();
    let carol = text(&added, "token");
    place.run_with_token(carol, &["capability", "approve", ID]).done();
    place.run(&["call", ID]).done();
}

#[test]
fn what_nobody_proposed_cannot_be_let_in() {
    let place = Place::new();
    let path = format!(".lictor/capabilities/{ID}.yaml");
    fs::write(place.root.join(&path), contract(ID, "1.0.0", "Clock")).unwrap();
    assert_eq!(state(&place, "capability", ID), "proposed");
    place.run(&["call", ID]).ends(3, "denied");
    let refused = place.run_as_approver(&["capability", "approve", ID]).ends(2, "invalid_input");
    assert!(message(&refused).contains("nobody proposed"), "{refused}");
    let step = &refused["error"]["next_steps"][0];
    assert_eq!(step, &json!(format!("lictor capability propose {path}")), "{refused}");
}

#[test]
fn an_edit_between_approval_and_use_is_refused() {
    let place = in_use();
    edit(&place);
    let refused = place.run(&["call", ID]).ends(6, "integrity");
    assert!(message(&refused).contains("not what was approved"), "{refused}");
    let shown = place.run(&["capability", "show", ID]).done();
    assert_eq!((&shown["state"], &shown["changed"]), (&json!("proposed"), &json!(true)));
    // Letting it in is about what was proposed, and that is another one: what to do is said by commands.
    let refused = place.run_as_approver(&["capability", "approve", ID]).ends(6, "integrity");
    let file = format!(".lictor/capabilities/{ID}.yaml");
    let steps = json!([
        format!("lictor capability propose {file}"),
        format!("then an approver who did not propose it: lictor capability approve {ID}"),
    ]);
    assert_eq!(refused["error"]["next_steps"], steps, "{refused}");
    let bob = |command: &mut std::process::Command| _ = command.env("LICTOR_USER", "bob");
    place.run_with(&["capability", "propose", &file], bob).done();
    place.run(&["call", ID]).ends(3, "denied");
    let_in(&place, "capability", ID);
    place.run(&["call", ID]).done();
}

#[test]
fn an_edit_between_check_and_use_is_refused() {
    let place = in_use();
    place.run(&["check", "call", ID]).done();
    edit(&place);
    place.run(&["call", ID]).ends(6, "integrity");
    place.run(&["check", "call", ID]).ends(6, "integrity");
    fs::remove_file(place.root.join(format!(".lictor/capabilities/{ID}.yaml"))).unwrap();
    place.run(&["call", ID]).ends(2, "not_found");
}

/// A workflow that stops for a person between two calls.
fn paused(place: &Place, pack: &str) -> String {
    let workflow = format!(
        "id: hours\nversion: 1.0.0\ntitle: Hours\n{pack}input: {{ type: object }}\nsteps:\n  - id: first\n    use: {ID}\n  \
         - id: review\n    approval: {{ message: Go on?, risk: low, approvals: 1 }}\n    needs: [first]\n  \
         - id: second\n    use: {ID}\n    needs: [review]\n"
    );
    let file = place.document("hours.workflow.yaml", workflow);
    let run = place.run(&["run", &file]).ends(4, "approval_required");
    place.run_as_approver(&["approvals", "approve", &place.waiting()]).done();
    text(&run, "run_id").to_owned()
}

#[test]
fn an_edit_under_a_running_workflow_is_refused_at_its_next_step() {
    let place = in_use();
    let run = paused(&place, "");
    edit(&place);
    let ended = place.run(&["workflow", "resume", &run]);
    assert_ne!(ended.code, 0, "{}", ended.json);
    let shown = ended.json;
    assert!(shown.to_string().contains("not what was approved"), "{shown}");
}

#[test]
fn freezing_stops_a_running_workflow_at_its_next_step() {
    let place = in_use();
    let run = paused(&place, "");
    place.run_as_approver(&["capability", "freeze", ID, "--reason", "odd answers"]).done();
    place.run(&["call", ID]).ends(3, "denied");
    let ended = place.run(&["workflow", "resume", &run]);
    assert_ne!(ended.code, 0, "{}", ended.json);
    let shown = ended.json;
    assert!(shown.to_string().contains("is frozen"), "{shown}");
    place.run_as_approver(&["capability", "unfreeze", ID]).done();
    place.run(&["call", ID]).done();
    place.run_as_approver(&["capability", "deprecate", ID]).done();
    place.run(&["call", ID]).ends(3, "denied");
    place.run_as_approver(&["capability", "unfreeze", ID]).ends(2, "invalid_input");
}

/// A hand in the database: the state of a proposal is set to active, an active contract's digest
/// to another.
fn by_hand(place: &Place, set: &str) {
    let db = rusqlite::Connection::open(place.root.join(".lictor/lictor.db")).unwrap();
    let changed = db.execute(&format!("UPDATE catalogue SET {set}"), []).unwrap();
    assert_eq!(changed, 1);
}

#[test]
fn a_hand_in_the_database_lets_nothing_in() {
    let place = Place::new();
    propose(&place, "capability", "c.yaml", &contract(ID, "1.0.0", "Clock"));
    by_hand(&place, r#"record = replace(record, '"proposed"', '"active"')"#);
    place.run(&["call", ID]).ends(6, "integrity");
    place.run_as_approver(&["capability", "approve", ID]).ends(6, "integrity");

    let place = in_use();
    edit(&place);
    let shown = place.run(&["capability", "show", ID]).done();
    let found = text(&shown, "digest");
    by_hand(&place, &format!("record = json_set(record, '$.digest', '{found}')"));
    place.run(&["call", ID]).ends(6, "integrity");
    by_hand(&place, "seal = 'sha256:00'");
    place.run(&["call", ID]).ends(6, "integrity");
}

#[test]
fn several_versions_stand_side_by_side() {
    let place = in_use();
    propose(&place, "capability", "c2.yaml", &contract(ID, "2.0.0", "Clock two"));
    let asked = |range: &str| {
        let place = &place;
        let range = range.to_owned();
        move || place.run(&["call", ID, "--version-range", &range])
    };
    asked("^1")().done();
    asked("^2")().ends(2, "not_found");
    let_in(&place, "capability", ID);
    asked("^2")().done();
    place.run_as_approver(&["capability", "freeze", ID, "--of-version", "2.0.0"]).done();
    asked("^2")().ends(2, "not_found");
    place.run(&["call", ID]).done();
    place.run(&["call", "clock.tel"]).ends(2, "not_found");
    let near = place.run(&["capability", "show", "clock.tel"]).ends(2, "not_found");
    assert!(near["error"]["next_steps"][0].as_str().unwrap().contains(ID), "{near}");
}

#[test]
fn two_files_of_one_version_hold_neither() {
    let place = in_use();
    let second = format!(".lictor/capabilities/{ID}@1.0.0.yaml");
    fs::write(place.root.join(second), contract(ID, "1.0.0", "Another")).unwrap();
    place.run(&["call", ID]).ends_with_one_of(&[2, 6]);
    let list = place.run(&["capability", "list"]).done();
    assert_eq!(list["problems"].as_array().unwrap().len(), 2, "{list}");
}

#[test]
fn an_output_that_breaks_its_contract_is_a_failed_action() {
    let place = Place::new();
    let broken = contract(ID, "1.0.0", "Clock").replace(
        "output: { type: object }",
        "output: { type: object, required: [never], properties: { never: { type: string } } }",
    );
    propose(&place, "capability", "c.yaml", &broken);
    let_in(&place, "capability", ID);
    place.run(&["call", ID]).ends(1, "failed");
    let writes = "id: notes.put\nversion: 1.0.0\ntitle: Put\ndescription: Writes.\nkind: skill\n\
        source: local\ninput: { type: object }\n\
        output: { type: object, required: [never] }\nrisk: low\n\
        effects: { fs: { write: [\"**\"] } }\nhandler: { builtin: fs.write }\n";
    propose(&place, "capability", "w.yaml", writes);
    let_in(&place, "capability", "notes.put");
    place.run(&["call", "notes.put", "path=a.txt", "content=x"]).ends(1, "failed");
    assert!(!place.exists("a.txt"), "what breaks its contract lands nothing");
}

const PACK: &str = "id: clocks\nversion: 1.0.0\ntitle: Clocks\ncapabilities: [clock.tell]\n\
                    workflows: [hours]\nrisk_ceiling: low\n";

#[test]
fn a_workflow_of_a_pack_runs_only_while_the_pack_is_active() {
    let place = in_use();
    let file = place.document("p.workflow.yaml", format!(
        "id: hours\nversion: 1.0.0\ntitle: H\npack: clocks\ninput: {{ type: object }}\nsteps:\n  - id: a\n    use: {ID}\n"
    ));
    place.run(&["run", &file]).ends(3, "denied");
    propose(&place, "pack", "pack.yaml", PACK);
    place.run(&["run", &file]).ends(3, "denied");
    let_in(&place, "pack", "clocks");
    place.run(&["run", &file]).done();
    let run = paused(&place, "pack: clocks\n");
    place.run_as_approver(&["pack", "freeze", "clocks"]).done();
    place.run(&["run", &file]).ends(3, "denied");
    let ended = place.run(&["workflow", "resume", &run]);
    assert_ne!(ended.code, 0, "{}", ended.json);
    let shown = ended.json;
    assert!(shown.to_string().contains("clocks"), "{shown}");
    // A workflow that the pack does not hold, and a capability that it does not hold.
    place.run_as_approver(&["pack", "unfreeze", "clocks"]).done();
    let text = fs::read_to_string(&file).unwrap();
    let other = place.document("o.workflow.yaml", text.replace("id: hours", "id: others"));
    place.run(&["run", &other]).ends(3, "denied");
    let foreign = place.document("f.workflow.yaml", text.replace(ID, "time.now"));
    let ended = place.run(&["run", &foreign]);
    assert_ne!(ended.code, 0, "{}", ended.json);
}

#[test]
fn a_facade_leads_to_what_is_active_and_says_why() {
    let place = Place::new();
    let facade = "id: time\nversion: 1.0.0\ntitle: Time\ntriggers: [\"what time\", time]\n\
                  routes: { primary: { pack: clocks }, fallback: { workflow: hours } }\n";
    place.run(&["facade", "route", "What time is it?"]).ends(2, "not_found");
    propose(&place, "facade", "f.yaml", facade);
    place.run(&["facade", "route", "What time is it?"]).ends(2, "not_found");
    let_in(&place, "facade", "time");
    let routed = place.run(&["facade", "route", "What time is it?"]).done();
    let told = place.person(&["facade", "route", "What time is it?"]).stdout;
    assert!(!told.contains('\u{1b}') && !told.contains("u{1b}"), "{told}");
    assert_eq!(routed["route"], json!({ "workflow": "hours" }), "{routed}");
    assert_eq!(routed["trigger"], "what time");
    propose(&place, "pack", "pack.yaml", PACK);
    // Its pack is not active, so neither the pack nor the workflow that it holds is offered.
    place.run(&["facade", "route", "what time"]).ends(3, "denied");
    let_in(&place, "pack", "clocks");
    let routed = place.run(&["facade", "route", "what TIME, please"]).done();
    assert_eq!(routed["route"], json!({ "pack": "clocks" }));
    assert!(!routed["because"].as_array().unwrap().is_empty());
    place.run(&["facade", "route", "somewhat timely"]).ends(2, "not_found");
    let bare = facade.replace("{ workflow: hours }", "{ capability: fs.write }");
    let file = place.document("bare.yaml", bare);
    place.run(&["facade", "propose", &file]).ends(2, "invalid_input");
}

#[test]
fn a_link_in_the_folder_is_no_capability() {
    let place = Place::new();
    let file = place.document("c.yaml", contract(ID, "1.0.0", "Clock"));
    let link = place.root.join(format!(".lictor/capabilities/{ID}.yaml"));
    std::os::unix::fs::symlink(file, link).unwrap();
    let list = place.run(&["capability", "list"]).done();
    assert_eq!(list["problems"].as_array().unwrap().len(), 1, "{list}");
    place.run(&["call", ID]).ends(2, "not_found");
}

#[test]
fn exported_tools_have_names_and_a_way_back() {
    let place = in_use();
    for (format, at) in [("openai", "/function/name"), ("anthropic", "/name"), ("mcp", "/name")] {
        let list = place.run(&["capability", "export", "--format", format]).done();
        let tools = list["tools"].as_array().unwrap();
        assert!(tools.len() > 10);
        for tool in tools {
            let name = tool.pointer(at).unwrap().as_str().unwrap();
            let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
            assert!(name.len() <= 64 && name.chars().all(fits), "{name}");
            assert!(list["names"][name].is_string(), "{name}");
        }
        assert_eq!(list["names"]["clock-tell"], ID);
        assert_eq!(list["left_out"], json!([]));
    }
    place.run(&["capability", "export", "--format", "toml"]).ends(2, "usage");
    place.run_as_approver(&["capability", "freeze", ID]).done();
    let list = place.run(&["capability", "export", "--format", "mcp"]).done();
    assert!(list["names"].get("clock-tell").is_none(), "what is frozen is not offered");
}

#[test]
fn the_graph_can_be_drawn() {
    let place = in_use();
    propose(&place, "pack", "pack.yaml", PACK);
    let mermaid = place.run(&["capability", "graph", "--mermaid"]).done();
    assert!(text(&mermaid, "drawing").starts_with("flowchart LR\n"));
    let dot = place.run(&["capability", "graph", "--dot"]).done();
    let drawing = text(&dot, "drawing");
    assert!(drawing.contains("\"capability:clock.tell\" -> \"pack:clocks\""), "{drawing}");
}

#[test]
fn a_person_reads_what_they_let_in() {
    let place = in_use();
    let list = place.person(&["capability", "list"]);
    assert_eq!(list.code, Some(0), "{}", list.stderr);
    assert!(list.stdout.contains(ID), "{}", list.stdout);
    let mut dry: Command = place.command(&["capability", "freeze", ID, "--dry-run"]);
    assert!(dry.output().unwrap().status.success());
    assert_eq!(state(&place, "capability", ID), "active");
}
