//! What people read.

use lictor_document::{
    DocumentError, DocumentErrorKind as Kind, HumanDuration, Limits, Source, from_json, from_yaml,
};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only refusals are looked at")]
struct Config {
    name: String,
    #[serde(default)]
    risk: Option<Risk>,
    #[serde(default)]
    count: u8,
    #[serde(default)]
    enabled: bool,
    #[serde(default)]
    timeout: Option<HumanDuration>,
    #[serde(default)]
    inner: Vec<Inner>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Risk {
    Low,
    High,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only refusals are looked at")]
struct Inner {
    path: String,
}

#[track_caller]
fn check(text: &str, kind: Kind, expect: &str) -> DocumentError {
    let json = text.starts_with('{');
    let source = Source::new("f", text.as_bytes());
    let result: Result<Config, _> = if json {
        from_json(&source, &Limits::default())
    } else {
        from_yaml(&source, &Limits::default())
    };
    let error = result.unwrap_err();
    let shown = format!("{}:{}: {}", error.line(), error.column(), error.message());
    assert_eq!((error.kind(), shown.as_str()), (kind, expect), "{error}");
    error
}

#[test]
fn unknown_keys_name_the_accepted_ones() {
    let keys = "name, risk, count, enabled, timeout, inner";
    for (text, place) in
        [("name: x\nrisks: low\n", "2:1"), ("{\"name\": \"x\",\n  \"risks\": 1}", "2:3")]
    {
        let expect =
            format!("{place}: unknown key `risks`; accepted here: {keys}; did you mean `risk`?");
        check(text, Kind::UnknownKey, &expect);
    }
    check(
        "# flow\n{name: x, responsible: y}\n",
        Kind::UnknownKey,
        &format!("2:11: unknown key `responsible`; accepted here: {keys}"),
    );
    check(
        "name: x\ninner:\n  - path: a\n    pth: b\n",
        Kind::UnknownKey,
        "4:5: unknown key `pth`; accepted here: path; did you mean `path`?",
    );
}

#[test]
fn missing_keys_point_at_their_mapping() {
    check("risk: low\n", Kind::MissingKey, "1:1: missing key `name`");
    check("name: x\ninner:\n  - path: a\n  - {}\n", Kind::MissingKey, "4:5: missing key `path`");
    check("{\"name\": \"x\", \"inner\": [{}]}", Kind::MissingKey, "1:25: missing key `path`");
}

#[test]
fn wrong_values_say_what_is_accepted() {
    check(
        "name: x\nrisk: hihg\n",
        Kind::UnknownValue,
        "2:7: unknown value `hihg`; accepted here: low, high; did you mean `high`?",
    );
    check(
        "name: x\nrisk: [low]\n",
        Kind::InvalidType,
        "2:7: found a list; accepted here: low, high",
    );
    check(
        "name: x\ncount: \"5\"\n",
        Kind::InvalidType,
        "2:8: found the text `5`; accepted here: a whole number from 0 to 255",
    );
    check(
        "name: x\ncount: 256\n",
        Kind::InvalidValue,
        "2:8: found the number `256`; accepted here: a whole number from 0 to 255",
    );
    check(
        "{\"name\": \"x\", \"count\": 5.0}",
        Kind::InvalidType,
        "1:24: found the number `5.0`; accepted here: a whole number from 0 to 255",
    );
    check(
        "name: x\nenabled: yes\n",
        Kind::Ambiguous,
        "2:10: `yes` is a boolean in YAML 1.1 and text in YAML 1.2; accepted here: true, false, or \
         the word in quotes",
    );
    check(
        "name: x\nenabled: 1\n",
        Kind::InvalidType,
        "2:10: found the number `1`; accepted here: true, false",
    );
    check(
        "name: x\ntimeout: 1.5h\n",
        Kind::InvalidValue,
        "2:10: `1.5h` is not a duration; accepted here: a whole number and ms, s, m, h or d, such \
         as 500ms, 30s, 10m, 1h, 7d",
    );
    check(
        "name: x\ninner: [[a]]\n",
        Kind::InvalidType,
        "2:9: found a list; accepted here: a mapping with the keys path",
    );
    check("name:\n", Kind::InvalidType, "1:5: found nothing (null); accepted here: text");
    check("name: [a]\n", Kind::InvalidType, "1:7: found a list; accepted here: text");
    check(
        "just text\n",
        Kind::InvalidType,
        "1:1: found the text `just text`; accepted here: a mapping",
    );
}

#[test]
fn excerpts_are_whole_lines_or_none_and_inert() {
    let long = format!("{{\"name\": \"{}\", \"foo\": \"{}\"}}", "ä".repeat(300), "b".repeat(300));
    let source = Source::new("f.json", long.as_bytes());
    let error = from_json::<Config>(&source, &Limits::default()).unwrap_err();
    assert_eq!((error.line(), error.column()), (1, 314));
    // A part of a long line could be a part of a secret, and nobody would know it by that.
    assert_eq!(error.excerpt(), None);
    let line = format!("\t{{\"name\": \"{}\", \"foo\": 1}}", "ä".repeat(90));
    let source = Source::new("f.json", line.as_bytes());
    let error = from_json::<Config>(&source, &Limits::default()).unwrap_err();
    let lines: Vec<&str> = error.excerpt().unwrap().lines().collect();
    assert_eq!(lines[1], format!("1 | {}", line.replace('\t', "\\t")));
    let caret = lines[2].chars().position(|c| c == '^').unwrap();
    assert!(lines[1].chars().skip(caret).collect::<String>().starts_with("\"foo\""), "{lines:?}");

    let text = "name: \u{202e}x\u{1b}[31m\n";
    let source = Source::new("evil\n\u{1b}[0m.yaml", text.as_bytes());
    let error = from_yaml::<Config>(&source, &Limits::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "evil\\n\\u{001b}[0m.yaml:1:9: control character `U+001B`; accepted here: text, with such a \
         character escaped in double quotes\n  |\n1 | name: \\u{202e}x\\u{001b}[31m\n  |                ^"
    );
}

#[test]
fn too_large_documents_are_not_read() {
    let text = vec![b'x'; 1024 * 1024 + 1];
    let source = Source::new("big.yaml", &text);
    let error = from_yaml::<String>(&source, &Limits::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "big.yaml:1:1: the document holds 1048577 bytes; accepted here: at most 1048576"
    );
    assert_eq!(error.kind(), Kind::TooLarge);
    let limits = Limits::default().with_max_bytes(2 * 1024 * 1024);
    assert!(from_yaml::<String>(&source, &limits).is_ok());
}

#[test]
fn limits_are_at_the_number_they_name() {
    for depth in [64, 65] {
        let text = format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        let source = Source::new("f", text.as_bytes());
        let json = from_json::<lictor_document::StrictValue>(&source, &Limits::default());
        let yaml = from_yaml::<lictor_document::StrictValue>(&source, &Limits::default());
        assert_eq!((json.is_ok(), yaml.is_ok()), (depth == 64, depth == 64));
    }
    let limits = Limits::default().with_max_values(3);
    assert!(from_json::<Vec<u8>>(&Source::new("f", b"[1, 2]"), &limits).is_ok());
    let error = from_json::<Vec<u8>>(&Source::new("f", b"[1, 2, 3]"), &limits).unwrap_err();
    assert_eq!(
        (error.kind(), error.column(), error.message()),
        (Kind::TooManyValues, 8, "too many values; accepted here: at most 3 in a document")
    );
    // No caller can ask for a depth that the stack does not hold.
    let text = "[".repeat(100_000);
    let limits = Limits::default().with_max_depth(u32::MAX);
    let source = Source::new("f", text.as_bytes());
    for result in [
        from_json::<lictor_document::StrictValue>(&source, &limits),
        from_yaml::<lictor_document::StrictValue>(&source, &limits),
    ] {
        assert_eq!(result.unwrap_err().kind(), Kind::TooDeep);
    }
}

#[test]
fn errors_serialise_for_machines() {
    let error = DocumentError::at("policy.yaml", 31, 5, "no such rule");
    assert_eq!(error.kind(), Kind::Semantic);
    assert_eq!(error.excerpt(), None);
    assert_eq!(
        serde_json::to_string(&error).unwrap(),
        r#"{"file":"policy.yaml","line":31,"column":5,"message":"no such rule"}"#
    );
    assert_eq!(DocumentError::at("f", 0, 0, "x").to_string(), "f: x");
}

/// What is quoted is whole, or is too short to tell anything.
#[test]
fn no_message_holds_a_part_of_a_long_text() {
    let secret = "correct-horse/battery+staple=";
    let parts: Vec<&str> =
        (0..secret.len() - 6).map(|at| secret.get(at..at + 6).unwrap()).collect();
    let around = "x".repeat(100);
    for text in [
        format!("{{\"name\": {secret}}}"),
        format!("{{\"name\": 8{secret}}}"),
        format!("{{\"name\": \"{around}{secret}\\q\"}}"),
        format!("{{\"name\": \"a\", \"risk\": \"{around}{secret}\"}}"),
        format!("{{\"name\": \"a\", \"{around}{secret}\": 1}}"),
        format!("{{\"name\": \"a\", \"timeout\": \"{around}{secret}\"}}"),
        format!("{{\"name\": \"a\", \"count\": \"{around}{secret}\"}}"),
        format!("name: a\nrisk: {around}{secret}\n"),
        format!("name: *{around}{secret}\n"),
        format!("name: !{around}{secret} a\n"),
        format!("name: \"{around}\\q {secret}\"\n"),
        format!("%{around}{secret}\n---\nname: a\n"),
        format!("name: [{around}{secret}\n"),
        format!("name: a\n {around}{secret}: b\n"),
        format!("name: {secret}: {around}\n"),
    ] {
        let source = Source::new("f", text.as_bytes());
        let error = match text.starts_with('{') {
            true => from_json::<Config>(&source, &Limits::default()).unwrap_err(),
            false => from_yaml::<Config>(&source, &Limits::default()).unwrap_err(),
        };
        // A line that is shown whole is one in which a secret is found.
        let message = error.message();
        let whole = message.replace(secret, "");
        assert!(parts.iter().all(|part| !whole.contains(part)), "{text}: {message}");
        let excerpt = error.excerpt().unwrap_or_default().replace(secret, "");
        assert!(parts.iter().all(|part| !excerpt.contains(part)), "{text}: {excerpt}");
    }
}
