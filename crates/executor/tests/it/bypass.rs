//! `no_effect_without_warrant`, `warrant_runs_once`, `warrant_fits_one_action`, by type: what does
//! not compile. One file a claim; beside them one that does, so that none of them
//! fails for want of an import.

#[test]
fn bypassing_the_gate_does_not_compile() {
    let cases = trybuild::TestCases::new();
    cases.pass("tests/compile-pass/*.rs");
    cases.compile_fail("tests/compile-fail/*.rs");
}
