//! What people are shown: `view_is_injective`, and nothing in it hides.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use lictor_capability::{ChangeKind, Content, FileMode, Item, State};
use lictor_context::Digest;
use lictor_governance::{Judged, JudgedError, WriteGate, visible, visible_bytes};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::common::{Ask, file, gate, path};

const POLICY: &str = "version: 1\npaths: {protected: [\"**\"]}\n";

fn corpus() -> Vec<String> {
    let text = include_str!("../data/hostile-texts.txt");
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn judged(ask: &Ask, contents: &[&[u8]]) -> Judged {
    // One for all: compiling the policy would be most of the time.
    static GATE: LazyLock<WriteGate> = LazyLock::new(|| gate(POLICY).0);
    GATE.judged(&ask.describe(), contents.iter().map(|bytes| Arc::from(*bytes))).unwrap()
}

/// The view without its digests: injective by what people read, not by what they compare.
fn read_by_people(view: &str) -> String {
    let mut parts = view.split("sha256:");
    let mut text = parts.next().unwrap().to_owned();
    for part in parts {
        text.push_str("DIGEST");
        text.push_str(part.trim_start_matches(|c: char| c.is_ascii_hexdigit()));
    }
    text
}

fn replaces(old: &[u8], new: &[u8]) -> Item {
    Item {
        kind: ChangeKind::Modify,
        from: Some(path("a")),
        to: Some(path("a")),
        before: Some(file(old)),
        after: Some(file(new)),
        content: Some(Content::Inline(Arc::from(new))),
        implicit: false,
    }
}

/// The places in which a text from outside stands in an action.
fn places(text: &str) -> Vec<(&'static str, Ask, Vec<u8>)> {
    let ask = || Ask::new("fs.write");
    let mut content = ask();
    content.effects.changes.items.push(replaces(b"old\n", text.as_bytes()));
    let mut old = ask();
    old.effects.changes.items.push(replaces(text.as_bytes(), b"a new text that is in no corpus"));
    let mut link = ask();
    link.effects.changes.items.push(Item {
        kind: ChangeKind::Symlink,
        from: None,
        to: Some(path("a")),
        before: None,
        after: Some(State::Symlink { digest: Digest::of(text.as_bytes()) }),
        content: Some(Content::Target(text.to_owned())),
        implicit: false,
    });
    let mut host = ask();
    host.effects.hosts.push(text.to_owned());
    let mut plan = ask();
    plan.plan = Some(lictor_capability::Plan {
        rollback_plan: Some(text.to_owned()),
        ..crate::common::plan()
    });
    vec![
        ("value", ask().input(json!({ "x": text })), Vec::new()),
        ("key", ask().input(json!({ text: 1 })), Vec::new()),
        ("item", ask().input(json!([text, text])), Vec::new()),
        ("content", content, b"old\n".to_vec()),
        ("old content", old, text.as_bytes().to_vec()),
        ("link", link, Vec::new()),
        ("host", host, Vec::new()),
        ("rollback plan", plan, Vec::new()),
    ]
}

#[test]
fn no_two_hostile_texts_are_shown_alike() {
    let corpus = corpus();
    assert!(corpus.len() >= 200, "{}", corpus.len());
    let mut seen: BTreeMap<(&str, String), String> = BTreeMap::new();
    for text in &corpus {
        for (place, ask, content) in places(text) {
            let view = judged(&ask, &[&content]).view().unwrap();
            let shown = read_by_people(&view);
            if let Some(other) = seen.insert((place, shown.clone()), text.clone()) {
                panic!("{place}: {text:?} and {other:?} are both shown as\n{shown}");
            }
        }
    }
}

#[test]
fn a_view_holds_nothing_that_hides_or_acts() {
    // Marks that the view itself sets, and no text from outside can.
    let marks = ['│', '┊', '╵'];
    for text in corpus() {
        for (place, ask, content) in places(&text) {
            let view = judged(&ask, &[&content]).view().unwrap();
            for c in view.chars() {
                let plain = matches!(c, ' '..='~' | '\n' | 'À'..='ž') || marks.contains(&c);
                assert!(plain, "{place}: {text:?} is shown with {c:?}");
            }
            // Lines that are not ours are behind a bar; ours begin with one of these words.
            let ours = [
                "action ",
                "capability ",
                "asked by ",
                "policy ",
                "risk ",
                "people ",
                "because ",
                "input",
                "the plan ",
                "reads ",
                "changes ",
                "change ",
                "everything ",
                "the file ",
                "nothing ",
                "  before: ",
                "  after: ",
                "  lines ",
                "  reads `",
                "  talks to `",
                "  starts `",
                "  calls the tool `",
                "  takes back `",
                "  to take it back",
                "  verification `",
                "  health check `",
                "  (empty)",
                "  what it holds now ",
                "  │",
                "  ┊ ",
                "  ╵ ",
            ];
            for line in view.lines() {
                let known = ours.iter().any(|start| line.starts_with(start));
                assert!(known, "{place}: {text:?} makes the line {line:?}");
                assert!(line.chars().count() <= 130, "{place}: a terminal would wrap {line:?}");
            }
        }
    }
}

#[test]
fn letters_of_two_alphabets_that_look_alike_are_told_apart() {
    for (text, shown) in [
        ("paypal", "paypal"),
        ("p\u{430}ypal", "p\\u{430}ypal"),
        ("größe", "größe"),
        ("o\u{308}", "o\\u{308}"),
        ("\u{131}", "\\u{131}"),
        ("a\u{202e}b", "a\\u{202e}b"),
        ("a\u{1b}[2J", "a\\u{1b}[2J"),
        ("a\\u{1b}", "a\\\\u{1b}"),
        ("a ", "a\\u{20}"),
        ("a\u{2013}b", "a\\u{2013}b"),
    ] {
        assert_eq!(visible(text), shown);
    }
    assert_eq!(visible_bytes(b"a\xff\xc3\xa9\xc3"), "a\\x{ff}\u{e9}\\x{c3}");
}

/// Reads what was shown back into the bytes that it stands for.
fn read_back(shown: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut chars = shown.chars();
    while let Some(c) = chars.next() {
        let mut push = |c: char| bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        if c != '\\' {
            push(c);
            continue;
        }
        let kind = chars.next()?;
        match kind {
            '\\' => push('\\'),
            'n' => push('\n'),
            'r' => push('\r'),
            't' => push('\t'),
            'u' | 'x' => {
                let (hex, after) = chars.as_str().strip_prefix('{')?.split_once('}')?;
                chars = after.chars();
                let number = u32::from_str_radix(hex, 16).ok()?;
                match kind {
                    'u' => push(char::from_u32(number)?),
                    _ => bytes.push(u8::try_from(number).ok()?),
                }
            }
            _ => return None,
        }
    }
    Some(bytes)
}

fn hostile_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        any::<char>().prop_map(String::from),
        "[ -~]{0,8}",
        prop::sample::select(corpus()),
    ];
    prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e6..1e6_f64).prop_map(Value::from),
        hostile_text().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((hostile_text(), inner), 0..4)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

