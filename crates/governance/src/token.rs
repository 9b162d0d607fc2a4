//! Tokens: made at random, shown once, and kept as a digest.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lictor_context::Digest;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// Of 32 bytes in base64.
const TEXT: usize = 43;

/// A new one. What it begins with lets scanners for leaked secrets find it.
pub(crate) fn fresh(prefix: &str) -> Result<Zeroizing<String>, getrandom::Error> {
    let mut bytes = Zeroizing::new([0_u8; 32]);
    getrandom::fill(&mut *bytes)?;
    let mut token = Zeroizing::new(String::with_capacity(prefix.len() + TEXT));
    token.push_str(prefix);
    URL_SAFE_NO_PAD.encode_string(*bytes, &mut token);
    Ok(token)
}

/// Whose token it is, of those of whom the digests are kept. All of them are compared, each in
/// constant time: how long it takes tells nothing.
pub(crate) fn owner<T>(
    prefix: &str,
    token: &str,
    kept: impl IntoIterator<Item = T>,
    digest_of: impl Fn(&T) -> Digest,
) -> Option<T> {
    if !token.starts_with(prefix) || token.len() != prefix.len() + TEXT {
        return None;
    }
    let digest = Digest::of(token.as_bytes());
    let mut found = None;
    for one in kept {
        if bool::from(digest_of(&one).as_bytes().ct_eq(digest.as_bytes())) {
            found = Some(one);
        }
    }
    found
}
