//! SIGINT and SIGTERM: how whoever started a door tells it to end.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::failure::Failure;

/// Listens from now on. It resolves when we are told to end; who is told again while they put things in
/// order goes at once, as if killed, and what is half done then is taken up by whoever comes next.
pub(crate) fn to_end() -> Result<impl Future<Output = ()> + Send + 'static, Failure> {
    let (mut interrupt, mut end) =
        (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    Ok(async move {
        either(&mut interrupt, &mut end).await;
        tokio::spawn(async move {
            let number = either(&mut interrupt, &mut end).await;
            // As a shell tells of a program that a signal killed.
            std::process::exit(128 + number.as_raw_value());
        });
    })
}

fn listen(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(Failure::failed)
}

/// Which of them came.
async fn either(interrupt: &mut Signal, end: &mut Signal) -> SignalKind {
    tokio::select! {
        _ = interrupt.recv() => SignalKind::interrupt(),
        _ = end.recv() => SignalKind::terminate(),
    }
}
