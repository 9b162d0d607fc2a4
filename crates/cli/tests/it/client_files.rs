//! `mcp import`: the files of clients, changed where they have to be and nowhere else.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::client::{Client, Era};
use crate::place::Place;
use crate::stand_in::{StandIn, looks};
use crate::wrap::place;

/// What nobody is shown, and no store holds.
const SECRET: &str = "sk-of-somebody";

const OF_VSCODE: &str = r#"{
  // Servers of this project.
  "inputs": [{ "type": "promptString", "id": "key", "password": true, },],
  "servers": {
    "files": {
      "type": "stdio", // not http
      "command": "npx",
      "args": [
        "-y", // no questions
        "@modelcontextprotocol/server-filesystem",
        "${workspaceFolder}", /* this one */
      ],
      "env": { "KEY": "${input:key}", "TOKEN": "sk-of-somebody" },
      "dev": { "watch": "src/**" },
    },
    "bare": {
      "command": "mcp-server-time"
    },
    "web": { "type": "http", "url": "https://tools.example/mcp?key=sk-of-somebody" },
  },
}
"#;

const OF_VSCODE_THEN: &str = r#"{
  // Servers of this project.
  "inputs": [{ "type": "promptString", "id": "key", "password": true, },],
  "servers": {
    "files": {
      "type": "stdio", // not http
      "command": "lictor",
      "args": [
        "mcp",
        "wrap",
        "files",
        "--workspace",
        "${workspaceFolder}",
        "--agent",
        "vscode",
        "--env",
        "KEY",
        "--env",
        "TOKEN",
        "--",
        "npx",
        "-y", // no questions
        "@modelcontextprotocol/server-filesystem",
        "${workspaceFolder}", /* this one */
      ],
      "env": { "KEY": "${input:key}", "TOKEN": "sk-of-somebody" },
      "dev": { "watch": "src/**" },
    },
    "bare": {
      "command": "lictor",
      "args": ["mcp", "wrap", "bare", "--workspace", "${workspaceFolder}", "--agent", "vscode", "--", "mcp-server-time"]
    },
    "web": { "type": "http", "url": "https://tools.example/mcp?key=sk-of-somebody" },
  },
}
"#;

fn home(place: &Place, path: &str) -> PathBuf {
    let home = place.environment().remove(0).1;
    let path = home.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    path
}

fn read(path: &PathBuf) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// A server, as most files have it.
fn server(program: &str, token: &str) -> Value {
    json!({ "command": program, "args": ["--port", "1"], "env": { "TOKEN": token } })
}

#[track_caller]
fn has_no_secret(said: &Value) {
    assert!(!said.to_string().contains(SECRET), "{said}");
}

/// What became of each server of one file.
fn actions(file: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let servers = file["servers"].as_array().unwrap().iter();
    servers.map(|one| (text(&one["server"]), text(&one["action"]))).collect()
}

#[test]
fn a_file_with_comments_is_changed_where_it_has_to_be_and_nowhere_else() {
    let place = Place::new();
    place.write(".vscode/mcp.json", OF_VSCODE);
    let told = place.done(&["mcp", "import", "--dry-run"]);
    assert_eq!(
        place.read(".vscode/mcp.json").as_deref(),
        Some(OF_VSCODE),
        "a dry run writes nothing"
    );
    has_no_secret(&told);
    let file = &told["files"][0];
    assert_eq!((&file["client"], &file["written"]), (&json!("vscode"), &json!(false)));
    let whole = ["npx", "-y", "@modelcontextprotocol/server-filesystem", "${workspaceFolder}"];
    assert_eq!(file["servers"][0]["command"], json!(whole));
    assert_eq!(file["servers"][0]["variables"], json!(["KEY", "TOKEN"]));
    let diff = file["diff"].as_str().unwrap();
    assert!(
        diff.contains("-      \"command\": \"npx\"") && diff.contains("+        \"wrap\""),
        "{diff}"
    );

    let told = place.done(&["mcp", "import", "--yes"]);
    has_no_secret(&told);
    assert_eq!(place.read(".vscode/mcp.json").as_deref(), Some(OF_VSCODE_THEN));
    let expected = [("files", "wrapped"), ("bare", "wrapped"), ("web", "left")];
    let expected = expected.map(|(name, action)| (name.to_owned(), action.to_owned()));
    assert_eq!(actions(&told["files"][0]), expected);
    let trail = place.trail();
    has_no_secret(&json!(trail));
    let event = trail.iter().find(|event| event["action_name"] == "mcp.import").unwrap();
    assert_eq!(event["action_params"]["servers"], json!(["files", "bare"]), "{event}");

    // What is behind the road already stays what it is.
    let again = place.done(&["mcp", "import", "--yes"]);
    assert_eq!(again["files"][0]["written"], false);
    assert_eq!(actions(&again["files"][0])[0].1, "already");
    assert_eq!(place.read(".vscode/mcp.json").as_deref(), Some(OF_VSCODE_THEN));
}

