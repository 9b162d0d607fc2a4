//! Imports through the command. The OpenAPI document is one of a public product (quay.io), as the
//! crate `openapiv3` carries it for its own tests.

use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use crate::http::{Server, says};
use crate::place::{Place, message};

/// A document that `openapiv3` carries: where cargo keeps the crate's files.
fn carried(name: &str) -> String {
    let told = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO"))
            .args(arguments)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let version = told(&["-vV"]);
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let metadata =
        told(&["metadata", "--format-version", "1", "--offline", "--filter-platform", host]);
    let metadata: Value = serde_json::from_str(&metadata).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let package = packages.iter().find(|package| package["name"] == "openapiv3").unwrap();
    let manifest = PathBuf::from(package["manifest_path"].as_str().unwrap());
    manifest.with_file_name("fixtures").join(name).to_str().unwrap().to_owned()
}

const POLICY: &str = "version: 1\ndefault: deny\npaths: { allowed: [\"**\"] }\n\
    rules:\n  - { name: net, when: { effect: net }, verdict: allow }\n";

fn import(place: &Place, arguments: &[&str]) -> crate::place::Answer {
    let arguments: Vec<&str> = ["capability", "import"].iter().chain(arguments).copied().collect();
    place.run_with(&arguments, |command| _ = command.env("LICTOR_USER", "bob"))
}

