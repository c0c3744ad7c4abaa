//! What all requests to one OTLP/HTTP upstream have in common; made once. Header values may be secrets: must never show one.

use std::sync::Arc;

use http::header::{CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, PROXY_AUTHORIZATION, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use http_body_util::Full;

use super::super::auth::Credentials;
use super::super::export::{TemplateError, USER_AGENT_VALUE};
use super::proxy::{self, Via};
use crate::batch::{Encoding, Rope, RopeReader};
use crate::config::{Compression, HttpUpstreamConfig, HttpUrl};
use crate::upstream::Endpoint;

/// A body that is written from where the batch is: hyper takes all of its ranges for its vectored writes.
pub(super) type Body = Full<RopeReader>;

/// The head of every request.
#[derive(Clone)]
pub(crate) struct HttpTemplate {
    uri: Uri,
    headers: HeaderMap,
    credentials: Option<Arc<Credentials>>,
    pub(super) via: Option<Via>,
    pub(crate) compression: Compression,
}

impl HttpTemplate {
    /// From what was configured; `variable` gives variables of the environment, for a proxy.
    ///
    /// # Errors
    /// What cannot be sent.
    pub(crate) fn new(
        config: &HttpUpstreamConfig,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, TemplateError> {
        let uri = Uri::try_from(config.url.to_string());
        let uri = uri.map_err(|_| TemplateError::Url(config.url.to_string()))?;
        let via = proxy::resolve(&config.proxy, &config.url, variable).map_err(TemplateError::Proxy)?;
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, HeaderValue::from_static(USER_AGENT_VALUE));
        for (name, value) in &config.headers {
            let error = || TemplateError::Header(name.clone());
            let name = HeaderName::try_from(name).map_err(|_| error())?;
            let mut value = HeaderValue::try_from(value).map_err(|_| error())?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        if !config.connections.keep_alive {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        // A tunnel's proxy is asked elsewhere.
        if let Some(Via { authorization: Some(value), .. }) = via.as_ref().filter(|_| !config.url.tls) {
            headers.insert(PROXY_AUTHORIZATION, value.clone());
        }
        let credentials = config.auth.as_deref().map(Credentials::new).transpose()?.map(Arc::new);
        Ok(Self { uri, headers, credentials, via, compression: config.compression })
    }

    /// What is connected to: the upstream of `url`, or the proxy on the way there.
    pub(crate) fn endpoint(&self, url: &HttpUrl) -> Endpoint {
        let direct = || Endpoint::Tcp { host: url.host.clone(), port: url.port };
        self.via.as_ref().map_or_else(direct, |via| via.endpoint.clone())
    }

    /// Whether TLS is spoken to a proxy.
    pub(crate) fn is_proxy_tls(&self) -> bool {
        self.via.as_ref().is_some_and(|via| via.tls)
    }

    /// A request that carries `message`, encoded as it says. Its `Content-Length` is the message's, and `Host` the URL's: hyper
    /// writes both.
    pub(super) fn request(&self, (message, encoding): (&Rope, Option<Encoding>)) -> Request<Body> {
        let mut request = Request::new(Full::new(message.reader()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        let headers = request.headers_mut();
        headers.clone_from(&self.headers);
        if let Some(credentials) = &self.credentials {
            headers.insert(credentials.name().clone(), credentials.value());
        }
        if let Some(encoding) = encoding {
            // Of the names that one encoding has, the one that was configured; what was not encoded here has its own.
            let configured = Encoding::of(self.compression) == Some(encoding);
            let name = if configured { self.compression.http_name() } else { encoding.http_name() };
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static(name));
        }
        request
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, IoSlice};
    use std::pin::Pin;
    use std::sync::{Arc, Mutex};
    use std::task::{Context, Poll};

    use bytes::Bytes;
    use hyper::rt::{Read, ReadBufCursor, Write};

    use super::*;
    use crate::config::{ForwardProxy, HttpUrl, Proxy};

    /// Remembers where what is written lies, and takes only some of it each time.
    #[derive(Clone, Default)]
    struct Looking(Arc<Mutex<Vec<(usize, usize)>>>);

    impl Read for Looking {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: ReadBufCursor<'_>,
        ) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    impl Write for Looking {
        fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
        }

        fn poll_write_vectored(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            slices: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let mut left = 100_000;
            for slice in slices {
                let len = slice.len().min(left);
                self.0.lock().unwrap().push((slice.as_ptr().addr(), len));
                left -= len;
            }
            Poll::Ready(Ok(100_000 - left))
        }

        fn is_write_vectored(&self) -> bool {
            true
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// A batch of more than 4 MiB in many pieces: all of it is written out of the pieces, in their order, and only the head is not.
    #[test]
    fn a_body_is_written_from_where_it_is() {
        let pieces: Vec<Bytes> = (0..500).map(|at| Bytes::from(vec![b'x'; 10_000 + at])).collect();
        let rope = Rope::new(pieces.clone());
        let request = template(&config("http://c/v1/traces")).unwrap().request((&rope, None));
        let looking = Looking::default();
        let wire = looking.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let (mut sender, connection) = hyper::client::conn::http1::handshake(wire).await.unwrap();
            let answered = async { tokio::join!(connection, sender.send_request(request)) };
            // Nobody answers.
            tokio::time::timeout(std::time::Duration::from_millis(500), answered).await.ok();
        });
        let mut written: Vec<(usize, usize)> = looking.0.lock().unwrap().clone();
        written.retain(|(_, len)| *len > 0);
        let mut rest = written.iter().skip(1);
        for piece in &pieces {
            let (mut at, end) = (piece.as_ptr().addr(), piece.as_ptr().addr() + piece.len());
            while at < end {
                let (from, len) = rest.next().unwrap();
                assert_eq!(*from, at, "out of its place");
                at += len;
            }
            assert_eq!(at, end);
        }
        assert_eq!(rest.next(), None);
    }

    fn template(config: &HttpUpstreamConfig) -> Result<HttpTemplate, String> {
        HttpTemplate::new(config, |_| None).map_err(|error| error.to_string())
    }

    fn config(url: &str) -> HttpUpstreamConfig {
        HttpUpstreamConfig::new(HttpUrl::parse(url).unwrap())
    }

    #[test]
    fn configured_headers_replace_the_user_agent_but_not_the_content() {
        let mut config = config("http://c:4318/v1/traces");
        config.compression = Compression::ZSTD;
        config.headers = [("User-Agent", "mine"), ("content-type", "text/plain"), ("x-token", "secret")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec();
        let request = template(&config).unwrap().request((&Rope::new(Vec::new()), Some(Encoding::Zstd)));
        let header = |name: &str| request.headers()[name].to_str().unwrap();
        assert_eq!(
            ["user-agent", "content-type", "content-encoding"].map(header),
            ["mine", "application/x-protobuf", "zstd"]
        );
        assert!(request.headers()["x-token"].is_sensitive());
        config.headers.push(("two words".to_owned(), "secret".to_owned()));
        let error = template(&config).err().unwrap();
        assert!(error.contains("two words") && !error.contains("secret"), "{error}");
    }

    /// The password for a proxy goes to the proxy alone: with the request where the proxy reads it, with `CONNECT` otherwise.
    #[test]
    fn only_a_proxy_gets_its_credentials() {
        let asked = |url| {
            let mut config = config(url);
            let credentials = Some("me:secret".to_owned());
            config.proxy =
                Proxy::Through(ForwardProxy { tls: false, host: "p".to_owned(), port: 1, credentials });
            template(&config)
                .unwrap()
                .request((&Rope::new(Vec::new()), None))
                .headers()
                .contains_key("proxy-authorization")
        };
        assert_eq!((asked("http://c/"), asked("https://c/")), (true, false));
    }
}
