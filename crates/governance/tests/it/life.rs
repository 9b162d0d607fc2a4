//! Approvers.

use std::sync::Arc;

use lictor_governance::{ApproverError, ApproverStoreError, Approvers, MemoryApproverStore, Proof};

use crate::common::{clock, minutes, name};

fn register() -> (Approvers, Arc<lictor_context::ManualClock>) {
    let clock = clock();
    (Approvers::new(Arc::new(MemoryApproverStore::default()), clock.clone()), clock)
}

#[test]
fn tokens_are_shown_once_and_kept_as_digests() {
    let (approvers, _) = register();
    let (record, token) = approvers.bootstrap(name("ann"), vec![name("lead")]).unwrap();
    let text = token.expose().to_owned();
    assert_eq!(text.len(), 47);
    assert!(text.starts_with("lat_"));
    assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b)));
    assert_eq!(format!("{token:?}"), "ApproverToken(..)");
    let kept = serde_json::to_string(&approvers.list().unwrap()).unwrap();
    assert!(!kept.contains(text.trim_start_matches("lat_")));
    let ann = approvers.authenticate(&text).unwrap();
    assert_eq!((ann.name(), ann.proof()), (&record.name, Proof::Token));
    assert_eq!(ann.roles(), [name("lead")]);
    for wrong in ["", "lat_", "ann", &text.to_uppercase(), &format!("lat_{}", "A".repeat(43))] {
        assert_eq!(approvers.authenticate(wrong).unwrap_err(), ApproverError::NotRecognised);
    }
}

#[test]
fn the_first_approver_is_the_first() {
    let (approvers, _) = register();
    let (_, token) = approvers.bootstrap(name("ann"), Vec::new()).unwrap();
    let taken = ApproverError::Store(ApproverStoreError::Exists);
    assert_eq!(approvers.bootstrap(name("bob"), Vec::new()).unwrap_err(), taken);
    let ann = approvers.authenticate(token.expose()).unwrap();
    assert_eq!(approvers.enroll(name("ANN"), Vec::new(), &ann).unwrap_err(), taken);
    let (record, _) = approvers.enroll(name("bob"), Vec::new(), &ann).unwrap();
    assert_eq!(record.added_by, Some(name("ann")));
}

#[test]
fn a_revoked_token_proves_nothing() {
    let (approvers, _) = register();
    let (_, token) = approvers.bootstrap(name("ann"), Vec::new()).unwrap();
    let ann = approvers.authenticate(token.expose()).unwrap();
    assert_eq!(approvers.revoke(&name("ann"), &ann).unwrap_err(), ApproverError::Last);
    let (_, bobs) = approvers.enroll(name("bob"), Vec::new(), &ann).unwrap();
    let bob = approvers.authenticate(bobs.expose()).unwrap();
    approvers.revoke(&name("ann"), &bob).unwrap();
    assert_eq!(approvers.authenticate(token.expose()).unwrap_err(), ApproverError::Revoked);
    assert_eq!(approvers.challenge(&name("ann")).unwrap_err(), ApproverError::Revoked);
    assert!(approvers.bootstrap(name("eve"), Vec::new()).is_err());
    let unknown = approvers.revoke(&name("eve"), &bob).unwrap_err();
    assert_eq!(unknown, ApproverError::Store(ApproverStoreError::Unknown));
}

#[test]
fn a_code_is_typed_once_and_in_time() {
    let (approvers, clock) = register();
    approvers.bootstrap(name("ann"), Vec::new()).unwrap();
    let challenge = approvers.challenge(&name("ann")).unwrap();
    assert_eq!(challenge.code().len(), 6);
    assert!(!format!("{challenge:?}").contains(challenge.code()));
    assert_eq!(challenge.answer("WRONG!").unwrap_err(), ApproverError::WrongCode);
    let challenge = approvers.challenge(&name("ann")).unwrap();
    let code = challenge.code().to_owned();
    clock.advance(minutes(6));
    assert_eq!(challenge.answer(&code).unwrap_err(), ApproverError::WrongCode);
    assert!(approvers.challenge(&name("nobody")).is_err());
}
