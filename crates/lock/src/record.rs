//! The lock file's content: two slots, written in turn.
//!
//! A write goes to the slot that does not hold the newest record, so a torn one leaves the record
//! before it whole. A token is handed out only after its record is written; therefore a record
//! that was torn carries a token that nobody got, and going on from the other slot hands out none
//! twice.
//!
//! A slot is text: a header line with sequence number, length and checksum, one line of JSON, and
//! spaces up to 4096 bytes.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use crate::holder::Holder;

const SLOT: usize = 4096;
const MAGIC: &str = "lictor-lock 1";
/// Longest text that is kept when a record would not fit into its slot.
const SHORTENED: usize = 64;
/// A token found in damaged text counts only below this: damage must not use up the numbers.
const PLAUSIBLE: u64 = 1 << 53;

/// What was read from a lock file.
#[derive(Debug, Default)]
pub(crate) struct Content {
    /// The newest whole record.
    pub(crate) newest: Option<Holder>,
    /// The highest token that can be made out, in whole or damaged text.
    pub(crate) token: u64,
    /// Where the next record goes.
    pub(crate) next: Position,
}

/// Where a record goes: its sequence number also chooses the slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Position(u64);

pub(crate) fn read(file: &File) -> io::Result<Content> {
    let mut bytes = [0_u8; 2 * SLOT];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, filled as u64) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(parse(bytes.get(..filled).unwrap_or_default()))
}

/// Writes `holder` and returns the position after it.
pub(crate) fn write(file: &File, at: Position, holder: &Holder) -> io::Result<Position> {
    let slot = encode(at, holder)?;
    let offset = (at.0 % 2) * SLOT as u64;
    file.write_all_at(&slot, offset)?;
    Ok(Position(at.0.wrapping_add(1)))
}

fn parse(bytes: &[u8]) -> Content {
    let mut content = Content::default();
    let mut newest_seq = None;
    for slot in bytes.chunks(SLOT) {
        let Some((seq, holder)) = decode(slot) else {
            continue;
        };
        if newest_seq.is_none_or(|newest| seq > newest) {
            newest_seq = Some(seq);
            content.next = Position(seq.wrapping_add(1));
            content.newest = Some(holder);
        }
    }
    content.token = match &content.newest {
        Some(newest) => newest.fencing_token,
        None => salvage(bytes),
    };
    content
}

fn encode(Position(seq): Position, holder: &Holder) -> io::Result<Vec<u8>> {
    let mut json = serde_json::to_string(holder)?;
    // Header, line ends and some air.
    if json.len() > SLOT - 128 {
        json = serde_json::to_string(&shortened(holder))?;
    }
    let sum = checksum(seq, json.as_bytes());
    let mut slot = format!("{MAGIC} {seq:020} {:05} {sum:016x}\n{json}\n", json.len()).into_bytes();
    slot.resize(SLOT - 1, b' ');
    slot.push(b'\n');
    Ok(slot)
}

fn decode(slot: &[u8]) -> Option<(u64, Holder)> {
    let end = slot.iter().position(|byte| *byte == b'\n')?;
    let header = std::str::from_utf8(slot.get(..end)?).ok()?;
    let mut fields = header.strip_prefix(MAGIC)?.split_ascii_whitespace();
    let seq: u64 = fields.next()?.parse().ok()?;
    let len: usize = fields.next()?.parse().ok()?;
    let sum = u64::from_str_radix(fields.next()?, 16).ok()?;
    let start = end.checked_add(1)?;
    let json = slot.get(start..start.checked_add(len)?)?;
    if checksum(seq, json) != sum {
        return None;
    }
    Some((seq, serde_json::from_slice(json).ok()?))
}

fn salvage(bytes: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(bytes);
    text.split("\"fencing_token\":")
        .skip(1)
        .filter_map(|rest| {
            let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            rest.get(..end)?.parse().ok()
        })
        .filter(|token| *token < PLAUSIBLE)
        .max()
        .unwrap_or(0)
}

fn shortened(holder: &Holder) -> Holder {
    let cut = |text: &String| text.chars().take(SHORTENED).collect::<String>();
    Holder {
        holder: cut(&holder.holder),
        execution: cut(&holder.execution),
        plan: holder.plan.as_ref().map(cut),
        boot_id: holder.boot_id.as_ref().map(cut),
        hostname: holder.hostname.as_ref().map(cut),
        acquired_at: cut(&holder.acquired_at),
        ..holder.clone()
    }
}

/// FNV-1a: finds tears, keeps nobody out.
fn checksum(seq: u64, bytes: &[u8]) -> u64 {
    seq.to_le_bytes().iter().chain(bytes).fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(token: u64) -> Holder {
        Holder {
            holder: "agent".into(),
            execution: "exec-1".into(),
            plan: None,
            pid: 7,
            process_start: Some(1),
            boot_id: None,
            hostname: Some("host".into()),
            acquired_at: "2026-01-01T00:00:00Z".into(),
            fencing_token: token,
            released: false,
            broken: false,
        }
    }

    fn file(records: &[(u64, u64)]) -> Vec<u8> {
        let mut bytes = vec![0; 2 * SLOT];
        for (seq, token) in records {
            let at = (*seq as usize % 2) * SLOT;
            bytes[at..at + SLOT].copy_from_slice(&encode(Position(*seq), &holder(*token)).unwrap());
        }
        bytes
    }

    #[test]
    fn newest_whole_record_wins() {
        let content = parse(&file(&[(4, 9), (5, 10)]));
        assert_eq!(content.token, 10);
        assert_eq!(content.next, Position(6));
    }

    #[test]
    fn a_write_torn_at_any_byte_leaves_the_record_before_it() {
        let old = file(&[(4, 9), (5, 10)]);
        let new = encode(Position(6), &holder(11)).unwrap();
        for torn in 0..SLOT {
            let mut bytes = old.clone();
            bytes[..torn].copy_from_slice(&new[..torn]);
            let content = parse(&bytes);
            assert!(content.token >= 10, "torn at {torn}: {}", content.token);
        }
    }

    #[test]
    fn a_token_is_made_out_in_damaged_text() {
        let mut bytes = file(&[(0, 41)]);
        bytes[0] = b'?';
        let content = parse(&bytes);
        assert!(content.newest.is_none());
        assert_eq!(content.token, 41);
        assert_eq!(parse(b"\"fencing_token\":18446744073709551615,").token, 0);
    }

    #[test]
    fn a_record_that_is_too_long_is_shortened_and_readable() {
        let mut long = holder(3);
        long.holder = "\u{1}".repeat(5000);
        long.execution = "e".repeat(5000);
        long.plan = Some("\u{1F600}".repeat(5000));
        let slot = encode(Position(0), &long).unwrap();
        assert_eq!(slot.len(), SLOT);
        assert_eq!(decode(&slot).unwrap().1.execution, "e".repeat(SHORTENED));
    }
}
