//! Which approvers may approve what, by their roles.

use lictor_capability::Risk;
use lictor_context::Name;
use lictor_document::Located;
use serde::{Deserialize, Serialize};

use super::error::PolicyError;
use super::load::Loader;
use super::pattern::Pattern;

/// Most entries of one file: each is looked at for each answer.
const MAX_ENTRIES: usize = 100;

/// Who of the approvers may approve some actions: those with one of these roles. All entries that
/// fit an action have to be satisfied, those of every layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ApproverRoles {
    /// Patterns over capability ids, as they are written; every capability when there is none.
    pub capability: Vec<String>,
    /// From which risk on.
    pub from: Risk,
    /// The roles, of which an approver needs one.
    pub roles: Vec<Name>,
}

/// The same as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawApproverRoles {
    capability: Option<Located<OneOrMany>>,
    from: Option<Risk>,
    roles: Located<Vec<Name>>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl ApproverRoles {
    pub(super) fn read(
        raw: Vec<Located<RawApproverRoles>>,
        loader: &Loader<'_>,
    ) -> Result<Vec<Self>, PolicyError> {
        let mut all = Vec::with_capacity(raw.len());
        for entry in raw {
            if all.len() >= MAX_ENTRIES {
                let why = format!("more than the {MAX_ENTRIES} entries that are accepted");
                return loader.refuse(&entry, &why);
            }
            let RawApproverRoles { capability, from, roles } = entry.value;
            if roles.value.is_empty() {
                return loader.refuse(
                    &roles,
                    "nobody has one of no roles; accepted here: a list of at least one role",
                );
            }
            let mut patterns = Vec::new();
            if let Some(capability) = &capability {
                patterns = match &capability.value {
                    OneOrMany::One(one) => vec![one.clone()],
                    OneOrMany::Many(many) => many.clone(),
                };
                if patterns.is_empty() {
                    return loader.refuse(
                        capability,
                        "no capability fits an empty list; accepted here: a glob, or a list of them",
                    );
                }
                for pattern in &patterns {
                    if let Err(why) = Pattern::new(pattern) {
                        return loader.refuse(capability, &why);
                    }
                }
            }
            let from = from.unwrap_or(Risk::Low);
            all.push(Self { capability: patterns, from, roles: roles.value });
        }
        Ok(all)
    }

    /// Whether it speaks about an action.
    #[must_use]
    pub fn concerns(&self, capability: &str, risk: Risk) -> bool {
        let fits = |pattern: &String| {
            // What is no pattern was refused when it was read; should one be here, it is strict.
            Pattern::new(pattern).map_or(true, |pattern| pattern.is_match(capability))
        };
        risk >= self.from && (self.capability.is_empty() || self.capability.iter().any(fits))
    }

    /// Whether somebody with these roles satisfies it.
    #[must_use]
    pub fn satisfied_by(&self, roles: &[Name]) -> bool {
        self.roles.iter().any(|role| roles.contains(role))
    }
}
