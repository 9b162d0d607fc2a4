//! Which guarantee is proven by which tests.
//!
//! The page names the guarantees, tests claim them: by their name, in a comment directly above
//! them, or in the header of their file, which then speaks for every test in it.

use std::collections::BTreeMap;

use crate::report::Finding;
use crate::tree::Tree;

/// The page that names the guarantees.
const PAGE: &str = "ARCHITECTURE.md";

/// The section of the page in which they stand.
const SECTION: &str = "## Invariants";

/// The tests that claim a guarantee.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Proof {
    file: String,
    test: String,
}

/// Every guarantee of the page must be claimed by a test.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let Some(page) = tree.file(PAGE).and_then(|file| file.text.as_deref()) else {
        return Vec::new();
    };
    let line = page.lines().position(|line| line.starts_with(SECTION)).map_or(1, |idx| idx + 1);
    let matrix = matrix(tree);
    let unproven = matrix.iter().filter(|(_, proofs)| proofs.is_empty());
    let unproven = unproven.map(|(guarantee, _)| {
        let advice = format!(
            "no test claims `{guarantee}`: name it in the test's name, above it, or in the header \
             of its file"
        );
        Finding::new(PAGE, line, "guarantee", advice)
    });
    unproven.collect()
}

/// The matrix as text: each guarantee with its tests, by file.
pub(crate) fn table(tree: &Tree) -> String {
    let mut text = String::new();
    for (guarantee, proofs) in matrix(tree) {
        let tests = if proofs.len() == 1 { "test" } else { "tests" };
        text.push_str(&format!("{guarantee}: {} {tests}\n", proofs.len()));
        let mut by_file: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for proof in proofs {
            by_file.entry(proof.file).or_default().push(proof.test);
        }
        for (file, tests) in by_file {
            text.push_str(&format!("  {file}\n"));
            for test in tests {
                text.push_str(&format!("    {test}\n"));
            }
        }
    }
    text
}

/// The guarantees in the order of the page, each with its proofs.
fn matrix(tree: &Tree) -> Vec<(String, Vec<Proof>)> {
    let page = tree.file(PAGE).and_then(|file| file.text.as_deref()).unwrap_or_default();
    let mut matrix: Vec<(String, Vec<Proof>)> =
        named(page).into_iter().map(|guarantee| (guarantee, Vec::new())).collect();
    for (path, text) in tree.rust() {
        let header: Vec<&str> = text.lines().take_while(|line| line.starts_with("//!")).collect();
        for test in tests(text) {
            for (guarantee, proofs) in &mut matrix {
                let quoted = format!("`{guarantee}`");
                let claims = test.name.contains(guarantee.as_str())
                    || test.above.contains(&quoted)
                    || header.iter().any(|line| line.contains(&quoted));
                if claims {
                    proofs.push(Proof { file: path.to_owned(), test: test.name.to_owned() });
                }
            }
        }
    }
    matrix
}

/// The names in backticks of the page's section.
fn named(page: &str) -> Vec<String> {
    let section = page.lines().skip_while(|line| !line.starts_with(SECTION)).skip(1);
    let section = section.take_while(|line| !line.starts_with("## "));
    let mut names = Vec::new();
    for line in section {
        for (idx, piece) in line.split('`').enumerate() {
            let is_name = piece.contains('_')
                && piece.chars().all(|c| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit());
            if idx % 2 == 1 && is_name {
                names.push(piece.to_owned());
            }
        }
    }
    names
}

/// A test function.
struct Test<'a> {
    name: &'a str,
    /// Its comments and attributes.
    above: String,
}

/// The test functions of a file, with what stands directly above each.
fn tests(text: &str) -> Vec<Test<'_>> {
    let mut tests = Vec::new();
    let mut above: Vec<&str> = Vec::new();
    for line in text.lines() {
        let line = line.trim_start();
        if line.starts_with("//") || line.starts_with("#[") {
            above.push(line);
        } else if !line.is_empty() {
            if let Some(name) = function(line).filter(|_| above.iter().any(|line| is_test(line))) {
                tests.push(Test { name, above: above.join("\n") });
            }
            above.clear();
        }
    }
    tests
}

fn is_test(line: &str) -> bool {
    line.starts_with("#[test]") || line.starts_with("#[tokio::test")
}

/// The name of the function that begins on this line.
fn function(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ")?;
    let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_'))?;
    rest.get(..end)
}

#[cfg(test)]
mod tests {
    use super::{check, table};
    use crate::tree::tests::tree;

    const PAGE: &str = "# A\n\n`not_one`\n\n## Invariants, by name\n\n`one_writer` · `all_or_nothing`\n`a word`\n\n## B\n\n`nor_this`\n";

    #[test]
    fn a_test_claims_by_name_comment_or_header() {
        let tree = tree(&[
            ("ARCHITECTURE.md", PAGE),
            (
                "crates/a/tests/it/x.rs",
                "//! `one_writer`: really.\n\n#[test]\nfn two() {}\n\nfn no() {}\n",
            ),
            (
                "crates/b/tests/it/y.rs",
                "//! Y.\n\n/// `one_writer`, and more.\n#[tokio::test]\nasync fn three() {}\n\n    #[test]\n    fn all_or_nothing_holds() {}\n",
            ),
        ]);
        assert_eq!(
            table(&tree),
            "one_writer: 2 tests\n  crates/a/tests/it/x.rs\n    two\n  crates/b/tests/it/y.rs\n    three\n\
             all_or_nothing: 1 test\n  crates/b/tests/it/y.rs\n    all_or_nothing_holds\n"
        );
        assert!(check(&tree).is_empty());
    }

    #[test]
    fn a_guarantee_without_a_test_is_found() {
        let code = "//! X.\n\n// `all_or_nothing` is claimed by what is no test.\nfn helper() {}\n\n#[test]\nfn one_writer() {}\n";
        let findings = check(&tree(&[("ARCHITECTURE.md", PAGE), ("crates/a/tests/it/x.rs", code)]));
        let found: Vec<String> = findings.iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), 1);
        assert!(found.iter().all(|text| {
            text.starts_with("ARCHITECTURE.md:5: guarantee: no test claims `all_or_nothing`")
        }));
    }
}
