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
    let SkillSettings { clock, env_allow } = settings;
    Handlers::default()
        .with_skill("change.apply", change::Apply)
        .with_skill("env.get", env::Get::new(env_allow))
        .with_skill("fs.copy", fs::Copy)
        .with_skill("fs.delete", fs::Delete)
        .with_skill("fs.hash", fs::Hash)
        .with_skill("fs.list", fs::List)
        .with_skill("fs.move", fs::Move)
        .with_skill("fs.read", fs::Read)
        .with_skill("fs.write", fs::Write)
        .with_skill("json.get", json::Get)
        .with_skill("json.parse", json::Parse)
        .with_skill("json.stringify", json::Stringify)
        .with_skill("regex.match", pattern::Match)
        .with_skill("text.render", template::Render)
        .with_skill("time.now", time::Now::new(clock))
}

trait WithSkill {
    fn with_skill(self, name: &str, skill: impl Skill + 'static) -> Self;
}

impl WithSkill for Handlers {
    fn with_skill(self, name: &str, skill: impl Skill + 'static) -> Self {
        self.with(name, Arc::new(Builtin(skill)))
    }
}
