//! What the catalogue holds: contracts, packs and facades.

use std::fmt;
use std::sync::Arc;

use lictor_capability::{BundleError, Contract, ContractError, Facade, Pack};
use lictor_context::Digest;
use lictor_document::Source;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What kind of document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CatalogueKind {
    /// A contract.
    Capability,
    /// A pack.
    Pack,
    /// A facade.
    Facade,
}

impl CatalogueKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Capability, Self::Pack, Self::Facade];

    /// The word that messages use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Capability => "capability",
            Self::Pack => "pack",
            Self::Facade => "facade",
        }
    }

    /// The folder below `.lictor` that holds such documents.
    #[must_use]
    pub const fn folder(self) -> &'static str {
        match self {
            Self::Capability => "capabilities",
            Self::Pack => "packs",
            Self::Facade => "facades",
        }
    }
}

impl fmt::Display for CatalogueKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Names one version of one document.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogueKey {
    /// The kind.
    pub kind: CatalogueKind,
    /// The id.
    pub id: String,
    /// The version.
    pub version: semver::Version,
}

impl CatalogueKey {
    pub(super) fn of(contract: &Contract) -> Self {
        Document::key_of(CatalogueKind::Capability, contract.id.as_str(), &contract.version)
    }
}

impl fmt::Display for CatalogueKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}` {}", self.kind, self.id, self.version)
    }
}

/// A document of the catalogue. Cheap to clone.
#[derive(Debug, Clone)]
pub enum Document {
    /// A contract.
    Capability(Arc<Contract>),
    /// A pack.
    Pack(Arc<Pack>),
    /// A facade.
    Facade(Arc<Facade>),
}

/// A document could not be read.
#[derive(Debug, thiserror::Error)]
pub enum DocumentUnreadable {
    /// It is no contract.
    #[error(transparent)]
    Contract(#[from] ContractError),
    /// It is no pack, or no facade.
    #[error(transparent)]
    Bundle(#[from] BundleError),
}

impl Document {
    /// Reads a document of a kind.
    ///
    /// # Errors
    /// When it is none, with the place and what is accepted there.
    pub fn from_yaml(kind: CatalogueKind, source: &Source<'_>) -> Result<Self, DocumentUnreadable> {
        Ok(match kind {
            CatalogueKind::Capability => Self::Capability(Arc::new(Contract::from_yaml(source)?)),
            CatalogueKind::Pack => Self::Pack(Arc::new(Pack::from_yaml(source)?)),
            CatalogueKind::Facade => Self::Facade(Arc::new(Facade::from_yaml(source)?)),
        })
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> CatalogueKind {
        match self {
            Self::Capability(_) => CatalogueKind::Capability,
            Self::Pack(_) => CatalogueKind::Pack,
            Self::Facade(_) => CatalogueKind::Facade,
        }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            Self::Capability(contract) => contract.id.as_str(),
            Self::Pack(pack) => pack.id.as_str(),
            Self::Facade(facade) => facade.id.as_str(),
        }
    }

    /// Its version.
    #[must_use]
    pub fn version(&self) -> &semver::Version {
        match self {
            Self::Capability(contract) => &contract.version,
            Self::Pack(pack) => &pack.version,
            Self::Facade(facade) => &facade.version,
        }
    }

    /// Its title.
    #[must_use]
    pub fn title(&self) -> &str {
        match self {
            Self::Capability(contract) => &contract.title,
            Self::Pack(pack) => &pack.title,
            Self::Facade(facade) => &facade.title,
        }
    }

    /// What names it.
    #[must_use]
    pub fn key(&self) -> CatalogueKey {
        Self::key_of(self.kind(), self.id(), self.version())
    }

    /// What names a contract.
    #[must_use]
    pub fn key_of_contract(contract: &Contract) -> CatalogueKey {
        CatalogueKey::of(contract)
    }

    fn key_of(kind: CatalogueKind, id: &str, version: &semver::Version) -> CatalogueKey {
        CatalogueKey { kind, id: id.to_owned(), version: version.clone() }
    }

    /// Its digest.
    #[must_use]
    pub fn digest(&self) -> Digest {
        match self {
            Self::Capability(contract) => contract.digest(),
            Self::Pack(pack) => pack.digest(),
            Self::Facade(facade) => facade.digest(),
        }
    }

    /// It as JSON.
    #[must_use]
    pub fn to_json(&self) -> Value {
        match self {
            Self::Capability(contract) => contract.to_json(),
            Self::Pack(pack) => pack.to_json(),
            Self::Facade(facade) => facade.to_json(),
        }
    }

    /// The contract, when it is one.
    #[must_use]
    pub fn contract(&self) -> Option<&Arc<Contract>> {
        match self {
            Self::Capability(contract) => Some(contract),
            Self::Pack(_) | Self::Facade(_) => None,
        }
    }

    /// The pack, when it is one.
    #[must_use]
    pub fn pack(&self) -> Option<&Arc<Pack>> {
        match self {
            Self::Pack(pack) => Some(pack),
            Self::Capability(_) | Self::Facade(_) => None,
        }
    }

    /// The facade, when it is one.
    #[must_use]
    pub fn facade(&self) -> Option<&Arc<Facade>> {
        match self {
            Self::Facade(facade) => Some(facade),
            Self::Capability(_) | Self::Pack(_) => None,
        }
    }
}
