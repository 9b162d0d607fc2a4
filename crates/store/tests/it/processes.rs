//! `recorded_before_acknowledged`, between processes.

use crate::child::Other;
use crate::{Scene, names};

#[test]
fn nothing_acknowledged_is_lost_when_the_writer_is_killed() {
    let scene = Scene::new();
    for round in 0..3 {
        let mut other = Other::start("write", &format!("r{round}"), &scene.file());
        let mut acknowledged: Vec<_> = (0..200).map(|_| other.hear().unwrap()).collect();
        acknowledged.extend(other.kill());
        let found: std::collections::HashSet<_> = names(&scene.open()).into_iter().collect();
        for name in acknowledged {
            assert!(found.contains(&name), "{name} is lost");
        }
    }
}

#[test]
fn processes_that_open_and_write_at_once_take_turns() {
    let scene = Scene::new();
    let mut others: Vec<_> = ["a", "b", "c"]
        .iter()
        .map(|name| Other::start("take-turns", name, &scene.file()))
        .collect();
    for other in &mut others {
        assert_eq!(other.hear().as_deref(), Some("ready"));
    }
    others.iter_mut().for_each(Other::go);
    others.into_iter().for_each(Other::finish);
    let store = scene.open();
    assert_eq!(names(&store).len(), 600);
}

/// Each of them reads what there is and writes what comes next. Whoever begins by reading only, and
/// writes then, is refused at once when somebody else wrote in between, however patient they are.
#[test]
fn whoever_reads_before_writing_is_waited_for_like_any_other() {
    let scene = Scene::new();
    let mut others: Vec<_> =
        (0..16).map(|n| Other::start("count-on", &format!("{n}"), &scene.file())).collect();
    for other in &mut others {
        assert_eq!(other.hear().as_deref(), Some("ready"));
    }
    others.iter_mut().for_each(Other::go);
    others.into_iter().for_each(Other::finish);
    let mut found: Vec<usize> =
        names(&scene.open()).iter().map(|name| name.parse().unwrap()).collect();
    found.sort_unstable();
    assert!(found.iter().copied().eq(0..16 * 20), "each counted on from the one before: {found:?}");
}
