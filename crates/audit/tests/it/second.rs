//! Two verifiers, one of which was written from `docs/audit-format.md`: they judge alike.

use std::fs;
use std::path::Path;

use lictor_audit::{AuditLog, Cut, Filter, PublicKey, Verdict, Verification, verify_file};
use serde_json::{Value, json};

use crate::other::{Dice, python, repository, says};
use crate::rig::{Export, Rig, export, session};

/// Reads a list of cases and prints what `tools/verify.py` says to each.
const DRIVER: &str = "\
import functools, json, pathlib, sys
sys.path.insert(0, sys.argv[1])
import verify
verify.ed25519 = functools.lru_cache(verify.ed25519)
for case in json.load(open(sys.argv[2])):
    read = lambda name: pathlib.Path(case[name]).read_bytes()
    found = verify.verify(read('events'), read('evidence'), verify.Key(case['key']))
    print(json.dumps([found['verdict'], found['events'], found['root'], found['first_bad_seq']]))
";

pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) events: Vec<u8>,
    pub(crate) evidence: Vec<u8>,
    pub(crate) key: PublicKey,
}

fn judged(found: &Verification) -> Value {
    json!([found.verdict, found.events, found.root, found.first_bad_seq])
}

/// What both say to each case.
#[track_caller]
pub(crate) fn both_judge_alike(folder: &Path, cases: &[Case]) -> Vec<Verification> {
    let list = cases.iter().enumerate().map(|(n, case)| {
        let (events, evidence) =
            (folder.join(format!("{n}.jsonl")), folder.join(format!("{n}.checkpoint")));
        fs::write(&events, &case.events).unwrap();
        fs::write(&evidence, &case.evidence).unwrap();
        json!({ "events": events, "evidence": evidence, "key": case.key.to_string() })
    });
    let said = says(folder, DRIVER, &list.collect::<Vec<_>>());
    let both = cases.iter().zip(said).map(|(case, said)| {
        let found = verify_file(case.events.as_slice(), case.evidence.as_slice(), &case.key, None);
        let found = found.unwrap();
        assert_eq!(judged(&found), said, "{}: {found:?}", case.name);
        found
    });
    both.collect()
}

struct Good {
    name: &'static str,
    export: Export,
    key: PublicKey,
}

fn good(name: &'static str, log: &AuditLog, key: PublicKey) -> Good {
    Good { name, export: export(log, &Filter::default()), key }
}

/// Logs of every kind, with the keys that somebody may believe in.
fn good_logs() -> (Vec<Rig>, Vec<Good>) {
    let mut found = Vec::new();
    let (plain, other, moved) = (Rig::new(), Rig::new(), Rig::new());
    let log = plain.open();
    plain.fill(&log, 1);
    found.push(good("one", &log, log.public_key()));
    plain.fill(&log, 24);
    found.push(good("plain", &log, log.public_key()));
    let log = other.open();
    other.fill(&log, 300);
    log.archive(&session("acme", "ses_3"), Cut::Seq(256), &other.path("old"), &other.clock)
        .unwrap();
    found.push(good("pruned", &log, log.public_key()));
    let log = moved.open();
    let first = log.public_key();
    for _ in 0..2 {
        moved.fill(&log, 7);
        log.rotate_key(&[session("acme", "ses_9")], &moved.clock).unwrap();
        moved.fill(&log, 3);
    }
    found.push(good("rotated, first key", &log, first));
    found.push(good("rotated, last key", &log, log.public_key()));
    (vec![plain, other, moved], found)
}

fn joined(lines: &[Vec<u8>]) -> Vec<u8> {
    lines.iter().flat_map(|line| line.iter().copied().chain([b'\n'])).collect()
}

/// What somebody may do to the lines.
fn changed_lines(good: &Good, stranger: &[u8]) -> Vec<(String, Vec<u8>)> {
    let lines = &good.export.lines;
    let n = lines.len();
    let mut all = Vec::new();
    let mut case = |name: String, change: &dyn Fn(&mut Vec<Vec<u8>>)| {
        let mut lines = lines.clone();
        change(&mut lines);
        all.push((name, joined(&lines)));
    };
    for at in [0, n / 2, n - 1] {
        case(format!("without line {at}"), &|lines| drop(lines.remove(at)));
        case(format!("line {at} twice"), &|lines| lines.insert(at, lines[at].clone()));
        case(format!("a stranger at {at}"), &|lines| lines.insert(at, stranger.to_vec()));
        case(format!("cut at {at}"), &|lines| lines.truncate(at));
        case(format!("junk at {at}"), &|lines| lines[at] = b"{}".to_vec());
        case(format!("an empty line at {at}"), &|lines| lines.insert(at, Vec::new()));
        case(format!("from {at} on"), &|lines| drop(lines.drain(..at)));
        case(format!("line {at} with a field twice"), &|lines| {
            let text = String::from_utf8(lines[at].clone()).unwrap();
            lines[at] = text.replacen("{\"v\":1", "{\"v\":1,\"v\":1", 1).into_bytes();
        });
        case(format!("line {at} with another space"), &|lines| lines[at].push(b' '));
        case(format!("line {at} too long"), &|lines| lines[at].extend([b' '; 70_000]));
    }
    if n > 3 {
        case("swapped".to_owned(), &|lines| lines.swap(1, 2));
        case("reversed".to_owned(), &|lines| lines.reverse());
    }
    let mut torn = joined(lines);
    torn.truncate(torn.len() - 5);
    all.push(("torn".to_owned(), torn));
    all.push(("nothing".to_owned(), Vec::new()));
    all
}

