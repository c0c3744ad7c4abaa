//! Where an upstream is: `host:port` or a unix socket, as the Collector's exporters and gRPC write it.

use std::fmt;
use std::path::PathBuf;

/// Where to connect; a name is not resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// TCP.
    Tcp {
        /// Name or address; an IPv6 address without brackets.
        host: String,
        /// TCP port.
        port: u16,
    },
    /// A unix stream socket at this path.
    Unix(PathBuf),
    /// A unix stream socket in Linux's abstract namespace, of this name without its leading zero byte.
    Abstract(Vec<u8>),
}

/// Why a text is not an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// No port, or not a number of 1 to 65535.
    #[error("{0:?} has no port; write host:port, for example otel-collector:4317")]
    Port(String),
    /// No host.
    #[error("{0:?} has no host; write host:port, for example otel-collector:4317")]
    Host(String),
    /// No path or name of a unix socket.
    #[error("{0:?} names no socket; write unix:///path or unix-abstract:name")]
    Socket(String),
    /// A scheme that is not supported.
    #[error(
        "{0:?} has a scheme that is not supported; write host:port, http://host:port, dns:///host:port, unix:///path or \
         unix-abstract:name"
    )]
    Scheme(String),
}

impl Endpoint {
    /// Reads `host:port`, `[v6]:port`, `http://host:port`, `dns:///host:port`, `unix:///path`, `unix:path` or
    /// `unix-abstract:name` (gRPC Name Resolution). Whether TLS is spoken is said elsewhere, so `https` is refused.
    ///
    /// # Errors
    /// Says what is missing and how to write it.
    pub fn parse(text: &str) -> Result<Self, EndpointError> {
        if let Some(name) = text.strip_prefix("unix-abstract:") {
            return Self::socket(text, name, |name| Self::Abstract(name.as_bytes().to_vec()));
        }
        if let Some(path) = text.strip_prefix("unix:") {
            // unix:///path has an empty authority; what is not absolute then is none.
            let path = path.strip_prefix("//").unwrap_or(path);
            return Self::socket(text, path, |path| Self::Unix(PathBuf::from(path)));
        }
        let bare = text.strip_prefix("http://").or_else(|| text.strip_prefix("dns:///")).unwrap_or(text);
        let bare = bare.strip_suffix('/').unwrap_or(bare);
        if bare.contains('/') {
            return Err(EndpointError::Scheme(text.to_owned()));
        }
        let (host, port) = bare.rsplit_once(':').ok_or_else(|| EndpointError::Port(text.to_owned()))?;
        let port = port.parse().ok().filter(|port| *port != 0);
        let port = port.ok_or_else(|| EndpointError::Port(text.to_owned()))?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if host.is_empty() {
            return Err(EndpointError::Host(text.to_owned()));
        }
        Ok(Self::Tcp { host: host.to_owned(), port })
    }

    fn socket(text: &str, name: &str, make: impl Fn(&str) -> Self) -> Result<Self, EndpointError> {
        if name.is_empty() { Err(EndpointError::Socket(text.to_owned())) } else { Ok(make(name)) }
    }

    /// Name or address of the host; `localhost` for a unix socket, as grpc-go has it.
    pub fn host(&self) -> &str {
        match self {
            Self::Tcp { host, .. } => host,
            Self::Unix(_) | Self::Abstract(_) => "localhost",
        }
    }

    /// `host:port` as it stands in a URI, an IPv6 address in brackets; `localhost` for a unix socket.
    pub fn authority(&self) -> String {
        match self {
            Self::Tcp { host, port } if host.contains(':') => format!("[{host}]:{port}"),
            Self::Tcp { host, port } => format!("{host}:{port}"),
            Self::Unix(_) | Self::Abstract(_) => self.host().to_owned(),
        }
    }
}

/// As [`Endpoint::parse`] reads it.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { .. } => f.write_str(&self.authority()),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Abstract(name) => write!(f, "unix-abstract:{}", name.escape_ascii()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        for text in
            ["collector:4317", "http://collector:4317", "dns:///collector:4317", "http://collector:4317/"]
        {
            assert_eq!(Endpoint::parse(text).unwrap().authority(), "collector:4317", "{text}");
        }
        let v6 = Endpoint::parse("[::1]:4317").unwrap();
        assert_eq!((v6.host(), v6.authority().as_str()), ("::1", "[::1]:4317"));
    }

    #[test]
    fn unix_sockets() {
        let path = Endpoint::Unix("/run/otlp.sock".into());
        for text in ["unix:///run/otlp.sock", "unix:/run/otlp.sock"] {
            assert_eq!(Endpoint::parse(text).unwrap(), path, "{text}");
        }
        assert_eq!(Endpoint::parse("unix:otlp.sock").unwrap(), Endpoint::Unix("otlp.sock".into()));
        assert_eq!(Endpoint::parse("unix-abstract:otlp").unwrap(), Endpoint::Abstract(b"otlp".to_vec()));
        assert_eq!(
            (path.authority().as_str(), path.to_string().as_str()),
            ("localhost", "unix:/run/otlp.sock")
        );
    }

    #[test]
    fn errors_say_the_way_out() {
        assert_eq!(Endpoint::parse("collector"), Err(EndpointError::Port("collector".into())));
        assert_eq!(Endpoint::parse("collector:0"), Err(EndpointError::Port("collector:0".into())));
        assert_eq!(Endpoint::parse(":4317"), Err(EndpointError::Host(":4317".into())));
        assert_eq!(Endpoint::parse("unix://"), Err(EndpointError::Socket("unix://".into())));
        assert_eq!(Endpoint::parse("unix-abstract:"), Err(EndpointError::Socket("unix-abstract:".into())));
        assert!(matches!(Endpoint::parse("https://c:4317"), Err(EndpointError::Scheme(_))));
    }
}
