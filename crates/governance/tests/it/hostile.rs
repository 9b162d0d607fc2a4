//! Files that are wrong: each is refused at its place, with what is accepted there.

use lictor_document::Source;
use lictor_governance::PolicySet;

/// A policy, the start of the message, and something that it says.
#[track_caller]
fn check(text: &str, place: &str, says: &str) {
    match PolicySet::workspace(&Source::new("policy.yaml", text.as_bytes())) {
        Ok(_) => panic!("this loads:\n{text}"),
        Err(error) => {
            let message = error.to_string();
            assert!(message.starts_with(&format!("policy.yaml:{place}")), "{message}");
            assert!(message.contains(says), "{message}");
        }
    }
}

fn rule(when: &str) -> String {
    format!("version: 1\nrules:\n  - name: r\n    when: {when}\n    verdict: deny\n")
}

#[test]
fn shapes() {
    check("version: 2", "1:10", "1 is accepted here");
    check("default: deny", "1:1", "missing key `version`");
    check("version: 1\ndefault: maybe", "2:10", "accepted here: allow, need_approval, deny");
    check("version: 1\nversion: 1", "2:1", "duplicate key `version`");
    check("version: 1\nrulez: []", "2:1", "did you mean `rules`?");
    check("version: 1\npaths: {allow: []}", "2:9", "forbidden, protected, allowed");
    check("version: 1\nlimits: {max_files: -1}", "2:21", "accepted here");
    check("version: 1\nlimits: {max_bytes: 64MB}", "2:21", "KiB");
    check("version: 1\nlimits: {max_step_time: 60}", "2:25", "the unit is missing");
    check("version: 1\nbudgets: {session: {cost_usd: .nan}}", "2:31", "");
    check("version: 1\nbudgets: {session: {cost_usd: -1}}", "2:20", "at least 0");
}

#[test]
fn paths() {
    check("version: 1\npaths:\n  allowed: ['src/[']", "3:13", "is not a glob");
    check("version: 1\npaths:\n  allowed: ['/etc/**']", "3:13", "relative to the workspace root");
    check("version: 1\npaths:\n  allowed: ['src/']", "3:13", "do not end in `/`");
    check("version: 1\npaths:\n  allowed: ['../x']", "3:13", "no `.` and `..`");
    check("version: 1\npaths:\n  forbidden: ['u\u{308}/**']", "3:15", "form C (NFC)");
    check("version: 1\npaths:\n  forbidden: ['']", "3:15", "an empty pattern matches nothing");
}

#[test]
fn conditions() {
    check(&rule("{}"), "4:11", "an empty `when`");
    check(&rule("{path: [a, 'b[']}"), "4:22", "is not a glob");
    check(&rule("{capability: []}"), "4:24", "an empty list");
    check(&rule("{kind: skil}"), "4:18", "accepted here: skill, tool, mcp, workflow");
    check(&rule("{effect: fs.wirte}"), "4:20", "accepted here: fs.read, fs.write");
    check(&rule("{effect: 'x*'}"), "4:20", "matches none of");
    check(&rule("{effect: net, path: a}"), "4:11", "never go together");
    check(&rule("{host: a, path: a}"), "4:11", "no effect has two");
    check(&rule("{risk: huge}"), "4:18", "low, medium, high and critical are accepted");
    check(&rule("{lines: many}"), "4:19", "a number, or a comparison");
    check(&rule("{lines: {over: 5}}"), "4:26", "accepted here: eq, ne, gt, gte, lt, lte, in");
    check(&rule("{user: {gt: a}}"), "4:23", "accepted here: eq, ne, in, matches");
    check(&rule("{user: {matches: '('}}"), "4:28", "is not a regular expression");
    check(&rule("{user: {matches: '(\\w{500}){500}'}}"), "4:28", "size limit");
    check(&rule("{input: {a: {gt: true}}}"), "4:28", "a number or a text");
    check(&rule("{input: {a: {gt: 1, b: 2}}}"), "4:34", "unknown operator `b`");
    check(&rule("{input: {a: {gt: .nan}}}"), "4:28", "");
    check(&rule("{input: {a: {in: []}}}"), "4:28", "at least one value");
    check(&rule("{input: 5}"), "4:19", "a mapping");
    check(&rule("{colour: red}"), "4:12", "unknown key `colour`");
}

