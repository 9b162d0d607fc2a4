//! Patterns over short texts: ids, names, hosts, values of inputs.

use globset::{Glob, GlobBuilder, GlobMatcher};
use lictor_capability::{HostNumber, host_spelling};

/// The longest pattern that is accepted, in bytes.
const MAX_PATTERN: usize = 1_024;

/// A glob; the common shapes are matched without an automaton.
#[derive(Debug, Clone)]
pub(super) enum Pattern {
    Literal(Box<str>),
    /// `prefix*`, where the rest holds no separator.
    Prefix(Box<str>),
    Glob(Box<GlobMatcher>),
}

impl Pattern {
    pub(super) fn new(text: &str) -> Result<Self, String> {
        let special = |c: char| matches!(c, '*' | '?' | '[' | ']' | '{' | '}' | '\\' | '!' | ',');
        if !text.contains(special) {
            return if text.is_empty() { Err(empty()) } else { Ok(Self::Literal(text.into())) };
        }
        match text.strip_suffix('*') {
            Some(prefix) if !prefix.contains(special) => Ok(Self::Prefix(prefix.into())),
            _ => Ok(Self::Glob(Box::new(glob(text, false)?.compile_matcher()))),
        }
    }

    /// A host, compared as [`super::asked::host_and_port`] names hosts. An address is no glob.
    pub(super) fn of_host(text: &str) -> Result<Self, String> {
        if let Some(number) = HostNumber::parse(text) {
            return Ok(Self::Literal(number.to_string().into()));
        }
        Self::new(host_spelling(text)?.trim_end_matches('.'))
    }

    /// The text, if it is nothing but a text.
    pub(super) fn literal(&self) -> Option<&str> {
        match self {
            Self::Literal(text) => Some(text),
            Self::Prefix(_) | Self::Glob(_) => None,
        }
    }

    /// The pattern as it is written.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Literal(text) => text.to_string(),
            Self::Prefix(prefix) => format!("{prefix}*"),
            Self::Glob(matcher) => matcher.glob().glob().to_owned(),
        }
    }

    pub(super) fn is_match(&self, text: &str) -> bool {
        match self {
            Self::Literal(literal) => **literal == *text,
            Self::Prefix(prefix) => {
                text.strip_prefix(&**prefix).is_some_and(|rest| !rest.contains('/'))
            }
            Self::Glob(matcher) => matcher.is_match(text),
        }
    }
}

fn empty() -> String {
    "an empty pattern matches nothing; accepted here: a glob such as `src/**`".to_owned()
}

/// A glob by the conventions of the formats: `*` and `?` do not match `/`.
pub(super) fn glob(text: &str, any_case: bool) -> Result<Glob, String> {
    if text.is_empty() {
        return Err(empty());
    }
    if text.len() > MAX_PATTERN {
        return Err(format!("the glob is {} bytes long; at most 1024 are accepted", text.len()));
    }
    GlobBuilder::new(text)
        .literal_separator(true)
        .case_insensitive(any_case)
        .build()
        .map_err(|error| format!("`{}` is not a glob: {}", text.escape_debug(), error.kind()))
}

/// The globs that a pattern over paths stands for: itself and, for `dir/**`, the directory as
/// well, because making, reading or removing it is part of what is meant.
pub(crate) fn path_globs(text: &str, any_case: bool) -> Result<Vec<Glob>, String> {
    let never = |why: &str| {
        Err(format!(
            "`{}` never matches a path: {why}; accepted here: a glob relative to the workspace root, such as `src/**`",
            text.escape_debug()
        ))
    };
    if text.starts_with('/') {
        return never("paths do not begin with `/`");
    }
    if text.ends_with('/') {
        return never("paths do not end in `/`");
    }
    if text.split('/').any(|segment| matches!(segment, "." | "..")) {
        return never("paths hold no `.` and `..`");
    }
    if !text.is_ascii() && !unicode_normalization::is_nfc(text) {
        return never("it is not in Unicode normalisation form C (NFC), and paths are");
    }
    let mut globs = vec![glob(text, any_case)?];
    if let Some(dir) = text.strip_suffix("/**")
        && dir != "**"
    {
        globs.push(glob(dir, any_case)?);
    }
    let folded = fold(text);
    if any_case && !text.is_ascii() && folded != text {
        // The automaton folds ASCII only; paths outside of it are folded before they are matched.
        globs.extend(path_globs(&folded, true)?);
    }
    Ok(globs)
}

/// A text without letter case: by way of the upper case, so that `ſ` is an `s` and `ß` is `ss`, as
/// file systems that ignore case have it.
pub(super) fn fold(text: &str) -> String {
    text.to_uppercase().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, text: &str, expect: bool) {
        assert_eq!(Pattern::new(pattern).unwrap().is_match(text), expect, "{pattern} {text}");
    }

    #[test]
    fn short_cuts_match_like_globs() {
        check("payments.*", "payments.send", true);
        check("payments.*", "payment.send", false);
        check("payments.*", "payments.a/b", false);
        check("*", "fs.write", true);
        check("fs.write", "fs.write", true);
        check("fs.?rite", "fs.write", true);
        check("{fs,net}.*", "net.get", true);
        check("mcp:*", "mcp:files", true);
    }

    #[test]
    fn a_directory_is_part_of_what_is_in_it() {
        let globs = path_globs("src/**", false).unwrap();
        assert!(globs.iter().any(|glob| glob.compile_matcher().is_match("src")));
        assert!(globs.iter().any(|glob| glob.compile_matcher().is_match("src/a/b")));
        assert!(!globs.iter().any(|glob| glob.compile_matcher().is_match("srcs")));
    }
}
