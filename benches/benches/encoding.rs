//! Compressing and reading back telemetry by every encoding of OTLP, and for gzip and zstd against states that are made anew for each
//! message: that is why `relay_core::encoding` keeps one for each thread.

#![allow(clippy::expect_used, reason = "a bench whose set-up fails must stop")]

use std::hint::black_box;
use std::io::{Read, Write};

use bytes::{Buf, Bytes};
use criterion::{BenchmarkId, Criterion};
use relay_benches::payload::{self, FRAME_BYTES, Payload};
use relay_benches::{Allocator, criterion, side_by_side};
use relay_core::batch::Rope;
use relay_core::config::Compression;
use relay_core::encoding::{Encoding, deflate, inflate};

#[global_allocator]
static ALLOCATOR: Allocator = mimalloc::MiMalloc;

/// About 5 KB and 240 KB.
const PAYLOADS: [&str; 2] = ["kube-10", "kube-512"];

/// Names as a configuration has them, and a level where it matters.
const COMPRESSIONS: [(&str, Compression); 11] = [
    ("gzip 1", Compression::Gzip(1)),
    ("gzip 6", Compression::Gzip(6)),
    ("gzip 9", Compression::Gzip(9)),
    ("zlib 1", Compression::Zlib(1)),
    ("zstd 1", Compression::Zstd(1)),
    ("zstd 3", Compression::Zstd(3)),
    ("zstd 7", Compression::Zstd(7)),
    ("zstd 11", Compression::Zstd(11)),
    ("snappy", Compression::Snappy),
    ("framed snappy", Compression::SnappyFramed),
    ("lz4", Compression::Lz4),
];

const INFLATED_BYTES_MAX: usize = 64 << 20;

fn main() {
    let mut criterion = criterion();
    for payload in PAYLOADS.map(|name| payload::named(name).expect("a payload")) {
        let plain = in_frames(payload.messages.first().expect("a message"));
        bench(&mut criterion, &payload, &plain);
        anew(&payload, &plain);
    }
    criterion.final_summary();
}

/// As it arrives and as it is sent: in pieces of a DATA frame.
fn in_frames(bytes: &[u8]) -> Rope {
    Rope::new(bytes.chunks(FRAME_BYTES).map(Bytes::copy_from_slice).collect())
}

fn pack(compression: Compression, plain: &Rope) -> Bytes {
    deflate(compression, black_box(plain)).expect("bytes in memory")
}

fn unpack(encoding: Encoding, packed: &Rope) -> Bytes {
    inflate(encoding, black_box(packed).clone(), INFLATED_BYTES_MAX).expect("what was packed")
}

fn bench(criterion: &mut Criterion, payload: &Payload, plain: &Rope) {
    let mut group = criterion.benchmark_group(format!("encoding/{}", payload.name));
    group.throughput(payload.throughput());
    for (name, compression) in COMPRESSIONS {
        let packed = pack(compression, plain);
        println!("{} by {name}: {} of {} bytes", payload.name, packed.len(), plain.len());
        let (packed, encoding) = (in_frames(&packed), Encoding::of(compression).expect("an encoding"));
        group.bench_function(BenchmarkId::new("out", name), |bencher| {
            bencher.iter(|| pack(compression, plain));
        });
        group.bench_function(BenchmarkId::new("in", name), |bencher| {
            bencher.iter(|| unpack(encoding, &packed));
        });
    }
    group.finish();
}

/// The same with a state for each message.
fn anew(payload: &Payload, plain: &Rope) {
    let name = &payload.name;
    let gzip = in_frames(&pack(Compression::GZIP, plain));
    let gzip_out = || {
        let fast = flate2::Compression::fast();
        let mut encoder = flate2::write::GzEncoder::new(Vec::with_capacity(plain.len() / 4), fast);
        plain.pieces().iter().for_each(|piece| encoder.write_all(piece).expect("bytes in memory"));
        black_box(encoder.finish().expect("bytes in memory"));
    };
    let gzip_in = || {
        let mut inflated = Vec::with_capacity(plain.len());
        let mut decoder = flate2::bufread::MultiGzDecoder::new(gzip.reader().reader());
        decoder.read_to_end(&mut inflated).expect("what was packed");
        black_box(inflated);
    };
    let zstd = in_frames(&pack(Compression::ZSTD, plain));
    let zstd_out = || {
        let mut encoder = zstd::Encoder::new(Vec::with_capacity(plain.len() / 4), 1).expect("a context");
        encoder.set_pledged_src_size(Some(plain.len() as u64)).expect("nothing was written");
        plain.pieces().iter().for_each(|piece| encoder.write_all(piece).expect("bytes in memory"));
        black_box(encoder.finish().expect("bytes in memory"));
    };
    let zstd_in = || {
        let mut inflated = Vec::with_capacity(plain.len());
        let mut decoder = zstd::Decoder::with_buffer(zstd.reader().reader()).expect("a context");
        decoder.read_to_end(&mut inflated).expect("what was packed");
        black_box(inflated);
    };
    let kept_in = |encoding, packed: &Rope| drop(black_box(unpack(encoding, packed)));
    let kept_out = |compression| drop(black_box(pack(compression, plain)));
    side_by_side::print(&format!("gzip out, {name}"), "anew", 1, || kept_out(Compression::GZIP), gzip_out);
    side_by_side::print(&format!("gzip in, {name}"), "anew", 1, || kept_in(Encoding::Gzip, &gzip), gzip_in);
    side_by_side::print(&format!("zstd out, {name}"), "anew", 1, || kept_out(Compression::ZSTD), zstd_out);
    side_by_side::print(&format!("zstd in, {name}"), "anew", 1, || kept_in(Encoding::Zstd, &zstd), zstd_in);
}
