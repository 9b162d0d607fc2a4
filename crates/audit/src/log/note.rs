//! Signed notes and checkpoints, as C2SP writes them (`signed-note`, `tlog-checkpoint`).

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, Signer as _, VerifyingKey};
use lictor_context::Quote;
use sha2::{Digest as _, Sha256};

use super::Hash;

/// The algorithm byte of Ed25519 in C2SP signed notes.
const ED25519: u8 = 1;
/// Every signature line begins with this.
const SIGNATURE_PREFIX: &str = "\u{2014} ";
/// What a note may carry at most: others may have signed it as well.
const MAX_SIGNATURES: usize = 100;

/// How long a log was and what stood in it: its origin, its size, its root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log.
    pub origin: String,
    /// How many events it had.
    pub size: u64,
    /// The root over them.
    pub root: Hash,
}

/// A checkpoint does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the checkpoint does not hold: {kind}")]
pub struct CheckpointError {
    kind: CheckpointErrorKind,
}

/// The ways in which a checkpoint does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointErrorKind {
    /// It is not a signed note of three lines.
    #[error("it is not a signed note of origin, size and root")]
    Malformed,
    /// Nobody signed it with this key.
    #[error("it has no signature of this key")]
    NotSigned,
    /// There is a signature of this key, and it is wrong.
    #[error("its signature is wrong")]
    BadSignature,
}

impl CheckpointError {
    /// In which way.
    #[must_use]
    pub fn kind(&self) -> CheckpointErrorKind {
        self.kind
    }
}

impl From<CheckpointErrorKind> for CheckpointError {
    fn from(kind: CheckpointErrorKind) -> Self {
        Self { kind }
    }
}

impl Checkpoint {
    /// What is signed: three lines.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, base64_hash(&self.root))
    }

    /// Opens a signed note: answers only when `key` signed exactly this. Signatures of keys that
    /// are not known here are passed over, as the specification wants it.
    ///
    /// # Errors
    /// When it is no checkpoint, or `key` did not sign it.
    pub fn open(note: &str, key: &PublicKey) -> Result<Self, CheckpointError> {
        let (text, signatures) = split(note).ok_or(CheckpointErrorKind::Malformed)?;
        let checkpoint = Self::parse(text).ok_or(CheckpointErrorKind::Malformed)?;
        let mut signed = false;
        for line in signatures.split_terminator('\n') {
            let (name, bytes) = signature(line).ok_or(CheckpointErrorKind::Malformed)?;
            let Some((id, signature)) = bytes.split_first_chunk::<4>() else {
                return Err(CheckpointErrorKind::Malformed.into());
            };
            if name != key.name || *id != key.id() {
                continue;
            }
            // A second signature of the same key, or one that does not hold, is never passed over.
            if signed || !key.verifies(text, signature) {
                return Err(CheckpointErrorKind::BadSignature.into());
            }
            signed = true;
        }
        if signed { Ok(checkpoint) } else { Err(CheckpointErrorKind::NotSigned.into()) }
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        let (origin, size, root) = (lines.next()?, lines.next()?, lines.next()?);
        // Lines after the third would be signed by us, and we never write one.
        if lines.next().is_some() || !is_name(origin) {
            return None;
        }
        let parsed: u64 = size.parse().ok()?;
        if parsed.to_string() != size {
            return None;
        }
        Some(Self { origin: origin.to_owned(), size: parsed, root: parse_hash(root)? })
    }
}

/// Splits a note into what is signed, and the lines of signatures.
fn split(note: &str) -> Option<(&str, &str)> {
    let (text, signatures) = note.rsplit_once("\n\n")?;
    // The text keeps its last line end: it is signed too.
    let text = note.get(..=text.len())?;
    let count = signatures.strip_suffix('\n')?.split('\n').count();
    let plain = !note.contains(|c: char| c.is_control() && c != '\n');
    (plain && (1..=MAX_SIGNATURES).contains(&count)).then_some((text, signatures))
}

