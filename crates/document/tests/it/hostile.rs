//! Every file in `tests/data` is refused at the right place, in the right words.

use std::path::Path;

use lictor_document::{
    DocumentError, DocumentErrorKind as Kind, Limits, Source, StrictValue, from_json, from_yaml,
};

fn data(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn refusal(name: &str) -> DocumentError {
    let bytes = data(name);
    let source = Source::new(name, &bytes);
    let result = if name.ends_with(".json") {
        from_json::<StrictValue>(&source, &Limits::default())
    } else {
        from_yaml::<StrictValue>(&source, &Limits::default())
    };
    result.expect_err(name)
}

const CASES: &[(&str, Kind, u32, u32, &str)] = &[
    (
        "alias_bomb.yaml",
        Kind::AliasBudget,
        5,
        16,
        "anchors and aliases copy too much; accepted here: at most 50000 values and 1048576 bytes",
    ),
    (
        "alias_deep.yaml",
        Kind::TooDeep,
        2,
        34,
        "nested too deeply; accepted here: at most 64 levels",
    ),
    (
        "alias_of_itself.yaml",
        Kind::Alias,
        3,
        5,
        "the alias `*a` stands inside its own anchor; accepted here: an anchor that is complete",
    ),
    (
        "alias_unknown.yaml",
        Kind::Alias,
        2,
        4,
        "the alias has no anchor; accepted here: an anchor defined before",
    ),
    (
        "binary.json",
        Kind::ControlCharacter,
        2,
        7,
        "control character `0x00`; accepted here: a value",
    ),
    (
        "binary.yaml",
        Kind::ControlCharacter,
        2,
        7,
        "control character `U+0000`; accepted here: text, with such a character escaped in double quotes",
    ),
    ("blank.json", Kind::Empty, 1, 1, "the document is empty; accepted here: one value"),
    (
        "bom.json",
        Kind::ByteOrderMark,
        1,
        1,
        "the document starts with a byte-order mark of UTF-8; accepted here: UTF-8 without one",
    ),
    (
        "bom.yaml",
        Kind::ByteOrderMark,
        1,
        1,
        "the document starts with a byte-order mark of UTF-8; accepted here: UTF-8 without one",
    ),
    (
        "bom_inside.yaml",
        Kind::ByteOrderMark,
        2,
        5,
        "a byte-order mark inside the document; accepted here: UTF-8 without one",
    ),
    (
        "bom_utf16.yaml",
        Kind::ByteOrderMark,
        1,
        1,
        "the document starts with a byte-order mark of UTF-16; accepted here: UTF-8 without one",
    ),
    (
        "colon_in_value.yaml",
        Kind::Syntax,
        1,
        5,
        "mapping values are not allowed in this context at `:`; accepted here: YAML 1.2",
    ),
    ("comment.json", Kind::Syntax, 2, 3, "found `/`; accepted here: a key in double quotes"),
    ("comment_only.yaml", Kind::Empty, 1, 1, "the document is empty; accepted here: one value"),
    (
        "control_in_text.json",
        Kind::ControlCharacter,
        1,
        9,
        "control character `0x09` inside text; accepted here: its escape `\\u0009`",
    ),
    (
        "control_raw.yaml",
        Kind::ControlCharacter,
        1,
        5,
        "control character `U+001B`; accepted here: text, with such a character escaped in double quotes",
    ),
    ("deep.json", Kind::TooDeep, 1, 65, "nested too deeply; accepted here: at most 64 levels"),
    ("deep.yaml", Kind::TooDeep, 1, 65, "nested too deeply; accepted here: at most 64 levels"),
    ("deep_20k.json", Kind::TooDeep, 1, 321, "nested too deeply; accepted here: at most 64 levels"),
    ("deep_20k.yaml", Kind::TooDeep, 1, 65, "nested too deeply; accepted here: at most 64 levels"),
    (
        "deep_block.yaml",
        Kind::TooDeep,
        65,
        129,
        "nested too deeply; accepted here: at most 64 levels",
    ),
    (
        "directive.yaml",
        Kind::Directive,
        1,
        1,
        "the directive `%YAML` is not supported; accepted here: a document without directives",
    ),
    (
        "duplicate_key.json",
        Kind::DuplicateKey,
        3,
        3,
        "duplicate key `a`; it stands already on line 2, column 3; accepted here: each key once",
    ),
    (
        "duplicate_key.yaml",
        Kind::DuplicateKey,
        3,
        1,
        "duplicate key `a`; it stands already on line 1, column 1; accepted here: each key once",
    ),
    (
        "duplicate_key_deep.json",
        Kind::DuplicateKey,
        1,
        23,
        "duplicate key `é`; it stands already on line 1, column 15; accepted here: each key once",
    ),
    (
        "duplicate_key_deep.yaml",
        Kind::DuplicateKey,
        3,
        31,
        "duplicate key `type`; it stands already on line 3, column 17; accepted here: each key once",
    ),
    (
        "duplicate_key_many.yaml",
        Kind::DuplicateKey,
        21,
        1,
        "duplicate key `k7`; it stands already on line 8, column 1; accepted here: each key once",
    ),
    (
        "elf.yaml",
        Kind::ControlCharacter,
        1,
        1,
        "control character `U+007F`; accepted here: text, with such a character escaped in double quotes",
    ),
    ("empty.json", Kind::Empty, 1, 1, "the document is empty; accepted here: one value"),
    ("empty.yaml", Kind::Empty, 1, 1, "the document is empty; accepted here: one value"),
    ("explicit_empty.yaml", Kind::Empty, 1, 1, "the document is empty; accepted here: one value"),
    (
        "float_overflow.json",
        Kind::NumberRange,
        1,
        7,
        "the number `-1e999` is out of range; accepted here: magnitudes up to 1.7976931348623157e308",
    ),
    (
        "float_overflow.yaml",
        Kind::NumberRange,
        1,
        4,
        "the number `1e999` is out of range; accepted here: magnitudes up to 1.7976931348623157e308",
    ),
    (
        "huge_hex.yaml",
        Kind::NumberRange,
        1,
        4,
        "the integer `0xFFFFFFFFFFFFFFFFFF` is out of range; accepted here: -9223372036854775808 to 9223372036854775807, or the digits in quotes",
    ),
    (
        "huge_int.json",
        Kind::NumberRange,
        1,
        11,
        "the integer `-9223372036854775809` is out of range; accepted here: -9223372036854775808 to 9223372036854775807, or the digits in quotes",
    ),
    (
        "huge_int.yaml",
        Kind::NumberRange,
        2,
        4,
        "the integer `9223372036854775808` is out of range; accepted here: -9223372036854775808 to 9223372036854775807, or the digits in quotes",
    ),
    (
        "infinity.json",
        Kind::NotFinite,
        1,
        7,
        "`-Infinity` is not a finite number; accepted here: finite numbers",
    ),
    (
        "infinity.yaml",
        Kind::NotFinite,
        1,
        4,
        "`-.inf` is not a finite number; accepted here: finite numbers",
    ),
    (
        "invalid_utf8.json",
        Kind::Encoding,
        1,
        8,
        "the byte `0xC0` is not UTF-8; accepted here: UTF-8 text",
    ),
    (
        "invalid_utf8.yaml",
        Kind::Encoding,
        2,
        5,
        "the byte `0xFF` is not UTF-8; accepted here: UTF-8 text",
    ),
    (
        "key_is_alias.yaml",
        Kind::KeyNotText,
        2,
        1,
        "the alias `*k` stands as a key; accepted here: text",
    ),
    ("key_is_list.yaml", Kind::KeyNotText, 1, 3, "a list stands as a key; accepted here: text"),
    (
        "key_is_missing.yaml",
        Kind::KeyNotText,
        2,
        1,
        "a key is missing before `:`; accepted here: text",
    ),
    (
        "key_is_null.yaml",
        Kind::KeyNotText,
        2,
        3,
        "the key `~` is not text; accepted here: text, if need be in quotes",
    ),
    (
        "key_is_number.yaml",
        Kind::KeyNotText,
        2,
        3,
        "the key `1` is not text; accepted here: text, if need be in quotes",
    ),
    ("key_unquoted.json", Kind::Syntax, 1, 2, "found `a`; accepted here: a key in double quotes"),
    (
        "leading_zero.json",
        Kind::Syntax,
        1,
        10,
        "`0644` is not a JSON number; accepted here: digits without a leading zero, then optionally `.` with digits and an exponent",
    ),
    (
        "leading_zero.yaml",
        Kind::Ambiguous,
        1,
        7,
        "the number `0644` is read in different ways by YAML parsers; accepted here: decimal digits without leading zero or `_`, or the text in quotes",
    ),
    (
        "lone_surrogate.json",
        Kind::Surrogate,
        1,
        9,
        "unpaired surrogate `\\ud800`; accepted here: a character, or both halves of a pair",
    ),
    (
        "lone_surrogate.yaml",
        Kind::Surrogate,
        1,
        4,
        "unpaired surrogate; accepted here: a character, or both halves of a pair",
    ),
    (
        "lone_surrogate_low.json",
        Kind::Surrogate,
        1,
        8,
        "unpaired surrogate `\\udc00`; accepted here: a character, or both halves of a pair",
    ),
    (
        "lone_surrogate_low.yaml",
        Kind::Surrogate,
        1,
        4,
        "unpaired surrogate; accepted here: a character, or both halves of a pair",
    ),
    (
        "merge_key.yaml",
        Kind::MergeKey,
        3,
        3,
        "the merge key `<<` is not supported; accepted here: keys written out, or `\"<<\"` in quotes",
    ),
    (
        "nan.json",
        Kind::NotFinite,
        1,
        7,
        "`NaN` is not a finite number; accepted here: finite numbers",
    ),
    (
        "nan.yaml",
        Kind::NotFinite,
        1,
        10,
        "`.nan` is not a finite number; accepted here: finite numbers",
    ),
    (
        "norway.yaml",
        Kind::Ambiguous,
        1,
        10,
        "`no` is a boolean in YAML 1.1 and text in YAML 1.2; accepted here: true, false, or the word in quotes",
    ),
    ("single_quotes.json", Kind::Syntax, 1, 2, "found `'`; accepted here: a key in double quotes"),
    (
        "surrogates_reversed.json",
        Kind::Surrogate,
        1,
        8,
        "unpaired surrogate `\\ud800`; accepted here: a character, or both halves of a pair",
    ),
    (
        "tab_indentation.yaml",
        Kind::Syntax,
        2,
        2,
        "a tab stands in the indentation at `b:`; accepted here: spaces",
    ),
    (
        "tag_binary.yaml",
        Kind::Tag,
        1,
        4,
        "the tag `!!binary` is not supported here; accepted here: !!str, !!int, !!float, !!bool or !!null, on a value of that type",
    ),
    (
        "tag_custom.yaml",
        Kind::Tag,
        2,
        4,
        "the tag `!Ref` is not supported here; accepted here: !!str, !!int, !!float, !!bool or !!null, on a value of that type",
    ),
    (
        "tag_on_list.yaml",
        Kind::Tag,
        1,
        4,
        "the tag `!set` is not supported here; accepted here: no tag on a list",
    ),
    (
        "tag_python.yaml",
        Kind::Tag,
        1,
        4,
        "the tag `!!python/object/apply:os.system` is not supported here; accepted here: no tag on a list",
    ),
    (
        "tag_wrong.yaml",
        Kind::Tag,
        1,
        4,
        "the tag `!!int` is not supported here; accepted here: !!str, !!int, !!float, !!bool or !!null, on a value of that type",
    ),
    (
        "trailing.json",
        Kind::TrailingData,
        2,
        1,
        "found `{` after the end of the document; accepted here: nothing",
    ),
    ("trailing_comma.json", Kind::Syntax, 1, 7, "found `]`; accepted here: a value"),
    (
        "trailing_comma_object.json",
        Kind::Syntax,
        1,
        9,
        "found `}`; accepted here: a key in double quotes",
    ),
    (
        "truncated.json",
        Kind::Truncated,
        1,
        18,
        "the document ends too early; accepted here: `,` or `]`",
    ),
    (
        "truncated_escape.json",
        Kind::Truncated,
        1,
        11,
        "incomplete escape; accepted here: `\\u` and four hex digits",
    ),
    (
        "truncated_flow.yaml",
        Kind::Truncated,
        1,
        4,
        "the document ends before `[` is closed; accepted here: `]`",
    ),
    (
        "truncated_quote.yaml",
        Kind::Truncated,
        2,
        1,
        "the document ends too early; accepted here: the rest of the value",
    ),
    (
        "truncated_text.json",
        Kind::Truncated,
        1,
        7,
        "the document ends inside the text that starts here; accepted here: a closing `\"`",
    ),
    (
        "two_documents.yaml",
        Kind::SeveralDocuments,
        2,
        1,
        "a second document starts here; accepted here: one document in a file",
    ),
    (
        "under_indented.yaml",
        Kind::Syntax,
        3,
        3,
        "while parsing a block mapping, did not find expected key at `c:`; accepted here: YAML 1.2",
    ),
    (
        "underscore.yaml",
        Kind::Ambiguous,
        1,
        4,
        "the number `1_000` is read in different ways by YAML parsers; accepted here: decimal digits without leading zero or `_`, or the text in quotes",
    ),
    (
        "unknown_escape.json",
        Kind::Syntax,
        1,
        8,
        "unknown escape `\\x`; accepted here: \\\" \\\\ \\/ \\b \\f \\n \\r \\t \\uXXXX",
    ),
    (
        "unknown_escape.yaml",
        Kind::Syntax,
        1,
        4,
        "while parsing a quoted scalar, found unknown escape character at `\"\\q\"`; accepted here: YAML 1.2",
    ),
    ("unknown_word.json", Kind::Syntax, 1, 7, "found `True`; accepted here: a value"),
];

#[test]
fn every_hostile_file_is_refused_at_its_place() {
    for (name, kind, line, column, message) in CASES {
        let error = refusal(name);
        assert_eq!(
            (error.kind(), error.line(), error.column(), error.message()),
            (*kind, *line, *column, *message),
            "{name}\n{error}"
        );
        assert_eq!(error.file(), *name);
    }
}

#[test]
fn every_hostile_file_has_a_case() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let mut cases: Vec<&str> = CASES.iter().map(|case| case.0).collect();
    cases.sort_unstable();
    assert_eq!(names, cases);
}
