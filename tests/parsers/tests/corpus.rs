//! The corpus of the fuzzer as an ordinary test.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may fail loudly, and says what it runs"
)]

use std::fs;
use std::path::{Path, PathBuf};

use lictor_parsers::TARGETS;

fn inputs(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), fs::read(&path).unwrap())).collect()
}

#[test]
fn every_input_of_the_corpus_keeps_what_is_claimed() {
    for (name, target) in TARGETS {
        let inputs = inputs(name);
        let mut accepted = 0;
        for (path, bytes) in &inputs {
            // The name comes first: when the claim fails, it has to be known which input it was.
            println!("{}", path.display());
            accepted += usize::from(target(bytes));
        }
        println!("{name}: {} inputs, {accepted} accepted", inputs.len());
        // A corpus of which nothing is accepted, or everything, shows only half of a parser.
        assert!(accepted > 0, "{name}: nothing is accepted");
        assert!(accepted < inputs.len(), "{name}: nothing is refused");
    }
}

#[test]
fn every_target_has_its_program_and_its_corpus() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
    let manifest = fs::read_to_string(fuzz.join("Cargo.toml")).unwrap();
    for (name, _) in TARGETS {
        let program = format!("fuzz_targets/{name}.rs");
        assert!(fuzz.join(&program).is_file(), "no {program}");
        assert!(manifest.contains(&format!("path = \"{program}\"")), "{program} is not named");
    }
}
