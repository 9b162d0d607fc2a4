//! What the pages name in their sentences is there: verbs and flags of the command, files of crates.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::binary::binary;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The pages that people go by. Decisions tell what was thought then.
fn pages() -> Vec<PathBuf> {
    let mut pages: Vec<PathBuf> = ["README.md", "SECURITY.md", "STABILITY.md", "CONTRIBUTING.md"]
        .map(|page| root().join(page))
        .to_vec();
    for folder in ["docs", "docs/guide"] {
        let entries = fs::read_dir(root().join(folder)).unwrap();
        pages.extend(entries.map(|entry| entry.unwrap().path()));
    }
    pages.extend(crates().into_iter().map(|folder| folder.join("README.md")));
    pages.retain(|page| page.extension().is_some_and(|ending| ending == "md"));
    pages
}

fn crates() -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join("crates")).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// The commands that stand in the sentences of a page, and in blocks that nothing runs.
fn named(text: &str) -> Vec<String> {
    let (mut sentences, mut found) = (String::new(), Vec::new());
    let mut block: Option<&str> = None;
    for line in text.lines() {
        match (line.strip_prefix("```"), block) {
            (Some(info), None) => block = Some(info),
            (Some(_), Some(_)) => block = None,
            (None, Some("text")) => found.push(line.to_owned()),
            (None, Some(_)) => {}
            (None, None) => {
                sentences.push_str(line.trim());
                sentences.push(if line.trim().is_empty() { '\n' } else { ' ' });
            }
        }
    }
    let quoted = sentences.lines().flat_map(|paragraph| paragraph.split('`').skip(1).step_by(2));
    found.extend(quoted.map(str::to_owned));
    found.retain(|command| command.starts_with("lictor "));
    found
}

/// The help of verbs, each asked for once.
#[derive(Default)]
struct Help(BTreeMap<Vec<String>, String>);

impl Help {
    fn of(&mut self, verbs: &[String]) -> &str {
        self.0.entry(verbs.to_vec()).or_insert_with(|| {
            let mut command = Command::new(binary());
            let asked = command.args(verbs).arg("--help").stdin(Stdio::null()).output().unwrap();
            assert!(asked.status.success(), "{verbs:?}");
            String::from_utf8(asked.stdout).unwrap()
        })
    }

    fn has_verb(&mut self, verbs: &[String], next: &str) -> bool {
        let commands = self.of(verbs).split("Commands:").nth(1).unwrap_or_default();
        let mut names = commands.lines().filter_map(|line| line.split_whitespace().next());
        names.any(|name| name == next)
    }

    /// What a command names that is not there.
    fn missing(&mut self, command: &str) -> Option<String> {
        let mut words = command.split_whitespace().skip(1).peekable();
        // It takes a verb, and has no help of its own.
        words.next_if_eq(&"help");
        let mut verbs = Vec::new();
        while let Some(word) = words.next_if(|word| self.has_verb(&verbs, word)) {
            verbs.push(word.to_owned());
        }
        if verbs.is_empty() {
            let verb = words.next().filter(|word| *word != "VERB");
            return verb.map(|word| format!("the verb `{word}`"));
        }
        let flags = words.take_while(|word| *word != "--").filter(|word| word.starts_with("--"));
        for flag in flags {
            let fits = |c: char| c.is_ascii_lowercase() || c == '-';
            let flag: String = flag.chars().take_while(|c| fits(*c)).collect();
            let known = |help: &str| help.split(|c: char| !fits(c)).any(|word| word == flag);
            if !known(self.of(&verbs)) {
                return Some(format!("the flag `{flag}` of `{}`", verbs.join(" ")));
            }
        }
        None
    }
}

#[test]
fn every_command_that_a_page_names_is_there() {
    let (mut help, mut n_named, mut wrong) = (Help::default(), 0, Vec::new());
    for page in pages() {
        for command in named(&fs::read_to_string(&page).unwrap()) {
            n_named += 1;
            let missing = help.missing(&command);
            let told = |what: String| format!("{}: `{command}`: {what}", page.display());
            wrong.extend(missing.map(told));
        }
    }
    assert!(wrong.is_empty(), "not there:\n{}", wrong.join("\n"));
    assert!(n_named >= 80, "{n_named}");
}

#[test]
fn what_is_not_there_is_found() {
    let mut help = Help::default();
    for command in
        ["lictor undo --nothing", "lictor frob", "lictor approvals show ID --grant", "lictor --all"]
    {
        assert!(help.missing(command).is_some(), "{command}");
    }
    for command in ["lictor undo --last 5", "lictor mcp wrap NAME -- npx --any", "lictor help VERB"]
    {
        assert_eq!(help.missing(command), None, "{command}");
    }
    let page = "a `lictor undo`, `x`\nand `lictor\nlog`\n```text\nlictor show\n```\n```sh\nlictor no\n```\n";
    assert_eq!(named(page), ["lictor show", "lictor undo", "lictor log"]);
}

#[test]
fn every_crate_holds_the_changelog() {
    let changelog = root().join("CHANGELOG.md").canonicalize().unwrap();
    for folder in crates() {
        let own = folder.join("CHANGELOG.md").canonicalize();
        assert_eq!(own.ok().as_ref(), Some(&changelog), "{}", folder.display());
    }
}

#[test]
fn every_task_that_a_page_names_is_there() {
    let usage = fs::read_to_string(root().join("xtask/src/args.rs")).unwrap();
    let known = |task: &str| {
        usage.split(|c: char| !(c.is_ascii_lowercase() || c == '-')).any(|word| word == task)
    };
    let mut n_named = 0;
    for page in pages() {
        for after in fs::read_to_string(&page).unwrap().split("cargo xtask ").skip(1) {
            let fits = |c: &char| c.is_ascii_lowercase() || *c == '-';
            let task: String = after.chars().take_while(fits).collect();
            assert!(known(&task), "{}: `cargo xtask {task}` is no task", page.display());
            n_named += 1;
        }
    }
    assert!(n_named >= 15, "{n_named}");
}
