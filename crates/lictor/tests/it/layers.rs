//! Policies of the user: the environment leaves none out.

use std::path::{Path, PathBuf};

use lictor::{OpenError, PolicyPlaces, load_policies};

fn policy(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn the_users_policy_counts_wherever_the_environment_leads() {
    let dir = tempfile::tempdir().unwrap();
    let at_home = policy(dir.path(), "home.yaml", "version: 1\npaths: {forbidden: [secret]}\n");
    let elsewhere = dir.path().join("nothing.yaml");
    for user in [None, Some(elsewhere), Some(at_home.clone())] {
        let places =
            PolicyPlaces { user, user_home: Some(at_home.clone()), ..PolicyPlaces::default() };
        assert_eq!(load_policies(dir.path(), &places).unwrap().layers().len(), 1);
    }
}

#[test]
fn two_policies_of_the_user_are_refused_and_a_copy_is_one() {
    let dir = tempfile::tempdir().unwrap();
    let one = policy(dir.path(), "one.yaml", "version: 1\n");
    let copy = policy(dir.path(), "copy.yaml", "version: 1\n");
    let other = policy(dir.path(), "other.yaml", "version: 1\ndefault: allow\n");
    let places = |user: &PathBuf| PolicyPlaces {
        user: Some(user.clone()),
        user_home: Some(one.clone()),
        ..PolicyPlaces::default()
    };
    assert_eq!(load_policies(dir.path(), &places(&copy)).unwrap().layers().len(), 1);
    let refused = load_policies(dir.path(), &places(&other)).unwrap_err();
    assert!(matches!(refused, OpenError::TwoUserPolicies(..)), "{refused}");
}
