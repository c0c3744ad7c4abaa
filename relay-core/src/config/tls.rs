//! TLS as an embedding service describes it, on both sides; the names of the Collector's keys are in the docs of the fields.
//! Plain data: nothing here reads a file, and a key is never shown.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Where PEM text is.
#[derive(Clone, PartialEq, Eq)]
pub enum PemSource {
    /// A file; read again when it has changed.
    File(PathBuf),
    /// The text itself (`cert_pem`, `key_pem`, `ca_pem`). Never shown.
    Inline(Vec<u8>),
}

impl fmt::Debug for PemSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Inline(_) => f.write_str("Inline(..)"),
        }
    }
}

/// A file's path, or `(inline)`: what an error may say.
impl fmt::Display for PemSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Inline(_) => f.write_str("(inline)"),
        }
    }
}

/// A version of TLS. 1.0 and 1.1 are not here: RFC 8996 forbids them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2, RFC 5246.
    V1_2,
    /// TLS 1.3, RFC 8446.
    V1_3,
}

/// A certificate chain, leaf first, and its private key (PKCS#8, PKCS#1 or SEC1, without a passphrase).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsIdentity {
    /// `cert_file` or `cert_pem`.
    pub certificate: PemSource,
    /// `key_file` or `key_pem`.
    pub key: PemSource,
}

/// TLS of a receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsServerConfig {
    /// What senders are shown.
    pub identity: TlsIdentity,
    /// Who must have signed the certificate of every sender (`client_ca_file`); without it none is asked for.
    pub client_ca: Option<PemSource>,
    /// Whether a changed `client_ca` is read again (`client_ca_file_reload`). Default true.
    pub client_ca_reload: bool,
    /// The oldest version taken (`min_version`). Default 1.2.
    pub min_version: TlsVersion,
    /// The newest version taken (`max_version`). Default 1.3.
    pub max_version: TlsVersion,
    /// Time between two looks whether a file has changed (`reload_interval`), at handshakes only. Default
    /// [`crate::limits::TLS_RELOAD_INTERVAL`].
    pub reload_interval: Duration,
}

impl TlsServerConfig {
    /// TLS without client certificates, with the defaults.
    pub fn new(identity: TlsIdentity) -> Self {
        Self {
            identity,
            client_ca: None,
            client_ca_reload: true,
            min_version: TlsVersion::V1_2,
            max_version: TlsVersion::V1_3,
            reload_interval: crate::limits::TLS_RELOAD_INTERVAL,
        }
    }
}

/// TLS towards an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsClientConfig {
    /// Who must have signed the upstream's certificate (`ca_file` or `ca_pem`). Default: the roots of the system.
    pub ca: Option<PemSource>,
    /// Whether the roots of the system count besides `ca` (`include_system_ca_certs_pool`). Default false.
    pub include_system_roots: bool,
    /// What the upstream is shown if it asks (`cert_file`, `key_file`). Default nothing.
    pub identity: Option<TlsIdentity>,
    /// Takes any certificate and any name (`insecure_skip_verify`): what is sent may be read by whoever is in between. Default
    /// false.
    pub insecure_skip_verify: bool,
    /// The name that the certificate must have, if it is not the endpoint's host (`server_name_override`).
    pub server_name_override: Option<String>,
    /// The oldest version spoken (`min_version`). Default 1.2.
    pub min_version: TlsVersion,
    /// The newest version spoken (`max_version`). Default 1.3.
    pub max_version: TlsVersion,
    /// Time between two looks whether a file has changed (`reload_interval`), at handshakes only. Default
    /// [`crate::limits::TLS_RELOAD_INTERVAL`].
    pub reload_interval: Duration,
}

impl Default for TlsClientConfig {
    fn default() -> Self {
        Self {
            ca: None,
            include_system_roots: false,
            identity: None,
            insecure_skip_verify: false,
            server_name_override: None,
            min_version: TlsVersion::V1_2,
            max_version: TlsVersion::V1_3,
            reload_interval: crate::limits::TLS_RELOAD_INTERVAL,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_never_shown() {
        let secret = PemSource::Inline(b"secret".to_vec());
        let mut config =
            TlsServerConfig::new(TlsIdentity { certificate: secret.clone(), key: secret.clone() });
        config.client_ca = Some(secret.clone());
        let shown = format!(
            "{config:?} {secret} {:?}",
            TlsClientConfig { ca: Some(secret.clone()), ..Default::default() }
        );
        assert!(!shown.contains("secret") && !shown.contains("115"), "{shown}");
    }
}
