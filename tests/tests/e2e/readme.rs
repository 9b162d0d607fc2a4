//! What the READMEs show: their commands are run, their other blocks are held against what they quote.
//! The guide has tests of its own, and Rust in the READMEs of crates is compiled with their documentation.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::binary::binary;
use crate::place::Place;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The fenced blocks of a page: what they say they are, and what they hold.
fn blocks(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(info) = line.strip_prefix("```") else { continue };
        let body: Vec<&str> = lines.by_ref().take_while(|line| !line.starts_with("```")).collect();
        found.push((info.to_owned(), body.join("\n") + "\n"));
    }
    found
}

fn blocks_of(path: &str, kind: &str) -> Vec<String> {
    let all = blocks(&read(path)).into_iter();
    let found: Vec<String> = all.filter(|(info, _)| info == kind).map(|(_, body)| body).collect();
    assert!(!found.is_empty(), "{path} has no block that is {kind}");
    found
}

/// Runs `$ lictor …` lines in a place, one after the other. A remark that begins with `denied` says that
/// and why; any other is for the reader. What names no workspace of its own, or serves, is looked up only.
fn run_commands(place: &Place, path: &str) -> usize {
    let bin = place.beside("bin");
    fs::create_dir(&bin).unwrap();
    std::os::unix::fs::symlink(binary(), bin.join("lictor")).unwrap();
    let search = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let mut n_run = 0;
    for line in blocks_of(path, "console").iter().flat_map(|block| block.lines()) {
        let line = line.strip_prefix("$ ").unwrap_or_else(|| panic!("{path}: {line}"));
        let (command, remark) = line.split_once(" # ").unwrap_or((line, ""));
        let command = match command.trim() {
            command if command.contains(" mcp ") || command.contains(" EXECUTION") => {
                let verbs = command.split_once("lictor ").unwrap().1.split(' ');
                let verbs: Vec<&str> =
                    verbs.take_while(|word| word.chars().all(char::is_lowercase)).collect();
                format!("lictor {} --help", verbs.join(" "))
            }
            command => command.to_owned(),
        };
        if !command.starts_with("lictor ") {
            continue;
        }
        let home = place.home();
        let ran = Command::new("sh")
            .args(["-c", &command])
            .current_dir(&place.root)
            .stdin(Stdio::null())
            .env_clear()
            .env("PATH", &search)
            .env("XDG_STATE_HOME", home.join("state"))
            .env("XDG_CONFIG_HOME", home.join("config"))
            .env("HOME", home)
            .output()
            .unwrap();
        let said = String::from_utf8([ran.stdout, ran.stderr].concat()).unwrap();
        let code = if remark.trim().starts_with("denied") { 3 } else { 0 };
        assert_eq!(ran.status.code(), Some(code), "{path}: {line}\n{said}");
        if let Some(why) = remark.trim().strip_prefix("denied: ") {
            assert!(said.contains(why), "{path}: {line}\n{said}");
        }
        n_run += 1;
    }
    n_run
}

fn with_patch() -> Place {
    let place = Place::bare();
    place.write("notes.md", "old\n");
    place.write("fix.patch", "--- a/notes.md\n+++ b/notes.md\n@@ -1 +1 @@\n-old\n+new\n");
    place
}

#[test]
fn the_commands_of_the_readme_do_what_stands_beside_them() {
    assert!(run_commands(&with_patch(), "README.md") >= 6);
}

#[test]
fn the_commands_of_the_readme_of_the_command_work() {
    let place = with_patch();
    place.write(
        "release.workflow.yaml",
        "id: release\nversion: 1.0.0\ntitle: Release\ninput: { type: object }\nsteps:\n  - id: note\n    \
         use: fs.write\n    with: { path: VERSION, content: \"{{ input.version }}\" }\n",
    );
    assert!(run_commands(&place, "crates/cli/README.md") >= 9);
}

