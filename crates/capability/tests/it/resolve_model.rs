//! Resolving and then applying does what the operations say one after the other, and a conflict
//! is found where, and only where, they cannot be done.

use std::collections::BTreeMap;

use lictor_capability::{Change, FileMode, State, resolve};
use lictor_context::WorkspacePath;
use proptest::prelude::*;

use super::support::{MemoryView, Node, body, digest, path};

const PATHS: [&str; 9] = ["a", "b", "c", "a/x", "a/y", "b/x", "d/e", "d", "d/e/f"];

/// What an operation is about before the tree is known.
#[derive(Debug, Clone)]
struct Wish {
    op: u8,
    at: usize,
    to: usize,
    content: u8,
    /// Whether its author saw something else than what is there.
    stale: bool,
}

impl Wish {
    /// The path that it puts something at, by its index.
    fn puts_at(&self) -> Option<usize> {
        match self.op {
            0 | 5 | 7 => Some(self.at),
            3 | 8 | 9 => Some(self.to),
            _ => None,
        }
    }
}

/// A thing on its way through a change set.
#[derive(Debug, Clone)]
struct Thing {
    node: Node,
    /// Where it was, and what it held.
    origin: Option<(WorkspacePath, Node)>,
}

/// The reference: operations one after the other. A path names its old holder until that leaves.
#[derive(Debug, Clone)]
struct Model {
    now: BTreeMap<WorkspacePath, Thing>,
    displaced: BTreeMap<WorkspacePath, Thing>,
    removed: Vec<WorkspacePath>,
}

#[derive(Debug)]
struct Refused;

impl Model {
    fn new(view: &MemoryView) -> Self {
        let now = view.0.iter().map(|(at, node)| {
            let origin = Some((at.clone(), node.clone()));
            (at.clone(), Thing { node: node.clone(), origin })
        });
        Self { now: now.collect(), displaced: BTreeMap::new(), removed: Vec::new() }
    }

    fn at(&mut self, at: &WorkspacePath) -> Result<&mut Thing, Refused> {
        match self.displaced.get_mut(at) {
            Some(thing) => Ok(thing),
            None => self.now.get_mut(at).ok_or(Refused),
        }
    }

    fn take(&mut self, at: &WorkspacePath) -> Result<Thing, Refused> {
        self.displaced.remove(at).or_else(|| self.now.remove(at)).ok_or(Refused)
    }

    fn put(&mut self, at: &WorkspacePath, thing: Thing, leaves: bool) -> Result<(), Refused> {
        if let Some(old) = self.now.remove(at) {
            if !leaves || old.origin.as_ref().map(|(from, _)| from) != Some(at) {
                return Err(Refused);
            }
            self.displaced.insert(at.clone(), old);
        }
        self.now.insert(at.clone(), thing);
        Ok(())
    }

    fn step(
        &mut self,
        change: &Change,
        leaves: impl Fn(&WorkspacePath) -> bool,
    ) -> Result<(), Refused> {
        let new = |node| Thing { node, origin: None };
        let require = |fits: bool| if fits { Ok(()) } else { Err(Refused) };
        match change {
            Change::Create { path, content, mode } => {
                let mode = mode.map_or(0o644, FileMode::bits);
                let node = Node::File { bytes: content.bytes().to_vec(), mode, links: 1 };
                self.put(path, new(node), leaves(path))
            }
            Change::Mkdir { path, .. } => {
                self.put(path, new(Node::Dir { mode: 0o755 }), leaves(path))
            }
            Change::Symlink { path, target } => {
                self.put(path, new(Node::Link(target.clone())), leaves(path))
            }
            Change::Modify { path, before, content, .. } => match &mut self.at(path)?.node {
                Node::File { bytes, .. } if digest(&bytes) == *before => {
                    *bytes = content.bytes().to_vec();
                    Ok(())
                }
                _ => Err(Refused),
            },
            Change::Chmod { path, before_mode, mode: new } => match &mut self.at(path)?.node {
                Node::File { mode, .. } | Node::Dir { mode } if *mode == before_mode.bits() => {
                    *mode = new.bits();
                    Ok(())
                }
                _ => Err(Refused),
            },
            Change::Delete { path, before } => {
                require(self.take(path)?.node.state().digest() == Some(*before))
            }
            Change::Rmdir { path } => {
                let thing = self.take(path)?;
                if thing.origin.is_some() {
                    self.removed.push(path.clone());
                }
                require(matches!(thing.node, Node::Dir { .. }))
            }
            Change::Rename { path, to, before } => {
                let thing = self.take(path)?;
                let seen = thing.origin.as_ref().and_then(|(_, node)| node.state().digest());
                let now = thing.node.state().digest();
                require(now.is_some() && (now == Some(*before) || seen == Some(*before)))?;
                self.put(to, thing, leaves(to))
            }
        }
    }

