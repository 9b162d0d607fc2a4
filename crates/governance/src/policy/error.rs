//! What can be wrong with a policy.

use lictor_document::DocumentError;

use super::PolicyLayer;

/// A policy could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}")]
pub struct PolicyError {
    kind: PolicyErrorKind,
}

impl PolicyError {
    pub(super) fn new(kind: PolicyErrorKind) -> Self {
        Self { kind }
    }

    /// What is wrong.
    #[must_use]
    pub fn kind(&self) -> &PolicyErrorKind {
        &self.kind
    }

    /// The place, where it is one.
    #[must_use]
    pub fn document(&self) -> Option<&DocumentError> {
        match &self.kind {
            PolicyErrorKind::Document(error) => Some(error),
            PolicyErrorKind::LayerTwice { .. }
            | PolicyErrorKind::TooComplex { .. }
            | PolicyErrorKind::NotText { .. }
            | PolicyErrorKind::Cedar { .. }
            | PolicyErrorKind::CedarNotBuilt { .. } => None,
        }
    }
}

/// The ways a policy can be wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyErrorKind {
    /// The text, its shape, a value in it, or a self-test that fails.
    #[error(transparent)]
    Document(DocumentError),
    /// Two files for one layer.
    #[error("there are two policies for the layer `{layer}`")]
    LayerTwice {
        /// The layer.
        layer: PolicyLayer,
    },
    /// The globs of all layers do not fit into one automaton.
    #[error("the globs are too many or too large together: {problem}")]
    TooComplex {
        /// What the automaton says.
        problem: String,
    },
    /// A file is no text.
    #[error("`{file}` is not UTF-8 text")]
    NotText {
        /// The file.
        file: String,
    },
    /// The Cedar policies together, or the schema of the catalogue.
    #[error("the Cedar policies: {problem}")]
    Cedar {
        /// What is wrong.
        problem: String,
    },
    /// There are Cedar policies, and this build would leave them out.
    #[error(
        "`{file}` is for Cedar, which this build does not read, and nothing is judged without it; use a build with the feature `cedar`"
    )]
    CedarNotBuilt {
        /// The first file.
        file: String,
    },
}

impl From<DocumentError> for PolicyError {
    fn from(error: DocumentError) -> Self {
        Self::new(PolicyErrorKind::Document(error))
    }
}
