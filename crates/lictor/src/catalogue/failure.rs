//! What a door is told when the catalogue does not do something.

use lictor_governance::{CatalogueError, CatalogueKey, DocumentUnreadable};

use crate::error::ErrorCode;

/// The catalogue did not do what was asked. Nothing was let in.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueFailure {
    /// It refused.
    #[error(transparent)]
    Refused(#[from] CatalogueError),
    /// The document cannot be read.
    #[error(transparent)]
    Unreadable(DocumentUnreadable),
    /// The workflow that it calls is not there, or there are several.
    #[error("{0}")]
    NoWorkflow(String),
    /// Another document lies in its place.
    #[error(
        "`{place}` holds another document under the same id and version; change that file and \
         propose it, or raise the version"
    )]
    Occupied {
        /// What was proposed.
        key: CatalogueKey,
        /// The file.
        place: String,
    },
    /// There is no such document.
    #[error("there is no {0} in the catalogue")]
    Unknown(CatalogueKey),
    /// Nobody proposed it.
    #[error("nobody proposed the {0}; `propose` its file first")]
    NotProposed(CatalogueKey),
    /// Its record does not hold.
    #[error("the record of the {0} does not hold: it was not written by Lictor on this machine")]
    Unproven(CatalogueKey),
    /// Somebody else decided at the same time.
    #[error("somebody else decided about it at the same time; look at it again")]
    Raced,
    /// Files or database failed.
    #[error("the catalogue is not available: {0}")]
    Unavailable(String),
}

impl CatalogueFailure {
    /// The code that every door gives.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Refused(error) => match error {
                CatalogueError::Builtin { .. } | CatalogueError::NoSuchStep { .. } => {
                    ErrorCode::InvalidInput
                }
                CatalogueError::OtherDocument { .. } => ErrorCode::Integrity,
                CatalogueError::MayNotPropose { .. }
                | CatalogueError::MissingRole { .. }
                | CatalogueError::OwnProposal { .. } => ErrorCode::Denied,
            },
            Self::Unreadable(_)
            | Self::NoWorkflow(_)
            | Self::Occupied { .. }
            | Self::NotProposed(_) => ErrorCode::InvalidInput,
            Self::Unknown(_) => ErrorCode::NotFound,
            Self::Unproven(_) => ErrorCode::Integrity,
            Self::Raced => ErrorCode::Busy,
            Self::Unavailable(_) => ErrorCode::Failed,
        }
    }
}