/// The name and the bytes of one signature line.
fn signature(line: &str) -> Option<(&str, Vec<u8>)> {
    let (name, encoded) = line.strip_prefix(SIGNATURE_PREFIX)?.split_once(' ')?;
    // Refuses what is not padded, and bits after the end that say nothing.
    let bytes = STANDARD.decode(encoded).ok()?;
    is_name(name).then_some((name, bytes))
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '+')
}

/// 32 bytes in base64, and nothing else.
pub(crate) fn parse_hash(text: &str) -> Option<Hash> {
    let mut hash = [0; 33];
    if text.len() != 44 || STANDARD.decode_slice(text, &mut hash).ok()? != 32 {
        return None;
    }
    hash.first_chunk().copied()
}

/// 32 bytes as base64.
pub(crate) fn base64_hash(hash: &Hash) -> String {
    STANDARD.encode(hash)
}

/// Who may sign checkpoints: a name and an Ed25519 key. As text it is a C2SP verifier key,
/// `<name>+<key id>+<base64 of 0x01 and the key>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    name: String,
    key: VerifyingKey,
}

/// A text that should have been a verifier key is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not a verifier key: `<name>+<key id>+<base64>` is accepted")]
pub struct PublicKeyError(Quote);

impl PublicKey {
    /// Its name, which stands in its signatures.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The first four bytes of `SHA-256(name || 0x0A || 0x01 || key)`.
    #[must_use]
    pub fn id(&self) -> [u8; 4] {
        key_id(&self.name, &self.key)
    }

    /// Takes a verifier key from outside.
    ///
    /// # Errors
    /// When the text is not one, or its key id belongs to another key.
    pub fn parse(text: &str) -> Result<Self, PublicKeyError> {
        parse_key(text).ok_or_else(|| PublicKeyError(Quote::up_to(200, text)))
    }

    fn verifies(&self, text: &str, signature: &[u8]) -> bool {
        // `verify_strict` also refuses keys and points of small order.
        Signature::from_slice(signature)
            .is_ok_and(|signature| self.key.verify_strict(text.as_bytes(), &signature).is_ok())
    }
}

fn parse_key(text: &str) -> Option<PublicKey> {
    let mut parts = text.splitn(3, '+');
    let (name, id, encoded) = (parts.next()?, parts.next()?, parts.next()?);
    let bytes = STANDARD.decode(encoded).ok()?;
    let (algorithm, bytes) = bytes.split_first()?;
    if *algorithm != ED25519 || !is_name(name) {
        return None;
    }
    let key = VerifyingKey::from_bytes(bytes.try_into().ok()?).ok()?;
    let key = PublicKey { name: name.to_owned(), key };
    (!key.key.is_weak() && hex(&key.id()) == id).then_some(key)
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = vec![ED25519];
        bytes.extend(self.key.to_bytes());
        write!(f, "{}+{}+{}", self.name, hex(&self.id()), STANDARD.encode(bytes))
    }
}

impl FromStr for PublicKey {
    type Err = PublicKeyError;
    fn from_str(text: &str) -> Result<Self, PublicKeyError> {
        Self::parse(text)
    }
}

fn key_id(name: &str, key: &VerifyingKey) -> [u8; 4] {
    let hash: Hash = Sha256::new()
        .chain_update(name)
        .chain_update([b'\n', ED25519])
        .chain_update(key.as_bytes())
        .finalize()
        .into();
    hash.first_chunk().copied().unwrap_or_default()
}

/// Bytes as lower-case hex digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a `String` cannot fail.
        write!(text, "{byte:02x}").unwrap_or_default();
        text
    })
}

/// The half of a key that signs, and the name that it signs under.
pub(crate) struct NoteSigner {
    // Overwrites itself when it is dropped.
    key: ed25519_dalek::SigningKey,
    public: PublicKey,
    id: [u8; 4],
}

