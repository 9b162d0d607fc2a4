use async_trait::async_trait;
use lictor_capability::Effects;
use lictor_executor::{Granted, Handler, HandlerError, Request};
use serde_json::Value;

struct Spawns;

#[async_trait]
impl Handler for Spawns {
    fn describe(&self, _: Request<'_>) -> Result<Effects, HandlerError> {
        Ok(Effects::default())
    }

    async fn run(&self, granted: Granted<'_>) -> Result<Value, HandlerError> {
        tokio::spawn(async move { granted.input().is_null() });
        Ok(Value::Null)
    }
}

fn main() {}
