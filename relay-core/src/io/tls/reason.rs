//! Why TLS failed, in words for whoever reads the log of this side.

use std::io;

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible};

/// The same error in words, if it is one of TLS. In TLS 1.3 a server judges a client's certificate when the client has shaken hands
/// already (RFC 8446 section 4.4.2): it learns of that when it reads.
pub(crate) fn in_words(error: io::Error, peer: &str) -> io::Error {
    if of_tls(&error).is_some() { io::Error::new(error.kind(), words(&error, peer)) } else { error }
}

fn of_tls(error: &io::Error) -> Option<&Error> {
    error.get_ref().and_then(|inner| inner.downcast_ref::<Error>())
}

/// Which errors share log lines: one peer that fails again and again must not hide another that fails for another reason.
pub(super) fn kind(error: &io::Error) -> &'static str {
    match of_tls(error) {
        None => "tls connection",
        Some(Error::InvalidMessage(_)) => "tls message",
        Some(Error::NoCertificatesPresented) => "tls no certificate",
        Some(Error::InvalidCertificate(CertificateError::UnknownIssuer)) => "tls issuer",
        Some(Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        )) => "tls expired",
        Some(Error::InvalidCertificate(_)) => "tls certificate",
        Some(Error::PeerIncompatible(_)) => "tls incompatible",
        Some(Error::NoApplicationProtocol) => "tls protocol",
        Some(Error::AlertReceived(_)) => "tls alert",
        Some(_) => "tls",
    }
}

/// What an error of a handshake with `peer` ("sender", "upstream") means.
pub(super) fn words(error: &io::Error, peer: &str) -> String {
    let Some(tls) = of_tls(error) else {
        return match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                format!("the {peer} ended the connection during the TLS handshake")
            }
            io::ErrorKind::TimedOut => format!("the {peer} did not finish the TLS handshake in time"),
            _ => format!("TLS handshake: {error}"),
        };
    };
    match tls {
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => format!("the {peer} does not speak TLS"),
        Error::NoCertificatesPresented => format!("the {peer} has no client certificate"),
        Error::InvalidCertificate(error) => format!("the {peer}'s certificate {}", about_certificate(error)),
        Error::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            | PeerIncompatible::SupportedVersionsExtensionRequired
            // TLS 1.1 and older have no such extension, and rustls misses it before it looks at the version.
            | PeerIncompatible::SignatureAlgorithmsExtensionRequired
            | PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled,
        ) => format!("the {peer} speaks no TLS version that is allowed here"),
        Error::NoApplicationProtocol => format!("the {peer} offers no protocol that is served here (ALPN)"),
        Error::AlertReceived(alert) => format!("the {peer} refused: {}", about_alert(*alert)),
        other => format!("TLS: {other}"),
    }
}

fn about_certificate(error: &CertificateError) -> String {
    match error {
        CertificateError::UnknownIssuer => "is not signed by a CA that is trusted here".to_owned(),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "has expired".to_owned(),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "is not valid yet".to_owned()
        }
        // Says which names it has.
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("is for another name: {error}")
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            format!("is not for this use: {error}")
        }
        CertificateError::Revoked => "is revoked".to_owned(),
        other => format!("is not valid: {other}"),
    }
}

fn about_alert(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::UnknownCA => "it does not trust the CA of our certificate".to_owned(),
        AlertDescription::CertificateExpired => "our certificate has expired".to_owned(),
        AlertDescription::CertificateRequired => "it wants a client certificate".to_owned(),
        AlertDescription::BadCertificate | AlertDescription::CertificateUnknown => {
            "it does not take our certificate".to_owned()
        }
        AlertDescription::ProtocolVersion => "it speaks no TLS version that is allowed here".to_owned(),
        AlertDescription::NoApplicationProtocol => "it does not speak the protocol (ALPN)".to_owned(),
        AlertDescription::UnrecognisedName => "it does not know the server name".to_owned(),
        other => format!("{other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_operators_meet_is_said_in_words() {
        let say = |error| words(&io::Error::new(io::ErrorKind::InvalidData, error), "sender");
        assert_eq!(
            say(Error::InvalidMessage(InvalidMessage::InvalidContentType)),
            "the sender does not speak TLS"
        );
        assert_eq!(
            say(Error::InvalidCertificate(CertificateError::UnknownIssuer)),
            "the sender's certificate is not signed by a CA that is trusted here"
        );
        assert_eq!(
            say(Error::AlertReceived(AlertDescription::UnknownCA)),
            "the sender refused: it does not trust the CA of our certificate"
        );
        assert_eq!(
            say(Error::PeerIncompatible(PeerIncompatible::SignatureAlgorithmsExtensionRequired)),
            "the sender speaks no TLS version that is allowed here"
        );
        assert!(words(&io::ErrorKind::UnexpectedEof.into(), "upstream").starts_with("the upstream ended"));
    }
    /// Scenario: an alert in the first bytes after a handshake, and a reset connection. Guarantee: the first is said in words, the
    /// second stays what it was; both keep their kinds.
    #[test]
    fn only_errors_of_tls_are_put_in_words() {
        let alert = Error::AlertReceived(AlertDescription::CertificateExpired);
        let alert = in_words(io::Error::new(io::ErrorKind::InvalidData, alert), "upstream");
        assert_eq!(
            (alert.kind(), alert.to_string().as_str()),
            (io::ErrorKind::InvalidData, "the upstream refused: our certificate has expired")
        );
        let reset = in_words(io::ErrorKind::ConnectionReset.into(), "upstream");
        assert_eq!(
            (reset.kind(), reset.to_string().as_str()),
            (io::ErrorKind::ConnectionReset, "connection reset")
        );
    }
}
