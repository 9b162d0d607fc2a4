//! One intent, one key.

use lictor_capability::Plan;
use lictor_context::{Digest, Hasher, PlanId};

/// The idempotency key of a plan with a change set.
#[must_use]
pub fn idempotency_key(plan: &PlanId, checksum: Digest) -> Digest {
    let mut hasher = Hasher::new();
    hasher.update_framed(b"lictor/idempotency/v1");
    hasher.update_framed(plan.as_str().as_bytes());
    hasher.update_framed(checksum.as_bytes());
    hasher.finish()
}

/// The idempotency key of a document that names no plan: its bytes.
#[must_use]
pub fn document_key(plan: Option<&Plan>, bytes: &[u8]) -> Digest {
    let mut hasher = Hasher::new();
    hasher.update_framed(b"lictor/document/v1");
    hasher.update_framed(plan.map_or(&[], |plan| plan.id.as_str().as_bytes()));
    hasher.update_framed(bytes);
    hasher.finish()
}
