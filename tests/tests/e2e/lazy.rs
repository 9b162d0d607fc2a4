//! `durability: { changes: lazy }` through the command: acknowledged one barrier earlier, closed by
//! whoever changes something next, and undone like anything else.

use std::fs;

use serde_json::json;

use crate::place::{POLICY, Place, text};

fn is_closed(place: &Place, execution: &str) -> bool {
    let journal = place.root.join(".lictor/tx").join(execution).join("journal");
    fs::read_to_string(journal).unwrap().contains("{\"done\":true}")
}

fn applied(place: &Place, name: &str) -> String {
    let changes = json!([{ "op": "create", "path": name, "content": name }]);
    let document = place.seal(&format!("{name}.json"), &changes);
    text(&place.run(&["apply", &document]).done(), "execution_id").to_owned()
}

#[test]
fn a_lazy_change_is_closed_by_the_next_process_and_undone_like_any_other() {
    let place = Place::new();
    place.policy(&format!("{POLICY}durability: {{ changes: lazy }}\n"));
    let first = applied(&place, "a");
    assert!(!is_closed(&place, &first), "nothing says that it is durable");
    let second = applied(&place, "b");
    assert!(is_closed(&place, &first) && !is_closed(&place, &second));
    let doctor = place.run(&["doctor"]).json.to_string();
    assert!(doctor.contains("lazy: acknowledged"), "{doctor}");
    place.policy(POLICY);
    let undone = place.run(&["undo"]).done();
    assert_eq!(undone["undo_of"], json!([second]), "{undone}");
    assert!(is_closed(&place, &second) && !place.exists("b") && place.exists("a"));
    assert_eq!(place.run(&["recover"]).done()["recovered"], json!([]));
    place.verify();
}
