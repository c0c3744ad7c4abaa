//! Bodies of every encoding.

use relay_core::batch::Rope;
use relay_core::config::Compression;
use relay_core::encoding::{Encoding, deflate, inflate};

use crate::cut;

const ENCODINGS: [(Encoding, Compression); 6] = [
    (Encoding::Gzip, Compression::GZIP),
    (Encoding::Zlib, Compression::Zlib(1)),
    (Encoding::Zstd, Compression::ZSTD),
    (Encoding::Snappy, Compression::Snappy),
    (Encoding::SnappyFramed, Compression::SnappyFramed),
    (Encoding::Lz4, Compression::Lz4),
];

/// The first byte chooses the limit, the rest is a body: as any encoding it is refused, or inflates within the limit, and to the same in
/// any cut and under any larger limit. Deflated, it comes back.
pub fn encodings(data: &[u8]) {
    let Some((&choice, body)) = data.split_first() else { return };
    let bytes_max = 1 << (choice & 0x0f);
    for (encoding, compression) in ENCODINGS {
        let whole = inflate(encoding, rope(body, None), bytes_max);
        let pieces = inflate(encoding, rope(body, Some(choice)), bytes_max);
        assert_eq!(whole.as_ref().ok(), pieces.as_ref().ok(), "{encoding}: the cut must not matter");
        if let Ok(inflated) = &whole {
            assert!(inflated.len() <= bytes_max, "{encoding}: more than the limit");
            let more = inflate(encoding, rope(body, None), 1 << 20);
            assert_eq!(more.ok().as_ref(), Some(inflated), "{encoding}: the limit must not matter");
        }
        let packed = deflate(compression, &rope(body, Some(!choice))).unwrap();
        let back = inflate(encoding, rope(&packed, Some(choice)), body.len());
        assert_eq!(back.unwrap(), body, "{encoding}: there and back");
    }
}

/// `bytes` in one piece, or cut by a seed.
fn rope(bytes: &[u8], seed: Option<u8>) -> Rope {
    Rope::new(seed.map_or_else(|| vec![bytes::Bytes::copy_from_slice(bytes)], |seed| cut(bytes, seed)))
}
