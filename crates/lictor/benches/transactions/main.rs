//! What governed, durable, reversible changes cost, beside other ways to write the same files.
//!
//! `cargo bench -p lictor --bench transactions [-- PART…]`, on a real disk; `LICTOR_BENCH_DIR`
//! chooses it, and `LICTOR_BENCH_FILES` one number of files. Everything that is compared is done in turns, in one run. No name is used twice:
//! making files shortly after thousands were deleted is slow on ext4, and not what is measured.
#![expect(clippy::disallowed_methods, reason = "others are written bare, and by the clock")]
#![expect(clippy::print_stdout, reason = "a bench prints")]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a bench may fail loudly")]

mod crashes; // what somebody who died leaves to others
mod crowd; // many at once
mod files; // changing N files, ours and others
mod ours; // the library under test
mod tally; // medians and device flushes

use std::path::{Path, PathBuf};

/// A part of the bench: what it is called on the command line, and what it does.
type Part = (&'static str, fn(&Path));

const PARTS: [Part; 6] = [
    ("write", files::one_write),
    ("files", files::against_others),
    ("tree", files::against_tree_size),
    ("crowd", crowd::sixteen),
    ("lock", crashes::lock_of_the_dead),
    ("recovery", crashes::ten_thousand),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [child, folder] = arguments.as_slice()
        && crashes::is_child(child, Path::new(folder))
    {
        return;
    }
    let wanted: Vec<_> = arguments.iter().filter(|word| !word.starts_with("--")).collect();
    let base = std::env::var_os("LICTOR_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let scratch = tempfile::Builder::new().prefix("lictor-bench").tempdir_in(base).unwrap();
    for (name, part) in PARTS {
        if wanted.is_empty() || wanted.iter().any(|word| *word == name) {
            let folder = scratch.path().join(name);
            std::fs::create_dir(&folder).unwrap();
            part(&folder);
        }
    }
}
