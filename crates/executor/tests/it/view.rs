//! A handler sees what its effects declare, and nothing else.

use serde_json::json;

use crate::support::{Run, world};

#[tokio::test]
async fn a_handler_sees_only_what_it_declared() {
    let world = world();
    world.runs(Run::Looks(vec!["src/a.rs", "src/deep/b.rs", "src", "srcs", "notes.txt", "."]));
    let receipt = world.act(json!({ "read": ["src"] })).await.expect("done");
    let seen = &receipt.record.output["seen"];
    for path in ["src/a.rs", "src/deep/b.rs", "src"] {
        assert_eq!(seen[path], "seen", "{path}");
    }
    for path in ["srcs", "notes.txt", "."] {
        let refused = seen[path].as_str().expect("an answer");
        assert!(refused.contains("did not say that it reads this"), "{path}: {refused}");
    }
}

#[tokio::test]
async fn listing_the_root_is_declared_apart() {
    let world = world();
    world.runs(Run::Looks(vec![".", "notes.txt"]));
    let receipt = world.act(json!({ "read_root": true })).await.expect("done");
    let seen = &receipt.record.output["seen"];
    assert_eq!(seen["."], "seen");
    assert_ne!(seen["notes.txt"], "seen");
}

#[tokio::test]
async fn writing_a_path_is_no_leave_to_read_it() {
    let world = world();
    world.runs(Run::Looks(vec!["a.txt"]));
    let receipt = world.act(json!({ "write": ["a.txt"] })).await.expect("done");
    assert_ne!(receipt.record.output["seen"]["a.txt"], "seen");
}
