//! Changes of a run's status that are not possible do not compile: one file a claim, and beside them
//! one that does compile, so that none of them fails for want of an import.

#[test]
fn impossible_changes_of_a_status_do_not_compile() {
    let cases = trybuild::TestCases::new();
    cases.pass("tests/compile-pass/*.rs");
    cases.compile_fail("tests/compile-fail/*.rs");
}
