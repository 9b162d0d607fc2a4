//! `regex.match`.

use lictor_capability::{Effects, WorkspaceView};
use lictor_executor::HandlerError;
use regex::{Captures, Regex, RegexBuilder};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::skill::{Skill, parse};

/// The most bytes of a pattern.
const MAX_PATTERN: usize = 4096;
/// The most bytes of memory for a compiled pattern, and for its cache of states.
const MAX_COMPILED: usize = 1 << 20;
/// The most bytes of a text.
const MAX_TEXT: usize = 1 << 20;
/// The most bytes of text in all matches and their groups.
const MAX_ANSWER: usize = 1 << 20;
/// How many matches are answered unless the input says.
const DEFAULT_MATCHES: usize = 100;

#[derive(Deserialize)]
struct Input<'a> {
    pattern: &'a str,
    text: &'a str,
    #[serde(default)]
    all: bool,
    max_matches: Option<usize>,
}

pub(crate) struct Match;

impl Skill for Match {
    fn output(
        &self,
        input: &Value,
        _: &Effects,
        _: &dyn WorkspaceView,
    ) -> Result<Value, HandlerError> {
        let Input { pattern, text, all, max_matches } = parse(input)?;
        let regex = compile(pattern)?;
        if text.len() > MAX_TEXT {
            return Err(HandlerError::input(format!("`text` is longer than {MAX_TEXT} bytes")));
        }
        let most = if all { max_matches.unwrap_or(DEFAULT_MATCHES) } else { 1 };
        let mut matches = Vec::new();
        let (mut truncated, mut spent) = (false, 0_usize);
        for captures in regex.captures_iter(text) {
            spent += captures.iter().flatten().map(|group| group.len()).sum::<usize>();
            if matches.len() == most || spent > MAX_ANSWER {
                // Who asks for one match does not ask whether there are more.
                truncated = all || matches.is_empty();
                break;
            }
            matches.push(report(&regex, &captures));
            if !all {
                break;
            }
        }
        Ok(json!({
            "matched": !matches.is_empty() || truncated, "matches": matches, "truncated": truncated,
        }))
    }
}

fn report(regex: &Regex, captures: &Captures<'_>) -> Value {
    let whole = captures.get(0);
    let text = |group: Option<regex::Match<'_>>| group.map(|group| group.as_str().to_owned());
    let groups: Vec<Option<String>> = captures.iter().skip(1).map(text).collect();
    let named: Map<String, Value> = regex
        .capture_names()
        .flatten()
        .map(|name| (name.to_owned(), json!(text(captures.name(name)))))
        .collect();
    json!({
        "text": text(whole), "start": whole.map_or(0, |whole| whole.start()),
        "end": whole.map_or(0, |whole| whole.end()), "groups": groups, "named": named,
    })
}

/// A pattern, bounded in what it may take.
pub(crate) fn compile(pattern: &str) -> Result<Regex, HandlerError> {
    if pattern.len() > MAX_PATTERN {
        return Err(HandlerError::input(format!("`pattern` is longer than {MAX_PATTERN} bytes")));
    }
    RegexBuilder::new(pattern)
        .size_limit(MAX_COMPILED)
        .dfa_size_limit(MAX_COMPILED)
        .build()
        .map_err(|error| HandlerError::input(explain(&error)))
}

/// The parser's reason, without the pattern that it shows above it: inputs stay out of messages.
fn explain(error: &regex::Error) -> String {
    match error {
        regex::Error::CompiledTooBig(limit) => {
            format!("`pattern` takes more than {limit} bytes when it is compiled")
        }
        error => {
            let message = error.to_string();
            let reason = message.lines().rev().find_map(|line| line.strip_prefix("error: "));
            let caret = message.lines().find_map(|line| {
                let caret = line.trim_start();
                let only = !caret.is_empty() && caret.trim_end().bytes().all(|byte| byte == b'^');
                only.then(|| (line.len() - caret.len()).saturating_sub(4) + 1)
            });
            let reason = reason.unwrap_or("it cannot be compiled");
            match caret {
                Some(column) => format!("`pattern` is wrong at character {column}: {reason}"),
                None => format!("`pattern` is wrong: {reason}"),
            }
        }
    }
}
