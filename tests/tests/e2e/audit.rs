//! The trail: asked, exported, checked, and tampered with.

use std::fs;

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::place::{Answer, Place, has, lines, text};

const SESSION: &str = "ses_01a1f87195887d508e144ffac6a323e7";

/// A place with something of everything in its trail.
fn busy() -> Place {
    let place = Place::new();
    place.run(&["call", "fs.write", "path=a", "content=a", "--session", SESSION]).done();
    place.run(&["call", "fs.write", "path=no/a", "content=a", "--user", "ann"]).ends(3, "denied");
    place.run(&["call", "fs.read", "path=a", "--agent", "planner"]).done();
    place.run(&["undo"]).done();
    place
}

#[track_caller]
fn events(answer: Value) -> Vec<Value> {
    answer["events"].as_array().unwrap().clone()
}

/// An export; gives its path.
fn exported(place: &Place) -> String {
    let out = place.beside("export.jsonl").to_str().unwrap().to_owned();
    let answer = place.run(&["audit", "export", &out]).done();
    assert_eq!(answer["events"], lines(&place.beside("export.jsonl")).len());
    out
}

#[test]
fn an_event_has_every_field_of_the_format() {
    let place = busy();
    for event in place.trail() {
        has(
            &event,
            &[
                "v",
                "event_id",
                "seq",
                "session_seq",
                "event_type",
                "timestamp",
                "org_id",
                "user_id",
                "agent_id",
                "session_id",
                "action_id",
                "action_name",
                "action_params",
                "capability_type",
                "capability_source",
                "capability_version",
                "mcp_server_id",
                "mcp_server_name",
                "execution_id",
                "decision_id",
                "workflow_run_id",
                "step_id",
                "trace_id",
                "requires_approval",
                "approval_granted",
                "success",
                "duration_us",
                "error_message",
                "severity",
                "metadata",
            ],
        );
        assert_eq!(event["v"], 1);
        assert!(text(&event, "event_id").starts_with("evt_"));
        let time = text(&event, "timestamp");
        assert!(time.ends_with('Z') && time.len() == "2026-11-20T10:00:00.000000Z".len(), "{time}");
    }
}

#[test]
fn filters_narrow_what_is_asked() {
    let place = busy();
    let all = place.trail();
    let query = |arguments: &[&str]| {
        let mut call = vec!["audit", "query"];
        call.extend(arguments);
        events(place.run(&call).done())
    };
    assert_eq!(query(&[]), all);
    let of = |key: &str, value: &str| -> Vec<Value> {
        all.iter().filter(|event| event[key] == value).cloned().collect()
    };
    assert_eq!(query(&["--type", "action_rejected"]), of("event_type", "action_rejected"));
    let two = query(&["--type", "action_rejected", "--type", "undo_completed"]);
    assert_eq!(two.len(), of("event_type", "action_rejected").len() + 1);
    assert_eq!(query(&["--session", SESSION]), of("session_id", SESSION));
    assert_eq!(query(&["--user", "ann"]), of("user_id", "ann"));
    assert_eq!(query(&["--agent", "planner"]), of("agent_id", "planner"));
    assert_eq!(query(&["--action", "fs.read"]), of("action_name", "fs.read"));
    assert_eq!(query(&["--org", "nobody"]), Vec::<Value>::new());
    let failed: Vec<_> = all.iter().filter(|event| event["success"] == false).cloned().collect();
    assert!(!failed.is_empty());
    assert_eq!(query(&["--success", "false"]), failed);
    assert_eq!(query(&["--limit", "2", "--offset", "3"]), all[3..5]);
    let middle = text(&all[4], "timestamp");
    assert_eq!(query(&["--since", middle]), all[4..]);
    assert_eq!(query(&["--until", middle]), all[..4]);
    for flags in [&["--type", "action_rejected"][..], &["--user", "ann"], &[]] {
        let mut call = vec!["audit", "count"];
        call.extend(flags);
        assert_eq!(place.run(&call).done()["count"], query(flags).len());
    }
}

