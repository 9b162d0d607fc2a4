//! An answer: read to its end, or a failure.

use lictor_executor::HandlerError;
use serde_json::{Value, json};
use ureq::http;

use super::exchange::Failed;
use crate::masked::Mask;

pub(super) fn answer(
    mut response: http::Response<ureq::Body>,
    limit: u64,
    safe: bool,
    mask: &Mask,
) -> Result<Value, Failed> {
    let status = response.status().as_u16();
    let kind = response.headers().get("content-type").and_then(|value| value.to_str().ok());
    let is_json = kind.is_some_and(|kind| {
        let kind = kind.split(';').next().unwrap_or_default().trim();
        kind == "application/json" || kind.ends_with("+json")
    });
    // What changes something was done when its answer is one of success, whatever else it says.
    let late = |message: String| {
        let error =
            if safe { HandlerError::failed(message) } else { HandlerError::unknown(message) };
        Failed { error, again: false }
    };
    let read = response.body_mut().with_config().limit(limit).read_to_vec();
    let bytes = read.map_err(|error| {
        let error = mask.text(&error.to_string());
        late(format!("the answer ({status}) could not be read to its end: {error}"))
    })?;
    if !(200..300).contains(&status) {
        let again = matches!(status, 429 | 502 | 503 | 504);
        let message = format!("the answer is {status}");
        // The server says that it refused (4xx), or that it came to grief on the way.
        let error = if status >= 500 && !safe {
            HandlerError::unknown(message)
        } else {
            HandlerError::failed(message)
        };
        return Err(Failed { error, again });
    }
    let body = if bytes.is_empty() {
        Value::Null
    } else if is_json {
        serde_json::from_slice(&bytes)
            .map_err(|_| late(format!("the answer ({status}) says that it is JSON, and is not")))?
    } else {
        let text = String::from_utf8(bytes)
            .map_err(|_| late(format!("the answer ({status}) is no text")))?;
        Value::String(text)
    };
    Ok(json!({ "status": status, "body": mask.value(body) }))
}
