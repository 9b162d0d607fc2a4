//! Inclusion proofs: that one event is in a log, without the other ones (RFC 9162, section 2.1.3).

use super::tree::{NODE_HEIGHT, Node};
use super::{Hash, node_hash};

/// Gives stored hashes: so many, from this place on; level 0 are the leaves.
pub(crate) type ReadNodes<'a, E> = dyn FnMut(Node, u64) -> Result<Vec<Hash>, E> + 'a;

/// The hashes that lead from the leaf `index` to the root of the tree of `size` leaves. `None`
/// when there is no such leaf, or a hash that is needed is not there.
pub(crate) fn inclusion_path<E>(
    index: u64,
    size: u64,
    read: &mut ReadNodes<'_, E>,
) -> Result<Option<Vec<Hash>>, E> {
    if index >= size {
        return Ok(None);
    }
    let (mut from, mut until) = (0, size);
    let mut path = Vec::new();
    while until - from > 1 {
        let middle = from + split(until - from);
        let sibling = if index < middle {
            let range = (middle, until);
            until = middle;
            range
        } else {
            let range = (from, middle);
            from = middle;
            range
        };
        let Some(hash) = range_root(sibling.0, sibling.1, read)? else { return Ok(None) };
        path.push(hash);
    }
    path.reverse();
    Ok(Some(path))
}

/// The root that a leaf and its path lead to; `None` when they fit no tree of this size.
#[must_use]
pub fn root_by_path(leaf: Hash, index: u64, size: u64, path: &[Hash]) -> Option<Hash> {
    if index >= size {
        return None;
    }
    let (mut at, mut last) = (index, size - 1);
    let mut hash = leaf;
    for sibling in path {
        if last == 0 {
            return None;
        }
        if at & 1 == 1 || at == last {
            hash = node_hash(sibling, &hash);
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        at >>= 1;
        last >>= 1;
    }
    (last == 0).then_some(hash)
}

/// The largest power of two below a number of leaves, which is 2 or more.
fn split(leaves: u64) -> u64 {
    1 << (u64::BITS - 1 - (leaves - 1).leading_zeros())
}

/// The root over the leaves from `from` to before `until`; `from` is a multiple of the largest
/// power of two in there, as it is at every split.
fn range_root<E>(from: u64, until: u64, read: &mut ReadNodes<'_, E>) -> Result<Option<Hash>, E> {
    let leaves = until - from;
    if leaves.is_power_of_two() {
        return perfect_root(from, leaves.trailing_zeros(), read);
    }
    let middle = from + split(leaves);
    let left = range_root(from, middle, read)?;
    let right = range_root(middle, until, read)?;
    Ok(left.zip(right).map(|(left, right)| node_hash(&left, &right)))
}

fn perfect_root<E>(from: u64, height: u32, read: &mut ReadNodes<'_, E>) -> Result<Option<Hash>, E> {
    let level = height / NODE_HEIGHT;
    let index = from >> (level * NODE_HEIGHT);
    let mut hashes = read(Node { level, index }, 1 << (height % NODE_HEIGHT))?;
    if hashes.len() != 1 << (height % NODE_HEIGHT) {
        return Ok(None);
    }
    while hashes.len() > 1 {
        let (pairs, _) = hashes.as_chunks::<2>();
        hashes = pairs.iter().map(|[left, right]| node_hash(left, right)).collect();
    }
    Ok(hashes.first().copied())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{Tree, leaf_hash};

    #[test]
    fn every_leaf_of_every_small_tree_is_proven_and_no_other_one() {
        let leaves: Vec<Hash> = (0_u64..70).map(|n| leaf_hash(&n.to_be_bytes())).collect();
        let mut tree = Tree::new();
        let mut nodes = std::collections::HashMap::new();
        for (size, leaf) in (1_u64..).zip(&leaves) {
            tree.push_noting(*leaf, |node, hash| {
                nodes.insert((node.level, node.index), hash);
            });
            for index in 0..size {
                let mut read = |node: Node, count: u64| {
                    let hash = |index| match node.level {
                        0 => leaves.get(usize::try_from(index).unwrap()).copied(),
                        level => nodes.get(&(level, index)).copied(),
                    };
                    let range = node.index..node.index + count;
                    Ok::<_, ()>(range.map_while(hash).collect())
                };
                let path = inclusion_path(index, size, &mut read).unwrap().unwrap();
                let leaf = leaves[usize::try_from(index).unwrap()];
                assert_eq!(root_by_path(leaf, index, size, &path), Some(tree.root()));
                let wrong = root_by_path(leaf_hash(b"other"), index, size, &path);
                assert_ne!(wrong, Some(tree.root()));
                for other in (0..size + 2).filter(|other| *other != index) {
                    let found = root_by_path(leaf, other, size, &path);
                    assert_ne!(found, Some(tree.root()), "{index} as {other} of {size}");
                }
            }
        }
    }
}
