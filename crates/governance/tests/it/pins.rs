//! PINs: what counts, and how often anybody may guess.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lictor_context::{ManualClock, Name};
use lictor_governance::{
    ApproverError, Approvers, MemoryApproverStore, MemoryPinStore, PinError, PinRecord, PinStore,
    PinStoreError, Proof, ProvenApprover,
};

use crate::common::{clock, minutes, name};

const PIN: &str = "horse-4711";

fn house() -> (Approvers, Arc<ManualClock>) {
    let clock = clock();
    let approvers = Approvers::new(Arc::new(MemoryApproverStore::default()), clock.clone())
        .with_pins(Arc::new(MemoryPinStore::default()));
    let (_, token) = approvers.bootstrap(name("ann"), Vec::new()).unwrap();
    let ann = approvers.authenticate(token.expose()).unwrap();
    approvers.set_pin(&ann, PIN).unwrap();
    (approvers, clock)
}

fn answer(approvers: &Approvers, pin: &str) -> Result<ProvenApprover, ApproverError> {
    let challenge = approvers.challenge(&name("ann")).unwrap();
    let code = challenge.code().to_owned();
    challenge.answer_with_pin(&code, pin)
}

#[track_caller]
fn locked(result: Result<ProvenApprover, ApproverError>) -> bool {
    match result.unwrap_err() {
        ApproverError::Pin(PinError::Locked { now, .. }) => now,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_pin_and_the_code_prove_more_than_the_code() {
    let (approvers, _) = house();
    let challenge = approvers.challenge(&name("ann")).unwrap();
    assert!(challenge.wants_pin());
    let code = challenge.code().to_owned();
    assert_eq!(challenge.answer(&code).unwrap_err(), ApproverError::PinMissing);
    let proven = answer(&approvers, PIN).unwrap();
    assert_eq!(proven.proof(), Proof::TerminalPin);
    approvers.set_pin(&proven, "another-one").unwrap();
    assert!(answer(&approvers, PIN).is_err());
    assert!(answer(&approvers, "another-one").is_ok());
    // A wrong code is not even held against the PIN.
    let challenge = approvers.challenge(&name("ann")).unwrap();
    assert_eq!(challenge.answer_with_pin("000000", "wrong").unwrap_err(), ApproverError::WrongCode);
}

#[test]
fn a_lock_lasts_longer_each_time_and_a_right_pin_ends_the_row() {
    let (approvers, clock) = house();
    for minutes_locked in [15, 30, 60] {
        for left in [4, 3, 2, 1] {
            let wrong = answer(&approvers, "wrong!").unwrap_err();
            assert_eq!(wrong, ApproverError::Pin(PinError::Wrong { left }));
        }
        assert!(locked(answer(&approvers, "wrong!")));
        clock.advance(minutes(minutes_locked) - Duration::from_secs(1));
        assert!(!locked(answer(&approvers, PIN)), "still locked");
        clock.advance(Duration::from_secs(1));
    }
    answer(&approvers, PIN).unwrap();
    for _ in 0..4 {
        answer(&approvers, "wrong!").unwrap_err();
    }
    answer(&approvers, PIN).unwrap();
}

#[test]
fn of_fifty_guesses_at_once_five_are_looked_at() {
    let (approvers, _) = house();
    let wrong = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..50 {
            scope.spawn(|| match answer(&approvers, "wrong!").unwrap_err() {
                ApproverError::Pin(PinError::Wrong { .. } | PinError::Locked { now: true, .. }) => {
                    wrong.fetch_add(1, Ordering::SeqCst);
                }
                ApproverError::Pin(PinError::Locked { now: false, .. }) => {}
                other => panic!("{other:?}"),
            });
        }
    });
    assert_eq!(wrong.load(Ordering::SeqCst), 5);
}

#[derive(Debug)]
struct Broken;

impl PinStore for Broken {
    fn get(&self, _: &Name) -> Result<Option<(PinRecord, u64)>, PinStoreError> {
        Err(PinStoreError::Unavailable("gone".to_owned()))
    }

    fn update(&self, _: u64, _: &PinRecord) -> Result<(), PinStoreError> {
        Err(PinStoreError::Unavailable("gone".to_owned()))
    }
}

#[test]
fn a_store_of_pins_that_fails_lets_nobody_in_by_the_code_alone() {
    let approvers = Approvers::new(Arc::new(MemoryApproverStore::default()), clock())
        .with_pins(Arc::new(Broken));
    approvers.bootstrap(name("ann"), Vec::new()).unwrap();
    assert!(approvers.challenge(&name("ann")).is_err());
}
