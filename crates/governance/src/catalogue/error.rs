//! What the catalogue refuses, and why.

use lictor_context::{Digest, Name};

use super::life::LifeState;

/// The catalogue did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CatalogueError {
    /// Builtins are as they are.
    #[error("`{id}` is a builtin, or claims to be one; builtins stay as they are")]
    Builtin {
        /// The id.
        id: String,
    },
    /// The document is not the one that was proposed.
    #[error(
        "this is not the document that was proposed: {proposed} was, this is {seen}; what is let in \
         has to be proposed as it is"
    )]
    OtherDocument {
        /// The digest of the one that was looked at.
        seen: Digest,
        /// The digest of the one that was proposed.
        proposed: Digest,
    },
    /// A life has no such step.
    #[error("what is {from} does not become {to}")]
    NoSuchStep {
        /// Where it is.
        from: LifeState,
        /// Where it should go.
        to: LifeState,
    },
    /// The policy does not let them propose.
    #[error("the policy does not let `{who}` propose anything")]
    MayNotPropose {
        /// Who.
        who: Name,
    },
    /// The policy asks for a role that they do not have.
    #[error("`{who}` has none of the roles that the policy asks for: {}", names(.needed))]
    MissingRole {
        /// Who.
        who: Name,
        /// One of these would do.
        needed: Vec<Name>,
    },
    /// Nobody lets in what they proposed themselves.
    #[error(
        "`{who}` proposed it, and another approver has to let it in (unless the policy says \
         `catalogue: {{ proposer_may_approve: true }}`)"
    )]
    OwnProposal {
        /// Who.
        who: Name,
    },
}

fn names(names: &[Name]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    if quoted.is_empty() { "nobody has one".to_owned() } else { quoted.join(", ") }
}

/// Something is in the catalogue and may not be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Withheld {
    /// It is not active.
    #[error("`{id}` is {state}, and only what is active is used")]
    NotActive {
        /// The id.
        id: String,
        /// Where it is in its life.
        state: LifeState,
    },
    /// It is another one than was let in.
    #[error("`{id}` is not what was approved: {approved} was, this is {found}")]
    Changed {
        /// The id.
        id: String,
        /// The digest that was approved.
        approved: Digest,
        /// The digest that it has.
        found: Digest,
    },
    /// It is not there any more.
    #[error("`{id}` is not in the catalogue any more")]
    Gone {
        /// The id.
        id: String,
    },
    /// Its record was not written by this runtime, or was changed since.
    #[error("the record of `{id}` does not hold: it was not written by Lictor on this machine")]
    Unproven {
        /// The id.
        id: String,
    },
    /// It cannot be looked at, and what cannot be looked at is not used.
    #[error("`{id}` cannot be held against what was approved: {why}")]
    Unreadable {
        /// The id.
        id: String,
        /// Why.
        why: String,
    },
}

impl Withheld {
    /// What is withheld.
    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            Self::NotActive { id, .. }
            | Self::Changed { id, .. }
            | Self::Gone { id }
            | Self::Unproven { id }
            | Self::Unreadable { id, .. } => id,
        }
    }

    /// Whether something was exchanged, as opposed to plainly not let in.
    #[must_use]
    pub fn is_integrity(&self) -> bool {
        match self {
            Self::NotActive { .. } => false,
            Self::Changed { .. }
            | Self::Gone { .. }
            | Self::Unproven { .. }
            | Self::Unreadable { .. } => true,
        }
    }
}
