//! Reads certificates, keys and roots out of PEM. Says which source is wrong and why; must never say what is in a key.

use std::fs::File;
use std::io::{self, Read};

use rustls::RootCertStore;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::system;
use crate::config::{PemSource, TlsIdentity};
use crate::limits::TLS_PEM_BYTES_MAX;

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error("cannot read {source_name}: {error}")]
    Read { source_name: String, error: io::Error },
    #[error("{0} is larger than {TLS_PEM_BYTES_MAX} bytes")]
    TooLarge(String),
    #[error("{0} is not PEM")]
    NotPem(String),
    #[error("there is no certificate in {0}")]
    NoCertificate(String),
    #[error("there is no private key in {0} (PKCS#8, PKCS#1 or SEC1; one with a passphrase cannot be used)")]
    NoKey(String),
    #[error("the certificate of {certificate} and the key of {key} do not go together")]
    Mismatch { certificate: String, key: String },
    #[error("the certificate of {certificate} and the key of {key} cannot be used: {error}")]
    Identity { certificate: String, key: String, error: rustls::Error },
    #[error("no certificate of {0} can be used as a CA")]
    NoCa(String),
    #[error("{0:?} is no name or address that a certificate could have")]
    ServerName(String),
    #[error("the oldest TLS version allowed is newer than the newest")]
    Versions,
    #[error("{0}")]
    Rustls(#[from] rustls::Error),
    #[error("client certificates cannot be verified: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

impl TlsError {
    /// What rustls says about a certificate and its key, with where they are.
    pub(super) fn identity(identity: &TlsIdentity, error: rustls::Error) -> Self {
        let (certificate, key) = (identity.certificate.to_string(), identity.key.to_string());
        match error {
            rustls::Error::InconsistentKeys(_) => Self::Mismatch { certificate, key },
            error => Self::Identity { certificate, key, error },
        }
    }
}

/// The text of a source, bounded.
pub(super) fn read(source: &PemSource) -> Result<Vec<u8>, TlsError> {
    let path = match source {
        PemSource::Inline(text) => return Ok(text.clone()),
        PemSource::File(path) => path,
    };
    let error = |error| TlsError::Read { source_name: source.to_string(), error };
    // Opening a pipe would wait for somebody who writes into it.
    if !std::fs::metadata(path).map_err(error)?.is_file() {
        return Err(error(io::Error::other("not a regular file")));
    }
    let mut text = Vec::new();
    let file = File::open(path).map_err(error)?;
    file.take(TLS_PEM_BYTES_MAX + 1).read_to_end(&mut text).map_err(error)?;
    if u64::try_from(text.len()).unwrap_or(u64::MAX) > TLS_PEM_BYTES_MAX {
        return Err(TlsError::TooLarge(source.to_string()));
    }
    Ok(text)
}

/// All certificates of a source; at least one.
pub(super) fn certificates(source: &PemSource) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read(source)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let found = found.map_err(|_| TlsError::NotPem(source.to_string()))?;
    if found.is_empty() { Err(TlsError::NoCertificate(source.to_string())) } else { Ok(found) }
}

/// A certificate chain and the first key of the other source. Whether they go together is seen by rustls.
pub(super) fn identity(
    identity: &TlsIdentity,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
    let chain = certificates(&identity.certificate)?;
    let key = PrivateKeyDer::from_pem_slice(&read(&identity.key)?).map_err(|error| match error {
        PemError::NoItemsFound => TlsError::NoKey(identity.key.to_string()),
        _ => TlsError::NotPem(identity.key.to_string()),
    })?;
    Ok((chain, key))
}

/// Certificates to trust: those of `source`, or of the [`system`], or of both.
pub(super) fn roots(source: Option<&PemSource>, with_system: bool) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    if let Some(source) = source {
        // One that cannot be used is left out, as Go does; none at all is an error.
        let (added, _) = roots.add_parsable_certificates(certificates(source)?);
        if added == 0 {
            return Err(TlsError::NoCa(source.to_string()));
        }
    }
    if with_system || source.is_none() {
        system::add_to(&mut roots);
    }
    Ok(roots)
}
