//! What an exporter is configured to compress with (`compression`, `compression_params.level`).

use crate::limits::{FLATE_LEVEL_DEFAULT, FLATE_LEVEL_MAX, ZSTD_LEVEL_DEFAULT, ZSTD_LEVEL_MAX};

/// Compression of what is sent to an upstream. A level above what the format has counts as its highest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// `identity`.
    #[default]
    None,
    /// gzip, level 1 to 9.
    Gzip(u8),
    /// zlib under the name of `zlib`, level 1 to 9.
    Zlib(u8),
    /// zlib under the name of `deflate`, level 1 to 9.
    Deflate(u8),
    /// zstd, level 1 to [`ZSTD_LEVEL_MAX`].
    Zstd(u8),
    /// Snappy in one block: HTTP's `snappy`.
    Snappy,
    /// Snappy in frames: HTTP's `x-snappy-framed`, and gRPC's `snappy`.
    SnappyFramed,
    /// LZ4 in frames.
    Lz4,
}

/// A compression that was configured and that there is not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompressionError {
    /// No such name for this protocol.
    #[error("expected one of {known}; found {name:?}")]
    Unknown {
        /// What was said.
        name: String,
        /// What may be said.
        known: &'static str,
    },
    /// A level that this compression has not.
    #[error("{name} has no level {level}; {allowed}")]
    Level {
        /// The compression.
        name: String,
        /// What was said.
        level: i32,
        /// What may be said.
        allowed: &'static str,
    },
}

impl Compression {
    /// gzip at the level that costs least CPU.
    pub const GZIP: Self = Self::Gzip(FLATE_LEVEL_DEFAULT);
    /// zstd at the level that costs least CPU.
    pub const ZSTD: Self = Self::Zstd(ZSTD_LEVEL_DEFAULT);

    /// The compression of that name in an OTLP/gRPC exporter's configuration, which has no levels.
    ///
    /// # Errors
    /// Another name than those that the Collector's gRPC client takes.
    pub fn for_grpc(name: &str) -> Result<Self, CompressionError> {
        match name {
            "" | "none" => Ok(Self::None),
            "gzip" => Ok(Self::GZIP),
            "snappy" => Ok(Self::SnappyFramed),
            "zstd" => Ok(Self::ZSTD),
            _ => Err(CompressionError::Unknown { name: name.to_owned(), known: "none, gzip, snappy, zstd" }),
        }
    }

    /// The compression of that name in an OTLP/HTTP exporter's configuration, at `level`
    /// (`compression_params.level`). Without a level it is the one that costs least CPU; 0 and -1 are zlib's own default, as in the
    /// Collector. Levels of zstd that there are not count as the nearest.
    ///
    /// # Errors
    /// Another name than those that the Collector's HTTP client takes; a level that it refuses, or -2 (Huffman only).
    pub fn for_http(name: &str, level: Option<i32>) -> Result<Self, CompressionError> {
        let refused = |allowed| CompressionError::Level {
            name: name.to_owned(),
            level: level.unwrap_or_default(),
            allowed,
        };
        let flate = || match level {
            None => Ok(FLATE_LEVEL_DEFAULT),
            Some(0 | -1) => Ok(6),
            Some(level) => u8::try_from(level)
                .ok()
                .filter(|level| *level <= FLATE_LEVEL_MAX)
                .ok_or_else(|| refused("it has 1 (fastest) to 9 (smallest), and -1 for its own default")),
        };
        let without_level = |compression| match level {
            None | Some(0) => Ok(compression),
            Some(_) => Err(refused("it has no levels")),
        };
        match name {
            "" | "none" => without_level(Self::None),
            "gzip" => flate().map(Self::Gzip),
            "zlib" => flate().map(Self::Zlib),
            "deflate" => flate().map(Self::Deflate),
            "zstd" => {
                let level = level.unwrap_or(0).clamp(1, ZSTD_LEVEL_MAX.into());
                Ok(Self::Zstd(u8::try_from(level).unwrap_or(ZSTD_LEVEL_MAX)))
            }
            "snappy" => without_level(Self::Snappy),
            "x-snappy-framed" => without_level(Self::SnappyFramed),
            "lz4" => without_level(Self::Lz4),
            _ => Err(CompressionError::Unknown {
                name: name.to_owned(),
                known: "none, gzip, zlib, deflate, snappy, zstd, lz4, x-snappy-framed",
            }),
        }
    }

    /// Its name in `grpc-encoding`; `None` where gRPC has none for it.
    pub fn grpc_name(self) -> Option<&'static str> {
        match self {
            Self::None => Some("identity"),
            Self::Gzip(_) => Some("gzip"),
            Self::Zstd(_) => Some("zstd"),
            Self::SnappyFramed => Some("snappy"),
            Self::Zlib(_) | Self::Deflate(_) | Self::Snappy | Self::Lz4 => None,
        }
    }

    /// Its name in `Content-Encoding`. HTTP has one for all; `identity` is not to be sent (RFC 9110 section 8.4.1).
    pub fn http_name(self) -> &'static str {
        match self {
            Self::None => "identity",
            Self::Gzip(_) => "gzip",
            Self::Zlib(_) => "zlib",
            Self::Deflate(_) => "deflate",
            Self::Zstd(_) => "zstd",
            Self::Snappy => "snappy",
            Self::SnappyFramed => "x-snappy-framed",
            Self::Lz4 => "lz4",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the Collector's configuration calls it, the peer is told.
    #[test]
    fn names_are_those_of_the_protocol() {
        for name in ["gzip", "snappy", "zstd"] {
            let compression = Compression::for_grpc(name).unwrap();
            assert_eq!(compression.grpc_name(), Some(name));
        }
        for name in ["gzip", "zlib", "deflate", "snappy", "zstd", "lz4", "x-snappy-framed"] {
            let compression = Compression::for_http(name, None).unwrap();
            assert_eq!(compression.http_name(), name);
        }
        assert_eq!(Compression::for_grpc("none"), Ok(Compression::None));
        assert_eq!(Compression::for_http("", Some(0)), Ok(Compression::None));
        assert_eq!(Compression::for_http("lz4", None).unwrap().grpc_name(), None);
        assert!(Compression::for_grpc("zlib").is_err() && Compression::for_http("br", None).is_err());
    }

    #[test]
    fn levels_are_those_of_the_collector() {
        let level = |name, level| Compression::for_http(name, Some(level));
        assert_eq!(level("gzip", 9), Ok(Compression::Gzip(9)));
        assert_eq!(level("deflate", -1), Ok(Compression::Deflate(6)));
        assert_eq!(level("zlib", 0), Ok(Compression::Zlib(6)));
        assert_eq!(level("zstd", 3), Ok(Compression::Zstd(3)));
        assert_eq!(level("zstd", 22), Ok(Compression::Zstd(ZSTD_LEVEL_MAX)));
        assert_eq!(level("zstd", i32::MIN), Ok(Compression::ZSTD));
        for (name, bad) in [("gzip", 10), ("gzip", -2), ("zlib", -3), ("lz4", 1), ("snappy", -1), ("none", 1)]
        {
            assert!(level(name, bad).is_err(), "{name} {bad}");
        }
    }
}
