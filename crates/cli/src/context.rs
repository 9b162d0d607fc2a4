//! Where a verb works and who asks.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use lictor::context::{Name, Principal, Session, SessionId, SystemClock, Usage};
use lictor::{Agent, OpenError, PolicyPlaces, Records, Runtime, RuntimeOptions};

use crate::args::Global;
use crate::failure::Failure;
use crate::output::{Output, holds_secret};

/// The workspace and the principal of a call.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) workspace: PathBuf,
    pub(crate) global: Global,
    pub(crate) principal: Principal,
    /// The user of the operating system, whatever name was given: who sits at the terminal.
    pub(crate) os_user: Name,
    /// What was opened for the verb, whose sessions end with it.
    runtimes: Mutex<Vec<Runtime>>,
    /// The MCP servers that can be started; closed when the verb is done.
    #[cfg(feature = "mcp")]
    pub(crate) upstreams: lictor_mcp::Upstreams,
    /// What configurations say that servers get.
    #[cfg(feature = "mcp")]
    pub(crate) given: std::sync::Arc<crate::upstreams::Given>,
}

#[expect(clippy::disallowed_methods, reason = "a door reads the environment, nobody else")]
fn env(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// An environment variable as text.
pub(crate) fn env_text(name: &str) -> Option<String> {
    env(name).and_then(|value| value.into_string().ok())
}

impl Context {
    pub(crate) fn new(global: Global) -> Result<Self, Failure> {
        let name = |text: &str| {
            no_secret(text)?;
            Name::parse(text).map_err(|error| Failure::usage(error.to_string()))
        };
        let os_user = os_user();
        let user = global.user.as_ref().unwrap_or(&os_user);
        let principal =
            Principal { org: name(&global.org)?, user: name(user)?, agent: name(&global.agent)? };
        let workspace = match &global.workspace {
            Some(given) => given.clone(),
            None => nearest()?,
        };
        #[cfg(feature = "mcp")]
        let given = std::sync::Arc::<crate::upstreams::Given>::default();
        Ok(Self {
            #[cfg(feature = "mcp")]
            upstreams: crate::upstreams::of(&workspace, std::sync::Arc::clone(&given)),
            #[cfg(feature = "mcp")]
            given,
            workspace,
            runtimes: Mutex::default(),
            principal,
            os_user: name(&os_user)?,
            global,
        })
    }

    pub(crate) fn session(&self) -> Result<Session, Failure> {
        self.session_of(self.principal.clone())
    }

    /// The session, when somebody else asks in it.
    pub(crate) fn session_of(&self, principal: Principal) -> Result<Session, Failure> {
        match &self.global.session {
            None => Ok(Session::new(principal, &SystemClock)),
            Some(id) => {
                no_secret(id)?;
                let id = SessionId::parse(id).map_err(|error| Failure::usage(error.to_string()))?;
                Ok(Session::resume(id, principal))
            }
        }
    }

    pub(crate) fn options(&self) -> Result<RuntimeOptions, Failure> {
        let mut options = RuntimeOptions::new(&self.workspace, keys_folder()?);
        options.state_dir.clone_from(&self.global.state_dir);
        options.policies = PolicyPlaces {
            managed: Some(PathBuf::from("/etc/lictor/policy.yaml")),
            user: config_folder().map(|folder| folder.join("policy.yaml")),
            user_home: passwd(5).map(|home| PathBuf::from(home).join(".config/lictor/policy.yaml")),
        };
        options.launcher = std::env::current_exe().ok().map(lictor::handlers::Launcher::new);
        options.declared_secrets = secrets();
        #[cfg(feature = "mcp")]
        options.handlers.push(std::sync::Arc::new(self.upstreams.clone()));
        options.ca_file = env("LICTOR_CA_FILE").map(PathBuf::from);
        options.holder = format!("{}/{} by lictor", self.principal.user, self.principal.agent);
        Ok(options)
    }

    pub(crate) async fn runtime(&self) -> Result<Runtime, Failure> {
        Ok(self.opened().await??)
    }

    async fn opened(&self) -> Result<Result<Runtime, OpenError>, Failure> {
        let runtime = match Runtime::open(self.options()?).await {
            Ok(runtime) => runtime,
            Err(error) => return Ok(Err(error)),
        };
        self.runtimes.lock().unwrap_or_else(PoisonError::into_inner).push(runtime.clone());
        #[cfg(feature = "mcp")]
        self.upstreams.reach_by(runtime.requests()?);
        Ok(Ok(runtime))
    }

    /// What was done here, to read. What keeps everything else from being done is no reason not to: then more
    /// than ever somebody wants to know what was.
    pub(crate) async fn records(&self, output: &Output) -> Result<Records, Failure> {
        let error = match self.opened().await? {
            Ok(runtime) => return Ok(runtime.records()),
            Err(error) => error,
        };
        let only_read = matches!(
            error,
            OpenError::Policy(_)
                | OpenError::PolicyFile { .. }
                | OpenError::PolicyGone(_)
                | OpenError::TwoUserPolicies(..)
                | OpenError::Recovery(_)
        );
        let failure = Failure::from(error);
        if !only_read {
            return Err(failure);
        }
        let why = &failure.message;
        output.note(&format!("what was done is only read, since nothing can be done: {why}"));
        Ok(Records::open(&self.options()?)?)
    }

    /// Ends the sessions of the verb, which is done.
    pub(crate) async fn end(&self) {
        let runtimes =
            std::mem::take(&mut *self.runtimes.lock().unwrap_or_else(PoisonError::into_inner));
        for runtime in runtimes {
            if let Err(error) = runtime.end_sessions().await {
                tracing::warn!(%error, "the end of the session could not be recorded");
            }
        }
    }

    /// Who asks, once: the session ends with what a verb asks for.
    pub(crate) async fn agent(&self) -> Result<Agent, Failure> {
        let (cost, tokens) = (self.global.spent_usd, self.global.spent_tokens);
        let usage = Usage::new(cost.unwrap_or(0.0), tokens.unwrap_or(0))
            .map_err(|error| Failure::usage(error.to_string()))?;
        let (runtime, session) = (self.runtime().await?, self.session()?);
        #[cfg(feature = "mcp")]
        let session = {
            // What people let in is connected for whoever asks here.
            let mcp_servers = crate::upstreams::let_in(&runtime);
            let profile = session.profile().clone();
            session.with_profile(lictor::context::AgentProfile { mcp_servers, ..profile })
        };
        Ok(runtime.agent(&session).with_usage(usage).ending())
    }
}

/// Refuses a name that holds a declared secret.
fn no_secret(name: &str) -> Result<(), Failure> {
    if holds_secret(name) {
        return Err(Failure::usage("a name holds a declared secret, and names are kept in clear"));
    }
    Ok(())
}

/// The secrets that were declared: the values of `LICTOR_SECRET_…`, and the tokens of approvers and clients.
pub(crate) fn secrets() -> Vec<String> {
    let declared = std::env::vars_os().filter_map(|(name, value)| {
        let name = name.into_string().ok()?;
        let secret = name.starts_with("LICTOR_SECRET_")
            || ["LICTOR_APPROVER_TOKEN", "LICTOR_CLIENT_TOKEN"].contains(&name.as_str());
        value.into_string().ok().filter(|_| secret)
    });
    declared.collect()
}

/// The nearest folder upwards that is a workspace, else this one.
fn nearest() -> Result<PathBuf, Failure> {
    let here = std::env::current_dir()
        .map_err(|error| Failure::usage(format!("the current folder cannot be told: {error}")))?;
    let found = here.ancestors().find(|folder| folder.join(".lictor").is_dir());
    Ok(found.map_or_else(|| here.clone(), Path::to_path_buf))
}

/// Where the keys of this machine's user lie: outside of every workspace.
pub(crate) fn keys_folder() -> Result<PathBuf, Failure> {
    let state = env("XDG_STATE_HOME")
        .map(PathBuf::from)
        .or_else(|| home().map(|home| home.join(".local/state")));
    state
        .map(|state| state.join("lictor"))
        .ok_or_else(|| Failure::usage("the signing key has no place: set HOME or XDG_STATE_HOME"))
}

fn config_folder() -> Option<PathBuf> {
    config_home().map(|config| config.join("lictor"))
}

/// Where this user's programs keep what they are told.
pub(crate) fn config_home() -> Option<PathBuf> {
    env("XDG_CONFIG_HOME").map(PathBuf::from).or_else(|| home().map(|home| home.join(".config")))
}

/// The home of this user.
pub(crate) fn home() -> Option<PathBuf> {
    env("HOME").map(PathBuf::from)
}

/// The name of the user that this process runs as; what the environment says only where the
/// system does not.
fn os_user() -> String {
    let uid = || format!("uid-{}", rustix::process::getuid().as_raw());
    passwd(0).or_else(|| env_text("USER")).unwrap_or_else(uid)
}

/// A field of this user's line in the system's record: 0 the name, 5 the home.
fn passwd(field: usize) -> Option<String> {
    let uid = rustix::process::getuid().as_raw().to_string();
    let known = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let own = known.lines().find(|line| line.split(':').nth(2) == Some(uid.as_str()))?;
    own.split(':').nth(field).filter(|text| !text.is_empty()).map(str::to_owned)
}
