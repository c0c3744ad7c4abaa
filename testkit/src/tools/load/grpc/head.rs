//! The header block of a request, encoded once, in the order and form in which grpc-go sends it.
//!
//! Must never be made anew for a call: after the first call of a connection all fields are in the peer's dynamic table.

use std::time::Duration;

use super::super::super::http2::frame::TABLE_BYTES;
use super::super::super::http2::hpack::{NEWEST, Name, put_indexed, put_literal, put_table_size};
use crate::raw::EXPORT_PATH;

/// The header block of every request, as it is sent first, later, and to a peer that wants no dynamic table.
///
/// One thing differs from grpc-go: its `grpc-timeout` is what is left of the deadline, mostly another value in each call. Here it is
/// always the same, so that it is indexed after the first call.
#[derive(Debug)]
pub(in crate::tools::load) struct RequestHead {
    first: Vec<u8>,
    later: Vec<u8>,
    unindexed: Vec<u8>,
}

impl RequestHead {
    /// For requests to `authority` that may take `timeout`.
    pub(in crate::tools::load) fn new(authority: &str, timeout: Duration, gzip: bool) -> Self {
        let timeout = grpc_timeout(timeout);
        let mut fields = vec![
            (Name::Index(4), EXPORT_PATH),
            (Name::Index(1), authority),
            (Name::Index(31), "application/grpc"),
            (Name::Index(58), concat!("testkit/", env!("CARGO_PKG_VERSION"), " grpc-go/1.80.0")),
            (Name::Spelled("te"), "trailers"),
        ];
        if gzip {
            fields.push((Name::Spelled("grpc-encoding"), "gzip"));
            fields.push((Name::Spelled("grpc-accept-encoding"), "gzip"));
        }
        fields.push((Name::Spelled("grpc-timeout"), &timeout));
        // :method POST and :scheme http stand in the static table.
        let start = vec![0x83, 0x86];
        let (mut first, mut later, mut unindexed) = (start.clone(), start.clone(), start);
        for (place, (name, value)) in fields.iter().enumerate() {
            put_literal(&mut first, true, *name, value);
            put_indexed(&mut later, NEWEST + (fields.len() - 1 - place) as u64);
            put_literal(&mut unindexed, false, *name, value);
        }
        Self { first, later, unindexed }
    }

    /// Appends the block of a connection's call, which is its `first` or not, for a peer whose table has `table_bytes`.
    pub(in crate::tools::load) fn put(&self, out: &mut Vec<u8>, first: bool, table_bytes: u32) {
        if table_bytes < TABLE_BYTES {
            if first {
                put_table_size(out, 0);
            }
            out.extend_from_slice(&self.unindexed);
        } else {
            out.extend_from_slice(if first { &self.first } else { &self.later });
        }
    }
}

/// `grpc-timeout`: at most eight digits and a unit (gRPC over HTTP/2, "Timeout").
fn grpc_timeout(timeout: Duration) -> String {
    let millis = timeout.as_millis().max(1);
    if millis.is_multiple_of(1000) || millis > 99_999_999 {
        format!("{}S", millis / 1000)
    } else {
        format!("{millis}m")
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::super::http2::hpack::Decoder;
    use super::*;

    fn decode(decoder: &mut Decoder, block: &[u8]) -> Vec<String> {
        let mut fields = Vec::new();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        decoder.decode(block, |name, value| fields.push(format!("{}: {}", text(name), text(value)))).unwrap();
        fields
    }

    /// Guarantee: first, later and unindexed blocks say the same, and later ones say it in a byte a field.
    #[test]
    fn all_forms_say_the_same() {
        for gzip in [false, true] {
            let head = RequestHead::new("127.0.0.1:4317", Duration::from_secs(10), gzip);
            let (mut indexing, mut refusing) = (Decoder::default(), Decoder::default());
            let said = |decoder: &mut Decoder, first, table_bytes| {
                let mut block = Vec::new();
                head.put(&mut block, first, table_bytes);
                (decode(decoder, &block), block.len())
            };
            let (first, _) = said(&mut indexing, true, 4096);
            assert_eq!(
                first[0..4],
                [
                    ":method: POST".to_owned(),
                    ":scheme: http".to_owned(),
                    format!(":path: {EXPORT_PATH}"),
                    ":authority: 127.0.0.1:4317".to_owned(),
                ]
            );
            assert_eq!(first.last().unwrap(), "grpc-timeout: 10S");
            assert_eq!(first.contains(&"grpc-encoding: gzip".to_owned()), gzip);
            assert_eq!(said(&mut indexing, false, 4096), (first.clone(), first.len()));
            assert_eq!(said(&mut refusing, true, 0).0, first);
            assert_eq!(said(&mut refusing, false, 0).0, first);
        }
    }

    #[test]
    fn timeouts_have_at_most_eight_digits() {
        assert_eq!(grpc_timeout(Duration::from_secs(10)), "10S");
        assert_eq!(grpc_timeout(Duration::from_millis(1_500)), "1500m");
        assert_eq!(grpc_timeout(Duration::from_millis(100_000_001)), "100000S");
        assert_eq!(grpc_timeout(Duration::ZERO), "1m");
    }
}
