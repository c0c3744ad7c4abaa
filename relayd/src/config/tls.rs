//! The `tls` keys of servers and clients (Collector, configtls). Files are named here and opened by who starts: must
//! never read one, and must never show a key.

use std::path::PathBuf;
use std::time::Duration;

use super::secret::Secret;
use super::section::Section;

/// Certificates or a key in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pem {
    /// `*_file`
    File(PathBuf),
    /// `*_pem`
    Inline(Secret),
}

/// A version of TLS. The older ones are broken (RFC 8996) and not in rustls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2
    V1_2,
    /// TLS 1.3
    V1_3,
}

/// What both directions have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsVersions {
    /// `min_version`. Default 1.2.
    pub min: TlsVersion,
    /// `max_version`. Default 1.3; not below `min`.
    pub max: TlsVersion,
}

/// A certificate chain and its private key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// `cert_file` or `cert_pem`
    pub certificate: Pem,
    /// `key_file` or `key_pem`
    pub key: Pem,
}

/// `tls` of a receiver's protocol (Collector, configtls.ServerConfig).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsServer {
    /// What the server shows. Required.
    pub identity: Identity,
    /// `client_ca_file`: senders must show a certificate that these have signed. Default none: no one is asked.
    pub client_ca_file: Option<PathBuf>,
    /// `client_ca_file_reload`: whether that file is read again when it changes. Default false.
    pub client_ca_file_reload: bool,
    /// Which versions are spoken.
    pub versions: TlsVersions,
    /// `reload_interval`: how often files are looked at again. `None` (absent, or 0) is the daemon's default
    /// (the Collector: never), because certificates in clusters rotate.
    pub reload_interval: Option<Duration>,
}

/// `tls` of an exporter (Collector, configtls.ClientConfig).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsClient {
    /// `ca_file` or `ca_pem`: who may have signed the upstream's certificate. Default none: the host's store.
    pub ca: Option<Pem>,
    /// `include_system_ca_certs_pool`: the host's store besides `ca`. Default false.
    pub include_system_ca_certs_pool: bool,
    /// The certificate that the upstream may ask for. Default none.
    pub identity: Option<Identity>,
    /// `server_name_override`: the name that the upstream's certificate must have. Default the host of the endpoint.
    pub server_name_override: Option<String>,
    /// `insecure_skip_verify`: any certificate will do. Default false.
    pub insecure_skip_verify: bool,
    /// Which versions are spoken.
    pub versions: TlsVersions,
    /// `reload_interval`, as in [`TlsServer::reload_interval`].
    pub reload_interval: Option<Duration>,
}

impl Default for TlsVersions {
    fn default() -> Self {
        Self { min: TlsVersion::V1_2, max: TlsVersion::V1_3 }
    }
}

impl Default for TlsClient {
    /// The host's store, no certificate of its own.
    fn default() -> Self {
        Self {
            ca: None,
            include_system_ca_certs_pool: false,
            identity: None,
            server_name_override: None,
            insecure_skip_verify: false,
            versions: TlsVersions::default(),
            reload_interval: None,
        }
    }
}

/// Reads `tls` of a server. `None` if an error was recorded that leaves no certificate.
pub(super) fn read_server(mut section: Section<'_>) -> Option<TlsServer> {
    let identity = read_identity(&mut section, true);
    let client_ca_file = section.path_text("client_ca_file");
    let client_ca_file_reload = section.bool("client_ca_file_reload").unwrap_or(false);
    for key in ["ca_file", "ca_pem"] {
        section.advisory(key, "a server verifies its senders by client_ca_file");
    }
    if section.bool("include_system_ca_certs_pool") == Some(true) {
        section.advisory(
            "include_system_ca_certs_pool",
            "a server verifies its senders by client_ca_file alone",
        );
    }
    let (versions, reload_interval) = read_common(&mut section);
    section.finish();
    Some(TlsServer { identity: identity?, client_ca_file, client_ca_file_reload, versions, reload_interval })
}

