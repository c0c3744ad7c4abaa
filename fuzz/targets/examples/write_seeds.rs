//! Writes the seeds of the corpora: `cargo run -p relay-fuzz-targets --example write_seeds`. Deterministic; what
//! fuzz runs found lies beside them under the hash names that libFuzzer gives.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a tool of the tests, on bytes and numbers of our own"
)]

use std::path::Path;

use testkit::generate::{Xorshift, kube_like_request};
use testkit::oracle::encode;
use testkit::otlp_json::{self, Form};
use testkit::payloads::{recorded, reslice};
use testkit::permute::encode_permuted;
use testkit::raw::{grpc_message, grpc_message_with, gzip};
use testkit::spill_format::{Plain, Segment};
use testkit::wire::put_len_field;

type Seed = (String, Vec<u8>);

fn write(target: &str, name: &str, bytes: &[u8]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus").join(target);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(name), bytes).unwrap();
}

/// Recorded spans, a few per request, one request per recording and size.
fn recorded_seeds() -> Vec<Seed> {
    let mut seeds = Vec::new();
    for recorded in recorded() {
        let request = testkit::oracle::decode(&recorded.bytes).unwrap();
        for spans in [1, 3] {
            if let Some(message) = reslice(&request, spans).first()
                && !seeds
                    .iter()
                    .any(|(name, _): &Seed| *name == format!("recorded-{}-{spans}", recorded.name))
            {
                seeds.push((format!("recorded-{}-{spans}", recorded.name), message.to_vec()));
            }
        }
    }
    seeds
}

fn generated_seeds() -> Vec<Seed> {
    let generated = (0..8_u64).map(|seed| {
        let request = kube_like_request(1 + seed as usize % 4, seed);
        (format!("permuted-{seed}"), encode_permuted(&request, seed, seed % 2 == 1))
    });
    generated.chain([("kube-2".to_owned(), encode(&kube_like_request(2, 9)))]).collect()
}

fn len_field(number: u32, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_len_field(&mut out, number, bytes);
    out
}

/// A request with one span of these bytes.
fn of_span(span: &[u8]) -> Vec<u8> {
    [2, 2, 1].into_iter().fold(span.to_vec(), |inner, field| len_field(field, &inner))
}

/// An attribute with a value nested `depth` arrays (field 5) or lists (field 6) deep.
fn nested(depth: usize, list: bool) -> Vec<u8> {
    let mut value = vec![0x18, 1];
    for _ in 0..depth {
        value = if list {
            len_field(6, &len_field(1, &len_field(2, &value)))
        } else {
            len_field(5, &len_field(1, &value))
        };
    }
    of_span(&len_field(9, &len_field(2, &value)))
}

