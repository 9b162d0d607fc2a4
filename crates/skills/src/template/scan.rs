//! What a template may say: a look at its tags before it is compiled.
//!
//! The rules keep every value as small as the variables and literals that it is made of: values
//! are never stored (`set`, `with`, `macro`), never passed on by recursion, and one expression joins
//! only so many. Where this scanner and MiniJinja's lexer could disagree on what is a tag (`raw`,
//! braces inside of tags), the template is refused.

/// The most bytes of one tag.
const MAX_TAG: usize = 512;
/// The most of `~` and `+` in one tag.
const MAX_JOINS: usize = 8;
/// The statements that there are.
const STATEMENTS: [&str; 6] = ["if", "elif", "else", "endif", "for", "endfor"];

/// Why a template is refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) line: usize,
    pub(super) reason: String,
}

/// Looks at every tag.
pub(super) fn check(template: &str) -> Result<(), Refusal> {
    let mut rest = template;
    while let Some((kind, body)) = next_tag(rest) {
        let at = template.len() - body.len();
        let refuse = |reason: String| {
            let before = template.get(..at).unwrap_or_default();
            Refusal { line: 1 + before.bytes().filter(|byte| *byte == b'\n').count(), reason }
        };
        rest = match kind {
            Kind::Comment => match body.split_once("#}") {
                Some((_, rest)) => rest,
                None => return Err(refuse("a comment does not end".to_owned())),
            },
            Kind::Expression => {
                let tag = tag(body, "}}").map_err(refuse)?;
                check_joins(&tag.code).map_err(refuse)?;
                tag.rest
            }
            Kind::Statement => {
                let tag = tag(body, "%}").map_err(refuse)?;
                check_statement(&tag.code).map_err(refuse)?;
                tag.rest
            }
        };
    }
    Ok(())
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Comment,
    Expression,
    Statement,
}

/// The first tag: what it is, and what follows its opening.
fn next_tag(text: &str) -> Option<(Kind, &str)> {
    let mut rest = text;
    loop {
        let (_, behind) = rest.split_once('{')?;
        let kind = match behind.bytes().next() {
            Some(b'#') => Some(Kind::Comment),
            Some(b'{') => Some(Kind::Expression),
            Some(b'%') => Some(Kind::Statement),
            _ => None,
        };
        match (kind, behind.get(1..)) {
            (Some(kind), Some(body)) => return Some((kind, body)),
            _ => rest = behind,
        }
    }
}

struct Tag<'a> {
    /// The tag with its texts blanked out.
    code: String,
    /// What follows it.
    rest: &'a str,
}

fn tag<'a>(body: &'a str, end: &str) -> Result<Tag<'a>, String> {
    let mut code = String::new();
    let mut quote = None;
    let mut escaped = false;
    for (offset, c) in body.char_indices() {
        if offset > MAX_TAG {
            return Err(format!(
                "a tag is longer than {MAX_TAG} bytes, or does not end; put long texts outside of \
                 tags or into variables"
            ));
        }
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(open) if c == open => {
                quote = None;
                code.push('"');
            }
            Some(_) => {}
            None => {
                let behind = body.get(offset..).unwrap_or_default();
                if let Some(rest) = behind.strip_prefix(end) {
                    return Ok(Tag { code, rest });
                }
                match c {
                    '"' | '\'' => quote = Some(c),
                    '{' | '}' => return Err("braces are not accepted inside of a tag".to_owned()),
                    '*' => {
                        return Err("`*` is not accepted; `a|times(b)` multiplies".to_owned());
                    }
                    _ => {}
                }
                code.push(c);
            }
        }
    }
    Err("a tag does not end".to_owned())
}

fn check_joins(code: &str) -> Result<(), String> {
    if code.bytes().filter(|byte| matches!(byte, b'~' | b'+')).count() > MAX_JOINS {
        return Err(format!("more than {MAX_JOINS} of `~` and `+` in one tag"));
    }
    Ok(())
}

fn check_statement(code: &str) -> Result<(), String> {
    // The marks of `{%-` and `-%}` control blanks; they are no part of the statement.
    let code = code.strip_prefix(['-', '+']).unwrap_or(code);
    let code = code.strip_suffix(['-', '+']).unwrap_or(code);
    let mut words =
        code.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|w| !w.is_empty());
    let statement = words.next().unwrap_or_default();
    if !STATEMENTS.contains(&statement) {
        return Err(format!("a statement is not accepted; accepted: {}", STATEMENTS.join(", ")));
    }
    if statement == "for" {
        if words.any(|word| word == "recursive") {
            return Err("`recursive` is not accepted".to_owned());
        }
        if code.contains(['~', '+', '[']) {
            return Err("`for` takes a variable and filters, and no `~`, `+` or `[`".to_owned());
        }
    }
    check_joins(code)
}

#[cfg(test)]
mod tests {
    use super::check;

    #[track_caller]
    fn refused(template: &str, reason: &str) {
        let refusal = check(template).expect_err(template);
        assert!(refusal.reason.contains(reason), "{template}: {refusal:?}");
    }

    #[test]
    fn what_could_make_values_grow_is_refused() {
        for statement in [
            "set x = 1",
            "- set x = 1",
            "macro f()",
            "with x = 1",
            "filter upper",
            "raw",
            "include 'a'",
            "call f()",
            "block b",
            "",
        ] {
            refused(&format!("{{%{statement} %}}"), "is not accepted");
        }
        refused("{% for x in y recursive %}", "recursive");
        refused("{% for x in [y, y] %}", "`for` takes");
        refused("{% for x in y ~ y %}", "`for` takes");
        refused("{{ 'a' * 9 }}", "`*`");
        refused(&format!("{{{{ {}a }}}}", "a~".repeat(9)), "more than 8");
        refused(&format!("{{{{ '{}' }}}}", "a".repeat(600)), "longer than");
    }

    #[test]
    fn a_tag_cannot_be_hidden() {
        refused("{# {{ ' #}{% set x = 1 %}{# ' }} #}", "a statement is not accepted");
        refused("{{ '}}' }}{% set x = 1 %}", "a statement is not accepted");
        refused(r"{{ '\'}}' }}{% set x = 1 %}", "a statement is not accepted");
        refused("{{ {'a': {'b': 1}} }}", "braces");
        refused("{{{ a }}}", "braces");
        refused("{{ ( }}{% set x = 1 %}", "a statement is not accepted");
        refused("{# ", "does not end");
        refused("{{ '", "does not end");
        refused("é{é{é{% sét %}", "a statement is not accepted");
    }

    #[test]
    fn ordinary_templates_pass() {
        for template in [
            "",
            "plain { text } %} }}",
            "{{ a }}",
            "{{- a -}}",
            "{{ '{{' }}",
            "{# comment {% set %} #}",
            "{% if a and b[0] %}x{% elif c %}y{%- else -%}z{% endif %}",
            "{% for k, v in map|items %}{{ k ~ '=' ~ v }}{% endfor %}",
            "{",
        ] {
            assert_eq!(check(template), Ok(()), "{template}");
        }
    }

    #[test]
    fn the_line_is_named() {
        let refusal = check("one\ntwo {{ a }}\n{% set x = 1 %}").expect_err("set");
        assert_eq!(refusal.line, 3);
    }
}
