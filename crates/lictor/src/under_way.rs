//! What a runtime has under way: whoever ends the process in good order waits for it.

use lictor_executor::Begun;

use crate::runtime::Runtime;

impl Runtime {
    pub(crate) fn begin(&self) -> Begun {
        self.parts.executor.under_way().begin()
    }

    /// Waits until nothing that was begun is under way any more: what somebody waited for, and
    /// what is being taken back because nobody does.
    pub async fn at_rest(&self) {
        self.parts.executor.under_way().ended().await;
    }
}
