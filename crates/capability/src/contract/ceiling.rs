//! The most that a capability may do.

use std::fmt;
use std::sync::OnceLock;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use serde::{Deserialize, Serialize};

use crate::effects::{Effect, EffectKind};
use crate::host::{HostNumber, as_compared, host_spelling};

/// What stands for the program that the input names, whichever it is.
pub(super) const ANY: &str = "{input}";

/// The effects that a contract declares. The default is none.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EffectCeiling {
    /// Files.
    pub fs: FsCeiling,
    /// Hosts, `host` or `host:port`; `*` stands for any characters. Addresses are not patterns: each is
    /// one, however it is spelled (`[::1]`, `[0:0:0:0:0:0:0:1]:8080`, `127.0.0.1`).
    pub net: Vec<String>,
    /// Programs, as commands name them; `{input}` stands for the one that the input names.
    pub process: Vec<String>,
    #[serde(skip)]
    compiled: OnceLock<Result<Compiled, String>>,
}

/// The file effects that a contract declares, as globs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FsCeiling {
    /// What may be read.
    pub read: Vec<String>,
    /// What may be written.
    pub write: Vec<String>,
    /// What may be deleted.
    pub delete: Vec<String>,
}

#[derive(Clone)]
struct Compiled {
    read: GlobSet,
    write: GlobSet,
    delete: GlobSet,
    net: GlobSet,
}

impl EffectCeiling {
    /// Whether an effect is within the ceiling. Tools of MCP servers are named by the handler, so
    /// they always are.
    #[must_use]
    pub fn admits(&self, effect: Effect<'_>) -> bool {
        let Ok(compiled) = self.compiled() else { return false };
        match effect.kind {
            EffectKind::FsRead => compiled.read.is_match(effect.target),
            EffectKind::FsWrite => compiled.write.is_match(effect.target),
            EffectKind::FsDelete => compiled.delete.is_match(effect.target),
            EffectKind::Net => compiled.net.is_match(as_compared(effect.target)),
            EffectKind::Process => {
                self.process.iter().any(|name| name == ANY || name == effect.target)
            }
            EffectKind::Mcp => true,
        }
    }

    /// Whether it declares any reading.
    #[must_use]
    pub fn reads_anything(&self) -> bool {
        !self.fs.read.is_empty()
    }

    /// Whether everything that is a glob in it is one.
    ///
    /// # Errors
    /// Which is not.
    pub fn check(&self) -> Result<(), String> {
        self.compiled().map(|_| ()).map_err(Clone::clone)
    }

    fn compiled(&self) -> Result<&Compiled, &String> {
        let compiled = self.compiled.get_or_init(|| {
            Ok(Compiled {
                read: globs(&whole_folders(&self.fs.read), true)?,
                write: globs(&self.fs.write, true)?,
                delete: globs(&self.fs.delete, true)?,
                net: globs(&hosts(&self.net)?, false)?,
            })
        });
        compiled.as_ref()
    }
}

/// Reading a folder stands for reading what it holds: a glob for all of that is one for the folder.
fn whole_folders(patterns: &[String]) -> Vec<String> {
    let folders = patterns.iter().filter_map(|pattern| pattern.strip_suffix("/**"));
    patterns.iter().cloned().chain(folders.map(str::to_owned)).collect()
}

/// Hosts as they are compared, with addresses that are nothing but themselves.
fn hosts(patterns: &[String]) -> Result<Vec<String>, String> {
    let one = |pattern: &String| match HostNumber::parse(pattern) {
        Some(number) => Ok(globset::escape(&number.to_string())),
        None => host_spelling(pattern),
    };
    patterns.iter().map(one).collect()
}

fn globs(patterns: &[String], paths: bool) -> Result<GlobSet, String> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        let glob = GlobBuilder::new(pattern).literal_separator(paths).build();
        set.add(glob.map_err(|error| {
            format!("`{}` is not a glob: {}", pattern.escape_debug(), error.kind())
        })?);
    }
    set.build().map_err(|error| error.to_string())
}

impl PartialEq for EffectCeiling {
    fn eq(&self, other: &Self) -> bool {
        (&self.fs, &self.net, &self.process) == (&other.fs, &other.net, &other.process)
    }
}

impl fmt::Debug for EffectCeiling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EffectCeiling")
            .field("fs", &self.fs)
            .field("net", &self.net)
            .field("process", &self.process)
            .finish_non_exhaustive()
    }
}