#[test]
fn the_files_of_all_clients_are_found_and_each_server_knows_its_workspace() {
    let place = Place::new();
    let root = place.root.display().to_string();
    let servers = json!({ "mcpServers": { "desk": server("desk-server", SECRET) }, "other": [1] });
    place.write(".mcp.json", &servers.to_string());
    place.write(".cursor/mcp.json", &serde_json::to_string_pretty(&servers).unwrap());
    let code = home(&place, ".claude.json");
    let known = json!({
        "numStartups": 7, "oauthAccount": { "token": SECRET },
        "mcpServers": { "mine": server("mine-server", SECRET) },
        "projects": {
            root.as_str(): { "mcpServers": { "local": server("local-server", SECRET) }, "history": [] },
            "/elsewhere": { "mcpServers": { "theirs": server("their-server", SECRET) } },
        },
    });
    fs::write(&code, known.to_string()).unwrap();
    let desktop = home(&place, "config/Claude/claude_desktop_config.json");
    fs::write(&desktop, servers.to_string()).unwrap();
    let cursor = home(&place, ".cursor/mcp.json");
    fs::write(&cursor, servers.to_string()).unwrap();
    let vscode = home(&place, "config/Code/User/mcp.json");
    fs::write(&vscode, json!({ "servers": servers["mcpServers"] }).to_string()).unwrap();

    // Those of the project, unless somebody says otherwise.
    let told = place.done(&["mcp", "import", "--dry-run"]);
    assert_eq!(told["files"].as_array().unwrap().len(), 2, "{told}");
    let told = place.done(&["mcp", "import", "--scope", "all", "--yes"]);
    assert_eq!(told["files"].as_array().unwrap().len(), 6, "{told}");
    has_no_secret(&told);

    let entry = |start: &[&str], of: &str| {
        let mut args = start.to_vec();
        args.extend(["--env", "TOKEN", "--", of, "--port", "1"]);
        json!({ "command": "lictor", "args": args, "env": { "TOKEN": SECRET } })
    };
    let wrapped = |name: &str, more: &[&str], of: &str| {
        let mut start = vec!["mcp", "wrap", name];
        start.extend(more);
        entry(&start, of)
    };
    let here = "${workspaceFolder}";
    let desk = |more: &[&str]| wrapped("desk", more, "desk-server");
    assert_eq!(
        read(&place.path(".mcp.json")),
        json!({ "mcpServers": { "desk": desk(&["--agent", "claude-code"]) }, "other": [1] })
    );
    let found = read(&place.path(".cursor/mcp.json"))["mcpServers"]["desk"].clone();
    assert_eq!(found, desk(&["--workspace", here, "--agent", "cursor"]));
    for (path, key, agent) in [
        (&desktop, "mcpServers", "claude-desktop"),
        (&cursor, "mcpServers", "cursor"),
        (&vscode, "servers", "vscode"),
    ] {
        let expected = desk(&["--workspace", &root, "--agent", agent]);
        assert_eq!(read(path)[key]["desk"], expected, "{}", path.display());
    }
    let mut then = known.clone();
    let more = ["--workspace", root.as_str(), "--agent", "claude-code"];
    then["mcpServers"]["mine"] = wrapped("mine", &more, "mine-server");
    then["projects"][&root]["mcpServers"]["local"] = wrapped("local", &more, "local-server");
    assert_eq!(read(&code), then, "servers of other projects stay");
}

