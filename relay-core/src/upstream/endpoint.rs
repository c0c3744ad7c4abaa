//! Where an upstream is: `host:port`, as the Collector's exporters write it.

/// A host and a port, not resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Name or address; an IPv6 address without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
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
    /// A scheme that is not supported.
    #[error(
        "{0:?} has a scheme that is not supported; write host:port, http://host:port or dns:///host:port"
    )]
    Scheme(String),
}

impl Endpoint {
    /// Reads `host:port`, `[v6]:port`, `http://host:port` or `dns:///host:port`.
    ///
    /// # Errors
    /// Says what is missing and how to write it.
    pub fn parse(text: &str) -> Result<Self, EndpointError> {
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
        Ok(Self { host: host.to_owned(), port })
    }

    /// `host:port` as it stands in a URI: an IPv6 address in brackets.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
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
        assert_eq!((v6.host.as_str(), v6.authority().as_str()), ("::1", "[::1]:4317"));
    }

    #[test]
    fn errors_say_the_way_out() {
        assert_eq!(Endpoint::parse("collector"), Err(EndpointError::Port("collector".into())));
        assert_eq!(Endpoint::parse("collector:0"), Err(EndpointError::Port("collector:0".into())));
        assert_eq!(Endpoint::parse(":4317"), Err(EndpointError::Host(":4317".into())));
        assert!(matches!(Endpoint::parse("unix:///run/x:1"), Err(EndpointError::Scheme(_))));
        assert!(matches!(Endpoint::parse("https://c:4317"), Err(EndpointError::Scheme(_))));
    }
}
