//! The command line of `mcp`.

use clap::{Args, Subcommand};

/// What can be done with the Model Context Protocol.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Mcp {
    /// Serve this session's capabilities as tools, on standard input and output.
    ///
    /// For the configuration of an MCP client; it runs until the client goes. Nothing is ever asked on
    /// the terminal: what needs a person waits for `lictor approvals`. The agent is `mcp` unless named.
    Serve(Serve),
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Serve {
    /// Only these capabilities; `fs.*` stands for all that begin so. May be given several times.
    #[arg(long, value_name = "ID")]
    pub(crate) only: Vec<String>,
}
