//! What an unquoted YAML scalar means, by the core schema of YAML 1.2.
//!
//! What YAML 1.1 or its usual parsers read in another way is refused: a reader who knows one
//! version must not be surprised by the other.

use crate::error::{DocumentErrorKind as Kind, Fault};
use crate::json::{not_finite, out_of_f64, out_of_i64};
use crate::text::{At, shown};

/// The meaning of an unquoted scalar.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Scalar {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text,
}

pub(crate) fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

pub(crate) fn resolve(text: &str, at: At) -> Result<Scalar, Fault> {
    if is_null(text) {
        return Ok(Scalar::Null);
    }
    match text {
        "true" | "True" | "TRUE" => return Ok(Scalar::Bool(true)),
        "false" | "False" | "FALSE" => return Ok(Scalar::Bool(false)),
        _ => {}
    }
    if is_old_bool(text) {
        let message = format!(
            "{} is a boolean in YAML 1.1 and text in YAML 1.2; accepted here: true, false, or the \
             word in quotes",
            shown(text)
        );
        return Err(Fault::new(at, Kind::Ambiguous, message));
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if [".nan", ".inf"].iter().any(|name| unsigned.eq_ignore_ascii_case(name)) {
        return Err(not_finite(at, text));
    }
    if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return Ok(Scalar::Text);
    }
    number(text, unsigned, at)
}

/// The booleans of YAML 1.1 that are none in YAML 1.2. Its `y` and `n` never were read as
/// booleans by common parsers.
pub(crate) fn is_old_bool(text: &str) -> bool {
    ["yes", "no", "on", "off"].iter().any(|word| text.eq_ignore_ascii_case(word))
}

fn number(text: &str, unsigned: &str, at: At) -> Result<Scalar, Fault> {
    let ambiguous = || {
        let message = format!(
            "the number {} is read in different ways by YAML parsers; accepted here: decimal digits \
             without leading zero or `_`, or the text in quotes",
            shown(text)
        );
        Err(Fault::new(at, Kind::Ambiguous, message))
    };
    let digits_only = |rest: &str| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit());
    if digits_only(unsigned) {
        if unsigned.len() > 1 && unsigned.starts_with('0') {
            return ambiguous();
        }
        return match text.parse() {
            Ok(value) => Ok(Scalar::Int(value)),
            Err(_) => Err(out_of_i64(at, text)),
        };
    }
    let prefixed = |lower: &str, upper: &str| {
        let rest = unsigned.strip_prefix(lower);
        rest.or_else(|| unsigned.strip_prefix(upper))
    };
    for (lower, upper, radix) in [("0x", "0X", 16), ("0o", "0O", 8), ("0b", "0B", 2)] {
        let Some(rest) = prefixed(lower, upper) else {
            continue;
        };
        if rest.is_empty() || !rest.chars().all(|c| c == '_' || c.is_digit(radix)) {
            return Ok(Scalar::Text);
        }
        // The core schema knows `0x1F` and `0o17`, in lower case and without a sign.
        if radix == 2 || !text.starts_with(lower) || rest.contains('_') {
            return ambiguous();
        }
        return match i64::from_str_radix(rest, radix) {
            Ok(value) => Ok(Scalar::Int(value)),
            Err(_) => Err(out_of_i64(at, text)),
        };
    }
    let plain = unsigned.replace('_', "");
    if !is_float(&plain) {
        return Ok(Scalar::Text);
    }
    if plain != unsigned {
        return ambiguous();
    }
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(Scalar::Float(value)),
        _ => Err(out_of_f64(at, text)),
    }
}

/// `( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )?`, or digits alone.
fn is_float(unsigned: &str) -> bool {
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent_is_fine = exponent.is_none_or(|text| {
        let text = text.strip_prefix(['+', '-']).unwrap_or(text);
        !text.is_empty() && digits(text)
    });
    !(whole.is_empty() && fraction.is_empty())
        && digits(whole)
        && digits(fraction)
        && exponent_is_fine
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_follow_the_core_schema() {
        for (text, meaning) in [
            ("", Scalar::Null),
            ("~", Scalar::Null),
            ("True", Scalar::Bool(true)),
            ("0", Scalar::Int(0)),
            ("-0", Scalar::Int(0)),
            ("+12", Scalar::Int(12)),
            ("-9223372036854775808", Scalar::Int(i64::MIN)),
            ("0x1F", Scalar::Int(31)),
            ("0o17", Scalar::Int(15)),
            ("1.5", Scalar::Float(1.5)),
            (".5", Scalar::Float(0.5)),
            ("1.", Scalar::Float(1.0)),
            ("1e3", Scalar::Float(1000.0)),
            ("y", Scalar::Text),
            ("nan", Scalar::Text),
            ("inf", Scalar::Text),
            ("-", Scalar::Text),
            (".", Scalar::Text),
            ("1.0.0", Scalar::Text),
            ("12:30", Scalar::Text),
            ("64MiB", Scalar::Text),
            ("0xfg", Scalar::Text),
            ("2026-01-01", Scalar::Text),
            ("1e", Scalar::Text),
        ] {
            assert_eq!(resolve(text, At::START).unwrap(), meaning, "{text}");
        }
    }

    #[test]
    fn scalars_that_parsers_read_differently_are_refused() {
        for (text, kind) in [
            ("yes", Kind::Ambiguous),
            ("OFF", Kind::Ambiguous),
            ("0644", Kind::Ambiguous),
            ("1_000", Kind::Ambiguous),
            ("1_0.5", Kind::Ambiguous),
            ("0b101", Kind::Ambiguous),
            ("0XFF", Kind::Ambiguous),
            ("-0x1F", Kind::Ambiguous),
            (".NaN", Kind::NotFinite),
            ("-.inf", Kind::NotFinite),
            ("9223372036854775808", Kind::NumberRange),
            ("0xFFFFFFFFFFFFFFFF", Kind::NumberRange),
            ("1e999", Kind::NumberRange),
        ] {
            assert_eq!(resolve(text, At::START).unwrap_err().kind, kind, "{text}");
        }
    }
}
