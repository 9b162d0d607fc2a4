//! What an action does is said in full, and held against its contract.

use lictor_capability::{Effect, EffectKind as Kind, Effects, Executable, resolve};
use lictor_context::ExecutionId;

use super::contract::{EXAMPLE, contract};
use super::support::{MemoryView, create, delete, digest, modify, path, rename, rmdir};

fn effects() -> Effects {
    let view = MemoryView::of(&[("m", "1"), ("d/f", "2"), ("r", "3")]);
    let changes = [
        create("new/c", ""),
        modify("m", "1", "2"),
        delete("d/f", "2"),
        rmdir("d"),
        rename("r", "s", "3"),
    ];
    let changes = resolve(&changes, &view).expect("no contradiction").changes;
    Effects {
        reads: vec![path("in")],
        changes,
        hosts: vec!["example.org:443".to_owned()],
        programs: vec!["git".to_owned()],
        tools: vec!["files/read".to_owned()],
        ..Effects::default()
    }
}

fn listed(effects: &Effects) -> Vec<String> {
    effects.iter().into_iter().map(|Effect { kind, target }| format!("{kind} {target}")).collect()
}

#[test]
fn each_effect_is_named_with_both_ends_of_a_rename() {
    assert_eq!(
        listed(&effects()),
        [
            "fs.read in",
            "fs.write new",
            "fs.write new/c",
            "fs.write m",
            "fs.delete d/f",
            "fs.delete d",
            "fs.write r",
            "fs.write s",
            "net example.org:443",
            "process git",
            "mcp files/read"
        ]
    );
    let undo = Effects { takes_back: vec![ExecutionId::from_digest(&digest("1"))], ..effects() };
    assert!(!listed(&undo).iter().any(|effect| effect.starts_with("fs.delete")));
}

#[test]
fn only_reading_is_read_only() {
    assert!(
        Effects { reads: vec![path("a")], reads_root: true, ..Effects::default() }.is_read_only()
    );
    assert!(!effects().is_read_only());
    for effects in [
        Effects { hosts: vec!["h".to_owned()], ..Effects::default() },
        Effects { programs: vec!["p".to_owned()], ..Effects::default() },
        Effects { tools: vec!["s/t".to_owned()], ..Effects::default() },
    ] {
        assert!(!effects.is_read_only());
    }
}

#[test]
fn nothing_goes_beyond_the_ceiling() {
    let ceiling = |declared: &str| {
        let from =
            "  fs: { read: [\"**\"], write: [\"**\"], delete: [] }\n  net: []\n  process: []";
        contract(&EXAMPLE.replace(from, declared)).effects
    };
    let all = "  fs: { read: [\"**\"], write: [\"**\"], delete: [\"**\"] }\n  net: [\"*.org:443\"]\n  process: [git]";
    assert_eq!(effects().beyond(&ceiling(all)), None);
    for (from, to, beyond) in [
        ("read: [\"**\"]", "read: [\"src/**\"]", "`fs.read` of `in`"),
        ("write: [\"**\"]", "write: [\"new/**\", \"m\", \"new\", \"r\"]", "`fs.write` of `s`"),
        ("write: [\"**\"]", "write: [\"new/**\", \"m\", \"new\", \"s\"]", "`fs.write` of `r`"),
        ("write: [\"**\"]", "write: [\"*\"]", "`fs.write` of `new/c`"),
        ("delete: [\"**\"]", "delete: [\"d/*\"]", "`fs.delete` of `d`"),
        ("*.org:443", "*.org", "`net` of `example.org:443`"),
        ("[git]", "[\"*\"]", "`process` of `git`"),
    ] {
        assert!(all.contains(from), "{from}");
        let found = effects().beyond(&ceiling(&all.replace(from, to))).expect("something beyond");
        assert_eq!(found.to_string(), format!("the contract does not declare {beyond}"));
    }
    let named_by_input = all.replace("[git]", "[\"{input}\"]");
    assert_eq!(effects().beyond(&ceiling(&named_by_input)), None);
    let root = Effects { reads_root: true, ..Effects::default() };
    assert!(root.beyond(&ceiling(&all.replace("read: [\"**\"]", "read: []"))).is_some());
    assert_eq!(root.beyond(&ceiling(all)), None);
    assert_eq!(Kind::ALL.map(Kind::as_str).len(), 6);
}

fn executable(content: &str) -> Executable {
    let (program, path) = ("git".to_owned(), "/usr/bin/git".to_owned());
    Executable { program, path, digest: digest(content) }
}

#[test]
fn an_approval_binds_to_every_part() {
    let bound = effects().digest();
    assert_eq!(effects().digest(), bound);
    let view = MemoryView::of(&[("m", "1")]);
    let other = resolve(&[modify("m", "1", "3")], &view).expect("no contradiction").changes;
    let others = [
        Effects { reads: vec![], ..effects() },
        Effects { reads_root: true, ..effects() },
        Effects { hosts: vec![], ..effects() },
        Effects { programs: vec!["gits".to_owned()], ..effects() },
        Effects { executables: vec![executable("1")], ..effects() },
        Effects { tools: vec![], ..effects() },
        Effects { takes_back: vec![ExecutionId::from_digest(&digest("1"))], ..effects() },
        Effects { changes: other, ..effects() },
    ];
    for other in others {
        assert_ne!(other.digest(), bound, "{other:?}");
    }
}

#[test]
fn what_was_intended_in_spite_of_a_conflict_is_an_effect() {
    let changes = [delete("d", "1"), rename("r", "s", "1")];
    let effects = Effects { intended: Effects::intended_by(&changes), ..Effects::default() };
    let all = effects.iter();
    let all: Vec<_> = all.iter().map(|effect| (effect.kind, effect.target)).collect();
    assert_eq!(all, [(Kind::FsDelete, "d"), (Kind::FsWrite, "r"), (Kind::FsWrite, "s")]);
    assert!(effects.is_read_only(), "nothing of it happens");
}

#[test]
fn what_happens_anyway_is_not_said_twice() {
    let changes = [create("new/c", ""), modify("m", "1", "2")];
    let intended = Effects::intended_by(&changes);
    let with = Effects { intended, ..effects() };
    assert_eq!(with.iter(), effects().iter());
}

/// What is so already is looked at, and no contract has to declare that.
#[test]
fn what_is_so_already_is_judged_as_reading_and_lies_within_every_ceiling() {
    let view = MemoryView::of(&[("same", "1"), ("m", "1")]);
    let changes = [modify("same", "1", "1"), modify("m", "1", "2")];
    let effects = Effects::changing(&changes, &view).expect("no contradiction");
    assert_eq!(listed(&effects), ["fs.write m", "fs.read same"]);
    let writes = "  fs: { read: [], write: [\"m\"], delete: [] }\n  net: []\n  process: []";
    let from = "  fs: { read: [\"**\"], write: [\"**\"], delete: [] }\n  net: []\n  process: []";
    let ceiling = contract(&EXAMPLE.replace(from, writes)).effects;
    assert!(effects.beyond(&ceiling).is_none(), "{effects:?}");
    let only = Effects::changing(&changes[..1], &view).expect("the same");
    assert!(only.is_read_only() && only.changes.items.is_empty());
    // A conflict is judged as what was asked for.
    let changes = [modify("same", "1", "1"), modify("m", "other", "2")];
    let effects = Effects::changing(&changes, &view).expect("no contradiction");
    assert_eq!(listed(&effects), ["fs.write same", "fs.write m"]);
}
