//! Whether a URI is one of a template (RFC 6570): nothing is read that no template lets in.

use std::collections::BTreeSet;

/// A longer URI is none.
const MAX_URI: usize = 2048;

/// Whether something can stand in the places of a template so that it becomes this URI.
pub(crate) fn fits(template: &str, uri: &str) -> bool {
    let Some(parts) = parts(template) else { return false };
    // A path that climbs, or what only looks like another one, is none that anybody let in.
    let climbs = uri.split(['/', '?', '#']).any(|part| {
        let part = part.to_ascii_lowercase().replace("%2e", ".");
        part == ".." || part == "."
    });
    uri.len() <= MAX_URI && !climbs && !uri.chars().any(char::is_control) && matches(&parts, uri)
}

enum Part<'a> {
    Literal(&'a str),
    /// A value within one segment.
    Segment,
    /// One that may hold separators.
    Anything,
    /// One that may be missing, and else begins so.
    Begun(char),
}

fn parts(template: &str) -> Option<Vec<Part<'_>>> {
    let (mut parts, mut rest) = (Vec::new(), template);
    while let Some((literal, after)) = rest.split_once('{') {
        let (expression, after) = after.split_once('}')?;
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        parts.push(match expression.chars().next()? {
            '+' | '#' => Part::Anything,
            begun @ ('?' | '&' | '/' | ';' | '.') => Part::Begun(begun),
            _ => Part::Segment,
        });
        rest = after;
    }
    if rest.contains('}') {
        return None;
    }
    if !rest.is_empty() {
        parts.push(Part::Literal(rest));
    }
    Some(parts)
}

/// Goes through the parts with every place that can be reached: a hostile template costs no more than
/// any other.
fn matches(parts: &[Part<'_>], uri: &str) -> bool {
    let mut reached = BTreeSet::from([0]);
    for part in parts {
        reached = reached.iter().flat_map(|from| next(part, uri, *from)).collect();
    }
    reached.contains(&uri.len())
}

/// Where a part can end that begins there.
fn next(part: &Part<'_>, uri: &str, from: usize) -> Vec<usize> {
    let rest = uri.get(from..).unwrap_or_default();
    let value = |allowed: &dyn Fn(char) -> bool| -> Vec<usize> {
        let taken = rest.chars().take_while(|c| allowed(*c));
        taken
            .scan(from, |at, c| {
                *at += c.len_utf8();
                Some(*at)
            })
            .collect()
    };
    match part {
        Part::Literal(literal) if rest.starts_with(literal) => vec![from + literal.len()],
        Part::Literal(_) => Vec::new(),
        Part::Segment => value(&|c| !matches!(c, '/' | '?' | '#')),
        Part::Anything => value(&|_| true),
        Part::Begun(begun) => {
            let mut ends = if rest.starts_with(*begun) { value(&|_| true) } else { Vec::new() };
            ends.push(from);
            ends
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_is_of_a_template_that_it_can_be_made_from() {
        for (template, uri) in [
            ("test://template/{id}/data", "test://template/123/data"),
            ("note://{name}", "note://a-b"),
            ("file:///{+path}", "file:///a/b/c.txt"),
            ("db://{table}{?limit,offset}", "db://users"),
            ("db://{table}{?limit,offset}", "db://users?limit=3"),
            ("x://{a}-{b}", "x://1-2-3"),
            ("plain://x", "plain://x"),
        ] {
            assert!(fits(template, uri), "{template} {uri}");
        }
    }

    #[test]
    fn nothing_else_is() {
        for (template, uri) in [
            ("test://template/{id}/data", "test://template//data"),
            ("test://template/{id}/data", "test://template/1/2/data"),
            ("test://template/{id}/data", "test://template/1/data/more"),
            ("note://{name}", "other://a"),
            ("file:///srv/{+path}", "file:///srv/../etc/passwd"),
            ("file:///srv/{+path}", "file:///srv/a/%2E%2e/x"),
            ("x://{a", "x://{a"),
            ("x://a}", "x://a}"),
            ("x://{}", "x://a"),
            ("plain://x", "plain://xy"),
        ] {
            assert!(!fits(template, uri), "{template} {uri}");
        }
    }
}
