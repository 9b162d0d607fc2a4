//! What this process takes, as the system sees it.

use std::fs;

use serde_json::{Value, json};

/// Resident memory, open handles and threads.
pub(crate) fn taken() -> Value {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let number = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        line.and_then(|rest| rest.split_whitespace().next()).and_then(|n| n.parse::<u64>().ok())
    };
    let n_handles = fs::read_dir("/proc/self/fd").map(Iterator::count).ok();
    json!({ "rss_kib": number("VmRSS:"), "handles": n_handles, "threads": number("Threads:") })
}

/// The commit that is checked out, for whoever repeats a run.
pub(crate) fn commit() -> String {
    let output = std::process::Command::new("git").args(["rev-parse", "--short", "HEAD"]).output();
    output
        .map_or_else(|_| String::new(), |it| String::from_utf8_lossy(&it.stdout).trim().to_owned())
}
