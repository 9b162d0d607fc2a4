//! Random change sets: choices, and what they mean for the tree that they meet.

use lictor_capability::{Body, Change};
use lictor_context::Digest;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestError, TestRunner};

use crate::tree::{Node, Tree, chmod, create, delete, link, mkdir, mode, path, rename, rmdir};

pub(crate) const NAMES: [&str; 14] =
    ["a", "b", "c", "d", "a/a", "a/b", "b/a", "b/b", "c/a", "c/a/a", "d/x", "d/y", "e/e/e", "f"];

/// One random choice; what it means depends on the tree that it meets.
pub(crate) type Choice = (u8, u8, u8, u16);

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

#[track_caller]
pub(crate) fn check<S: Strategy>(
    cases: u32,
    strategy: S,
    test: impl Fn(S::Value) -> Result<(), TestCaseError>,
) where
    S::Value: std::fmt::Debug,
{
    let seed = number("LICTOR_SEED", 0x11c7);
    let cases = u32::try_from(number("LICTOR_CASES", cases.into())).unwrap_or(cases);
    let config = Config {
        cases,
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        ..Config::default()
    };
    eprintln!("seed {seed}, {cases} cases");
    match TestRunner::new(config).run(&strategy, test) {
        Ok(()) => {}
        Err(TestError::Fail(why, input)) => panic!("seed {seed}: {why}\nwith {input:#?}"),
        Err(error) => panic!("seed {seed}: {error}"),
    }
}

pub(crate) fn text(seed: u16) -> Vec<u8> {
    match seed % 5 {
        0 => Vec::new(),
        1 => vec![0, 255, u8::try_from(seed % 251).expect("small")],
        _ => format!("text {seed}\n").into_bytes(),
    }
}

pub(crate) fn some_mode(seed: u16, of: [u32; 3]) -> u32 {
    of[usize::from(seed % 3)]
}

/// Whether something can arrive at a path: each folder above it is there by then, or will be made.
fn open_above(tree: &Tree, at: &str, leaving: &[String], arriving: &[String]) -> bool {
    path(at).ancestors().all(|parent| {
        let parent = parent.to_string();
        match tree.get(&parent) {
            Some(Node::Directory { .. }) => !leaving.contains(&parent),
            Some(Node::File { .. }) => leaving.contains(&parent) && !arriving.contains(&parent),
            // Behind a link nothing is looked at, even when the link goes.
            Some(Node::Link { .. }) => false,
            None => !arriving.contains(&parent),
        }
    })
}

/// Builds a change set that the tree allows, one choice at a time; what does not fit is left out.
/// Each path is named by one operation only.
pub(crate) fn changes(tree: &Tree, choices: &[Choice]) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut named: Vec<String> = Vec::new();
    let (mut leaving, mut arriving): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    for (what, one, other, seed) in choices {
        let at = NAMES[usize::from(*one) % NAMES.len()];
        let to = NAMES[usize::from(*other) % NAMES.len()];
        if named.iter().any(|name| name == at) {
            continue;
        }
        let free = |at: &str| {
            let vacant = !tree.contains_key(at) || leaving.iter().any(|name| name == at);
            let unclaimed = !arriving.iter().any(|name| name == at);
            let parents = open_above(tree, at, &leaving, &arriving);
            let below = format!("{at}/");
            let childless = !arriving.iter().any(|name| name.starts_with(&below));
            vacant && unclaimed && parents && childless
        };
        let bytes = |node: &Node| match node {
            Node::File { bytes, .. } => Some(bytes.clone()),
            Node::Link { target } => Some(target.clone().into_bytes()),
            Node::Directory { .. } => None,
        };
        let node = tree.get(at);
        match (what % 9, node) {
            (0 | 1, _) if free(at) => {
                changes.push(create(at, text(*seed)));
                arriving.push(at.to_owned());
                // What left from here was named; what arrives may be at the same place.
            }
            (2, Some(Node::File { bytes, .. })) => {
                let wanted = (seed % 2 == 0).then(|| some_mode(*seed, [0o600, 0o444, 0o755]));
                changes.push(Change::Modify {
                    path: path(at),
                    before: Digest::of(bytes),
                    content: Body::new(text(seed.wrapping_add(1))),
                    mode: wanted.map(mode),
                });
                named.push(at.to_owned());
            }
            (3, Some(node)) if bytes(node).is_some() => {
                changes.push(delete(at, bytes(node).unwrap_or_default()));
                leaving.push(at.to_owned());
                named.push(at.to_owned());
            }
            (4 | 5, Some(node)) if bytes(node).is_some() && at != to => {
                leaving.push(at.to_owned());
                named.push(at.to_owned());
                let vacant =
                    !tree.contains_key(to) || leaving.iter().any(|name| name == to && name != at);
                let below = format!("{to}/");
                let fits = vacant
                    && !arriving.iter().any(|name| name == to || name.starts_with(&below))
                    && open_above(tree, to, &leaving, &arriving);
                if fits {
                    changes.push(rename(at, to, bytes(node).unwrap_or_default()));
                    arriving.push(to.to_owned());
                } else {
                    changes.push(delete(at, bytes(node).unwrap_or_default()));
                }
            }
            (6, Some(Node::File { mode, .. } | Node::Directory { mode }))
                if !leaving.iter().any(|name| name == at) =>
            {
                let new = match node {
                    Some(Node::File { .. }) => some_mode(*seed, [0o600, 0o644, 0o555]),
                    _ => some_mode(*seed, [0o700, 0o755, 0o750]),
                };
                if new != *mode {
                    changes.push(chmod(at, *mode, new));
                    named.push(at.to_owned());
                }
            }
            (7, Some(Node::Directory { .. })) => {
                let below = format!("{at}/");
                let empties = tree
                    .keys()
                    .filter(|key| key.starts_with(&below))
                    .all(|key| leaving.contains(key));
                let filled = arriving.iter().any(|name| name.starts_with(&below));
                if empties && !filled {
                    changes.push(rmdir(at));
                    leaving.push(at.to_owned());
                    named.push(at.to_owned());
                }
            }
            (7, None) if free(at) => {
                changes.push(mkdir(at));
                arriving.push(at.to_owned());
                named.push(at.to_owned());
            }
            (8, _) if free(at) => {
                changes.push(link(at, "somewhere"));
                arriving.push(at.to_owned());
                named.push(at.to_owned());
            }
            _ => {}
        }
    }
    changes
}

pub(crate) fn choices(most: usize) -> impl Strategy<Value = Vec<Choice>> {
    prop::collection::vec(any::<Choice>(), 1..most)
}
