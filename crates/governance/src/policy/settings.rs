//! What a policy sets beside its verdicts.

use std::collections::BTreeMap;

use lictor_capability::{Retry, Risk};
use lictor_context::{Budget, Name, WorkspacePath};
use lictor_document::{ByteSize, HumanDuration};
use serde::{Deserialize, Serialize};

use super::asking::Webhook;
use super::roles::ApproverRoles;
use crate::catalogue::CatalogueRules;

/// What the layers of a policy set together: limits by their minimum, the rest as each field says.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Settings {
    /// Limits of one change set and its execution.
    pub limits: ChangeLimits,
    /// How people are asked.
    pub approvals: ApprovalSettings,
    /// Verification commands by name; where two layers use one name, the higher layer's counts.
    pub verification: BTreeMap<String, VerificationCommand>,
    /// Health checks; where two layers use one name, the higher layer's counts.
    pub health_checks: Vec<HealthCheck>,
    /// How long to wait for the workspace's lock: the minimum, or 600 seconds.
    pub lock_timeout: HumanDuration,
    /// How long a result is given again: the minimum, or an hour.
    pub idempotency_ttl: HumanDuration,
    /// What is kept for undos: of each limit the maximum, and none where a layer that speaks of it
    /// sets none; or 30 days.
    pub undo_retention: UndoRetention,
    /// When a change of files is acknowledged: lazily only where no layer says otherwise and one says
    /// so.
    pub change_durability: ChangeDurability,
    /// When the record of something that risks little and changes nothing is written: lazily only where
    /// no layer says otherwise and one says so, and `audit_on_failure` is `continue`.
    pub record_durability: RecordDurability,
    /// How long the trail is kept: the maximum, or 90 days.
    pub audit_retention: HumanDuration,
    /// What happens when the trail cannot be written: `block` if any layer says so.
    pub audit_on_failure: OnAuditFailure,
    /// What the trail leaves out: the regular expressions of all layers.
    pub audit_redact: Vec<String>,
    /// What may be spent: the minimum.
    pub budgets: Budgets,
    /// How often something may be done: the limits of all layers.
    pub frequency: Vec<FrequencyLimit>,
    /// Who may do what with the catalogue.
    pub catalogue: CatalogueRules,
    /// Hosts that requests may go to although they are none of the public network: those that every
    /// layer names that speaks of them. Whether they may be talked to is judged as for any host.
    pub private_hosts: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            limits: ChangeLimits::default(),
            approvals: ApprovalSettings::default(),
            verification: BTreeMap::new(),
            health_checks: Vec::new(),
            lock_timeout: HumanDuration::from_secs(600),
            idempotency_ttl: HumanDuration::from_secs(3_600),
            undo_retention: UndoRetention::for_age(HumanDuration::from_secs(30 * 86_400)),
            change_durability: ChangeDurability::Strict,
            record_durability: RecordDurability::Strict,
            audit_retention: HumanDuration::from_secs(90 * 86_400),
            audit_on_failure: OnAuditFailure::Block,
            audit_redact: Vec::new(),
            budgets: Budgets::default(),
            frequency: Vec::new(),
            catalogue: CatalogueRules::default(),
            private_hosts: Vec::new(),
        }
    }
}

impl Settings {
    /// The health checks that a change of this risk has to pass, whether its plan names them or not.
    pub fn health_checks_for(&self, risk: Risk) -> impl Iterator<Item = &HealthCheck> {
        self.health_checks.iter().filter(move |check| check.for_risk.contains(&risk))
    }
}

/// How much is kept of the records that make undos possible; `None` is no limit. What is over any
/// of these may be purged, the oldest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UndoRetention {
    /// How long a record is kept after it was last used.
    pub age: Option<HumanDuration>,
    /// So many records are kept.
    pub count: Option<u64>,
    /// So many bytes are kept.
    pub bytes: Option<ByteSize>,
}

impl UndoRetention {
    /// Everything is kept for this long.
    #[must_use]
    pub fn for_age(age: HumanDuration) -> Self {
        Self { age: Some(age), ..Self::default() }
    }

    /// What both want kept: layers can only keep more.
    #[must_use]
    pub(super) fn and(self, other: Self) -> Self {
        fn most<T: Ord>(a: Option<T>, b: Option<T>) -> Option<T> {
            a.zip(b).map(|(a, b)| a.max(b))
        }
        Self {
            age: most(self.age, other.age),
            count: most(self.count, other.count),
            bytes: most(self.bytes, other.bytes),
        }
    }
}

