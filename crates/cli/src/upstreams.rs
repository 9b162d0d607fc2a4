//! The MCP servers that this command can start, and what they get of its environment.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lictor::capability::HandlerSpec;
use lictor::{EnvironmentSecrets, Runtime};
use lictor_mcp::{Surroundings, Upstreams};

/// Gives a server what a configuration says for it, and else what this process has. Which variables,
/// its contract says.
#[derive(Debug, Default)]
pub(crate) struct Given {
    said: Mutex<BTreeMap<(String, String), OsString>>,
    headers: Mutex<BTreeMap<(String, String), String>>,
}

impl Given {
    fn said(&self) -> MutexGuard<'_, BTreeMap<(String, String), OsString>> {
        // Whole entries come and stay.
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A configuration says what a variable of a server holds. It goes nowhere else.
    pub(crate) fn say(&self, server: &str, name: &str, value: &str) {
        self.said().insert((server.to_owned(), name.to_owned()), value.into());
    }

    fn headers(&self) -> MutexGuard<'_, BTreeMap<(String, String), String>> {
        // Whole entries come and stay.
        self.headers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A configuration says what a header for a server holds. It goes nowhere else.
    pub(crate) fn say_header(&self, server: &str, name: &str, value: &str) {
        self.headers().insert((server.to_owned(), name.to_owned()), value.to_owned());
    }
}

impl Surroundings for Given {
    #[expect(clippy::disallowed_methods, reason = "a door reads the environment, nobody else")]
    fn variable(&self, server: &str, name: &str) -> Option<OsString> {
        let said = self.said().get(&(server.to_owned(), name.to_owned())).cloned();
        said.or_else(|| std::env::var_os(name))
    }

    fn header(&self, server: &str, name: &str) -> Option<String> {
        self.headers().get(&(server.to_owned(), name.to_owned())).cloned()
    }
}

/// Servers of a workspace.
pub(crate) fn of(workspace: &Path, given: Arc<Given>) -> Upstreams {
    let root = workspace.canonicalize().unwrap_or_else(|_| workspace.to_path_buf());
    let scratch = root.join(".lictor/servers");
    Upstreams::new(root, scratch, given, Arc::new(EnvironmentSecrets))
}

/// The servers that people let in.
pub(crate) fn let_in(runtime: &Runtime) -> Vec<String> {
    runtime.refresh_catalogue();
    let active = runtime.catalogue().active();
    let servers = active.iter().filter_map(|contract| match &contract.handler {
        HandlerSpec::McpServer(server) => Some(server.server.clone()),
        HandlerSpec::Builtin(_)
        | HandlerSpec::Command(_)
        | HandlerSpec::Http(_)
        | HandlerSpec::Mcp(_)
        | HandlerSpec::Workflow(_) => None,
    });
    servers.collect()
}
