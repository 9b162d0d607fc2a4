//! What the skills do to each other's output, and what no archive can do.
#![expect(clippy::disallowed_methods, reason = "the tests make the files that they look at")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{Cursor, Write as _};

use lictor_capability::{Content, Effects};
use lictor_context::WorkspacePath;
use lictor_executor::HandlerError;
use proptest::prelude::*;
use serde_json::{Value, json};
use zip::write::{SimpleFileOptions, ZipWriter};

use crate::examples::{Held, Rig, Tree, applied, contract, look};

/// A call without the road around it: its effects, and its output held against the contract.
fn call(rig: &Rig, id: &str, input: &Value) -> Result<(Effects, Value), HandlerError> {
    let contract = contract(id);
    contract.check_input(input).unwrap();
    let skill = rig.skill(id);
    let effects = rig.effects(skill.as_ref(), &rig.action(id, input.clone()))?;
    assert_eq!(effects.beyond(&contract.effects), None);
    let output = rig.output(skill.as_ref(), input, &effects)?;
    contract.check_output(&output).unwrap();
    Ok((effects, output))
}

fn tree() -> impl Strategy<Value = Tree> {
    let name = prop::collection::vec(prop::sample::select(vec!["a", "b", "ü", "d e"]), 1..4);
    let bytes = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200),
        Just(vec![0; 10_000]),
        any::<String>().prop_map(String::into_bytes),
    ];
    let mode = prop::sample::select(vec![0o644, 0o755, 0o600, 0o640, 0o700]);
    let held = prop_oneof![
        4 => (bytes, mode).prop_map(|(bytes, mode)| Held::File(bytes, mode)),
        1 => Just(Held::Directory),
    ];
    prop::collection::vec((name, held), 0..10).prop_map(|wanted| {
        let mut tree = Tree::from([("top".to_owned(), Held::Directory)]);
        for (name, held) in wanted {
            let path = format!("top/{}", name.join("/"));
            let parents: Vec<String> =
                path.match_indices("/").map(|(at, _)| path.split_at(at).0.to_owned()).collect();
            let blocked = parents.iter().any(|it| matches!(tree.get(it), Some(Held::File(..))));
            if !blocked && !tree.contains_key(&path) {
                tree.extend(parents.into_iter().map(|it| (it, Held::Directory)));
                tree.insert(path, held);
            }
        }
        tree
    })
}

/// Everything below a directory, by the path within it.
fn below(tree: &Tree, dir: &str) -> BTreeMap<String, Held> {
    let dir = format!("{dir}/");
    let inside = |(path, held): (&String, &Held)| {
        path.strip_prefix(&dir).map(|rest| (rest.to_owned(), held.clone()))
    };
    tree.iter().filter_map(inside).collect()
}

fn inline(effects: &Effects, path: &str) -> Vec<u8> {
    let mut items = effects.changes.items.iter();
    let item = items.find(|item| item.to.as_ref().is_some_and(|to| to.as_str() == path)).unwrap();
    match &item.content {
        Some(Content::Inline(bytes)) => bytes.to_vec(),
        other => panic!("{other:?}"),
    }
}

fn archive(entries: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in entries {
        // Some names the library does not write either.
        if archive.start_file(name.as_str(), SimpleFileOptions::default()).is_ok() {
            archive.write_all(bytes).unwrap();
        }
    }
    archive.finish().unwrap().into_inner()
}

fn unzip(bytes: &[u8]) -> Result<(Rig, Effects), HandlerError> {
    let files = Tree::from([("in.zip".to_owned(), Held::File(bytes.to_vec(), 0o644))]);
    let rig = Rig::new(&files);
    let input = json!({ "from": "in.zip", "to": "out/here" });
    let effects =
        rig.effects(rig.skill("archive.unzip").as_ref(), &rig.action("archive.unzip", input))?;
    Ok((rig, effects))
}

/// Everything that would be made lies below the folder, or is the folder.
fn stays_inside(effects: &Effects) {
    let folder = WorkspacePath::parse("out/here").unwrap();
    for item in &effects.changes.items {
        assert_eq!(item.from, None, "nothing that is there is touched");
        let to = item.to.as_ref().unwrap();
        let made_for_it = item.implicit && folder.is_within(to);
        assert!(made_for_it || to.is_within(&folder), "{to}");
    }
}

