//! Bodies of every encoding: as the Collector sends them, there and back, cut short, changed, and made to harm. Bounds of memory are
//! in `encodings_memory.rs`.

#![cfg(test)]

mod support;

use std::io::Write;

use bytes::Bytes;
use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
use relay_core::batch::Rope;
use relay_core::config::{Compression, Destination};
use relay_core::encoding::{Encoding, InflateError, deflate, inflate};
use relay_core::stats::RejectReason;
use support::{SOON, assert_ok, builder, drain, encoded, endpoint, send_all, settled, upstream};
use testkit::collector::{Collector, Script};
use testkit::generate::kube_like_bytes;
use testkit::raw::{RawRequest, exchange, grpc_message_compressed};

/// The bodies in `data/encodings`, by their `Content-Encoding`.
const RECORDED: [(&str, &[u8]); 7] = [
    ("gzip", include_bytes!("data/encodings/traces.gzip")),
    ("zlib", include_bytes!("data/encodings/traces.zlib")),
    ("deflate", include_bytes!("data/encodings/traces.deflate")),
    ("snappy", include_bytes!("data/encodings/traces.snappy")),
    ("zstd", include_bytes!("data/encodings/traces.zstd")),
    ("lz4", include_bytes!("data/encodings/traces.lz4")),
    ("x-snappy-framed", include_bytes!("data/encodings/traces.x-snappy-framed")),
];

const PLAIN: &[u8] = include_bytes!("data/encodings/traces.pb");

const COMPRESSIONS: [Compression; 12] = [
    Compression::Gzip(1),
    Compression::Gzip(6),
    Compression::Gzip(9),
    Compression::Zlib(1),
    Compression::Deflate(9),
    Compression::Zstd(1),
    Compression::Zstd(3),
    Compression::Zstd(11),
    Compression::Zstd(255),
    Compression::Snappy,
    Compression::SnappyFramed,
    Compression::Lz4,
];

/// `bytes` in pieces of `len`.
fn rope(bytes: &[u8], len: usize) -> Rope {
    Rope::new(bytes.chunks(len).map(Bytes::copy_from_slice).collect())
}

fn whole(bytes: &[u8]) -> Rope {
    rope(bytes, bytes.len().max(1))
}

fn http(name: &str) -> Encoding {
    Encoding::from_http(name.as_bytes()).unwrap().unwrap()
}

fn is_refused(result: &Result<Bytes, InflateError>) -> bool {
    matches!(result, Err(InflateError::NotEncoded { .. }))
}

fn is_too_large(result: &Result<Bytes, InflateError>) -> bool {
    matches!(result, Err(InflateError::TooLarge(_)))
}

/// Bytes of several kinds and lengths, around the sizes of blocks too: text that repeats, telemetry, and what cannot be compressed.
fn samples() -> Vec<Vec<u8>> {
    let mut state = 1_u64;
    let mut noise = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    let text: Vec<u8> = (0..30_000).flat_map(|n| format!("span number {n}, ").into_bytes()).collect();
    let mut samples =
        vec![vec![], vec![0], b"short".to_vec(), PLAIN.to_vec(), kube_like_bytes(512, 1).to_vec()];
    for len in [1000, (64 << 10) - 1, 64 << 10, (64 << 10) + 1, 300_000] {
        samples.push(text[..len].to_vec());
        samples.push((0..len).map(|_| noise()).collect());
    }
    samples
}

#[test]
fn what_the_collector_sends_is_read_in_any_pieces() {
    for (name, body) in RECORDED {
        for len in [1, 2, 3, 7, 16, 100, body.len()] {
            assert_eq!(inflate(http(name), rope(body, len), PLAIN.len()).unwrap(), PLAIN, "{name} {len}");
        }
    }
    // By the name of snappy both of its formats come.
    let framed = RECORDED[6].1;
    assert_eq!(inflate(Encoding::Snappy, rope(framed, 3), 1000).unwrap(), PLAIN);
}

