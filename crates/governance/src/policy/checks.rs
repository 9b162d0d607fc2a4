//! Windows, health checks, verification commands and budgets, checked.

use std::sync::Arc;

use lictor_capability::Retry;
use lictor_context::Budget;
use lictor_document::{HumanDuration, Located};

use super::error::PolicyError;
use super::load::{Loader, Saying, Statement};
use super::raw::{RawBudgets, RawHealthCheck, RawWindow};
use super::settings::{Budgets, HealthCheck, Probe, VerificationCommand, Verify};
use super::window::{Window, WindowError};

impl Loader<'_> {
    pub(super) fn window(
        &mut self,
        index: usize,
        raw: Located<RawWindow>,
    ) -> Result<Statement, PolicyError> {
        let when = self.when(&raw.value.when)?;
        let spec = &raw.value;
        let window = Window::new(
            spec.days.as_ref().map(|days| days.value.as_slice()),
            spec.hours.as_ref().map(|hours| hours.value.as_str()),
            spec.timezone.as_ref().map(|zone| zone.value.as_str()),
        );
        let window = match (window, &spec.days, &spec.hours, &spec.timezone) {
            (Ok(window), ..) => window,
            (Err(WindowError::Days), Some(days), ..) => {
                return self.refuse(
                    days,
                    "no day at all would be open; accepted here: mon, tue, wed, thu, fri, sat, sun",
                );
            }
            (Err(WindowError::Hours), _, Some(hours), _) => {
                return self.refuse(
                    hours,
                    &format!(
                        "`{}` are no hours; accepted here: two times such as \"09:00-17:00\"",
                        hours.value.escape_debug()
                    ),
                );
            }
            (Err(WindowError::Zone(problem)), _, _, Some(zone)) => {
                return self.refuse(zone, &format!("`{}` is no time zone that is known here: {problem}; accepted here: an IANA name such as UTC or Europe/Rome", zone.value.escape_debug()));
            }
            (Err(_), ..) => return self.refuse(&raw, "the window is never open"),
        };
        Ok(Statement {
            name: Arc::from(format!("windows[{index}]")),
            place: self.place(&raw),
            message: Arc::from(spec.reason.as_deref().unwrap_or("outside of the window")),
            when,
            saying: Saying::Window(Box::new(window)),
        })
    }

    pub(super) fn health_check(
        &self,
        raw: &Located<RawHealthCheck>,
    ) -> Result<HealthCheck, PolicyError> {
        let check = &raw.value;
        self.check_name(&check.name, &check.name.value)?;
        let mut probes = Vec::new();
        if let Some(http) = &check.http_get {
            let url = &http.url.value;
            if !url.starts_with("http://") && !url.starts_with("https://") {
                return self.refuse(
                    &http.url,
                    "accepted here: a URL that begins with http:// or https://",
                );
            }
            let status = http.status.as_ref().map_or(200, |status| status.value);
            if let Some(at) = &http.status
                && !(100..=599).contains(&status)
            {
                return self.refuse(at, "accepted here: an HTTP status, 100 to 599");
            }
            probes.push(Probe::HttpGet { url: url.clone(), status });
        }
        if let Some(sqlite) = &check.sqlite {
            probes.push(Probe::Sqlite { path: sqlite.path.clone(), query: sqlite.query.clone() });
        }
        if let Some(process) = &check.process {
            probes.push(Probe::Process { pid_file: process.pid_file.clone() });
        }
        if let Some(files) = &check.file_exists {
            probes.push(Probe::FileExists { paths: files.paths.clone() });
        }
        let (Some(probe), true) = (probes.pop(), probes.is_empty()) else {
            return self.refuse(
                raw,
                "a health check has exactly one of http_get, sqlite, process, file_exists",
            );
        };
        let timeout = check.timeout.unwrap_or(HumanDuration::from_secs(5));
        let retry = match &check.retry {
            None => Retry::default(),
            Some(at) => {
                self.attempts(at, &at.value)?;
                at.value.clone()
            }
        };
        let for_risk = check.for_risk.clone();
        Ok(HealthCheck { name: check.name.value.clone(), probe, timeout, retry, for_risk })
    }

    fn attempts<T>(&self, at: &Located<T>, retry: &Retry) -> Result<(), PolicyError> {
        if (1..=100).contains(&retry.attempts) {
            return Ok(());
        }
        self.refuse(at, "`attempts` is out of range; accepted here: 1 to 100")
    }

    fn check_name<T>(&self, at: &Located<T>, name: &str) -> Result<(), PolicyError> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_.:-".contains(&byte);
        if (1..=128).contains(&name.len()) && name.bytes().all(fits) {
            return Ok(());
        }
        self.refuse(at, "accepted as a name: 1 to 128 characters of A-Z a-z 0-9 _ . : -")
    }

    pub(super) fn budgets(&self, raw: &RawBudgets) -> Result<Budgets, PolicyError> {
        let one = |raw: &Option<Located<Budget>>| match raw {
            None => Ok(Budget::default()),
            Some(at)
                if at.value.cost_usd.is_some_and(|cost| !(cost.is_finite() && cost >= 0.0)) =>
            {
                self.refuse(at, "`cost_usd` is out of range; a number of at least 0 is accepted")
            }
            Some(at) => Ok(at.value),
        };
        Ok(Budgets {
            session: one(&raw.session)?,
            agent: one(&raw.agent)?,
            user: one(&raw.user)?,
            org: one(&raw.org)?,
        })
    }

    pub(super) fn verification(
        &self,
        name: &str,
        at: &Located<VerificationCommand>,
    ) -> Result<(), PolicyError> {
        self.check_name(at, name)?;
        if at.value.command.first().is_none_or(String::is_empty) {
            return self.refuse(
                at,
                "`command` names no program; accepted here: a list such as [\"cargo\", \"test\"]",
            );
        }
        if at.value.timeout.as_millis() == 0 {
            return self.refuse(at, "`timeout` is 0; a longer one is accepted");
        }
        if !at.value.leave_out.is_empty() && at.value.verify != Verify::Staged {
            return self.refuse(at, "`leave_out` is accepted only beside `verify: staged`");
        }
        self.attempts(at, &at.value.retry)
    }
}
