//! Programs that come in by a network: each has a token that says as whom it asks.

use std::fmt;
use std::sync::Arc;

use lictor_context::{Clock, Digest, Principal, Timestamp};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::token;

/// What tokens begin with, so that scanners for leaked secrets find them.
const TOKEN_PREFIX: &str = "lct_";

/// A client as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientRecord {
    /// As whom it asks.
    pub principal: Principal,
    /// The digest of its token.
    pub token_digest: Digest,
    /// Since when.
    pub added_at: Timestamp,
    /// When its token was taken back.
    pub revoked_at: Option<Timestamp>,
}

/// A token, to be shown once. It is wiped from memory when dropped.
pub struct ClientToken(Zeroizing<String>);

impl ClientToken {
    /// The text.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ClientToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientToken(..)")
    }
}

/// Keeps clients, one a principal; the letter case of names tells nobody apart.
pub trait ClientStore: Send + Sync + fmt::Debug {
    /// Keeps a new one, in place of one that was revoked. With `only_first`, atomically only if
    /// there was never any.
    ///
    /// # Errors
    /// [`ClientStoreError::Exists`] when there is one that was not revoked, or `only_first` does
    /// not hold.
    fn insert(&self, record: &ClientRecord, only_first: bool) -> Result<(), ClientStoreError>;

    /// All of them, those that were revoked as well.
    ///
    /// # Errors
    /// When the store fails.
    fn list(&self) -> Result<Vec<ClientRecord>, ClientStoreError>;

    /// Takes the token of one back; without effect when that was done.
    ///
    /// # Errors
    /// [`ClientStoreError::Unknown`] when there is no such client.
    fn revoke(&self, principal: &Principal, at: Timestamp) -> Result<(), ClientStoreError>;
}

/// The store of clients did not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientStoreError {
    /// There is one, or there are clients where there had to be none.
    #[error("there is such a client already; revoke its token to make another one")]
    Exists,
    /// There is none.
    #[error("there is no such client")]
    Unknown,
    /// The store failed.
    #[error("the store of clients is unavailable: {0}")]
    Unavailable(String),
}

/// The register of clients did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The token is nobody's, or was taken back.
    #[error("the token is no client's")]
    NotRecognised,
    /// There is no randomness.
    #[error("no randomness: {0}")]
    Randomness(String),
    /// The store did not do it.
    #[error(transparent)]
    Store(#[from] ClientStoreError),
}

/// The register of programs that may come in by a network.
#[derive(Debug)]
pub struct Clients {
    store: Arc<dyn ClientStore>,
    clock: Arc<dyn Clock>,
}

impl Clients {
    /// A register over a store.
    #[must_use]
    pub fn new(store: Arc<dyn ClientStore>, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock }
    }

    /// Lets a client in as somebody. The token is not kept and cannot be shown again.
    ///
    /// # Errors
    /// When there is such a client, or the store or the source of randomness fails.
    pub fn add(&self, principal: Principal) -> Result<ClientToken, ClientError> {
        self.insert(principal, false)
    }

    /// The same, if there was never any client; else nothing.
    ///
    /// # Errors
    /// When the store or the source of randomness fails.
    pub fn add_first(&self, principal: Principal) -> Result<Option<ClientToken>, ClientError> {
        match self.insert(principal, true) {
            Ok(token) => Ok(Some(token)),
            Err(ClientError::Store(ClientStoreError::Exists)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn insert(&self, principal: Principal, only_first: bool) -> Result<ClientToken, ClientError> {
        let token = token::fresh(TOKEN_PREFIX);
        let token = token.map_err(|error| ClientError::Randomness(error.to_string()))?;
        let record = ClientRecord {
            principal,
            token_digest: Digest::of(token.as_bytes()),
            added_at: self.clock.now(),
            revoked_at: None,
        };
        self.store.insert(&record, only_first)?;
        Ok(ClientToken(token))
    }

    /// As whom the bearer of a token asks.
    ///
    /// # Errors
    /// When it is nobody's, or was taken back.
    pub fn authenticate(&self, token: &str) -> Result<Principal, ClientError> {
        let kept = self.store.list()?;
        token::owner(TOKEN_PREFIX, token, kept, |record| record.token_digest)
            .filter(|record| record.revoked_at.is_none())
            .map(|record| record.principal)
            .ok_or(ClientError::NotRecognised)
    }

    /// Every client there is or was.
    ///
    /// # Errors
    /// When the store fails.
    pub fn list(&self) -> Result<Vec<ClientRecord>, ClientError> {
        Ok(self.store.list()?)
    }

    /// Takes a client's token back: it is nobody's from then on.
    ///
    /// # Errors
    /// When there is no such client, or the store fails.
    pub fn revoke(&self, principal: &Principal) -> Result<(), ClientError> {
        Ok(self.store.revoke(principal, self.clock.now())?)
    }
}
