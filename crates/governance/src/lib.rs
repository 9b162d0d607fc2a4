#![doc = include_str!("../README.md")]

mod policy; // what may be done, as files say it
mod decision;
mod gate;
mod warrant;
mod binding; // what a decision and an approval bind to
mod approval;
mod catalogue;

pub use approval::*;
pub use catalogue::*;
pub use decision::{Decision, DecisionRecord, Layer, Reason, Verdict};
pub use gate::{GateIdentity, NotAuthorized, NotAuthorizedKind, WriteGate};
pub use policy::*;
pub use warrant::{Warrant, WarrantParts};