#[test]
fn rules() {
    let base = "version: 1\nrules:\n  - {name: a, when: {user: a}, verdict: ";
    check(&format!("{base}deny, approvals: 2}}"), "3:58", "need_approval` only");
    check(&format!("{base}need_approval, approvals: 0}}"), "3:67", "1 to 16");
    check(
        &format!("{base}deny}}\n  - {{name: a, when: {{user: b}}, verdict: deny}}"),
        "4:12",
        "two rules named `a`",
    );
    check("version: 1\nrisk: {low: deny, high: allow}", "2:25", "more leniently");
    check("version: 1\nrisk: {low: perhaps}", "2:13", "accepted here: allow, need_approval, deny");
}

#[test]
fn self_tests_run_at_load() {
    let base = "version: 1
rules:
  - name: big-spend
    when: { capability: \"payments.*\", input: { amount: { gte: 1000 } } }
    verdict: need_approval
";
    check(
        &format!(
            "{base}    match: [ {{ capability: payments.send, input: {{ amount: 999 }} }} ]\n"
        ),
        "6:14",
        "self-test of rule `big-spend` fails",
    );
    check(
        &format!(
            "{base}    not_match: [ {{ capability: payments.send, input: {{ amount: \"9\" }} }} ]\n"
        ),
        "6:18",
        "another type",
    );
    let good = format!(
        "{base}    match: [ {{ capability: payments.send, input: {{ amount: 1000 }} }} ]
    not_match: [ {{ capability: payments.send, input: {{ amount: 999 }} }}, {{ capability: fs.write }} ]
  - name: paths
    when: {{ path: 'db/**', effect: [fs.write, fs.delete] }}
    verdict: deny
    match: [ {{ effect: fs.write, path: db/a }}, {{ effect: fs.delete, path: db }} ]
    not_match: [ {{ effect: fs.read, path: db/a }}, {{ path: db/a }}, {{ effect: fs.write }} ]
  - name: hosts
    when: {{ host: '*.example.com' }}
    verdict: allow
    match: [ {{ host: 'api.example.com:443' }}, {{ effect: net, host: A.EXAMPLE.COM }} ]
    not_match: [ {{ host: example.org }}, {{ effect: fs.read }} ]
"
    );
    assert!(PolicySet::workspace(&Source::new("p.yaml", good.as_bytes())).is_ok());
}

#[test]
fn the_rest() {
    let window = |rest: &str| format!("version: 1\nwindows:\n  - {{when: {{user: a}}, {rest}}}");
    check(&window("timezone: Mars/Base"), "3:33", "is no time zone");
    check(&window("hours: 9-17"), "3:30", "are no hours");
    check(&window("days: []"), "3:29", "no day at all");
    check(&window("days: [monday]"), "3:30", "accepted here: mon, tue");
    check("version: 1\nhealth_checks: [{name: a}]", "2:17", "exactly one of http_get");
    check("version: 1\nhealth_checks: [{name: a, http_get: {url: 'ftp://x'}}]", "2:43", "http://");
    check("version: 1\nverification: {a: {command: []}}", "2:19", "names no program");
    check("version: 1\naudit: {redact: ['(']}", "2:18", "is not a regular expression");
    check("version: 1\naudit: {on_failure: panic}", "2:21", "block, continue");
    check("version: 1\napprovals: {on_timeout: allow}", "2:25", "deny");
    check("version: 1\napprovals: {channels: {smoke: low}}", "2:24", "terminal, token");
    check(
        "version: 1\nfrequency: [{capability: 5, scope: session, per: 1m, max: 1}]",
        "2:26",
        "a glob",
    );
    let many = format!("version: 1\npaths:\n  allowed: [{}]\n", "a,".repeat(10_001));
    check(&many, "3:", "more patterns than");
    let huge = format!("version: 1\n#{}", "x".repeat(1 << 20));
    check(&huge, "1:1", "at most 1048576");
}
