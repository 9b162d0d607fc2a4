//! Which clients there are, and where they keep their servers.

use std::path::{Path, PathBuf};

use clap::ValueEnum;

use super::wrapping::How;
use crate::context::{config_home, env_text, home};

/// A client whose files are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Client {
    /// Claude Code: `.mcp.json` of the project, `~/.claude.json`.
    ClaudeCode,
    /// Claude Desktop: `claude_desktop_config.json`.
    ClaudeDesktop,
    /// Cursor: `.cursor/mcp.json` of the project, `~/.cursor/mcp.json`.
    Cursor,
    /// VS Code: `.vscode/mcp.json` of the project, `mcp.json` of the user's profile.
    Vscode,
}

/// Whose files are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scope {
    /// Those of the workspace.
    Project,
    /// Those of the user, which count in all folders.
    User,
    /// Both.
    All,
}

/// Where a client keeps servers.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) client: Option<Client>,
    pub(crate) path: PathBuf,
    /// Whether it is the user's, and not the project's.
    of_user: bool,
}

impl Client {
    /// Its name, which is also that of the agent behind it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::ClaudeCode => "claude-code",
            Self::ClaudeDesktop => "claude-desktop",
            Self::Cursor => "cursor",
            Self::Vscode => "vscode",
        }
    }

    fn in_project(self) -> Option<&'static str> {
        match self {
            Self::ClaudeCode => Some(".mcp.json"),
            Self::ClaudeDesktop => None,
            Self::Cursor => Some(".cursor/mcp.json"),
            Self::Vscode => Some(".vscode/mcp.json"),
        }
    }

    fn of_user(self) -> Option<PathBuf> {
        let folder = |name: &str| Some(programs()?.join(name));
        match self {
            Self::ClaudeCode => {
                let own = env_text("CLAUDE_CONFIG_DIR").map(PathBuf::from);
                Some(own.or_else(home)?.join(".claude.json"))
            }
            Self::ClaudeDesktop => Some(folder("Claude")?.join("claude_desktop_config.json")),
            Self::Cursor => Some(home()?.join(".cursor/mcp.json")),
            Self::Vscode => Some(folder("Code")?.join("User/mcp.json")),
        }
    }
}

/// Where programs with windows keep what they are told.
fn programs() -> Option<PathBuf> {
    match cfg!(target_os = "macos") {
        true => Some(home()?.join("Library/Application Support")),
        false => config_home(),
    }
}

/// The places of these clients, of all unless some are named.
pub(crate) fn known(clients: &[Client], scope: Scope, root: &Path) -> Vec<Place> {
    let all = Client::value_variants().iter().copied();
    let mut places = Vec::new();
    for client in all.filter(|client| clients.is_empty() || clients.contains(client)) {
        let project = client.in_project().filter(|_| scope != Scope::User);
        let project = project.map(|path| (root.join(path), false));
        let user = client.of_user().filter(|_| scope != Scope::Project).map(|path| (path, true));
        let found = project.into_iter().chain(user);
        places.extend(found.map(|(path, of_user)| Place { client: Some(client), path, of_user }));
    }
    places
}

impl Place {
    /// A file of any client.
    pub(crate) fn file(path: PathBuf) -> Self {
        Self { client: None, path, of_user: true }
    }

    /// How servers are started from there. Files of a project are for everybody who has it, and hold no
    /// path of this machine.
    pub(crate) fn how(&self, lictor: &str, root: &Path) -> How {
        let workspace = match (self.of_user, self.client) {
            (true, _) | (false, None | Some(Client::ClaudeDesktop)) => {
                Some(root.display().to_string())
            }
            (false, Some(Client::Cursor | Client::Vscode)) => Some("${workspaceFolder}".to_owned()),
            // It starts servers in the project.
            (false, Some(Client::ClaudeCode)) => None,
        };
        How { lictor: lictor.to_owned(), workspace, agent: self.client.map(Client::name) }
    }
}