/// Any compression of anything in any pieces comes back, to the last byte of the limit and not with one less.
#[test]
fn there_and_back() {
    for (compression, plain) in
        COMPRESSIONS.iter().flat_map(|one| samples().into_iter().map(move |s| (*one, s)))
    {
        let encoding = Encoding::of(compression).unwrap();
        for len in [7, 4096, usize::MAX] {
            let packed = deflate(compression, &rope(&plain, len.min(plain.len().max(1)))).unwrap();
            let back = inflate(encoding, rope(&packed, len.min(packed.len().max(1))), plain.len());
            assert_eq!(back.unwrap(), plain, "{compression:?} {} bytes", plain.len());
            if let Some(less) = plain.len().checked_sub(1) {
                let cut = inflate(encoding, whole(&packed), less);
                assert!(is_too_large(&cut), "{compression:?} {} bytes: {cut:?}", plain.len());
            }
        }
    }
    assert_eq!(deflate(Compression::None, &rope(PLAIN, 7)).unwrap(), PLAIN);
}

/// A level is one: higher ones make less of the same bytes.
#[test]
fn levels_are_carried_out() {
    let plain = whole(&kube_like_bytes(100, 1));
    let len = |compression| deflate(compression, &plain).unwrap().len();
    assert!(len(Compression::Gzip(9)) < len(Compression::Gzip(1)));
    assert!(len(Compression::Zlib(9)) < len(Compression::Zlib(1)));
    assert!(len(Compression::Zstd(11)) < len(Compression::Zstd(1)));
    assert_eq!(len(Compression::Gzip(255)), len(Compression::Gzip(9)));
}

/// Cut anywhere it is refused; but for the places where a format has nothing that could be missing.
#[test]
fn truncation_at_every_byte_is_noticed() {
    for (name, body) in RECORDED {
        let empty: &[usize] = match name {
            "zstd" | "lz4" => &[0],
            // Between chunks: none, or the stream's identifier alone.
            "x-snappy-framed" => &[0, 10],
            _ => &[],
        };
        for len in 0..body.len() {
            for piece in [3, 1000] {
                let cut = inflate(http(name), rope(&body[..len], piece), 1000);
                match empty.contains(&len) {
                    true => assert_eq!(cut.unwrap(), "", "{name} cut to {len}"),
                    false => assert!(is_refused(&cut), "{name} cut to {len}: {cut:?}"),
                }
            }
        }
    }
}

/// One bit changed anywhere: refused, or of no consequence. Where formats cannot tell: snappy's blocks have no sum, and the kind of a
/// chunk of framed snappy may become one that is to be skipped.
#[test]
fn a_changed_bit_is_noticed() {
    for (name, body) in RECORDED {
        for bit in 0..body.len() * 8 {
            let mut changed = body.to_vec();
            changed[bit / 8] ^= 1 << (bit % 8);
            if let Ok(inflated) = inflate(http(name), rope(&changed, 50), 1 << 20) {
                let untold = name == "snappy" || (name, bit) == ("x-snappy-framed", 87);
                assert!(untold || inflated == PLAIN, "{name}, bit {bit}");
            }
        }
    }
}

/// One after the other: what such formats mean by it, or refused; never the first alone.
#[test]
fn members_and_frames_are_read_to_the_last() {
    for (name, body) in RECORDED {
        let twice = inflate(http(name), rope(&body.repeat(2), 11), 10_000);
        if ["gzip", "zstd", "lz4", "x-snappy-framed"].contains(&name) {
            assert_eq!(twice.unwrap(), PLAIN.repeat(2), "{name}");
        } else {
            assert!(is_refused(&twice), "{name}: {twice:?}");
        }
        for garbage in [&b"\0"[..], b"garbage", &[0xff; 100]] {
            let more = inflate(http(name), rope(&[body, garbage].concat(), 11), 10_000);
            assert!(is_refused(&more), "{name}: {more:?}");
        }
    }
    let skippable = b"\x5a\x2a\x4d\x18\x03\0\0\0abc";
    for name in ["zstd", "lz4"] {
        let body = RECORDED.iter().find(|(recorded, _)| *recorded == name).unwrap().1;
        let between = [skippable, body, skippable, body, skippable].concat();
        assert_eq!(inflate(http(name), rope(&between, 5), 10_000).unwrap(), PLAIN.repeat(2), "{name}");
        assert!(is_refused(&inflate(http(name), whole(&skippable[..9]), 100)), "{name}");
    }
}

