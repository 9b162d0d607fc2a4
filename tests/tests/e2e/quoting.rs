//! `secrets_stay_out`, also where something is wrong: no message of any verb, for people or as JSON,
//! and no record of it, holds a part of a secret that was declared, wherever the secret stood.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::place::{Place, message};
use crate::random::Random;

/// A part of a secret of so many bytes is one too many.
const PART: usize = 8;

/// A secret of random length and make, in a text of random length.
struct Case {
    secret: String,
    text: String,
}

fn text_of(random: &mut Random, most: u64, alphabet: &str) -> String {
    let letters: Vec<char> = alphabet.chars().collect();
    let length = random.below(most + 1);
    (0..length)
        .map(|_| letters[usize::try_from(random.below(letters.len() as u64)).unwrap()])
        .collect()
}

fn case(random: &mut Random, odd_one: bool) -> Case {
    const DIGITS: &str = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz0123456789";
    // No comma: what a table takes apart is an answer, and not a message.
    let odd = format!("{DIGITS}{DIGITS}-_.:/+=~%$@!?*#&|<>'\"\\{{}}[]() \u{f6}\u{4e16}");
    let plain = format!("{DIGITS}-_.:/+=");
    let alphabet =
        [DIGITS, &plain, &odd][if odd_one { 2 } else { usize::try_from(random.below(3)).unwrap() }];
    let secret = loop {
        let most = [12, 40, 130, 300][usize::try_from(random.below(4)).unwrap()];
        let secret = text_of(random, most, alphabet);
        // As environments are told: nothing around it, and long enough to be looked for.
        if secret.trim() == secret && secret.len() >= PART && !secret.starts_with('-') {
            break secret;
        }
    };
    let most = [0, 3, 70, 140, 260][usize::try_from(random.below(5)).unwrap()];
    let (before, after) = (text_of(random, most, "xyz"), text_of(random, most, "xyz"));
    Case { text: format!("{before}{secret}{after}"), secret }
}

