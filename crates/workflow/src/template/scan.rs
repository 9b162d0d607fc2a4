//! Which names, filters and tests an expression uses, found without running it.
//!
//! MiniJinja's own `undeclared_variables` does not look into what is sliced (`a.b[0:1]`), nor at
//! `a["b"]`; in expressions nothing binds names, so reading the tokens is enough.

/// A name that an expression takes from outside, and the literal path behind it:
/// `steps.now.output` and `steps["now"].output` alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reference {
    pub(crate) root: String,
    pub(crate) path: Vec<String>,
    /// Called as a function.
    pub(crate) called: bool,
}

/// What an expression uses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Scan {
    pub(crate) references: Vec<Reference>,
    pub(crate) filters: Vec<String>,
    pub(crate) tests: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'a> {
    Ident(&'a str),
    Text(&'a str),
    Number,
    Sign(char),
}

const KEYWORDS: &[&str] = &[
    "and", "or", "not", "in", "is", "if", "else", "true", "false", "none", "True", "False", "None",
];

/// The length of the expression that `text` starts with, up to its `}}` or the `-` before it.
/// None when it does not end.
pub(crate) fn end_of_expression(text: &str) -> Option<usize> {
    let mut depth = 0_i32;
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let at = text.len() - rest.len();
        if depth == 0
            && (rest.starts_with("}}") || rest.starts_with("-}}") || rest.starts_with("+}}"))
        {
            return Some(at);
        }
        let (_, n_bytes) = token(rest, first);
        match first {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
        rest = rest.get(n_bytes..)?;
    }
    None
}

/// The first token of `rest`, if it is one, and how many bytes it takes.
fn token(rest: &str, first: char) -> (Option<Token<'_>>, usize) {
    let run = |fits: fn(char) -> bool| rest.find(|c| !fits(c)).unwrap_or(rest.len());
    match first {
        c if c.is_whitespace() => (None, c.len_utf8()),
        '"' | '\'' => {
            let mut escaped = false;
            for (at, c) in rest.char_indices().skip(1) {
                match c {
                    _ if escaped => escaped = false,
                    '\\' => escaped = true,
                    c if c == first => {
                        return (rest.get(1..at).map(Token::Text), at + 1);
                    }
                    _ => {}
                }
            }
            (None, rest.len())
        }
        c if c.is_ascii_digit() => {
            let whole = run(|c| c.is_ascii_alphanumeric() || c == '_');
            let fraction = rest
                .get(whole..)
                .and_then(|tail| tail.strip_prefix('.'))
                .filter(|tail| tail.starts_with(|c: char| c.is_ascii_digit()))
                .map(|tail| {
                    1 + tail.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(tail.len())
                });
            (Some(Token::Number), whole + fraction.unwrap_or(0))
        }
        c if c.is_ascii_alphabetic() || c == '_' => {
            let n_bytes = run(|c| c.is_ascii_alphanumeric() || c == '_');
            (rest.get(..n_bytes).map(Token::Ident), n_bytes)
        }
        c => (Some(Token::Sign(c)), c.len_utf8()),
    }
}

/// Reads an expression that MiniJinja has accepted.
pub(crate) fn scan(expression: &str) -> Scan {
    let mut tokens = Vec::new();
    let mut rest = expression;
    while let Some(first) = rest.chars().next() {
        let (found, n_bytes) = token(rest, first);
        tokens.extend(found);
        rest = rest.get(n_bytes..).unwrap_or_default();
    }
    let mut found = Scan::default();
    let at = |idx: usize| tokens.get(idx).copied();
    for (idx, current) in tokens.iter().enumerate() {
        let Token::Ident(name) = *current else { continue };
        let before = idx.checked_sub(1).and_then(at);
        let before_that = idx.checked_sub(2).and_then(at);
        let assigned =
            at(idx + 1) == Some(Token::Sign('=')) && at(idx + 2) != Some(Token::Sign('='));
        match before {
            Some(Token::Sign('.')) => {}
            Some(Token::Sign('|')) => found.filters.push(name.to_owned()),
            Some(Token::Ident("is")) if name == "not" => {}
            Some(Token::Ident("is")) => found.tests.push(name.to_owned()),
            Some(Token::Ident("not")) if before_that == Some(Token::Ident("is")) => {
                found.tests.push(name.to_owned());
            }
            _ if KEYWORDS.contains(&name) || assigned => {}
            _ => {
                let path = path(&tokens, idx + 1);
                let called = path.is_empty() && at(idx + 1) == Some(Token::Sign('('));
                found.references.push(Reference { root: name.to_owned(), path, called });
            }
        }
    }
    found
}

fn path(tokens: &[Token<'_>], mut idx: usize) -> Vec<String> {
    let mut path = Vec::new();
    loop {
        match (tokens.get(idx), tokens.get(idx + 1), tokens.get(idx + 2)) {
            (Some(Token::Sign('.')), Some(Token::Ident(_)), Some(Token::Sign('('))) => return path,
            (Some(Token::Sign('.')), Some(Token::Ident(name)), _) => {
                path.push((*name).to_owned());
                idx += 2;
            }
            (Some(Token::Sign('[')), Some(Token::Text(name)), Some(Token::Sign(']'))) => {
                path.push((*name).to_owned());
                idx += 3;
            }
            _ => return path,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(expression: &str) -> Vec<String> {
        let references = scan(expression).references.into_iter();
        references.map(|it| [vec![it.root], it.path].concat().join(".")).collect()
    }

    #[test]
    fn names_are_found_wherever_they_stand() {
        assert_eq!(names("steps.a.output[0:2]"), ["steps.a.output"]);
        assert_eq!(names("steps['a-b'].output.x + input.y"), ["steps.a-b.output.x", "input.y"]);
        assert_eq!(names("range(input.n)"), ["range", "input.n"]);
        assert_eq!(names("input.x if input.y is defined else 'steps.z'"), ["input.x", "input.y"]);
        assert_eq!(names("{'k': input.v, input.k: 1}"), ["input.v", "input.k"]);
        assert_eq!(names("input.items()|map(attribute='n')|join(sep)"), ["input", "sep"]);
        assert_eq!(names("a == b != c <= d"), ["a", "b", "c", "d"]);
        assert_eq!(names("1.5e3 + 0x1f + x.0"), ["x"]);
        assert_eq!(names("'it\\'s ' ~ who"), ["who"]);
        assert_eq!(names("not none and true in xs"), ["xs"]);
    }

    #[test]
    fn filters_and_tests_are_told_from_names() {
        let found = scan("input.a | upper | join(', ') is not none and b is in c");
        assert_eq!(found.filters, ["upper", "join"]);
        assert_eq!(found.tests, ["none", "in"]);
    }

    /// MiniJinja sees no name that the scan does not.
    #[test]
    fn the_scan_finds_what_minijinja_finds() {
        let environment = minijinja::Environment::new();
        for text in [
            "a.b.c",
            "a[b].c",
            "f(x, *y, k=z)",
            "a if b else c",
            "[a, {b: c}]",
            "a is divisibleby(n)",
            "a|default(b)|replace(c, d)",
            "not a",
            "-a ** b",
            "a in b",
            "a not in b",
            "a ~ b // c % d",
        ] {
            let expression = environment.compile_expression(text).unwrap();
            let ours: Vec<String> =
                scan(text).references.into_iter().map(|found| found.root).collect();
            for name in expression.undeclared_variables(false) {
                assert!(ours.contains(&name), "{text}: {name}");
            }
        }
    }

    #[test]
    fn an_expression_ends_where_minijinja_says() {
        assert_eq!(end_of_expression(" a }}"), Some(3));
        assert_eq!(end_of_expression("{'a': {}}}}"), Some(9));
        assert_eq!(end_of_expression("'}}' }} }}"), Some(5));
        assert_eq!(end_of_expression("a -}}"), Some(2));
        assert_eq!(end_of_expression("a"), None);
        assert_eq!(end_of_expression("'a }}"), None);
    }
}