/// What one encoding makes is none of the others, and one layer is opened, not those within.
#[test]
fn encodings_are_told_apart_and_opened_once() {
    for (name, body) in RECORDED {
        for (other, _) in RECORDED.iter().filter(|(other, _)| http(other) != http(name)) {
            if (name, *other) != ("x-snappy-framed", "snappy") {
                let wrong = inflate(http(other), whole(body), 1 << 20);
                assert!(!matches!(wrong, Ok(inflated) if inflated == PLAIN), "{name} as {other}");
            }
        }
        let compression = Compression::for_http(name, None).unwrap();
        let nested = deflate(compression, &whole(body)).unwrap();
        assert_eq!(inflate(http(name), whole(&nested), 1000).unwrap(), body, "{name}");
    }
}

/// All that a member's header may have (RFC 1952 section 2.3).
#[test]
fn gzip_headers_are_read_in_full() {
    let mut encoder = flate2::GzBuilder::new()
        .filename("a file")
        .comment("a comment")
        .extra(vec![7; 300])
        .mtime(1)
        .write(Vec::new(), flate2::Compression::fast());
    encoder.write_all(PLAIN).unwrap();
    let mut body = encoder.finish().unwrap();
    let header_len = body.windows(10).position(|bytes| bytes == b"a comment\0").unwrap() + 10;
    assert_eq!(inflate(Encoding::Gzip, rope(&body, 9), 1000).unwrap(), PLAIN);
    // With a sum of its own.
    body[3] |= 2;
    let mut sum = flate2::Crc::new();
    sum.update(&body[..header_len]);
    let sum = sum.sum().to_le_bytes();
    let with = |sum: [u8; 2]| [&body[..header_len], &sum, &body[header_len..]].concat();
    assert_eq!(inflate(Encoding::Gzip, rope(&with([sum[0], sum[1]]), 9), 1000).unwrap(), PLAIN);
    assert!(is_refused(&inflate(Encoding::Gzip, whole(&with([sum[0], !sum[1]])), 1000)));
}

/// HTTP's `deflate` is zlib (RFC 9110 section 8.4.1.2); bare deflate is refused, as the Collector does.
#[test]
fn bare_deflate_is_refused() {
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(PLAIN).unwrap();
    assert!(is_refused(&inflate(http("deflate"), whole(&encoder.finish().unwrap()), 1000)));
}

/// A frame of one raw block `x` whose window is so many: RFC 8878 section 3.1.1.1.2.
fn zstd_with_window(descriptor: u8) -> Vec<u8> {
    [&[0x28, 0xb5, 0x2f, 0xfd, 0, descriptor], &b"\x09\0\0x"[..]].concat()
}

/// Windows up to 8 MiB are read, as RFC 8878 asks; larger ones are refused before memory is taken for them.
#[test]
fn zstd_windows_are_bounded() {
    for (descriptor, good) in
        [(0, true), (13 << 3, true), (13 << 3 | 1, false), (21 << 3, false), (0xff, false)]
    {
        let result = inflate(Encoding::Zstd, whole(&zstd_with_window(descriptor)), 1000);
        assert_eq!(result.is_ok(), good, "{descriptor:#x}: {result:?}");
        assert!(good || is_refused(&result));
    }
}

fn lz4(info: FrameInfo, plain: &[u8]) -> Vec<u8> {
    let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
    plain.chunks(10_000).for_each(|piece| encoder.write_all(piece).unwrap());
    encoder.finish().unwrap()
}

/// Everything that a frame of lz4 may be made of, and its lies.
#[test]
fn lz4_frames_are_read_in_full() {
    let plain = samples().swap_remove(13);
    assert_eq!(plain.len(), 300_000);
    for mode in [BlockMode::Independent, BlockMode::Linked] {
        for size in [BlockSize::Max64KB, BlockSize::Max256KB, BlockSize::Max1MB, BlockSize::Max4MB] {
            for sums in [false, true] {
                let info = FrameInfo::new()
                    .block_mode(mode)
                    .block_size(size)
                    .block_checksums(sums)
                    .content_checksum(!sums)
                    .content_size(Some(plain.len() as u64));
                let body = lz4(info, &plain);
                assert_eq!(inflate(Encoding::Lz4, rope(&body, 5000), plain.len()).unwrap(), plain);
                assert!(is_too_large(&inflate(Encoding::Lz4, whole(&body), plain.len() - 1)));
                // In the last block, and the last sum.
                for at in [body.len() - 20, body.len() - 1] {
                    let mut changed = body.clone();
                    changed[at] ^= 0x10;
                    assert!(is_refused(&inflate(Encoding::Lz4, whole(&changed), 1 << 20)), "{mode:?} {at}");
                }
            }
        }
    }
    // The legacy format, a dictionary, a block that is larger than its frame allows.
    assert!(is_refused(&inflate(Encoding::Lz4, whole(b"\x02\x21\x4c\x18\0\0\0\0"), 100)));
    assert!(is_refused(&inflate(Encoding::Lz4, whole(b"\x04\x22\x4d\x18\x61\x40\0\0\0\0\x00"), 100)));
    let block = [&b"\x04\x22\x4d\x18\x60\x40\x82"[..], &0x8001_0001_u32.to_le_bytes(), &[0; 70_000]].concat();
    assert!(is_refused(&inflate(Encoding::Lz4, whole(&block), 1 << 20)));
}

