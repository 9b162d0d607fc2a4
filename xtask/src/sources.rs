//! Rules about single files: headers, lengths, leftovers, and what must not be written down.
//!
//! The needles are put together from pieces, so that this file does not find itself.

use crate::report::Finding;
use crate::tree::{Tree, has_extension};

const MAX_LINES: usize = 700;
const MAX_BYTES: u64 = 1 << 20;

/// Directories of source that is test data, not part of any crate.
const FIXTURES: [&str; 5] = ["compile-fail", "compile-pass", "data", "fixtures", "ui"];

/// Half-done work: the marker, what to do instead.
const LEFTOVERS: [(&str, &str); 4] = [
    (concat!("to", "do!("), "write it, or return an error that says what is missing"),
    (concat!("unimpl", "emented!("), "write it, or return an error that says what is missing"),
    (concat!("db", "g!("), "remove it, or emit a `tracing` event"),
    (concat!("FIX", "ME"), "mend it now, or open an issue and name it"),
];

/// Home directories of machines; `*` stands for one name.
const MACHINE_PATHS: [&str; 4] = [
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("/ho", "me/*/"),
    concat!("/Us", "ers/*/"),
];

/// Where packages come from is the business of whoever builds.
const REGISTRIES: [&str; 6] = [
    concat!("index.cra", "tes.io"),
    concat!("static.cra", "tes.io"),
    concat!("sparse", "+http"),
    concat!("registry", "+http"),
    concat!("replace", "-with"),
    concat!("[regis", "tries"),
];

/// The one source that Cargo writes into every `Cargo.lock`.
const LOCK_SOURCE: &str = concat!("registry", "+https://github.com/rust-lang/crates.io-index");

/// How a `lib.rs` may open instead: its README, whose examples are then compiled, is its header.
const README_HEADER: &str = "#![doc = include_str!(\"../README.md\")]";

/// Each source file opens by saying what it is for.
pub(crate) fn headers(tree: &Tree) -> Vec<Finding> {
    tree.rust()
        .filter(|(path, text)| is_source(path) && !has_header(path, text))
        .map(|(path, _)| {
            Finding::new(path, 1, "header", "open the file with `//!` and say what it is for")
        })
        .collect()
}

/// No source file is too long to read.
pub(crate) fn lengths(tree: &Tree) -> Vec<Finding> {
    tree.rust()
        .filter_map(|(path, text)| {
            let n_lines = text.lines().count();
            (n_lines > MAX_LINES).then(|| {
                Finding::new(
                    path,
                    MAX_LINES + 1,
                    "length",
                    format!("{n_lines} lines: split it by noun, {MAX_LINES} is the most"),
                )
            })
        })
        .collect()
}

/// Nothing half done is left in the source.
pub(crate) fn leftovers(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.rust() {
        for (idx, line) in text.lines().enumerate() {
            for (marker, instead) in LEFTOVERS {
                if has_word(line, marker) {
                    let advice = format!("`{}`: {instead}", marker.trim_end_matches('('));
                    findings.push(Finding::new(path, idx + 1, "leftover", advice));
                }
            }
        }
    }
    findings
}

/// No path of the machine it was written on.
pub(crate) fn machine_paths(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.texts() {
        for (idx, line) in text.lines().enumerate() {
            if let Some(found) = MACHINE_PATHS.iter().find_map(|needle| machine_path(line, needle))
            {
                findings.push(Finding::new(
                    path,
                    idx + 1,
                    "machine-path",
                    format!(
                        "`{found}` exists on one machine: use a path relative to the repository, a \
                     temporary directory, or `/srv/example/` for an example"
                    ),
                ));
            }
        }
    }
    findings
}

/// No registry, mirror or source replacement.
pub(crate) fn registry_hosts(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.texts() {
        let is_lock = path == "Cargo.lock" || path.ends_with("/Cargo.lock");
        for (idx, line) in text.lines().enumerate() {
            if is_lock && line.contains(&format!("\"{LOCK_SOURCE}\"")) {
                continue;
            }
            if let Some(found) = REGISTRIES.iter().find(|needle| line.contains(*needle)) {
                findings.push(Finding::new(
                    path,
                    idx + 1,
                    "registry",
                    format!(
                        "`{found}`: leave the registry to Cargo's default and to the builder's own \
                     configuration, outside the repository"
                    ),
                ));
            }
        }
    }
    findings
}

/// Nothing big is tracked.
pub(crate) fn sizes(tree: &Tree) -> Vec<Finding> {
    tree.files
        .iter()
        .filter(|file| file.size > MAX_BYTES)
        .map(|file| {
            Finding::new(
                &file.path,
                1,
                "size",
                format!("{} bytes: generate it, or shrink it below {MAX_BYTES}", file.size),
            )
        })
        .collect()
}

fn has_header(path: &str, text: &str) -> bool {
    text.starts_with("//!") || (path.ends_with("/src/lib.rs") && text.starts_with(README_HEADER))
}

/// Whether the file is code of ours, not data of a test.
fn is_source(path: &str) -> bool {
    if !has_extension(path, "rs") {
        return false;
    }
    let mut parts = path.split('/');
    let in_place = match parts.next() {
        Some("xtask" | "tests") => true,
        Some("crates") => matches!(parts.nth(1), Some("src" | "tests" | "benches" | "examples")),
        _ => false,
    };
    in_place && !is_fixture(path)
}

