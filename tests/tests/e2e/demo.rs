//! The demo, as a newcomer runs it.

use crate::place::{Place, git};

#[test]
fn the_demo_shows_the_whole_road_and_leaves_the_repository() {
    let place = Place::bare();
    let folder = place.beside("demo");
    let shown = place.person(&["demo", "--dir", folder.to_str().unwrap()]);
    assert_eq!(shown.code, Some(0), "{shown:?}");
    for line in ["paths.forbidden", "rolled", "undone", "complete", "git sees no change at all"] {
        assert!(
            shown.stdout.contains(line) || shown.stderr.contains(line),
            "no `{line}`: {shown:?}"
        );
    }
    let repository = folder.join("tally");
    assert_eq!(git(&repository, &place.home(), &["status", "--porcelain"]), "");
    let again = place.person(&["demo", "--dir", folder.to_str().unwrap()]);
    assert_eq!(again.code, Some(2), "what is there is left alone");
}

#[test]
fn the_demo_answers_in_json() {
    let place = Place::bare();
    let folder = place.beside("demo");
    let shown = place.run(&["demo", "--dir", folder.to_str().unwrap()]).done();
    assert_eq!(shown["workspace"].as_str(), folder.join("tally").to_str());
}
