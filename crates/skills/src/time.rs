//! `time.now`.

use std::sync::Arc;

use lictor_capability::{Effects, WorkspaceView};
use lictor_context::Clock;
use lictor_executor::HandlerError;
use serde_json::{Value, json};

use crate::skill::Skill;

pub(crate) struct Now {
    clock: Arc<dyn Clock>,
}

impl Now {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock }
    }
}

impl Skill for Now {
    fn output(&self, _: &Value, _: &Effects, _: &dyn WorkspaceView) -> Result<Value, HandlerError> {
        let now = self.clock.now();
        Ok(json!({ "time": now, "unix_ms": now.as_micros().div_euclid(1000) }))
    }
}
