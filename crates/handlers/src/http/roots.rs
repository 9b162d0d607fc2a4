//! Whom TLS trusts: the public certificate authorities, or those of a file and no others.

use std::sync::Arc;

use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

/// The text is no list of certificate authorities.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RootsError {
    /// It holds none.
    #[error("there is no certificate in it; PEM is accepted, `-----BEGIN CERTIFICATE-----`")]
    Empty,
    /// One of them cannot be read.
    #[error("the certificate number {0} in it cannot be read")]
    Unreadable(usize),
}

/// The certificate authorities that count.
#[derive(Debug, Clone)]
pub(super) struct Roots(RootCerts);

impl Roots {
    /// The public ones, as the program carries them.
    pub(super) const fn public() -> Self {
        Self(RootCerts::WebPki)
    }

    pub(super) fn of(pem: &[u8]) -> Result<Self, RootsError> {
        let mut found: Vec<Certificate<'static>> = Vec::new();
        for item in parse_pem(pem) {
            match item {
                Ok(PemItem::Certificate(certificate)) => found.push(certificate),
                // A key has no business there, and does no harm.
                Ok(_) => {}
                Err(_) => return Err(RootsError::Unreadable(found.len() + 1)),
            }
        }
        if found.is_empty() {
            return Err(RootsError::Empty);
        }
        Ok(Self(RootCerts::Specific(Arc::new(found))))
    }

    pub(super) fn tls(&self) -> TlsConfig {
        TlsConfig::builder().root_certs(self.0.clone()).build()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_certificates_is_refused_and_not_taken_for_no_file() {
        assert_eq!(Roots::of(b"").unwrap_err(), RootsError::Empty);
        assert_eq!(Roots::of(b"no certificate\n").unwrap_err(), RootsError::Empty);
        let broken = b"-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----\n";
        assert_eq!(Roots::of(broken).unwrap_err(), RootsError::Unreadable(1));
    }
}
