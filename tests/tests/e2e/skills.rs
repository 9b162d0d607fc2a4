//! The skills that change more than one file, through the command: judged path by path, whole or
//! not at all, and undone.

use serde_json::json;

use crate::place::{Place, message};

const POLICY: &str = "version: 1\ndefault: deny\n\
    paths: { forbidden: [\"**/.env\"], allowed: [\"**\"] }\n\
    rules:\n  - { name: look, when: { effect: fs.read }, verdict: allow }\n";

#[test]
fn an_archive_is_unpacked_whole_and_undone_whole() {
    let place = Place::with_policy(POLICY);
    place.write("site/index.html", "<p>hello</p>\n");
    place.write("site/js/app.js", "go()\n");
    place.set_mode("site/js/app.js", 0o755);
    place.run(&["call", "archive.zip", "from=site", "to=out/site.zip"]).done();
    let before = place.tree();
    let done = place.run(&["call", "archive.unzip", "from=out/site.zip", "to=copy"]).done();
    assert_eq!(done["output"]["files"], json!(["copy/index.html", "copy/js/app.js"]));
    assert_eq!(place.read("copy/js/app.js"), "go()\n");
    place.run(&["call", "archive.unzip", "from=out/site.zip", "to=copy"]).ends(5, "conflict");
    place.run(&["undo"]).done();
    assert_eq!(place.tree(), before);
    place.verify();
}

#[test]
fn one_forbidden_name_in_an_archive_refuses_all_of_it() {
    let place = Place::with_policy(POLICY);
    // The archive is made elsewhere: packing a forbidden file is denied as well.
    place.write("site/.env", "TOKEN=1\n");
    place.write("site/a", "a\n");
    place.run(&["call", "archive.zip", "from=site", "to=site.zip"]).ends(3, "denied");
    let name = |from: &str, to: &str| std::fs::rename(place.root.join(from), place.root.join(to));
    name("site/.env", "site/xenv").unwrap();
    place.run(&["call", "archive.zip", "from=site", "to=site.zip"]).done();
    let packed = std::fs::read(place.root.join("site.zip")).unwrap();
    let mut text = packed;
    while let Some(at) = text.windows(4).position(|window| window == b"xenv") {
        text[at..at + 4].copy_from_slice(b".env");
    }
    place.write("site.zip", text);
    let before = place.tree();
    place.run(&["call", "archive.unzip", "from=site.zip", "to=copy"]).ends(3, "denied");
    assert_eq!(place.tree(), before);
    place.verify();
}

#[test]
fn a_patch_lands_whole_or_not_at_all() {
    let place = Place::with_policy(POLICY);
    place.write("a.txt", "one\ntwo\n");
    place.write("b.txt", "other\n");
    let before = place.tree();
    let hunk = |file: &str, old: &str| {
        format!("--- a/{file}\n+++ b/{file}\n@@ -1,1 +1,1 @@\n-{old}\n+new\n")
    };
    let both = format!("diff={}{}", hunk("a.txt", "one"), hunk("b.txt", "nothing"));
    place.run(&["call", "fs.patch", &both]).ends(5, "conflict");
    assert_eq!(place.tree(), before, "the first file is left alone as well");
    place.run(&["call", "fs.patch", &format!("diff={}", hunk("a.txt", "one"))]).done();
    assert_eq!(place.read("a.txt"), "new\ntwo\n");
    place.run(&["undo"]).done();
    assert_eq!(place.tree(), before);
}

#[test]
fn a_search_reads_no_forbidden_file() {
    let place = Place::with_policy(POLICY);
    place.write("src/a.rs", "let token = 1;\n");
    place.write("src/.env", "token=s3cret\n");
    let found = place.run(&["call", "fs.search", "pattern=token"]).done();
    assert_eq!(found["output"]["matches"].as_array().unwrap().len(), 1, "{found}");
    let refused = place.run(&["call", "fs.search", "pattern=token", "glob=src/**", "hidden:=true"]);
    let refused = refused.ends(3, "denied");
    assert!(refused.to_string().contains("src/.env"), "it says which: {refused}");
    assert!(!message(&refused).contains("s3cret"));
    place
        .run(&[
            "call",
            "fs.search",
            "pattern=token",
            "glob=src/**",
            "hidden:=true",
            "exclude:=[\"**/.env\"]",
        ])
        .done();
}