impl std::fmt::Display for UndoRetention {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let limits = [
            self.age.map(|age| format!("for {age}")),
            self.count.map(|count| format!("at most {count} records")),
            self.bytes.map(|bytes| format!("at most {bytes}")),
        ];
        let limits: Vec<String> = limits.into_iter().flatten().collect();
        if limits.is_empty() { f.write_str("for ever") } else { f.write_str(&limits.join(", ")) }
    }
}

/// Limits of one change set and its execution; `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ChangeLimits {
    /// Files.
    pub max_files: Option<u64>,
    /// Lines added and taken away.
    pub max_patch_lines: Option<u64>,
    /// Bytes of new content.
    pub max_bytes: Option<ByteSize>,
    /// How long an execution may take.
    pub max_execution_time: Option<HumanDuration>,
    /// How long a step may take.
    pub max_step_time: Option<HumanDuration>,
}

impl ChangeLimits {
    pub(super) fn tighten(&mut self, other: &Self) {
        fn least<T: Ord + Copy>(mine: &mut Option<T>, other: Option<T>) {
            *mine = (*mine).into_iter().chain(other).min();
        }
        least(&mut self.max_files, other.max_files);
        least(&mut self.max_patch_lines, other.max_patch_lines);
        least(&mut self.max_bytes, other.max_bytes);
        least(&mut self.max_execution_time, other.max_execution_time);
        least(&mut self.max_step_time, other.max_step_time);
    }
}

/// How people are asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ApprovalSettings {
    /// How long a request stands: the minimum, or 10 minutes. Afterwards it is denied.
    pub timeout: HumanDuration,
    /// Whether the user of the session may approve: only if no layer forbids it.
    pub requester_may_approve: bool,
    /// The highest risk that may be approved by a channel: the minimum. A channel that is not
    /// listed has no cap, except those of [`Channel::default_cap`].
    pub channels: BTreeMap<Channel, Risk>,
    /// From this risk on a code typed at a terminal takes the approver's PIN as well: the minimum.
    /// Who has a PIN is asked for it whatever the risk.
    pub pin_from: Option<Risk>,
    /// The services that requests are put to: those of the highest layer that there is, because a
    /// further way to approve is no tightening.
    pub webhooks: Vec<Webhook>,
    /// Which approvers may approve what: the entries of all layers, each of which has to be satisfied
    /// where it fits. Where none fits every approver may.
    pub roles: Vec<ApproverRoles>,
    /// For each layer that says so, the roles of which an approver needs one to enrol others and to
    /// strike them off. Without it, who is limited by `roles` can enrol somebody who is not.
    pub enroll_roles: Vec<Vec<Name>>,
}

impl Default for ApprovalSettings {
    fn default() -> Self {
        Self {
            timeout: HumanDuration::from_secs(600),
            requester_may_approve: true,
            channels: BTreeMap::new(),
            pin_from: None,
            webhooks: Vec::new(),
            roles: Vec::new(),
            enroll_roles: Vec::new(),
        }
    }
}

impl ApprovalSettings {
    /// The highest risk that may be approved by a channel.
    #[must_use]
    pub fn cap(&self, channel: Channel) -> Risk {
        self.channels.get(&channel).copied().unwrap_or_else(|| channel.default_cap())
    }

    /// The roles of which somebody would need one to enrol others, and has none.
    #[must_use]
    pub fn missing_enroll_role(&self, has: &[Name]) -> Option<&[Name]> {
        let satisfied = |roles: &&Vec<Name>| roles.iter().any(|role| has.contains(role));
        self.enroll_roles.iter().find(|roles| !satisfied(roles)).map(Vec::as_slice)
    }

    /// The roles of which somebody would need one to approve an action, and has none.
    #[must_use]
    pub fn missing_role(&self, capability: &str, risk: Risk, has: &[Name]) -> Option<&[Name]> {
        let wanted = self.roles.iter().filter(|entry| entry.concerns(capability, risk));
        let mut missing = wanted.filter(|entry| !entry.satisfied_by(has));
        missing.next().map(|entry| entry.roles.as_slice())
    }
}

/// The way by which an answer comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    /// A code typed at a terminal.
    Terminal,
    /// An approver's token, on the command line.
    Token,
    /// An inbox that the approver looks at.
    Inbox,
    /// A request from another system.
    Webhook,
    /// A question that an MCP client puts to its user.
    Elicitation,
}

