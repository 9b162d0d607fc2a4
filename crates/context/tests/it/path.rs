//! `inside_means_inside`: paths are normal, or refused.

use lictor_context::{PathErrorKind, WorkspacePath};
use proptest::prelude::*;

#[track_caller]
fn refused(text: &str, kind: PathErrorKind) {
    let error = WorkspacePath::parse(text).expect_err(text);
    assert_eq!(error.kind(), kind, "{text:?}");
}

#[test]
fn what_is_not_normal_is_refused() {
    use PathErrorKind as Kind;
    refused("", Kind::Empty);
    refused("/etc/passwd", Kind::Absolute);
    refused("../x", Kind::Parent);
    refused("a/../b", Kind::Parent);
    refused("a/./b", Kind::NotNormal);
    refused("./a", Kind::NotNormal);
    refused("a//b", Kind::NotNormal);
    refused("a/", Kind::NotNormal);
    refused("a\\b", Kind::Backslash);
    refused("C:/x", Kind::Drive);
    refused("a\0b", Kind::Control);
    refused("a\nb", Kind::Control);
    refused("a /b", Kind::TrailingSpaceOrDot);
    refused("a./b", Kind::TrailingSpaceOrDot);
    refused("e\u{301}", Kind::NotNfc);
    refused(&"x".repeat(256), Kind::TooLong);
    refused(&"x/".repeat(3000), Kind::TooLong);
}

#[test]
fn ordinary_names_are_accepted() {
    for text in ["a", ".env", "a b/c.d", "src/été.rs", "...a/b", "node_modules/@x/y"] {
        assert_eq!(WorkspacePath::parse(text).expect(text).as_str(), text);
    }
}

#[test]
fn a_prefix_sibling_is_not_within() {
    let dir = WorkspacePath::parse("src").unwrap();
    assert!(WorkspacePath::parse("src/a").unwrap().is_within(&dir));
    assert!(dir.is_within(&dir));
    assert!(!WorkspacePath::parse("src2/a").unwrap().is_within(&dir));
}

proptest! {
    #[test]
    fn an_accepted_path_never_leaves_the_root(text in "[a./\\\\ \\PC]{0,24}") {
        if let Ok(path) = WorkspacePath::parse(&text) {
            prop_assert_eq!(path.as_str(), text.as_str());
            let joined = std::path::Path::new("/root").join(path.as_str());
            prop_assert!(joined.components().all(|part| part != std::path::Component::ParentDir));
            prop_assert!(joined.starts_with("/root"));
            prop_assert!(path.ancestors().all(|dir| path.is_within(&dir)));
        }
    }
}
