//! What is accepted becomes what was written.

use std::collections::BTreeMap;

use lictor_document::{Limits, Source, StrictValue, from_json, from_yaml};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

#[track_caller]
fn yaml<T: DeserializeOwned>(text: &str) -> T {
    let source = Source::new("f.yaml", text.as_bytes());
    from_yaml(&source, &Limits::default()).unwrap_or_else(|error| panic!("{error}"))
}

#[track_caller]
fn json<T: DeserializeOwned>(text: &str) -> T {
    let source = Source::new("f.json", text.as_bytes());
    from_json(&source, &Limits::default()).unwrap_or_else(|error| panic!("{error}"))
}

#[track_caller]
fn free(text: &str) -> Value {
    yaml::<StrictValue>(text).into_inner()
}

#[test]
fn free_form_yaml_follows_the_core_schema() {
    assert_eq!(
        free(
            "a: 1\nb: 1.5\nc: true\nd: ~\ne: text\nf: '1'\ng: [x, {y: z}]\nh: |\n  two\n  lines\ni: \"\\u00e4\"\n"
        ),
        json!({"a": 1, "b": 1.5, "c": true, "d": null, "e": "text", "f": "1",
               "g": ["x", {"y": "z"}], "h": "two\nlines\n", "i": "ä"})
    );
    assert_eq!(free("on: x\nno: y\n"), json!({"on": "x", "no": "y"}));
    assert_eq!(free("'yes'"), json!("yes"));
    assert_eq!(
        free("[!!str 5, !!float 5, !!int '5', !!null ~, !!str yes]"),
        json!(["5", 5.0, 5, null, "yes"])
    );
    assert_eq!(free("{a: &x [1], b: *x}"), json!({"a": [1], "b": [1]}));
    assert_eq!(free("---\na: 1\n...\n"), json!({"a": 1}));
    assert_eq!(free("\"<<\": 1\n'1': 2\n"), json!({"<<": 1, "1": 2}));
    assert_eq!(
        free("at: 12:30\nv: 1.0.0\nr: 09:00-17:00\n"),
        json!({"at": "12:30", "v": "1.0.0", "r": "09:00-17:00"})
    );
}

#[test]
fn text_fields_take_unquoted_text_as_written() {
    for text in ["yes", "1.0", "0644", "true", "1_000", ".nan", "99999999999999999999"] {
        assert_eq!(yaml::<String>(text), text);
    }
}

#[test]
fn free_form_json_is_what_was_written() {
    let text = r#" {"a":[1,-2.5,1e3,true,false,null,"x\n\"\\\/\u00e4\ud83d\ude00"],"":{}} "#;
    let expect: Value = serde_json::from_str(text).unwrap();
    assert_eq!(json::<StrictValue>(text).into_inner(), expect);
}

#[test]
fn enums_options_and_newtypes_read_alike_in_both_formats() {
    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "lowercase")]
    enum Shape {
        Dot,
        Line(u32),
        Pair(u32, u32),
        Rect { w: u32, h: u32 },
    }
    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(tag = "op", rename_all = "lowercase", deny_unknown_fields)]
    enum Op {
        Create { path: String },
        Rename { path: String, to: Option<String> },
    }
    #[derive(Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
    struct Name(String);
    #[derive(Debug, Deserialize, PartialEq)]
    struct All {
        shapes: Vec<Shape>,
        ops: Vec<Op>,
        names: BTreeMap<Name, Option<bool>>,
        by_shape: BTreeMap<String, (i8, f32)>,
        unit: (),
    }
    let text = r#"{"shapes": ["dot", {"dot": null}, {"line": 3}, {"pair": [1, 2]}, {"rect": {"w": 1, "h": 2}}],
        "ops": [{"op": "create", "path": "a"}, {"path": "b", "op": "rename", "to": null}],
        "names": {"a": null, "b": true}, "by_shape": {"x": [1, 2]}, "unit": null}"#;
    let all: All = json(text);
    assert_eq!(all, yaml::<All>(text));
    assert_eq!(all.shapes[0], all.shapes[1]);
    assert_eq!(all.names.len(), 2);
    let serde: All = serde_json::from_str(text).unwrap();
    assert_eq!(all, serde);
}

#[test]
fn strict_values_are_strict_under_serde_json_too() {
    for text in [r#"{"a": 1, "a": 2}"#, r#"{"a": {"b": 18446744073709551615}}"#] {
        assert!(serde_json::from_str::<StrictValue>(text).is_err(), "{text}");
    }
    let value: StrictValue = serde_json::from_str(r#"{"a": [1, null]}"#).unwrap();
    assert_eq!(serde_json::to_string(&value).unwrap(), r#"{"a":[1,null]}"#);
}

#[test]
fn lists_must_be_read_to_their_end() {
    let source = Source::new("f", b"[1, 2, 3]");
    let error = from_json::<(u8, u8)>(&source, &Limits::default()).unwrap_err();
    assert_eq!(error.message(), "found 3 items; accepted here: 2");
}
