//! Reads the canonical bytes of [`super::encode`] back.

use lictor_capability::{ChangeKind, Executable, FileMode, Risk, State, UndoScope};
use lictor_context::Digest;

use super::{JudgedAction, JudgedItem, JudgedPlan, JudgedValue};

/// Deeper inputs are refused long before, by the reader of documents.
const MAX_DEPTH: usize = 128;

/// The bytes are not those of an action.
pub(super) struct Malformed;

type Read<T> = Result<T, Malformed>;

/// The action that the bytes say, all of them.
pub(super) fn action(bytes: &[u8]) -> Read<JudgedAction> {
    let mut from = Decoder { rest: bytes, depth: 0 };
    if from.text()? != super::encode::HEADER {
        return Err(Malformed);
    }
    let capability = from.text()?;
    let version = from.version()?;
    let contract = from.digest()?;
    let (org, user, agent) = (from.text()?, from.text()?, from.text()?);
    let policy = from.digest()?;
    let input = from.value()?;
    let risk = match from.tag()? {
        0 => None,
        1 => Some(Risk::Low),
        2 => Some(Risk::Medium),
        3 => Some(Risk::High),
        4 => Some(Risk::Critical),
        _ => return Err(Malformed),
    };
    let approvals = from.number()?;
    let rolls_back = from.flag()?.then(|| from.text()).transpose()?;
    let plan = from
        .flag()?
        .then(|| {
            Ok(JudgedPlan {
                verification: from.list(Decoder::text)?,
                health_checks: from.list(Decoder::text)?,
                rollback_plan: from.text()?,
            })
        })
        .transpose()?;
    let reads = from.list(Decoder::text)?;
    let reads_root = from.flag()?;
    let items = from.list(Decoder::item)?;
    let (lines, bytes) = (from.number()?, from.number()?);
    let hosts = from.list(Decoder::text)?;
    let programs = from.list(Decoder::text)?;
    let tools = from.list(Decoder::text)?;
    let executables = from.list(Decoder::executable)?;
    let undo = match from.tag()? {
        0 => UndoScope::Full,
        1 => UndoScope::Partial,
        2 => UndoScope::None,
        _ => return Err(Malformed),
    };
    let takes_back = from.list(Decoder::text)?;
    if !from.rest.is_empty() {
        return Err(Malformed);
    }
    Ok(JudgedAction {
        capability,
        version,
        contract,
        org,
        user,
        agent,
        policy,
        input,
        risk,
        approvals,
        rolls_back,
        plan,
        reads,
        reads_root,
        items,
        lines,
        bytes,
        hosts,
        programs,
        executables,
        tools,
        undo,
        takes_back,
    })
}

struct Decoder<'a> {
    rest: &'a [u8],
    depth: usize,
}

impl Decoder<'_> {
    fn take(&mut self, n: usize) -> Read<&[u8]> {
        let (taken, rest) = self.rest.split_at_checked(n).ok_or(Malformed)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Read<[u8; N]> {
        self.take(N)?.try_into().map_err(|_| Malformed)
    }

    fn tag(&mut self) -> Read<u8> {
        let [tag] = self.array()?;
        Ok(tag)
    }

    fn flag(&mut self) -> Read<bool> {
        match self.tag()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed),
        }
    }

    fn number(&mut self) -> Read<u64> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    fn text(&mut self) -> Read<String> {
        let len = usize::try_from(self.number()?).map_err(|_| Malformed)?;
        let bytes = self.take(len)?.to_vec();
        String::from_utf8(bytes).map_err(|_| Malformed)
    }

    fn executable(&mut self) -> Read<Executable> {
        let (program, path) = (self.text()?, self.text()?);
        Ok(Executable { program, path, digest: self.digest()? })
    }

    fn digest(&mut self) -> Read<Digest> {
        Ok(Digest::from_bytes(self.array()?))
    }

    fn list<T>(&mut self, each: impl Fn(&mut Self) -> Read<T>) -> Read<Vec<T>> {
        let n = self.number()?;
        let mut items = Vec::new();
        for _ in 0..n {
            // Every item takes a byte at least, so a wrong number ends here soon.
            items.push(each(self)?);
        }
        Ok(items)
    }

    fn version(&mut self) -> Read<String> {
        let (major, minor, patch) = (self.number()?, self.number()?, self.number()?);
        let (pre, build) = (self.text()?, self.text()?);
        let mut version = format!("{major}.{minor}.{patch}");
        for (mark, part) in [('-', pre), ('+', build)] {
            if !part.is_empty() {
                version.push(mark);
                version.push_str(&part);
            }
        }
        Ok(version)
    }

    fn item(&mut self) -> Read<JudgedItem> {
        let kind = match self.tag()? {
            0 => ChangeKind::Create,
            1 => ChangeKind::Modify,
            2 => ChangeKind::Delete,
            3 => ChangeKind::Rename,
            4 => ChangeKind::Chmod,
            5 => ChangeKind::Mkdir,
            6 => ChangeKind::Rmdir,
            7 => ChangeKind::Symlink,
            _ => return Err(Malformed),
        };
        let path = |text: String| (!text.is_empty()).then_some(text);
        Ok(JudgedItem {
            kind,
            from: path(self.text()?),
            to: path(self.text()?),
            before: self.state()?,
            after: self.state()?,
            new_content: self.flag()?,
            implicit: self.flag()?,
        })
    }

    fn mode(&mut self) -> Read<FileMode> {
        let bits = u32::try_from(self.number()?).map_err(|_| Malformed)?;
        let mode = FileMode::from_bits(bits);
        if mode.bits() == bits { Ok(mode) } else { Err(Malformed) }
    }

    fn state(&mut self) -> Read<Option<State>> {
        Ok(match self.tag()? {
            0 => None,
            1 => {
                let (digest, mode) = (self.digest()?, self.mode()?);
                Some(State::File { digest, mode, bytes: self.number()? })
            }
            2 => Some(State::Directory { mode: self.mode()? }),
            3 => Some(State::Symlink { digest: self.digest()? }),
            _ => return Err(Malformed),
        })
    }

    fn value(&mut self) -> Read<JudgedValue> {
        if self.depth > MAX_DEPTH {
            return Err(Malformed);
        }
        self.depth += 1;
        let value = match self.tag()? {
            0 => JudgedValue::Null,
            1 => JudgedValue::Bool(false),
            2 => JudgedValue::Bool(true),
            3 => JudgedValue::Integer(i128::from_be_bytes(self.array()?)),
            4 => JudgedValue::Float(f64::from_bits(self.number()?)),
            5 => JudgedValue::Text(self.text()?),
            6 => JudgedValue::List(self.list(Self::value)?),
            7 => JudgedValue::Object(self.list(|from| Ok((from.text()?, from.value()?)))?),
            8 => JudgedValue::Hidden(self.digest()?),
            _ => return Err(Malformed),
        };
        self.depth -= 1;
        Ok(value)
    }
}
