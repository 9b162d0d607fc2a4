//! What public functions that wait return.

use std::future::Future;
use std::pin::Pin;

/// A future on the heap, as functions return it whose way is long.
///
/// The body of an `async fn` is compiled by whoever awaits it: once more in each crate, with everything that
/// it awaits itself. Behind this type it is compiled once, in the crate where it is written.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
