//! Where secrets come from, at the moment of their use.

use std::fmt;

/// Knows secrets by name. What it gives goes into the request and nowhere else.
pub trait SecretSource: Send + Sync + fmt::Debug {
    /// The secret of a name; `None` when there is none.
    fn secret(&self, name: &str) -> Option<String>;
}

/// Knows none.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoSecrets;

impl SecretSource for NoSecrets {
    fn secret(&self, _: &str) -> Option<String> {
        None
    }
}
