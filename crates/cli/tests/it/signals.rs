//! A server on standard input whose client stays, and that somebody tells to end.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::client::{Client, Era};
use crate::place::{POLICY, Place};
use crate::stand_in::{StandIn, baseline, looks};
use crate::wrap::{RULES, is_there};

/// What is recorded of what risks little waits, so it could be lost.
const LAZY: &str = "\
audit: { on_failure: continue }
durability: { records: lazy }
";
/// So many calls are made right before the end.
const CALLS: usize = 10;

fn place() -> (Place, StandIn) {
    let place = Place::with_policy(&format!("{POLICY}{RULES}{LAZY}"));
    let stand_in = StandIn::new(&place, &[looks("echo")]);
    let (code, json) = baseline(&place, "desk", &[], &stand_in);
    assert_eq!(code, 0, "{json}");
    (place, stand_in)
}

/// A client of `mcp wrap` that has made its calls, and the process of the server behind it.
async fn wrapped(place: &Place, stand_in: &StandIn) -> (Client, Pid) {
    let command = stand_in.command();
    let mut arguments = vec!["--user", "somebody", "desk"];
    arguments.extend(command.iter().map(String::as_str));
    let client = Client::connect_as(place, Era::Modern, "wrap", &arguments, |command| {
        command.env("LICTOR_SECRET_KEY", "a-secret-of-some-length");
    })
    .await;
    for _ in 0..CALLS {
        let answer = client.call("echo", json!({ "text": "a" })).await;
        assert!(!answer.is_refused(), "{}", answer.whole());
    }
    let theirs = i32::try_from(*stand_in.processes().last().unwrap()).unwrap();
    (client, Pid::from_raw(theirs).unwrap())
}

/// Whether so many actions of one capability, and the end of their session behind them, are on record.
#[track_caller]
fn ended_in_order(place: &Place, capability: &str) {
    let trail = place.trail();
    let of_client: Vec<_> = trail.iter().filter(|event| event["agent_id"] == "mcp").collect();
    let done = of_client.iter().filter(|event| {
        event["action_name"] == capability && event["event_type"] == "action_completed"
    });
    assert_eq!(done.count(), CALLS);
    assert_eq!(of_client.last().unwrap()["event_type"], "session_ended");
}

#[tokio::test]
async fn a_server_that_is_told_to_end_records_all_that_it_did_and_ends_its_session() {
    for signal in [Signal::TERM, Signal::INT] {
        let (place, _stand_in) = place();
        let client = Client::connect(&place, Era::Modern, &[]).await;
        for _ in 0..CALLS {
            client.call("time-now", json!({})).await.done();
        }
        client.told_to_end(signal).await;
        ended_in_order(&place, "time.now");
    }
}

#[tokio::test]
async fn a_wrap_that_is_told_to_end_ends_its_server_too() {
    let (place, stand_in) = place();
    let (client, theirs) = wrapped(&place, &stand_in).await;
    client.told_to_end(Signal::TERM).await;
    assert!(!is_there(theirs.as_raw_nonzero().get().unsigned_abs()));
    ended_in_order(&place, "mcp.desk.echo");
}

#[tokio::test]
async fn a_server_that_is_told_again_does_not_wait_for_what_does_not_end() {
    let (place, stand_in) = place();
    let (client, theirs) = wrapped(&place, &stand_in).await;
    // It ends neither with its input nor when it is told to.
    kill_process(theirs, Signal::STOP).unwrap();
    let status = client.told_until_it_is_gone(Signal::TERM).await;
    kill_process(theirs, Signal::KILL).unwrap();
    assert_eq!(status.code(), Some(128 + 15), "{status}");
}

#[tokio::test]
async fn a_server_that_nobody_talked_to_yet_ends_when_it_is_told_to() {
    let place = Place::new();
    let (server,) = Client::spawn(&place, &[], |_| {});
    let id = server.id();
    let listens = || {
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
        let caught = u64::from_str_radix(caught.trim(), 16).unwrap();
        caught & (1 << (15 - 1)) != 0
    };
    let listening = async {
        while !listens() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), listening).await.expect("it listens to signals");
    server.told_to_end(Signal::TERM).await;
}
