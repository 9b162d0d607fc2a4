//! The list: every builtin with its contract and its handler.

use std::collections::BTreeSet;
use std::sync::Arc;

use lictor_capability::{Contract, ContractError};
use lictor_context::{Clock, SystemClock};
use lictor_document::Source;
use lictor_executor::Handlers;

use crate::skill::{Builtin, Skill};
use crate::{archive, change, diff, encode, env, fs, json, pattern, table, template, time, yaml};

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
pub(crate) const CONTRACTS: [(&str, &str); 28] = embedded![
    "archive.unzip",
    "archive.zip",
    "base64.decode",
    "base64.encode",
    "change.apply",
    "csv.parse",
    "env.get",
    "fs.copy",
    "fs.delete",
    "fs.exists",
    "fs.glob",
    "fs.hash",
    "fs.list",
    "fs.mkdir",
    "fs.move",
    "fs.patch",
    "fs.read",
    "fs.search",
    "fs.write",
    "hash.text",
    "json.get",
    "json.parse",
    "json.stringify",
    "regex.match",
    "text.diff",
    "text.render",
    "time.now",
    "yaml.parse",
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
pub(crate) fn skills(settings: SkillSettings) -> [(&'static str, Box<dyn Skill>); 28] {
    let SkillSettings { clock, env_allow } = settings;
    [
        ("archive.unzip", Box::new(archive::Unzip)),
        ("archive.zip", Box::new(archive::Zip)),
        ("base64.decode", Box::new(encode::Decode)),
        ("base64.encode", Box::new(encode::Encode)),
        ("change.apply", Box::new(change::Apply)),
        ("csv.parse", Box::new(table::Parse)),
        ("env.get", Box::new(env::Get::new(env_allow))),
        ("fs.copy", Box::new(fs::Copy)),
        ("fs.delete", Box::new(fs::Delete)),
        ("fs.exists", Box::new(fs::Exists)),
        ("fs.glob", Box::new(fs::GlobNames)),
        ("fs.hash", Box::new(fs::Hash)),
        ("fs.list", Box::new(fs::List)),
        ("fs.mkdir", Box::new(fs::Mkdir)),
        ("fs.move", Box::new(fs::Move)),
        ("fs.patch", Box::new(fs::Patch)),
        ("fs.read", Box::new(fs::Read)),
        ("fs.search", Box::new(fs::Search)),
        ("fs.write", Box::new(fs::Write)),
        ("hash.text", Box::new(encode::HashText)),
        ("json.get", Box::new(json::Get)),
        ("json.parse", Box::new(json::Parse)),
        ("json.stringify", Box::new(json::Stringify)),
        ("regex.match", Box::new(pattern::Match)),
        ("text.diff", Box::new(diff::Diff)),
        ("text.render", Box::new(template::Render)),
        ("time.now", Box::new(time::Now::new(clock))),
        ("yaml.parse", Box::new(yaml::Parse)),
    ]
}