fn ask() -> impl Strategy<Value = (Ask, Vec<Vec<u8>>)> {
    let content = prop_oneof![
        hostile_text().prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 0..40),
    ];
    let items = prop::collection::vec((content.clone(), content, 0..2_u32), 0..3);
    let texts = prop::collection::vec(hostile_text(), 0..2);
    (value(), items, texts).prop_map(|(input, items, hosts)| {
        let mut ask = Ask::new("fs.write").input(input);
        ask.effects.hosts = hosts;
        let mut contents = Vec::new();
        for (old, new, mode) in items {
            let mut item = replaces(&old, &new);
            if let (1, Some(State::File { mode, .. })) = (mode, &mut item.after) {
                *mode = FileMode::from_bits(0o755);
            }
            ask.effects.changes.items.push(item);
            contents.extend([old, new]);
        }
        (ask, contents)
    })
}

proptest! {
    #[test]
    fn what_is_shown_can_be_read_back(text in hostile_text(), bytes: Vec<u8>) {
        prop_assert_eq!(read_back(&visible(&text)).unwrap(), text.as_bytes());
        prop_assert_eq!(read_back(&visible_bytes(&bytes)).unwrap(), bytes);
    }

    #[test]
    fn two_actions_are_shown_alike_only_when_they_are_one((one, a) in ask(), (other, b) in ask()) {
        let part = |bytes: &[Vec<u8>]| bytes.to_vec();
        let (a, b) = (part(&a), part(&b));
        let slices = |bytes: &[Vec<u8>]| bytes.iter().map(Vec::clone).collect::<Vec<_>>();
        let view = |ask: &Ask, bytes: &[Vec<u8>]| {
            let bytes = slices(bytes);
            let bytes: Vec<&[u8]> = bytes.iter().map(Vec::as_slice).collect();
            let judged = judged(ask, &bytes);
            (judged.action_digest(), judged.view().unwrap())
        };
        let ((one_digest, one_view), (other_digest, other_view)) = (view(&one, &a), view(&other, &b));
        prop_assert_eq!(one_digest == other_digest, one_view == other_view);
        prop_assert_eq!(
            one_digest == other_digest,
            read_by_people(&one_view) == read_by_people(&other_view)
        );
    }

    #[test]
    fn every_line_that_comes_or_goes_is_shown(
        old in prop::collection::vec(0..5_u8, 0..60), new in prop::collection::vec(0..5_u8, 0..60),
    ) {
        let text = |lines: &[u8]| lines.iter().map(|n| format!("line {n}\n")).collect::<String>();
        let (old, new) = (text(&old), text(&new));
        prop_assume!(old != new);
        let mut ask = Ask::new("fs.write");
        ask.effects.changes.items.push(replaces(old.as_bytes(), new.as_bytes()));
        let view = judged(&ask, &[old.as_bytes()]).view().unwrap();
        let count = |sign: &str| view.lines().filter(|line| line.starts_with(sign)).count();
        let (old_lines, new_lines) = (old.lines().count(), new.lines().count());
        // Applying what is shown to the old text gives the new one, as far as lines are counted.
        prop_assert_eq!(old_lines + count("  │+"), new_lines + count("  │-"));
        let shown: BTreeSet<&str> = view.lines().filter_map(|line| line.strip_prefix("  │+")).collect();
        let old_set: BTreeSet<&str> = old.lines().collect();
        for line in new.lines().filter(|line| !old_set.contains(line)) {
            prop_assert!(shown.contains(line), "{line} is not shown in\n{view}");
        }
    }
}