#[test]
fn tail_is_the_newest_events_one_a_line() {
    let place = busy();
    let all = place.trail();
    let output = place.command(&["audit", "tail", "--limit", "3", "--json"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let shown: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(shown, all[all.len() - 3..]);
    let spoken = place.person(&["audit", "tail", "--limit", "3"]);
    assert_eq!(spoken.stdout.lines().count(), 3);
}

#[test]
fn an_export_is_checked_offline() {
    let place = busy();
    let file = exported(&place);
    assert!(place.beside("export.jsonl.checkpoint").is_file());
    let here = place.run(&["audit", "verify"]).done();
    has(&here, &["verdict", "events", "root", "first_bad_seq", "problem"]);
    let offline = place.run(&["audit", "verify", "--file", &file]).done();
    assert_eq!(offline, here);
    assert_eq!(offline["verdict"], "complete");
    // Elsewhere, with nothing but the file, its checkpoint and the signer's public key.
    let elsewhere = Place::bare();
    elsewhere.run(&["audit", "verify", "--file", &file]).ends_with_one_of(&[2, 6]);
    let key = place.keys().join("audit.key.pub");
    let key = key.to_str().unwrap();
    let there = elsewhere.run(&["audit", "verify", "--file", &file, "--key", key]).done();
    assert_eq!(there["root"], here["root"]);
}

/// Changes the export and checks it.
fn tampered(place: &Place, change: impl FnOnce(Vec<String>) -> Vec<String>) -> Answer {
    let file = exported(place);
    let text = fs::read_to_string(&file).unwrap();
    let lines = change(text.lines().map(str::to_owned).collect());
    let file = place.document("changed.jsonl", lines.join("\n") + "\n");
    let checkpoint = place.beside("export.jsonl.checkpoint");
    let checkpoint = checkpoint.to_str().unwrap();
    place.run(&["audit", "verify", "--file", &file, "--checkpoint", checkpoint])
}

#[test]
fn a_changed_export_is_found_out() {
    let place = busy();
    let flipped = tampered(&place, |mut lines| {
        lines[2] = lines[2].replacen("\"success\":", "\"succes5\":", 1);
        lines
    })
    .ends(6, "integrity");
    assert_eq!(flipped["verdict"], "tampered");
    assert_eq!(flipped["first_bad_seq"], 2);
    let other = tampered(&place, |mut lines| {
        let seen = lines[3].clone();
        lines[3] = seen.replace("\"org_id\":\"local\"", "\"org_id\":\"loca1\"");
        assert_ne!(lines[3], seen);
        lines
    })
    .ends(6, "integrity");
    assert_eq!(other["first_bad_seq"], 3);
    for change in [
        (|mut lines: Vec<String>| {
            lines.remove(1);
            lines
        }) as fn(Vec<String>) -> Vec<String>,
        |mut lines| {
            lines.swap(1, 2);
            lines
        },
        |mut lines| {
            let twice = lines[1].clone();
            lines.insert(1, twice);
            lines
        },
    ] {
        let found = tampered(&place, change).ends(6, "integrity");
        assert_ne!(found["verdict"], "complete", "{found}");
        assert!(found["first_bad_seq"].is_number(), "{found}");
    }
}

#[test]
fn a_cut_export_is_found_out() {
    let place = busy();
    for n in [1, 3] {
        let cut = tampered(&place, |mut lines| {
            lines.truncate(lines.len() - n);
            lines
        });
        let cut = cut.ends(6, "integrity");
        assert!(!["complete", "pruned"].contains(&text(&cut, "verdict")), "{cut}");
    }
}

#[test]
fn an_export_without_its_checkpoint_proves_no_end() {
    let place = busy();
    let file = exported(&place);
    fs::remove_file(place.beside("export.jsonl.checkpoint")).unwrap();
    let found = place.run(&["audit", "verify", "--file", &file]).ends(6, "integrity");
    let verdict = text(&found, "verdict").to_owned();
    assert!(["valid_prefix", "no_evidence"].contains(&verdict.as_str()), "{found}");
    place.run(&["audit", "verify", "--file", &file, "--allow-unproven-end"]).done();
}

#[test]
fn another_signers_checkpoint_is_not_believed() {
    let (place, other) = (busy(), busy());
    let file = exported(&place);
    exported(&other);
    let checkpoint = other.beside("export.jsonl.checkpoint");
    let checkpoint = checkpoint.to_str().unwrap();
    let call = ["audit", "verify", "--file", &file, "--checkpoint", checkpoint];
    place.run(&call).ends_with_one_of(&[2, 6]);
}

#[test]
fn an_empty_trail_is_no_evidence() {
    let place = Place::initialised();
    let found = place.run(&["audit", "verify"]).ends(6, "integrity");
    assert_eq!(found["verdict"], "no_evidence");
    assert_eq!(found["events"], 0);
    let content = place.run(&["audit", "verify", "--allow-unproven-end"]).done();
    assert_eq!(content["verdict"], "no_evidence");
}

/// The table that holds the events' bytes, and that column.
fn events_table(db: &Connection) -> (String, String) {
    let mut statement = db
        .prepare(
            "SELECT m.name, p.name FROM sqlite_master m, pragma_table_info(m.name) p \
             WHERE m.type = 'table' AND m.name LIKE '%event%' AND p.name IN ('bytes', 'line', 'body')",
        )
        .unwrap();
    let found = statement.query_row([], |row| Ok((row.get(0)?, row.get(1)?)));
    found.expect("a table of events")
}

#[test]
fn a_tampered_database_is_found_out() {
    let place = busy();
    let db = Connection::open(place.root.join(".lictor/lictor.db")).unwrap();
    let (table, column) = events_table(&db);
    let changed = db.execute(
        &format!(
            "UPDATE {table} SET {column} = CAST(replace(CAST({column} AS TEXT), '\"success\":false', \
             '\"success\":true ') AS BLOB) WHERE CAST({column} AS TEXT) LIKE '%action_rejected%'"
        ),
        [],
    );
    // Triggers may forbid it; whoever holds the file drops them first.
    let changed = changed.unwrap_or_else(|_| {
        let mut names =
            db.prepare("SELECT name FROM sqlite_master WHERE type = 'trigger'").unwrap();
        let names: Vec<String> =
            names.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        for name in names {
            db.execute(&format!("DROP TRIGGER {name}"), []).unwrap();
        }
        db.execute(
            &format!(
                "UPDATE {table} SET {column} = CAST(replace(CAST({column} AS TEXT), \
                 '\"success\":false', '\"success\":true ') AS BLOB) \
                 WHERE CAST({column} AS TEXT) LIKE '%action_rejected%'"
            ),
            [],
        )
        .unwrap()
    });
    assert!(changed > 0);
    drop(db);
    let found = place.run(&["audit", "verify"]).ends(6, "integrity");
    assert_eq!(found["verdict"], "tampered", "{found}");
    assert!(found["first_bad_seq"].is_number(), "{found}");
}

/// The database as one file.
fn copy_of(place: &Place) -> Vec<u8> {
    let path = place.root.join(".lictor/lictor.db");
    let db = Connection::open(&path).unwrap();
    db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    drop(db);
    fs::read(path).unwrap()
}

#[test]
fn an_older_database_that_is_put_back_is_found_out() {
    let place = busy();
    let older = copy_of(&place);
    place.run(&["call", "fs.write", "path=b", "content=b"]).done();
    place.verify();
    let state = place.root.join(".lictor");
    for name in ["lictor.db-wal", "lictor.db-shm"] {
        if place.exists(&format!(".lictor/{name}")) {
            fs::remove_file(state.join(name)).unwrap();
        }
    }
    fs::write(state.join("lictor.db"), older).unwrap();
    let found = place.run(&["audit", "verify"]).ends(6, "integrity");
    assert_eq!(found["verdict"], "rolled_back", "{found}");
}

#[test]
fn a_filtered_export_shows_that_nothing_of_a_session_is_left_out() {
    let place = busy();
    let out = place.beside("session.jsonl");
    place.run(&["audit", "export", out.to_str().unwrap(), "--session", SESSION]).done();
    let found = lines(&out);
    assert!(found.len() > 2);
    for (at, event) in found.iter().enumerate() {
        assert_eq!(event["session_id"], SESSION);
        assert_eq!(event["session_seq"], at);
    }
}

#[test]
fn every_organisation_has_a_trail_of_its_own() {
    let place = Place::new();
    for org in ["one", "two"] {
        place.run(&["call", "time.now", "--org", org]).done();
        let found = place.run(&["audit", "query", "--org", org]).done();
        let seqs: Vec<_> = events(found).iter().map(|event| event["seq"].clone()).collect();
        assert_eq!(seqs, (0..seqs.len()).map(|seq| json!(seq)).collect::<Vec<_>>());
        let verified = place.run(&["audit", "verify", "--org", org]).done();
        assert_eq!(verified["verdict"], "complete");
    }
    assert_eq!(place.run(&["audit", "count"]).done()["count"], 0);
}

/// An answer's events of a type.
fn of_type(place: &Place, kind: &str) -> Vec<Value> {
    events(place.run(&["audit", "query", "--type", kind]).done())
}

#[test]
fn one_event_is_proven_by_a_file_of_its_own() {
    let place = busy();
    let event = place.trail()[3].clone();
    let out = place.beside("event.proof");
    let out = out.to_str().unwrap();
    place.run(&["audit", "prove", text(&event, "event_id"), "--out", out]).done();
    let key = place.keys().join("audit.key.pub");
    let key = key.to_str().unwrap();
    let elsewhere = Place::bare();
    let call = ["audit", "verify", "--proof", out, "--key", key];
    let proven = elsewhere.run(&call).done();
    assert_eq!((&proven["verdict"], &proven["seq"]), (&json!("proven"), &json!(3)));
    assert_eq!(proven["event"], event);
    let changed = fs::read_to_string(out).unwrap().replace("index 3", "index 4");
    fs::write(out, changed).unwrap();
    elsewhere.run(&call).ends(6, "integrity");
    place.run(&["audit", "prove", "evt_nonsense"]).ends(2, "not_found");
}

#[test]
fn a_page_begins_after_the_one_before() {
    let place = busy();
    let all = place.trail();
    let page = place.run(&["audit", "query", "--after", "1", "--limit", "2"]).done();
    assert_eq!(events(page), all[2..4]);
}

#[test]
fn what_was_sealed_is_an_approvers_to_see_and_to_erase() {
    let place = busy();
    let user = text(&place.trail()[0], "user_id").to_owned();
    let made = of_type(&place, "decision_made");
    let written = made.iter().find(|event| event["action_name"] == "fs.write").unwrap();
    let seq = written["seq"].to_string();
    place.run(&["audit", "reveal", &seq]).ends(3, "denied");
    let revealed = place.run_as_approver(&["audit", "reveal", &seq]).done();
    assert_eq!(revealed["sealed"][0]["pointer"], "/action_params/content");
    assert_eq!(revealed["sealed"][0]["content"], "a");
    place.run(&["audit", "erase", "--subject", &user]).ends(3, "denied");
    place.run(&["audit", "erase", "--subject", &user, "--dry-run"]).done();
    let out = exported(&place);
    place.run_as_approver(&["audit", "erase", "--subject", &user]).done();
    place.run_as_approver(&["audit", "reveal", &seq]).ends(2, "not_found");
    assert_eq!(of_type(&place, "subject_erased").len(), 1);
    place.verify();
    assert_eq!(place.run(&["audit", "verify", "--file", &out]).done()["verdict"], "complete");
}

#[test]
fn an_archive_needs_an_approver_and_enough_events_and_no_hold() {
    let place = busy();
    let out = place.beside("old.jsonl");
    let out = out.to_str().unwrap();
    place.run(&["audit", "archive", out]).ends(3, "denied");
    place.run_as_approver(&["audit", "hold", "case-7", "--reason", "counsel"]).done();
    let held = place.run_as_approver(&["audit", "archive", out, "--until", "256"]);
    held.ends(1, "failed");
    place.run_as_approver(&["audit", "release", "case-7"]).done();
    place.run_as_approver(&["audit", "archive", out, "--until", "256"]).ends(1, "failed");
    assert_eq!(of_type(&place, "hold_placed").len() + of_type(&place, "hold_released").len(), 2);
    place.verify();
}

#[test]
fn a_trail_goes_on_under_the_next_key() {
    let place = busy();
    let first = place.beside("first.pub");
    fs::copy(place.keys().join("audit.key.pub"), &first).unwrap();
    place.run(&["audit", "rotate-key"]).ends(3, "denied");
    place.run_as_approver(&["audit", "rotate-key"]).done();
    place.run(&["call", "fs.write", "path=b", "content=b"]).done();
    place.verify();
    let file = exported(&place);
    let first = first.to_str().unwrap();
    for key in [first, place.keys().join("audit.key.pub").to_str().unwrap()] {
        let found = place.run(&["audit", "verify", "--file", &file, "--key", key]).done();
        assert_eq!(found["verdict"], "complete");
    }
}

#[test]
fn a_report_says_who_did_what_and_what_was_refused_undone_and_waits() {
    let place = busy();
    place.run(&["call", "fs.write", "path=ask/<b>", "content=a"]).ends(4, "approval_required");
    let page = place.beside("report.html");
    let answer = place.run(&["audit", "report", "--html", page.to_str().unwrap()]).done();
    let report = &answer["report"];
    for (list, count) in [("refused", 1), ("undone", 1), ("waiting", 1), ("failed", 0)] {
        assert_eq!(report[list]["count"], count, "{list}: {report}");
    }
    assert_eq!(
        report["refused"]["entries"][0]["about"].as_str().unwrap().split(':').next(),
        Some("no/a")
    );
    let page = fs::read_to_string(page).unwrap();
    assert!(page.contains("ask/&lt;b&gt;") && !page.contains("<b>") && !page.contains("<script"));
    let spoken = place.person(&["audit", "report"]);
    for part in ["complete", "Refused (1)", "Waiting for an answer (1)", "Undone (1)"] {
        assert!(spoken.stdout.contains(part), "{part}: {}", spoken.stdout);
    }
}

#[test]
fn a_report_of_a_tampered_trail_says_so_and_is_no_success() {
    let place = busy();
    let db = Connection::open(place.root.join(".lictor/lictor.db")).unwrap();
    let first = "SELECT min(seq) FROM audit_event WHERE action_name = 'fs.write'";
    let seq: i64 = db.query_row(first, [], |row| row.get(0)).unwrap();
    db.execute_batch(&format!(
        "DROP TRIGGER audit_event_update;
         UPDATE audit_event SET bytes = CAST(replace(CAST(bytes AS TEXT), 'fs.write', 'fs.wrote') AS BLOB)
         WHERE seq = {seq}"
    ))
    .unwrap();
    drop(db);
    let page = place.beside("report.html");
    let report = ["audit", "report", "--html", page.to_str().unwrap()];
    let answer = place.run(&report).ends(6, "integrity");
    assert_eq!((&answer["verdict"], &answer["first_bad_seq"]), (&json!("tampered"), &json!(seq)));
    assert!(answer["report"]["events"].as_i64().unwrap() > seq, "it still says what is there");
    assert!(fs::read_to_string(page).unwrap().contains(&format!("tampered: event {seq}")));
    let spoken = place.person(&["audit", "report"]);
    assert!(spoken.stdout.starts_with(&format!("tampered: event {seq}")), "{}", spoken.stdout);
    assert!(spoken.stderr.contains("may not be what happened"), "{}", spoken.stderr);
}

#[test]
fn exports_for_other_systems_have_one_event_for_each() {
    let place = busy();
    let all = place.trail();
    let export = |format: &str| {
        let out = place.beside(format);
        let call = ["audit", "export", out.to_str().unwrap(), "--format", format];
        assert_eq!(place.run(&call).done()["events"], all.len());
        lines(&out)
    };
    for (seq, event) in export("cloudevents").iter().enumerate() {
        assert_eq!((&event["specversion"], &event["id"]), (&json!("1.0"), &all[seq]["event_id"]));
        assert_eq!(event["data"], all[seq]);
    }
    for (seq, event) in export("ocsf").iter().enumerate() {
        assert_eq!((&event["type_uid"], &event["unmapped"]), (&json!(600_399), &all[seq]));
    }
    let otlp = &export("otlp")[0];
    let records = otlp["resourceLogs"][0]["scopeLogs"][0]["logRecords"].as_array().unwrap();
    assert_eq!(records.len(), all.len());
}

#[test]
fn tail_follows_what_comes() {
    use std::io::BufRead as _;
    let place = busy();
    let mut command = place.command(&["audit", "tail", "--follow", "--limit", "1", "--json"]);
    let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
    let last: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(last, *place.trail().last().unwrap());
    place.run(&["call", "time.now"]).done();
    let next: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(next["seq"].as_u64(), last["seq"].as_u64().map(|seq| seq + 1));
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Whoever may ask for a copy of the trail may not overwrite somebody's file with one.
#[test]
fn an_export_takes_the_place_of_an_export_only() {
    let place = Place::new();
    place.run(&["call", "fs.write", "path=src/main.rs", "content=mine"]).done();
    let policy = place.read(".lictor/policy.yaml");
    let outs: &[&[&str]] = &[
        &["audit", "export"],
        &["audit", "export", "--format", "cloudevents"],
        &["audit", "export", "--format", "otlp"],
        &["audit", "report", "--html"],
        &["audit", "prove", "0", "--out"],
    ];
    for verb in outs {
        place.run(&[verb, &["src/main.rs"][..]].concat()).ends(2, "invalid_input");
        place.run(&[verb, &[".lictor/policy.yaml"][..]].concat()).ends(3, "denied");
        place.run(&[verb, &[".lictor/new"][..]].concat()).ends(3, "denied");
        // Over its own, again and again; also where nothing but a name stands.
        let out = place.beside("out");
        std::fs::write(&out, "").unwrap();
        for _ in 0..2 {
            place.run(&[verb, &[out.to_str().unwrap()][..]].concat()).done();
            place.run(&["call", "fs.write", "path=b", "content=x"]).done();
        }
        std::fs::remove_file(&out).unwrap();
    }
    assert_eq!(place.read("src/main.rs"), "mine");
    assert_eq!(place.read(".lictor/policy.yaml"), policy);
    assert!(!place.exists(".lictor/new") && !place.exists(".lictor/new.checkpoint"));
    for entry in std::fs::read_dir(place.beside("")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(!name.starts_with('.'), "a rest: {name}");
    }
    // What was cut off or changed is no obstacle: nothing of it is lost.
    let out = place.document("e.jsonl", "");
    place.run(&["audit", "export", &out]).done();
    let text = std::fs::read_to_string(&out).unwrap();
    std::fs::write(&out, &text[..text.len() - 20]).unwrap();
    place.run(&["audit", "export", &out]).done();
    place.run(&["audit", "verify", "--file", &out]).done();
}
