//! How often work changes threads: what only computes never does, and what may block always does.
//! Counted, because a change of threads is what it costs, whatever the machine does beside.

use lictor::context::{Name, Principal, Session, SystemClock};
use lictor::{Agent, Runtime, RuntimeOptions};
use serde_json::{Value, json};

const POLICY: &str = "version: 1\ndefault: deny\npaths: { allowed: [\"**\"] }\n\
                      risk: { low: allow, medium: allow }\n";

async fn agent(root: &std::path::Path) -> Agent {
    std::fs::create_dir_all(root.join(".lictor")).unwrap();
    std::fs::write(root.join(".lictor/policy.yaml"), POLICY).unwrap();
    let runtime = Runtime::open(RuntimeOptions::new(root, root.join("keys"))).await.unwrap();
    let name = |text| Name::parse(text).unwrap();
    let principal = Principal { org: name("acme"), user: name("ann"), agent: name("cli") };
    runtime.agent(&Session::new(principal, &SystemClock))
}

/// How often a call changed threads.
async fn moved(agent: &Agent, capability: &str, input: Value) -> u64 {
    let before = agent.runtime().n_moved();
    agent.call(capability, input).await.unwrap();
    agent.runtime().n_moved() - before
}

#[tokio::test]
async fn what_only_computes_stays_where_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let agent = agent(dir.path()).await;
    for (capability, input) in [
        ("time.now", json!({})),
        ("text.render", json!({ "template": "{{ a }}", "variables": { "a": 1 } })),
        ("text.diff", json!({ "before": "a\n", "after": "b\n" })),
        ("json.parse", json!({ "text": "[1]" })),
        ("json.stringify", json!({ "value": [1] })),
        ("yaml.parse", json!({ "text": "a: 1" })),
        ("csv.parse", json!({ "text": "a,b\n1,2\n" })),
        ("hash.text", json!({ "text": "a" })),
        ("base64.encode", json!({ "text": "a" })),
        ("regex.match", json!({ "pattern": "a", "text": "a" })),
    ] {
        assert_eq!(moved(&agent, capability, input).await, 0, "{capability}");
    }
}

#[tokio::test]
async fn what_reads_files_is_moved_once_to_be_described_and_once_to_read() {
    let dir = tempfile::tempdir().unwrap();
    let agent = agent(dir.path()).await;
    // Its output follows from what was described.
    assert_eq!(moved(&agent, "fs.write", json!({ "path": "a", "content": "x" })).await, 1);
    assert_eq!(moved(&agent, "fs.read", json!({ "path": "a" })).await, 2);
    assert_eq!(moved(&agent, "fs.hash", json!({ "path": "a" })).await, 2);
    assert_eq!(moved(&agent, "fs.search", json!({ "pattern": "x" })).await, 2);
    assert_eq!(moved(&agent, "archive.zip", json!({ "from": "a", "to": "a.zip" })).await, 2);
    assert_eq!(moved(&agent, "archive.unzip", json!({ "from": "a.zip", "to": "b" })).await, 1);
    assert_eq!(moved(&agent, "fs.delete", json!({ "path": "a" })).await, 1);
}
