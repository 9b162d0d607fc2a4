//! Text from outside, as messages quote it: whole, or not at all.

use std::fmt;

/// A longer text is not quoted.
const MOST: usize = 128;

/// Text from outside, as messages quote it: whole in backticks, with everything escaped that could
/// steer a terminal; or, when it is long, by its length alone.
///
/// Never a part of it. Whoever keeps or shows a message leaves secrets out of it by looking for
/// them, and a part of a secret is found by nobody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quote(Quoted);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Quoted {
    Whole(Box<str>),
    Long(usize),
}

impl Quote {
    /// Quotes a text of at most 128 characters.
    #[must_use]
    pub fn of(text: &str) -> Self {
        Self::up_to(MOST, text)
    }

    /// Quotes a text of at most so many characters.
    #[must_use]
    pub fn up_to(most: usize, text: &str) -> Self {
        let n_chars = text.chars().count();
        Self(if n_chars <= most { Quoted::Whole(text.into()) } else { Quoted::Long(n_chars) })
    }
}

impl fmt::Display for Quote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Quoted::Whole(text) => write!(f, "`{}`", text.escape_debug()),
            Quoted::Long(n_chars) => write!(f, "a text of {n_chars} characters"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_quoted_whole_or_not_at_all() {
        assert_eq!(Quote::of("a\u{1b}b").to_string(), "`a\\u{1b}b`");
        let long = "s3cret".repeat(30);
        assert_eq!(Quote::of(&long).to_string(), "a text of 180 characters");
        assert_eq!(Quote::up_to(2, "\u{e9}\u{e9}").to_string(), "`\u{e9}\u{e9}`");
        assert_eq!(Quote::up_to(2, "abc").to_string(), "a text of 3 characters");
    }
}
