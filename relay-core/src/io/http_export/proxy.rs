//! Whether an upstream is reached through a proxy, decided once. Must never show a password.

use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, Uri};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};

use crate::config::{HttpUrl, Proxy, port};
use crate::upstream::Endpoint;

/// A proxy to go through.
#[derive(Clone, Debug)]
pub(super) struct Via {
    pub(super) endpoint: Endpoint,
    /// Whether TLS is spoken to it.
    pub(super) tls: bool,
    /// `Proxy-Authorization`.
    pub(super) authorization: Option<HeaderValue>,
}

/// The proxy on the way to `url`; `variable` gives variables of the environment.
///
/// # Errors
/// What is wrong with it, without a password.
pub(super) fn resolve(
    proxy: &Proxy,
    url: &HttpUrl,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Option<Via>, String> {
    match proxy {
        Proxy::None => Ok(None),
        Proxy::Through(proxy) => {
            let authorization = proxy.credentials.as_deref().map(basic).transpose()?;
            let endpoint = Endpoint::Tcp { host: proxy.host.clone(), port: proxy.port };
            Ok(Some(Via { endpoint, tls: proxy.tls, authorization }))
        }
        Proxy::FromEnvironment if is_loopback(&url.host) => Ok(None),
        Proxy::FromEnvironment => from_environment(url, variable),
    }
}

/// Go's rule (net/http, ProxyFromEnvironment).
fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

fn from_environment(url: &HttpUrl, variable: impl Fn(&str) -> Option<String>) -> Result<Option<Via>, String> {
    let either = |upper: &str, lower: &str| {
        [upper, lower].into_iter().filter_map(&variable).find(|value| !value.is_empty()).unwrap_or_default()
    };
    let name = if url.tls { "HTTPS_PROXY" } else { "HTTP_PROXY" };
    let text = either(name, &name.to_ascii_lowercase());
    if text.is_empty() {
        return Ok(None);
    }
    let matcher = Matcher::builder().http(&*text).https(&*text).no(either("NO_PROXY", "no_proxy")).build();
    let target: Uri = url.to_string().parse().map_err(|_| "the URL cannot be sent".to_owned())?;
    match matcher.intercept(&target) {
        Some(proxy) => via(&proxy).map(Some).ok_or_else(|| {
            format!("{name} of the environment: expected http://host:port or https://host:port")
        }),
        None if is_url(&text) => Ok(None),
        None => Err(format!("{name} of the environment is not the URL of a proxy")),
    }
}

/// Whether the text is one that the matcher takes, so that only `NO_PROXY` can have kept it out.
fn is_url(text: &str) -> bool {
    let matcher = Matcher::builder().all(text).build();
    matcher.intercept(&Uri::from_static("http://relay.invalid/")).is_some()
}

fn via(proxy: &Intercept) -> Option<Via> {
    let tls = match proxy.uri().scheme_str()? {
        "http" => false,
        "https" => true,
        _ => return None,
    };
    let authority = proxy.uri().authority()?;
    let (host, port) = (authority.host(), port(authority, tls)?);
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let endpoint = Endpoint::Tcp { host: host.to_owned(), port };
    Some(Via { endpoint, tls, authorization: proxy.basic_auth().cloned() })
}

/// RFC 7617 section 2.
fn basic(credentials: &str) -> Result<HeaderValue, String> {
    let value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(credentials)));
    let mut value = value.map_err(|_| "the credentials of the proxy cannot be sent".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ForwardProxy;

    fn resolved(url: &str, variables: &[(&str, &str)]) -> Result<Option<String>, String> {
        let find = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let via = resolve(&Proxy::FromEnvironment, &HttpUrl::parse(url).unwrap(), find)?;
        Ok(via.map(|via| format!("{} {}", via.endpoint.authority(), via.tls)))
    }

    fn proxied(to: &str) -> Result<Option<String>, String> {
        Ok(Some(to.to_owned()))
    }

    #[test]
    fn the_scheme_of_the_upstream_chooses_the_variable() {
        let both = [("HTTP_PROXY", "http://plain:3128"), ("https_proxy", "https://secure")];
        assert_eq!(resolved("http://c/", &both), proxied("plain:3128 false"));
        assert_eq!(resolved("https://c/", &both), proxied("secure:443 true"));
        assert_eq!(resolved("http://c/", &[("HTTP_PROXY", "plain:3128")]), proxied("plain:3128 false"));
        assert_eq!(resolved("https://c/", &both[..1]), Ok(None));
        assert_eq!(resolved("http://c/", &[("HTTP_PROXY", "")]), Ok(None));
    }

    #[test]
    fn loopback_and_no_proxy_are_reached_directly() {
        let variables = [("HTTP_PROXY", "http://p:1"), ("NO_PROXY", "inside.example, 10.0.0.0/8")];
        for url in [
            "http://localhost:4318/",
            "http://127.0.0.1/",
            "http://[::1]:1/",
            "http://a.inside.example/",
            "http://10.1.2.3/",
        ] {
            assert_eq!(resolved(url, &variables), Ok(None), "{url}");
        }
        assert_eq!(resolved("http://outside.example/", &variables), proxied("p:1 false"));
    }

    #[test]
    fn what_is_wrong_with_a_proxy_is_said_without_its_password() {
        for bad in ["socks5://me:secret@p:1", "ftp://me:secret@p", "http://me:secret@p:port"] {
            let error = resolved("http://c/", &[("HTTP_PROXY", bad)]).unwrap_err();
            assert!(
                error.starts_with("HTTP_PROXY of the environment") && !error.contains("secret"),
                "{error}"
            );
        }
    }

    /// RFC 7617 section 2, its example.
    #[test]
    fn credentials_are_sent_as_basic() {
        let credentials = Some("Aladdin:open sesame".to_owned());
        let proxy = Proxy::Through(ForwardProxy { tls: false, host: "p".to_owned(), port: 1, credentials });
        let via = resolve(&proxy, &HttpUrl::parse("http://127.0.0.1/").unwrap(), |_| None).unwrap().unwrap();
        let value = via.authorization.unwrap();
        assert_eq!(
            (value.to_str().unwrap(), value.is_sensitive()),
            ("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", true)
        );
    }
}
