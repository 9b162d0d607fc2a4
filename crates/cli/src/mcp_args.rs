//! The command line of `mcp`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::args::DryRun;
use crate::clients::places::{Client, Scope};

/// What can be done with the Model Context Protocol.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Mcp {
    /// Serve this session's capabilities as tools, on standard input and output, or over HTTP.
    ///
    /// For the configuration of an MCP client; it runs until the client goes, or over HTTP until it
    /// is told to end. Nothing is ever asked on the terminal: what needs a person waits for
    /// `lictor approvals`. The agent is `mcp` unless named.
    Serve(Serve),
    /// The programs that may come in over HTTP, each with a token of its own.
    #[command(subcommand)]
    Clients(McpClients),
    /// Stand in place of an MCP server: the same tools under the same names, each call governed.
    ///
    /// For the configuration of an MCP client, before the server's own command. What nobody let in is not
    /// served: a person lets in the server and what it has (tools, prompts, resources, instructions) by
    /// `--approve-baseline`, at a terminal or with a token, and later what has changed.
    Wrap(Wrap),
    /// Stand in place of all MCP servers of a client's file, each call governed.
    ///
    /// Of several servers, each tool has its server's name before its own: `files__read_file`. They are
    /// started at once, and each by itself: one that does not begin, or ends, harms no other.
    Gateway(Gateway),
    /// Put the servers that your clients start behind Lictor: `mcp wrap` in place of each command.
    ///
    /// Shows each command whole and the difference, and asks. What stands beside a command in the file
    /// stays: names, variables, comments. What stood there is kept, and `--revert` brings it back.
    Import(Import),
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Import {
    /// Only the files of this client; of all unless given. May be given several times.
    #[arg(long, value_enum, value_name = "CLIENT")]
    pub(crate) client: Vec<Client>,
    /// Whose files.
    #[arg(long, value_enum, value_name = "SCOPE", default_value = "project")]
    pub(crate) scope: Scope,
    /// This file, of any client: JSON with `mcpServers` or `servers`.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["client", "scope"])]
    pub(crate) file: Option<PathBuf>,
    /// Only this server. May be given several times.
    #[arg(long, value_name = "NAME", conflicts_with = "revert")]
    pub(crate) server: Vec<String>,
    /// The command by which clients start Lictor.
    #[arg(long, value_name = "PROGRAM", default_value = "lictor", conflicts_with = "revert")]
    pub(crate) lictor: String,
    /// Write without asking.
    #[arg(long)]
    pub(crate) yes: bool,
    /// Bring back what stood in the files before they were changed last.
    #[arg(long)]
    pub(crate) revert: bool,
    /// Also where somebody changed a file since; what is there then is kept as a copy.
    #[arg(long, requires = "revert")]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) dry: DryRun,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Serve {
    /// Only these capabilities; `fs.*` stands for all that begin so. May be given several times.
    #[arg(long, value_name = "ID")]
    pub(crate) only: Vec<String>,
    #[command(flatten)]
    pub(crate) face: HttpFace,
}

/// Serving many clients over HTTP, in place of one on standard input and output.
#[derive(Debug, Clone, Args)]
pub(crate) struct HttpFace {
    /// Listen for clients here, `127.0.0.1:8420`, in place of standard input and output; port 0 takes
    /// one that is free. Who comes in shows the token of a client, and acts as that.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) http: Option<SocketAddr>,
    /// A file with a token of your own making for a client that acts as `--user` and `--agent`, in
    /// place of one that is made; `LICTOR_CLIENT_TOKEN` does the same.
    #[arg(long, value_name = "FILE", requires = "http")]
    pub(crate) client_token_file: Option<PathBuf>,
    /// Listen on an address that other machines can reach. What goes over it is not encrypted: put
    /// a proxy with TLS before it.
    #[arg(long, requires = "http")]
    pub(crate) allow_remote: bool,
    /// Another name under which clients know this server. May be given several times.
    #[arg(long, value_name = "NAME", requires = "http")]
    pub(crate) host: Vec<String>,
}

/// What can be done with clients; whom a client acts as is said by `--org`, `--user` and `--agent`.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum McpClients {
    /// Those that there are and were.
    List,
    /// Let another one in. Its token is shown once.
    Add(DryRun),
    /// Take the token of one back, at once.
    Revoke(DryRun),
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Wrap {
    /// What the server is called here: letters, digits, `_`, `-` and `.`.
    pub(crate) name: String,
    /// Let in this way to start the server, and everything that it lists now: you are shown all of it,
    /// and prove who you are.
    #[arg(long)]
    pub(crate) approve_baseline: bool,
    /// With `--approve-baseline`: only this tool. May be given several times.
    #[arg(long, value_name = "TOOL", requires = "approve_baseline")]
    pub(crate) tool: Vec<String>,
    /// The URL of a server that is reached over HTTP, in place of a command. `--set` and `--secret` name
    /// headers then; a secret for `Authorization` gets `Bearer` before it, unless it names a scheme.
    #[arg(long, value_name = "URL", conflicts_with_all = ["env", "cwd", "files", "command"])]
    pub(crate) url: Option<String>,
    /// A variable of this environment that the server gets, beside the usual few. May be given several
    /// times.
    #[arg(long, value_name = "NAME")]
    pub(crate) env: Vec<String>,
    /// A variable that the server gets with a text; in it and in arguments, `{workspace}` is the folder
    /// that it works in.
    #[arg(long, value_name = "NAME=TEXT")]
    pub(crate) set: Vec<String>,
    /// A variable that the server gets with a secret, looked up when it is started:
    /// `LICTOR_SECRET_<SECRET>`.
    #[arg(long, value_name = "NAME=SECRET")]
    pub(crate) secret: Vec<String>,
    /// The folder that the server begins in, relative to the workspace, which it is unless given.
    #[arg(long, value_name = "DIR")]
    pub(crate) cwd: Option<String>,
    /// The server works on files of the workspace. It gets a copy of them to work in, and what it changes
    /// there lands by itself: judged, and undone by `lictor undo`.
    #[arg(long)]
    pub(crate) files: bool,
    #[command(flatten)]
    pub(crate) face: HttpFace,
    #[command(flatten)]
    pub(crate) dry: DryRun,
    /// The server's own command, after `--`. Without one, the one that was proposed last.
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Gateway {
    /// The file: JSON with `mcpServers` or `servers`, as clients have it; comments and trailing commas
    /// are taken. A server may say `"workspace": true`, as `--files` of `mcp wrap` does, and
    /// `"secrets": {"NAME": "SECRET"}`.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// Let in these ways to start the servers, and everything that they list now: you are shown all of
    /// it, and prove who you are.
    #[arg(long)]
    pub(crate) approve_baseline: bool,
    #[command(flatten)]
    pub(crate) face: HttpFace,
    #[command(flatten)]
    pub(crate) dry: DryRun,
}
