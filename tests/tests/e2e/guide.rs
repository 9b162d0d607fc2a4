//! The guide: every command of it is run, and its output is what stands there.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::binary::binary;
use crate::place::Place;

/// One command of a page, and what follows it.
struct Step {
    line: usize,
    command: String,
    code: i32,
    output: Vec<String>,
}

/// A fenced block of a page.
enum Block {
    /// Commands, to be run one by one.
    Console(Vec<Step>),
    /// A file of the workspace.
    File { path: String, content: String },
    /// Lines of a file of the repository, which is compiled and run there.
    Quote { from: String, content: String },
    /// Something to look at.
    Text,
}

fn guide() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("docs")
}

fn blocks(page: &str, text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        let Some(info) = line.strip_prefix("```") else { continue };
        let body: Vec<(usize, &str)> =
            lines.by_ref().take_while(|(_, line)| !line.starts_with("```")).collect();
        let content = || {
            body.iter().fold(String::new(), |mut text, (_, line)| {
                writeln!(text, "{line}").unwrap();
                text
            })
        };
        let named = |key| info.split_whitespace().find_map(|word| word.strip_prefix(key));
        blocks.push(match (info, named("file="), named("from=")) {
            (_, Some(path), None) => Block::File { path: path.to_owned(), content: content() },
            (_, None, Some(from)) => Block::Quote { from: from.to_owned(), content: content() },
            ("console", None, None) => Block::Console(steps(&body)),
            ("text", None, None) => Block::Text,
            _ => panic!("{page}:{}: `{info}` is not console, text, a file or a quote", at + 1),
        });
    }
    blocks
}

fn steps(body: &[(usize, &str)]) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for (at, line) in body {
        if let Some(command) = line.strip_prefix("$ ") {
            let command = command.to_owned();
            steps.push(Step { line: at + 1, command, code: 0, output: Vec::new() });
            continue;
        }
        let step = steps.last_mut().expect("a command comes first");
        if let Some(more) = line.strip_prefix("> ") {
            write!(step.command, "\n{more}").unwrap();
        } else if let Some(code) = line.strip_prefix("? ") {
            step.code = code.parse().unwrap();
        } else {
            step.output.push((*line).to_owned());
        }
    }
    steps
}

/// `...` stands for any number of lines.
fn same_lines(expected: &[String], found: &[&str]) -> bool {
    match expected.split_first() {
        None => found.is_empty(),
        Some((line, rest)) if line == "..." => {
            (0..=found.len()).any(|skipped| same_lines(rest, &found[skipped..]))
        }
        Some((line, rest)) => found
            .split_first()
            .is_some_and(|(first, found)| same_line(line, first) && same_lines(rest, found)),
    }
}

/// `[..]` stands for any text.
fn same_line(expected: &str, found: &str) -> bool {
    let mut parts = expected.trim_end().split("[..]");
    let first = parts.next().unwrap_or_default();
    let Some(mut left) = found.trim_end().strip_prefix(first) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return left.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return left.ends_with(part);
        }
        let Some(at) = left.find(part) else { return false };
        left = &left[at + part.len()..];
    }
    true
}

fn run(place: &Place, bin: &Path, page: &str, step: &Step) {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(&step.command).current_dir(&place.root).stdin(Stdio::null()).env_clear();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let home = place.home();
    shell.env("PATH", path).env("HOME", &home).env("LC_ALL", "C").env("TZ", "UTC");
    shell.env("XDG_STATE_HOME", home.join("state")).env("XDG_CONFIG_HOME", home.join("config"));
    let output = shell.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8(text).unwrap();
    let found: Vec<&str> = text.lines().collect();
    let at = format!("docs/guide/{page}:{}: {}\n{text}", step.line, step.command);
    assert_eq!(output.status.code(), Some(step.code), "{at}");
    assert!(step.output.is_empty() || same_lines(&step.output, &found), "{at}");
}

#[track_caller]
fn page(name: &str) {
    let place = Place::bare();
    let bin = place.beside("bin");
    fs::create_dir(&bin).unwrap();
    symlink(binary(), bin.join("lictor")).unwrap();
    let text = fs::read_to_string(guide().join("guide").join(name)).unwrap();
    for block in blocks(name, &text) {
        match block {
            Block::Console(steps) => steps.iter().for_each(|step| run(&place, &bin, name, step)),
            Block::File { path, content } => {
                let path = place.root.join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, content).unwrap();
            }
            Block::Quote { from, content } => {
                let source = fs::read_to_string(guide().parent().unwrap().join(&from)).unwrap();
                assert!(source.contains(&content), "{name}: {from} does not say\n{content}");
            }
            Block::Text => {}
        }
    }
}

macro_rules! pages {
    ($($test:ident: $file:literal,)*) => {
        $(#[test]
        fn $test() {
            page($file);
        })*

        const PAGES: &[&str] = &[$($file),*];
    };
}

pages! {
    the_introduction_holds: "introduction.md",
    getting_started_holds: "getting-started.md",
    concepts_hold: "concepts.md",
    capabilities_hold: "capabilities.md",
    writing_a_skill_holds: "skills.md",
    policies_by_example_hold: "policies.md",
    approvals_hold: "approvals.md",
    workflows_hold: "workflows.md",
    mcp_holds: "mcp.md",
    undo_holds: "undo.md",
    the_trail_holds: "trail.md",
    embedding_holds: "embedding.md",
    operations_hold: "operations.md",
    the_threat_model_holds: "threat-model.md",
    error_codes_hold: "error-codes.md",
}

#[test]
fn every_page_of_the_guide_is_run_and_is_in_the_book() {
    let summary = fs::read_to_string(guide().join("SUMMARY.md")).unwrap();
    let mut found: Vec<String> = fs::read_dir(guide().join("guide"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    found.sort_unstable();
    let mut run: Vec<&str> = PAGES.to_vec();
    run.sort_unstable();
    assert_eq!(found, run);
    for name in found {
        assert!(summary.contains(&format!("(guide/{name})")), "{name} is not in SUMMARY.md");
    }
}

#[test]
fn outputs_are_compared_line_by_line() {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let same = |expected: &str, found: &str| {
        same_lines(&lines(expected), &found.lines().collect::<Vec<_>>())
    };
    assert!(same("a\n...\nd", "a\nb\nc\nd") && same("x [..] y", "x 1 2 y") && same("...", ""));
    assert!(!same("a", "a\nb") && !same("x [..] y", "x 1 z") && !same("a\n...\nd", "a\nb"));
    assert!(!same("[..]b", "ba") && same("[..]b", "ab") && !same("ab", "a"));
}