#[test]
fn one_operation_of_a_public_product_is_let_in_and_called_and_no_other_is_callable() {
    let server = Server::answering(vec![says("201 Created", r#"{"name":"lictor"}"#)]);
    let place = Place::with_policy(POLICY);
    let (document, url) = (carried("quayio.json"), format!("http://127.0.0.1:{}", server.port()));
    let arguments =
        [document.as_str(), "--from", "openapi", "--namespace", "quay", "--server", &url];
    let imported = import(&place, &arguments).done();
    let proposed = imported["proposed"].as_array().unwrap();
    assert_eq!((proposed.len(), &imported["left_out"]), (95, &json!([])));
    assert!(proposed.iter().all(|one| one["state"] == "proposed"));

    place.run_as_approver(&["capability", "approve", "quay.create_repo"]).done();
    let call = |input: &str| {
        let arguments = ["call", "quay.create_repo", "--input", input];
        place.run_with(&arguments, |command| {
            command.env("LICTOR_SECRET_QUAY_OAUTH2_IMPLICIT", "t0k3n");
        })
    };
    let wrong = call(r#"{"body":{"repository":"r","visibility":"secret","description":""}}"#);
    assert!(message(&wrong.ends(2, "invalid_input")).contains("/body/visibility"));
    let body = r#"{"repository":"r","visibility":"private","description":"d"}"#;
    let done = call(&format!("{{\"body\":{body}}}")).done();
    assert_eq!(done["output"], json!({ "status": 201, "body": { "name": "lictor" } }));
    let seen = server.ended().remove(0);
    assert_eq!(seen.line, "POST /api/v1/repository HTTP/1.1");
    assert!(seen.headers.contains(&"authorization: bearer t0k3n".to_owned()));
    let (sent, wanted): (Value, Value) =
        (serde_json::from_str(&seen.body).unwrap(), serde_json::from_str(body).unwrap());
    assert_eq!(sent, wanted);

    nobody_else(&place, proposed);
    place.verify();
}

/// Nothing listens any more: what got through would fail, and not be denied.
fn nobody_else(place: &Place, proposed: &[Value]) {
    for one in proposed.iter().step_by(12).filter(|one| one["id"] != "quay.create_repo") {
        let id = one["id"].as_str().unwrap();
        place.run(&["call", id, "--input", "{}"]).ends(3, "denied");
        place.run(&["check", "call", id, "--input", "{}"]).ends(3, "denied");
    }
    let workflow = "id: w\nversion: 1.0.0\ntitle: W\ninput: { type: object }\nsteps:\n  \
        - { id: a, use: quay.delete_repository, with: { repository: r } }\n";
    let workflow = place.document("w.workflow.yaml", workflow);
    let refused = place.run(&["run", &workflow]).ends(2, "invalid_input");
    assert!(refused.to_string().contains("quay.delete_repository"), "{refused}");
    for format in ["openai", "anthropic", "mcp"] {
        let list = place.run(&["capability", "export", "--format", format]).done();
        let names = list["names"].as_object().unwrap();
        let quay: Vec<&Value> =
            names.values().filter(|id| id.as_str().unwrap().starts_with("quay.")).collect();
        assert_eq!(quay, [&json!("quay.create_repo")], "{format}");
    }
}

#[test]
fn keys_in_the_query_and_in_a_cookie_go_to_the_server_and_are_kept_nowhere() {
    let (key, sid) = ("k3y-c4n4ry&=", "s1d-c4n4ry");
    let server =
        Server::answering(vec![says("200 OK", &format!(r#"{{"echo":"{sid}"}}"#)), String::new()]);
    let place = Place::with_policy(POLICY);
    let operation = |id: &str| {
        json!({ "operationId": id, "responses": {}, "parameters": [
        { "in": "query", "name": "page", "schema": { "type": "integer" } },
        { "in": "query", "name": "key", "required": true, "schema": { "type": "string" } },
    ] })
    };
    let document = json!({
        "openapi": "3.0.0", "info": { "title": "T", "version": "1" },
        "paths": { "/pets": { "get": operation("listPets"), "post": operation("addPet") } },
        "security": [{ "inQuery": [], "inCookie": [] }],
        "components": { "securitySchemes": {
            "inQuery": { "type": "apiKey", "in": "query", "name": "key" },
            "inCookie": { "type": "apiKey", "in": "cookie", "name": "SID" },
        } },
    });
    let file = place.document("pets.json", document.to_string());
    let url = format!("http://127.0.0.1:{}", server.port());
    let arguments = [file.as_str(), "--from", "openapi", "--namespace", "pets", "--server", &url];
    let imported = import(&place, &arguments).done();
    let lost = imported["proposed"][0]["lost"].to_string();
    for name in ["PETS_IN_QUERY", "PETS_IN_COOKIE"] {
        assert!(lost.contains(&format!("the secret `{name}`")), "{lost}");
    }
    let call = |id: &str| {
        let arguments = ["call", id, "page=2"];
        place.run_with(&arguments, |command| {
            command
                .env("LICTOR_SECRET_PETS_IN_QUERY", key)
                .env("LICTOR_SECRET_PETS_IN_COOKIE", sid);
        })
    };
    for id in ["pets.list_pets", "pets.add_pet"] {
        place.run_as_approver(&["capability", "approve", id]).done();
    }
    let done = call("pets.list_pets").done();
    assert_eq!(done["output"]["body"], json!({ "echo": "[secret]" }));
    let failed = call("pets.add_pet").ends(8, "incomplete");
    let seen = server.ended();
    for (one, method) in seen.iter().zip(["GET", "POST"]) {
        assert_eq!(one.line, format!("{method} /pets?key=k3y-c4n4ry%26%3D&page=2 HTTP/1.1"));
        assert!(one.headers.contains(&format!("cookie: sid={sid}")), "{:?}", one.headers);
    }
    for secret in [key, "k3y-c4n4ry", "k3y-c4n4ry%26%3D", sid] {
        assert!(
            !done.to_string().contains(secret) && !failed.to_string().contains(secret),
            "{failed}"
        );
        crate::secrets::assert_nowhere(&place, secret);
    }
    place.verify();
}

#[test]
fn documents_of_other_products_give_what_they_can() {
    let place = Place::new();
    for (name, contracts) in
        [("docker.yaml", 55), ("slack.json", 138), ("stripe.yaml", 244), ("twilio.json", 113)]
    {
        let imported = import(&place, &[&carried(name), "--from", "openapi", "--dry-run"]).done();
        let found = imported["would_propose"].as_array().unwrap();
        assert!(found.len() >= contracts, "{name}: {}", found.len());
        for one in found {
            let contract = &one["contract"];
            let risk = match one["origin"].as_str().unwrap().split(' ').next().unwrap() {
                "GET" | "HEAD" => "low",
                "DELETE" => "high",
                _ => "medium",
            };
            assert_eq!(contract["risk"], risk);
            assert_eq!(contract["effects"]["net"].as_array().unwrap().len(), 1);
        }
        assert_eq!(place.run(&["capability", "list"]).done()["problems"], json!([]));
    }
    assert!(
        !place.exists(".lictor/capabilities/imported.get_charges.yaml"),
        "dry runs add nothing"
    );
}

#[test]
fn a_claude_skill_becomes_what_reads_its_files() {
    let place = Place::with_policy(
        "version: 1\ndefault: deny\nrules:\n  - { name: look, when: { effect: fs.read }, verdict: allow }\n",
    );
    place.write(
        "skills/pdf/SKILL.md",
        "---\nname: PDF forms\ndescription: Fills forms.\nallowed-tools: Bash\n---\n# How\n",
    );
    place.write("skills/pdf/reference/fields.md", "fields\n");
    place.write("skills/pdf/scripts/fill.py", "print('{}')\n");
    place.write("other.md", "other\n");
    let imported = import(&place, &["skills/pdf", "--from", "claude_skill"]).done();
    let ids: Vec<&str> = imported["proposed"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, ["imported.pdf_forms", "imported.pdf_forms.fill"]);
    assert!(imported["proposed"][0]["lost"].to_string().contains("allowed-tools"));
    let read = |path: &str| place.run(&["call", "imported.pdf_forms", &format!("path={path}")]);
    read("skills/pdf/SKILL.md").ends(3, "denied");
    place.run_as_approver(&["capability", "approve", "imported.pdf_forms"]).done();
    assert_eq!(read("skills/pdf/reference/fields.md").done()["output"]["content"], "fields\n");
    read("other.md").ends(2, "invalid_input");
    let outside = import(&place, &[place.home().to_str().unwrap(), "--from", "claude_skill"]);
    assert!(message(&outside.ends(2, "invalid_input")).contains("lies in the workspace"));
}

#[test]
fn tools_and_commands_become_proposals_and_say_what_is_missing() {
    let place = Place::new();
    let tools = r#"[{"type":"function","function":{"name":"getWeather","description":"D","strict":true,
        "parameters":{"type":"object","properties":{"city":{"type":"string"}}}}},{"type":"web_search"}]"#;
    let file = place.document("t.json", tools);
    let imported = import(&place, &[&file, "--from", "openai", "--namespace", "host"]).done();
    assert_eq!(imported["proposed"][0]["id"], "host.get_weather");
    assert_eq!(imported["left_out"].as_array().unwrap().len(), 1);
    place.run_as_approver(&["capability", "approve", "host.get_weather"]).done();
    // Let in, and yet nobody here knows how it is done.
    assert_ne!(place.run(&["call", "host.get_weather"]).code, 0);

    let command = import(&place, &["--namespace", "ops", "--command", "jq", "-c", ".", ";"]).done();
    assert_eq!(command["proposed"][0]["id"], "ops.jq");
    let shown = place.run(&["capability", "show", "ops.jq"]).done();
    assert_eq!(shown["handler"], json!({ "command": ["jq", "-c", "."] }));
    assert_eq!((&shown["risk"], &shown["effects"]["process"]), (&json!("high"), &json!(["jq"])));
    place.run(&["call", "ops.jq"]).ends(3, "denied");

    import(&place, &[&file]).ends(2, "usage");
    import(&place, &[&file, "--from", "openapi"]).ends(2, "invalid_input");
    let missing = import(&place, &[&file, "--from", "openai", "--only", "imported.get_wether"]);
    assert!(missing.ends(2, "not_found").to_string().contains("imported.get_weather"));
}

/// What a bare command becomes is let in as it is, runs for real, and gets no file; what it may
/// change is written into its contract by a person, is another digest, and is let in anew.
#[test]
fn an_imported_command_runs_once_it_is_let_in_and_what_it_changes_lands() {
    let place = Place::with_policy(
        "version: 1\ndefault: deny\npaths: { protected: [\"ask/**\"], allowed: [\"**\"] }\n\
         risk: { low: allow, medium: allow, high: allow }\n\
         rules:\n  - { name: sh, when: { effect: process, program: sh }, verdict: allow }\n",
    );
    if !crate::command::can_hold(&place) {
        return;
    }
    place.write("src/a.txt", "one\n");
    let script = r#"read -r input; if [ -d src ]; then printf '%s\n' "$input" > src/got.json; fi; printf '{"files": "%s"}' "$(ls)""#;
    let arguments = ["--namespace", "ops", "--command", "sh", "-c", script, ";"];
    let dry =
        import(&place, &["--dry-run", "--namespace", "ops", "--command", "sh", "-c", script, ";"]);
    let mut contract = dry.done()["would_propose"][0]["contract"].clone();
    let imported = import(&place, &arguments).done();
    assert_eq!(
        (&imported["proposed"][0]["id"], &imported["proposed"][0]["state"]),
        (&json!("ops.sh"), &json!("proposed"))
    );
    assert!(imported["proposed"][0]["lost"].to_string().contains("it gets none"));
    let call = || place.run(&["call", "ops.sh", "--input", r#"{"n":1}"#]);
    call().ends(3, "denied");

    place.run_as_approver(&["capability", "approve", "ops.sh"]).done();
    assert_eq!(call().done()["output"], json!({ "files": "" }), "it is given no file");
    assert!(!place.exists("src/got.json"));

    contract["effects"]["fs"] = json!({ "read": ["src/**"], "write": ["src/**"] });
    let file = place.root.join(imported["proposed"][0]["file"].as_str().unwrap());
    std::fs::write(&file, contract.to_string()).unwrap();
    call().ends(6, "integrity");
    let bob = |command: &mut Command| _ = command.env("LICTOR_USER", "bob");
    place.run_with(&["capability", "propose", file.to_str().unwrap()], bob).done();
    call().ends(3, "denied");
    place.run_as_approver(&["capability", "approve", "ops.sh"]).done();
    let before = place.tree().without(".lictor");
    assert_eq!(call().done()["output"], json!({ "files": "src" }));
    assert_eq!(place.read("src/got.json"), "{\"n\":1}\n", "the input came on standard input");
    place.run(&["undo"]).done();
    assert_eq!(place.tree().without(".lictor"), before);
    place.verify();
}
