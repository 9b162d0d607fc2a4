//! What speaks about an action as a whole: limits, risk, the contract, what a change has to
//! bring.

use std::sync::Arc;

use lictor_capability::{Confirm, Risk};

use super::evaluate::{Evaluation, Voice};
use super::set::text;
use crate::decision::{Layer, Verdict};

impl Evaluation<'_> {
    pub(super) fn limits(&mut self) {
        let asked = self.asked;
        let set = self.set;
        for policy in &set.layers {
            let limits = &policy.limits;
            let max_bytes = limits.max_bytes.map(|size| size.as_bytes());
            let checks = [
                ("limits.max_files", asked.files, limits.max_files, "files"),
                ("limits.max_patch_lines", asked.lines, limits.max_patch_lines, "changed lines"),
                ("limits.max_bytes", asked.bytes, max_bytes, "bytes of new content"),
            ];
            for (rule, found, limit, what) in checks {
                let Some(limit) = limit.filter(|limit| found > *limit) else { continue };
                self.say(Voice {
                    layer: policy.layer.into(),
                    rule: text(rule),
                    verdict: Verdict::Deny,
                    approvals: 0,
                    message: Arc::from(format!("{found} {what}; at most {limit} are allowed")),
                    place: policy.limits_place.clone(),
                });
                self.required.push(format!("bring at most {limit} {what} in one change set"));
            }
        }
    }

    pub(super) fn risk(&mut self, risk: Risk) {
        let set = self.set;
        for (layer, saying) in set.risk.get(risk as usize).into_iter().flatten() {
            self.say(Voice {
                layer: *layer,
                rule: text(match risk {
                    Risk::Low => "risk.low",
                    Risk::Medium => "risk.medium",
                    Risk::High => "risk.high",
                    Risk::Critical => "risk.critical",
                }),
                verdict: saying.verdict,
                approvals: saying.approvals,
                message: text(match risk {
                    Risk::Low => "the effective risk is low",
                    Risk::Medium => "the effective risk is medium",
                    Risk::High => "the effective risk is high",
                    Risk::Critical => "the effective risk is critical",
                }),
                place: saying.place.clone(),
            });
        }
    }

    pub(super) fn contract(&mut self) {
        if self.asked.confirm == Confirm::Always {
            self.say(Voice {
                layer: Layer::Contract,
                rule: text("contract.confirm"),
                verdict: Verdict::NeedApproval,
                approvals: 1,
                message: text("the contract wants a person to confirm every call"),
                place: None,
            });
        }
        let approvals = self.asked.approvals;
        if approvals > 0 {
            self.say(Voice {
                layer: Layer::Contract,
                rule: text("action.approvals"),
                verdict: Verdict::NeedApproval,
                approvals,
                message: text("whoever asks wants people to agree"),
                place: None,
            });
        }
    }

    /// What a change has to bring, and whether what it names exists.
    pub(super) fn require(&mut self, risk: Risk) {
        self.unknown_checks();
        let asked = self.asked;
        if asked.is_read_only() {
            return;
        }
        let brings =
            [!asked.verification.is_empty(), asked.rollback_plan, !asked.health_checks.is_empty()];
        let names = ["verification", "rollback_plan", "health_checks"];
        let set = self.set;
        for policy in &set.layers {
            for ((brings, name), risks) in brings.into_iter().zip(names).zip(&policy.require) {
                if brings || !risks.contains(&risk) {
                    continue;
                }
                self.say(Voice {
                    layer: policy.layer.into(),
                    rule: Arc::from(format!("require.{name}")),
                    verdict: Verdict::NeedApproval,
                    approvals: 1,
                    message: Arc::from(format!("a change of {risk} risk has to bring {name}")),
                    place: None,
                });
                let action = format!("add {name} to the plan");
                if !self.required.contains(&action) {
                    self.required.push(action);
                }
            }
        }
    }

    /// A check that nobody defines would not be run, and then it would look as if it had passed.
    fn unknown_checks(&mut self) {
        let asked = self.asked;
        if asked.verification.is_empty() && asked.health_checks.is_empty() {
            return;
        }
        let settings = self.set.settings();
        let checks = settings.health_checks.iter();
        let known_checks: Vec<&str> = checks.map(|check| check.name.as_str()).collect();
        let known_commands: Vec<&str> = settings.verification.keys().map(String::as_str).collect();
        for (rule, named, known) in [
            ("verification", asked.verification, known_commands),
            ("health_checks", asked.health_checks, known_checks),
        ] {
            for name in named.iter().filter(|name| !known.contains(&name.as_str())) {
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                let name = name.escape_debug();
                self.say(Voice {
                    layer: Layer::Builtin,
                    rule: text(rule),
                    verdict: Verdict::Deny,
                    approvals: 0,
                    message: Arc::from(format!(
                        "the plan names `{name}`, which no policy defines; defined: {known}"
                    )),
                    place: None,
                });
            }
        }
    }
}
