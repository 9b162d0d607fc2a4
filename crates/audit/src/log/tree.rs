//! The compact Merkle tree: as much of it as is needed to go on and to know the root.

use sha2::{Digest as _, Sha256};

use super::{Hash, node_hash};

/// Of every so many levels of the tree, one is stored: a proof then reads a few hashes, and the
/// store holds one for every 15 events.
pub(crate) const NODE_HEIGHT: u32 = 4;

/// The place of a hash that is stored: the root over the `index`-th run of `16^level` leaves. The
/// leaves themselves are level 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Node {
    /// How high.
    pub level: u32,
    /// How far from the beginning, in such runs.
    pub index: u64,
}

impl Node {
    /// The first event that it covers.
    pub(crate) fn first(self) -> u64 {
        self.index.checked_shl(NODE_HEIGHT * self.level).unwrap_or(u64::MAX)
    }
}

/// An RFC 6962 tree that only grows. It keeps the roots of its perfect subtrees, at most 64
/// hashes, however many leaves were pushed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    size: u64,
    // INVARIANT: one hash for each set bit of `size`, the largest subtree first.
    frontier: Vec<Hash>,
}

impl Tree {
    /// The empty tree.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The tree that was taken apart by [`Tree::size`] and [`Tree::frontier`]; `None` when there
    /// are more or fewer hashes than a tree of this size has.
    #[must_use]
    pub fn from_parts(size: u64, frontier: &[u8]) -> Option<Self> {
        let (hashes, rest) = frontier.as_chunks::<32>();
        let fits = rest.is_empty() && u64::try_from(hashes.len()).ok()? == ones(size);
        fits.then(|| Self { size, frontier: hashes.to_vec() })
    }

    /// How many leaves it has.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The hashes that it needs to go on, one after the other.
    #[must_use]
    pub fn frontier(&self) -> Vec<u8> {
        self.frontier.concat()
    }

    /// Adds a leaf.
    pub fn push(&mut self, leaf: Hash) {
        self.push_noting(leaf, |_, _| {});
    }

    /// Adds a leaf, and tells of each subtree of 16, 256, 4096 … leaves that is perfect by it.
    pub(crate) fn push_noting(&mut self, leaf: Hash, mut note: impl FnMut(Node, Hash)) {
        let mut hash = leaf;
        let mut level = self.size;
        let mut height = 0;
        while level & 1 == 1 {
            // By the invariant there is a subtree for each set bit.
            let Some(left) = self.frontier.pop() else { break };
            hash = node_hash(&left, &hash);
            level >>= 1;
            height += 1;
            if height % NODE_HEIGHT == 0 {
                note(Node { level: height / NODE_HEIGHT, index: level }, hash);
            }
        }
        self.frontier.push(hash);
        self.size += 1;
    }

    /// The root; of the empty tree, the hash of nothing.
    #[must_use]
    pub fn root(&self) -> Hash {
        let joined =
            self.frontier.iter().rev().copied().reduce(|right, left| node_hash(&left, &right));
        joined.unwrap_or_else(|| Sha256::digest([]).into())
    }
}

fn ones(size: u64) -> u64 {
    u64::from(size.count_ones())
}
