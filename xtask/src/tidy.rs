//! The text of the repository: each rule is a function over the files, listed here.

use crate::model::Workspace;
use crate::report::Finding;
use crate::tree::Tree;
use crate::{guarantees, links, manifests, sources};

/// Every finding of every rule, by file and line.
pub(crate) fn check(workspace: &Workspace, tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for rule in [
        sources::headers,
        sources::lengths,
        sources::leftovers,
        sources::machine_paths,
        sources::registry_hosts,
        sources::sizes,
        links::resolve,
        guarantees::check,
    ] {
        findings.extend(rule(tree));
    }
    for rule in [
        manifests::readme,
        manifests::description,
        manifests::lints_inherited,
        manifests::rust_version,
    ] {
        findings.extend(rule(workspace, tree));
    }
    findings.sort();
    findings
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::model::Workspace;
    use crate::tree::tests::tree;

    #[test]
    fn findings_come_sorted_by_file_and_line() {
        let tree = tree(&[
            ("xtask/src/a.rs", "fn a() {}\n"),
            ("README.md", "[gone](gone.md)\n\n[lost](lost.md)\n"),
        ]);
        let lines: Vec<String> = check(&Workspace::default(), &tree)
            .iter()
            .map(|finding| format!("{}:{} {}", finding.file, finding.line, finding.rule))
            .collect();
        assert_eq!(lines, ["README.md:1 link", "README.md:3 link", "xtask/src/a.rs:1 header"]);
    }
}