#[test]
fn it_is_taken_back_to_the_byte_each_step_for_itself() {
    let place = Place::new();
    let path = place.path(".mcp.json");
    let odd = "{\"mcpServers\" : {\r\n\t\"a\":{\"command\":\"one\"} ,\"b\":{ \"command\" : \"two\", \"args\":[ ] } } }";
    place.write(".mcp.json", odd);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    place.done(&["mcp", "import", "--yes", "--server", "a"]);
    let between = place.read(".mcp.json").unwrap();
    assert_eq!(read(&path)["mcpServers"]["b"]["command"], "two", "nobody asked for it");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    place.done(&["mcp", "import", "--yes"]);
    assert_eq!(read(&path)["mcpServers"]["b"]["command"], "lictor");

    let (code, refused) = place.run(&["mcp", "import", "--revert"]);
    assert_eq!(code, 2, "nobody agreed: {refused}");
    place.done(&["mcp", "import", "--revert", "--yes"]);
    assert_eq!(place.read(".mcp.json").unwrap(), between);
    place.done(&["mcp", "import", "--revert", "--yes"]);
    assert_eq!(place.read(".mcp.json").unwrap(), odd);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    let (code, nothing) = place.run(&["mcp", "import", "--revert", "--yes"]);
    assert_eq!((code, &nothing["error"]["code"]), (2, &json!("not_found")));
    let reverts = place.trail();
    let reverts = reverts.iter().filter(|event| event["action_name"] == "mcp.import.revert");
    assert_eq!(reverts.count(), 2);
}

