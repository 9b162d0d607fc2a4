//! Over HTTP: whoever has a token is served, each principal apart from every other.

mod front; // connections, and who may come in
mod keeper; // whose token it is
mod rooms; // a session for each principal

use std::net::SocketAddr;

pub use front::HttpServer;
pub use keeper::{Keeper, RegisteredClients, WeakToken};
pub use rooms::{HttpTerms, McpService, Serving};

/// The path at which the protocol is spoken.
pub const ENDPOINT: &str = "/mcp";
/// The most that one request may hold, in bytes.
const MAX_BODY: usize = 4 << 20;

/// Where a server listens, and under which names.
#[derive(Debug, Clone)]
pub struct HttpOptions {
    /// Where; the port 0 stands for any that is free.
    pub address: SocketAddr,
    /// Whether that may be reached from other machines. Without it an address that is not this
    /// machine's own is refused.
    pub remote: bool,
    /// Names under which clients may know the server, beside those of this machine for itself. A
    /// request that names another host is refused, and so is one from a page of another origin.
    pub hosts: Vec<String>,
    /// The most that one request may hold, in bytes.
    pub max_body: usize,
}

impl HttpOptions {
    /// On an address of this machine.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        Self { address, remote: false, hosts: Vec::new(), max_body: MAX_BODY }
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
        let ip = self.address.ip();
        if !ip.is_loopback() && !ip.is_unspecified() {
            names.push(ip.to_string());
        }
        names.extend(self.hosts.iter().cloned());
        names
    }

    fn origins(&self) -> Vec<String> {
        let of = |name: &String| {
            let name = if name.contains(':') { format!("[{name}]") } else { name.clone() };
            ["http", "https"].map(|scheme| format!("{scheme}://{name}:*"))
        };
        self.names().iter().flat_map(of).collect()
    }
}

/// A server could not be begun.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// Others than this machine could reach it, and nobody said that they may.
    #[error("`{0}` can be reached from other machines, and that has to be allowed on purpose")]
    Remote(SocketAddr),
    /// The address is not to be had.
    #[error("`{address}` cannot be listened on")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}