/// Whether the file lies in a directory of test data, below a `tests` directory.
fn is_fixture(path: &str) -> bool {
    let mut parts = path.split('/').skip_while(|part| *part != "tests");
    parts.any(|part| FIXTURES.contains(&part))
}

/// Whether the marker occurs other than as the end of a longer word.
fn has_word(line: &str, marker: &str) -> bool {
    line.match_indices(marker).any(|(at, _)| {
        let before = line.get(..at).and_then(|text| text.chars().next_back());
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
    })
}

/// The machine path on this line, if there is one.
fn machine_path(line: &str, needle: &str) -> Option<String> {
    let (head, tail) = match needle.split_once('*') {
        Some((head, tail)) => (head, Some(tail)),
        None => (needle, None),
    };
    line.match_indices(head).find_map(|(at, _)| {
        // Behind a name, a brace or a host it is no absolute path.
        let before = line.get(..at).and_then(|text| text.chars().next_back());
        if before.is_some_and(|c| c.is_alphanumeric() || "_-.~$*})>]".contains(c)) {
            return None;
        }
        let Some(tail) = tail else {
            return Some(head.to_owned());
        };
        let rest = line.get(at + head.len()..)?;
        let (name, _) = rest.split_once(tail)?;
        let is_name = !name.is_empty()
            && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
        is_name.then(|| format!("{head}{name}{tail}"))
    })
}

#[cfg(test)]
mod tests {
    use super::{
        LEFTOVERS, LOCK_SOURCE, MACHINE_PATHS, MAX_BYTES, MAX_LINES, REGISTRIES, headers,
        leftovers, lengths, machine_paths, registry_hosts, sizes,
    };
    use crate::report::Finding;
    use crate::tree::tests::tree;
    use crate::tree::{File, Tree};

    /// Where the rule finds something, as `file:line`.
    fn places(findings: &[Finding]) -> Vec<String> {
        findings.iter().map(|finding| format!("{}:{}", finding.file, finding.line)).collect()
    }

    #[test]
    fn a_source_file_opens_with_a_header() {
        let tree = tree(&[
            ("crates/a/src/good.rs", "//! Good."),
            ("crates/a/src/lib.rs", "#![doc = include_str!(\"../README.md\")]\n"),
            ("crates/a/src/other.rs", "#![doc = include_str!(\"../README.md\")]\n"),
            ("crates/a/src/data/bad.rs", "fn bad() {}"),
            ("crates/a/tests/it/main.rs", "mod bad;"),
            ("crates/a/tests/compile-fail/fine.rs", "fn main() {}"),
            ("crates/a/build.rs", "fn main() {}"),
            ("tests/src/bad.rs", ""),
            ("tests/ui/fine.rs", "fn main() {}"),
            ("xtask/src/bad.rs", "\n//! Too late."),
        ]);
        assert_eq!(
            places(&headers(&tree)),
            [
                "crates/a/src/data/bad.rs:1",
                "crates/a/src/other.rs:1",
                "crates/a/tests/it/main.rs:1",
                "tests/src/bad.rs:1",
                "xtask/src/bad.rs:1"
            ]
        );
    }

    #[test]
    fn a_source_file_has_an_end() {
        let (fits, long) = ("//\n".repeat(MAX_LINES), "//\n".repeat(MAX_LINES + 1));
        let tree = tree(&[("a.rs", &fits), ("b.rs", &long), ("c.md", &long)]);
        assert_eq!(places(&lengths(&tree)), ["b.rs:701"]);
    }

    #[test]
    fn leftovers_are_found() {
        for (marker, _) in LEFTOVERS {
            let text = format!("//! x\n\n    {marker}\n let my_{marker} = 1;\n");
            let tree = tree(&[("a.rs", &text), ("a.md", &text)]);
            assert_eq!(places(&leftovers(&tree)), ["a.rs:3"], "{marker}");
        }
    }

    #[test]
    fn machine_paths_are_found() {
        for needle in MACHINE_PATHS {
            let path = needle.replace('*', "ada");
            let text =
                format!("see\n`{path}x`\n\"file://{path}\"\nsrc{path}x ${{r}}{path} ~{path}\n");
            let tree = tree(&[("a.md", &text)]);
            assert_eq!(places(&machine_paths(&tree)), ["a.md:2", "a.md:3"], "{path}");
        }
        let placeholder = MACHINE_PATHS[2].replace('*', "<name>");
        assert!(machine_paths(&tree(&[("a.md", &placeholder)])).is_empty());
    }

    #[test]
    fn registries_are_found() {
        for needle in REGISTRIES {
            let text = format!("x\n{needle}s://example\n");
            assert_eq!(places(&registry_hosts(&tree(&[("a.toml", &text)]))), ["a.toml:2"]);
            assert_eq!(places(&registry_hosts(&tree(&[("Cargo.lock", &text)]))), ["Cargo.lock:2"]);
        }
        let lock = format!("source = \"{LOCK_SOURCE}\"\n");
        assert!(registry_hosts(&tree(&[("Cargo.lock", &lock)])).is_empty());
        assert_eq!(places(&registry_hosts(&tree(&[("a.md", &lock)]))), ["a.md:1"]);
    }

    #[test]
    fn big_files_are_found() {
        let file = |path: &str, size| File { path: path.to_owned(), size, text: None };
        let tree = Tree::new(vec![file("fits.bin", MAX_BYTES), file("big.bin", MAX_BYTES + 1)]);
        assert_eq!(places(&sizes(&tree)), ["big.bin:1"]);
    }
}
