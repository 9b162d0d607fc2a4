#![doc = include_str!("../README.md")]

mod clock;
mod dying;
mod saga; // begin here
mod store_suite;
mod world;

pub use clock::TokioClock;
pub use dying::DyingStore;
pub use saga::{Saga, SagaError, SagaReport};
pub use store_suite::{Broken, run_store};
