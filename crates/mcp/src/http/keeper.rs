//! Whose token it is.

use lictor::Runtime;
use lictor::context::{Digest, Principal};
use lictor::governance::ClientError;
use subtle::ConstantTimeEq as _;

/// A token that was given from outside is no shorter: who can guess it comes in.
const SHORTEST: usize = 32;

/// Knows as whom the bearer of a token asks.
pub trait Keeper: Send + Sync + 'static {
    /// The principal; none when the token is nobody's, or there is none.
    ///
    /// # Errors
    /// When it cannot be found out; then nobody is let in.
    fn principal(&self, token: Option<&str>) -> Result<Option<Principal>, ClientError>;
}

/// The clients that a workspace knows, and one whose token was given from outside.
#[derive(Debug, Clone)]
pub struct RegisteredClients {
    runtime: Runtime,
    given: Option<(Digest, Principal)>,
}

/// A token is too short to be a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a client's token has {SHORTEST} characters at least, and no blanks")]
pub struct WeakToken;

impl RegisteredClients {
    /// The clients that a workspace knows.
    #[must_use]
    pub fn new(runtime: Runtime) -> Self {
        Self { runtime, given: None }
    }

    /// And one that comes in by a token of somebody else's making, which is kept nowhere.
    ///
    /// # Errors
    /// When it is too short to be a secret.
    pub fn with_given(mut self, principal: Principal, token: &str) -> Result<Self, WeakToken> {
        if token.len() < SHORTEST || token.contains(|one: char| !one.is_ascii_graphic()) {
            return Err(WeakToken);
        }
        self.given = Some((Digest::of(token.as_bytes()), principal));
        Ok(self)
    }
}

impl Keeper for RegisteredClients {
    fn principal(&self, token: Option<&str>) -> Result<Option<Principal>, ClientError> {
        let Some(token) = token else { return Ok(None) };
        let digest = Digest::of(token.as_bytes());
        let given = self.given.as_ref();
        let given = given.filter(|(kept, _)| kept.as_bytes().ct_eq(digest.as_bytes()).into());
        if let Some((_, principal)) = given {
            return Ok(Some(principal.clone()));
        }
        match self.runtime.clients().authenticate(token) {
            Ok(principal) => Ok(Some(principal)),
            Err(ClientError::NotRecognised) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
