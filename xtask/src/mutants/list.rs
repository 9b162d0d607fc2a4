//! The mutants: each takes one safeguard of the protocol away.

/// One change of the code, and the tests that have to notice it.
#[derive(Debug)]
pub(super) struct Mutant {
    pub(super) name: &'static str,
    pub(super) file: &'static str,
    /// Stands there once.
    pub(super) find: &'static str,
    pub(super) replace: &'static str,
    /// The arguments of `cargo test`.
    pub(super) test: &'static [&'static str],
    /// Why no test can notice it, where that is so.
    pub(super) survives: Option<&'static str>,
}

const TRANSACTION: &str = "crates/undo/src/transaction.rs";
const PUBLISHED: &str = "crates/undo/src/published.rs";
const OPERATION: &str = "crates/undo/src/operation.rs";
const RECOVER: &str = "crates/undo/src/recover.rs";
const ROLLBACK: &str = "crates/undo/src/rollback.rs";
const MEANS: &str = "crates/undo/src/means.rs";
const PARENT: &str = "crates/undo/src/parent.rs";
const JOURNAL: &str = "crates/undo/src/journal.rs";

/// The named tests of the fault matrix.
macro_rules! fault {
    ($($filter:literal),+) => {
        &["-p", "lictor-undo", "--features", "fault-injection", "--test", "fault", "--", $($filter),+]
    };
}

/// The named tests of the crate's others, by the same build.
macro_rules! it {
    ($($filter:literal),+) => {
        &["-p", "lictor-undo", "--features", "fault-injection", "--test", "it", "--", $($filter),+]
    };
}

const fn mutant(
    name: &'static str,
    file: &'static str,
    [find, replace]: [&'static str; 2],
    test: &'static [&'static str],
) -> Mutant {
    Mutant { name, file, find, replace, test, survives: None }
}