impl Channel {
    /// The word that files use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Terminal => "terminal",
            Self::Token => "token",
            Self::Inbox => "inbox",
            Self::Webhook => "webhook",
            Self::Elicitation => "elicitation",
        }
    }

    /// The cap where no policy names the channel: `medium` for elicitation, because the client
    /// that shows the question also runs the model; none for the others.
    #[must_use]
    pub const fn default_cap(self) -> Risk {
        match self {
            Self::Elicitation => Risk::Medium,
            Self::Terminal | Self::Token | Self::Inbox | Self::Webhook => Risk::Critical,
        }
    }
}

impl std::fmt::Display for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A command that a plan may name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VerificationCommand {
    /// The program and its arguments; no shell.
    pub command: Vec<String>,
    /// How long it may take; 2 minutes unless said otherwise.
    #[serde(default = "verification_timeout")]
    pub timeout: HumanDuration,
    /// How often a command that fails is run again, within the same time; once unless said
    /// otherwise.
    #[serde(default)]
    pub retry: Retry,
    /// When it is run; after publishing unless said otherwise.
    #[serde(default)]
    pub verify: Verify,
    /// What a staged tree need not hold, with all that is in it: dependencies that are installed,
    /// what was built.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leave_out: Vec<WorkspacePath>,
}

/// When a verification command is run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verify {
    /// In the workspace, after the change was published; a failure takes it back.
    #[default]
    Published,
    /// On a private copy of the workspace that has the change in it, before anything of the change
    /// is visible.
    Staged,
}

fn verification_timeout() -> HumanDuration {
    HumanDuration::from_secs(120)
}

/// A health check.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HealthCheck {
    /// Its name; plans name it by this.
    pub name: String,
    /// What is looked at.
    pub probe: Probe,
    /// How long it may take; 5 seconds unless said otherwise.
    pub timeout: HumanDuration,
    /// How often a failure that may pass by itself is looked at again, within the same time; once
    /// unless said otherwise.
    pub retry: Retry,
    /// The risks at which every change has to pass it.
    pub for_risk: Vec<Risk>,
}

/// What a health check looks at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Probe {
    /// An HTTP request.
    HttpGet {
        /// Where; `http://` or `https://`.
        url: String,
        /// The status that is healthy.
        status: u16,
    },
    /// A query of an SQLite database, which is opened for reading.
    Sqlite {
        /// The database.
        path: WorkspacePath,
        /// The query; healthy when it succeeds.
        query: String,
    },
    /// A process that has to be alive.
    Process {
        /// The file that holds its id.
        pid_file: WorkspacePath,
    },
    /// Files that have to be there.
    FileExists {
        /// Which.
        paths: Vec<WorkspacePath>,
    },
}

/// When a change of files is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeDurability {
    /// When it is durable without a recovery.
    #[default]
    Strict,
    /// When it is durable that it will be there: after a power cut the next start finishes it.
    Lazy,
}

/// When the record of an action of low risk that changes nothing in the workspace is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordDurability {
    /// Before it is answered, and that something is done elsewhere before it is done.
    #[default]
    Strict,
    /// A moment after it was answered, together with others: a process that is killed may take the
    /// last of them with it.
    Lazy,
}

/// What happens when the trail cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnAuditFailure {
    /// Nothing is done that cannot be recorded.
    #[default]
    Block,
    /// Work goes on, and the gap is recorded when the trail is back.
    Continue,
}

/// What may be spent, by whom.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Budgets {
    /// By one session.
    pub session: Budget,
    /// By one agent.
    pub agent: Budget,
    /// By one user.
    pub user: Budget,
    /// By one organisation.
    pub org: Budget,
}

impl Budgets {
    pub(super) fn tighten(&mut self, other: &Self) {
        fn least(mine: &mut Budget, other: &Budget) {
            mine.cost_usd = mine.cost_usd.iter().copied().chain(other.cost_usd).reduce(f64::min);
            mine.tokens = mine.tokens.iter().copied().chain(other.tokens).min();
        }
        least(&mut self.session, &other.session);
        least(&mut self.agent, &other.agent);
        least(&mut self.user, &other.user);
        least(&mut self.org, &other.org);
    }
}

/// How often something may be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FrequencyLimit {
    /// Patterns over capability ids, as they are written.
    pub capability: Vec<String>,
    /// Over what it is counted.
    pub scope: Scope,
    /// In which time.
    pub per: HumanDuration,
    /// How often at most.
    pub max: u64,
}

/// Over what a frequency is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// One session.
    Session,
    /// One agent.
    Agent,
    /// One user.
    User,
    /// One organisation.
    Org,
}