/// A block that says it is larger than it can be.
#[test]
fn snappy_blocks_that_lie_are_refused() {
    assert!(is_refused(&inflate(Encoding::Snappy, whole(b""), 1 << 40)));
    assert!(is_refused(&inflate(Encoding::Snappy, whole(b"\xff\xff\xff\xff\x0f\x00a"), 1 << 40)));
    assert!(is_too_large(&inflate(Encoding::Snappy, whole(&[&b"\xe8\x07"[..], &[0; 200]].concat()), 999)));
}

/// Two relays: what one sends with each of gRPC's encodings, the other takes, and a collector gets all of it.
#[test]
fn one_relay_reads_what_another_sends() {
    for name in ["none", "gzip", "snappy", "zstd"] {
        let collector = Collector::start(Script::ok());
        let second = builder(upstream(collector.addr())).start().unwrap();
        let mut config = upstream(endpoint(&second));
        if let Destination::Grpc(grpc) = &mut config.destination {
            grpc.compression = Compression::for_grpc(name).unwrap();
        }
        let first = builder(config).start().unwrap();
        assert_ok(&send_all(endpoint(&first), (0..20).map(|seed| encoded(100, seed))));
        assert_eq!(settled(&drain(first, SOON)).delivered, 2000, "{name}");
        assert_eq!(settled(&drain(second, SOON)).delivered, 2000, "{name}");
    }
}

/// gRPC has no name for it: said when the relay starts, not to the upstream.
#[test]
fn a_compression_without_a_name_does_not_start() {
    let collector = Collector::start(Script::ok());
    let mut config = upstream(collector.addr());
    if let Destination::Grpc(grpc) = &mut config.destination {
        grpc.compression = Compression::Lz4;
    }
    assert!(builder(config).start().unwrap_err().to_string().contains("Lz4"));
}

/// Each of gRPC's encodings: bytes that are none and bombs are refused alone, their neighbours on the connection are not.
#[test]
fn bad_bodies_end_only_their_calls() {
    let collector = Collector::start(Script::ok());
    let relay = builder(upstream(collector.addr())).start().unwrap();
    let call = |encoding: &str, body: &[u8]| {
        RawRequest::export(vec![grpc_message_compressed(body)]).with_header("grpc-encoding", encoding)
    };
    let zeros = whole(&vec![0; (64 << 20) + 1]);
    for name in ["gzip", "snappy", "zstd"] {
        let compression = Compression::for_grpc(name).unwrap();
        let good = deflate(compression, &whole(&encoded(3, 1))).unwrap();
        let bomb = deflate(compression, &zeros).unwrap();
        let calls = vec![
            call(name, &good),
            call(name, b"none of them"),
            call(name, &good[..good.len() - 1]),
            call(name, &bomb),
            call("lz4", &good),
            call(name, &good),
        ];
        let statuses: Vec<_> = exchange(endpoint(&relay), calls)
            .into_iter()
            .map(|response| response.unwrap().grpc_status().unwrap())
            .collect();
        assert_eq!(statuses, [0, 3, 3, 8, 12, 0], "{name}");
    }
    let stats = drain(relay, SOON);
    let count = |reason| {
        let at = RejectReason::ALL.iter().position(|one| *one == reason).unwrap();
        stats.receivers[0].rejected_requests[at]
    };
    assert_eq!(count(RejectReason::Decompress), 6);
    assert_eq!((count(RejectReason::TooLarge), count(RejectReason::UnsupportedEncoding)), (3, 3));
    assert_eq!(settled(&stats).delivered, 18);
}
