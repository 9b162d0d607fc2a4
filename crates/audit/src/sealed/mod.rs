//! Sealed fields: content that stands in an event as a salted commitment, with the ciphertext
//! beside it and the key elsewhere. Without the key nothing of it is known, not even to somebody
//! who guesses; the event, and every proof of it, stays as it is.

mod content;
mod subjects;

use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac as _};
use lictor_context::{Digest, Event, Hasher};
use serde_json::{Map, Value};
use sha2::Sha256;
use zeroize::Zeroizing;

pub use content::ContentError;
pub use subjects::{SubjectError, SubjectErrorKind};
pub(crate) use subjects::{SubjectKey, Subjects};

/// Goes before what is committed to.
const COMMIT: &[u8] = b"lictor/sealed/v1\0";
/// Goes before what the ciphertext is bound to.
const BOUND: &str = "lictor/sealed/v1";
/// Goes before what the salt of a digest is made of.
const SALT: &[u8] = b"lictor/salt/v1\n";
/// The length of a salt, in bytes.
const SALT_LEN: usize = 32;
/// The length of a nonce, in bytes.
const NONCE_LEN: usize = 24;

/// The ciphertext of one sealed field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SealedContent {
    /// Where in the event it belongs.
    pub(crate) pointer: String,
    /// Nonce, ciphertext and tag.
    pub(crate) ciphertext: Vec<u8>,
}

/// One sealed field, opened.
#[derive(Clone, PartialEq, Eq)]
pub struct Revealed {
    /// Where in the event it belongs: a JSON pointer.
    pub pointer: String,
    /// What was sealed.
    pub content: String,
    /// With it, and without any key, anybody can check that this was sealed.
    pub salt: [u8; SALT_LEN],
}

impl std::fmt::Debug for Revealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Revealed").field(&self.pointer).finish()
    }
}

/// What stands in an event for `content` that was sealed with this salt:
/// `SHA-256("lictor/sealed/v1" || 0x00 || salt || content)`.
#[must_use]
pub fn commitment(salt: &[u8; SALT_LEN], content: &[u8]) -> Digest {
    let mut hasher = Hasher::new();
    hasher.update(COMMIT);
    hasher.update(salt);
    hasher.update(content);
    hasher.finish()
}

/// The system gave no random bytes, or refused to encrypt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotSealed;

/// Replaces every digest of left-out content in an event by a commitment, and encrypts the
/// content that came along.
pub(crate) fn seal_event(
    event: &mut Event,
    origin: &str,
    key: &SubjectKey,
) -> Result<Vec<SealedContent>, NotSealed> {
    let id = event.id().clone();
    let facts = event.facts_mut();
    let (event, private, made) = (id.as_str(), Map::new(), Vec::new());
    let mut sealing = Sealing { origin, event, key, private, made };
    for private in std::mem::take(&mut facts.private) {
        let pointer = format!("/action_params{}", private.pointer);
        sealing.private.insert(pointer, private.content.into());
    }
    if let Some(params) = &mut facts.action_params {
        sealing.walk(&mut "/action_params".to_owned(), params)?;
    }
    let mut pointer = "/metadata".to_owned();
    for (name, value) in &mut facts.metadata {
        sealing.step(&mut pointer, name, value)?;
    }
    Ok(sealing.made)
}

struct Sealing<'a> {
    origin: &'a str,
    event: &'a str,
    key: &'a SubjectKey,
    /// The contents by pointer.
    private: Map<String, Value>,
    made: Vec<SealedContent>,
}

