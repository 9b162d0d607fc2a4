//! What a policy asks people for that nobody can give: too few of them, none with a role, none with a
//! PIN, no way to answer by.

use std::collections::BTreeSet;

use lictor_capability::Risk;
use lictor_context::Name;

use super::load::Saying;
use super::roles::ApproverRoles;
use super::set::PolicySet;
use super::settings::Channel;
use crate::approval::ApproverRecord;
use crate::decision::Verdict;

/// Something that a policy asks of people and that they cannot give, with what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unanswerable {
    /// What is asked, and what is missing.
    pub problem: String,
    /// What to do.
    pub next: String,
    /// Whether it is because there is one approver, as where one person works alone: what takes several
    /// people waits until there are.
    pub alone: bool,
}

/// How many people something takes.
struct Demand {
    by: String,
    /// At this risk, where it is known.
    risk: Option<Risk>,
    people: u32,
}

impl PolicySet {
    /// What these policies ask of people that the approvers who are enrolled cannot give. `has_pin`
    /// says who has a PIN.
    #[must_use]
    pub fn unanswerable(
        &self,
        approvers: &[ApproverRecord],
        has_pin: impl Fn(&Name) -> bool,
    ) -> Vec<Unanswerable> {
        let active: Vec<&ApproverRecord> =
            approvers.iter().filter(|one| one.revoked_at.is_none()).collect();
        let mut all = Vec::new();
        let demands = self.demands_on_people();
        if active.is_empty() && !demands.is_empty() {
            let problem = if approvers.is_empty() {
                "nobody was ever enrolled as an approver, so that nothing can be approved"
                    .to_owned()
            } else {
                let gone: Vec<&str> = approvers.iter().map(|one| one.name.as_str()).collect();
                format!("all approvers were struck off: {}", gone.join(", "))
            };
            let next =
                "restore the database, or begin in a new one: `lictor init` enrols the first";
            return vec![Unanswerable { problem, next: next.to_owned(), alone: false }];
        }
        self.too_few(&demands, &active, &mut all);
        self.roles_that_nobody_has(&active, &mut all);
        self.without_pin(&active, has_pin, &mut all);
        self.unknown_to_webhooks(&active, &mut all);
        self.beyond_all_channels(&demands, &mut all);
        all
    }

    /// Everything that asks for approval, with how many people it takes.
    fn demands_on_people(&self) -> Vec<Demand> {
        let mut all = Vec::new();
        for policy in self.layers() {
            for statement in &policy.statements {
                if let Saying::Verdict { verdict: Verdict::NeedApproval, approvals } =
                    statement.saying
                {
                    let by = format!("the rule `{}`", statement.name.escape_debug());
                    all.push(Demand { by, risk: None, people: approvals.max(1) });
                }
            }
            if !policy.protected.is_empty() {
                all.push(Demand { by: "paths.protected".to_owned(), risk: None, people: 1 });
            }
        }
        for risk in Risk::ALL {
            let sayings = self.risk.get(risk as usize).into_iter().flatten();
            let asks = sayings.filter(|(_, saying)| saying.verdict == Verdict::NeedApproval);
            if let Some(people) = asks.map(|(_, saying)| saying.approvals.max(1)).max() {
                all.push(Demand { by: format!("{risk} risk"), risk: Some(risk), people });
            }
        }
        all
    }

    fn too_few(&self, demands: &[Demand], active: &[&ApproverRecord], all: &mut Vec<Unanswerable>) {
        let settings = &self.settings().approvals;
        for demand in demands {
            // Whatever the capability is: what is said of some only is looked at for itself.
            let fits = |entry: &&ApproverRoles| {
                entry.capability.is_empty()
                    && demand.risk.is_none_or(|risk| risk >= entry.from)
                    && (demand.risk.is_some() || entry.from == Risk::Low)
            };
            let wanted: Vec<&ApproverRoles> = settings.roles.iter().filter(fits).collect();
            let may =
                |one: &&&ApproverRecord| wanted.iter().all(|entry| entry.satisfied_by(&one.roles));
            let may: Vec<&str> = active.iter().filter(may).map(|one| one.name.as_str()).collect();
            let n = u32::try_from(may.len()).unwrap_or(u32::MAX);
            let Demand { by, people, .. } = demand;
            let named = if may.is_empty() { "nobody".to_owned() } else { may.join(", ") };
            if n < *people {
                all.push(Unanswerable {
                    problem: format!(
                        "{by} takes {people} people, and these may approve it: {named}"
                    ),
                    next: with_roles(&wanted),
                    alone: active.len() == 1 && n > 0,
                });
            } else if n == *people && !settings.requester_may_approve {
                all.push(Unanswerable {
                    problem: format!(
                        "{by} takes {people} people who did not ask for it themselves, and only these may approve it: {named}; whatever one of them asks for, the others are too few"
                    ),
                    next: with_roles(&wanted),
                    alone: false,
                });
            }
        }
    }

