//! Proofs of single events: `tools/verify.py` and our own verifier judge them alike, good and bad.

use std::fs;
use std::process::Command;

use lictor_audit::{AuditLog, Proof, PublicKey};
use serde_json::{Value, json};

use crate::other::{Dice, python, repository, says};
use crate::rig::{Rig, name, session};

const DRIVER: &str = "\
import json, pathlib, sys
sys.path.insert(0, sys.argv[1])
import verify
for case in json.load(open(sys.argv[2])):
    try: text = pathlib.Path(case['proof']).read_bytes().decode('utf-8')
    except UnicodeDecodeError: print('null'); continue
    found = verify.prove(text, verify.Key(case['key']), case['origin'])
    proven = found['verdict'] == 'proven'
    print(json.dumps([found['seq'], found['size'], found['origin']] if proven else None))
";

struct Case {
    what: String,
    proof: Vec<u8>,
    key: PublicKey,
    origin: Option<String>,
}

fn judged(case: &Case) -> Value {
    let Ok(text) = std::str::from_utf8(&case.proof) else { return Value::Null };
    let proven =
        Proof::parse(text).and_then(|proof| proof.verify(&case.key, case.origin.as_deref()));
    proven.map_or(Value::Null, |found| json!([found.seq, found.size, found.origin]))
}

fn proof(log: &AuditLog, seq: u64) -> String {
    log.prove(&name("acme"), seq).unwrap().text()
}

/// What somebody may do to a proof.
fn changed(good: &str, other: &str, stranger: &str) -> Vec<(&'static str, String)> {
    let line = |text: &str, n: usize| text.lines().nth(n).unwrap().to_owned();
    let with = |n: usize, new: &str| {
        let mut lines: Vec<String> = good.split('\n').map(str::to_owned).collect();
        lines[n] = new.to_owned();
        lines.join("\n")
    };
    let (head, note) = good.split_once("\n\n").unwrap();
    let path: Vec<&str> = head.lines().skip(3).collect();
    let index = line(good, 2);
    let first = path.first().copied().unwrap_or("AAAA").to_owned();
    let mut all = vec![
        ("another event's line", with(1, &line(other, 1))),
        ("another place", with(2, &line(other, 2))),
        ("a place with a zero before it", with(2, &index.replace("index ", "index 0"))),
        ("a place beyond the log", with(2, "index 18446744073709551615")),
        ("no place", with(2, "index ")),
        ("another title", with(0, "c2sp.org/tlog-proof@v2")),
        ("no line of an event", with(1, "extra")),
        ("a line that is no base64", with(1, "extra !")),
        ("a hash more", format!("{head}\n{first}\n\n{note}")),
        ("a hash of another length", format!("{head}\nAAAA\n\n{note}")),
        ("another event's path", format!("{head}\n\n{}", other.split_once("\n\n").unwrap().1)),
        (
            "another log's checkpoint",
            format!("{head}\n\n{}", stranger.split_once("\n\n").unwrap().1),
        ),
        ("another log's whole", stranger.to_owned()),
        ("no checkpoint", head.to_owned()),
        ("no end", good.trim_end().to_owned()),
        ("an empty line before it", format!("\n{good}")),
        ("a line after it", format!("{good}x\n")),
        ("nothing", String::new()),
    ];
    if path.len() > 1 {
        let mut turned = path.clone();
        turned.reverse();
        let head: Vec<&str> = head.lines().take(3).chain(turned).collect();
        all.push(("its path turned around", format!("{}\n\n{note}", head.join("\n"))));
        let shorter: Vec<&str> = good.lines().take(3).chain(path[1..].iter().copied()).collect();
        all.push(("a hash less", format!("{}\n\n{note}", shorter.join("\n"))));
    }
    all
}

