//! Clients: one a principal, and of their tokens only the digests.

use std::sync::Arc;

use lictor_context::Principal;
use lictor_governance::{ClientError, ClientStoreError, Clients};
use lictor_state::SqliteClientStore;

use crate::support::{clock, name, open, store};

fn principal(user: &str, agent: &str) -> Principal {
    Principal { org: name("acme"), user: name(user), agent: name(agent) }
}

#[test]
fn a_token_says_as_whom_its_bearer_asks() {
    let (store, dir) = store();
    let clients = Clients::new(Arc::new(SqliteClientStore::new(store.clone())), clock());
    let ann = clients.add(principal("ann", "ide")).expect("a token");
    let bob = clients.add(principal("bob", "ide")).expect("a token");
    drop(clients);
    store.close();
    drop(store);
    let again = SqliteClientStore::new(open(&dir.path().join("lictor.db")));
    let clients = Clients::new(Arc::new(again), clock());
    assert_eq!(clients.authenticate(ann.expose()), Ok(principal("ann", "ide")));
    assert_eq!(clients.authenticate(bob.expose()), Ok(principal("bob", "ide")));
    let changed = ann.expose().replace("lct_", "lat_");
    let longer = format!("{}A", ann.expose());
    let shorter = ann.expose().split_at(46).0.to_owned();
    for wrong in ["", "lct_", &changed, &longer, &shorter] {
        assert_eq!(clients.authenticate(wrong), Err(ClientError::NotRecognised), "{wrong}");
    }
}

#[test]
fn a_principal_has_one_token_at_a_time() {
    let (store, _dir) = store();
    let clients = Clients::new(Arc::new(SqliteClientStore::new(store)), clock());
    let first = clients.add(principal("ann", "ide")).expect("a token");
    let taken = Err(ClientError::Store(ClientStoreError::Exists));
    assert_eq!(clients.add(principal("ANN", "ide")).map(drop), taken, "whatever the letter case");
    clients.revoke(&principal("ann", "IDE")).expect("revoked");
    assert_eq!(clients.authenticate(first.expose()), Err(ClientError::NotRecognised));
    let second = clients.add(principal("ann", "ide")).expect("another one");
    assert_eq!(clients.authenticate(first.expose()), Err(ClientError::NotRecognised));
    assert_eq!(clients.authenticate(second.expose()), Ok(principal("ann", "ide")));
    let unknown = clients.revoke(&principal("bob", "ide"));
    assert_eq!(unknown, Err(ClientError::Store(ClientStoreError::Unknown)));
}

#[test]
fn only_the_first_is_first_even_after_it_was_revoked() {
    let (store, _dir) = store();
    let clients = Clients::new(Arc::new(SqliteClientStore::new(store)), clock());
    assert!(clients.add_first(principal("ann", "ide")).expect("a store").is_some());
    clients.revoke(&principal("ann", "ide")).expect("revoked");
    assert!(clients.add_first(principal("ann", "ide")).expect("a store").is_none());
    assert!(clients.add_first(principal("bob", "ide")).expect("a store").is_none());
}

#[test]
fn tokens_of_clients_are_not_kept() {
    let (store, dir) = store();
    let clients = Clients::new(Arc::new(SqliteClientStore::new(store.clone())), clock());
    let token = clients.add(principal("ann", "ide")).expect("a token");
    drop(clients);
    store.close();
    for entry in std::fs::read_dir(dir.path()).expect("a directory") {
        let bytes = std::fs::read(entry.expect("an entry").path()).expect("bytes");
        let token = token.expose().as_bytes();
        assert!(!bytes.windows(token.len()).any(|window| window == token));
    }
}