    /// The tree that comes out, if it is one.
    fn finish(self) -> Result<MemoryView, Refused> {
        let stays = |at: &WorkspacePath, thing: &Thing| {
            thing.origin.as_ref().is_some_and(|(from, _)| from == at)
        };
        for dir in &self.removed {
            let remade = matches!(self.now.get(dir), Some(Thing { node: Node::Dir { .. }, .. }));
            for (at, thing) in &self.now {
                if at != dir && at.is_within(dir) && (!remade || stays(at, thing)) {
                    return Err(Refused);
                }
            }
        }
        let mut tree = MemoryView::default();
        for (at, thing) in &self.now {
            for dir in at.ancestors() {
                match self.now.get(&dir) {
                    None | Some(Thing { node: Node::Dir { .. }, .. }) => {}
                    Some(_) => return Err(Refused),
                }
                tree.0.entry(dir).or_insert(Node::Dir { mode: 0o755 });
            }
            tree.0.insert(at.clone(), thing.node.clone());
        }
        Ok(tree)
    }
}

/// The operation that a wish becomes where `model` has got to.
fn change(wish: &Wish, model: &mut Model) -> Change {
    let at = path(PATHS[wish.at % PATHS.len()]);
    let to = path(PATHS[wish.to % PATHS.len()]);
    let there = model.at(&at).ok().map(|thing| thing.node.state());
    let before = match there.and_then(|state: State| state.digest()) {
        Some(digest) if !wish.stale => digest,
        _ => digest("what nobody holds"),
    };
    let mode = there.and_then(|state| state.mode()).unwrap_or(FileMode::FILE);
    let content = body([b'0' + wish.content]);
    match wish.op {
        0 => Change::Create { path: at, content, mode: None },
        1 => Change::Modify { path: at, before, content, mode: None },
        2 => Change::Delete { path: at, before },
        3 | 8 | 9 => Change::Rename { path: at, to, before },
        4 => {
            let before_mode = if wish.stale { FileMode::from_bits(0o111) } else { mode };
            Change::Chmod { path: at, before_mode, mode: FileMode::from_bits(0o700) }
        }
        5 => Change::Mkdir { path: at, mode: None },
        6 => Change::Rmdir { path: at },
        _ => Change::Symlink { path: at, target: "c".to_owned() },
    }
}

/// Runs the wishes through the model; the operations that they became, and the outcome.
fn run(view: &MemoryView, wishes: &[Wish]) -> (Vec<Change>, Result<MemoryView, Refused>) {
    let mut model = Model::new(view);
    let mut changes = Vec::new();
    let mut refused = false;
    for (index, wish) in wishes.iter().enumerate() {
        let change = change(wish, &mut model);
        let leaves = |at: &WorkspacePath| {
            wishes.iter().skip(index + 1).any(|later| {
                matches!(later.op, 2 | 3 | 6 | 8 | 9)
                    && PATHS[later.at % PATHS.len()] == at.as_str()
            })
        };
        refused = refused || model.step(&change, leaves).is_err();
        changes.push(change);
    }
    let outcome = if refused { Err(Refused) } else { model.finish() };
    (changes, outcome)
}