#[test]
fn two_verifiers_judge_proofs_of_single_events_alike() {
    if !python() {
        return;
    }
    let (rig, strange) = (Rig::new(), Rig::new());
    let (log, stranger) = (rig.open(), strange.open());
    strange.fill(&stranger, 5);
    let (key, origin) = (log.public_key(), log.origin(&name("acme")));
    let mut dice = Dice(11);
    let mut cases = Vec::new();
    for size in [1, 2, 7, 64, 300] {
        rig.fill(&log, size - log_size(&log));
        for seq in [0, 1, 6, 63, 255, 256, 299].into_iter().filter(|seq| *seq < size) {
            let good = proof(&log, seq);
            let mut case = |what: String, proof: Vec<u8>, key: &PublicKey, origin: Option<&str>| {
                let origin = origin.map(str::to_owned);
                let what = format!("event {seq} of {size}: {what}");
                cases.push(Case { what, proof, key: key.clone(), origin });
            };
            let bytes = good.clone().into_bytes();
            case("as it is".to_owned(), bytes.clone(), &key, Some(&origin));
            case("of whichever log".to_owned(), bytes.clone(), &key, None);
            case("asked of another log".to_owned(), bytes.clone(), &key, Some("lictor/x/acme"));
            case("by another key".to_owned(), bytes.clone(), &stranger.public_key(), None);
            let other = proof(&log, (seq + 1) % size);
            for (what, changed) in changed(&good, &other, &proof(&stranger, 1)) {
                case(what.to_owned(), changed.into_bytes(), &key, Some(&origin));
            }
            for _ in 0..25 {
                let mut flipped = bytes.clone();
                let bit = dice.below(flipped.len() * 8);
                flipped[bit / 8] ^= 1 << (bit % 8);
                case(format!("bit {bit}"), flipped, &key, Some(&origin));
            }
        }
    }
    // After another key has taken over, a proof is of that key's checkpoint.
    log.rotate_key(&[session("acme", "ses_9")], &rig.clock).unwrap();
    for key in [key, log.public_key()] {
        let proof = proof(&log, 3).into_bytes();
        cases.push(Case { what: "rotated".to_owned(), proof, key, origin: None });
    }
    assert!(cases.len() > 700, "{}", cases.len());
    let good = cases.iter().filter(|case| judged(case) != Value::Null).count();
    assert!(good > 30 && good < cases.len() / 5, "{good} of {} hold", cases.len());
    both_judge_alike(&rig, &cases);
}

fn log_size(log: &AuditLog) -> u64 {
    log.count(&name("acme"), &lictor_audit::Filter::default()).unwrap()
}

fn both_judge_alike(rig: &Rig, cases: &[Case]) {
    let folder = rig.path("proofs");
    fs::create_dir(&folder).unwrap();
    let list = cases.iter().enumerate().map(|(n, case)| {
        let file = folder.join(format!("{n}.proof"));
        fs::write(&file, &case.proof).unwrap();
        json!({ "proof": file, "key": case.key.to_string(), "origin": case.origin })
    });
    let said = says(&folder, DRIVER, &list.collect::<Vec<_>>());
    for (case, said) in cases.iter().zip(said) {
        assert_eq!(judged(case), said, "{}", case.what);
    }
}

#[expect(clippy::disallowed_methods, reason = "the other verifier is another program")]
#[test]
fn the_other_verifier_takes_a_proof_on_its_command_line() {
    if !python() {
        return;
    }
    let rig = Rig::new();
    let log = rig.open();
    rig.fill(&log, 20);
    let (file, key) = (rig.path("event.proof"), rig.path("audit.key.pub"));
    let ask = |text: &str| {
        fs::write(&file, text).unwrap();
        let mut command = Command::new("python3");
        command.arg("-B").arg(repository().join("tools/verify.py"));
        let output = command.arg(&file).arg("--proof").arg("--key").arg(&key).output().unwrap();
        let found: Value = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code(), found)
    };
    let good = proof(&log, 7);
    let (code, found) = ask(&good);
    assert_eq!((code, &found["verdict"], &found["seq"]), (Some(0), &json!("proven"), &json!(7)));
    let (code, found) = ask(&good.replace("index 7", "index 8"));
    assert_eq!((code, &found["verdict"]), (Some(6), &json!("not_proven")));
}