/// What nobody sends by accident.
fn nasty_seeds() -> Vec<Seed> {
    let small = encode(&kube_like_request(1, 3));
    let groups = |depth: usize| [vec![0x1b; depth], vec![0x1c; depth]].concat();
    let twice = [of_span(b"\x2a\x01a"), of_span(b"\x2a\x01b")].concat();
    let merged_status = of_span(b"\x7a\x03\x12\x01x\x2a\x01n\x7a\x02\x18\x02");
    let oneof =
        of_span(&len_field(9, b"\x0a\x01k\x12\x08\x0a\x01s\x18\x01\x2a\x01\x0a\x12\x04\x2a\x02\x0a\x00"));
    let named: [(&str, Vec<u8>); 26] = [
        ("truncated-half", small[..small.len() / 2].to_vec()),
        ("truncated-last", small[..small.len() - 1].to_vec()),
        ("length-past-end", vec![0x0a, 0x7f, 0]),
        ("length-max", b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01".to_vec()),
        ("overlong-tag", [&b"\x8a\x80\x80\x80\x00\x80\x80\x80\x00"[..], &small].concat()),
        ("overlong-length", b"\x0a\x82\x80\x80\x80\x80\x80\x80\x80\x80\x00\x12\x00".to_vec()),
        ("varint-11", b"\x10\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00".to_vec()),
        ("varint-65-bits", b"\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02".to_vec()),
        ("field-0", vec![0x02, 0]),
        ("field-max", b"\xfa\xff\xff\xff\x0f\x00".to_vec()),
        ("field-over", b"\x82\x80\x80\x80\x10\x00".to_vec()),
        ("wire-type-6", vec![0x0e]),
        ("wire-type-7", vec![0x0f]),
        ("wrong-type", vec![0x08, 1]),
        ("group", [groups(1), small.clone()].concat()),
        ("groups-100", groups(100)),
        ("groups-101", groups(101)),
        ("group-crossed", vec![0x1b, 0x23, 0x1c, 0x24]),
        ("group-in-span", of_span(&[groups(3), b"\x2a\x01n".to_vec()].concat())),
        ("two-spans", twice),
        ("merged-status", merged_status),
        ("oneof-many", oneof),
        ("nested-arrays", nested(30, false)),
        ("nested-lists", nested(30, true)),
        ("odd-ids", of_span(b"\x0a\x03abc\x12\x09123456789\x22\x01p")),
        ("not-utf8", of_span(b"\x2a\x02\xff\xfe\x1a\x01\xc0")),
    ];
    named.into_iter().map(|(name, bytes)| (format!("nasty-{name}"), bytes)).collect()
}

fn requests() -> Vec<Seed> {
    [recorded_seeds(), generated_seeds(), nasty_seeds()].concat()
}

/// Calls' bodies, good and bad, and headers.
fn grpc_seeds() -> Vec<Seed> {
    let message = encode(&kube_like_request(1, 1));
    let bodies: [(&str, Vec<u8>); 12] = [
        ("message", grpc_message(&message).to_vec()),
        ("empty", vec![0; 5]),
        ("gzip", grpc_message_with(1, gzip(&message).len() as u32, &gzip(&message)).to_vec()),
        ("flag-2", grpc_message_with(2, 1, b"x").to_vec()),
        ("too-large", grpc_message_with(0, u32::MAX, b"x").to_vec()),
        ("truncated", grpc_message_with(0, 9, b"x").to_vec()),
        ("trailing", grpc_message_with(0, 1, b"xy").to_vec()),
        ("two", grpc_message(b"abc").repeat(2)),
        ("half-prefix", vec![0, 0, 0]),
        ("timeout", b"99999999H".to_vec()),
        ("percent", b"50%25 of %C3%BC%zz%4".to_vec()),
        ("retry-info", retry_info().into_bytes()),
    ];
    let all = bodies.into_iter();
    all.flat_map(|(name, body)| {
        [0x0f, 0x04].map(|choice| (format!("{name}-{choice}"), [&[choice], &body[..]].concat()))
    })
    .collect()
}

fn retry_info() -> String {
    let delay = std::time::Duration::from_millis(1500);
    relay_core::grpc::status_details_with_retry(relay_core::grpc::Code::UNAVAILABLE, "full", delay)
}

/// What the Collector sends, what the relay writes, and what is made to harm.
fn encoding_seeds() -> Vec<Seed> {
    let message = encode(&kube_like_request(1, 1));
    let zeros = vec![0; 40_000];
    let deflated = |compression, bytes: &[u8]| {
        let rope = relay_core::batch::Rope::new(vec![bytes::Bytes::copy_from_slice(bytes)]);
        relay_core::encoding::deflate(compression, &rope).unwrap().to_vec()
    };
    let mut bodies: Vec<Seed> = Vec::new();
    for name in ["gzip", "zlib", "snappy", "zstd", "lz4", "x-snappy-framed"] {
        let compression = relay_core::config::Compression::for_http(name, None).unwrap();
        let [packed, bomb] = [&message[..], &zeros].map(|bytes| deflated(compression, bytes));
        bodies.push((format!("{name}-half"), packed[..packed.len() / 2].to_vec()));
        bodies.push((format!("{name}-twice"), packed.repeat(2)));
        bodies.push((name.to_owned(), packed));
        bodies.push((format!("{name}-bomb"), bomb));
        let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../relay-core/tests/data/encodings");
        let recorded = std::fs::read(recorded.join(format!("traces.{name}"))).unwrap();
        bodies.push((format!("{name}-recorded"), recorded));
    }
    let named: [(&str, &[u8]); 5] = [
        ("zstd-window-31", b"\x28\xb5\x2f\xfd\0\xa8\x09\0\0x"),
        ("zstd-repeats", b"\x28\xb5\x2f\xfd\0\x68\x02\0\x10\0\x03\0\x10\0"),
        ("skippable", b"\x5a\x2a\x4d\x18\x03\0\0\0abc"),
        ("lz4-linked", b"\x04\x22\x4d\x18\x40\x40\xc0\x05\0\0\x80abcde\x09\0\0\0\x04\x05\0\x50fghij\0\0\0\0"),
        ("gzip-flags", b"\x1f\x8b\x08\x1e\0\0\0\0\0\xff\x02\0xyname\0comment\0\0\0"),
    ];
    bodies.extend(named.map(|(name, body)| (name.to_owned(), body.to_vec())));
    bodies.into_iter().map(|(name, body)| (name, [vec![0x0c], body].concat())).collect()
}

fn http2_frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let head = (payload.len() as u32).to_be_bytes();
    [&head[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// What a client says after its first settings, good and bad.
fn http2_seeds() -> Vec<Seed> {
    let frame = http2_frame;
    let call = |stream: u32, flags: u8| frame(1, 4 | flags, stream, &[0x83, 0x86, 0x84]);
    let with = |more: &[u8]| frame(1, 5, 1, &[&[0x83, 0x86, 0x84], more].concat());
    // RFC 7541, appendix C.4.1: Huffman coded.
    let huffman = b"\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff";
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    let named: [(&str, Vec<Vec<u8>>); 24] = [
        ("call", vec![call(1, 1), call(3, 1)]),
        ("body", vec![call(1, 0), frame(0, 0, 1, &[7; 100]), frame(0, 1, 1, &[])]),
        ("two", vec![call(1, 0), call(3, 0), frame(0, 1, 3, &[3; 40]), frame(0, 1, 1, &[1; 99])]),
        ("padded", vec![frame(1, 0x2d, 1, b"\x01\0\0\0\0\0\x83\x86\x84\0"), frame(0, 9, 1, &[2, 7, 0, 0])]),
        ("padded-wrong", vec![call(1, 0), frame(0, 8, 1, &[4, 0, 0, 0])]),
        ("continued", vec![frame(1, 1, 1, &[0x83]), frame(9, 0, 1, &[0x86]), frame(9, 4, 1, &[0x84])]),
        ("not-continued", vec![frame(1, 1, 1, &[0x83]), call(3, 1)]),
        ("trailers", vec![call(1, 0), frame(0, 0, 1, &[7; 9]), frame(1, 5, 1, b"\0\x01a\x01b")]),
        ("trailers-open", vec![call(1, 0), frame(1, 4, 1, b"\0\x01a\x01b")]),
        (
            "huffman",
            vec![
                frame(1, 5, 1, huffman),
                frame(1, 5, 3, b"\x82\x86\x84\xbe\x58\x86\xa8\xeb\x10\x64\x9c\xbf"),
            ],
        ),
        (
            "indexing",
            vec![
                with(b"\x40\x01a\x01b"),
                frame(1, 5, 3, b"\x83\x86\x84\xbe"),
                frame(1, 5, 5, b"\x20\x83\x86\x84\xbe"),
            ],
        ),
        ("large-list", vec![with(&[&b"\x40\x01a\x7f\x81\x0f"[..], &[b'v'; 2048], &[0xbe; 9]].concat())]),
        ("uppercase", vec![with(b"\0\x01A\x01b"), with(b"\0\x0aconnection\x01b")]),
        ("pseudo-late", vec![with(b"\0\x01a\x01b\x86")]),
        ("reset", vec![call(1, 0), frame(3, 0, 1, &[0, 0, 0, 8]), frame(0, 1, 1, &[1; 70])]),
        ("windows", vec![frame(4, 0, 0, &[0, 4, 0, 0, 0, 0]), call(1, 1), frame(8, 0, 1, &[0, 0, 0, 9])]),
        ("window-zero", vec![call(1, 0), frame(8, 0, 1, &[0; 4]), call(3, 1)]),
        ("window-over", vec![call(1, 1), frame(8, 0, 0, &[0x7f, 0xff, 0xff, 0xff])]),
        (
            "settings",
            vec![frame(4, 0, 0, b"\0\x01\0\0\0\0\0\x05\0\0\x40\0"), call(1, 1), frame(4, 1, 0, &[])],
        ),
        ("pings", vec![frame(6, 0, 0, b"12345678"), frame(6, 1, 0, b"leaving!"), frame(7, 0, 0, &[0; 8])]),
        ("unknown", vec![frame(99, 255, 7, &[1; 20]), frame(2, 0, 9, &[0; 5]), call(1, 1)]),
        ("refused", (0..9).map(|n| call(2 * n + 1, 0)).collect()),
        ("backwards", vec![call(5, 1), call(3, 1)]),
        ("preface", vec![preface, frame(4, 0, 0, &[]), frame(8, 0, 0, &[0, 15, 0, 1]), call(1, 1)]),
    ];
    let choice = |name: &str| if name == "preface" { 0x93 } else { 0x15 };
    named
        .into_iter()
        .map(|(name, frames)| (name.to_owned(), [vec![choice(name)], frames.concat()].concat()))
        .collect()
}

/// Lists of steps, most of which fit together.
fn http2_scripts() -> Vec<Seed> {
    let scripts = (0..32_u64).map(|seed| {
        let mut random = Xorshift::new(seed + 1);
        let steps = (0..20 + 10 * seed).map(|_| random.below(256) as u8);
        let bytes: Vec<u8> = [seed as u8 * 8].into_iter().chain(steps).collect();
        (format!("random-{seed}"), bytes)
    });
    // Calls with END_STREAM or a body, on the first streams in their order, and what ends them.
    let orderly = (0..8_u8).map(|choice| {
        let call = |stream: u8| [0, stream, 0, 0, 4, stream, 0, 90, 0x8e, 5, stream, 1, 7 * choice];
        (format!("orderly-{choice}"), [vec![choice << 2], (0..30).flat_map(call).collect()].concat())
    });
    scripts.chain(orderly).collect()
}

/// Bodies of every signal: requests, and what the Collector was asked about. The first byte chooses the signal.
fn json_seeds() -> Vec<Seed> {
    let cases = include_str!("../../../e2e/json_cases/cases.json");
    let cases: Vec<serde_json::Value> = serde_json::from_str(cases).unwrap();
    let asked = cases.iter().map(|case| {
        let choice = match case["signal"].as_str().unwrap() {
            "traces" => 0,
            "metrics" => 1,
            "logs" => 2,
            _ => 3,
        };
        let name = case["name"].as_str().unwrap().replace(|c: char| !c.is_ascii_alphanumeric(), "-");
        (name, [&[choice], case["body"].as_str().unwrap().as_bytes()].concat())
    });
    let spelled = Form::all().into_iter().step_by(5).enumerate().map(|(index, form)| {
        let body = otlp_json::traces(&kube_like_request(1, index as u64), form).to_string();
        (format!("kube-{index}"), [&[0], body.as_bytes()].concat())
    });
    asked.chain(spelled).collect()
}

/// Segments of the log on disk, sound and not; the first byte says whether a header is put before them.
fn segment_seeds() -> Vec<Seed> {
    let plain = |encoding, parts: &[(usize, u64)]| Plain {
        signal: encoding % 4,
        encoding,
        unix_ms: 1_800_000_000_000,
        parts: parts.to_vec(),
        payload: vec![b'p'; parts.iter().map(|(bytes, _)| bytes).sum()],
    };
    let mut segment = Segment::new(1_800_000_000_000, 0x0BAD_CAFE);
    let table = vec![(segment.id(), vec![0..1, 3..4]), (9, std::iter::once(0..u32::MAX).collect())];
    segment.data(&plain(0, &[(40, 3)])).data(&plain(3, &[(1, 1), (200, 1)])).settled(1, &table);
    segment.data(&plain(0, &[(0, 0), (5, u64::MAX / 200)])).data(&plain(6, &[]));
    let torn = segment.bytes.clone();
    segment.footer(2, &table);
    let whole = &segment.bytes;
    let mut seeds = vec![("finished".to_owned(), whole.clone()), ("torn".to_owned(), torn.clone())];
    for place in &segment.places {
        let sequence = place.sequence;
        seeds.push((format!("cut-{sequence}"), whole[..place.body.start + place.body.len() / 2].to_vec()));
        let mut flipped = whole.clone();
        flipped[place.head.start + 12 + sequence as usize] ^= 4;
        seeds.push((format!("head-{sequence}"), flipped));
        let zeroed: Vec<u8> = whole
            .iter()
            .enumerate()
            .map(|(at, byte)| if place.head.contains(&at) { 0 } else { *byte })
            .collect();
        seeds.push((format!("zeroed-{sequence}"), zeroed));
    }
    let newer = [&whole[..8], &[9], &whole[9..]].concat();
    seeds.extend([("newer".to_owned(), newer), ("twice".to_owned(), [&torn[..], &whole[40..]].concat())]);
    seeds.push(("markers".to_owned(), [&whole[..40], &[0xC5, 0x5E, 0xA7, 0xD1].repeat(40)].concat()));
    seeds.into_iter().map(|(name, bytes)| (name, [&[0], &bytes[..]].concat())).collect()
}

/// Steps that make a segment and damage it.
fn damaged_segment_seeds() -> Vec<Seed> {
    let scripts = (0..32_u64).map(|seed| {
        let mut random = Xorshift::new(seed + 77);
        let bytes: Vec<u8> = (0..20 + 12 * seed).map(|_| random.below(256) as u8).collect();
        (format!("random-{seed}"), [vec![seed as u8], bytes].concat())
    });
    scripts.collect()
}

/// The seeds with bytes before them that choose limits and cuts.
fn with_choices(count: usize) -> Vec<Seed> {
    let mut random = Xorshift::new(count as u64);
    let choices = |random: &mut Xorshift| (0..count).map(|_| random.below(256) as u8).collect::<Vec<u8>>();
    requests().into_iter().map(|(name, bytes)| (name, [choices(&mut random), bytes].concat())).collect()
}

fn main() {
    for (target, seeds) in [
        ("wire", requests()),
        ("framing", requests()),
        ("views_against_prost", requests()),
        ("grpc_messages", grpc_seeds()),
        ("encodings", encoding_seeds()),
        ("http2_frames", http2_scripts()),
        ("http2_server", http2_seeds()),
        ("json", json_seeds()),
        ("spill_damaged", damaged_segment_seeds()),
        ("spill_segment", segment_seeds()),
        ("concat", with_choices(2)),
        ("split", with_choices(4)),
    ] {
        seeds.iter().for_each(|(name, bytes)| write(target, name, bytes));
    }
}
