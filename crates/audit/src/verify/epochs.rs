//! The epochs of the signing key: each key vouches for the next one, and for nothing before it.

use serde_json::Value;

use crate::log::{Checkpoint, Hash, PublicKey};

/// What an event of rotation says, and how the log stood with it.
#[derive(Debug, Clone)]
pub(crate) struct Rotation {
    /// How many events there were, this one included.
    pub(crate) size: u64,
    root: Hash,
    previous: PublicKey,
    key: PublicKey,
}

impl Rotation {
    /// Reads the event.
    pub(crate) fn read(line: &[u8], size: u64, root: Hash) -> Option<Self> {
        let event: Value = serde_json::from_slice(line).ok()?;
        let key = |name: &str| {
            let text = event.pointer("/metadata")?.get(name)?.as_str()?;
            PublicKey::parse(text).ok()
        };
        Some(Self { size, root, previous: key("previous_key")?, key: key("next_key")? })
    }
}

/// Who signs at the end of a log, and from which event on nobody else vouches: up to there the
/// checkpoint of an epoch does.
pub(super) struct Signer<'a> {
    pub(super) key: &'a PublicKey,
    pub(super) from: u64,
}

/// The keys do not follow one another.
pub(super) struct NoSigner {
    /// The first event for which no key vouches that leads to the one that was given.
    pub(super) from: u64,
    pub(super) problem: String,
}

/// Who signs at the end of a log that begins with event `first`, when the checkpoints of its epochs
/// hold. `trusted` is what somebody believes in beforehand: the first key, or the last.
///
/// INVARIANT: the end of an epoch is signed by its own key and by the next one. So whoever has
/// only a later key cannot make another beginning, as long as an earlier one is believed in.
pub(super) fn signer<'a>(
    rotations: &'a [Rotation],
    notes: &[String],
    trusted: &'a PublicKey,
    origin: &str,
    first: u64,
) -> Result<Signer<'a>, NoSigner> {
    let mut from = first;
    let mut key = rotations.first().map_or(trusted, |rotation| &rotation.previous);
    let mut believed = key == trusted;
    for (rotation, note) in rotations.iter().zip(notes) {
        if let Err(problem) = follows(rotation, note, key, origin) {
            return Err(NoSigner { from, problem });
        }
        key = &rotation.key;
        believed |= key == trusted;
        if believed {
            from = rotation.size;
        }
    }
    let problem = if notes.len() > rotations.len() {
        "there is a checkpoint of an epoch that no event tells of".to_owned()
    } else if notes.len() < rotations.len() {
        format!("{} epochs ended, and there are checkpoints of {}", rotations.len(), notes.len())
    } else if !believed {
        "none of the keys that signed it is the one that was given".to_owned()
    } else {
        return Ok(Signer { key, from });
    };
    Err(NoSigner { from, problem })
}

/// Whether an epoch of `key` ends there, signed by both.
fn follows(rotation: &Rotation, note: &str, key: &PublicKey, origin: &str) -> Result<(), String> {
    let at = rotation.size - 1;
    if rotation.previous != *key {
        return Err(format!("event {at}: it ends the epoch of another key"));
    }
    for key in [&rotation.previous, &rotation.key] {
        let signed = Checkpoint::open(note, key)
            .map_err(|error| format!("event {at}: the end of its epoch: {error}"))?;
        if (signed.size, signed.root) != (rotation.size, rotation.root) || signed.origin != origin {
            return Err(format!("event {at}: another end of its epoch was signed"));
        }
    }
    Ok(())
}
