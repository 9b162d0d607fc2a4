//! On standard input and output, until the client goes.

use std::pin::pin;

use lictor::context::BoxFuture;
use rmcp::ServiceExt as _;
use rmcp::service::ServerInitializeError;

use crate::door::Door;

/// A session could not be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The client did not begin as the protocol has it.
    #[error("the client did not begin as the protocol has it: {0}")]
    Beginning(String),
    /// The server's task ended in disorder.
    #[error("the server ended in disorder: {0}")]
    Task(String),
}

/// Serves a session on standard input and output until the client closes its end, or `until` resolves.
/// Nothing is half done then: what was under way has come to its end or was taken back, and that is
/// recorded. Nothing else may write to standard output meanwhile. Where it was `until` that ended it,
/// a thread still reads standard input, and a runtime of tokio would wait for it for ever: end with
/// `Runtime::shutdown_timeout`, or with the process.
///
/// # Errors
/// When the client did not begin as the protocol has it.
pub fn serve_stdio<'a>(
    door: &'a Door,
    until: impl Future<Output = ()> + Send + 'a,
) -> BoxFuture<'a, Result<(), ServeError>> {
    // Boxed, so that one body serves whatever may end it.
    let until: BoxFuture<'a, ()> = Box::pin(until);
    Box::pin(serve(door, until))
}

async fn serve(door: &Door, mut until: BoxFuture<'_, ()>) -> Result<(), ServeError> {
    let began = tokio::select! {
        began = door.clone().serve(rmcp::transport::stdio()) => match began {
            Ok(running) => Ok(Some(running)),
            // Whoever looks whether we start, and goes again, has done nothing wrong.
            Err(ServerInitializeError::ConnectionClosed(_)) => Ok(None),
            Err(error) => Err(ServeError::Beginning(error.to_string())),
        },
        () = &mut until => Ok(None),
    };
    let running = match began {
        Ok(Some(running)) => running,
        other => {
            door.close().await;
            return other.map(drop);
        }
    };
    let mut waiting = pin!(running.waiting());
    let served = tokio::select! {
        ended = &mut waiting => match ended {
            Ok(_) => Ok(()),
            Err(error) => Err(ServeError::Task(error.to_string())),
        },
        () = door.watch() => Ok(()),
        () = until => Ok(()),
    };
    // The protocol is spoken until then, so whoever waits for an answer may still get it.
    door.close().await;
    served
}
