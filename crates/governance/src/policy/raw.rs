//! The file as it is written: every key of it, and nothing else.

use std::collections::BTreeMap;
use std::fmt;

use lictor_capability::{Retry, Risk};
use lictor_context::{Budget, Name, WorkspacePath};
use lictor_document::{HumanDuration, Located};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Number, Value};

use super::asking::Webhook;
use super::network::RawNetwork;
use super::roles::RawApproverRoles;
use super::settings::{
    ChangeDurability, ChangeLimits, Channel, OnAuditFailure, RecordDurability, Scope,
    UndoRetention, VerificationCommand,
};
use crate::catalogue::RawCatalogue;
use crate::decision::Verdict;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPolicy {
    pub(super) version: Located<i64>,
    pub(super) default: Option<Located<Verdict>>,
    pub(super) paths: Option<RawPaths>,
    pub(super) limits: Option<Located<ChangeLimits>>,
    #[serde(default)]
    pub(super) rules: Vec<Located<RawRule>>,
    #[serde(default)]
    pub(super) escalate: Vec<Located<RawEscalate>>,
    pub(super) risk: Option<RawRiskTable>,
    pub(super) require: Option<RawRequire>,
    #[serde(default)]
    pub(super) verification: BTreeMap<String, Located<VerificationCommand>>,
    #[serde(default)]
    pub(super) health_checks: Vec<Located<RawHealthCheck>>,
    pub(super) approvals: Option<RawApprovals>,
    #[serde(default)]
    pub(super) frequency: Vec<Located<RawFrequency>>,
    #[serde(default)]
    pub(super) windows: Vec<Located<RawWindow>>,
    pub(super) budgets: Option<Located<RawBudgets>>,
    pub(super) concurrency: Option<RawConcurrency>,
    pub(super) idempotency: Option<RawIdempotency>,
    pub(super) retention: Option<RawRetention>,
    pub(super) durability: Option<RawDurability>,
    pub(super) audit: Option<RawAudit>,
    pub(super) catalogue: Option<RawCatalogue>,
    pub(super) network: Option<RawNetwork>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawPaths {
    pub(super) forbidden: Vec<Located<String>>,
    pub(super) protected: Vec<Located<String>>,
    pub(super) allowed: Vec<Located<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRule {
    pub(super) name: Located<String>,
    pub(super) when: Located<RawWhen>,
    pub(super) verdict: Verdict,
    pub(super) approvals: Option<Located<i64>>,
    pub(super) reason: Option<String>,
    #[serde(default, rename = "match")]
    pub(super) matches: Vec<Located<Sample>>,
    #[serde(default)]
    pub(super) not_match: Vec<Located<Sample>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawEscalate {
    pub(super) when: Located<RawWhen>,
    pub(super) risk: Risk,
    pub(super) reason: Option<String>,
}

/// The conditions of a rule; each key with its place.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawWhen {
    pub(super) capability: Option<Located<RawTest>>,
    pub(super) kind: Option<Located<RawTest>>,
    pub(super) source: Option<Located<RawTest>>,
    pub(super) agent: Option<Located<RawTest>>,
    pub(super) user: Option<Located<RawTest>>,
    pub(super) org: Option<Located<RawTest>>,
    pub(super) session: Option<Located<RawTest>>,
    pub(super) effect: Option<Located<RawTest>>,
    pub(super) path: Option<Located<RawTest>>,
    pub(super) host: Option<Located<RawTest>>,
    pub(super) program: Option<Located<RawTest>>,
    pub(super) lines: Option<Located<RawTest>>,
    pub(super) files: Option<Located<RawTest>>,
    pub(super) risk: Option<Located<RawTest>>,
    pub(super) input: Option<Located<RawTest>>,
}

/// A request as a self-test describes it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Sample {
    pub(super) capability: Option<String>,
    pub(super) kind: Option<String>,
    pub(super) source: Option<String>,
    pub(super) agent: Option<String>,
    pub(super) user: Option<String>,
    pub(super) org: Option<String>,
    pub(super) session: Option<String>,
    pub(super) effect: Option<lictor_capability::EffectKind>,
    pub(super) path: Option<String>,
    pub(super) host: Option<String>,
    pub(super) program: Option<String>,
    pub(super) lines: Option<u64>,
    pub(super) files: Option<u64>,
    pub(super) risk: Option<Risk>,
    pub(super) input: Option<lictor_document::StrictValue>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawRiskTable {
    pub(super) low: Option<Located<RiskEntry>>,
    pub(super) medium: Option<Located<RiskEntry>>,
    pub(super) high: Option<Located<RiskEntry>>,
    pub(super) critical: Option<Located<RiskEntry>>,
}

/// A verdict, or a verdict with a number of approvals.
#[derive(Debug, Clone, Copy)]
pub(super) struct RiskEntry {
    pub(super) verdict: Verdict,
    pub(super) approvals: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawRequire {
    pub(super) verification: Vec<Risk>,
    pub(super) rollback_plan: Vec<Risk>,
    pub(super) health_checks: Vec<Risk>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawHealthCheck {
    pub(super) name: Located<String>,
    pub(super) http_get: Option<RawHttpGet>,
    pub(super) sqlite: Option<RawSqlite>,
    pub(super) process: Option<RawProcess>,
    pub(super) file_exists: Option<RawFileExists>,
    pub(super) timeout: Option<HumanDuration>,
    pub(super) retry: Option<Located<Retry>>,
    #[serde(default)]
    pub(super) for_risk: Vec<Risk>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawHttpGet {
    pub(super) url: Located<String>,
    pub(super) status: Option<Located<u16>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSqlite {
    pub(super) path: WorkspacePath,
    pub(super) query: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawProcess {
    pub(super) pid_file: WorkspacePath,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawFileExists {
    pub(super) paths: Vec<WorkspacePath>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawApprovals {
    pub(super) timeout: Option<Located<HumanDuration>>,
    pub(super) on_timeout: Option<OnTimeout>,
    pub(super) requester_may_approve: Option<bool>,
    pub(super) channels: BTreeMap<Channel, Risk>,
    pub(super) pin_from: Option<Risk>,
    pub(super) webhooks: Vec<Located<Webhook>>,
    pub(super) roles: Vec<Located<RawApproverRoles>>,
    pub(super) enroll_roles: Option<Located<Vec<Name>>>,
}

/// Nothing but a denial comes of silence.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum OnTimeout {
    Deny,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawFrequency {
    pub(super) capability: Located<RawTest>,
    pub(super) scope: Scope,
    pub(super) per: HumanDuration,
    pub(super) max: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawWindow {
    pub(super) when: Located<RawWhen>,
    pub(super) days: Option<Located<Vec<Day>>>,
    pub(super) hours: Option<Located<String>>,
    pub(super) timezone: Option<Located<String>>,
    pub(super) reason: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawBudgets {
    pub(super) session: Option<Located<Budget>>,
    pub(super) agent: Option<Located<Budget>>,
    pub(super) user: Option<Located<Budget>>,
    pub(super) org: Option<Located<Budget>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawConcurrency {
    pub(super) lock_timeout: Option<HumanDuration>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawIdempotency {
    pub(super) ttl: Option<HumanDuration>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawRetention {
    pub(super) undo: Option<RawUndoRetention>,
    pub(super) audit: Option<HumanDuration>,
}

/// An age, or a mapping of limits.
#[derive(Debug)]
pub(super) struct RawUndoRetention(pub(super) UndoRetention);

impl<'de> Deserialize<'de> for RawUndoRetention {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawUndoRetentionVisitor)
    }
}

struct RawUndoRetentionVisitor;

impl<'de> Visitor<'de> for RawUndoRetentionVisitor {
    type Value = RawUndoRetention;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "an age such as 30d, or a mapping such as { age: 30d, count: 1000, bytes: 1GiB }",
        )
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        text.parse().map(UndoRetention::for_age).map(RawUndoRetention).map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        UndoRetention::deserialize(MapAccessDeserializer::new(map)).map(RawUndoRetention)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawDurability {
    pub(super) changes: Option<ChangeDurability>,
    pub(super) records: Option<RecordDurability>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawAudit {
    pub(super) on_failure: Option<OnAuditFailure>,
    pub(super) redact: Vec<Located<String>>,
}

/// The value of a key of `when`, with the place of everything in it.
#[derive(Debug)]
pub(super) enum RawTest {
    Scalar(Value),
    List(Vec<Located<RawTest>>),
    Map(Vec<(String, Located<RawTest>)>),
}

impl<'de> Deserialize<'de> for RawTest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawTestVisitor)
    }
}

struct RawTestVisitor;

impl<'de> Visitor<'de> for RawTestVisitor {
    type Value = RawTest;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a glob, a list of them, or a comparison (eq ne gt gte lt lte in matches)")
    }

    fn visit_unit<E: Error>(self) -> Result<RawTest, E> {
        Ok(RawTest::Scalar(Value::Null))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<RawTest, E> {
        Ok(RawTest::Scalar(Value::Bool(value)))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<RawTest, E> {
        Ok(RawTest::Scalar(Value::Number(value.into())))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<RawTest, E> {
        match Number::from_f64(value) {
            Some(number) => Ok(RawTest::Scalar(Value::Number(number))),
            None => Err(E::custom(format!("`{value}` is not a finite number"))),
        }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<RawTest, E> {
        Ok(RawTest::Scalar(Value::String(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<RawTest, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(RawTest::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<RawTest, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(RawTest::Map(map))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RiskEntryMap {
    verdict: Verdict,
    approvals: Option<i64>,
}

impl<'de> Deserialize<'de> for RiskEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RiskEntryVisitor)
    }
}

struct RiskEntryVisitor;

impl<'de> Visitor<'de> for RiskEntryVisitor {
    type Value = RiskEntry;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("allow, need_approval, deny, or {verdict: need_approval, approvals: 2}")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<RiskEntry, E> {
        let all = [Verdict::Allow, Verdict::NeedApproval, Verdict::Deny];
        match all.into_iter().find(|verdict| verdict.as_str() == text) {
            Some(verdict) => Ok(RiskEntry { verdict, approvals: None }),
            None => Err(E::unknown_variant(text, &["allow", "need_approval", "deny"])),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<RiskEntry, A::Error> {
        let map = RiskEntryMap::deserialize(MapAccessDeserializer::new(entries))?;
        Ok(RiskEntry { verdict: map.verdict, approvals: map.approvals })
    }
}
