//! What a decision and an approval bind to, in one digest.
//!
//! Hashed field by field in a framed form of their own instead of through canonical JSON: it is
//! faster, and exact for integers that a double does not hold. Every structure is taken apart by
//! name, so that a field that is added anywhere has to be thought of here.

use lictor_capability::{Changes, Described, Effects, Item, State, UndoScope};
use lictor_context::{Digest, Hasher, Principal, WorkspacePath};
use serde_json::{Number, Value};

/// The digest of everything that was judged: input, capability and contract, effects with every
/// state before and after, principal, plan, policy. Not the session and not the action's id: an
/// approval outlives both.
pub(crate) fn action_digest(described: &Described, policy: Digest) -> Digest {
    let action = described.action();
    let contract = described.contract();
    let mut bind = Binding(Hasher::new());
    bind.text("lictor/action/v1");
    bind.text(contract.id.as_str());
    bind.number(contract.version.major);
    bind.number(contract.version.minor);
    bind.number(contract.version.patch);
    bind.text(contract.version.pre.as_str());
    bind.text(contract.version.build.as_str());
    bind.digest(&contract.digest());
    let Principal { org, user, agent } = action.session().principal();
    bind.text(org.as_str());
    bind.text(user.as_str());
    bind.text(agent.as_str());
    bind.digest(&policy);
    bind.value(action.input());
    bind.tag(action.risk().map_or(0, |risk| 1 + risk as u8));
    bind.number(u64::from(action.approvals()));
    match &action.origin().rolls_back {
        Some(execution) => bind.text(execution.as_str()),
        None => bind.tag(0),
    }
    match action.plan() {
        Some(plan) => {
            bind.list(&plan.verification, |bind, name| bind.text(name));
            bind.list(&plan.health_checks, |bind, name| bind.text(name));
            bind.text(plan.rollback_plan.as_deref().unwrap_or_default());
        }
        None => bind.tag(0),
    }
    bind.effects(described.effects());
    bind.0.finish()
}

struct Binding(Hasher);

impl Binding {
    fn tag(&mut self, tag: u8) {
        self.0.update(&[tag]);
    }

    fn number(&mut self, number: u64) {
        self.0.update(&number.to_be_bytes());
    }

    fn text(&mut self, text: &str) {
        self.0.update_framed(text.as_bytes());
    }

    fn digest(&mut self, digest: &Digest) {
        self.0.update(digest.as_bytes());
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
        // Conflicts, what was intended in spite of them, and violations are judged, not agreed to:
        // a denial stands against them, and the workspace is looked at again before anything is
        // done.
        let Effects {
            reads,
            reads_root,
            changes,
            hosts,
            programs,
            tools,
            undo,
            takes_back,
            conflicts: _,
            intended: _,
            left: _,
            violations: _,
        } = effects;
        self.list(reads, |bind, path| bind.path(Some(path)));
        self.tag(u8::from(*reads_root));
        let Changes { items, lines, bytes } = changes;
        self.list(items, Self::item);
        self.number(*lines);
        self.number(*bytes);
        for texts in [hosts, programs, tools] {
            self.list(texts, |bind, text| bind.text(text));
        }
        self.tag(match undo {
            UndoScope::Full => 0,
            UndoScope::Partial => 1,
            UndoScope::None => 2,
        });
        self.list(takes_back, |bind, execution| bind.text(execution.as_str()));
    }

    fn item(&mut self, item: &Item) {
        // The content is what its digest in `after` says, wherever it comes from.
        let Item { kind, from, to, before, after, content: _, implicit } = item;
        self.tag(*kind as u8);
        self.path(from.as_ref());
        self.path(to.as_ref());
        self.state(before.as_ref());
        self.state(after.as_ref());
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

    fn value(&mut self, value: &Value) {
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
                self.list(items, Self::value);
            }
            Value::Object(map) => {
                self.tag(7);
                let mut entries: Vec<(&String, &Value)> = map.iter().collect();
                entries.sort_unstable_by_key(|(key, _)| *key);
                self.list(&entries, |bind, (key, value)| {
                    bind.text(key);
                    bind.value(value);
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
                self.0.update(&whole.to_be_bytes());
            }
            None => {
                self.tag(4);
                self.0.update(&number.as_f64().unwrap_or(f64::NAN).to_bits().to_be_bytes());
            }
        }
    }
}
