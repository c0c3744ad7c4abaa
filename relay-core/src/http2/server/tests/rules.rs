//! Rules that a client breaks: which end the connection and with which reason, and which end one call.

use super::*;

#[test]
fn frames_of_wrong_form_end_the_connection() {
    for (what, bad, reason) in [
        ("DATA larger than allowed", frame(DATA, 0, 1, &[0; 16385]), FRAME_SIZE_ERROR),
        ("unknown frame larger than allowed", frame(99, 0, 1, &[0; 16385]), FRAME_SIZE_ERROR),
        ("SETTINGS of 5 bytes", frame(SETTINGS, 0, 0, &[0; 5]), FRAME_SIZE_ERROR),
        ("SETTINGS ACK that says something", frame(SETTINGS, 1, 0, &[0; 6]), FRAME_SIZE_ERROR),
        ("SETTINGS of a stream", frame(SETTINGS, 0, 1, &[]), PROTOCOL_ERROR),
        ("PING of 7 bytes", frame(PING, 0, 0, &[0; 7]), FRAME_SIZE_ERROR),
        ("PING of 9 bytes", frame(PING, 0, 0, &[0; 9]), FRAME_SIZE_ERROR),
        ("PING of a stream", frame(PING, 0, 1, &[0; 8]), PROTOCOL_ERROR),
        ("GOAWAY of 7 bytes", frame(GOAWAY, 0, 0, &[0; 7]), FRAME_SIZE_ERROR),
        ("GOAWAY of a stream", frame(GOAWAY, 0, 1, &[0; 8]), PROTOCOL_ERROR),
        ("WINDOW_UPDATE of 3 bytes", frame(WINDOW_UPDATE, 0, 0, &[1; 3]), FRAME_SIZE_ERROR),
        ("WINDOW_UPDATE of nothing", frame(WINDOW_UPDATE, 0, 1, &[]), FRAME_SIZE_ERROR),
        ("RST_STREAM of 5 bytes", frame(RST_STREAM, 0, 1, &[0; 5]), FRAME_SIZE_ERROR),
        ("PRIORITY of 4 bytes", frame(PRIORITY, 0, 1, &[0; 4]), FRAME_SIZE_ERROR),
        ("PRIORITY of the connection", frame(PRIORITY, 0, 0, &[0; 5]), PROTOCOL_ERROR),
        ("DATA padded by its length", frame(DATA, PAD, 1, &[5, 0, 0, 0, 0]), PROTOCOL_ERROR),
        ("DATA padded, empty", frame(DATA, PAD, 1, &[]), FRAME_SIZE_ERROR),
        ("HEADERS padded by its length", frame(HEADERS, PAD | EH, 3, &[4, 0x83, 0x86, 0x84]), PROTOCOL_ERROR),
        ("HEADERS shorter than priority", frame(HEADERS, 0x20 | EH, 3, &[0; 4]), PROTOCOL_ERROR),
        ("an initial window of 2^31", settings(&[(4, 1 << 31)]), FLOW_CONTROL_ERROR),
        ("ENABLE_PUSH of 2", settings(&[(2, 2)]), PROTOCOL_ERROR),
        ("MAX_FRAME_SIZE below 16 KiB", settings(&[(5, 16383)]), PROTOCOL_ERROR),
        ("MAX_FRAME_SIZE of 2^24", settings(&[(5, 1 << 24)]), PROTOCOL_ERROR),
        ("PUSH_PROMISE", frame(PUSH_PROMISE, EH, 1, &[0, 0, 0, 2]), PROTOCOL_ERROR),
        ("HEADERS of the connection", call(0, true), PROTOCOL_ERROR),
        ("HEADERS of an even stream", call(4, true), PROTOCOL_ERROR),
    ] {
        violates(settled, &[call(1, false), bad].concat(), reason, what);
    }
}

