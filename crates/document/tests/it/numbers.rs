//! Numbers are read exactly or refused.

use lictor_document::{
    DocumentErrorKind as Kind, Limits, Source, StrictValue, from_json, from_yaml,
};
use proptest::prelude::*;

fn json(text: &str) -> Result<StrictValue, Kind> {
    from_json(&Source::new("f", text.as_bytes()), &Limits::default()).map_err(|error| error.kind())
}

#[test]
fn json_numbers_follow_the_grammar() {
    for text in [
        "0",
        "-0",
        "10",
        "-1.5",
        "1e5",
        "1E+5",
        "1.25e-3",
        "9223372036854775807",
        "-9223372036854775808",
    ] {
        assert!(json(text).is_ok(), "{text}");
    }
    for text in ["01", "-", "1.", ".5", "+1", "1e", "1e+", "0x1", "1_0", "--1", "1.e1", "-.5", "00"]
    {
        assert_eq!(json(text), Err(Kind::Syntax), "{text}");
    }
    for text in ["9223372036854775808", "-9223372036854775809", "18446744073709551615", "1e400"] {
        assert_eq!(json(text), Err(Kind::NumberRange), "{text}");
    }
    for text in ["NaN", "Infinity", "-Infinity", "nan", "-inf"] {
        assert_eq!(json(text), Err(Kind::NotFinite), "{text}");
    }
}

proptest! {
    #[test]
    fn integers_survive(value: i64) {
        let text = value.to_string();
        let source = Source::new("f", text.as_bytes());
        prop_assert_eq!(from_json::<i64>(&source, &Limits::default()).unwrap(), value);
        prop_assert_eq!(from_yaml::<i64>(&source, &Limits::default()).unwrap(), value);
    }

    #[test]
    fn floats_survive(value in proptest::num::f64::NORMAL | proptest::num::f64::SUBNORMAL) {
        let text = format!("{value:e}");
        let source = Source::new("f", text.as_bytes());
        prop_assert_eq!(from_json::<f64>(&source, &Limits::default()).unwrap().to_bits(), value.to_bits());
        prop_assert_eq!(from_yaml::<f64>(&source, &Limits::default()).unwrap().to_bits(), value.to_bits());
    }
}
