//! On standard input and output, until the client goes.

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

/// Serves a session on standard input and output until the client closes its end. Nothing is half
/// done then: what was under way has come to its end or was taken back, and that is recorded.
/// Nothing else may write to standard output meanwhile.
///
/// # Errors
/// When the client did not begin as the protocol has it.
pub fn serve_stdio(door: &Door) -> BoxFuture<'_, Result<(), ServeError>> {
    Box::pin(async move {
        let served = serve(door).await;
        door.close().await;
        served
    })
}

async fn serve(door: &Door) -> Result<(), ServeError> {
    let running = match door.clone().serve(rmcp::transport::stdio()).await {
        Ok(running) => running,
        // Whoever looks whether we start, and goes again, has done nothing wrong.
        Err(ServerInitializeError::ConnectionClosed(_)) => return Ok(()),
        Err(error) => return Err(ServeError::Beginning(error.to_string())),
    };
    let waiting = running.waiting();
    tokio::select! {
        ended = waiting => match ended {
            Ok(_) => Ok(()),
            Err(error) => Err(ServeError::Task(error.to_string())),
        },
        () = door.watch() => Ok(()),
    }
}
