//! The command line of `mcp`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::args::DryRun;

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
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Serve {
    /// Only these capabilities; `fs.*` stands for all that begin so. May be given several times.
    #[arg(long, value_name = "ID")]
    pub(crate) only: Vec<String>,
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
