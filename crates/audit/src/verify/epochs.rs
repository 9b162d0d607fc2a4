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

/// The key that signs at the end of a log, when the checkpoints of its epochs hold. `trusted` is
/// what somebody believes in beforehand: the first key, or the last.
///
/// INVARIANT: the end of an epoch is signed by its own key and by the next one. So whoever has
/// only a later key cannot make another beginning, as long as an earlier one is believed in.
pub(super) fn signer<'a>(
    rotations: &'a [Rotation],
    notes: &[String],
    trusted: &'a PublicKey,
    origin: &str,
) -> Result<&'a PublicKey, String> {
    let Some(first) = rotations.first() else {
        return if notes.is_empty() {
            Ok(trusted)
        } else {
            Err("there is a checkpoint of an epoch that no event tells of".to_owned())
        };
    };
    if notes.len() != rotations.len() {
        return Err(format!(
            "{} epochs ended, and there are checkpoints of {}",
            rotations.len(),
            notes.len()
        ));
    }
    let mut signer = &first.previous;
    let mut believed = signer == trusted;
    for (rotation, note) in rotations.iter().zip(notes) {
        let size = rotation.size;
        if rotation.previous != *signer {
            return Err(format!("event {}: it ends the epoch of another key", size - 1));
        }
        for key in [&rotation.previous, &rotation.key] {
            let signed = Checkpoint::open(note, key)
                .map_err(|error| format!("event {}: the end of its epoch: {error}", size - 1))?;
            if signed.size != size || signed.root != rotation.root || signed.origin != origin {
                return Err(format!("event {}: another end of its epoch was signed", size - 1));
            }
        }
        signer = &rotation.key;
        believed |= signer == trusted;
    }
    if !believed {
        return Err("none of the keys that signed it is the one that was given".to_owned());
    }
    Ok(signer)
}
