//! Content of other records than events, sealed under the key of a person: whoever is erased is
//! erased in these records as well, and in every copy of them.

use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use lictor_context::Name;
use lictor_store::Store;

use super::{NONCE_LEN, SubjectError, SubjectKey, Subjects};
use crate::trail::AuditLog;

/// Goes before what the ciphertext is bound to.
const BOUND: &str = "lictor/content/v1";
/// The length of a key's id in hex digits.
const ID_LEN: usize = 32;

/// Content could not be sealed, or not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    /// The trail keeps no keys of persons.
    #[error("this trail seals nothing: it was opened without a folder for the keys of persons")]
    NotSealing,
    /// The key it was sealed under is gone.
    #[error("it was erased with its person: the key `{key}` is destroyed")]
    Erased {
        /// Which key.
        key: String,
    },
    /// It is not what was sealed for this purpose.
    #[error("what was sealed is damaged, or was sealed for something else")]
    Damaged,
    /// The keys of persons could not be read.
    #[error(transparent)]
    Key(#[from] SubjectError),
    /// The system gave no random bytes, or refused to encrypt.
    #[error("the system gave no random bytes, or refused to encrypt")]
    NotSealed,
}

impl AuditLog<Store> {
    /// Seals content of a record that is kept beside the trail. Only who has the key of this person
    /// can open it, for the same `purpose` (what it belongs to) and in the same log.
    ///
    /// # Errors
    /// When there are no keys of persons, or this one cannot be had.
    pub fn seal_content(
        &self,
        (org, user): (&Name, &Name),
        purpose: &str,
        content: &[u8],
    ) -> Result<Vec<u8>, ContentError> {
        let key = self.subjects()?.key(org, user)?;
        let mut nonce = [0; NONCE_LEN];
        getrandom::fill(&mut nonce).map_err(|_| ContentError::NotSealed)?;
        let bound = self.bound_to(org, purpose);
        let payload = Payload { msg: content, aad: bound.as_bytes() };
        let encrypted = cipher(&key).encrypt(&XNonce::from(nonce), payload);
        let encrypted = encrypted.map_err(|_| ContentError::NotSealed)?;
        Ok([key.id().as_bytes(), nonce.as_slice(), &encrypted].concat())
    }

    /// Opens what [`seal_content`](Self::seal_content) sealed.
    ///
    /// # Errors
    /// When the person was erased since, or it is not what was sealed.
    pub fn open_content(
        &self,
        (org, user): (&Name, &Name),
        purpose: &str,
        sealed: &[u8],
    ) -> Result<Vec<u8>, ContentError> {
        let (id, rest) = sealed.split_first_chunk::<ID_LEN>().ok_or(ContentError::Damaged)?;
        let (nonce, encrypted) =
            rest.split_first_chunk::<NONCE_LEN>().ok_or(ContentError::Damaged)?;
        let id = std::str::from_utf8(id).map_err(|_| ContentError::Damaged)?;
        let key = self.subjects()?.existing(org, user)?.filter(|key| key.id() == id);
        let key = key.ok_or_else(|| ContentError::Erased { key: id.to_owned() })?;
        let bound = self.bound_to(org, purpose);
        let payload = Payload { msg: encrypted, aad: bound.as_bytes() };
        cipher(&key).decrypt(&XNonce::from(*nonce), payload).map_err(|_| ContentError::Damaged)
    }

    fn subjects(&self) -> Result<&Subjects, ContentError> {
        self.inner.maker.subjects().ok_or(ContentError::NotSealing)
    }

    fn bound_to(&self, org: &Name, purpose: &str) -> String {
        format!("{BOUND}\n{}\n{purpose}", self.origin(org))
    }
}

fn cipher(key: &SubjectKey) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(key.bytes().into())
}