/// Reads `tls` of a client, and its `insecure`.
pub(super) fn read_client(mut section: Section<'_>) -> (TlsClient, bool) {
    let insecure = section.bool("insecure").unwrap_or(false);
    let ca = read_pem(&mut section, "ca_file", "ca_pem");
    let include_system_ca_certs_pool = section.bool("include_system_ca_certs_pool").unwrap_or(false);
    let identity = read_identity(&mut section, false);
    let server_name_override =
        section.text("server_name_override").filter(|name| !name.is_empty()).map(str::to_owned);
    let insecure_skip_verify = section.bool("insecure_skip_verify").unwrap_or(false);
    let (versions, reload_interval) = read_common(&mut section);
    section.finish();
    let tls = TlsClient {
        ca,
        include_system_ca_certs_pool,
        identity,
        server_name_override,
        insecure_skip_verify,
        versions,
        reload_interval,
    };
    (tls, insecure)
}

/// Both or none; none is an error where one is `required`.
fn read_identity(section: &mut Section<'_>, required: bool) -> Option<Identity> {
    let certificate = read_pem(section, "cert_file", "cert_pem");
    let key = read_pem(section, "key_file", "key_pem");
    match (certificate, key) {
        (Some(certificate), Some(key)) => Some(Identity { certificate, key }),
        (Some(_), None) => {
            section.error("key_file", "a certificate needs its key: key_file or key_pem");
            None
        }
        (None, Some(_)) => {
            section.error("cert_file", "a key needs its certificate: cert_file or cert_pem");
            None
        }
        (None, None) => {
            if required {
                section.error("", "a server needs a certificate and its key: cert_file and key_file");
            }
            None
        }
    }
}

fn read_pem(section: &mut Section<'_>, file: &'static str, inline: &'static str) -> Option<Pem> {
    let (path, text) = (section.path_text(file), section.secret(inline));
    match (path, text) {
        (Some(path), Some(_)) => {
            section.error(inline, format!("{file} is given too; keep one"));
            Some(Pem::File(path))
        }
        (Some(path), None) => Some(Pem::File(path)),
        (None, Some(text)) => Some(Pem::Inline(text)),
        (None, None) => None,
    }
}

fn read_common(section: &mut Section<'_>) -> (TlsVersions, Option<Duration>) {
    let default = TlsVersions::default();
    let versions = TlsVersions {
        min: read_version(section, "min_version").unwrap_or(default.min),
        max: read_version(section, "max_version").unwrap_or(default.max),
    };
    if versions.max < versions.min {
        section.error("max_version", "must not be below min_version");
    }
    let reload_interval = section.duration("reload_interval").filter(|interval| !interval.is_zero());
    section.refuse("cipher_suites", "remove it; relayd has only suites with forward secrecy and AEAD");
    section.refuse("curve_preferences", "remove it; relayd prefers X25519, then P-256 and P-384");
    if section.bool("include_insecure_cipher_suites") == Some(true) {
        section.error(
            "include_insecure_cipher_suites",
            "not supported: relayd has no insecure suites; remove it",
        );
    }
    if section.optional("tpm").is_some() {
        section.error("tpm", "not supported: keys are in files or in PEM; use key_file or key_pem");
    }
    (versions, reload_interval)
}

fn read_version(section: &mut Section<'_>, key: &'static str) -> Option<TlsVersion> {
    let what = match section.text(key)? {
        "" => return None,
        "1.2" => return Some(TlsVersion::V1_2),
        "1.3" => return Some(TlsVersion::V1_3),
        old @ ("1.0" | "1.1") => {
            format!("TLS {old} is broken (RFC 8996) and not supported; use \"1.2\" or \"1.3\"")
        }
        other => format!("expected \"1.2\" or \"1.3\", found {other:?}"),
    };
    section.error(key, what);
    None
}
