//! Reasons that people give.

/// Nobody reads more.
const MOST: usize = 2_000;

/// A reason as it is kept: whole, or by its length. Secrets are left out of what is kept by looking
/// for them, and a part of one is found by nobody.
pub(crate) fn kept(reason: &str) -> String {
    match reason.chars().count() {
        n_chars if n_chars > MOST => {
            format!("(a reason of {n_chars} characters; {MOST} would have been kept)")
        }
        _ => reason.to_owned(),
    }
}
