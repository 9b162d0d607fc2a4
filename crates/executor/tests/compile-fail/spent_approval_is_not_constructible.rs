use std::sync::Arc;

use lictor_context::{Digest, Timestamp};
use lictor_governance::{Answer, Consented, GateIdentity, SpentApproval};

fn forged(
    by: Consented,
    action_digest: Digest,
    granted_by: Arc<[Answer]>,
    expires_at: Timestamp,
    gate: GateIdentity,
) -> SpentApproval {
    SpentApproval { by, action_digest, granted_by, expires_at, gate }
}

fn main() {}