#[test]
fn what_somebody_changed_since_is_not_lost() {
    let place = Place::new();
    let servers = json!({ "mcpServers": { "desk": server("desk-server", SECRET) } }).to_string();
    place.write(".mcp.json", &servers);
    place.done(&["mcp", "import", "--yes"]);
    let mut theirs = read(&place.path(".mcp.json"));
    theirs["mcpServers"]["new"] = server("new-server", SECRET);
    let theirs = theirs.to_string();
    place.write(".mcp.json", &theirs);
    let (code, refused) = place.run(&["mcp", "import", "--revert", "--yes"]);
    assert_eq!((code, &refused["error"]["code"]), (5, &json!("conflict")));
    has_no_secret(&refused);
    assert!(refused.to_string().contains("new-server"), "what would be lost is shown: {refused}");
    assert_eq!(place.read(".mcp.json").unwrap(), theirs);
    // Told so, and what was there is kept.
    place.done(&["mcp", "import", "--revert", "--yes", "--force"]);
    assert_eq!(place.read(".mcp.json").unwrap(), servers);
    let shelves = fs::read_dir(place.keys().join("imports")).unwrap();
    let mut copies = shelves.flat_map(|shelf| fs::read_dir(shelf.unwrap().path()).unwrap());
    let copy = copies.find_map(|copy| {
        Some(copy.unwrap().path())
            .filter(|path| path.extension().is_some_and(|it| it == "replaced"))
    });
    let copy = copy.expect("a copy");
    assert_eq!(fs::read_to_string(&copy).unwrap(), theirs);
    assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn nothing_is_written_unless_somebody_agreed_and_all_of_it_can_be_read() {
    let place = Place::new();
    let good = json!({ "mcpServers": { "desk": server("desk-server", SECRET) } }).to_string();
    place.write(".mcp.json", &good);
    let (code, refused) = place.run(&["mcp", "import"]);
    assert_eq!((code, &refused["error"]["code"]), (2, &json!("usage")), "{refused}");
    has_no_secret(&refused);
    place.write(
        ".vscode/mcp.json",
        "{ \"servers\": { \"a\": { \"env\": { \"K\": sk-of-somebody } } } }",
    );
    let (code, refused) = place.run(&["mcp", "import", "--yes"]);
    assert_eq!((code, &refused["error"]["code"]), (2, &json!("invalid_input")), "{refused}");
    has_no_secret(&refused);
    assert_eq!(place.read(".mcp.json").unwrap(), good, "one bad file, and nothing is written");
    for (arguments, code) in [
        (vec!["--file", "absent.json"], "invalid_input"),
        (vec!["--client", "cursor"], "not_found"),
        (vec!["--client", "claude-desktop"], "usage"),
        (vec!["--client", "claude-code", "--server", "absent"], "not_found"),
        (vec!["--file", ".lictor/policy.yaml"], "invalid_input"),
    ] {
        let all: Vec<&str> =
            ["mcp", "import", "--yes"].into_iter().chain(arguments.iter().copied()).collect();
        let (exit, refused) = place.run(&all);
        assert_eq!(
            (exit, &refused["error"]["code"]),
            (2, &json!(code)),
            "{arguments:?}: {refused}"
        );
    }
    assert!(!place.keys().join("imports").exists(), "nothing was kept, since nothing was written");
}

#[test]
fn what_would_not_work_behind_the_road_is_left_with_its_reason() {
    let place = Place::new();
    let all = [
        ("web", json!({ "url": "http://127.0.0.1:1/mcp" }), "HTTP"),
        ("sse", json!({ "type": "sse", "serverUrl": "http://127.0.0.1:1" }), "HTTP"),
        ("odd", json!({ "type": "pigeon", "command": "c" }), "`pigeon`"),
        ("none", json!({ "args": [] }), "no `command`"),
        ("number", json!({ "command": "c", "args": [1] }), "no list of texts"),
        ("keyed", json!({ "command": "c", "args": ["--key=${API_KEY}"] }), "put it into `env`"),
        ("input", json!({ "command": "${input:program}" }), "`${input:program}`"),
        ("file", json!({ "command": "c", "envFile": "${workspaceFolder}/.env" }), "`envFile`"),
        (
            "ours",
            json!({ "command": "c", "env": { "LICTOR_APPROVER_TOKEN": "x" } }),
            "Lictor's own",
        ),
        ("far", json!({ "command": "c", "cwd": "/etc" }), "out of the workspace"),
        ("up", json!({ "command": "c", "cwd": "${workspaceFolder}/../x" }), "out of the workspace"),
        ("two words", json!({ "command": "c" }), "no name of a server"),
        ("-x", json!({ "command": "c" }), "like an option"),
        ("text", json!("c"), "no object"),
    ];
    let servers: serde_json::Map<String, Value> =
        all.iter().map(|(name, said, _)| ((*name).to_owned(), said.clone())).collect();
    let text = json!({ "mcpServers": servers }).to_string();
    place.write(".mcp.json", &text);
    let told = place.done(&["mcp", "import", "--yes"]);
    assert_eq!(place.read(".mcp.json").unwrap(), text);
    for (name, _, why) in &all {
        let found = told["files"][0]["servers"].as_array().unwrap().iter();
        let one = found.clone().find(|one| one["server"] == *name).unwrap();
        assert_eq!(one["action"], "left", "{one}");
        assert!(one["why"].as_str().unwrap().contains(why), "{one}");
    }
}

/// As clients pass it on that fill in where they are, or else what is let in is never what is started.
#[test]
fn what_clients_fill_in_is_let_in_filled_and_one_that_several_start_once() {
    let place = Place::new();
    let said = json!({ "command": "c", "args": ["--in", "${workspaceFolder}/x", "${workspaceFolderBasename}"] });
    place.write(".vscode/mcp.json", &json!({ "servers": { "a": said } }).to_string());
    place.write(".cursor/mcp.json", &json!({ "mcpServers": { "a": said } }).to_string());
    let told = place.done(&["mcp", "import", "--yes"]);
    let root = place.root.to_str().unwrap();
    let step = format!("lictor mcp wrap a --approve-baseline -- c --in {root}/x workspace");
    assert_eq!(told["next_steps"], json!([step]), "{told}");
    assert!(place.read(".vscode/mcp.json").unwrap().contains("${workspaceFolder}/x"));
}

#[test]
fn a_name_that_stands_for_two_commands_is_pointed_out() {
    let place = Place::new();
    let servers = |program: &str| json!({ "mcpServers": { "a": { "command": program }, "b": { "command": "b" } } });
    place.write(".mcp.json", &servers("one").to_string());
    place.write(".cursor/mcp.json", &servers("two").to_string());
    let told = place.done(&["mcp", "import", "--dry-run"]);
    for file in told["files"].as_array().unwrap() {
        let notes = |n: usize| file["servers"][n]["notes"].to_string();
        assert!(notes(0).contains("only one of them can be let in"), "{file}");
        assert_eq!(notes(1), "[]", "{file}");
    }
}

#[test]
fn a_link_stays_a_link_and_a_folder_is_handed_on() {
    let place = Place::new();
    let real = home(&place, "dotfiles/mcp.json");
    let said = json!({ "command": "c", "cwd": "${workspaceFolder}/sub/", "autoApprove": ["x"] });
    fs::write(&real, json!({ "servers": { "a": said } }).to_string()).unwrap();
    symlink(&real, place.path("linked.json")).unwrap();
    let told =
        place.done(&["mcp", "import", "--file", "linked.json", "--yes", "--lictor", "/opt/lictor"]);
    let notes = told["files"][0]["servers"][0]["notes"].to_string();
    assert!(notes.contains("autoApprove"), "{told}");
    assert!(fs::symlink_metadata(place.path("linked.json")).unwrap().is_symlink());
    let entry = &read(&real)["servers"]["a"];
    let root = place.root.to_str().unwrap();
    let args = ["mcp", "wrap", "a", "--workspace", root, "--cwd", "sub", "--", "c"];
    assert_eq!(entry["args"], json!(args));
    assert_eq!((&entry["command"], &entry["autoApprove"]), (&json!("/opt/lictor"), &json!(["x"])));
}

#[tokio::test]
async fn what_was_imported_is_let_in_as_told_and_serves() {
    let place = place();
    let stand_in = StandIn::new(&place, &[looks("environment")]);
    let command = stand_in.command();
    let set = command[1].split_once('=').unwrap();
    let said = json!({
        "command": command[3], "args": command[4..], "env": { set.0: set.1, "THEIRS": SECRET },
    });
    place.write(".mcp.json", &json!({ "mcpServers": { "desk": said } }).to_string());
    let told = place.done(&["mcp", "import", "--yes"]);
    has_no_secret(&told);
    let entry = read(&place.path(".mcp.json"))["mcpServers"]["desk"].clone();
    let args: Vec<&str> =
        entry["args"].as_array().unwrap().iter().map(|arg| arg.as_str().unwrap()).collect();
    // As the step says it, by somebody who may.
    let step = told["next_steps"][0].as_str().unwrap();
    let step = step.strip_prefix("lictor ").unwrap().split(' ');
    let mut all: Vec<&str> = vec!["--user", "somebody"];
    all.extend(step);
    place.approver_with(&all, &[set]);
    let arguments = args.strip_prefix(&["mcp", "wrap"][..]).unwrap();
    let client = Client::connect_as(&place, Era::Legacy, "wrap", arguments, |command| {
        command.env(set.0, set.1).env("THEIRS", SECRET);
    })
    .await;
    let said = client.call("environment", json!({})).await;
    client.end().await;
    assert!(said.text().contains(&format!("THEIRS={SECRET}")), "{}", said.whole());
    let shown = place.done(&["capability", "show", "mcp_server.desk"]);
    has_no_secret(&shown);
}
