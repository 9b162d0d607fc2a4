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
