//! The encodings by the names that peers say.

use crate::batch::Encoding;
use crate::config::Compression;

/// What is said in `grpc-accept-encoding`.
pub const GRPC_ACCEPT: &str = "identity,gzip,snappy,zstd";

/// What is said in `Accept-Encoding` to who sends something else (RFC 9110 section 15.5.16).
pub const HTTP_ACCEPT: &str = "identity, gzip, zstd, zlib, deflate, snappy, x-snappy-framed, lz4";

/// A name that is no encoding's here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("encoding {name:?} is not supported; use one of {known}")]
pub struct Unsupported {
    /// The name, cut short: it goes back to who said it.
    pub name: String,
    /// [`GRPC_ACCEPT`] or [`HTTP_ACCEPT`].
    pub known: &'static str,
}

/// So much of an unknown name is repeated, in bytes.
const NAME_SAID_BYTES_MAX: usize = 64;

impl Encoding {
    /// What `compression` makes; `None` if it leaves bytes as they are.
    pub fn of(compression: Compression) -> Option<Self> {
        match compression {
            Compression::None => None,
            Compression::Gzip(_) => Some(Self::Gzip),
            Compression::Zlib(_) | Compression::Deflate(_) => Some(Self::Zlib),
            Compression::Zstd(_) => Some(Self::Zstd),
            Compression::Snappy => Some(Self::Snappy),
            Compression::SnappyFramed => Some(Self::SnappyFramed),
            Compression::Lz4 => Some(Self::Lz4),
        }
    }

    /// Its name in `grpc-encoding`; `None` where gRPC has none for it.
    pub fn grpc_name(self) -> Option<&'static str> {
        match self {
            Self::Gzip => Some("gzip"),
            Self::Zstd => Some("zstd"),
            Self::SnappyFramed => Some("snappy"),
            Self::Zlib | Self::Snappy | Self::Lz4 => None,
        }
    }

    /// Its name in `Content-Encoding`.
    pub fn http_name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zlib => "deflate",
            Self::Zstd => "zstd",
            Self::Snappy => "snappy",
            Self::SnappyFramed => "x-snappy-framed",
            Self::Lz4 => "lz4",
        }
    }

    /// Whether two streams of it, one behind the other, are a stream of both.
    pub fn concatenates(self) -> bool {
        matches!(self, Self::Gzip | Self::Zstd)
    }

    /// The encoding that a `grpc-encoding` names; `None` for `identity`. Names are those that the Collector's gRPC server registers;
    /// its `snappy` is the framing format.
    ///
    /// # Errors
    /// Any other name: to be answered with UNIMPLEMENTED (gRPC, "Compression").
    pub fn from_grpc(name: &[u8]) -> Result<Option<Self>, Unsupported> {
        match name {
            b"" | b"identity" => Ok(None),
            b"gzip" => Ok(Some(Self::Gzip)),
            b"snappy" => Ok(Some(Self::SnappyFramed)),
            b"zstd" => Ok(Some(Self::Zstd)),
            other => Err(Unsupported::new(other, GRPC_ACCEPT)),
        }
    }

    /// The encoding that a `Content-Encoding` names, in either case (RFC 9110 section 8.4.1); `None` for `identity`. Names are those
    /// of the Collector's `compression_algorithms`, and `x-gzip` (section 8.4.1.3).
    ///
    /// # Errors
    /// Any other name, also a list of several.
    pub fn from_http(name: &[u8]) -> Result<Option<Self>, Unsupported> {
        let known: [(&str, Option<Self>); 10] = [
            ("", None),
            ("identity", None),
            ("gzip", Some(Self::Gzip)),
            ("x-gzip", Some(Self::Gzip)),
            ("zstd", Some(Self::Zstd)),
            ("zlib", Some(Self::Zlib)),
            ("deflate", Some(Self::Zlib)),
            ("snappy", Some(Self::Snappy)),
            ("x-snappy-framed", Some(Self::SnappyFramed)),
            ("lz4", Some(Self::Lz4)),
        ];
        let asked = name.trim_ascii();
        let found = known.into_iter().find(|(known, _)| known.as_bytes().eq_ignore_ascii_case(asked));
        found.map(|(_, encoding)| encoding).ok_or_else(|| Unsupported::new(name, HTTP_ACCEPT))
    }
}

impl Unsupported {
    fn new(name: &[u8], known: &'static str) -> Self {
        let said = name.get(..NAME_SAID_BYTES_MAX).unwrap_or(name);
        Self { name: String::from_utf8_lossy(said).into_owned(), known }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every name that is promised is understood, in either case for HTTP.
    #[test]
    fn the_names_that_are_promised_are_known() {
        for name in GRPC_ACCEPT.split(',') {
            assert_eq!(Encoding::from_grpc(name.as_bytes()).unwrap().is_none(), name == "identity");
        }
        for name in HTTP_ACCEPT.split(", ") {
            let encoding = Encoding::from_http(name.as_bytes()).unwrap();
            assert_eq!(encoding.is_none(), name == "identity");
            assert_eq!(Encoding::from_http(name.to_uppercase().as_bytes()), Ok(encoding));
        }
        assert_eq!(Encoding::from_grpc(b""), Ok(None));
        assert_eq!(Encoding::from_http(b""), Ok(None));
    }

    /// What an exporter says of its compression, a receiver reads as what it made.
    #[test]
    fn names_that_are_sent_are_read_as_what_was_made() {
        for name in HTTP_ACCEPT.split(", ").filter(|name| *name != "identity") {
            let compression = Compression::for_http(name, None).unwrap();
            assert_eq!(
                Encoding::from_http(compression.http_name().as_bytes()),
                Ok(Encoding::of(compression))
            );
        }
        for name in GRPC_ACCEPT.split(',').filter(|name| *name != "identity") {
            let compression = Compression::for_grpc(name).unwrap();
            let said = compression.grpc_name().unwrap();
            assert_eq!(Encoding::from_grpc(said.as_bytes()), Ok(Encoding::of(compression)));
        }
    }

    /// The one name that means two formats.
    #[test]
    fn snappy_is_framed_in_grpc_and_a_block_in_http() {
        assert_eq!(Encoding::from_grpc(b"snappy"), Ok(Some(Encoding::SnappyFramed)));
        assert_eq!(Encoding::from_http(b"snappy"), Ok(Some(Encoding::Snappy)));
    }

    #[test]
    fn other_names_are_refused_and_said_in_short() {
        for bad in [&b"br"[..], b"gzip, gzip", b"lz4", b"GZIP", b"deflate", &[0xff; 5000]] {
            assert!(Encoding::from_grpc(bad).is_err(), "{bad:?}");
        }
        let error = Encoding::from_http(&[0xff; 5000]).unwrap_err();
        assert!(error.to_string().len() < 1000 && error.to_string().contains("x-snappy-framed"));
        assert!(Encoding::from_http(b"gzip, gzip").is_err() && Encoding::from_http(b"br").is_err());
    }
}
