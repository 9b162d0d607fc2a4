//! Ids: what things are called, and what may be used as a key.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};

use crate::clock::Clock;
use crate::quote::Quote;

/// The longest id or name that is accepted, in bytes.
const MAX_LEN: usize = 128;

/// A text that should have been an id or a name is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text} is not {expected}: 1 to 128 characters of A-Z a-z 0-9 _ . : - are accepted")]
pub struct IdError {
    text: Quote,
    expected: &'static str,
}

fn check(text: &str, expected: &'static str) -> Result<Arc<str>, IdError> {
    let fits = (1..=MAX_LEN).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.:-".contains(&byte));
    if fits { Ok(Arc::from(text)) } else { Err(IdError { text: Quote::of(text), expected }) }
}

macro_rules! text_newtype {
    ($(#[$doc:meta])* $name:ident, $expected:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $name(Arc<str>);

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl $name {
            /// Takes a text from outside.
            ///
            /// # Errors
            /// When the text is not 1 to 128 characters of `[A-Za-z0-9_.:-]`.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                check(text, $expected).map(Self)
            }

            /// The text itself.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                Self::parse(&text)
            }
        }

        impl std::str::FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::parse(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0.as_ref().to_owned()
            }
        }
    };
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal, $what:literal;)+) => {$(
        text_newtype!($(#[$doc])* $name, $what);

        impl $name {
            /// What ids of this kind that Lictor makes begin with.
            pub const PREFIX: &'static str = $prefix;

            /// A new id: the prefix and a UUID of version 7 (RFC 9562), so that ids sort by time.
            #[must_use]
            pub fn generate(clock: &dyn Clock) -> Self {
                Self(generate(Self::PREFIX, clock))
            }

            /// The id of something that is named by its content: the same digest gives the same id.
            #[must_use]
            pub fn from_digest(digest: &crate::Digest) -> Self {
                let hex = digest.hex();
                Self(Arc::from(format!("{}_{}", Self::PREFIX, hex.get(..32).unwrap_or(&hex))))
            }
        }
    )+};
}

ids! {
    /// A session: one agent at work for one user.
    SessionId = "ses", "a session id";
    /// An action: something that is wanted.
    ActionId = "act", "an action id";
    /// A decision of the gate.
    DecisionId = "dec", "a decision id";
    /// An approval, pending or settled.
    ApprovalId = "apr", "an approval id";
    /// A grant: an approval in advance.
    GrantId = "gnt", "a grant id";
    /// A halt: the kill switch, thrown once.
    HaltId = "hlt", "a halt id";
    /// A warrant.
    WarrantId = "wrt", "a warrant id";
    /// A change set.
    ChangeSetId = "chg", "a change set id";
    /// A plan.
    PlanId = "pln", "a plan id";
    /// An execution: one action being done.
    ExecutionId = "exe", "an execution id";
    /// A run of a workflow.
    RunId = "wfr", "a workflow run id";
    /// An event of the trail.
    EventId = "evt", "an event id";
    /// A proposal of a capability.
    ProposalId = "prp", "a proposal id";
}

text_newtype! {
    /// The name of an organisation, a user or an agent.
    Name, "a name"
}

fn generate(prefix: &str, clock: &dyn Clock) -> Arc<str> {
    let micros = clock.now().as_micros().max(0).unsigned_abs();
    let at = uuid::Timestamp::from_unix(
        uuid::NoContext,
        micros / 1_000_000,
        u32::try_from(micros % 1_000_000 * 1_000).unwrap_or(0),
    );
    let mut hex = [0_u8; uuid::fmt::Simple::LENGTH];
    let hex = uuid::Uuid::new_v7(at).simple().encode_lower(&mut hex);
    let mut id = String::with_capacity(prefix.len() + 1 + hex.len());
    id.push_str(prefix);
    id.push('_');
    id.push_str(hex);
    Arc::from(id)
}
