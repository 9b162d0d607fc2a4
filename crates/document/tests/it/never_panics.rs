//! No input panics, and what is accepted is what other parsers read.

use std::collections::BTreeMap;

use lictor_document::{
    DocumentError, DocumentErrorKind as Kind, Limits, Located, Source, StrictValue, from_json,
    from_yaml,
};
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::Value;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "filled, never read")]
struct Policy {
    version: u8,
    default: Located<String>,
    rules: Vec<Located<Rule>>,
}

#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "filled, never read")]
struct Rule {
    name: String,
    when: Located<BTreeMap<String, StrictValue>>,
    #[serde(flatten)]
    rest: BTreeMap<String, StrictValue>,
}

const YAML: &str = "version: 1\ndefault: deny # why\nrules:\n  - name: &n \"a \\u00e4\"\n    when: { x: [1, 2.5, ~, *n], 'y': |-\n }\n  - name: b\n    when:\n      k: >\n        folded\n        text\n      ? long\n      : !!str 5\n    verdict: allow\n";
const JSON: &str = "{\"version\": 1, \"default\": \"dé\\ud83d\\ude00ny\",\n\t\"rules\": [{\"name\": \"a\\n\", \"when\": {\"x\": [1, -2.5e3, null, true]}, \"verdict\": {}}]}";

/// Reads bytes in every way; an error must render and must point into the document.
fn read_all(bytes: &[u8]) {
    let source = Source::new("f", bytes);
    let limits = Limits::default();
    let mut errors: Vec<DocumentError> = Vec::new();
    errors.extend(from_yaml::<StrictValue>(&source, &limits).err());
    errors.extend(from_json::<StrictValue>(&source, &limits).err());
    errors.extend(from_yaml::<Policy>(&source, &limits).err());
    errors.extend(from_json::<Policy>(&source, &limits).err());
    errors.extend(from_yaml::<Vec<Located<String>>>(&source, &limits).err());
    let n_lines = bytes.iter().filter(|b| matches!(b, b'\n' | b'\r')).count() + 1;
    for error in errors {
        assert!(error.line() >= 1 && error.column() >= 1, "{error}");
        assert!(error.line() as usize <= n_lines + 1, "{error}");
        assert!(!error.message().is_empty());
        assert!(!error.message().chars().any(char::is_control), "{error}");
        assert!(!error.to_string().chars().any(|c| c.is_control() && c != '\n'), "{error:?}");
    }
}

/// Pieces that matter to either parser.
fn piece() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "a",
        "b: ",
        ": ",
        "- ",
        "\n",
        "\r\n",
        "\r",
        "  ",
        "\t",
        "[",
        "]",
        "{",
        "}",
        ",",
        "\"",
        "'",
        "\\",
        "\\u",
        "d800",
        "&a ",
        "*a",
        "!",
        "!!str ",
        "!x ",
        "<<: ",
        "---\n",
        "...\n",
        "%YAML 1.2\n",
        "#",
        " #",
        "|\n",
        ">-\n",
        "? ",
        "1",
        "-1.5",
        "1e999",
        ".nan",
        "0644",
        "null",
        "~",
        "yes",
        "true",
        "é",
        "\u{feff}",
        "\u{85}",
        "\u{2028}",
        "\u{0}",
        "😀",
        "9223372036854775808",
        "@",
        "`",
        "\u{7f}",
    ])
}

fn mutate(text: &str, edits: &[(usize, u8, u8)], cut: usize) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    for (place, how, byte) in edits {
        let place = place % bytes.len().max(1);
        match how % 4 {
            0 if place < bytes.len() => bytes[place] = *byte,
            1 if place < bytes.len() => drop(bytes.remove(place)),
            2 => bytes.insert(place, *byte),
            _ => {
                let n_bytes = bytes.len().min(place + 12);
                let copy = bytes[place.min(n_bytes)..n_bytes].to_vec();
                bytes.extend(copy);
            }
        }
    }
    bytes.truncate(bytes.len() - cut % (bytes.len() + 1));
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes(bytes: Vec<u8>) {
        read_all(&bytes);
    }

    #[test]
    fn random_pieces(pieces in prop::collection::vec(piece(), 0..40)) {
        read_all(pieces.concat().as_bytes());
    }

    #[test]
    fn mutated_yaml(edits in prop::collection::vec(any::<(usize, u8, u8)>(), 0..6), cut in 0_usize..40) {
        read_all(&mutate(YAML, &edits, cut));
    }

    #[test]
    fn mutated_json(edits in prop::collection::vec(any::<(usize, u8, u8)>(), 0..6), cut in 0_usize..40) {
        read_all(&mutate(JSON, &edits, cut));
    }

    /// Against serde_json: the same value, or a refusal that it does not know.
    #[test]
    fn json_is_what_serde_json_reads(pieces in prop::collection::vec(prop::sample::select(vec![
        "{", "}", "[", "]", ",", ":", "\"a\"", "\"b\"", "\"\\u0061\"", "1", "-0", "2.5", "1e3", "01", " ", "\n",
        "null", "true", "\"\\ud800\"", "\"\\ud83d\\ude00\"", "\"é\\n\"", "[1]", "{\"k\":", "\"x\":", "18446744073709551615",
    ]), 0..12)) {
        agrees_with_serde_json(&pieces.concat())?;
    }

    #[test]
    fn mutated_json_is_what_serde_json_reads(edits in prop::collection::vec(any::<(usize, u8, u8)>(), 0..3)) {
        if let Ok(text) = String::from_utf8(mutate(JSON, &edits, 0)) {
            agrees_with_serde_json(&text)?;
        }
    }

    /// JSON is YAML, as far as both go: what both read is the same.
    #[test]
    fn yaml_reads_json_alike(edits in prop::collection::vec(any::<(usize, u8, u8)>(), 0..2)) {
        let bytes = mutate(JSON, &edits, 0);
        let source = Source::new("f", &bytes);
        let json = from_json::<StrictValue>(&source, &Limits::default());
        let yaml = from_yaml::<StrictValue>(&source, &Limits::default());
        if let (Ok(json), Ok(yaml)) = (json, yaml) {
            prop_assert_eq!(json, yaml);
        }
    }
}

fn agrees_with_serde_json(text: &str) -> Result<(), TestCaseError> {
    let ours = from_json::<StrictValue>(&Source::new("f", text.as_bytes()), &Limits::default());
    let theirs = serde_json::from_str::<Value>(text);
    match (ours, theirs) {
        // `-0` is an integer here and a float there.
        (Ok(ours), Ok(theirs)) => {
            prop_assert_eq!(ours.into_inner().to_string(), theirs.to_string().replace("-0.0", "0"))
        }
        (Err(error), Ok(_)) => prop_assert!(
            matches!(error.kind(), Kind::DuplicateKey | Kind::NumberRange | Kind::ByteOrderMark),
            "{}",
            error
        ),
        (Ok(value), Err(error)) => prop_assert!(false, "{:?} {}", value, error),
        (Err(_), Err(_)) => {}
    }
    Ok(())
}

#[test]
fn the_seeds_are_valid() {
    let limits = Limits::default();
    from_json::<Policy>(&Source::new("f", JSON.as_bytes()), &limits).unwrap();
    read_all(YAML.as_bytes());
}
