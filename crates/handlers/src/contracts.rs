//! The contracts that this crate ships: what every workspace can ask for, and its policy judges.

use std::sync::Arc;

use lictor_capability::{Contract, ContractError};
use lictor_document::Source;

/// The contracts as they are written, by id.
const CONTRACTS: [(&str, &str); 3] = [
    ("http.get", include_str!("../contracts/http.get.yaml")),
    ("http.post", include_str!("../contracts/http.post.yaml")),
    ("process.run", include_str!("../contracts/process.run.yaml")),
];

/// The contracts over the handlers of this crate, sorted by id. Their schemas are compiled at first
/// use.
///
/// # Errors
/// Never, for the contracts that this crate ships; its tests read and compile every one.
pub fn contracts() -> Result<Vec<Arc<Contract>>, ContractError> {
    let read = |(id, text): &(&str, &str)| {
        let name = format!("builtin:{id}.yaml");
        Contract::from_yaml_lazily(&Source::new(&name, text.as_bytes())).map(Arc::new)
    };
    CONTRACTS.iter().map(read).collect()
}
