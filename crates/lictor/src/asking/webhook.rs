//! A service that puts requests to people and signs what they answer.

use std::fmt::Write as _;

use hmac::{Hmac, KeyInit as _, Mac as _};
use lictor_document::{Limits, Source, from_json};
use lictor_governance::{ApprovalRequest, Approver, AskError, Reply, SignedAnswer, Webhook};
use serde::Deserialize;
use sha2::Sha256;

use crate::runtime::Runtime;

/// The most that an answer may hold.
const MAX_BYTES: u64 = 256 << 10;

/// A webhook of the policy.
#[derive(Debug)]
pub(super) struct WebhookApprover {
    pub(super) webhook: Webhook,
    pub(super) runtime: Runtime,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answers {
    answers: Vec<SignedAnswer>,
}

impl Approver for WebhookApprover {
    fn name(&self) -> &str {
        &self.webhook.name
    }

    fn attempts(&self) -> u32 {
        self.webhook.attempts
    }

    fn ask(&self, request: &ApprovalRequest) -> Result<Reply, AskError> {
        let Some(body) = self.post(request.bytes())? else { return Ok(Reply::Later) };
        let source = Source::new("answer", &body);
        let answers: Answers = from_json(&source, &Limits::default())
            .map_err(|error| self.fails(format!("its answer is not readable: {error}")))?;
        let approvers = self.runtime.approvers();
        let verify = |signed| approvers.verify(signed, &self.webhook, request);
        let answers = answers.answers.iter().map(verify).collect::<Result<Vec<_>, _>>()?;
        Ok(if answers.is_empty() { Reply::Later } else { Reply::Answers(answers) })
    }
}

impl WebhookApprover {
    fn fails(&self, why: impl std::fmt::Display) -> AskError {
        AskError::new(&self.webhook.name, why)
    }

    /// Sends a request; what comes back, unless that is that there is no answer yet.
    fn post(&self, body: &[u8]) -> Result<Option<Vec<u8>>, AskError> {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(self.webhook.timeout.as_duration()))
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .build();
        let agent = ureq::Agent::new_with_config(config);
        let mut request = agent
            .post(&self.webhook.url)
            .header("content-type", "application/json")
            .header("user-agent", "lictor");
        if let Some(signature) = self.signature(body)? {
            request = request.header("lictor-signature", signature);
        }
        let sent = request.send(body);
        // The error may quote the URL, which is the policy's, and nothing secret.
        let mut response = sent.map_err(|error| self.fails(error).unreached())?;
        match response.status().as_u16() {
            200 => {
                let read = response.body_mut().with_config().limit(MAX_BYTES).read_to_vec();
                read.map(Some).map_err(|error| self.fails(error).unreached())
            }
            202 | 204 => Ok(None),
            status @ (408 | 425 | 429 | 500..=599) => {
                Err(self.fails(format!("it answers {status}")).unreached())
            }
            status => Err(self.fails(format!("it answers {status}"))),
        }
    }

    /// So that the service knows who asks: HMAC-SHA256 over the body, where the policy names a
    /// secret. What people answer does not rest on it.
    fn signature(&self, body: &[u8]) -> Result<Option<String>, AskError> {
        let Some(name) = &self.webhook.secret else { return Ok(None) };
        let secret = self.runtime.parts.options.secrets.secret(&name.secret);
        let secret = secret.ok_or_else(|| self.fails(format!("no secret `{}`", name.secret)))?;
        let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes());
        let mut mac = mac.map_err(|_| self.fails("its secret is no key"))?;
        mac.update(body);
        let mut text = String::from("sha256=");
        for byte in mac.finalize().into_bytes() {
            // Writing to a string cannot fail.
            write!(text, "{byte:02x}").unwrap_or_default();
        }
        Ok(Some(text))
    }
}
