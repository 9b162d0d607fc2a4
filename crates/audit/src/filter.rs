//! Which events: the filter, and the query that it becomes.

use lictor_context::{EventType, ExecutionId, Name, RunId, SessionId, Timestamp};
use lictor_store::rusqlite::types::Value;

/// Which events of one organisation, and in which order. The default is all of them, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of one of these types; of any, when there are none.
    pub types: Vec<EventType>,
    /// In this session.
    pub session: Option<SessionId>,
    /// Of this user.
    pub user: Option<Name>,
    /// Of this agent.
    pub agent: Option<Name>,
    /// About the action of this name.
    pub action: Option<String>,
    /// That worked, or that did not; events that say neither do not match.
    pub success: Option<bool>,
    /// At this time or later.
    pub since: Option<Timestamp>,
    /// Before this time.
    pub until: Option<Timestamp>,
    /// Of this execution.
    pub execution: Option<ExecutionId>,
    /// Of this workflow run.
    pub run: Option<RunId>,
    /// At most so many.
    pub limit: Option<u64>,
    /// So many are passed over. The further, the slower: pages are better asked for by `after`.
    pub offset: u64,
    /// Those that come after this `seq`, in the order asked for: the last one of the page before.
    pub after: Option<u64>,
    /// The newest first.
    pub newest_first: bool,
}

/// One event as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEvent {
    /// Its place in the organisation's log.
    pub seq: u64,
    /// Its line of JSON, without the line's end.
    pub bytes: Vec<u8>,
}

struct Conditions {
    sql: String,
    values: Vec<Value>,
}

impl Conditions {
    fn and(&mut self, condition: &str, value: impl Into<Value>) {
        self.sql.push_str(" AND ");
        self.sql.push_str(condition);
        self.values.push(value.into());
    }

    fn and_text(&mut self, condition: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.and(condition, value.to_owned());
        }
    }
}

impl Filter {
    fn conditions(&self, org: &Name) -> Conditions {
        let mut all =
            Conditions { sql: "org = ?".to_owned(), values: vec![org.as_str().to_owned().into()] };
        if !self.types.is_empty() {
            let marks = vec!["?"; self.types.len()].join(",");
            all.sql.push_str(&format!(" AND type IN ({marks})"));
            all.values.extend(self.types.iter().map(|kind| kind.as_str().to_owned().into()));
        }
        all.and_text("session = ?", self.session.as_ref().map(SessionId::as_str));
        all.and_text("user = ?", self.user.as_ref().map(Name::as_str));
        all.and_text("agent = ?", self.agent.as_ref().map(Name::as_str));
        all.and_text("action_name = ?", self.action.as_deref());
        all.and_text("execution = ?", self.execution.as_ref().map(ExecutionId::as_str));
        all.and_text("run = ?", self.run.as_ref().map(RunId::as_str));
        if let Some(success) = self.success {
            all.and("success = ?", success);
        }
        if let Some(since) = self.since {
            all.and("ts >= ?", since.as_micros());
        }
        if let Some(until) = self.until {
            all.and("ts < ?", until.as_micros());
        }
        all
    }

    /// The query for `seq` and line of those that match, and its values.
    pub(crate) fn page_sql(&self, org: &Name) -> (String, Vec<Value>) {
        let mut all = self.conditions(org);
        if let Some(after) = self.after {
            let condition = if self.newest_first { "seq < ?" } else { "seq > ?" };
            all.and(condition, to_i64(after));
        }
        let order = if self.newest_first { "DESC" } else { "ASC" };
        let sql = format!(
            "SELECT seq, bytes FROM audit_event WHERE {} ORDER BY seq {order} LIMIT ? OFFSET ?",
            all.sql
        );
        all.values.push(self.limit.map_or(-1, to_i64).into());
        all.values.push(to_i64(self.offset).into());
        (sql, all.values)
    }

    /// The query for how many match, and its values.
    pub(crate) fn count_sql(&self, org: &Name) -> (String, Vec<Value>) {
        let all = self.conditions(org);
        (format!("SELECT count(*) FROM audit_event WHERE {}", all.sql), all.values)
    }
}

/// For SQLite, which knows no larger numbers; no log gets there.
pub(crate) fn to_i64(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
