//! Eight processes change the same files at once, and some are killed: what stands in the end is
//! what some order of the applied ones, one after the other, would have left.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Read as _;
use std::process::Stdio;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::place::{Answer, POLICY, Place, text};
use crate::random::Random;
use crate::tree::digest;

const WORKERS: usize = 8;
const FILES: u64 = 24;

/// How many change sets each has; `LICTOR_CHANGE_SETS` raises it.
fn sets() -> usize {
    let wanted = std::env::var("LICTOR_CHANGE_SETS").ok();
    wanted.and_then(|text| text.parse().ok()).unwrap_or(6)
}

#[derive(Debug, PartialEq)]
enum Outcome {
    Applied(String),
    Refused,
    Killed,
}

/// A change set: each of its files holds a text of its own afterwards, and there is one new file.
struct Set {
    tag: String,
    /// Each file with what it held before.
    files: BTreeMap<String, String>,
    outcome: Outcome,
}

impl Set {
    fn after(&self, path: &str) -> String {
        content(&self.tag, path)
    }
}

fn content(tag: &str, path: &str) -> String {
    format!("{tag} was here: {path}\n")
}

#[test]
fn what_stands_is_a_serial_order_of_what_was_applied() {
    let mut random = Random::new();
    let place = Place::with_policy(&format!("{POLICY}concurrency: {{ lock_timeout: 120s }}\n"));
    for n in 0..FILES {
        let path = format!("f{n}");
        place.write(&path, content("nobody", &path));
    }
    let warm = place.document("warm.json", changes("warm", &BTreeMap::new()));
    let began = Instant::now();
    place.run(&["apply", &warm, "--intent", "warm"]).done();
    let usual = began.elapsed();
    let mut all: Vec<Set> = Vec::new();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS)
            .map(|worker| {
                let (place, mut random) = (&place, random.fork());
                // Eight at once on few cores take longer.
                scope.spawn(move || work(place, worker, &mut random, usual * 3))
            })
            .collect();
        for worker in workers {
            all.extend(worker.join().expect("a worker"));
        }
    });
    place.run(&["recover"]).done();
    let lock = place.run(&["lock", "status"]).done();
    assert!(lock["held"] == false && lock["last"]["released"] != false, "a lost lock: {lock}");
    let applied = applied(&place, &all);
    assert_eq!(made(&place), applied.iter().map(|set| set.tag.clone()).collect());
    serial_order(&place, &applied);
    place.verify();
}

/// What the index says, held against what was answered; gives what was applied.
fn applied<'a>(place: &Place, all: &'a [Set]) -> Vec<&'a Set> {
    let log = place.run(&["log", "--limit", "100000"]).done();
    let mut index: HashMap<&str, &str> = HashMap::new();
    for execution in log["executions"].as_array().unwrap() {
        if execution["status"] == "applied" {
            let (tag, id) = (text(execution, "intent"), text(execution, "execution_id"));
            assert_eq!(index.insert(tag, id), None, "{tag} was applied twice");
        } else {
            assert_eq!(execution["status"], "rolled_back", "{execution}");
        }
    }
    let stands = |set: &&Set| match (&set.outcome, index.get(set.tag.as_str())) {
        (Outcome::Applied(id), found) => {
            assert_eq!(found, Some(&id.as_str()), "{} was reported as applied", set.tag);
            true
        }
        (Outcome::Refused, found) => {
            assert_eq!(found, None, "{} was reported as refused", set.tag);
            false
        }
        (Outcome::Killed, found) => found.is_some(),
    };
    let applied: Vec<&Set> = all.iter().filter(stands).collect();
    let count = |outcome: fn(&Outcome) -> bool| all.iter().filter(|s| outcome(&s.outcome)).count();
    let killed = count(|outcome| *outcome == Outcome::Killed);
    let refused = count(|outcome| *outcome == Outcome::Refused);
    eprintln!(
        "{} change sets: {} applied, {refused} refused, {killed} killed, {} of these applied",
        all.len(),
        applied.len(),
        applied.iter().filter(|set| set.outcome == Outcome::Killed).count(),
    );
    let mut completed: Vec<String> = place
        .trail()
        .iter()
        .filter(|event| event["event_type"] == "action_completed" && event["success"] == true)
        .map(|event| text(event, "execution_id").to_owned())
        .collect();
    completed.sort();
    let mut indexed: Vec<String> = index.values().map(|id| (*id).to_owned()).collect();
    indexed.sort();
    assert_eq!(completed, indexed, "the trail and the index");
    applied
}