pub(super) const MUTANTS: &[Mutant] = &[
    // Barriers.
    mutant(
        "barrier-1",
        TRANSACTION,
        ["        self.root.barrier().map_err(prepare)?;\n", ""],
        fault!["every_end_is_noted"],
    ),
    mutant(
        "barrier-2",
        PUBLISHED,
        [
            "        if self.transactions.is_lazy() {\n            return Ok(());",
            "        if true {\n            return Ok(());",
        ],
        fault!["every_end_is_noted"],
    ),
    mutant(
        "barrier-2-before-the-checks",
        TRANSACTION,
        [
            "    if to_be_checked {\n",
            "    if to_be_checked && published.make_durable().is_ok() {\n",
        ],
        fault!["every_end_is_noted"],
    ),
    mutant(
        "barrier-2-not-behind-the-checks",
        PUBLISHED,
        [
            "        self.note(journal::VERIFIED, self.transactions.is_lazy())?;\n        self.make_durable()",
            "        self.note(journal::VERIFIED, self.transactions.is_lazy())",
        ],
        fault!["every_end_is_noted"],
    ),
    mutant(
        "lazy-and-verified-not-durable",
        PUBLISHED,
        [
            "self.note(journal::VERIFIED, self.transactions.is_lazy())?",
            "self.note(journal::VERIFIED, false)?",
        ],
        fault!["every_end_is_noted"],
    ),
    mutant(
        "verified-waits-for-the-disk-twice",
        PUBLISHED,
        [
            "self.note(journal::VERIFIED, self.transactions.is_lazy())?",
            "self.note(journal::VERIFIED, true)?",
        ],
        fault!["every_end_is_noted"],
    ),
    mutant(
        "closed-while-perhaps-not-durable",
        PUBLISHED,
        [
            "            self.ending = Ending::Stuck;\n            let reason",
            "            let reason",
        ],
        fault!["an_apply_with_an_error_anywhere", "a_checked_apply_with_an_error_behind_it"],
    ),
    mutant(
        "perhaps-not-durable-taken-for-put-back",
        "crates/executor/src/error.rs",
        [
            "            | ExecuteErrorKind::Apply(ApplyError::NotDurable { .. }) => {\n",
            "            | ExecuteErrorKind::Apply(ApplyError::Kept(_)) => {\n",
        ],
        &["-p", "lictor-executor", "--test", "it", "--", "perhaps_not_durable"],
    ),
    mutant(
        "verified-and-perhaps-not-durable-is-put-back",
        "crates/executor/src/service.rs",
        [
            "                Err(error @ ApplyError::NotDurable { .. }) => {\n",
            "                Err(error @ ApplyError::Kept(_)) => {\n",
        ],
        &["-p", "lictor-executor", "--test", "it", "--", "perhaps_not_durable"],
    ),
    mutant(
        "barrier-of-a-rollback",
        TRANSACTION,
        [
            "root.barrier().and_then(|()| tx.append_journal(journal::ABORTED, true))",
            "tx.append_journal(journal::ABORTED, true)",
        ],
        fault!["every_end_is_noted"],
    ),
    mutant(
        "barrier-of-a-recovery",
        RECOVER,
        ["match self.root.barrier() {", "match Ok::<(), std::io::Error>(()) {"],
        fault!["every_end_is_noted"],
    ),
    // What is noted, and when.
    mutant(
        "aborted-not-noted",
        TRANSACTION,
        [
            "root.barrier().and_then(|()| tx.append_journal(journal::ABORTED, true))",
            "root.barrier()",
        ],
        fault!["every_end_is_noted"],
    ),
    mutant(
        "done-not-noted",
        PUBLISHED,
        ["Ending::Stands => self.note(journal::DONE, false)?,", "Ending::Stands => {}"],
        it!["recovery::"],
    ),
    mutant(
        "done-waits-for-the-disk",
        PUBLISHED,
        ["self.note(journal::DONE, false)?", "self.note(journal::DONE, true)?"],
        fault!["every_end_is_noted"],
    ),
    mutant(
        "recovery-closes-before-the-ledger",
        RECOVER,
        [
            "match self.root.barrier() {",
            "match self.root.barrier().and_then(|()| tx.append_journal(journal::DONE, true)) {",
        ],
        it!["until_the_ledger_has_it"],
    ),
    mutant(
        "rollback-removed-before-the-ledger",
        PUBLISHED,
        [
            "            self.ending = Ending::Back;\n",
            "            self.ending = Ending::Back;\n            let _ = self.root.remove(&self.execution);\n",
        ],
        it!["found_by_the_next_recovery"],
    ),
    mutant(
        "lazy-done-before-it-is",
        PUBLISHED,
        ["Ending::Stands if self.transactions.is_lazy() =>", "Ending::Stands if false =>"],
        it!["lazy"],
    ),
    mutant(
        "verified-not-asked-for",
        RECOVER,
        [
            "journal.end == End::Aborting || journal.header.back_on_crash",
            "journal.end == End::Aborting",
        ],
        fault!["an_apply_that_is_still_to_be_checked"],
    ),
    mutant(
        "seal-not-compared",
        JOURNAL,
        ["return (commit.commit == Digest::of(sealed))", "return (commit.commit == commit.commit)"],
        it!["whose_seal_does_not_fit"],
    ),
    // Nothing is replaced.
    mutant(
        "put-replaces",
        MEANS,
        [
            "        match self {\n            Self::Exchange | Self::NoReplace => rename_no_replace(from, to),\n            Self::Link if",
            "        match self {\n            Self::Exchange | Self::NoReplace => fs::renameat(from.0, from.1, to.0, to.1),\n            Self::Link if",
        ],
        fault!["nobody_loses_a_save_at_any_point"],
    ),
    mutant(
        "take-replaces-in-a-slot",
        MEANS,
        [
            "            Self::Exchange | Self::NoReplace => rename_no_replace(from, to),\n            Self::Link | Self::Look => {",
            "            Self::Exchange | Self::NoReplace => fs::renameat(from.0, from.1, to.0, to.1),\n            Self::Link | Self::Look => {",
        ],
        fault!["what_lies_in_a_slot"],
    ),
    mutant(
        "give-back-replaces",
        OPERATION,
        [
            "match self.means.put((&slots, &slot.name()), (parent, path.name())) {\n            Ok(()) if if_empty",
            "match fs::renameat(&*slots, slot.name(), parent, path.name()) {\n            Ok(()) if if_empty",
        ],
        fault!["two_saves_in_one_moment"],
    ),
    mutant(
        "link-that-is-a-rename",
        MEANS,
        [
            "    fs::linkat(from.0, from.1, to.0, to.1, AtFlags::empty())",
            "    fs::renameat(from.0, from.1, to.0, to.1)",
        ],
        fault!["by_links_nobody_loses"],
    ),
    // What came out is looked at.
    mutant(
        "swap-not-checked",
        OPERATION,
        ["if matches!(&came_out, Ok(Some(found)) if same(found, &before)) {", "if true {"],
        fault!["nobody_loses_a_save_at_any_point"],
    ),
    mutant(
        "take-not-checked",
        OPERATION,
        ["        if same && whole {", "        if true {"],
        fault!["nobody_loses_a_save_at_any_point"],
    ),
    mutant(
        "give-back-blindly",
        OPERATION,
        [
            "if !(is(item.new_inode, after) || is(item.inode, before)) {",
            "if !is(ours.inode, after) && ours.inode.is_none() {",
        ],
        it!["does_not_come_back_over_a_newer_one"],
    ),
    mutant(
        "rollback-verified-leniently",
        ROLLBACK,
        ["        let exact = trouble.is_some();", "        let exact = false;"],
        fault!["a_rollback_with_an_error_anywhere", "an_apply_with_an_error_anywhere"],
    ),
    mutant(
        "published-into-any-directory",
        PARENT,
        ["if dir.is_some() && dir != Some(self.directory(&parent, path)?.0) {", "if false {"],
        it!["moved::"],
    ),
    mutant(
        "back-when-nothing-is-found",
        ROLLBACK,
        ["        if place.is_in(item.to_dir) {\n", "        if true {\n"],
        it!["moved::"],
    ),
    mutant(
        "back-when-the-like-is-found",
        ROLLBACK,
        ["if !came_back && !place.is_in(item.from_dir) {", "if false {"],
        it!["moved::"],
    ),
    mutant(
        "mode-out-of-sight",
        ROLLBACK,
        ["if is_out_of_sight(hands, item, operation)? =>", "if false =>"],
        it!["moved::"],
    ),
    mutant(
        "done-without-its-directory",
        RECOVER,
        ["if !seen.begun && !seen.away.is_empty() {", "if false {"],
        it!["perhaps_never_done"],
    ),
    // What was judged is there before anything begins.
    mutant(
        "preflight-of-what-is-there",
        TRANSACTION,
        ["if !found.is_some_and(|found| item.is_like(&found, &before)) {", "if false {"],
        it!["stops_it_before_it_begins"],
    ),
    mutant(
        "preflight-of-the-target",
        TRANSACTION,
        ["if !leaving.contains(to) && at_to.inode.is_some() {", "if false {"],
        it!["stops_it_before_it_begins"],
    ),
    mutant(
        "put-where-nothing-leaves-again",
        TRANSACTION,
        ["if at_to.only_grows {", "if false {"],
        it!["nothing_is_put_where_it_could_never"],
    ),
    mutant(
        "mode-taken-on-trust",
        OPERATION,
        ["if got != after {", "if false {"],
        it!["a_mode_that_is_given_in_part"],
    ),
    mutant(
        "staged-not-looked-at",
        RECOVER,
        ["seen.broken |= !is_whole(hands, item, &step.1)?;", "seen.broken |= false;"],
        it!["is_not_whole_is_never_published"],
    ),
    mutant(
        "behind-a-later-one-not-seen",
        RECOVER,
        [
            "self.is_behind(&Earlier { items: &journal.items, operations: &operations })?",
            "self.later.len() == usize::MAX",
        ],
        it!["behind::"],
    ),
    mutant(
        "behind-one-that-never-began",
        RECOVER,
        [
            "if earlier.is_behind(&hands, item, &operation).map_err(|error| fail(&error))? {",
            "if earlier.is_behind(&hands, item, &operation).is_ok() {",
        ],
        it!["behind::"],
    ),
    mutant(
        "root-not-compared",
        RECOVER,
        ["if journal.header.root.1 != id.inode {", "if false {"],
        it!["in_a_copied_workspace"],
    ),
    // One writer.
    mutant(
        "publish-without-the-lock",
        TRANSACTION,
        ["if n % FENCED_EVERY == 0\n", "if n > usize::MAX - FENCED_EVERY\n"],
        it!["whoever_lost_the_lock"],
    ),
    mutant(
        "settle-without-the-lock",
        PUBLISHED,
        [
            "    fn note(&self, line: &str, durable: bool) -> Result<(), ApplyError> {\n        self.lease.check().map_err(|error| ApplyError::Prepare(error.to_string()))?;\n",
            "    fn note(&self, line: &str, durable: bool) -> Result<(), ApplyError> {\n",
        ],
        it!["whoever_lost_the_lock"],
    ),
    mutant(
        "put-back-without-the-lock",
        PUBLISHED,
        [
            "        if let Err(error) = self.lease.check() {\n            let why",
            "        if let (Err(error), true) = (self.lease.check(), false) {\n            let why",
        ],
        it!["whoever_lost_the_lock"],
    ),
    mutant(
        "recover-without-the-lock",
        RECOVER,
        [
            "        lease.check().map_err(|error| RecoverError(error.to_string()))?;\n        let recovery",
            "        let recovery",
        ],
        it!["a_recovery_that_lost_the_lock"],
    ),
    mutant(
        "close-without-the-lock",
        RECOVER,
        [
            "        lease.check().map_err(|error| RecoverError(error.to_string()))?;\n        let execution",
            "        let execution",
        ],
        it!["a_recovery_that_lost_the_lock"],
    ),
    mutant(
        "work-goes-on-over-what-is-stuck",
        "crates/executor/src/service.rs",
        ["        if !stuck.is_empty() {", "        if false {"],
        &["-p", "lictor-executor", "--test", "it", "--", "what_cannot_be_settled"],
    ),
];
