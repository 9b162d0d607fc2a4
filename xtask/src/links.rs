//! Relative links in Markdown lead to a file of the repository.

use crate::report::Finding;
use crate::tree::{Tree, has_extension};

/// Every relative link that leads nowhere.
pub(crate) fn resolve(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.texts().filter(|(path, _)| has_extension(path, "md")) {
        let dir = path.rsplit_once('/').map_or("", |(dir, _)| dir);
        for (line, target) in targets(text) {
            let found = join(dir, &target).is_some_and(|joined| tree.contains(&joined));
            if !found {
                findings.push(Finding::new(path, line, "link", format!(
                    "`{target}` is not in the repository: link to a tracked file, relative to this one"
                )));
            }
        }
    }
    findings
}

/// The relative targets of a page with their lines, without anchors and titles.
fn targets(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut fence: Option<&str> = None;
    for (idx, line) in text.lines().enumerate() {
        let start = line.trim_start();
        let mark = ["```", "~~~"].into_iter().find(|mark| start.starts_with(mark));
        match (fence, mark) {
            (None, Some(mark)) => fence = Some(mark),
            (Some(open), Some(mark)) if open == mark => fence = None,
            (None, None) => {
                let prose = without_code(line);
                let inline = prose.split("](").skip(1).filter_map(inline_target);
                found.extend(
                    inline
                        .chain(definition_target(&prose))
                        .filter_map(relative)
                        .map(|target| (idx + 1, target)),
                );
            }
            (Some(_), _) => {}
        }
    }
    found
}

/// The line with its code spans blanked out.
fn without_code(line: &str) -> String {
    let mut prose = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, after)) = rest.split_once('`') {
        prose.push_str(before);
        match after.split_once('`') {
            Some((_code, next)) => rest = next,
            None => rest = after,
        }
    }
    prose.push_str(rest);
    prose
}

/// `target "title") …` or `<target>) …`
fn inline_target(rest: &str) -> Option<&str> {
    if let Some(pointed) = rest.strip_prefix('<') {
        return pointed.split_once('>').map(|(target, _)| target);
    }
    let (target, _) = rest.split_once(')')?;
    target.split_whitespace().next()
}

/// `[name]: target`
fn definition_target(line: &str) -> Option<&str> {
    let (name, rest) = line.trim_start().strip_prefix('[')?.split_once("]:")?;
    if name.starts_with('^') || name.contains(']') {
        return None; // a footnote, or a colon after a link
    }
    rest.split_whitespace().next().map(|target| target.trim_matches(['<', '>']))
}

/// The path of a target that is neither elsewhere, nor on this page, nor a Rust path.
fn relative(target: &str) -> Option<String> {
    let has_scheme = target
        .split_once(':')
        .is_some_and(|(scheme, _)| scheme.chars().all(|c| c.is_ascii_alphanumeric()));
    if has_scheme || target.starts_with("//") || target.contains("::") {
        return None;
    }
    let path = target.split(['#', '?']).next().unwrap_or("");
    (!path.is_empty()).then(|| path.replace("%20", " "))
}

/// The target seen from the root; nothing if it leaves the repository.
fn join(dir: &str, target: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    if target.starts_with('/') {
        return None;
    }
    for part in dir.split('/').chain(target.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::resolve;
    use crate::tree::tests::tree;

    /// Which lines of `docs/page.md` have a link that leads nowhere.
    #[track_caller]
    fn check(page: &str, expect: &[usize]) {
        let tree = tree(&[
            ("README.md", ""),
            ("docs/page.md", page),
            ("docs/errors/LOCK-001.md", ""),
            ("docs/a b.md", ""),
        ]);
        let lines: Vec<usize> = resolve(&tree).iter().map(|finding| finding.line).collect();
        assert_eq!(lines, expect, "{page}");
    }

    #[test]
    fn links_to_files_and_directories_resolve() {
        check(
            "[a](../README.md) and [b](errors/) and [c](./errors/LOCK-001.md#what \"title\")",
            &[],
        );
        check("[a](<a b.md>) ![b](a%20b.md) [c]\n\n[c]: ../README.md", &[]);
        check("[`code`](errors)", &[]);
    }

    #[test]
    fn links_to_nothing_are_found() {
        check("[a](gone.md)", &[1]);
        check("ok\n[a](../README.md), [b](README.md)", &[2]);
        check("[`code`](gone.md)", &[1]);
        check("[a]: gone.md", &[1]);
        check("[a](../../README.md)", &[1]);
        check("[a](/README.md)", &[1]);
        check("[a](errors/lock-001.md)", &[1]);
    }

    #[test]
    fn what_is_not_a_relative_link_is_left_alone() {
        check("[a](https://example.org/x) [b](mailto:a@example.org) [c](#here)", &[]);
        check("[a](crate::Runtime)\n\n[a]: lictor_lock::Lease\n[^1]: a footnote", &[]);
        check("`[a](gone.md)`\n```text\n[a](gone.md)\n```\n~~~\n```\n[a](gone.md)\n~~~", &[]);
    }

    #[test]
    fn after_a_code_block_links_count_again() {
        check("```\n[a](gone.md)\n```\n[a](gone.md)", &[4]);
    }
}
