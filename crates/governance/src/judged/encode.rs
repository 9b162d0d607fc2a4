//! Everything that was judged, in canonical bytes; a decision and an approval bind to their digest.
//!
//! Framed in a form of their own instead of as canonical JSON: it is faster, and exact for integers
//! that a double does not hold. Every structure is taken apart by name, so that a field that is
//! added anywhere has to be thought of here. [`super::decode`] reads the same form back: what
//! people are shown is made from these bytes and from nothing else.

use lictor_capability::{Changes, Described, Effects, Executable, Item, State, UndoScope};
use lictor_context::{Digest, Hasher, Principal, WorkspacePath};
use serde_json::{Number, Value};

use super::hidden::Hidden;

/// What the bytes begin with.
pub(super) const HEADER: &str = "lictor/action/v3";

/// The digest of everything that was judged: input, capability and contract, effects with every
/// state before and after, principal, plan, policy. Not the session and not the action's id: an
/// approval outlives both.
pub(crate) fn action_digest(
    described: &Described,
    undo: UndoScope,
    policy: Digest,
    hidden: &Hidden,
) -> Digest {
    let mut encoder = Encoder { sink: Hasher::new(), undo, hidden };
    encoder.action(described, policy);
    encoder.sink.finish()
}

/// The bytes that [`action_digest`] is the digest of.
pub(crate) fn action_bytes(
    described: &Described,
    undo: UndoScope,
    policy: Digest,
    hidden: &Hidden,
) -> Vec<u8> {
    let mut encoder = Encoder { sink: Vec::new(), undo, hidden };
    encoder.action(described, policy);
    encoder.sink
}

/// Where the bytes go.
trait Sink {
    fn put(&mut self, bytes: &[u8]);
}

impl Sink for Hasher {
    fn put(&mut self, bytes: &[u8]) {
        self.update(bytes);
    }
}

impl Sink for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

struct Encoder<'a, S> {
    sink: S,
    /// How much could be taken back, as the policy keeps undo records.
    undo: UndoScope,
    hidden: &'a Hidden,
}

