//! What inflating may take: bombs stop at the limit, and neither they nor honest bodies take more memory than it and a constant.
//! A binary of its own with one test, because it measures the most that its process ever held (`VmHWM`), what C code holds included.

#![cfg(test)]

use bytes::Bytes;
use relay_core::batch::Rope;
use relay_core::config::Compression;
use relay_core::encoding::{Encoding, InflateError, deflate, inflate};
use relay_core::limits::INFLATE_WORK_BYTES_MAX;

const LIMIT_BYTES: usize = 16 << 20;

/// What the allocator keeps for itself, and pages that are shared with nothing of ours.
const SLACK_BYTES: usize = 1 << 20;

fn status_bytes(field: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
}

/// What `work` returns, and by how much resident memory grew over what it was before, at the most.
fn peak<T>(work: impl FnOnce() -> T) -> (T, usize) {
    // proc(5): 5 makes the peak what is resident now.
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = status_bytes("VmRSS:");
    let result = work();
    (result, status_bytes("VmHWM:").saturating_sub(before))
}

/// The body in frames of HTTP/2's default size, as it arrives.
fn rope(bytes: &[u8]) -> Rope {
    Rope::new(bytes.chunks(16 << 10).map(Bytes::copy_from_slice).collect())
}

fn zeros(len: usize, compression: Compression) -> Vec<u8> {
    deflate(compression, &Rope::new(vec![Bytes::from(vec![0; len])])).unwrap().to_vec()
}

/// Text that shrinks to a fifth, so that buffers fill in other steps than those of zeros.
fn text(len: usize) -> Bytes {
    (0..).flat_map(|n: u32| n.wrapping_mul(2_654_435_761).to_string().into_bytes()).take(len).collect()
}

fn bombs() -> Vec<(&'static str, Encoding, Vec<u8>)> {
    let zstd = zeros(4 << 20, Compression::ZSTD);
    // Says no size, and asks for the largest window that is allowed: blocks of 128 KiB that repeat one byte.
    let wide = [&b"\x28\xb5\x2f\xfd\x00\x68"[..], &b"\x02\0\x10\0".repeat(1000), b"\x03\0\x10\0"].concat();
    let gzip = zeros(1 << 20, Compression::GZIP);
    let mut lying = zeros(256 << 20, Compression::GZIP);
    let end = lying.len();
    lying[end - 4..].copy_from_slice(&16_000_000_u32.to_le_bytes());
    vec![
        ("gzip that lies", Encoding::Gzip, lying),
        ("gzip in members", Encoding::Gzip, gzip.repeat(100)),
        (
            "gzip in empty members",
            Encoding::Gzip,
            [zeros(0, Compression::GZIP).repeat(100_000), gzip.repeat(20)].concat(),
        ),
        ("zlib", Encoding::Zlib, zeros(256 << 20, Compression::Zlib(9))),
        ("zstd", Encoding::Zstd, zeros(256 << 20, Compression::ZSTD)),
        ("zstd in frames", Encoding::Zstd, zstd.repeat(20)),
        ("zstd with a wide window", Encoding::Zstd, wide),
        ("snappy", Encoding::Snappy, zeros(128 << 20, Compression::Snappy)),
        ("framed snappy", Encoding::SnappyFramed, zeros(128 << 20, Compression::SnappyFramed)),
        ("lz4", Encoding::Lz4, zeros(256 << 20, Compression::Lz4)),
    ]
}

#[test]
fn neither_bombs_nor_honest_bodies_take_more_than_the_limit() {
    for (name, encoding, bomb) in bombs() {
        let body = rope(&bomb);
        let (result, grown) = peak(|| inflate(encoding, body, LIMIT_BYTES));
        assert!(matches!(result, Err(InflateError::TooLarge(LIMIT_BYTES))), "{name}: {result:?}");
        let max = LIMIT_BYTES + INFLATE_WORK_BYTES_MAX + SLACK_BYTES;
        assert!(grown <= max, "{name}: {grown} bytes more than before, of {max}");
    }
    // Lengths around the steps in which a buffer grows.
    for len in [LIMIT_BYTES / 4 + 1, LIMIT_BYTES / 2 + 1, LIMIT_BYTES] {
        let plain = Rope::new(vec![text(len)]);
        for compression in [
            Compression::GZIP,
            Compression::Zlib(1),
            Compression::ZSTD,
            Compression::Snappy,
            Compression::SnappyFramed,
            Compression::Lz4,
        ] {
            let body = rope(&deflate(compression, &plain).unwrap());
            let encoding = Encoding::of(compression).unwrap();
            let (inflated, grown) = peak(|| inflate(encoding, body, LIMIT_BYTES).unwrap());
            assert_eq!(inflated.len(), len);
            let max = LIMIT_BYTES + INFLATE_WORK_BYTES_MAX + SLACK_BYTES;
            assert!(grown <= max, "{compression:?} of {len}: {grown} bytes more than before, of {max}");
        }
    }
}