fn hostile() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        prop::sample::select(vec![
            "..", ".", "", "a", "b", "C:", "\\", "..\\", "a\0", "a ", "a.", "\u{202e}", "e\u{301}",
            "NUL", "~", "$HOME", "%2e%2e", "．．", "∕", "out",
        ])
        .prop_map(str::to_owned),
        any::<String>(),
    ];
    prop::collection::vec(part, 1..6).prop_map(|parts| parts.join("/"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_packed_is_unpacked_as_it_was(tree in tree()) {
        let rig = Rig::new(&tree);
        let (packed, _) = call(&rig, "archive.zip", &json!({ "from": "top", "to": "t.zip" })).unwrap();
        let bytes = inline(&packed, "t.zip");
        let (again, _) = call(&rig, "archive.zip", &json!({ "from": "top", "to": "t.zip" })).unwrap();
        prop_assert_eq!(&inline(&again, "t.zip"), &bytes, "the same files, the same archive");

        fs::write(rig.root().join("t.zip"), bytes).unwrap();
        let mut before = Tree::new();
        look(rig.view(), None, &mut before);
        let (effects, _) = call(&rig, "archive.unzip", &json!({ "from": "t.zip", "to": "new" })).unwrap();
        let after = applied(&before, &effects);
        prop_assert_eq!(below(&after, "new"), below(&before, "top"));
    }

    #[test]
    fn no_name_leaves_the_folder(entries in prop::collection::vec((hostile(), any::<Vec<u8>>()), 1..5)) {
        if let Ok((_rig, effects)) = unzip(&archive(&entries)) {
            stays_inside(&effects);
        }
    }

    #[test]
    fn a_damaged_archive_is_refused_or_stays_inside(
        name in "[a-z]{1,8}(/[a-z]{1,8})?",
        bytes in any::<Vec<u8>>(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut packed = archive(&[(name, bytes)]);
        for (at, byte) in flips {
            let at = at.index(packed.len());
            packed[at] = byte;
        }
        if let Ok((_rig, effects)) = unzip(&packed) {
            stays_inside(&effects);
        }
    }

    #[test]
    fn a_diff_patches_the_old_text_into_the_new(
        old in "([a-c]{0,2}\r?\n){0,12}[a-c]{0,3}", new in "([a-c]{0,2}\r?\n){0,12}[a-c]{0,3}", context in 0..4,
    ) {
        let rig = Rig::new(&Tree::from([("f".to_owned(), Held::File(old.clone().into_bytes(), 0o644))]));
        let input = json!({ "before": old, "after": new, "path": "f", "context": context });
        let (_, output) = call(&rig, "text.diff", &input).unwrap();
        prop_assert_eq!(output["changed"].as_bool(), Some(old != new));
        // Emptying a file is another operation to a diff than changing its lines.
        if old != new && !old.is_empty() && !new.is_empty() {
            let (effects, _) = call(&rig, "fs.patch", &json!({ "diff": output["diff"] })).unwrap();
            prop_assert_eq!(&effects.conflicts, &vec![]);
            prop_assert_eq!(String::from_utf8(inline(&effects, "f")).unwrap(), new);
        }
    }

    #[test]
    fn base64_comes_back_as_it_was(text in any::<String>(), bytes in any::<Vec<u8>>(), url_safe in any::<bool>()) {
        let rig = Rig::new(&Tree::new());
        let (_, encoded) =
            call(&rig, "base64.encode", &json!({ "text": text, "url_safe": url_safe })).unwrap();
        let input = json!({ "encoded": encoded["encoded"], "url_safe": url_safe });
        let (_, decoded) = call(&rig, "base64.decode", &input).unwrap();
        prop_assert_eq!(decoded["text"].as_str(), Some(text.as_str()));

        use base64::Engine as _;
        let standard = base64::engine::general_purpose::STANDARD.encode(&bytes);
        let (_, decoded) = call(&rig, "base64.decode", &json!({ "encoded": standard })).unwrap();
        match String::from_utf8(bytes) {
            Ok(text) => prop_assert_eq!(decoded["text"].as_str(), Some(text.as_str())),
            Err(_) => prop_assert_eq!(decoded["content_base64"].as_str(), Some(standard.as_str())),
        }
    }

    #[test]
    fn a_table_comes_back_as_it_was(
        rows in prop::collection::vec(prop::collection::vec("[a,;\"\n ü]{1,5}", 3), 1..6),
    ) {
        let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
        for row in &rows {
            writer.write_record(row).unwrap();
        }
        let text = String::from_utf8(writer.into_inner().unwrap()).unwrap();
        let rig = Rig::new(&Tree::new());
        let (_, output) = call(&rig, "csv.parse", &json!({ "text": text, "header": false })).unwrap();
        prop_assert_eq!(&output["rows"], &json!(rows));
    }
}

#[test]
fn a_bomb_is_refused_before_it_is_large() {
    let zeros = vec![0; 20 << 20];
    let one = |index: usize| (format!("z{index}"), zeros.clone());
    // Each entry is fine by itself; a fiftieth of their size is the archive.
    let packed = archive(&(0..4).map(one).collect::<Vec<_>>());
    assert!(packed.len() < 1 << 20, "{}", packed.len());
    let error = unzip(&packed).err().unwrap().to_string();
    assert!(error.contains("more than 67108864 bytes of files"), "{error}");
}

#[test]
fn an_archive_that_lies_about_its_sizes_is_counted_all_the_same() {
    let mut packed = archive(&[("a".to_owned(), vec![0; 70 << 20])]);
    // The uncompressed size in the list at the end: 24 bytes behind the mark of the entry.
    let at = packed.windows(4).rposition(|window| window == b"PK\x01\x02").unwrap() + 24;
    packed[at..at + 4].copy_from_slice(&8_u32.to_le_bytes());
    let error = unzip(&packed).err().unwrap().to_string();
    assert!(error.contains("archive"), "{error}");
}

#[test]
fn too_many_entries_are_refused() {
    let many: Vec<_> = (0..10_001).map(|index| (format!("f{index}"), Vec::new())).collect();
    let error = unzip(&archive(&many)).err().unwrap().to_string();
    assert!(error.contains("more than 10000 entries"), "{error}");
    let mut marks = b"PK\x01\x02".repeat(100_001);
    marks.extend(archive(&[("a".to_owned(), Vec::new())]));
    let error = unzip(&marks).err().unwrap().to_string();
    assert!(error.contains("more than 10000 entries"), "{error}");
}

#[test]
fn an_encrypted_entry_is_refused() {
    let mut packed = archive(&[("a".to_owned(), b"x".to_vec())]);
    for mark in [&b"PK\x03\x04"[..], b"PK\x01\x02"] {
        let at = packed.windows(4).position(|window| window == mark).unwrap();
        let flags = at + if mark[2] == 3 { 6 } else { 8 };
        packed[flags] |= 1;
    }
    let error = unzip(&packed).err().unwrap().to_string();
    assert!(error.contains("accepted"), "{error}");
}

#[test]
fn a_search_names_every_file_that_it_reads() {
    let tree: Tree = [("s/a", "x"), ("s/.env", "x"), ("s/d/b", "x"), ("t/c", "x")]
        .map(|(path, text)| (path.to_owned(), Held::File(text.as_bytes().to_vec(), 0o644)))
        .into();
    let rig = Rig::new(&tree);
    for (glob, hidden, expected) in [
        ("s/**", false, vec!["s/a", "s/d/b"]),
        ("s/**", true, vec!["s/.env", "s/a", "s/d/b"]),
        ("**", false, vec!["s/a", "s/d/b", "t/c"]),
    ] {
        let input = json!({ "pattern": "x", "glob": glob, "hidden": hidden });
        let (effects, output) = call(&rig, "fs.search", &input).unwrap();
        let reads: Vec<&str> = effects.reads.iter().map(WorkspacePath::as_str).collect();
        assert_eq!((reads, effects.reads_root), (expected.clone(), false));
        assert_eq!(output["files"], json!(expected.len()));
    }
}
