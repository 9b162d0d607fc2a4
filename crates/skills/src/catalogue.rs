//! The list: every builtin with its contract and its handler.

use std::collections::BTreeSet;
use std::sync::Arc;

use lictor_capability::{Contract, ContractError};
use lictor_context::{Clock, SystemClock};
use lictor_document::Source;
use lictor_executor::Handlers;

use crate::skill::{Builtin, Skill};
use crate::{change, env, fs, json, pattern, template, time};

/// What the skills get from the runtime that they work in.
#[derive(Debug, Clone)]
pub struct SkillSettings {
    /// Where `time.now` looks.
    pub clock: Arc<dyn Clock>,
    /// The environment variables that `env.get` may read; none unless named here. A name counts as
    /// it is written, without patterns.
    pub env_allow: BTreeSet<String>,
}

impl Default for SkillSettings {
    /// The system's clock, and no environment.
    fn default() -> Self {
        Self { clock: Arc::new(SystemClock), env_allow: BTreeSet::new() }
    }
}

macro_rules! embedded {
    ($($id:literal),+ $(,)?) => {
        [$(($id, include_str!(concat!("../contracts/", $id, ".yaml")))),+]
    };
}

/// The contracts as they are written, by id.
pub(crate) const CONTRACTS: [(&str, &str); 15] = embedded![
    "change.apply",
    "env.get",
    "fs.copy",
    "fs.delete",
    "fs.hash",
    "fs.list",
    "fs.move",
    "fs.read",
    "fs.write",
    "json.get",
    "json.parse",
    "json.stringify",
    "regex.match",
    "text.render",
    "time.now",
];

/// The contracts of the builtin skills, sorted by id. Their schemas are compiled at first use.
///
/// # Errors
/// Never, for the contracts that this crate ships; its tests read and compile every one.
pub fn contracts() -> Result<Vec<Arc<Contract>>, ContractError> {
    CONTRACTS
        .iter()
        .map(|(id, text)| {
            let name = format!("builtin:{id}.yaml");
            Contract::from_yaml_lazily(&Source::new(&name, text.as_bytes())).map(Arc::new)
        })
        .collect()
}

/// The handlers of the builtin skills, each under its capability's id.
#[must_use]
pub fn handlers(settings: SkillSettings) -> Handlers {
    skills(settings).into_iter().fold(Handlers::default(), |handlers, (name, skill)| {
        handlers.with(name, Arc::new(Builtin(skill)))
    })
}

/// The skills by id.
pub(crate) fn skills(settings: SkillSettings) -> [(&'static str, Box<dyn Skill>); 15] {
    let SkillSettings { clock, env_allow } = settings;
    [
        ("change.apply", Box::new(change::Apply)),
        ("env.get", Box::new(env::Get::new(env_allow))),
        ("fs.copy", Box::new(fs::Copy)),
        ("fs.delete", Box::new(fs::Delete)),
        ("fs.hash", Box::new(fs::Hash)),
        ("fs.list", Box::new(fs::List)),
        ("fs.move", Box::new(fs::Move)),
        ("fs.read", Box::new(fs::Read)),
        ("fs.write", Box::new(fs::Write)),
        ("json.get", Box::new(json::Get)),
        ("json.parse", Box::new(json::Parse)),
        ("json.stringify", Box::new(json::Stringify)),
        ("regex.match", Box::new(pattern::Match)),
        ("text.render", Box::new(template::Render)),
        ("time.now", Box::new(time::Now::new(clock))),
    ]
}