impl Sealing<'_> {
    fn walk(&mut self, pointer: &mut String, value: &mut Value) -> Result<(), NotSealed> {
        match value {
            Value::Array(items) => {
                for (at, item) in items.iter_mut().enumerate() {
                    self.step(pointer, &at.to_string(), item)?;
                }
            }
            Value::Object(map) => {
                if let Some(digest) = digest_of(map) {
                    return self.seal(pointer, &digest, map);
                }
                for (name, item) in map.iter_mut() {
                    self.step(pointer, name, item)?;
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
        Ok(())
    }

    fn step(
        &mut self,
        pointer: &mut String,
        name: &str,
        value: &mut Value,
    ) -> Result<(), NotSealed> {
        let before = pointer.len();
        // Most hold nothing that could be sealed.
        if !matches!(value, Value::Array(_) | Value::Object(_)) {
            return Ok(());
        }
        pointer.push('/');
        pointer.push_str(&name.replace('~', "~0").replace('/', "~1"));
        let walked = self.walk(pointer, value);
        pointer.truncate(before);
        walked
    }

    fn seal(
        &mut self,
        pointer: &str,
        digest: &str,
        map: &mut Map<String, Value>,
    ) -> Result<(), NotSealed> {
        let content = self.private.get(pointer).and_then(Value::as_str);
        let commit = if let Some(content) = content {
            let mut salt = Zeroizing::new([0; SALT_LEN]);
            getrandom::fill(salt.as_mut_slice()).map_err(|_| NotSealed)?;
            let ciphertext = self.encrypt(pointer, &salt, content.as_bytes())?;
            let commit = commitment(&salt, content.as_bytes());
            map.insert("ct".to_owned(), Digest::of(&ciphertext).to_string().into());
            self.made.push(SealedContent { pointer: pointer.to_owned(), ciphertext });
            commit
        } else {
            commitment(&self.salt_of_digest(pointer), digest.as_bytes())
        };
        map.insert("sealed".to_owned(), commit.to_string().into());
        map.insert("key".to_owned(), self.key.id().into());
        Ok(())
    }

    fn encrypt(
        &self,
        pointer: &str,
        salt: &[u8; SALT_LEN],
        content: &[u8],
    ) -> Result<Vec<u8>, NotSealed> {
        let mut nonce = [0; NONCE_LEN];
        getrandom::fill(&mut nonce).map_err(|_| NotSealed)?;
        let plain = Zeroizing::new([salt.as_slice(), content].concat());
        let bound = bound_to(self.origin, self.event, pointer);
        let payload = Payload { msg: &plain, aad: bound.as_bytes() };
        let cipher = XChaCha20Poly1305::new(self.key.bytes().into());
        let encrypted = cipher.encrypt(&XNonce::from(nonce), payload).map_err(|_| NotSealed)?;
        Ok([nonce.as_slice(), &encrypted].concat())
    }

    /// Made from the key, so that whoever has it can find a digest again, and nobody else.
    fn salt_of_digest(&self, pointer: &str) -> [u8; SALT_LEN] {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(self.key.bytes()) else {
            // HMAC takes keys of any length.
            return [0; SALT_LEN];
        };
        mac.update(SALT);
        mac.update(bound_to(self.origin, self.event, pointer).as_bytes());
        mac.finalize().into_bytes().into()
    }
}

fn bound_to(origin: &str, event: &str, pointer: &str) -> String {
    format!("{BOUND}\n{origin}\n{event}\n{pointer}")
}

/// The digest in `{"sealed": "sha256:…", "bytes": n}`, and in nothing else.
fn digest_of(map: &Map<String, Value>) -> Option<String> {
    let digest = map.get("sealed")?.as_str()?;
    let fits = map.len() == 2 && map.get("bytes").is_some_and(Value::is_u64);
    (fits && Digest::parse(digest).is_ok()).then(|| digest.to_owned())
}

/// A sealed field as it stands in an event's line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SealedField {
    pub(crate) pointer: String,
    pub(crate) commit: String,
    pub(crate) key: String,
    pub(crate) ct: String,
}

/// The sealed fields of a line that have a ciphertext, in the order of their pointers.
pub(crate) fn sealed_fields(line: &[u8]) -> Vec<SealedField> {
    let mut found = Vec::new();
    let Ok(event) = serde_json::from_slice::<Value>(line) else { return found };
    if let Some(params) = event.get("action_params") {
        collect(params, &mut "/action_params".to_owned(), &mut found);
    }
    found.sort_by(|a, b| a.pointer.cmp(&b.pointer));
    found
}

fn collect(value: &Value, pointer: &mut String, found: &mut Vec<SealedField>) {
    let mut below = |name: &str, value: &Value| {
        let before = pointer.len();
        pointer.push('/');
        pointer.push_str(&name.replace('~', "~0").replace('/', "~1"));
        collect(value, pointer, found);
        pointer.truncate(before);
    };
    match value {
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(at, item)| below(&at.to_string(), item));
        }
        Value::Object(map) => {
            let text = |name: &str| map.get(name).and_then(Value::as_str).map(str::to_owned);
            if let (Some(commit), Some(key), Some(ct)) = (text("sealed"), text("key"), text("ct")) {
                found.push(SealedField { pointer: pointer.clone(), commit, key, ct });
            } else {
                map.iter().for_each(|(name, item)| below(name, item));
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Opens a ciphertext; `None` when it is not what was sealed there.
pub(crate) fn open_field(
    field: &SealedField,
    ciphertext: &[u8],
    (origin, event): (&str, &str),
    key: &SubjectKey,
) -> Option<Revealed> {
    if key.id() != field.key || Digest::of(ciphertext).to_string() != field.ct {
        return None;
    }
    let (nonce, encrypted) = ciphertext.split_first_chunk::<NONCE_LEN>()?;
    let bound = bound_to(origin, event, &field.pointer);
    let payload = Payload { msg: encrypted, aad: bound.as_bytes() };
    let cipher = XChaCha20Poly1305::new(key.bytes().into());
    let plain = Zeroizing::new(cipher.decrypt(&XNonce::from(*nonce), payload).ok()?);
    let (salt, content) = plain.split_first_chunk::<SALT_LEN>()?;
    if commitment(salt, content).to_string() != field.commit {
        return None;
    }
    let content = String::from_utf8(content.to_vec()).ok()?;
    Some(Revealed { pointer: field.pointer.clone(), content, salt: *salt })
}
