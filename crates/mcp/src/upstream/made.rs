//! Handlers that were made. A contract that says the same has the same one, so that no call has what was
//! let in, schemas and all, copied for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use lictor::capability::Contract;
use lictor::context::Digest;
use lictor::executor::Handler;

/// So many are kept; servers that say something else again and again do not fill the memory.
const MOST: usize = 4_096;

/// The handlers, by the digests of their contracts. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Made(Arc<Mutex<HashMap<Digest, Arc<dyn Handler>>>>);

impl Made {
    /// The handler of a contract, made when there is none yet.
    pub(super) fn of(
        &self,
        contract: &Contract,
        make: impl FnOnce() -> Arc<dyn Handler>,
    ) -> Arc<dyn Handler> {
        // INVARIANT: a digest is that of everything that a contract says, and handlers are made of
        // nothing else, so what is found here is what would be made.
        let digest = contract.digest();
        // Every change is one step.
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = made.get(&digest) {
            return Arc::clone(known);
        }
        if made.len() >= MOST {
            made.clear();
        }
        let handler = make();
        made.insert(digest, Arc::clone(&handler));
        handler
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::path::Path;

    use lictor::capability::import::from_mcp;
    use lictor::capability::{McpPart, McpServer};
    use lictor::document::Source;
    use lictor::executor::HandlerFactory as _;
    use lictor::handlers::NoSecrets;
    use serde_json::{Value, json};

    use super::*;
    use crate::upstream::{Surroundings, Upstreams};

    #[derive(Debug)]
    struct Nothing;

    impl Surroundings for Nothing {
        fn variable(&self, _: &str, _: &str) -> Option<OsString> {
            None
        }
    }

    fn tool(description: &str) -> Value {
        let schema = json!({ "type": "object" });
        json!({ "name": "echo", "description": description, "inputSchema": schema })
    }

    fn contract(server: &str, tool: &Value, risk: &str) -> Contract {
        let spec = json!({ "server": server, "command": ["x"] });
        let spec: McpServer = serde_json::from_value(spec).unwrap();
        let import = from_mcp(&spec, McpPart::Tool, std::slice::from_ref(tool));
        let mut contract = import.contracts.into_iter().next().unwrap().contract;
        contract["risk"] = json!(risk);
        let text = contract.to_string();
        Contract::from_yaml(&Source::new("c.yaml", text.as_bytes())).unwrap()
    }

    #[test]
    fn a_handler_is_that_of_a_contract_that_says_the_very_same() {
        let root = Path::new("/w");
        let upstreams =
            Upstreams::new(root, root.join("s"), Arc::new(Nothing), Arc::new(NoSecrets));
        let made = |contract: &Contract| upstreams.handler(contract).unwrap();
        let first = made(&contract("bench", &tool("Says it."), "low"));
        let again = made(&contract("bench", &tool("Says it."), "low"));
        assert!(Arc::ptr_eq(&first, &again));
        for other in [
            contract("bench", &tool("Says something else."), "low"),
            contract("bench", &tool("Says it."), "high"),
            contract("other", &tool("Says it."), "low"),
        ] {
            assert!(!Arc::ptr_eq(&first, &made(&other)), "{}", other.to_json());
        }
        assert!(Arc::ptr_eq(&first, &made(&contract("bench", &tool("Says it."), "low"))));
    }
}
