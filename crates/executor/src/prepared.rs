//! What a handler makes ready before its run.

use std::any::Any;
use std::fmt;
use std::sync::{Mutex, PoisonError};

/// What [`Handler::prepare`](crate::Handler::prepare) made ready, on its way to the run.
pub struct Prepared(Box<dyn Any + Send>);

impl Prepared {
    /// Something of the handler's own.
    #[must_use]
    pub fn new<T: Any + Send>(ready: T) -> Self {
        Self(Box::new(ready))
    }
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Prepared(..)")
    }
}

/// Where a run finds it, once.
#[derive(Debug, Default)]
pub(crate) struct Ready(Mutex<Option<Prepared>>);

impl Ready {
    pub(crate) fn of(prepared: Option<Prepared>) -> Self {
        Self(Mutex::new(prepared))
    }

    pub(crate) fn take<T: Any>(&self) -> Option<T> {
        // Only an exchange happens under the lock, so a poisoned one holds a whole value.
        let ready = self.0.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        ready.0.downcast().ok().map(|ready| *ready)
    }
}