/// A few lines of an example that is compiled and run with the documentation of its crate.
#[test]
fn the_program_of_the_readme_stands_in_a_compiled_example() {
    let compiled = blocks_of("crates/lictor/README.md", "rust").concat();
    for line in blocks_of("README.md", "rust,ignore").iter().flat_map(|block| block.lines()) {
        assert!(compiled.lines().any(|compiled| compiled == line), "not compiled: {line}");
    }
}

#[test]
fn the_documents_of_the_readme_of_the_gate_are_accepted() {
    let place = Place::new();
    // The base point of the curve: some key.
    let key = "ed25519:WGZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmY=";
    for block in blocks_of("crates/governance/README.md", "yaml") {
        let block = block.replace("ed25519:…", key);
        if block.starts_with("cases:") {
            place.policy(
                "version: 1\ndefault: allow\nrules:\n  - name: no-deletes-without-review\n    \
                 when: { effect: fs.delete }\n    verdict: need_approval\n",
            );
            let cases = place.document("gate.policy-test.yaml", block);
            assert_eq!(place.run(&["policy", "test", "--cases", &cases]).done()["failed"], 0);
        } else {
            let file = place.document("policy.yaml", format!("version: 1\n{block}"));
            place.run(&["policy", "lint", &file]).done();
        }
    }
}

#[cfg(feature = "cedar")]
#[test]
fn the_cedar_of_the_readme_of_the_gate_is_accepted() {
    let place = Place::new();
    place.write(
        ".lictor/policies/roles.yaml",
        "roles: { developer: [\"user:ann\", \"agent:planner\"] }\n",
    );
    for (at, block) in blocks_of("crates/governance/README.md", "cedar").iter().enumerate() {
        let file = place.document(&format!("{at}.cedar"), block);
        place.run(&["policy", "lint", &file]).done();
    }
}

/// The report is written by a program, and what it says of a missed goal stands beside the row.
#[test]
fn every_goal_that_is_missed_has_its_paragraph() {
    let page = read("docs/benchmarks.md");
    let missed = page.lines().filter(|line| line.contains("**not met**"));
    let (_, why) = page.split_once("## What is missed, and why").unwrap_or_default();
    for row in missed {
        let what = row.split('|').nth(1).unwrap().trim();
        let said = why.lines().find_map(|line| line.strip_prefix(&format!("- **{what}.**")));
        assert!(said.is_some_and(|said| said.len() > 40), "nothing is said of `{what}`: {said:?}");
    }
}

/// Which blocks stand where. One of another kind needs a test, and then a line here.
#[test]
fn no_block_of_a_page_goes_without_a_test() {
    let mut pages = vec!["README.md".to_owned()];
    for page in ["ARCHITECTURE", "CHANGELOG", "CONTRIBUTING", "SECURITY", "STABILITY"] {
        pages.push(format!("{page}.md"));
    }
    for folder in ["docs", "docs/decisions", "crates", "examples"] {
        for entry in fs::read_dir(root().join(folder)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            match folder {
                "crates" | "examples" => pages.push(format!("{folder}/{name}/README.md")),
                _ if name.ends_with(".md") => pages.push(format!("{folder}/{name}")),
                _ => {}
            }
        }
    }
    for page in pages.iter().filter(|page| root().join(page).is_file()) {
        let decision = page.starts_with("docs/decisions/");
        for (info, body) in blocks(&read(page)) {
            let known = match (page.as_str(), info.as_str()) {
                (_, "text") => true,
                // What was thought then is not held to what is now.
                (_, _) if decision => true,
                ("README.md", "console" | "rust,ignore") | ("crates/cli/README.md", "console") => {
                    true
                }
                ("crates/governance/README.md", "yaml" | "cedar") => true,
                ("CONTRIBUTING.md", "sh") => {
                    let usage = read("xtask/src/args.rs");
                    let wanted = body.lines().filter_map(|line| line.strip_prefix("cargo xtask "));
                    let mut words = wanted.filter_map(|line| line.split(' ').next());
                    words.all(|word| usage.contains(word))
                }
                (page, "rust" | "rust,no_run") => page.starts_with("crates/"),
                _ => false,
            };
            assert!(known, "{page}: no test runs its block `{info}`:\n{body}");
        }
    }
}