/// The new files that are there, but for the first one.
fn made(place: &Place) -> BTreeSet<String> {
    let names = std::fs::read_dir(place.root.join("made")).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name != "warm").collect()
}

/// Follows each file from its first text to what it holds now: every applied change of it is met
/// once, and the orders of all files fit together.
fn serial_order(place: &Place, applied: &[&Set]) {
    let mut later: HashMap<&str, BTreeSet<&str>> = HashMap::new();
    let mut earlier: HashMap<&str, usize> =
        applied.iter().map(|set| (set.tag.as_str(), 0)).collect();
    for n in 0..FILES {
        let path = format!("f{n}");
        let mut steps: HashMap<&str, &Set> = HashMap::new();
        for set in applied {
            if let Some(before) = set.files.get(&path)
                && let Some(other) = steps.insert(before, set)
            {
                panic!("{} and {} both replaced {before:?}", set.tag, other.tag);
            }
        }
        let changes = steps.len();
        let mut now = content("nobody", &path);
        let mut order: Vec<&Set> = Vec::new();
        while let Some(set) = steps.remove(now.as_str()) {
            now = set.after(&path);
            order.push(set);
        }
        assert_eq!(order.len(), changes, "{path}: an applied change was lost");
        assert_eq!(place.read(&path), now, "{path}");
        for pair in order.windows(2) {
            if later.entry(&pair[0].tag).or_default().insert(&pair[1].tag) {
                *earlier.get_mut(pair[1].tag.as_str()).unwrap() += 1;
            }
        }
    }
    let free = |earlier: &HashMap<&str, usize>| earlier.values().filter(|n| **n == 0).count();
    let mut ready: Vec<&str> =
        earlier.iter().filter(|(_, n)| **n == 0).map(|(tag, _)| *tag).collect();
    while let Some(tag) = ready.pop() {
        for next in later.remove(tag).unwrap_or_default() {
            let n = earlier.get_mut(next).unwrap();
            *n -= 1;
            if *n == 0 {
                ready.push(next);
            }
        }
    }
    assert_eq!(free(&earlier), applied.len(), "no order fits all files");
}

fn work(place: &Place, worker: usize, random: &mut Random, usual: Duration) -> Vec<Set> {
    (0..sets())
        .map(|n| {
            let tag = format!("w{worker}-{n}");
            let wanted = 1 + random.below(3);
            let files: BTreeMap<String, String> = (0..wanted)
                .map(|_| format!("f{}", random.below(FILES)))
                .map(|path| (path.clone(), place.read(&path)))
                .collect();
            let document = place.document(&format!("{tag}.json"), changes(&tag, &files));
            let after = random.below(u64::try_from(usual.as_micros()).unwrap() * 3 / 2);
            let patience = (random.below(4) == 0).then(|| Duration::from_micros(after));
            let outcome = apply(place, &document, &tag, patience);
            Set { tag, files, outcome }
        })
        .collect()
}

fn changes(tag: &str, files: &BTreeMap<String, String>) -> String {
    let made = json!({ "op": "create", "path": format!("made/{tag}"), "content": tag });
    let modified = files.iter().map(|(path, before)| {
        let before = digest(before.as_bytes());
        json!({ "op": "modify", "path": path, "before": before, "content": content(tag, path) })
    });
    let changes: Vec<_> = modified.chain([made]).collect();
    json!({ "changes": changes }).to_string()
}

/// Applies a document in a process of its own, which is killed when it takes longer than
/// `patience`.
fn apply(place: &Place, document: &str, tag: &str, patience: Option<Duration>) -> Outcome {
    let arguments = ["apply", document, "--intent", tag, "--json"];
    let mut command = place.command(&arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let (mut out, mut err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let (ends, ended) = mpsc::channel();
    let (stdout, stderr, status) = std::thread::scope(|scope| {
        let said = scope.spawn(move || {
            let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
            out.read_to_end(&mut stdout).unwrap();
            err.read_to_end(&mut stderr).unwrap();
            ends.send(()).unwrap_or_default();
            (stdout, stderr)
        });
        if let Some(patience) = patience
            && ended.recv_timeout(patience).is_err()
        {
            child.kill().unwrap();
        }
        let (stdout, stderr) = said.join().unwrap();
        (stdout, stderr, child.wait().unwrap())
    });
    let Some(code) = status.code() else { return Outcome::Killed };
    let answer = Answer::new(&arguments, Some(code), stdout, stderr);
    if code == 5 {
        answer.ends(5, "conflict");
        return Outcome::Refused;
    }
    let done = answer.done();
    assert_eq!(done["status"], "applied", "{done}");
    Outcome::Applied(text(&done, "execution_id").to_owned())
}
