//! Where a receiver listens: a TCP address or a unix socket. Plain data; binding is the business of `io`.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

/// What a receiver listens on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// TCP.
    Tcp(SocketAddr),
    /// A unix stream socket at this path. A file that nobody listens on any more is replaced; the file goes when the receiver
    /// stops. Its permissions are what the umask leaves, as Go's `net.Listen` has it.
    Unix(PathBuf),
    /// A unix stream socket in Linux's abstract namespace, of this name without its leading zero byte.
    Abstract(Vec<u8>),
}

impl ListenAddress {
    /// A unix socket as the Collector writes it (`transport: unix`): a path, or `@name` for an abstract one.
    pub fn unix(text: &str) -> Self {
        match text.strip_prefix('@') {
            Some(name) => Self::Abstract(name.as_bytes().to_vec()),
            None => Self::Unix(PathBuf::from(text)),
        }
    }

    /// The TCP address, if it is one.
    pub fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix(_) | Self::Abstract(_) => None,
        }
    }
}

impl From<SocketAddr> for ListenAddress {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

/// As a client would write it: an address, `unix:PATH` or `unix-abstract:NAME` (gRPC Name Resolution).
impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Abstract(name) => write!(f, "unix-abstract:{}", name.escape_ascii()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unix_sockets_are_written_as_the_collector_writes_them() {
        assert_eq!(ListenAddress::unix("/run/otlp.sock"), ListenAddress::Unix("/run/otlp.sock".into()));
        assert_eq!(ListenAddress::unix("@otlp"), ListenAddress::Abstract(b"otlp".to_vec()));
        assert_eq!(ListenAddress::unix("/run/otlp.sock").to_string(), "unix:/run/otlp.sock");
        assert_eq!(ListenAddress::unix("@otlp").to_string(), "unix-abstract:otlp");
    }
}
