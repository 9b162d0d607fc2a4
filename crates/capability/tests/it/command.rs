//! What a contract's command is for an input: its arguments, its copy, its input.

use lictor_capability::{CommandInput, CommandSpec, EffectCeiling};
use lictor_context::WorkspacePath;
use serde_json::{Value, json};

fn arguments(argv: &[&str], input: Value) -> Result<Vec<String>, String> {
    let argv = argv.iter().map(|one| (*one).to_owned()).collect();
    CommandSpec::of(argv).arguments(&input)
}

#[test]
fn a_property_fills_one_argument_and_is_never_taken_apart() {
    let hostile = "a b; $(c) \"'\n*";
    let got = arguments(&["p", "--x={x}", "{x}", "{{x}}"], json!({ "x": hostile })).unwrap();
    assert_eq!(got, ["p", &format!("--x={hostile}"), hostile, "{x}"]);
    let got = arguments(&["p", "{x}", "{n}"], json!({ "x": [hostile, "-o", 7] })).unwrap();
    assert_eq!(got, ["p", hostile, "-o", "7"], "a list is a list of arguments");
}

#[test]
fn what_would_be_taken_for_an_option_is_refused() {
    for (argv, fits) in [
        (["p", "a", "{x}"].as_slice(), false),
        (&["p", "--", "{x}"], true),
        (&["p", "{x}", "--"], false),
        (&["{x}"], false),
    ] {
        assert_eq!(arguments(argv, json!({ "x": "-rf" })).is_ok(), fits, "{argv:?}");
    }
    for bad in [json!({ "x": "a\0b" }), json!({ "x": {} })] {
        assert!(arguments(&["p", "{x}"], bad).is_err());
    }
    assert!(arguments(&["p", "a{x}"], json!({})).is_err(), "half an argument");
    assert!(arguments(&["{x}"], json!({ "x": "" })).is_err(), "no program");
}

#[test]
fn what_is_copied_follows_from_what_the_contract_reads() {
    let of = |globs: &[&str]| {
        let mut most = EffectCeiling::default();
        most.fs.read = globs.iter().map(|glob| (*glob).to_owned()).collect();
        CommandSpec::default().inputs(&json!({}), &most)
    };
    let path = |text| CommandInput::Path(WorkspacePath::parse(text).unwrap());
    assert_eq!(of(&["src/**", "a.txt"]).unwrap(), [path("src"), path("a.txt")]);
    assert_eq!(of(&["**"]).unwrap(), [CommandInput::Root]);
    assert_eq!(of(&[]).unwrap(), []);
    assert_eq!(of(&["a[*]b[[]/**"]).unwrap(), [path("a*b[")], "escaped");
    assert!(of(&["src/*.rs"]).unwrap_err().contains("inputs"));
}

#[test]
fn a_list_alone_brings_the_program_and_its_arguments() {
    let got = arguments(&["{x}"], json!({ "x": ["make", "-j", 2] })).unwrap();
    assert_eq!(got, ["make", "-j", "2"]);
    for none in [json!([]), json!(["-x"]), json!([""]), json!(["a", {}]), json!(["a\0"])] {
        assert!(arguments(&["{x}"], json!({ "x": none })).is_err(), "{none}");
    }
    let beside = arguments(&["{x}", "--fixed"], json!({ "x": ["make", "-C", "/"] }));
    assert!(beside.is_err(), "beside other arguments the program is one text");
}

#[test]
fn globs_of_the_input_are_paths_folders_or_patterns() {
    let spec = CommandSpec { globs: vec!["{g}".to_owned()], ..CommandSpec::default() };
    let mut most = EffectCeiling::default();
    most.fs.read = vec!["**".to_owned()];
    let of = |globs: Value| spec.inputs(&json!({ "g": globs }), &most);
    let path = |text| CommandInput::Path(WorkspacePath::parse(text).unwrap());
    let glob = |text: &str| CommandInput::Glob(text.to_owned());
    assert_eq!(
        of(json!(["a.txt", "src/**", "src/*.rs", "**", "**/*.{c,h}"])).unwrap(),
        [path("a.txt"), path("src"), glob("src/*.rs"), CommandInput::Root, glob("**/*.{c,h}")]
    );
    assert_eq!(of(Value::Null).unwrap(), [], "nothing is copied that nobody asked for");
    for bad in ["../x", "/etc/passwd", "a/../b", "a[", "{a"] {
        assert!(of(json!([bad])).is_err(), "{bad}");
    }
}

#[test]
fn what_it_reads_and_where_it_begins_come_from_the_input() {
    let spec = CommandSpec {
        stdin: Some("{text}".to_owned()),
        cwd: Some("{cwd}".to_owned()),
        ..CommandSpec::default()
    };
    let input = json!({ "text": "a\0b\n", "cwd": "src/x" });
    assert_eq!(spec.stdin(&input).unwrap(), "a\0b\n");
    assert_eq!(spec.cwd(&input).unwrap().unwrap().as_str(), "src/x");
    let nothing = json!({});
    assert_eq!((spec.stdin(&nothing), spec.cwd(&nothing)), (Ok(String::new()), Ok(None)));
    assert_eq!(spec.cwd(&json!({ "cwd": "." })), Ok(None));
    assert!(spec.cwd(&json!({ "cwd": "../x" })).is_err());
    assert_eq!(CommandSpec::default().stdin(&input).unwrap(), input.to_string());
}

#[test]
fn a_list_and_a_mapping_are_read_and_a_bare_list_is_written_as_one() {
    let list = json!(["p", "{x}"]);
    let spec: CommandSpec = serde_json::from_value(list.clone()).unwrap();
    assert_eq!(serde_json::to_value(&spec).unwrap(), list);
    let full = json!({ "argv": ["p"], "env": { "A": "b", "C": { "secret": "D" } },
        "output": "text", "sandbox": "best_effort", "memory": "1MiB", "max_processes": 3 });
    let spec: CommandSpec = serde_json::from_value(full).unwrap();
    let again = serde_json::to_value(&spec).unwrap();
    assert_eq!(serde_json::from_value::<CommandSpec>(again).unwrap(), spec);
    assert!(
        serde_json::from_value::<CommandSpec>(json!({ "argv": ["p"], "shell": true })).is_err()
    );
    assert!(serde_json::from_value::<CommandSpec>(json!("rm -rf /")).is_err(), "no shell");
}
