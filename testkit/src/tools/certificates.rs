//! `testkit certificates`: keys and certificates for runs with TLS, made anew each time: nothing secret is kept anywhere, and
//! nothing in a repository expires.
//!
//! Must never make a key that stays valid for longer than a run: what leaks with a folder of logs is worth nothing the next day.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use serde_json::{Value, json};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Names that every certificate is good for.
const NAMES: [&str; 2] = ["localhost", "127.0.0.1"];

/// Arguments of `testkit certificates`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Where to write NAME.pem and NAME.key; the directory is made if need be, and files of these names are replaced.
    pub directory: PathBuf,
}

/// From when to when a certificate is valid.
#[derive(Debug, Clone, Copy)]
struct Validity {
    from: SystemTime,
    until: SystemTime,
}

/// Writes the authorities `ca` and `other-ca` (certificates only), and certificates with their keys:
///
/// | name | signed by | what it is |
/// | --- | --- | --- |
/// | `server`, `server-next` | `ca` | good for localhost and 127.0.0.1; the second to rotate to |
/// | `client` | `ca` | a client's |
/// | `client-expired` | `ca` | a client's that was valid until yesterday |
/// | `client-other`, `server-other` | `other-ca` | good, but of an authority that nobody is told to trust |
///
/// Gives `{"directory": …, "written": […]}` and `true`.
///
/// # Errors
/// A directory that cannot be made, a file that cannot be written, and whatever rcgen refuses.
pub fn run(args: &Args) -> io::Result<(Value, bool)> {
    #[expect(clippy::disallowed_methods, reason = "certificates are valid around the time of the machine")]
    let now = SystemTime::now();
    let current = Validity { from: now - DAY, until: now + DAY };
    let expired = Validity { from: now - 3 * DAY, until: now - DAY };
    fs::create_dir_all(&args.directory)?;
    let mut written = Vec::new();
    let server = ExtendedKeyUsagePurpose::ServerAuth;
    let client = ExtendedKeyUsagePurpose::ClientAuth;
    for (authority, leaves) in [
        (
            "ca",
            vec![
                ("server", &server, current),
                ("server-next", &server, current),
                ("client", &client, current),
                ("client-expired", &client, expired),
            ],
        ),
        ("other-ca", vec![("server-other", &server, current), ("client-other", &client, current)]),
    ] {
        let issuer = new_authority(authority, current).map_err(io::Error::other)?;
        written.push(write(&args.directory, authority, "pem", &issuer.pem())?);
        for (name, purpose, validity) in leaves {
            let (certificate, key) = new_leaf(name, purpose, validity, &issuer).map_err(io::Error::other)?;
            written.push(write(&args.directory, name, "pem", &certificate)?);
            written.push(write(&args.directory, name, "key", &key)?);
        }
    }
    Ok((json!({ "directory": args.directory, "written": written }), true))
}

fn new_authority(name: &str, validity: Validity) -> Result<CertifiedIssuer<'static, KeyPair>, rcgen::Error> {
    let mut params = params_of(name, Vec::new(), validity)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate()?)
}

/// Certificate and key, in PEM.
fn new_leaf(
    name: &str,
    purpose: &ExtendedKeyUsagePurpose,
    validity: Validity,
    issuer: &CertifiedIssuer<'static, KeyPair>,
) -> Result<(String, String), rcgen::Error> {
    let mut params = params_of(name, NAMES.map(String::from).to_vec(), validity)?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![purpose.clone()];
    // OpenSSL's strict mode, Python's default since 3.13, asks for it.
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    Ok((params.signed_by(&key, issuer)?.pem(), key.serialize_pem()))
}

fn params_of(
    name: &str,
    alternative_names: Vec<String>,
    validity: Validity,
) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(alternative_names)?;
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = validity.from.into();
    params.not_after = validity.until.into();
    Ok(params)
}

fn write(directory: &Path, name: &str, extension: &str, content: &str) -> io::Result<String> {
    let file = format!("{name}.{extension}");
    let path = directory.join(&file);
    fs::write(&path, content).map_err(|error| {
        io::Error::new(error.kind(), format!("{} cannot be written: {error}", path.display()))
    })?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_certificate_has_its_key_and_no_authority_leaves_one() {
        let directory = std::env::temp_dir().join(format!("testkit-certificates-{}", std::process::id()));
        let (answer, good) = run(&Args { directory: directory.clone() }).unwrap();
        let read = |file: &str| fs::read_to_string(directory.join(file));
        for name in ["server", "server-next", "server-other", "client", "client-expired", "client-other"] {
            assert!(
                read(&format!("{name}.pem")).unwrap().starts_with("-----BEGIN CERTIFICATE-----"),
                "{name}"
            );
            let key = KeyPair::from_pem(&read(&format!("{name}.key")).unwrap()).unwrap();
            assert!(!key.serialize_der().is_empty(), "{name}");
        }
        for name in ["ca", "other-ca"] {
            assert!(
                read(&format!("{name}.pem")).unwrap().starts_with("-----BEGIN CERTIFICATE-----"),
                "{name}"
            );
            assert!(read(&format!("{name}.key")).is_err(), "{name}");
        }
        assert!(good && answer["written"].as_array().unwrap().len() == 14, "{answer}");
        fs::remove_dir_all(directory).unwrap();
    }
}