/// Every command line that takes a text which is wrong there.
fn lines(
    place: &Place,
    text: &str,
    random: &mut Random,
    schemas: &[(String, Value)],
) -> Vec<Vec<String>> {
    let owned = |line: &[&str]| line.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let mut lines = vec![
        owned(&["call", text]),
        owned(&["check", "call", text]),
        owned(&["call", "fs.read", text]),
        owned(&["call", "fs.read", &format!("path:={text}")]),
        owned(&["call", "fs.read", "--input", text]),
        owned(&["call", "fs.read", "--input", &format!("{{\"path\": {text}}}")]),
        owned(&["call", "fs.read", "path=a", "--risk", text]),
        owned(&["call", "fs.read", "path=a", "--version-range", text]),
        owned(&["call", "fs.read", "path=a", "--approval", text]),
        owned(&["call", "fs.read", "path=a", "--user", text]),
        owned(&["call", "fs.read", "path=a", "--session", text]),
        owned(&["show", text]),
        owned(&["diff", text]),
        owned(&["undo", text]),
        owned(&["redo", text]),
        owned(&["land", text]),
        owned(&["resume", text]),
        owned(&["halt", "--reason", text, "--user", "somebody.else"]),
        owned(&["capability", "show", text]),
        owned(&["capability", "export", "--format", text]),
        owned(&["capability", "propose", text]),
        owned(&["facade", "route", text]),
        owned(&["approvals", "show", text]),
        owned(&["approvals", "deny", text]),
        owned(&["workflow", "show", text]),
        owned(&["policy", "explain", text]),
        owned(&["audit", "query", "--since", text]),
        owned(&["init", "--preset", text]),
        owned(&[text]),
    ];
    // Documents with it at any place.
    let id = |of: &str| format!("{of}{}", random_name(text));
    let changes = [
        json!({ "op": text, "path": "a" }),
        json!({ "op": "create", "path": text, "content": "x", "mode": text }),
        json!({ "op": "delete", "path": "a", "before": text }),
        json!({ "op": "create", "path": "a", "content_base64": text }),
        json!({ "op": "rename", "path": "a", "to": text, "before": text }),
        json!({ "op": "create", "path": "a", "content": "x", text: text }),
        json!(text),
    ];
    for (index, change) in changes.iter().enumerate() {
        let file = place
            .document(&id(&format!("{index}.json")), json!({ "changes": [change] }).to_string());
        lines.push(owned(&["apply", &file]));
    }
    let diff = format!("--- a/{text}\n+++ b/{text}\n@@ {text} @@\n {text}\n");
    lines.push(owned(&["apply", &place.document(&id("a.diff"), diff)]));
    lines.push(owned(&[
        "change",
        "seal",
        &place.document(&id("b.json"), format!("{{\"changes\": {text}")),
    ]));
    let quoted = json!(text);
    for (index, document) in [
        format!("id: {quoted}\nversion: 1.0.0\ntitle: T\nsteps: []\n"),
        format!("id: w\nversion: {quoted}\ntitle: T\nsteps: [{{ id: a, use: {quoted} }}]\n"),
        format!("id: w\nversion: 1.0.0\ntitle: T\ntimeout: {quoted}\nsteps: [{{ id: a, use: time.now, with: {quoted} }}]\n"),
        format!("id: w\nversion: 1.0.0\ntitle: T\n{quoted}: 1\nsteps: []\n"),
        format!("id: w\nversion: 1.0.0\ntitle: [{text}\n"),
    ]
    .iter()
    .enumerate()
    {
        lines.push(owned(&["run", &place.document(&id(&format!("{index}.workflow.yaml")), document)]));
    }
    let contract = format!("id: {quoted}\nversion: {quoted}\nrisk: {quoted}\n");
    lines.push(owned(&["capability", "propose", &place.document(&id("c.yaml"), contract)]));
    // Every builtin, with it in one field or another, of the wrong type as often as not.
    for (capability, schema) in schemas {
        let names: Vec<&String> =
            schema["properties"].as_object().map(|all| all.keys().collect()).unwrap_or_default();
        let Some(name) =
            names.get(usize::try_from(random.below(names.len().max(1) as u64)).unwrap())
        else {
            continue;
        };
        let value = match random.below(4) {
            0 => json!([text]),
            1 => json!({ text: text }),
            _ => json!(text),
        };
        let mut input = json!({});
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            input[name] = match schema["properties"][name]["type"].as_str() {
                Some("array") => json!([]),
                Some("object") => json!({}),
                Some("integer") => json!(1),
                _ => json!("a"),
            };
        }
        input[name.as_str()] = value;
        lines.push(owned(&["call", capability, "--input", &input.to_string()]));
    }
    lines
}

/// A name for a file: nothing of the text itself.
fn random_name(text: &str) -> String {
    format!("-{}", text.len())
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.is_symlink() { files(&path, found) } else { found.push(path) }
    }
}

/// Where a part of a secret stands in some bytes.
fn part_in(parts: &HashSet<[u8; PART]>, bytes: &[u8]) -> Option<String> {
    let found = bytes.windows(PART).position(|window| {
        <[u8; PART]>::try_from(window).is_ok_and(|window| parts.contains(&window))
    })?;
    let around = &bytes[found.saturating_sub(120)..(found + 60).min(bytes.len())];
    Some(String::from_utf8_lossy(around).into_owned())
}

