//! Limits on use: how often, and how much it may cost.

use std::sync::Arc;

use lictor_context::{Budget, Timestamp, Usage};

use super::asked::Asked;
use super::compare::{Outcome, Scalar, Test};
use super::evaluate::{Evaluation, Voice};
use super::set::PolicySet;
use super::settings::Scope;
use super::{Budgets, Policy};
use crate::decision::{Layer, Verdict};
use crate::usage::{Tallies, Tally, UsageExceeded, UsageWindow};

/// A limit on use.
#[derive(Debug, Clone)]
pub(super) struct UsageLimit {
    layer: Layer,
    rule: Arc<str>,
    place: Option<Arc<str>>,
    window: UsageWindow,
    max: Max,
}

#[derive(Debug, Clone)]
enum Max {
    /// So many uses of what fits.
    Calls(Arc<Test>, u64),
    /// So many millionths of a dollar.
    Cost(u64),
    Tokens(u64),
}

impl UsageLimit {
    fn concerns(&self, capability: &str) -> bool {
        match &self.max {
            Max::Calls(test, _) => test.outcome(Scalar::Text(capability)) != Outcome::No,
            Max::Cost(_) | Max::Tokens(_) => true,
        }
    }

    /// What stands against one more use, in words.
    fn exceeded(&self, tally: &Tally, usage: Usage) -> Option<String> {
        match &self.max {
            Max::Calls(test, max) => {
                let fits = |id: &str| test.outcome(Scalar::Text(id)) != Outcome::No;
                let counted = tally.calls.iter().filter(|(id, _)| fits(id));
                let (n, oldest) = counted.fold((0_u64, None), |(n, oldest), (_, calls)| {
                    let older: Timestamp =
                        oldest.map_or(calls.oldest, |old: Timestamp| old.min(calls.oldest));
                    (n.saturating_add(calls.n), Some(older))
                });
                (n >= *max).then(|| {
                    let per =
                        self.window.per.map_or_else(String::new, |per| format!(" within {per}"));
                    let free = oldest.zip(self.window.per).filter(|_| n == *max && n > 0);
                    let free = free.map_or_else(String::new, |(oldest, per)| {
                        format!("; the next is free at {}", oldest.plus(per.as_duration()))
                    });
                    format!("{n} of {max}{per} are used by this {}{free}", word(self.window.scope))
                })
            }
            Max::Cost(max) => {
                spent(tally.spent.cost_microusd, usage.cost_microusd, *max).then(|| {
                    format!(
                        "this {} has spent {} of {} USD, and this asks for {}",
                        word(self.window.scope),
                        dollars(tally.spent.cost_microusd),
                        dollars(*max),
                        dollars(usage.cost_microusd)
                    )
                })
            }
            Max::Tokens(max) => spent(tally.spent.tokens, usage.tokens, *max).then(|| {
                format!(
                    "this {} has spent {} of {max} tokens, and this asks for {}",
                    word(self.window.scope),
                    tally.spent.tokens,
                    usage.tokens
                )
            }),
        }
    }
}

/// Nothing is left, or what is asked for is more than that.
fn spent(spent: u64, asked: u64, max: u64) -> bool {
    spent >= max || spent.saturating_add(asked) > max
}

fn dollars(micros: u64) -> String {
    format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

fn word(scope: Scope) -> &'static str {
    match scope {
        Scope::Session => "session",
        Scope::Agent => "agent",
        Scope::User => "user",
        Scope::Org => "organisation",
    }
}

/// The limits of all layers.
pub(super) fn limits(layers: &[Policy]) -> Vec<UsageLimit> {
    let mut all = Vec::new();
    for policy in layers {
        for (frequency, limit) in policy.frequency.iter().zip(&policy.frequency_limits) {
            all.push(UsageLimit {
                layer: policy.layer.into(),
                rule: Arc::clone(&frequency.rule),
                place: Some(Arc::clone(&frequency.place)),
                window: UsageWindow { scope: limit.scope, per: Some(limit.per) },
                max: Max::Calls(Arc::clone(&frequency.capability), limit.max),
            });
        }
        let Budgets { session, agent, user, org } = policy.budgets;
        let budgets = [
            (Scope::Session, session, "session"),
            (Scope::Agent, agent, "agent"),
            (Scope::User, user, "user"),
            (Scope::Org, org, "org"),
        ];
        for (scope, budget, name) in budgets {
            let place = policy.budgets_place.clone();
            all.extend(of_budget(&budget, scope, policy.layer.into(), name, place));
        }
    }
    all
}

