//! Who is believed: verification by webpki, and the two ways in which Go's programs differ from it. A certificate that is itself
//! in the CA file is trusted there although it says that it is a CA (what `openssl req -x509` makes, and people use on both
//! ends); and `insecure_skip_verify` takes whatever is shown. The signature of the handshake is checked in every case.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

use super::{TlsError, pem, provider};
use crate::config::PemSource;

/// Verifies upstreams by the CAs of a source, of the system, or of both.
pub(super) fn server_verifier(
    ca: Option<&PemSource>,
    with_system: bool,
) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
    let roots = Arc::new(pem::roots(ca, with_system)?);
    let by_ca = WebPkiServerVerifier::builder_with_provider(roots, provider()).build()?;
    let own = ca.map(pem::certificates).transpose()?.unwrap_or_default();
    Ok(Arc::new(Upstreams { by_ca, own }))
}

/// Wants a certificate of every sender, and verifies it by the CAs of a source.
pub(super) fn client_verifier(ca: &PemSource) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let roots = Arc::new(pem::roots(Some(ca), false)?);
    let by_ca = WebPkiClientVerifier::builder_with_provider(roots, provider()).build()?;
    Ok(Arc::new(Senders { by_ca, own: pem::certificates(ca)? }))
}

/// When a certificate ends, in seconds since 1970; `None` if it cannot be read. webpki says so of one that has expired, and at the end
/// of time every one has; it looks at the times before it looks for a CA.
pub(super) fn not_after_unix_seconds(certificate: &CertificateDer<'_>) -> Option<u64> {
    let certificate = webpki::EndEntityCert::try_from(certificate).ok()?;
    let end_of_time = UnixTime::since_unix_epoch(Duration::from_secs(u64::MAX));
    let usage = webpki::KeyUsage::server_auth();
    match certificate.verify_for_usage(&[], &[], &[], end_of_time, usage, None, None) {
        Err(webpki::Error::CertExpired { not_after, .. }) => Some(not_after.as_secs()),
        _ => None,
    }
}

/// Believes every upstream.
pub(super) fn any_server() -> Arc<dyn ServerCertVerifier> {
    Arc::new(AnyUpstream(provider()))
}

/// Whether `shown` failed only because it is a CA's, and is trusted itself. webpki looks at the times of a certificate before its
/// constraints, so one that has expired does not come here.
fn is_trusted_itself(error: &Error, shown: &CertificateDer<'_>, own: &[CertificateDer<'static>]) -> bool {
    let Error::InvalidCertificate(CertificateError::Other(other)) = error else { return false };
    let is_ca = matches!(other.0.downcast_ref::<webpki::Error>(), Some(webpki::Error::CaUsedAsEndEntity));
    is_ca && own.iter().any(|own| own == shown)
}

#[derive(Debug)]
struct Upstreams {
    by_ca: Arc<WebPkiServerVerifier>,
    own: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for Upstreams {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.by_ca.verify_server_cert(shown, intermediates, name, ocsp_response, now) {
            Err(error) if is_trusted_itself(&error, shown, &self.own) => {
                verify_server_name(&ParsedCertificate::try_from(shown)?, name)?;
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.by_ca.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.by_ca.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.by_ca.supported_verify_schemes()
    }
}

#[derive(Debug)]
struct Senders {
    by_ca: Arc<dyn ClientCertVerifier>,
    own: Vec<CertificateDer<'static>>,
}

impl ClientCertVerifier for Senders {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.by_ca.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        shown: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        match self.by_ca.verify_client_cert(shown, intermediates, now) {
            Err(error) if is_trusted_itself(&error, shown, &self.own) => Ok(ClientCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.by_ca.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.by_ca.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.by_ca.supported_verify_schemes()
    }
}

#[derive(Debug)]
struct AnyUpstream(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyUpstream {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
