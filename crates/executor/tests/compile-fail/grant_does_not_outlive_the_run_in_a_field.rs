use std::sync::Mutex;

use async_trait::async_trait;
use lictor_capability::Effects;
use lictor_executor::{Granted, Handler, HandlerError, Request};
use serde_json::Value;

struct Keeps<'kept> {
    kept: Mutex<Option<Granted<'kept>>>,
}

#[async_trait]
impl Handler for Keeps<'_> {
    fn describe(&self, _: Request<'_>) -> Result<Effects, HandlerError> {
        Ok(Effects::default())
    }

    async fn run(&self, granted: Granted<'_>) -> Result<Value, HandlerError> {
        *self.kept.lock().unwrap() = Some(granted);
        Ok(Value::Null)
    }
}

fn main() {}