impl NoteSigner {
    pub(crate) fn new(seed: &[u8; 32]) -> Self {
        let key = ed25519_dalek::SigningKey::from_bytes(seed);
        let digest: Hash = Sha256::digest(key.verifying_key().as_bytes()).into();
        let short = digest.first_chunk::<8>().copied().unwrap_or_default();
        let public =
            PublicKey { name: format!("lictor/{}", hex(&short)), key: key.verifying_key() };
        let id = public.id();
        Self { key, public, id }
    }

    pub(crate) fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The checkpoint with our signature under it.
    pub(crate) fn sign(&self, checkpoint: &Checkpoint) -> String {
        let text = checkpoint.text();
        format!("{text}\n{}", self.signature_line(&text))
    }

    /// The line with which we sign a text.
    pub(crate) fn signature_line(&self, text: &str) -> String {
        let mut bytes = self.id.to_vec();
        bytes.extend(self.key.sign(text.as_bytes()).to_bytes());
        let mut note = String::new();
        note.push_str(SIGNATURE_PREFIX);
        note.push_str(&self.public.name);
        note.push(' ');
        note.push_str(&STANDARD.encode(bytes));
        note.push('\n');
        note
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example in the documentation of Go's `sumdb/note`.
    const GO_KEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const GO_NOTE: &str = "If you think cryptography is the answer to your problem,\n\
        then you don't know what your problem is.\n\n\
        \u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

    #[test]
    fn the_note_of_the_go_documentation_verifies() {
        let key = PublicKey::parse(GO_KEY).unwrap();
        assert_eq!(key.to_string(), GO_KEY);
        let (text, signatures) = split(GO_NOTE).unwrap();
        let (name, bytes) = signature(signatures.trim_end()).unwrap();
        assert_eq!(name, key.name());
        assert_eq!(bytes[..4], key.id());
        assert!(key.verifies(text, &bytes[4..]));
        assert!(!key.verifies(&text.replace('y', "z"), &bytes[4..]));
    }

    #[test]
    fn a_checkpoint_opens_for_its_key_only() {
        let signer = NoteSigner::new(&[7; 32]);
        let checkpoint = Checkpoint { origin: "lictor/x/acme".into(), size: 3, root: [9; 32] };
        let note = signer.sign(&checkpoint);
        assert_eq!(Checkpoint::open(&note, signer.public()), Ok(checkpoint));
        let other = NoteSigner::new(&[8; 32]);
        let refused = Checkpoint::open(&note, other.public()).unwrap_err();
        assert_eq!(refused.kind(), CheckpointErrorKind::NotSigned);
        // Somebody else's signature beside ours does no harm.
        let witnessed = format!("{note}\u{2014} witness {}\n", STANDARD.encode([1; 68]));
        assert!(Checkpoint::open(&witnessed, signer.public()).is_ok());
        let again = format!("{note}{}\n", note.lines().last().unwrap());
        assert!(Checkpoint::open(&again, signer.public()).is_err());
    }

    #[test]
    fn odd_spellings_of_a_checkpoint_are_refused() {
        let signer = NoteSigner::new(&[7; 32]);
        let root = base64_hash(&[9; 32]);
        let loose = root.replace("CQk=", "CQl=");
        for text in [
            format!("o\n03\n{root}\n"),
            format!("o\n+3\n{root}\n"),
            format!("o\n3\n{root}\nmore\n"),
            format!("o\n3\n{loose}\n"),
            format!("o o\n3\n{root}\n"),
            format!("o\r\n3\n{root}\n"),
            format!("\n3\n{root}\n"),
        ] {
            assert_eq!(Checkpoint::parse(&text), None, "{text}");
        }
        let text = format!("o\n3\n{root}\n");
        assert!(Checkpoint::parse(&text).is_some());
        for note in ["", "\n\n", "o\n3\n", "o\n3\nx\n\n", "o\n3\nx\n\nsig\n"] {
            assert!(Checkpoint::open(note, signer.public()).is_err(), "{note}");
        }
    }
}
