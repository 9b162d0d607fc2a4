//! Clients that come in by a network, kept in the store; of their tokens only the digests.

use lictor_context::{Principal, Timestamp};
use lictor_governance::{ClientRecord, ClientStore, ClientStoreError};
use lictor_store::rusqlite::{OptionalExtension as _, params};
use lictor_store::{Migration, Store};

use crate::error::StateError;

pub(crate) const MIGRATION: Migration = Migration {
    owner: "state",
    version: 10,
    sql: "
CREATE TABLE client (
    folded_principal TEXT PRIMARY KEY,
    record TEXT NOT NULL
) STRICT;
",
};

/// Keeps clients in a store that was opened with [`crate::migrations`].
#[derive(Debug, Clone)]
pub struct SqliteClientStore {
    store: Store,
}

impl SqliteClientStore {
    /// Over a store.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    fn change(
        &self,
        principal: &Principal,
        change: impl FnOnce(Option<ClientRecord>, bool) -> Option<ClientRecord> + Send + 'static,
    ) -> Result<bool, ClientStoreError> {
        let key = folded(principal);
        let written = self.store.write(move |tx| {
            let any: bool = tx.prepare_cached("SELECT 1 FROM client")?.exists([])?;
            let known: Option<String> = tx
                .prepare_cached("SELECT record FROM client WHERE folded_principal = ?1")?
                .query_row([&key], |row| row.get(0))
                .optional()?;
            let known = known.map(|text| serde_json::from_str(&text)).transpose()?;
            let Some(record) = change(known, any) else { return Ok::<_, StateError>(false) };
            let text = serde_json::to_string(&record)?;
            tx.prepare_cached(
                "INSERT INTO client (folded_principal, record) VALUES (?1, ?2)
                 ON CONFLICT (folded_principal) DO UPDATE SET record = ?2",
            )?
            .execute(params![key, text])?;
            Ok(true)
        });
        written.wait().map_err(|error| unavailable(&error.into()))
    }
}

impl ClientStore for SqliteClientStore {
    fn insert(&self, record: &ClientRecord, only_first: bool) -> Result<(), ClientStoreError> {
        let new = record.clone();
        let change = move |known: Option<ClientRecord>, any: bool| {
            let taken = known.is_some_and(|known| known.revoked_at.is_none());
            if taken || (only_first && any) { None } else { Some(new) }
        };
        if self.change(&record.principal, change)? { Ok(()) } else { Err(ClientStoreError::Exists) }
    }

    fn list(&self) -> Result<Vec<ClientRecord>, ClientStoreError> {
        let found = self.store.read(|conn| {
            let mut statement =
                conn.prepare_cached("SELECT record FROM client ORDER BY folded_principal")?;
            let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
            let mut found = Vec::new();
            for row in rows {
                found.push(serde_json::from_str(&row?)?);
            }
            Ok::<_, StateError>(found)
        });
        found.map_err(|error| unavailable(&error.into()))
    }

    fn revoke(&self, principal: &Principal, at: Timestamp) -> Result<(), ClientStoreError> {
        let change = move |known: Option<ClientRecord>, _: bool| {
            let mut known = known?;
            known.revoked_at.get_or_insert(at);
            Some(known)
        };
        if self.change(principal, change)? { Ok(()) } else { Err(ClientStoreError::Unknown) }
    }
}

/// One key a principal: as JSON, so that no name can look like two.
fn folded(principal: &Principal) -> String {
    let names = [&principal.org, &principal.user, &principal.agent];
    serde_json::json!(names.map(|name| name.as_str().to_lowercase())).to_string()
}

fn unavailable(error: &StateError) -> ClientStoreError {
    ClientStoreError::Unavailable(error.to_string())
}
