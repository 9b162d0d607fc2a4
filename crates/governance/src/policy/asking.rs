//! What a policy says about asking people: whom, and what their answers are good for.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lictor_capability::Risk;
use lictor_context::Name;
use lictor_document::{HumanDuration, Located};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::error::PolicyError;
use super::load::Loader;
use super::raw::{OnTimeout, RawApprovals};
use super::roles::ApproverRoles;
use super::settings::{ApprovalSettings, Channel};

/// Most webhooks of one file: each is asked about each request.
const MAX_WEBHOOKS: usize = 8;
/// The longest that one may take for an answer.
const LONGEST_SECS: u64 = 30;
/// How often one is tried at most.
const MAX_ATTEMPTS: u32 = 5;

/// A service that puts requests to people and signs what they answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// Its name.
    pub name: String,
    /// Where requests are sent: `https://`, or `http://` on this machine.
    pub url: String,
    /// The key that its answers are signed with.
    pub public_key: WebhookKey,
    /// For whom it may speak; for every approver when nobody is named.
    #[serde(default)]
    pub approvers: Vec<Name>,
    /// How long one attempt may take; 5 seconds unless said otherwise, 30 at most.
    #[serde(default = "usual_timeout")]
    pub timeout: HumanDuration,
    /// How often it is tried when it cannot be reached; 3 times unless said otherwise, 5 at most.
    #[serde(default = "usual_attempts")]
    pub attempts: u32,
    /// The secret with which requests to it are authenticated (HMAC-SHA256 over the body).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretName>,
}

/// A secret, by its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretName {
    /// The name.
    pub secret: String,
}

fn usual_timeout() -> HumanDuration {
    HumanDuration::from_secs(5)
}

const fn usual_attempts() -> u32 {
    3
}

impl Webhook {
    pub(crate) fn speaks_for(&self, name: &Name) -> bool {
        let same = |one: &Name| one.as_str().eq_ignore_ascii_case(name.as_str());
        self.approvers.is_empty() || self.approvers.iter().any(same)
    }

    fn problem(&self) -> Option<String> {
        let (scheme, rest) = self.url.split_once("://").unwrap_or_default();
        let host = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
        let port =
            |rest: &str| rest.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
        let is_here = |name: &&str| {
            host.strip_prefix(*name).is_some_and(|rest| rest.is_empty() || port(rest))
        };
        let here = scheme == "http" && ["localhost", "127.0.0.1", "[::1]"].iter().any(is_here);
        // A name before the host can look like one, and would be sent as a password.
        let there = scheme == "https" && !host.is_empty() && !host.contains('@');
        let plain = self.url.chars().all(|c| c.is_ascii_graphic());
        let mut characters = self.name.chars();
        if self.name.is_empty()
            || !characters.all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
        {
            return Some(
                "a webhook's name is made of letters, digits, `_`, `.` and `-`".to_owned(),
            );
        }
        if !(plain && (here || there)) {
            return Some("accepted here: an https:// URL, or http:// on localhost".to_owned());
        }
        let millis = self.timeout.as_millis();
        if millis == 0 || millis > LONGEST_SECS * 1_000 {
            return Some(format!("`timeout` is more than 0 and at most {LONGEST_SECS}s"));
        }
        if self.attempts == 0 || self.attempts > MAX_ATTEMPTS {
            return Some(format!("`attempts` is from 1 to {MAX_ATTEMPTS}"));
        }
        None
    }
}

/// A public key of Ed25519, written `ed25519:<base64 of its 32 bytes>`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct WebhookKey(pub(crate) [u8; 32]);

impl fmt::Display for WebhookKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ed25519:{}", STANDARD.encode(self.0))
    }
}

impl fmt::Debug for WebhookKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for WebhookKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for WebhookKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = text.strip_prefix("ed25519:").and_then(|rest| STANDARD.decode(rest).ok());
        let key = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        let valid = key.filter(|key| ed25519_dalek::VerifyingKey::from_bytes(key).is_ok());
        valid.map(Self).ok_or_else(|| {
            serde::de::Error::custom("a key is written `ed25519:` and the base64 of its 32 bytes")
        })
    }
}

/// What one layer says about asking.
#[derive(Debug)]
pub(super) struct Asking {
    timeout: Option<HumanDuration>,
    requester_may_approve: bool,
    channels: BTreeMap<Channel, Risk>,
    pin_from: Option<Risk>,
    webhooks: Vec<Webhook>,
    roles: Vec<ApproverRoles>,
    enroll_roles: Option<Vec<Name>>,
}

impl Asking {
    pub(super) fn read(raw: RawApprovals, loader: &Loader<'_>) -> Result<Self, PolicyError> {
        if let Some(roles) = raw.enroll_roles.as_ref().filter(|roles| roles.value.is_empty()) {
            let why = "nobody could enrol anybody; accepted here: a list of at least one role";
            return loader.refuse(roles, why);
        }
        // Silence is a denial, and nothing else can be written.
        let _: Option<OnTimeout> = raw.on_timeout;
        let mut webhooks: Vec<Webhook> = Vec::with_capacity(raw.webhooks.len());
        for webhook in raw.webhooks {
            let twice = webhooks.iter().any(|known| known.name == webhook.value.name);
            let problem = if twice {
                Some("there are two webhooks of this name".to_owned())
            } else if webhooks.len() >= MAX_WEBHOOKS {
                Some(format!("more than the {MAX_WEBHOOKS} webhooks that are accepted"))
            } else {
                webhook.value.problem()
            };
            if let Some(problem) = problem {
                return loader.refuse(&webhook, &problem);
            }
            webhooks.push(webhook.value);
        }
        Ok(Self {
            timeout: raw.timeout.map(|timeout: Located<HumanDuration>| timeout.value),
            requester_may_approve: raw.requester_may_approve.unwrap_or(true),
            channels: raw.channels,
            pin_from: raw.pin_from,
            webhooks,
            roles: ApproverRoles::read(raw.roles, loader)?,
            enroll_roles: raw.enroll_roles.map(|roles| roles.value),
        })
    }

    /// What all layers say together, the highest first. `n_layers` says which of them come first:
    /// a way to approve is added by the highest layer only, because anything else would loosen it.
    pub(super) fn together<'a>(layers: impl Iterator<Item = Option<&'a Self>>) -> ApprovalSettings {
        let mut all = ApprovalSettings::default();
        let mut timeout: Option<HumanDuration> = None;
        for (at, asking) in layers.enumerate() {
            let Some(asking) = asking else { continue };
            all.requester_may_approve &= asking.requester_may_approve;
            for (channel, cap) in &asking.channels {
                let known = all.channels.entry(*channel).or_insert(*cap);
                *known = (*known).min(*cap);
            }
            timeout = timeout.into_iter().chain(asking.timeout).min();
            all.pin_from = all.pin_from.into_iter().chain(asking.pin_from).min();
            all.roles.extend(asking.roles.iter().cloned());
            all.enroll_roles.extend(asking.enroll_roles.clone());
            if at == 0 {
                all.webhooks.clone_from(&asking.webhooks);
            }
        }
        all.timeout = timeout.unwrap_or(all.timeout);
        all
    }
}
