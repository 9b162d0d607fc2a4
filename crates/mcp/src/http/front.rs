//! The front: connections come in, and whoever has a token gets to their room.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use lictor::context::{BoxFuture, Principal};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::http::keeper::Keeper;
use crate::http::rooms::{Furnish, Rooms, Serving};
use crate::http::{ENDPOINT, HttpError, HttpOptions};

/// How long a client may take to say what it wants, and stay without a word between two wants.
const HEAD: Duration = Duration::from_secs(30);
/// So many connections at a time; more wait at the door.
const MAX_CONNECTIONS: usize = 256;

pub(super) type Answer = Response<BoxBody<Bytes, Infallible>>;

/// A server that listens, and serves nobody yet.
pub struct HttpServer {
    listener: TcpListener,
    address: SocketAddr,
    front: Arc<Front>,
}

impl std::fmt::Debug for HttpServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpServer").field("address", &self.address).finish_non_exhaustive()
    }
}

impl HttpServer {
    /// Listens. Whoever comes in with a token that the keeper knows is served what is furnished for
    /// their principal, when they first come.
    ///
    /// # Errors
    /// When the address is not to be had, or is not this machine's own and that was not allowed.
    pub fn bind<S: Serving>(
        options: &HttpOptions,
        keeper: Arc<dyn Keeper>,
        furnish: impl Fn(&Principal) -> S + Send + Sync + 'static,
    ) -> BoxFuture<'_, Result<Self, HttpError>> {
        Self::listen(options, keeper, Box::new(move |principal| Arc::new(furnish(principal))))
    }

    fn listen(
        options: &HttpOptions,
        keeper: Arc<dyn Keeper>,
        furnish: Furnish,
    ) -> BoxFuture<'_, Result<Self, HttpError>> {
        Box::pin(async move {
            let address = options.address;
            if !address.ip().is_loopback() && !options.remote {
                return Err(HttpError::Remote(address));
            }
            let listening = async {
                let listener = TcpListener::bind(address).await?;
                let address = listener.local_addr()?;
                Ok((listener, address))
            };
            let (listener, address) =
                listening.await.map_err(|source| HttpError::Listen { address, source })?;
            let front = Arc::new(Front { keeper, rooms: Rooms::new(options, furnish) });
            Ok(Self { listener, address, front })
        })
    }

    /// Where the protocol is spoken.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}{ENDPOINT}", self.address)
    }

    /// Serves until that comes about. Nothing is half done then: what was under way has come to its
    /// end or was taken back, and that is recorded.
    pub fn run<'a>(self, until: impl Future<Output = ()> + Send + 'a) -> BoxFuture<'a, ()> {
        self.run_until(Box::pin(until))
    }

    fn run_until<'a>(self, mut until: BoxFuture<'a, ()>) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let Self { listener, front, .. } = self;
            let free = Arc::new(Semaphore::new(MAX_CONNECTIONS));
            let mut connections = JoinSet::new();
            loop {
                let next = async {
                    // Never closed.
                    let permit = Arc::clone(&free).acquire_owned().await.ok();
                    (permit, listener.accept().await)
                };
                let (permit, accepted) = tokio::select! {
                    biased;
                    () = &mut until => break,
                    Some(_) = connections.join_next() => continue,
                    next = next => next,
                };
                match accepted {
                    Ok((stream, _)) => {
                        let front = Arc::clone(&front);
                        connections.spawn(async move {
                            front.connection(stream).await;
                            drop(permit);
                        });
                    }
                    Err(error) => {
                        // Of this client, or for want of handles: others may have better luck.
                        tracing::warn!(%error, "a connection was not accepted");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                }
            }
            drop(listener);
            front.rooms.close().await;
            connections.shutdown().await;
        })
    }
}

struct Front {
    keeper: Arc<dyn Keeper>,
    rooms: Rooms,
}

impl Front {
    async fn connection(self: Arc<Self>, stream: TcpStream) {
        let service = service_fn(move |request| {
            let front = Arc::clone(&self);
            async move { Ok::<_, Infallible>(front.answer(request).await) }
        });
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(HEAD);
        if let Err(error) = builder.serve_connection(TokioIo::new(stream), service).await {
            tracing::debug!(%error, "a connection ended in disorder");
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Answer {
        if request.uri().path() != ENDPOINT {
            return said(StatusCode::NOT_FOUND, "there is nothing here; the protocol is at /mcp");
        }
        match self.keeper.principal(bearer(&request)) {
            Ok(Some(principal)) => self.rooms.of(&principal).answer(request).await,
            Ok(None) => {
                let mut answer = said(
                    StatusCode::UNAUTHORIZED,
                    "a token is needed: `Authorization: Bearer lct_...`",
                );
                let asks = hyper::header::HeaderValue::from_static("Bearer realm=\"lictor\"");
                answer.headers_mut().insert(WWW_AUTHENTICATE, asks);
                answer
            }
            Err(error) => {
                tracing::error!(%error, "it cannot be told who asks");
                said(StatusCode::SERVICE_UNAVAILABLE, "it cannot be told who asks")
            }
        }
    }
}

/// The token that came along.
fn bearer<B>(request: &Request<B>) -> Option<&str> {
    let given = request.headers().get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = given.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

fn said(status: StatusCode, text: &'static str) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from_static(text.as_bytes())).boxed());
    *answer.status_mut() = status;
    answer
}