fn agrees(view: &MemoryView, wishes: &[Wish]) {
    let (changes, expected) = run(view, wishes);
    let resolved = resolve(&changes, view);
    match (expected, resolved) {
        (Ok(tree), Ok(resolved)) => {
            assert_eq!(resolved.conflicts, [], "{changes:#?}");
            assert_eq!(resolved.violations, [], "{changes:#?}");
            let mut found = view.clone();
            found.apply(&resolved.changes);
            assert_eq!(found, tree, "{changes:#?}");
        }
        (Ok(_), Err(error)) => panic!("{error}: {changes:#?}"),
        (Err(Refused), Err(_)) => {}
        (Err(Refused), Ok(resolved)) => {
            assert!(
                !resolved.conflicts.is_empty() || !resolved.violations.is_empty(),
                "no conflict: {changes:#?}"
            );
        }
    }
}

fn tree() -> impl Strategy<Value = MemoryView> {
    let node = prop_oneof![
        4 => (0..4_u8).prop_map(|content| Some(Node::file([b'0' + content]))),
        1 => Just(Some(Node::Dir { mode: 0o755 })),
        3 => Just(None),
    ];
    prop::collection::vec(node, PATHS.len()).prop_map(|nodes| {
        let mut view = MemoryView::default();
        for (at, node) in PATHS.iter().zip(nodes) {
            let Some(node) = node else { continue };
            let free = path(at)
                .ancestors()
                .all(|dir| matches!(view.0.get(&dir), None | Some(Node::Dir { .. })));
            if free && !view.0.contains_key(&path(at)) {
                view.put(at, node);
            }
        }
        view
    })
}

fn wishes(stale: f64, most: usize) -> impl Strategy<Value = Vec<Wish>> {
    let wish = (0..10_u8, 0..PATHS.len(), 0..PATHS.len(), 0..6_u8, prop::bool::weighted(stale));
    let wish = wish.prop_map(|(op, at, to, content, stale)| Wish { op, at, to, content, stale });
    prop::collection::vec(wish, 1..most)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_operations_agree_with_the_model(view in tree(), wishes in wishes(0.05, 6)) {
        agrees(&view, &wishes);
    }

    #[test]
    fn possible_operations_agree_with_the_model(view in tree(), wishes in wishes(0.0, 40)) {
        let mut possible: Vec<Wish> = Vec::new();
        for wish in wishes {
            possible.push(wish);
            if run(&view, &possible).1.is_err() {
                possible.pop();
            }
        }
        agrees(&view, &possible);
    }

    #[test]
    fn what_was_possible_contradicts_itself_in_no_other_tree(view in tree(), now in tree(), wishes in wishes(0.0, 12)) {
        let mut possible: Vec<Wish> = Vec::new();
        for wish in wishes {
            // Which holder is meant of a path that gets two of them one after the other depends on
            // what is there.
            let twice = possible.iter().any(|other| other.puts_at().is_some() && other.puts_at() == wish.puts_at());
            possible.push(wish);
            if twice || run(&view, &possible).1.is_err() {
                possible.pop();
            }
        }
        let changes = run(&view, &possible).0;
        if let Err(error) = resolve(&changes, &now) {
            // A directory cannot move, whoever put it there.
            prop_assert!(error.to_string().contains("rename the files in it"), "{}: {:#?}", error, changes);
        }
    }

    #[test]
    fn any_permutation_of_names_resolves(order in Just(vec![0_usize, 1, 2, 3, 4, 5]).prop_shuffle(), seed in any::<u64>()) {
        let names = ["a", "b", "c", "d/x", "d/y", "e/z"];
        let old: Vec<(&str, &str)> = names.iter().zip(["0", "1", "2", "3", "4", "5"]).map(|(name, content)| (*name, content)).collect();
        let view = MemoryView::of(&old);
        let mut changes: Vec<Change> = order
            .iter()
            .enumerate()
            .filter(|(from, to)| from != *to)
            .map(|(from, to)| Change::Rename { path: path(names[from]), to: path(names[*to]), before: digest(old[from].1) })
            .collect();
        if !changes.is_empty() {
            let n_changes = changes.len() as u64;
            changes.rotate_left((seed % n_changes) as usize);
        }
        let resolved = resolve(&changes, &view).unwrap();
        prop_assert_eq!(&resolved.conflicts, &[]);
        let mut found = view.clone();
        found.apply(&resolved.changes);
        for (from, to) in order.iter().enumerate() {
            prop_assert_eq!(&found.0[&path(names[*to])], &Node::file(old[from].1));
        }
    }
}