#[test]
fn what_is_kept_is_checked_before_it_is_shown() {
    let mut ask = Ask::new("fs.write");
    ask.effects.changes.items.push(replaces(b"old", b"new"));
    let judged = judged(&ask, &[b"old"]);
    let digest = judged.action_digest();
    let parts: Vec<_> = judged.parts().map(|(name, bytes)| (name, Arc::clone(bytes))).collect();
    assert_eq!(parts.len(), 3);
    let damaged = |view: Result<String, JudgedError>| {
        assert!(matches!(view, Err(JudgedError::Damaged { .. })), "{view:?}");
    };
    for at in 0..parts.len() {
        // One byte changed, anywhere.
        let mut changed = parts.clone();
        let mut bytes = changed[at].1.to_vec();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        changed[at].1 = Arc::from(bytes);
        damaged(Judged::from_parts(digest, changed).view());
    }
    for (name, _) in &parts {
        if *name == Digest::of(b"old") {
            continue;
        }
        let without = parts.iter().filter(|(other, _)| other != name).cloned();
        damaged(Judged::from_parts(digest, without).view());
    }
    damaged(Judged::from_parts(Digest::of(b"another"), parts.clone()).view());
    assert!(Judged::from_parts(digest, parts).view().unwrap().contains("  │+new"));
}

#[test]
fn new_content_that_cannot_be_shown_cannot_be_asked_about() {
    let mut ask = Ask::new("fs.write");
    let mut item = replaces(b"old", b"new");
    item.content = Some(Content::CopyOf(path("elsewhere")));
    ask.effects.changes.items.push(item);
    let (gate, _) = gate(POLICY);
    let error = gate.judged(&ask.describe(), []).unwrap_err();
    assert_eq!(error, JudgedError::NotShown { path: "a".to_owned() });
    gate.judged(&ask.describe(), [Arc::from(&b"new"[..])]).unwrap();
}

#[test]
fn a_secret_is_shown_by_its_digest_only() {
    let secret = |text: &str| Ask::new("fs.write").input(json!({ "api_key": text, "n": 1 }));
    let (one, other) = (judged(&secret("hunter2"), &[]), judged(&secret("hunter3"), &[]));
    assert_ne!(one.action_digest(), other.action_digest());
    for judged in [&one, &other] {
        assert!(!judged.view().unwrap().contains("hunter"));
        let kept = judged.parts().any(|(_, bytes)| bytes.windows(6).any(|part| part == b"hunter"));
        assert!(!kept);
    }
    assert_ne!(one.view().unwrap(), other.view().unwrap());
}
