//! Answers that come over the network: signed by a service that knows who answered.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, VerifyingKey};
use lictor_context::{ApprovalId, Digest, Name, Timestamp, canonical_json};
use serde::{Deserialize, Serialize};

use super::approver::{ApproverError, Approvers};
use super::port::{Answered, ApprovalRequest, AskError, Says};
use crate::policy::{Channel, Webhook};

/// What a signature covers begins with this, so that no key signs an answer by signing something else.
const CONTEXT: &[u8] = b"lictor/approval-answer/v1\n";

/// So far may two clocks be apart.
const SKEW_MICROS: i64 = 60_000_000;

/// What a service signs: who answers what, about which request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnswerText {
    /// The version of this format: 1.
    pub v: u32,
    /// The webhook's name, as the policy has it.
    pub webhook: String,
    /// The approval.
    pub approval_id: ApprovalId,
    /// The action that is agreed to.
    pub action_digest: Digest,
    /// The digest of the request's bytes, as they arrived: nobody answers what they were not shown.
    pub request_digest: Digest,
    /// The nonce of the request.
    pub nonce: String,
    /// Who answers.
    pub approver: Name,
    /// Yes or no.
    pub verdict: AnswerVerdict,
    /// Why.
    #[serde(default)]
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

/// Yes or no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnswerVerdict {
    /// Yes.
    Approve,
    /// No.
    Deny,
}

/// An answer with its signature: Ed25519 over `lictor/approval-answer/v1`, a line feed, and the
/// answer in canonical JSON (RFC 8785).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedAnswer {
    /// The answer.
    pub answer: AnswerText,
    /// The signature, in base64.
    pub signature: String,
}

impl AnswerText {
    /// The bytes that are signed.
    ///
    /// # Errors
    /// When it has no canonical form, which no answer lacks.
    pub fn signed_bytes(&self) -> Result<Vec<u8>, AskError> {
        let text = canonical_json(self).map_err(|error| AskError::new(&self.webhook, error))?;
        Ok([CONTEXT, text.as_slice()].concat())
    }
}

impl Approvers {
    /// Takes a signed answer to a request: it is the webhook's, about this very request and nothing
    /// older, and whoever it names is an approver for whom the webhook may speak.
    ///
    /// # Errors
    /// When any of that does not hold.
    pub fn verify(
        &self,
        signed: &SignedAnswer,
        webhook: &Webhook,
        request: &ApprovalRequest,
    ) -> Result<Answered, AskError> {
        let SignedAnswer { answer, signature } = signed;
        let refuse = |why: &str| AskError::new(&webhook.name, why);
        let signature = STANDARD.decode(signature).ok();
        let signature = signature.and_then(|bytes| Signature::from_slice(&bytes).ok());
        let key = VerifyingKey::from_bytes(&webhook.public_key.0);
        let (Some(signature), Ok(key)) = (signature, key) else {
            return Err(refuse("its answer has no signature"));
        };
        // Strictly: a weak key or a second form of a signature proves nothing.
        if key.verify_strict(&answer.signed_bytes()?, &signature).is_err() {
            return Err(refuse("the signature of its answer does not hold"));
        }
        let approval = request.approval();
        let about = [
            (answer.v == 1, "its answer is of another version"),
            (answer.webhook == webhook.name, "the answer is another webhook's"),
            (answer.approval_id == *approval.id(), "the answer is about another request"),
            (
                answer.action_digest == approval.action_digest(),
                "the answer is about another action",
            ),
            (!answer.nonce.is_empty(), "the answer has no nonce"),
            (answer.nonce == approval.nonce(), "the answer has another nonce"),
            (answer.request_digest == request.digest(), "people were shown something else"),
        ];
        if let Some((_, why)) = about.iter().find(|(holds, _)| !holds) {
            return Err(refuse(why));
        }
        let (at, now) = (answer.at.as_micros(), self.now().as_micros());
        if at < approval.requested_at().as_micros().saturating_sub(SKEW_MICROS)
            || at > now.saturating_add(SKEW_MICROS)
            || answer.at >= approval.expires_at()
        {
            return Err(refuse("the answer is not from the time of the request"));
        }
        if !webhook.speaks_for(&answer.approver) {
            return Err(refuse("it may not speak for whom it names"));
        }
        let by = self.vouched(&answer.approver).map_err(|error| match error {
            ApproverError::Store(_) => AskError::new(&webhook.name, error),
            _ => refuse("whoever it names is no approver"),
        })?;
        let says = match answer.verdict {
            AnswerVerdict::Approve => Says::Approve,
            AnswerVerdict::Deny => Says::Deny { reason: answer.reason.clone() },
        };
        Ok(Answered { by, channel: Channel::Webhook, says, action_digest: answer.action_digest })
    }
}
