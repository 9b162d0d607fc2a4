//! Who has which role: `roles.yaml`, a policy like the others, so that nobody claims one.

use std::collections::BTreeMap;

use lictor_context::Name;
use lictor_document::{Limits, Located, Source, from_yaml};
use serde::Deserialize;

use crate::policy::error::PolicyError;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    roles: BTreeMap<String, Vec<Located<String>>>,
}

/// Who has which role.
#[derive(Debug, Default)]
pub(super) struct Roles {
    by_name: BTreeMap<String, Members>,
}

#[derive(Debug, Default)]
struct Members {
    users: Vec<String>,
    agents: Vec<String>,
}

impl Roles {
    pub(super) fn read(source: &Source<'_>) -> Result<Self, PolicyError> {
        let raw: Raw = from_yaml(source, &Limits::default())?;
        let mut by_name = BTreeMap::new();
        for (name, listed) in raw.roles {
            let mut members = Members::default();
            for at in listed {
                let refuse = |problem: &str| {
                    let error = at.error(source.name, problem).with_excerpt_of(source);
                    Err(PolicyError::from(error))
                };
                let known = match at.value.split_once(':') {
                    Some((kind, who)) if Name::parse(who).is_ok() => match kind {
                        "user" => Some((&mut members.users, who)),
                        "agent" => Some((&mut members.agents, who)),
                        _ => None,
                    },
                    _ => None,
                };
                let Some((list, who)) = known else {
                    return refuse("accepted here: `user:NAME` or `agent:NAME`");
                };
                list.push(who.to_owned());
            }
            by_name.insert(name, members);
        }
        Ok(Self { by_name })
    }

    pub(super) fn has(&self, role: &str) -> bool {
        self.by_name.contains_key(role)
    }

    pub(super) fn of_user<'a>(&'a self, user: &'a str) -> impl Iterator<Item = &'a str> {
        let has = move |members: &Members| members.users.iter().any(|one| one == user);
        self.by_name.iter().filter(move |(_, one)| has(one)).map(|(name, _)| name.as_str())
    }

    pub(super) fn of_agent<'a>(&'a self, agent: &'a str) -> impl Iterator<Item = &'a str> {
        let has = move |members: &Members| members.agents.iter().any(|one| one == agent);
        self.by_name.iter().filter(move |(_, one)| has(one)).map(|(name, _)| name.as_str())
    }
}