    fn roles_that_nobody_has(&self, active: &[&ApproverRecord], all: &mut Vec<Unanswerable>) {
        let settings = &self.settings().approvals;
        let nobody = |roles: &[Name]| {
            !active.iter().any(|one| roles.iter().any(|role| one.roles.contains(role)))
        };
        for entry in settings.roles.iter().filter(|entry| nobody(&entry.roles)) {
            let what = match entry.capability.as_slice() {
                [] => "everything".to_owned(),
                some => some.join(", "),
            };
            all.push(Unanswerable {
                problem: format!(
                    "{what} from {} risk on is approved by {} only, and nobody who may approve is that",
                    entry.from,
                    words(&entry.roles)
                ),
                next: with_roles(&[entry]),
                alone: false,
            });
        }
        for roles in settings.enroll_roles.iter().filter(|roles| nobody(roles)) {
            all.push(Unanswerable {
                problem: format!(
                    "approvers are enrolled and struck off by {} only, and nobody who may approve is that",
                    words(roles)
                ),
                next: "take `enroll_roles` out of the policy, enrol somebody with the role, and put it back"
                    .to_owned(),
                alone: false,
            });
        }
    }

    fn without_pin(
        &self,
        active: &[&ApproverRecord],
        has_pin: impl Fn(&Name) -> bool,
        all: &mut Vec<Unanswerable>,
    ) {
        let Some(from) = self.settings().approvals.pin_from else { return };
        let without = active.iter().filter(|one| !has_pin(&one.name));
        let names: Vec<&str> = without.map(|one| one.name.as_str()).collect();
        if !names.is_empty() {
            all.push(Unanswerable {
                problem: format!(
                    "at a terminal the policy wants a PIN from {from} risk on, and these have none: {}",
                    names.join(", ")
                ),
                next: "each of them: `lictor approvers pin`, at a terminal, with their token".to_owned(),
                alone: false,
            });
        }
    }

    fn unknown_to_webhooks(&self, active: &[&ApproverRecord], all: &mut Vec<Unanswerable>) {
        let known: BTreeSet<String> =
            active.iter().map(|one| one.name.as_str().to_ascii_lowercase()).collect();
        for webhook in &self.settings().approvals.webhooks {
            let unknown = webhook.approvers.iter();
            let unknown =
                unknown.filter(|name| !known.contains(&name.as_str().to_ascii_lowercase()));
            let names: Vec<&str> = unknown.map(Name::as_str).collect();
            if !names.is_empty() {
                all.push(Unanswerable {
                    problem: format!(
                        "the webhook `{}` speaks for people who may not approve: {}",
                        webhook.name,
                        names.join(", ")
                    ),
                    next: "lictor approvers add NAME, or leave them out of the webhook".to_owned(),
                    alone: false,
                });
            }
        }
    }

    fn beyond_all_channels(&self, demands: &[Demand], all: &mut Vec<Unanswerable>) {
        let settings = &self.settings().approvals;
        let cap = [Channel::Terminal, Channel::Token, Channel::Inbox, Channel::Webhook]
            .into_iter()
            .filter(|channel| *channel != Channel::Webhook || !settings.webhooks.is_empty())
            .map(|channel| settings.cap(channel))
            .max();
        let highest = demands.iter().filter_map(|demand| demand.risk).max();
        if let (Some(cap), Some(highest)) = (cap, highest)
            && highest > cap
        {
            all.push(Unanswerable {
                problem: format!(
                    "{highest} risk needs approval, and no channel approves more than {cap} risk"
                ),
                next: "raise the cap of a channel in `approvals.channels`, or deny such a risk"
                    .to_owned(),
                alone: false,
            });
        }
    }
}

fn words(roles: &[Name]) -> String {
    let quoted: Vec<String> = roles.iter().map(|role| format!("`{role}`")).collect();
    quoted.join(" or ")
}

/// How somebody is enrolled who satisfies entries.
fn with_roles(entries: &[&ApproverRoles]) -> String {
    let roles = entries.iter().filter_map(|entry| entry.roles.first());
    let flags: Vec<String> = roles.map(|role| format!(" --role {role}")).collect();
    format!("lictor approvers add NAME{}", flags.concat())
}
