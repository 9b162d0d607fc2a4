//! Every error path denies, through the command: a disk that is full, a database that is damaged, a
//! policy that is half there. Nothing is done that is not answered with success, and the answer says why.

use std::fs;
use std::process::Stdio;

use serde_json::json;

use crate::place::{Answer, POLICY, Place, message, text};

const COUNTED: &str = "frequency: [{ capability: \"fs.*\", scope: user, per: 1h, max: 1000 }]\n";

/// Runs it where no file may grow beyond so many blocks of 512 bytes.
fn limited(place: &Place, blocks: u32, arguments: &[&str]) -> Answer {
    let command = place.command(arguments);
    let limit = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", &limit]).arg(command.get_program()).args(command.get_args()).arg("--json");
    shell.current_dir(&place.root).stdin(Stdio::null());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    let output = shell.output().unwrap();
    Answer::new(arguments, output.status.code(), output.stdout, output.stderr)
}

#[test]
fn a_disk_that_is_full_at_any_point_denies_and_leaves_nothing() {
    let place = Place::with_policy(&format!("{POLICY}{COUNTED}"));
    place.write("old.txt", "old");
    let call = ["call", "fs.write", "path=old.txt", "content=new"];
    let before = place.tree();
    let (mut refused, mut blocks) = (0, 0);
    loop {
        let answer = limited(&place, blocks, &call);
        if answer.code == 0 {
            break;
        }
        refused += 1;
        assert!(!message(&answer.json).is_empty());
        assert_eq!(place.tree(), before, "{blocks}: {}", answer.json);
        blocks += 16;
        assert!(blocks < 1 << 16, "it is never done: {}", answer.json);
    }
    assert!(refused > 3, "{refused}");
    assert_eq!(place.read("old.txt"), "new");
    // What had begun before the disk was full is on record as put back, once there is room for that.
    let log = place.run(&["log", "--limit", "1000"]).done();
    let executions = log["executions"].as_array().unwrap();
    let (last, others) = executions.split_first().unwrap();
    assert_eq!(text(last, "status"), "applied", "{log}");
    assert!(others.iter().all(|one| text(one, "status") == "rolled_back"), "{log}");
    place.verify();
}

/// The tables of the database, but for those of SQLite itself.
fn tables(db: &rusqlite::Connection) -> Vec<String> {
    let sql = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'";
    let mut all = db.prepare(sql).unwrap();
    let names = all.query_map([], |row| row.get(0)).unwrap();
    names.map(Result::unwrap).collect()
}

/// Ways in which a table fails, with how each is mended.
const WAYS: [(&str, &str, &str); 3] = [
    ("is gone", "ALTER TABLE @ RENAME TO hidden_@", "ALTER TABLE hidden_@ RENAME TO @"),
    (
        "takes nothing new",
        "CREATE TRIGGER f BEFORE INSERT ON @ BEGIN SELECT RAISE(ABORT, 'disk is full'); END",
        "DROP TRIGGER f",
    ),
    (
        "takes no change",
        "CREATE TRIGGER f BEFORE UPDATE ON @ BEGIN SELECT RAISE(ABORT, 'disk is full'); END",
        "DROP TRIGGER f",
    ),
];

