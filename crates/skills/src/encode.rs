//! `hash.text`, `base64.encode`, `base64.decode`.

use base64::Engine as _;
use base64::alphabet::{self, Alphabet};
use base64::engine::general_purpose::{GeneralPurpose, STANDARD as BASE64, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurposeConfig};
use lictor_capability::{Effects, WorkspaceView};
use lictor_context::Digest;
use lictor_executor::HandlerError;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::skill::{Skill, parse};

#[derive(Deserialize)]
struct HashInput<'a> {
    text: &'a str,
}

pub(crate) struct HashText;

impl Skill for HashText {
    fn output(
        &self,
        input: &Value,
        _: &Effects,
        _: &dyn WorkspaceView,
    ) -> Result<Value, HandlerError> {
        let HashInput { text } = parse(input)?;
        Ok(json!({ "digest": Digest::of(text.as_bytes()), "bytes": text.len() }))
    }
}

#[derive(Deserialize)]
struct EncodeInput<'a> {
    text: &'a str,
    #[serde(default)]
    url_safe: bool,
}

pub(crate) struct Encode;

impl Skill for Encode {
    fn output(
        &self,
        input: &Value,
        _: &Effects,
        _: &dyn WorkspaceView,
    ) -> Result<Value, HandlerError> {
        let EncodeInput { text, url_safe } = parse(input)?;
        let encoded = if url_safe { URL_SAFE.encode(text) } else { BASE64.encode(text) };
        Ok(json!({ "encoded": encoded }))
    }
}

#[derive(Deserialize)]
struct DecodeInput<'a> {
    encoded: &'a str,
    #[serde(default)]
    url_safe: bool,
}

pub(crate) struct Decode;

impl Skill for Decode {
    fn output(
        &self,
        input: &Value,
        _: &Effects,
        _: &dyn WorkspaceView,
    ) -> Result<Value, HandlerError> {
        let DecodeInput { encoded, url_safe } = parse(input)?;
        let bytes = engine(url_safe).decode(encoded).map_err(|error| refused(error, url_safe))?;
        let n_bytes = bytes.len();
        Ok(match String::from_utf8(bytes) {
            Ok(text) => json!({ "text": text, "bytes": n_bytes }),
            Err(error) => json!({
                "content_base64": BASE64.encode(error.as_bytes()), "bytes": n_bytes,
            }),
        })
    }
}

/// With the padding at the end or without it: both are common.
fn engine(url_safe: bool) -> GeneralPurpose {
    let alphabet: &Alphabet = if url_safe { &alphabet::URL_SAFE } else { &alphabet::STANDARD };
    let padding = DecodePaddingMode::Indifferent;
    GeneralPurpose::new(alphabet, GeneralPurposeConfig::new().with_decode_padding_mode(padding))
}

/// Where it is wrong, and not what stands there: that may be a part of a secret.
fn refused(error: base64::DecodeError, url_safe: bool) -> HandlerError {
    use base64::DecodeError as Error;
    let letters = if url_safe { "`A-Z a-z 0-9 - _`" } else { "`A-Z a-z 0-9 + /`" };
    let problem = match error {
        Error::InvalidByte(at, _) | Error::InvalidLastSymbol { offset: at, .. } => {
            format!("the character at byte {at} does not belong there")
        }
        Error::InvalidLength(_) => "its length is none that base64 has".to_owned(),
        Error::InvalidPadding => "its padding is wrong".to_owned(),
    };
    let other = if url_safe { "without" } else { "with" };
    HandlerError::input(format!(
        "`encoded` is not base64: {problem}; {letters} are accepted, without line breaks, with `=` \
         at the end or without ({other} `url_safe` it is the other alphabet)"
    ))
}