#[test]
fn no_message_of_any_verb_holds_a_part_of_a_declared_secret() {
    const CASES: usize = 2;
    let mut random = Random::new();
    let place = Place::new();
    place.write("a", "text\n");
    let list = place.run(&["capability", "list"]).done();
    let schemas: Vec<(String, Value)> = list["capabilities"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            let id = one["id"].as_str().unwrap();
            let shown = place.run(&["capability", "show", id]).done();
            (id.to_owned(), shown.pointer("/contract/input").unwrap_or(&shown["input"]).clone())
        })
        .collect();
    let (mut all, mut told) = (HashSet::new(), Vec::new());
    for index in 0..CASES {
        let Case { secret, text } = case(&mut random, index == 0);
        let parts: HashSet<[u8; PART]> =
            secret.as_bytes().windows(PART).map(|part| part.try_into().unwrap()).collect();
        for line in lines(&place, &text, &mut random, &schemas) {
            let line: Vec<&str> = line.iter().map(String::as_str).collect();
            let mut command = place.command(&line);
            if random.below(2) == 0 {
                command.arg("--json");
            }
            let output = command.env("LICTOR_SECRET_CANARY", &secret).output().unwrap();
            // All of them are tried, so that one look shows what a change broke.
            for said in [&output.stdout, &output.stderr] {
                let found = part_in(&parts, said);
                told.extend(
                    found.map(|found| {
                        format!("{:?}: {found}\n  {text}\n", &line[..line.len().min(3)])
                    }),
                );
            }
        }
        all.extend(parts);
    }
    assert!(told.is_empty(), "{}", told.join("\n"));
    place.trail();
    place.verify();
    let mut kept = Vec::new();
    files(&place.root.join(".lictor"), &mut kept);
    files(&place.home(), &mut kept);
    kept.push(place.beside("trail.jsonl"));
    for file in kept {
        // An undo record holds what a file held, and nothing else does.
        if file.starts_with(place.root.join(".lictor/tx")) {
            continue;
        }
        assert_eq!(part_in(&all, &std::fs::read(&file).unwrap()), None, "{}", file.display());
    }
}

/// Whatever syntax takes an input apart, no part of a secret is kept as if it were something else.
#[test]
fn an_input_that_takes_a_declared_secret_apart_is_refused() {
    let place = Place::new();
    place.write("a", "text\n");
    let cases: &[(&str, &[&str])] = &[
        // The sign is the secret's own first, last or middle letter.
        ("=f0rmidable", &["xyz=f0rmidable"]),
        ("=f0rmidable", &["xyz:=f0rmidable"]),
        (":=f0rmidable", &["xyz:=f0rmidable"]),
        ("f0rmidable=", &["f0rmidable=xyz"]),
        ("f0rmid=able", &["f0rmid=able"]),
        ("f0rmidable=able", &["xf0rmidable=able"]),
        ("@f0rmidable", &["path=@f0rmidable"]),
        // JSON has its own signs.
        ("\"f0rmidable\"", &["path:=\"f0rmidable\""]),
        ("\"f0rmidable\"", &["--input", "{\"path\": \"f0rmidable\"}"]),
        ("{\"key\": \"f0rmidable\"}", &["--input", "{\"path\": {\"key\": \"f0rmidable\"}}"]),
        ("40961234", &["path:=40961234"]),
        ("40961234", &["--input", "{\"path\": 40961234}"]),
    ];
    for (secret, input) in cases {
        let line = [&["call", "fs.read"], *input].concat();
        let answer = place.run_with(&line, |command| {
            command.env("LICTOR_SECRET_CANARY", secret);
        });
        let said = answer.ends(2, "usage");
        assert!(message(&said).contains("taken apart"), "{input:?}: {said}");
    }
    // Whole within a text it is known.
    for (secret, input) in [("{\"key\": 1}", "path={\"key\": 1}"), ("40961234", "path=40961234")] {
        let answer = place.run_with(&["call", "fs.read", input], |command| {
            command.env("LICTOR_SECRET_CANARY", secret);
        });
        assert!(!message(&answer.ends_with_one_of(&[1, 2, 3, 7])).contains("taken apart"));
    }
    place.trail();
    place.verify();
    let mut kept = Vec::new();
    files(&place.root.join(".lictor"), &mut kept);
    for file in kept {
        let bytes = std::fs::read(&file).unwrap();
        for part in [&b"f0rmid"[..], b"40961234"] {
            assert!(!bytes.windows(part.len()).any(|at| at == part), "{}", file.display());
        }
    }
}