#[test]
fn whichever_table_of_the_database_fails_nothing_is_done_that_is_not_answered_as_done() {
    let place = Place::with_policy(&format!("{POLICY}{COUNTED}"));
    let sql = |sql: &str| {
        let db = rusqlite::Connection::open(place.root.join(".lictor/lictor.db")).unwrap();
        db.execute_batch(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    };
    place.run(&["call", "time.now"]).done();
    let db = rusqlite::Connection::open(place.root.join(".lictor/lictor.db")).unwrap();
    let all = tables(&db);
    drop(db);
    assert!(all.len() > 15, "{all:?}");
    let (mut n, mut refused) = (0, Vec::new());
    for table in &all {
        for (way, fail, mend) in WAYS {
            // A table that the call does without is not written by it either.
            if way != "is gone" && !refused.contains(&format!("{table} is gone")) {
                continue;
            }
            n += 1;
            let name = format!("ask/{n}");
            let path = format!("path={name}");
            let call = ["call", "fs.write", &path, "content=x"];
            place.run(&call).ends(4, "approval_required");
            place.run_as_approver(&["approvals", "approve", &place.waiting()]).done();
            sql(&fail.replace('@', table));
            let answer = place.run(&call);
            sql(&mend.replace('@', table));
            let what = format!("`{table}` {way}: {}", answer.json);
            assert_eq!(answer.code == 0, place.exists(&name), "{what}");
            if answer.code == 0 {
                continue;
            }
            refused.push(format!("{table} {way}"));
            // Mended, it is done; where the answer was used up, people are asked anew.
            let again = place.run(&call);
            if again.code == 4 {
                place.run_as_approver(&["approvals", "approve", &place.waiting()]).done();
                place.run(&call).done();
            } else {
                again.done();
            }
        }
    }
    for table in ["approval", "approval_part", "approver", "usage", "halt", "execution", "decision"]
    {
        assert!(refused.contains(&format!("{table} is gone")), "{table}: {refused:?}");
    }
    place.verify();
}

#[test]
fn a_row_that_cannot_be_read_denies() {
    for (what, row) in [
        ("the approval", "UPDATE approval SET record = '{'"),
        ("half of the approval", "UPDATE approval SET record = substr(record, 1, 40)"),
        ("what was judged", "UPDATE approval_part SET bytes = x'00'"),
        ("an approver", "UPDATE approver SET record = '{'"),
        ("a halt", "INSERT INTO halt (id, in_force, at, record) VALUES ('hlt_1', 1, 1, '{')"),
    ] {
        let place = Place::new();
        let call = ["call", "fs.write", "path=ask/a", "content=x"];
        place.run(&call).ends(4, "approval_required");
        place.run_as_approver(&["approvals", "approve", &place.waiting()]).done();
        let db = rusqlite::Connection::open(place.root.join(".lictor/lictor.db")).unwrap();
        assert!(db.execute(row, []).unwrap() > 0, "{what}");
        drop(db);
        let refused = place.run(&call);
        assert_ne!(refused.code, 0, "{what}: {}", refused.json);
        assert!(!place.exists("ask/a"), "{what}");
    }
}

#[test]
fn a_policy_that_is_not_all_there_denies() {
    let place = Place::new();
    let file = place.root.join(".lictor/policy.yaml");
    let call = ["call", "fs.write", "path=no/a", "content=x"];
    place.run(&call).ends(3, "denied");
    // Wherever whoever wrote it was interrupted: what is forbidden stays so.
    for length in (0..POLICY.len()).step_by(7) {
        fs::write(&file, &POLICY[..length]).unwrap();
        let refused = place.run(&call).ends_with_one_of(&[2, 3]);
        assert!(!place.exists("no/a"), "{length}: {refused}");
    }
    let harmless = ["call", "fs.write", "path=a", "content=x"];
    type Make = fn(&std::path::Path);
    let states: [(&str, Make); 5] = [
        ("empty", |file| fs::write(file, "").unwrap()),
        ("no text", |file| fs::write(file, b"version: 1 # \xff\n").unwrap()),
        ("a folder", |file| {
            fs::remove_file(file).unwrap();
            fs::create_dir(file).unwrap();
        }),
        ("a link in a circle", |file| {
            fs::remove_dir(file).unwrap();
            std::os::unix::fs::symlink("policy.yaml", file).unwrap();
        }),
        ("gone", |file| fs::remove_file(file).unwrap()),
    ];
    for (what, make) in states {
        make(&file);
        let refused = place.run(&harmless).ends_with_one_of(&[2, 3]);
        assert!(!message(&refused).is_empty(), "{what}");
        assert!(!place.exists("a"), "{what}: {refused}");
    }
    fs::write(&file, POLICY).unwrap();
    place.run(&harmless).done();
    assert_eq!(place.run(&["doctor"]).done()["checks"][0]["ok"], json!(true));
}