/// What somebody may do to the evidence.
fn changed_evidence(good: &Good, stranger: &Good) -> Vec<(String, Vec<u8>)> {
    let whole = good.export.checkpoint.clone();
    let text = String::from_utf8(whole.clone()).unwrap();
    // Between note and list stands an empty line that belongs to neither.
    let at = text.find("\nlictor-leaves").unwrap();
    let (bare, rest) = (text[..at].to_owned(), text[at..].to_owned());
    let lines: Vec<&str> = text.lines().collect();
    let without_last = lines[..lines.len() - 1].join("\n") + "\n";
    let mut all = vec![
        ("bare checkpoint".to_owned(), bare.clone().into_bytes()),
        ("no evidence".to_owned(), Vec::new()),
        ("an empty line".to_owned(), b"\n".to_vec()),
        ("list alone".to_owned(), rest.clone().into_bytes()),
        ("list cut".to_owned(), without_last.into_bytes()),
        ("list without its end".to_owned(), text.trim_end().as_bytes().to_vec()),
        ("list with a line more".to_owned(), format!("{text}x\n").into_bytes()),
        (
            "title of another version".to_owned(),
            text.replace("leaves/v1", "leaves/v2").into_bytes(),
        ),
        (
            "title with a number".to_owned(),
            text.replace("leaves/v1\n", "leaves/v1 0\n").into_bytes(),
        ),
        ("another log's".to_owned(), stranger.export.checkpoint.clone()),
        ("a signature twice".to_owned(), {
            let line = bare.lines().last().unwrap();
            format!("{bare}{line}\n{rest}").into_bytes()
        }),
        ("a witness beside it".to_owned(), {
            let line = "\u{2014} witness AAAAAAAA\n";
            format!("{bare}{line}{rest}").into_bytes()
        }),
        ("an empty list of epochs".to_owned(), format!("{text}\nlictor-epochs/v1\n").into_bytes()),
        ("an epoch more".to_owned(), format!("{text}\nlictor-epochs/v1\n{bare}").into_bytes()),
    ];
    if let Some(at) = text.find("\nlictor-epochs") {
        all.push(("without its epochs".to_owned(), text.as_bytes()[..at].to_vec()));
    }
    all
}

#[test]
fn two_verifiers_judge_good_and_bad_logs_alike() {
    if !python() {
        return;
    }
    let (rigs, all) = good_logs();
    let mut cases = Vec::new();
    let mut dice = Dice(7);
    for (n, good) in all.iter().enumerate() {
        let mut case = |name: String, events: Vec<u8>, evidence: Vec<u8>| {
            let name = format!("{}: {name}", good.name);
            cases.push(Case { name, events, evidence, key: good.key.clone() });
        };
        let stranger = &all[(n + 1) % all.len()];
        let (events, evidence) = (good.export.events(), good.export.checkpoint.clone());
        case("as it is".to_owned(), events.clone(), evidence.clone());
        let bare = evidence.windows(14).position(|window| window == b"\nlictor-leaves").unwrap();
        for (name, events) in changed_lines(good, &stranger.export.lines[0]) {
            case(format!("{name}, bare"), events.clone(), evidence[..bare].to_vec());
            case(name, events, evidence.clone());
        }
        for (name, evidence) in changed_evidence(good, stranger) {
            case(name, events.clone(), evidence);
        }
        for _ in 0..60 {
            let mut events = events.clone();
            let bit = dice.below(events.len() * 8);
            events[bit / 8] ^= 1 << (bit % 8);
            case(format!("bit {bit} of the events"), events, evidence.clone());
            let mut flipped = evidence.clone();
            let bit = dice.below(flipped.len() * 8);
            flipped[bit / 8] ^= 1 << (bit % 8);
            case(format!("bit {bit} of the evidence"), good.export.events(), flipped);
        }
    }
    assert!(cases.len() > 900, "{}", cases.len());
    for found in both_judge_alike(rigs[0].folder.path(), &cases) {
        let tampered = found.verdict == Verdict::Tampered;
        assert!(!tampered || found.first_bad_seq.is_some(), "{found:?}");
    }
}

/// The format is frozen: what was exported once verifies for ever.
#[test]
fn exports_of_the_first_version_verify_for_ever() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/v1");
    for (name, verdict, events) in
        [("plain", "complete", 25), ("rotated", "complete", 22), ("pruned", "pruned", 45)]
    {
        let read = |end: &str| fs::read(folder.join(format!("{name}{end}"))).unwrap();
        let key = String::from_utf8(read(".pub")).unwrap();
        let case = Case {
            name: name.to_owned(),
            events: read(".jsonl"),
            evidence: read(".jsonl.checkpoint"),
            key: PublicKey::parse(key.trim()).unwrap(),
        };
        let found = verify_file(case.events.as_slice(), case.evidence.as_slice(), &case.key, None);
        let found = found.unwrap();
        assert_eq!((found.verdict.as_str(), found.events), (verdict, events), "{name}: {found:?}");
        if python() {
            both_judge_alike(Rig::new().folder.path(), &[case]);
        }
    }
}

/// Somebody who does not believe us reads it in an hour, and runs it with what every Python brings.
#[test]
fn the_other_verifier_is_short_and_takes_standard_python_only() {
    const STANDARD: [&str; 6] = ["argparse", "base64", "hashlib", "json", "re", "sys"];
    let text = fs::read_to_string(repository().join("tools/verify.py")).unwrap();
    assert!(text.lines().count() <= 250, "{} lines", text.lines().count());
    let wanted = text.lines().filter_map(|line| {
        line.trim_start().strip_prefix("import ").or(line.trim_start().strip_prefix("from "))
    });
    let wanted: Vec<&str> = wanted.flat_map(|names| names.split(", ")).collect();
    assert_eq!(wanted, STANDARD);
}