#[test]
fn frames_out_of_place_end_the_connection() {
    let part = frame(HEADERS, 0, 3, &request());
    let large = vec![b'x'; 16 << 10];
    let too_large = [&request(), &[0x40, 1, b'x', 0x7f, 0x81, 0x1f][..], &[b'v'; 4096]].concat();
    let full = frame(DATA, 0, 1, &large).repeat(WINDOW as usize / large.len());
    for (what, bad, reason) in [
        ("DATA of the connection", frame(DATA, 0, 0, b"x"), PROTOCOL_ERROR),
        ("DATA of an idle stream", frame(DATA, 0, 3, b"x"), PROTOCOL_ERROR),
        ("DATA of a stream that is ours", [call(3, true), frame(DATA, 0, 2, b"x")].concat(), PROTOCOL_ERROR),
        ("RST_STREAM of ours", [call(3, true), frame(RST_STREAM, 0, 2, &[0; 4])].concat(), PROTOCOL_ERROR),
        ("WINDOW_UPDATE of ours", [call(3, true), window_update(2, 1)].concat(), PROTOCOL_ERROR),
        ("DATA after END_STREAM", frame(DATA, ES, 1, b"x").repeat(2), STREAM_CLOSED),
        ("HEADERS after END_STREAM", [frame(DATA, ES, 1, b"x"), call(1, true)].concat(), STREAM_CLOSED),
        ("RST_STREAM of an idle stream", frame(RST_STREAM, 0, 3, &[0; 4]), PROTOCOL_ERROR),
        ("RST_STREAM of the connection", frame(RST_STREAM, 0, 0, &[0; 4]), PROTOCOL_ERROR),
        ("WINDOW_UPDATE of an idle stream", window_update(3, 1), PROTOCOL_ERROR),
        ("WINDOW_UPDATE of 0", window_update(0, 0), PROTOCOL_ERROR),
        ("WINDOW_UPDATE over 2^31 - 1", window_update(0, 0x7fff_0001), FLOW_CONTROL_ERROR),
        (
            "an initial window that is too much for an open call",
            [window_update(1, 0x7fff_0000), settings(&[(4, 65_536)])].concat(),
            FLOW_CONTROL_ERROR,
        ),
        ("CONTINUATION of nothing", frame(CONTINUATION, EH, 1, &[]), PROTOCOL_ERROR),
        ("PING in a header block", [part.clone(), frame(PING, 0, 0, &[0; 8])].concat(), PROTOCOL_ERROR),
        ("DATA in a header block", [part.clone(), frame(DATA, 0, 1, b"x")].concat(), PROTOCOL_ERROR),
        ("an unknown frame in a header block", [part.clone(), frame(99, 0, 3, &[])].concat(), PROTOCOL_ERROR),
        (
            "CONTINUATION of another stream",
            [part.clone(), frame(CONTINUATION, EH, 1, &[])].concat(),
            PROTOCOL_ERROR,
        ),
        (
            "a header block without an end",
            [part, frame(CONTINUATION, 0, 3, &large).repeat(3)].concat(),
            ENHANCE_YOUR_CALM,
        ),
        ("stream numbers that go down", [call(7, true), call(5, true)].concat(), PROTOCOL_ERROR),
        ("a header block that is none", frame(HEADERS, EH, 3, &[0x80]), COMPRESSION_ERROR),
        ("a table larger than allowed", frame(HEADERS, EH, 3, &[0x3f, 0xe2, 0x1f]), COMPRESSION_ERROR),
        (
            "an index of what was too large for the table",
            [frame(HEADERS, EH, 3, &too_large), frame(HEADERS, EH, 5, &[0xbe])].concat(),
            COMPRESSION_ERROR,
        ),
        ("a string cut short", frame(HEADERS, EH, 3, &[0, 5, b'a']), COMPRESSION_ERROR),
        ("more than a call's window", [full, frame(DATA, 0, 1, &large)].concat(), FLOW_CONTROL_ERROR),
        (
            "more than the connection's window",
            [call(3, false), call(5, false)]
                .into_iter()
                .chain(
                    (0..2 * WINDOW as usize / large.len() + 1)
                        .map(|n| frame(DATA, 0, [1, 3, 5][n % 3], &large)),
                )
                .collect::<Vec<_>>()
                .concat(),
            FLOW_CONTROL_ERROR,
        ),
    ] {
        violates(settled, &[call(1, false), bad].concat(), reason, what);
    }
}

