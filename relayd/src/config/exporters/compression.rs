//! `compression`, `compression_params` and `compressed_passthrough` of exporters (Collector, configcompression). Must
//! never compress.

use crate::config::section::Section;

/// `compression` of an exporter, by the Collector's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// `none` or `""`: as they came.
    None,
    /// `gzip`
    Gzip,
    /// `zstd`
    Zstd,
    /// `snappy`: blocks over HTTP, the framed format over gRPC, as the Collector has it.
    Snappy,
    /// `x-snappy-framed`, HTTP only.
    SnappyFramed,
    /// `zlib`, HTTP only.
    Zlib,
    /// `deflate`, HTTP only.
    Deflate,
    /// `lz4`, HTTP only.
    Lz4,
}

/// `compressed_passthrough`, a key of relayd's own: what happens to a request that arrives compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passthrough {
    /// `off` (the default): it is opened, checked, counted and merged like any other.
    Off,
    /// `alone`: it is forwarded as it came, unopened and unmerged, in its sender's encoding. Its items are not counted, it
    /// is not checked to be OTLP, and the upstream must take that encoding.
    Alone,
    /// `merged`: as `alone`, and gzip members or zstd frames of several requests are sent one after the other as one.
    /// Dangerous: RFC 1952 section 2.2 and RFC 8878 section 3 make that one valid stream, and the Collector (v0.161)
    /// reads all of it, but a server that stops after the first member (tonic does) answers OK and loses the rest,
    /// without a trace here. Only for an upstream that is known to read to the end.
    Merged,
}

const GRPC: [(&str, Compression); 5] = [
    ("gzip", Compression::Gzip),
    ("zstd", Compression::Zstd),
    ("snappy", Compression::Snappy),
    ("none", Compression::None),
    ("", Compression::None),
];

const HTTP: [(&str, Compression); 9] = [
    ("gzip", Compression::Gzip),
    ("zstd", Compression::Zstd),
    ("snappy", Compression::Snappy),
    ("x-snappy-framed", Compression::SnappyFramed),
    ("zlib", Compression::Zlib),
    ("deflate", Compression::Deflate),
    ("lz4", Compression::Lz4),
    ("none", Compression::None),
    ("", Compression::None),
];

/// `compression` over gRPC. Default gzip, as the Collector's.
pub(super) fn read_grpc(section: &mut Section<'_>) -> Compression {
    let compression = read(section, &GRPC);
    section.refuse("compression_params", "the Collector has it for otlp_http only; remove it");
    compression
}

/// `compression` over HTTP, default gzip, and `compression_params.level`; `None` is the encoder's own level.
pub(super) fn read_http(section: &mut Section<'_>) -> (Compression, Option<i32>) {
    let compression = read(section, &HTTP);
    let level = section.section("compression_params").and_then(|mut params| {
        let level = params.int("level").filter(|level| *level != 0).and_then(|level| {
            let checked = check_level(compression, level);
            checked.map_err(|what| params.error("level", what)).ok().flatten()
        });
        params.finish();
        level
    });
    (compression, level)
}

fn read(section: &mut Section<'_>, words: &[(&str, Compression)]) -> Compression {
    let Some(text) = section.text("compression") else { return Compression::Gzip };
    match words.iter().find(|(word, _)| *word == text) {
        Some((_, compression)) => *compression,
        None => {
            let all = words.iter().map(|(word, _)| *word).filter(|word| !word.is_empty());
            let all = all.collect::<Vec<_>>().join(", ");
            section.error("compression", format!("expected one of {all}, found {text:?}"));
            Compression::None
        }
    }
}

/// The levels that the Collector takes (configcompression, ValidateParams); 0 and -1 are the default.
fn check_level(compression: Compression, level: i64) -> Result<Option<i32>, String> {
    match compression {
        Compression::Gzip | Compression::Zlib | Compression::Deflate => match level {
            -1 => Ok(None),
            -2 => Err("not supported: Huffman coding alone; use 1".to_owned()),
            1..=9 => Ok(i32::try_from(level).ok()),
            _ => Err(format!("must be from 1 to 9, found {level}")),
        },
        // The Collector takes the nearest level that there is.
        Compression::Zstd => Ok(i32::try_from(level.clamp(1, 22)).ok()),
        Compression::None => Ok(None),
        Compression::Snappy | Compression::SnappyFramed | Compression::Lz4 => {
            Err("this compression has no levels; remove it".to_owned())
        }
    }
}

/// `compressed_passthrough`.
pub(super) fn read_passthrough(section: &mut Section<'_>) -> Passthrough {
    const WORDS: [(&str, Passthrough); 3] =
        [("off", Passthrough::Off), ("alone", Passthrough::Alone), ("merged", Passthrough::Merged)];
    section.choice("compressed_passthrough", &WORDS).unwrap_or(Passthrough::Off)
}
