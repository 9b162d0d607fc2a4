//! Rules about each crate as a package: what a user meets before the code.

use crate::model::{Package, Workspace};
use crate::report::Finding;
use crate::tree::Tree;

/// Each crate has a README, whose first paragraph says when to pick the crate.
pub(crate) fn readme(workspace: &Workspace, tree: &Tree) -> Vec<Finding> {
    let found = workspace.crates().filter_map(|package| {
        let path = format!("{}/README.md", package.dir());
        let Some(file) = tree.file(&path) else {
            let advice = format!("add `{path}`: what it is for, an example");
            return Some(Finding::new(&package.manifest, 1, "readme", advice));
        };
        let text = file.text.as_deref().unwrap_or_default();
        (!says_when(text)).then(|| {
            let advice = "say in the first paragraph when to pick it: \"Pick this crate when …\"";
            Finding::new(&path, 3, "readme", advice)
        })
    });
    found.collect()
}

/// Whether the paragraph below the title speaks of picking.
fn says_when(readme: &str) -> bool {
    let lines = readme.lines().skip_while(|line| line.starts_with('#') || line.trim().is_empty());
    let mut first = lines.take_while(|line| !line.trim().is_empty());
    first.any(|line| {
        line.split(|c: char| !c.is_alphabetic()).any(|word| word.eq_ignore_ascii_case("pick"))
    })
}

/// Each crate says in a sentence what it is.
pub(crate) fn description(workspace: &Workspace, _tree: &Tree) -> Vec<Finding> {
    workspace
        .crates()
        .filter(|package| package.description.as_deref().is_none_or(|text| text.trim().is_empty()))
        .map(|package| {
            Finding::new(&package.manifest, 1, "description", "add `description`, one sentence")
        })
        .collect()
}

/// Each member is under the workspace's lints.
pub(crate) fn lints_inherited(workspace: &Workspace, _tree: &Tree) -> Vec<Finding> {
    workspace
        .packages
        .iter()
        .filter(|package| !inherits_lints(package))
        .map(|package| {
            let advice = "add `[lints]` with `workspace = true`; exceptions go into the source, as \
                          `#[expect(…, reason = \"…\")]`";
            Finding::new(&package.manifest, 1, "lints", advice)
        })
        .collect()
}

/// The promised Rust version is the one that is tested.
pub(crate) fn rust_version(workspace: &Workspace, tree: &Tree) -> Vec<Finding> {
    const FILE: &str = "rust-toolchain.toml";
    const RULE: &str = "rust-version";
    let Some(text) = tree.file(FILE).and_then(|file| file.text.as_deref()) else {
        return Vec::new(); // then cargo takes what is there
    };
    let channel = text.lines().enumerate().find_map(|(idx, line)| {
        let value = line.trim().strip_prefix("channel")?.trim_start().strip_prefix('=')?;
        Some((idx + 1, value.trim().trim_matches('"')))
    });
    let Some((line, channel)) = channel else {
        return vec![Finding::new(FILE, 1, RULE, "name a `channel`, with all three numbers")];
    };
    workspace
        .packages
        .iter()
        .filter_map(|package| {
            let promised = package.rust_version.as_deref();
            if promised.is_some_and(|promised| same_version(promised, channel)) {
                return None;
            }
            let found = promised.unwrap_or("nothing");
            let advice = format!(
                "`{}` promises {found}, the tests run with {channel} ({FILE}:{line}): inherit \
                 `rust-version.workspace = true` and keep the two equal",
                package.name
            );
            Some(Finding::new(&package.manifest, 1, RULE, advice))
        })
        .collect()
}

/// `1.95` is `1.95.0`.
fn same_version(a: &str, b: &str) -> bool {
    let short =
        |version: &str| version.strip_suffix(".0").map_or(version.to_owned(), str::to_owned);
    let full = |version: &str| version.split('.').count() == 3;
    a == b || (full(a) != full(b) && (if full(a) { short(a) == b } else { short(b) == a }))
}

fn inherits_lints(package: &Package) -> bool {
    let mut table = "";
    package.manifest_text.lines().any(|line| {
        let line = line.split('#').next().unwrap_or("").trim();
        if line.starts_with('[') {
            table = line;
            return false;
        }
        let compact: String = line.chars().filter(|c| !c.is_whitespace()).collect();
        match table {
            "[lints]" => compact == "workspace=true",
            "" => compact == "lints.workspace=true",
            _ => false,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::{description, lints_inherited, readme, rust_version, same_version, says_when};
    use crate::model::{Package, Workspace};
    use crate::report::Finding;
    use crate::tree::tests::tree;

    fn workspace() -> Workspace {
        let good = Package {
            name: "good".to_owned(),
            manifest: "crates/good/Cargo.toml".to_owned(),
            manifest_text: "[package]\n\n[lints] # all of them\nworkspace = true\n".to_owned(),
            description: Some("Good.".to_owned()),
            rust_version: Some("1.95".to_owned()),
            ..Package::default()
        };
        let bad = Package {
            name: "bad".to_owned(),
            manifest: "crates/bad/Cargo.toml".to_owned(),
            manifest_text: "[dependencies.x]\nworkspace = true\n[lints]\n#workspace = true\n"
                .to_owned(),
            description: Some(" ".to_owned()),
            rust_version: Some("1.90".to_owned()),
            ..Package::default()
        };
        Workspace { packages: vec![bad, good], ..Workspace::default() }
    }

    #[track_caller]
    fn only_bad(findings: &[Finding], rule: &str) {
        let found: Vec<_> = findings.iter().map(|f| (f.file.as_str(), f.rule)).collect();
        assert_eq!(found, [("crates/bad/Cargo.toml", rule)]);
    }

    #[test]
    fn a_crate_has_a_readme() {
        let tree = tree(&[("crates/good/README.md", "# good\n\nPick it when it fits.\n")]);
        only_bad(&readme(&workspace(), &tree), "readme");
    }

    #[test]
    fn a_readme_says_at_once_when_to_pick_the_crate() {
        assert!(says_when("# a\n\nThe door:\npick this crate to enter.\n\nMore.\n"));
        assert!(!says_when("# a\n\nThe door.\n\nPick it.\n") && !says_when("# a\n\nUnpicked.\n"));
        assert!(!says_when(""));
    }

    #[test]
    fn a_crate_has_a_description() {
        only_bad(&description(&workspace(), &tree(&[])), "description");
    }

    #[test]
    fn lints_come_from_the_workspace() {
        only_bad(&lints_inherited(&workspace(), &tree(&[])), "lints");
    }

    #[test]
    fn the_promised_rust_is_the_tested_one() {
        let pinned = tree(&[("rust-toolchain.toml", "[toolchain]\nchannel = \"1.95.0\"\n")]);
        only_bad(&rust_version(&workspace(), &pinned), "rust-version");
        let nameless = rust_version(&workspace(), &tree(&[("rust-toolchain.toml", "[toolchain]")]));
        assert_eq!(nameless.len(), 1);
        assert!(rust_version(&workspace(), &tree(&[])).is_empty());
    }

    #[test]
    fn two_numbers_mean_the_first_patch() {
        assert!(same_version("1.95", "1.95.0") && same_version("1.95.0", "1.95"));
        assert!(same_version("1.95.1", "1.95.1") && same_version("1.95", "1.95"));
        assert!(!same_version("1.95", "1.95.1") && !same_version("1.9", "1.95.0"));
        assert!(!same_version("1.0", "1") && !same_version("1.95", "stable"));
    }
}