impl<S: Sink> Encoder<'_, S> {
    fn action(&mut self, described: &Described, policy: Digest) {
        let action = described.action();
        let contract = described.contract();
        self.text(HEADER);
        self.text(contract.id.as_str());
        self.number(contract.version.major);
        self.number(contract.version.minor);
        self.number(contract.version.patch);
        self.text(contract.version.pre.as_str());
        self.text(contract.version.build.as_str());
        self.digest(&contract.digest());
        let Principal { org, user, agent } = action.session().principal();
        self.text(org.as_str());
        self.text(user.as_str());
        self.text(agent.as_str());
        self.digest(&policy);
        self.value(None, action.input());
        self.tag(action.risk().map_or(0, |risk| 1 + risk as u8));
        self.number(u64::from(action.approvals()));
        match &action.origin().rolls_back {
            Some(execution) => {
                self.tag(1);
                self.text(execution.as_str());
            }
            None => self.tag(0),
        }
        match action.plan() {
            Some(plan) => {
                self.tag(1);
                self.list(&plan.verification, |to, name| to.text(name));
                self.list(&plan.health_checks, |to, name| to.text(name));
                self.text(plan.rollback_plan.as_deref().unwrap_or_default());
            }
            None => self.tag(0),
        }
        self.effects(described.effects());
    }

    fn tag(&mut self, tag: u8) {
        self.sink.put(&[tag]);
    }

    fn number(&mut self, number: u64) {
        self.sink.put(&number.to_be_bytes());
    }

    fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.sink.put(text.as_bytes());
    }

    fn digest(&mut self, digest: &Digest) {
        self.sink.put(digest.as_bytes());
    }

    fn list<T>(&mut self, items: &[T], each: impl Fn(&mut Self, &T)) {
        self.number(items.len() as u64);
        for item in items {
            each(self, item);
        }
    }

    fn path(&mut self, path: Option<&WorkspacePath>) {
        // No path is empty, so an empty text stands for none.
        self.text(path.map_or("", WorkspacePath::as_str));
    }

    fn effects(&mut self, effects: &Effects) {
        // Conflicts, what was intended in spite of them, what is so already, and violations are
        // judged, not agreed to: a denial stands against them, and the workspace is looked at again
        // before anything is done.
        let Effects {
            reads,
            reads_root,
            changes,
            hosts,
            programs,
            executables,
            // What the contract says, and its digest is in here.
            contained: _,
            tools,
            // What is said of it is what the policy lets stand.
            undo: _,
            takes_back,
            conflicts: _,
            intended: _,
            unchanged: _,
            left: _,
            violations: _,
        } = effects;
        self.list(reads, |to, path| to.path(Some(path)));
        self.tag(u8::from(*reads_root));
        let Changes { items, lines, bytes } = changes;
        self.list(items, Self::item);
        self.number(*lines);
        self.number(*bytes);
        for texts in [hosts, programs, tools] {
            self.list(texts, |to, text| to.text(text));
        }
        self.list(executables, |to, Executable { program, path, digest }| {
            to.text(program);
            to.text(path);
            to.digest(digest);
        });
        self.tag(match self.undo {
            UndoScope::Full => 0,
            UndoScope::Partial => 1,
            UndoScope::None => 2,
        });
        self.list(takes_back, |to, execution| to.text(execution.as_str()));
    }

    fn item(&mut self, item: &Item) {
        // The content is what its digest in `after` says, wherever it comes from.
        let Item { kind, from, to, before, after, content, implicit } = item;
        self.tag(*kind as u8);
        self.path(from.as_ref());
        self.path(to.as_ref());
        self.state(before.as_ref());
        self.state(after.as_ref());
        self.tag(u8::from(content.is_some()));
        self.tag(u8::from(*implicit));
    }

    fn state(&mut self, state: Option<&State>) {
        match state {
            None => self.tag(0),
            Some(State::File { digest, mode, bytes }) => {
                self.tag(1);
                self.digest(digest);
                self.number(u64::from(mode.bits()));
                self.number(*bytes);
            }
            Some(State::Directory { mode }) => {
                self.tag(2);
                self.number(u64::from(mode.bits()));
            }
            Some(State::Symlink { digest }) => {
                self.tag(3);
                self.digest(digest);
            }
        }
    }

    /// A value of the input; one that is not to be kept in clear stands by its digest.
    fn value(&mut self, key: Option<&str>, value: &Value) {
        if self.hidden.hides(key, value) {
            let mut clear =
                Encoder { sink: Hasher::new(), undo: self.undo, hidden: &Hidden::NOTHING };
            clear.value(None, value);
            self.tag(8);
            self.digest(&clear.sink.finish());
            return;
        }
        match value {
            Value::Null => self.tag(0),
            Value::Bool(value) => self.tag(1 + u8::from(*value)),
            Value::Number(number) => self.json_number(number),
            Value::String(text) => {
                self.tag(5);
                self.text(text);
            }
            Value::Array(items) => {
                self.tag(6);
                self.list(items, |to, item| to.value(key, item));
            }
            Value::Object(map) => {
                self.tag(7);
                let mut entries: Vec<(&String, &Value)> = map.iter().collect();
                entries.sort_unstable_by_key(|(key, _)| *key);
                self.list(&entries, |to, (key, value)| {
                    to.text(key);
                    to.value(Some(key), value);
                });
            }
        }
    }

    /// `1` and `1.0` are one number, as in canonical JSON; integers are exact.
    fn json_number(&mut self, number: &Number) {
        let whole = number.as_i128().or_else(|| {
            let float = number.as_f64()?;
            #[expect(clippy::cast_possible_truncation, reason = "whole and within range")]
            (float.fract() == 0.0 && float.abs() < 1e30).then_some(float as i128)
        });
        match whole {
            Some(whole) => {
                self.tag(3);
                self.sink.put(&whole.to_be_bytes());
            }
            None => {
                self.tag(4);
                self.sink.put(&number.as_f64().unwrap_or(f64::NAN).to_bits().to_be_bytes());
            }
        }
    }
}