#[test]
fn the_beginning_is_checked() {
    let hello = hello();
    for at in 0..24 {
        let mut wrong = hello.clone();
        wrong[at] ^= 0x20;
        violates(|| Server::new(CONFIG), &wrong, PROTOCOL_ERROR, "a preface with a wrong byte");
        let mut server = Server::new(CONFIG);
        for piece in [&hello[..at], &hello[at..]] {
            assert_eq!(receive(&mut server, piece).unwrap(), []);
        }
        assert!(server.is_settled());
        goes_on(&mut server, 1);
    }
    for early in [call(1, true), frame(PING, 0, 0, &[0; 8]), frame(SETTINGS, 1, 0, &[])] {
        let input = [&hello[..24], &early].concat();
        violates(|| Server::new(CONFIG), &input, PROTOCOL_ERROR, "SETTINGS come first");
    }
    violates(|| Server::new(CONFIG), b"GET / HTTP/1.1\r\n\r\n", PROTOCOL_ERROR, "HTTP/1");
}

/// Mistakes on a call end that call, the caller hears of it, and the connection goes on.
#[test]
fn mistakes_of_an_open_call_reset_it() {
    let trailers = |flags, fields: &[(&str, &str)]| frame(HEADERS, EH | flags, 1, &block(fields));
    for (bad, reason) in [
        (window_update(1, 0), PROTOCOL_ERROR),
        (window_update(1, 0x7fff_ffff), FLOW_CONTROL_ERROR),
        (trailers(0, &[("a", "b")]), PROTOCOL_ERROR),
        (trailers(ES, &[(":path", "/")]), PROTOCOL_ERROR),
    ] {
        let mut server = settled();
        let seen = receive(&mut server, &[call(1, false), bad].concat()).unwrap();
        assert_eq!(seen, [Seen::Call(1, false), Seen::Reset(1)]);
        assert_eq!(resets(&output(&mut server)), [(1, reason)]);
        assert_eq!(server.open_streams(), 0);
        // What was on its way is thrown away, and counts in the connection's window alone.
        let late = [frame(DATA, 0, 1, &[0; 1000]), trailers(ES, &[("a", "b")]), window_update(1, 9)].concat();
        assert_eq!(receive(&mut server, &late).unwrap(), []);
        goes_on(&mut server, 3);
    }
}

#[test]
fn malformed_requests_are_reset() {
    let good = [(":method", "POST"), (":scheme", "http"), (":path", "/")];
    let with = |more: &[(&'static str, &'static str)]| [&good, more].concat();
    for bad in [
        with(&[("Upper", "x")]),
        with(&[("connection", "close")]),
        with(&[("proxy-connection", "close")]),
        with(&[("transfer-encoding", "chunked")]),
        with(&[("upgrade", "h2c")]),
        with(&[("keep-alive", "1")]),
        with(&[("te", "gzip")]),
        with(&[("", "x")]),
        with(&[("a", "b"), (":authority", "x")]),
        with(&[(":status", "200")]),
        with(&[(":path", "/again")]),
        with(&[(":method", "POST")]),
        good[1..].to_vec(),
        good[..2].to_vec(),
        [&good[..2], &[(":path", "")]].concat(),
        vec![],
    ] {
        let mut server = settled();
        let input = frame(HEADERS, EH, 1, &block(&bad));
        assert_eq!(receive(&mut server, &input).unwrap(), [], "{bad:?}");
        assert_eq!(resets(&output(&mut server)), [(1, PROTOCOL_ERROR)], "{bad:?}");
        goes_on(&mut server, 3);
    }
    let mut server = settled();
    let fine = with(&[("te", "trailers"), ("x-a", "b")]);
    let seen = receive(&mut server, &frame(HEADERS, EH, 1, &block(&fine))).unwrap();
    assert_eq!(seen, [Seen::Call(1, false)]);
    let fields: Vec<_> = server.fields().iter().collect();
    assert!(fields.iter().zip(&fine).all(|(a, b)| *a == (b.0.as_bytes(), b.1.as_bytes())));
}
