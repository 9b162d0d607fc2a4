//! Requests of capabilities: whom TLS trusts, and which private hosts the policies name.

use std::fmt;
use std::sync::Arc;

use lictor_governance::WriteGate;
use lictor_handlers::{HttpHandlers, PrivateHosts};

use crate::options::{OpenError, RuntimeOptions};
use crate::runtime::Runtime;

/// The handlers of requests. A file of certificate authorities that is named and cannot be read
/// opens nothing: trusting others instead is not what was asked for.
pub(crate) fn handlers(
    options: &RuntimeOptions,
    gate: &Arc<WriteGate>,
) -> Result<HttpHandlers, OpenError> {
    let handlers = HttpHandlers::new(Arc::clone(&options.secrets))
        .with_private_hosts(Arc::new(NamedByPolicy { gate: Arc::clone(gate) }));
    let Some(path) = &options.ca_file else { return Ok(handlers) };
    let refused = |reason: String| OpenError::Certificates { path: path.clone(), reason };
    let pem = std::fs::read(path).map_err(|error| refused(error.to_string()))?;
    handlers.with_roots(&pem).map_err(|error| refused(error.to_string()))
}

impl Runtime {
    /// Requests as capabilities send them: whom TLS trusts, which private hosts the policies name. For
    /// handlers of the program's own that speak another protocol over HTTP.
    ///
    /// # Errors
    /// When the certificate authorities that were named cannot be read.
    pub fn requests(&self) -> Result<HttpHandlers, OpenError> {
        handlers(&self.parts.options, &self.parts.gate)
    }
}

/// The private hosts of the policies that hold at the moment.
struct NamedByPolicy {
    gate: Arc<WriteGate>,
}

impl PrivateHosts for NamedByPolicy {
    fn private_hosts(&self) -> Vec<String> {
        self.gate.policies().settings().private_hosts.clone()
    }
}

impl fmt::Debug for NamedByPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NamedByPolicy").finish_non_exhaustive()
    }
}
