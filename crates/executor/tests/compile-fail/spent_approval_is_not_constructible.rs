use std::sync::Arc;

use lictor_context::{ApprovalId, Digest, Timestamp};
use lictor_governance::{Answer, GateIdentity, SpentApproval};

fn forged(
    id: ApprovalId,
    action_digest: Digest,
    granted_by: Arc<[Answer]>,
    expires_at: Timestamp,
    gate: GateIdentity,
) -> SpentApproval {
    SpentApproval { id, action_digest, granted_by, expires_at, gate }
}

fn main() {}
