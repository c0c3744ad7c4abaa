//! Attacks on HTTP/2 itself, and what it costs to bear with them: each ends its own connection and no other, and memory stays
//! bounded. A binary of its own, because it measures the memory of its process.

#![cfg(test)]

mod support;

use support::frames::{
    CONTINUATION, DATA, END_HEADERS, HEADERS, PING, RST_STREAM, connect, export_headers, flood, frame,
    is_ended, literal, open,
};
use support::{SOON, assert_ok, builder, drain, encoded, endpoint, send_all, settled, upstream};
use testkit::collector::{Collector, Script};
use testkit::raw::{RawRequest, exchange, grpc_message};

fn start(collector: &Collector) -> relay_core::RelayHandle {
    builder(upstream(collector.addr())).cores(2).start().unwrap()
}

/// Resident memory of this process in bytes (`/proc/self/statm`, second field, in pages).
fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// Runs an attack while good calls are made on another connection: they succeed, memory stays bounded, and
/// nothing stays held.
fn survive(attack: impl FnOnce(std::net::SocketAddr)) {
    let collector = Collector::start(Script::ok());
    let relay = start(&collector);
    assert_ok(&send_all(endpoint(&relay), (0..50).map(|seed| encoded(2, seed))));
    let before = resident_bytes();
    let addr = endpoint(&relay);
    let good_calls = std::thread::spawn(move || {
        for round in 0..10 {
            assert_ok(&send_all(addr, (0..10).map(|n| encoded(2, 100 + round * 10 + n))));
        }
    });
    attack(addr);
    good_calls.join().unwrap();
    assert_ok(&send_all(addr, [encoded(2, 999)]));
    let grown = resident_bytes().saturating_sub(before);
    // Other tests of this binary run in the same process: generous, and far below what the floods send.
    assert!(grown < 200 << 20, "{grown} bytes more are resident");
    let stats = drain(relay, SOON);
    assert_eq!(settled(&stats).delivered, 2 * 151);
    assert_eq!(stats.connections, 0);
}

/// CVE-2023-44487: streams opened and reset as fast as can be written.
#[test]
fn rapid_resets_end_only_their_connection() {
    survive(|addr| {
        let ended = flood(connect(addr), 20_000, |n| {
            let stream = 2 * u32::try_from(n).unwrap() + 1;
            let reset = frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes());
            [frame(HEADERS, END_HEADERS, stream, &export_headers()), reset].concat()
        });
        assert!(ended, "20,000 resets were taken");
    });
}

/// CVE-2024-27316: a header block that never ends.
#[test]
fn a_continuation_flood_ends_only_its_connection() {
    survive(|addr| {
        let more = literal("x", &"y".repeat(100)).repeat(100);
        let ended = flood(connect(addr), 6_000, |n| match n {
            0 => frame(HEADERS, 0, 1, &export_headers()),
            _ => frame(CONTINUATION, 0, 1, &more),
        });
        assert!(ended, "60 MB of headers were taken");
    });
}

/// DATA frames of nothing, and of one byte: they cost the receiver more than the sender (RUSTSEC-2026-0258).
#[test]
fn floods_of_tiny_data_frames_end_only_their_connection() {
    survive(|addr| {
        let head = |n| if n == 0 { frame(HEADERS, END_HEADERS, 1, &export_headers()) } else { Vec::new() };
        let empty = frame(DATA, 0, 1, &[]).repeat(1000);
        assert!(flood(connect(addr), 1000, |n| [head(n), empty.clone()].concat()), "a million empty frames");
        // One byte of a declared 64 MiB at a time stays within flow control.
        let one = frame(DATA, 0, 1, &[0]).repeat(1000);
        let prefix = frame(DATA, 0, 1, &[0, 0, 0x0f, 0, 0]);
        let first = |n| if n == 0 { [head(0), prefix.clone()].concat() } else { Vec::new() };
        assert!(flood(connect(addr), 1000, |n| [first(n), one.clone()].concat()), "a million tiny frames");
    });
}

/// More answers in one turn than may wait to be read: when the sender has read them, what it sends next is read too.
#[test]
fn many_answers_at_once_do_not_stall_a_connection() {
    let collector = Collector::start(Script::ok());
    let relay = start(&collector);
    let mut stream = connect(endpoint(&relay));
    stream.set_read_timeout(Some(SOON)).unwrap();
    let mut read = vec![0; 1 << 20];
    for _ in 0..2 {
        // An answer has 17 bytes, as the ping itself.
        std::io::Write::write_all(&mut stream, &frame(PING, 0, 0, &[7; 8]).repeat(4_500)).unwrap();
        let mut left: usize = 4_500 * 17;
        while left > 0 {
            let got = std::io::Read::read(&mut stream, &mut read).expect("the answers go on");
            assert!(got > 0);
            left = left.saturating_sub(got);
        }
    }
    drop(stream);
    drain(relay, SOON);
}

/// A header list over the bound refuses its call; a ping flood is only work, and ends at its own connection.
#[test]
fn large_header_lists_and_pings_are_bounded() {
    survive(|addr| {
        let good = RawRequest::export(vec![grpc_message(&encoded(2, 1))]);
        let large =
            (0..300).fold(good, |request, n| request.with_header(&format!("x-{n}"), &"v".repeat(100)));
        let responses = exchange(addr, vec![large]);
        let refused = responses[0].as_ref().map_or(true, |response| response.status == 431);
        assert!(refused, "{responses:?}");
        flood(connect(addr), 1000, |_| frame(PING, 0, 0, &[7; 8]).repeat(20));
    });
}

/// What is not HTTP/2 at all is closed.
#[test]
fn garbage_instead_of_a_preface_is_closed() {
    survive(|addr| {
        let garbage: [&[u8]; 4] = [
            b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS hello to a plain port, padded to the preface's length",
            &[0xff; 4096],
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff a frame far over the announced size",
        ];
        for bytes in garbage {
            let mut stream = open(addr);
            std::io::Write::write_all(&mut stream, bytes).unwrap();
            assert!(is_ended(&mut stream), "{bytes:?}");
        }
        // Frames that HTTP/2 forbids: DATA on stream 0, HEADERS with an even stream, a frame over the
        // announced size.
        let oversized = vec![0; 17 << 10];
        for bad in [
            frame(DATA, 0, 0, b"x"),
            frame(HEADERS, END_HEADERS, 2, &export_headers()),
            frame(DATA, 0, 1, &oversized),
        ] {
            let mut stream = connect(addr);
            std::io::Write::write_all(&mut stream, &bad).ok();
            assert!(is_ended(&mut stream));
        }
    });
}
