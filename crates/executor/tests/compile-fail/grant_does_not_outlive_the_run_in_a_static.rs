use std::sync::Mutex;

use async_trait::async_trait;
use lictor_capability::Effects;
use lictor_executor::{Granted, Handler, HandlerError, Request};
use serde_json::Value;

static KEPT: Mutex<Option<Granted<'static>>> = Mutex::new(None);

struct Keeps;

#[async_trait]
impl Handler for Keeps {
    fn describe(&self, _: Request<'_>) -> Result<Effects, HandlerError> {
        Ok(Effects::default())
    }

    async fn run(&self, granted: Granted<'_>) -> Result<Value, HandlerError> {
        *KEPT.lock().unwrap() = Some(granted);
        Ok(Value::Null)
    }
}

fn main() {}