fn of_budget(
    budget: &Budget,
    scope: Scope,
    layer: Layer,
    name: &str,
    place: Option<Arc<str>>,
) -> impl Iterator<Item = UsageLimit> {
    // A budget that is no amount leaves nothing to spend.
    let cost = budget
        .cost_usd
        .map(|cost| Max::Cost(Usage::new(cost, 0).map_or(0, |usage| usage.cost_microusd)));
    let tokens = budget.tokens.map(Max::Tokens);
    let limits = [(cost, "cost_usd"), (tokens, "tokens")].map(|(max, key)| {
        max.map(|max| UsageLimit {
            layer,
            rule: Arc::from(format!("budgets.{name}.{key}")),
            place: place.clone(),
            window: UsageWindow { scope, per: None },
            max,
        })
    });
    limits.into_iter().flatten()
}

impl PolicySet {
    /// The limits that speak about a question: those of the layers, and the session's own budget.
    fn usage_limits_of(&self, asked: &Asked<'_>) -> Vec<UsageLimit> {
        // What takes back what was let through is never refused for having been let through.
        if asked.rolls_back {
            return Vec::new();
        }
        let concerns = |limit: &&UsageLimit| limit.concerns(asked.capability);
        let mut limits: Vec<UsageLimit> =
            self.usage_limits.iter().filter(concerns).cloned().collect();
        let own = of_budget(&asked.budget, Scope::Session, Layer::Contract, "of_session", None);
        limits.extend(own);
        limits
    }

    /// What has to be counted to answer a question.
    pub(crate) fn usage_windows(&self, asked: &Asked<'_>) -> Vec<UsageWindow> {
        if self.usage_limits.is_empty() && asked.budget == Budget::default() {
            return Vec::new();
        }
        let limits = self.usage_limits_of(asked);
        let mut windows: Vec<UsageWindow> = limits.iter().map(|limit| limit.window).collect();
        windows.sort_unstable();
        windows.dedup();
        windows
    }

    /// What an answer to a recorded question hangs on, and the record does not hold.
    pub(crate) fn undecided(&self, asked: &Asked<'_>, tallies: &Tallies) -> Vec<String> {
        let mut undecided = Vec::new();
        if tallies.problem.is_none() {
            for limit in self.usage_limits_of(asked) {
                if tallies.get(&limit.window).is_none() {
                    undecided.push(format!("{}: its use was not counted then", limit.rule));
                }
            }
        }
        for index in 0..self.statements.len() {
            if let Some((_, statement)) = self.statement(index)
                && let Some(test) = &statement.when.input
                && test.meets_sealed(asked.input)
            {
                undecided.push(format!(
                    "{}: it compares an input of which only the digest was kept",
                    statement.name
                ));
            }
        }
        undecided.extend(self.cedar_undecided(asked));
        undecided
    }

    /// A check for the moment at which a use is written down.
    pub(crate) fn usage_check(&self, asked: &Asked<'_>) -> crate::usage::UsageCheck {
        let (limits, usage) = (self.usage_limits_of(asked), asked.usage);
        Box::new(move |tallies: &Tallies| {
            for limit in &limits {
                let message = match tallies.get(&limit.window) {
                    Some(tally) => limit.exceeded(tally, usage),
                    None => Some("its use is not counted".to_owned()),
                };
                if let Some(message) = message {
                    return Err(UsageExceeded { rule: limit.rule.to_string(), message });
                }
            }
            Ok(())
        })
    }
}

impl Evaluation<'_> {
    /// `frequency` and `budgets`. What cannot be counted is denied.
    pub(super) fn usage(&mut self, tallies: &Tallies) {
        if self.set.usage_limits.is_empty() && self.asked.budget == Budget::default() {
            return;
        }
        for limit in self.set.usage_limits_of(self.asked) {
            let message = match (tallies.get(&limit.window), &tallies.problem) {
                (Some(tally), _) => limit.exceeded(tally, self.asked.usage),
                (None, Some(problem)) => Some(problem.clone()),
                (None, None) => Some("its use is not counted".to_owned()),
            };
            let Some(message) = message else { continue };
            self.say(Voice {
                layer: limit.layer,
                rule: Arc::clone(&limit.rule),
                verdict: Verdict::Deny,
                approvals: 0,
                message: Arc::from(message),
                place: limit.place.clone(),
            });
        }
    }
}
