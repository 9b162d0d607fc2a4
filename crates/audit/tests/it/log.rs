//! The tree against RFC 6962 and against the naive way.

use lictor_audit::log::{CHAIN_START, Hash, Tree, chain_hash, leaf_hash, node_hash};
use lictor_context::Digest;
use proptest::prelude::*;

fn naive_root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => *Digest::of(b"").as_bytes(),
        [leaf] => *leaf,
        _ => {
            // The largest power of two below the length.
            let left = leaves.len().next_power_of_two() / 2;
            let (left, right) = leaves.split_at(left);
            node_hash(&naive_root(left), &naive_root(right))
        }
    }
}

fn hex(hash: &Hash) -> String {
    Digest::from_bytes(*hash).hex()
}

/// The vectors of the reference implementation of Certificate Transparency.
#[test]
fn roots_are_those_of_rfc_6962() {
    let leaves: [&[u8]; 8] = [
        b"",
        b"\x00",
        b"\x10",
        b"\x20\x21",
        b"\x30\x31",
        b"\x40\x41\x42\x43",
        b"\x50\x51\x52\x53\x54\x55\x56\x57",
        b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
    ];
    let roots = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];
    let mut tree = Tree::new();
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(hex(&tree.root()), empty);
    for (leaf, root) in leaves.iter().zip(roots) {
        tree.push(leaf_hash(leaf));
        assert_eq!(hex(&tree.root()), root);
    }
}

#[test]
fn chain_is_what_the_format_says() {
    let leaf = leaf_hash(b"x");
    let by_hand = Digest::of(&[[2].as_slice(), &[0; 32], &leaf].concat());
    assert_eq!(chain_hash(&CHAIN_START, &leaf), *by_hand.as_bytes());
}

#[test]
fn a_tree_of_another_size_is_not_taken() {
    assert!(Tree::from_parts(3, &[0; 64]).is_some());
    assert!(Tree::from_parts(3, &[0; 32]).is_none());
    assert!(Tree::from_parts(4, &[0; 64]).is_none());
    assert!(Tree::from_parts(4, &[0; 33]).is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn tree_agrees_with_the_naive_way(leaves in prop::collection::vec(any::<Hash>(), 0..80)) {
        let mut tree = Tree::new();
        for (n, leaf) in leaves.iter().enumerate() {
            tree.push(*leaf);
            prop_assert_eq!(tree.root(), naive_root(&leaves[..=n]));
            // Taken apart and put together at any point, it is the same.
            tree = Tree::from_parts(tree.size(), &tree.frontier()).unwrap();
        }
        prop_assert_eq!(tree.root(), naive_root(&leaves));
        prop_assert_eq!(tree.size(), leaves.len() as u64);
    }
}
