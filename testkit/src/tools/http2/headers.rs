//! The header fields that decide something, and a cache of blocks that were decoded before.
//!
//! Must never answer from the cache once the dynamic table has changed: the same bytes mean other fields then.

use super::frame::Violation;
use super::hpack::Decoder;
use crate::raw::EXPORT_PATH;

/// Blocks kept. A connection of ours or of relayd has one or two that come again and again.
const CACHE_BLOCKS_MAX: usize = 4;

/// How a compressed message is said to be compressed (`grpc-encoding`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::tools) enum Encoding {
    /// No such header, or `identity`.
    #[default]
    Unsaid,
    Gzip,
    Other,
}

/// What a header block says, as far as `load` and `sink` care.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::tools) struct Fields {
    /// `:path` is OTLP's method for traces.
    pub(in crate::tools) is_export: bool,
    pub(in crate::tools) encoding: Encoding,
    /// `:status`; 0 where there is none, as in trailers.
    pub(in crate::tools) http_status: u16,
    pub(in crate::tools) grpc_status: Option<i32>,
}

impl Fields {
    fn note(&mut self, name: &[u8], value: &[u8]) {
        match name {
            b":path" => self.is_export = value == EXPORT_PATH.as_bytes(),
            b":status" => self.http_status = parse(value).unwrap_or(0),
            b"grpc-status" => self.grpc_status = parse(value),
            b"grpc-encoding" => {
                self.encoding = match value {
                    b"identity" => Encoding::Unsaid,
                    b"gzip" => Encoding::Gzip,
                    _ => Encoding::Other,
                };
            }
            _ => {}
        }
    }
}

fn parse<T: std::str::FromStr>(value: &[u8]) -> Option<T> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// Reads the header blocks of one direction of a connection.
#[derive(Debug, Default)]
pub(in crate::tools) struct HeaderReader {
    decoder: Decoder,
    /// Blocks that did not change the table, read since it last changed.
    cache: Vec<(Box<[u8]>, Fields)>,
}

impl HeaderReader {
    /// Reads a block.
    ///
    /// # Errors
    /// [`Violation`] where it is malformed.
    pub(in crate::tools) fn read(&mut self, block: &[u8]) -> Result<Fields, Violation> {
        if let Some((_, fields)) = self.cache.iter().find(|(known, _)| **known == *block) {
            return Ok(*fields);
        }
        let mut fields = Fields::default();
        let changed = self.decoder.decode(block, |name, value| fields.note(name, value))?;
        if changed {
            self.cache.clear();
        } else if self.cache.len() < CACHE_BLOCKS_MAX {
            self.cache.push((block.into(), fields));
        }
        Ok(fields)
    }
}

#[cfg(test)]
mod tests {
    use super::super::hpack::{NEWEST, Name, put_indexed, put_literal};
    use super::*;

    #[test]
    fn the_fields_that_matter_are_read() {
        let mut block = Vec::new();
        put_literal(&mut block, false, Name::Index(4), EXPORT_PATH);
        put_literal(&mut block, false, Name::Spelled("grpc-encoding"), "gzip");
        let request = HeaderReader::default().read(&block).unwrap();
        assert_eq!((request.is_export, request.encoding, request.grpc_status), (true, Encoding::Gzip, None));
        block.clear();
        put_indexed(&mut block, 13);
        put_literal(&mut block, false, Name::Spelled("grpc-status"), "14");
        let answer = HeaderReader::default().read(&block).unwrap();
        assert_eq!((answer.is_export, answer.http_status, answer.grpc_status), (false, 404, Some(14)));
    }

    /// Scenario: the same bytes, before and after the peer has put another entry first.
    /// Guarantee: the cache does not outlive the table that it was made with.
    #[test]
    fn the_cache_ends_with_its_table() {
        let insert = |status: &str| {
            let mut block = Vec::new();
            put_literal(&mut block, true, Name::Spelled("grpc-status"), status);
            block
        };
        let mut newest = Vec::new();
        put_indexed(&mut newest, NEWEST);
        let mut reader = HeaderReader::default();
        for status in [0, 8, 0, 14] {
            assert_eq!(reader.read(&insert(&status.to_string())).unwrap().grpc_status, Some(status));
            for _ in 0..3 {
                assert_eq!(reader.read(&newest).unwrap().grpc_status, Some(status));
                assert_eq!(reader.cache.len(), 1);
            }
        }
    }
}
