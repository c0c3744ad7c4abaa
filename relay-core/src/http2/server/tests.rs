//! The server against the rules of RFC 9113, one by one; frames are built and read here by hand, by none of the code under
//! test. Must never go through a socket: `tests/http2_oracle.rs` asks another implementation.

use proptest::prelude::*;

use super::*;

mod rules;
mod windows;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const ES: u8 = 1;
const EH: u8 = 4;
const PAD: u8 = 8;

const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const STREAM_CLOSED: u32 = 5;
const FRAME_SIZE_ERROR: u32 = 6;
const REFUSED_STREAM: u32 = 7;
const COMPRESSION_ERROR: u32 = 9;
const ENHANCE_YOUR_CALM: u32 = 11;

const WINDOW: u32 = 100_000;
const CONFIG: ServerConfig = ServerConfig {
    streams_max: 8,
    stream_window_bytes: WINDOW,
    connection_window_bytes: 2 * WINDOW,
    header_list_bytes_max: 16 << 10,
};

/// A frame with any head and payload.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend(payload);
    out
}

/// Fields as literals that are not indexed, shorter than 127 bytes each.
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        out.push(0);
        for text in [name, value] {
            out.push(u8::try_from(text.len()).unwrap());
            out.extend(text.as_bytes());
        }
    }
    out
}

/// POST, http, "/" and what gRPC adds.
fn request() -> Vec<u8> {
    [&[0x83, 0x86, 0x84][..], &block(&[("content-type", "application/grpc"), ("te", "trailers")])].concat()
}

fn call(stream: u32, end: bool) -> Vec<u8> {
    frame(HEADERS, EH | u8::from(end), stream, &request())
}

fn settings(pairs: &[(u16, u32)]) -> Vec<u8> {
    let payload: Vec<u8> =
        pairs.iter().flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()).collect();
    frame(SETTINGS, 0, 0, &payload)
}

fn window_update(stream: u32, bytes: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes())
}

fn hello() -> Vec<u8> {
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), settings(&[])].concat()
}

/// A server whose peer has said hello, and which has said what it says first.
fn settled() -> Server {
    let mut server = Server::new(CONFIG);
    assert_eq!(receive(&mut server, &hello()).unwrap(), []);
    assert!(server.is_settled());
    server.output().clear();
    server
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Call(u32, bool),
    Data(u32, Vec<u8>, bool),
    Reset(u32),
}

/// Gives the server one piece of input; DATA that follows DATA of its call is joined to it.
fn receive_into(server: &mut Server, input: &[u8], seen: &mut Vec<Seen>) -> Result<(), Violation> {
    receive_and_refuse(server, input, seen, &[])
}

/// The same; these calls are refused as soon as they have begun.
fn receive_and_refuse(
    server: &mut Server,
    input: &[u8],
    seen: &mut Vec<Seen>,
    refused: &[u32],
) -> Result<(), Violation> {
    let mut input = Bytes::copy_from_slice(input);
    while let Some(event) = server.receive(&mut input)? {
        if let Event::Call { stream, .. } = event
            && refused.contains(&stream)
        {
            server.refuse(stream, std::iter::empty());
        }
        match (event, seen.last_mut()) {
            (Event::Data { stream, bytes, end }, Some(Seen::Data(last, all, ended)))
                if *last == stream && !*ended =>
            {
                all.extend_from_slice(&bytes);
                *ended = end;
            }
            (Event::Data { stream, bytes, end }, _) => seen.push(Seen::Data(stream, bytes.to_vec(), end)),
            (Event::Call { stream, end }, _) => seen.push(Seen::Call(stream, end)),
            (Event::Reset { stream }, _) => seen.push(Seen::Reset(stream)),
        }
    }
    assert!(input.is_empty(), "all of it is read where there is no event");
    Ok(())
}

fn receive(server: &mut Server, input: &[u8]) -> Result<Vec<Seen>, Violation> {
    let mut seen = Vec::new();
    receive_into(server, input, &mut seen).map(|()| seen)
}

/// A frame as read: type, flags, stream, payload.
type Frame = (u8, u8, u32, Vec<u8>);

/// Takes the output, which is whole frames within the peer's limit.
fn output(server: &mut Server) -> Vec<Frame> {
    let out = std::mem::take(server.output());
    let (mut frames, mut rest) = (Vec::new(), &out[..]);
    while !rest.is_empty() {
        let len = usize::from(rest[1]) << 8 | usize::from(rest[2]) | usize::from(rest[0]) << 16;
        assert!(len <= 16 << 10, "a frame of {len} bytes");
        let stream = u32::from_be_bytes(rest[5..9].try_into().unwrap());
        frames.push((rest[3], rest[4], stream, rest[9..9 + len].to_vec()));
        rest = &rest[9 + len..];
    }
    frames
}

fn number(payload: &[u8]) -> u32 {
    u32::from_be_bytes(payload[payload.len() - 4..].try_into().unwrap())
}

fn resets(frames: &[Frame]) -> Vec<(u32, u32)> {
    let resets = frames.iter().filter(|(kind, ..)| *kind == RST_STREAM);
    resets.map(|(_, _, stream, payload)| (*stream, number(payload))).collect()
}

/// The streams that were answered to their end.
fn answered(frames: &[Frame]) -> Vec<u32> {
    frames
        .iter()
        .filter(|(kind, flags, ..)| *kind == HEADERS && flags & ES != 0)
        .map(|frame| frame.2)
        .collect()
}

/// Both in one piece and byte by byte, `input` is a violation whose GOAWAY says `reason`.
#[track_caller]
fn violates(server: impl Fn() -> Server, input: &[u8], reason: u32, what: &str) {
    for piece in [input.len(), 1] {
        let mut server = server();
        let mut seen = Vec::new();
        let result = input.chunks(piece).try_for_each(|piece| receive_into(&mut server, piece, &mut seen));
        assert!(result.is_err(), "{what}: {seen:?} {:?}", output(&mut server));
        let goaway = output(&mut server).pop().unwrap();
        assert_eq!((goaway.0, number(&goaway.3)), (GOAWAY, reason), "{what}, in pieces of {piece}");
    }
}

/// The connection goes on: a new call on `stream` comes through, and a ping is answered.
#[track_caller]
fn goes_on(server: &mut Server, stream: u32) {
    output(server);
    let ping = frame(PING, 0, 0, b"12345678");
    assert_eq!(receive(server, &[call(stream, true), ping].concat()).unwrap(), [Seen::Call(stream, true)]);
    server.accept(stream);
    let out = output(server);
    assert_eq!(out[0], (PING, 1, 0, b"12345678".to_vec()));
    assert_eq!(answered(&out), [stream]);
}

/// The server's own settings come first, then the rest of the connection's window.
#[test]
fn the_server_says_what_it_allows() {
    let mut server = Server::new(CONFIG);
    let out = output(&mut server);
    let said = settings(&[(3, 8), (4, WINDOW), (6, 16 << 10)]);
    assert_eq!(out[0], (SETTINGS, 0, 0, said[9..].to_vec()));
    assert_eq!(out[1], (WINDOW_UPDATE, 0, 0, (2 * WINDOW - 65_535).to_be_bytes().to_vec()));
    assert_eq!(out.len(), 2);
    receive(&mut server, &hello()).unwrap();
    assert_eq!(output(&mut server), [(SETTINGS, 1, 0, vec![])]);
}

#[test]
fn calls_over_the_limit_are_refused_and_later_ones_taken() {
    let mut server = settled();
    let calls: Vec<u8> = (0..10).flat_map(|n| call(2 * n + 1, true)).collect();
    assert_eq!(receive(&mut server, &calls).unwrap().len(), 8);
    assert_eq!(resets(&output(&mut server)), [(17, REFUSED_STREAM), (19, REFUSED_STREAM)]);
    assert_eq!(server.open_streams(), 8);
    server.accept(5);
    goes_on(&mut server, 21);
    assert_eq!(server.open_streams(), 7);
}

/// A list over the bound is answered 431, also when a few bytes unfold to it, and the tables stay in step.
#[test]
fn a_header_list_too_large_is_431() {
    let mut server = settled();
    let mut large = vec![0x40, 1, b'x', 0x7f, 0x81, 0x16];
    large.extend([b'v'; 2944]);
    large.extend([0xbe; 6]);
    assert_eq!(receive(&mut server, &frame(HEADERS, EH, 1, &large)).unwrap(), []);
    assert_eq!(output(&mut server), [(HEADERS, ES | EH, 1, block(&[(":status", "431")]))]);
    let body = [frame(DATA, 0, 1, &[0; 99]), frame(DATA, ES, 1, b"")].concat();
    assert_eq!(server.open_streams(), 1);
    assert_eq!(receive(&mut server, &body).unwrap(), []);
    assert_eq!(server.open_streams(), 0);
    let next = [request(), vec![0xbe]].concat();
    assert_eq!(receive(&mut server, &frame(HEADERS, ES | EH, 3, &next)).unwrap(), [Seen::Call(3, true)]);
    assert_eq!(server.fields().get(b"x"), [b'v'; 2944]);
}

#[test]
fn padding_of_each_length_comes_off_and_is_given_back() {
    let mut server = settled();
    let mut seen = Vec::new();
    receive_into(&mut server, &call(1, false), &mut seen).unwrap();
    let (mut body, mut given_back) = (Vec::new(), 0);
    for pad in 0..=255_u8 {
        for len in [0, 1, 300] {
            let data = vec![pad; len];
            let padded = [&[pad], &data[..], &vec![0; pad.into()]].concat();
            for piece in padded_pieces(&frame(DATA, PAD, 1, &padded), pad) {
                receive_into(&mut server, piece, &mut seen).unwrap();
            }
            server.release(1, len);
            body.extend(data);
            let out = output(&mut server);
            let updates = out.iter().filter(|(kind, _, stream, _)| (*kind, *stream) == (WINDOW_UPDATE, 1));
            given_back += updates.map(|frame| number(&frame.3) as usize).sum::<usize>();
        }
    }
    let sent = body.len() + 3 * (256 + 255 * 128);
    assert!(sent - given_back < WINDOW as usize / 2, "{sent} sent, {given_back} given back");
    receive_into(&mut server, &frame(DATA, PAD | ES, 1, &[3, 9, 0, 0, 0]), &mut seen).unwrap();
    body.push(9);
    assert_eq!(seen, [Seen::Call(1, false), Seen::Data(1, body, true)]);
    let head = [&[2, 0x80, 0, 0, 0, 255][..], &request(), &[0, 0]].concat();
    let seen = receive(&mut server, &frame(HEADERS, PAD | 0x20 | EH | ES, 3, &head)).unwrap();
    assert_eq!(seen, [Seen::Call(3, true)]);
    assert_eq!(server.fields().get(b"te"), b"trailers");
}

/// Cut where the head ends, after the padding's length, or nowhere.
fn padded_pieces(frame: &[u8], choice: u8) -> [&[u8]; 2] {
    let (a, b) = frame.split_at([9, 10, frame.len()][usize::from(choice) % 3]);
    [a, b]
}

#[test]
fn trailers_end_a_body() {
    let mut server = settled();
    let trailers = frame(HEADERS, ES | EH, 1, &block(&[("x", "y")]));
    let seen = receive(&mut server, &[call(1, false), frame(DATA, 0, 1, b"abc"), trailers].concat()).unwrap();
    assert_eq!(seen, [Seen::Call(1, false), Seen::Data(1, b"abc".to_vec(), true)]);
    server.accept(1);
    assert_eq!(server.open_streams(), 0);
    // Nobody hears of those of a call that is answered already.
    receive(&mut server, &call(3, false)).unwrap();
    server.refuse(3, std::iter::empty());
    assert_eq!(server.open_streams(), 1);
    let late = [frame(DATA, 0, 3, b"abc"), frame(HEADERS, ES | EH, 3, &block(&[("x", "y")]))].concat();
    assert_eq!(receive(&mut server, &late).unwrap(), []);
    assert_eq!(server.open_streams(), 0);
}

/// An unknown type, PRIORITY, an unknown setting, RST_STREAM and GOAWAY are what they are, and nothing more.
#[test]
fn what_means_nothing_is_ignored() {
    let mut server = settled();
    let input = [
        frame(99, 0xff, 0, &[1; 100]),
        frame(99, 0xff, 1, &[]),
        frame(PRIORITY, 0, 7, &[0; 5]),
        settings(&[(99, 1), (0xffff, u32::MAX), (3, 0)]),
        call(1, false),
        frame(99, 0, 1, &[1; 100]),
        frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]),
        frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]),
        frame(GOAWAY, 0, 0, &[0; 12]),
    ];
    assert_eq!(receive(&mut server, &input.concat()).unwrap(), [Seen::Call(1, false), Seen::Reset(1)]);
    server.accept(1);
    assert_eq!(output(&mut server), [(SETTINGS, 1, 0, vec![])]);
    goes_on(&mut server, 3);
}

/// What an answer is, byte for byte: with the peer's table at first use, later, and when it has none.
#[test]
fn answers_follow_the_peers_table() {
    let mut server = settled();
    let mut success = |before: &[u8], stream: u32| {
        receive(&mut server, &[before, &call(stream, true)].concat()).unwrap();
        server.accept(stream);
        let answer: Vec<_> = output(&mut server).into_iter().filter(|frame| frame.2 == stream).collect();
        let [(HEADERS, EH, _, head), (DATA, 0, _, message), (HEADERS, 5, _, end)] = &answer[..] else {
            panic!("{answer:?}")
        };
        assert_eq!(message, &[0; 5]);
        (head.clone(), end.clone())
    };
    let (kind, status) = (block(&[("content-type", "application/grpc")]), block(&[("grpc-status", "0")]));
    let indexing = |literal: &[u8]| [&[0x40], &literal[1..]].concat();
    assert_eq!(success(&[], 1), ([vec![0x88], indexing(&kind)].concat(), indexing(&status)));
    assert_eq!(success(&[], 3), (vec![0x88, 0xbf], vec![0xbe]));
    assert_eq!(success(&settings(&[(1, 8192)]), 5), (vec![0x88, 0xbf], vec![0xbe]));
    assert_eq!(success(&settings(&[(1, 0)]), 7), ([vec![0x20, 0x88], kind.clone()].concat(), status.clone()));
    let literal = ([vec![0x88], kind].concat(), status);
    assert_eq!(success(&settings(&[(1, 100), (1, 4096)]), 9), literal);
    assert_eq!(success(&settings(&[(1, 4096)]), 11), literal);
    // Where the first block is a refusal, that one says it.
    let mut server = settled();
    receive(&mut server, &[settings(&[(1, 0)]), call(1, true)].concat()).unwrap();
    server.refuse(1, [(&b":status"[..], &b"404"[..])].into_iter());
    assert_eq!(output(&mut server)[1].3, [vec![0x20], block(&[(":status", "404")])].concat());
}

/// A refusal that is longer than a frame may be goes on in CONTINUATION frames, nothing between them.
#[test]
fn a_long_refusal_is_cut() {
    for len in [16_350, 16_384, 40_000] {
        let mut server = settled();
        receive(&mut server, &call(1, true)).unwrap();
        let message = vec![b'm'; len];
        server.refuse(1, [(&b":status"[..], &b"200"[..]), (b"grpc-message", &message)].into_iter());
        let out = output(&mut server);
        assert!(out.iter().skip(1).all(|frame| frame.0 == CONTINUATION) && out[0].0 == HEADERS);
        assert_eq!(out[0].1 & ES, ES);
        assert!(out.iter().rev().zip([EH, 0, 0]).all(|(frame, end)| frame.1 & EH == end));
        let (mut fields, block) = (Fields::default(), out.iter().flat_map(|frame| frame.3.clone()));
        Decoder::default().decode(&block.collect::<Vec<_>>(), 1 << 20, &mut fields).unwrap();
        assert_eq!(fields.get(b"grpc-message"), message);
        goes_on(&mut server, 3);
    }
}

#[test]
fn leaving_lets_open_calls_finish() {
    let mut server = settled();
    receive(&mut server, &call(1, false)).unwrap();
    server.leave();
    server.leave();
    let out = output(&mut server);
    assert_eq!(out[0], (GOAWAY, 0, 0, [0x7f, 255, 255, 255, 0, 0, 0, 0].to_vec()));
    let [_, (PING, 0, 0, ping)] = &out[..] else { panic!("{out:?}") };
    // A call that was on its way is taken; another ping's answer means nothing.
    let early = [call(3, true), frame(PING, 1, 0, b"anything")].concat();
    assert_eq!(receive(&mut server, &early).unwrap(), [Seen::Call(3, true)]);
    assert_eq!(output(&mut server), []);
    receive(&mut server, &frame(PING, 1, 0, ping)).unwrap();
    assert_eq!(output(&mut server), [(GOAWAY, 0, 0, [0, 0, 0, 3, 0, 0, 0, 0].to_vec())]);
    // Later ones are ignored, their bodies too.
    let late = [call(5, false), frame(DATA, ES, 5, b"late"), frame(PING, 1, 0, ping)].concat();
    assert_eq!(receive(&mut server, &late).unwrap(), []);
    assert_eq!(output(&mut server), []);
    let body = frame(DATA, ES, 1, b"abc");
    assert_eq!(receive(&mut server, &body).unwrap(), [Seen::Data(1, b"abc".to_vec(), true)]);
    assert!(!server.is_done());
    [1, 3].into_iter().for_each(|stream| server.accept(stream));
    assert_eq!(answered(&output(&mut server)), [1, 3]);
    assert!(server.is_done());
    // Section 6.8: the number in a GOAWAY must not grow.
    receive(&mut server, &frame(PING, 0, 0, b"too long!")).unwrap_err();
    assert_eq!(output(&mut server)[0].3[..4], [0, 0, 0, 3]);
}

/// Some frame of a client, good or bad, by two numbers.
fn some_frame(kind: u8, at: u8) -> Vec<u8> {
    let stream = 2 * (u32::from(at) % 5) + 1;
    let pad = at % 7;
    match kind {
        0..=3 => call(stream + 10 * u32::from(kind), at.is_multiple_of(2)),
        4..=6 => frame(DATA, at & ES, stream, &vec![at; 40 * usize::from(at)]),
        7 => frame(DATA, PAD | at & ES, stream, &[vec![pad; 3], vec![0; pad.into()]].concat()),
        8 => frame(HEADERS, ES | EH, stream, &block(&[("x", "y")])),
        9 => frame(RST_STREAM, 0, stream, &[0; 4]),
        10 => {
            [frame(HEADERS, 0, stream + 40, &request()), frame(CONTINUATION, EH, stream + 40, &[])].concat()
        }
        11 => settings(&[(4, u32::from(at) * 100), (1, u32::from(at) * 40)]),
        12 => window_update(stream * u32::from(at % 3), u32::from(at) + 1),
        13 => frame(PING, 0, 0, &[at; 8]),
        14 => frame(at, 0, stream, &vec![at; at.into()]),
        _ => window_update(stream, u32::from(at / 128)),
    }
}

/// What `input` in pieces of these sizes gives: events, the reason of a violation, and what is written but for updates
/// of windows, whose bytes may be grouped otherwise.
fn outcome(input: &[u8], sizes: &[usize]) -> (Vec<Seen>, Option<Violation>, Vec<Frame>) {
    // Whether a window is exceeded does depend on when one was updated.
    let window = 16 << 20;
    let mut server =
        Server::new(ServerConfig { stream_window_bytes: window, connection_window_bytes: window, ..CONFIG });
    let (mut seen, mut rest, mut sizes) = (Vec::new(), input, sizes.iter().cycle());
    let mut violation = None;
    while !rest.is_empty() && violation.is_none() {
        let (piece, tail) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
        violation = receive_and_refuse(&mut server, piece, &mut seen, &[1, 11, 25]).err();
        rest = tail;
    }
    let mut out = output(&mut server);
    out.retain(|(kind, ..)| *kind != WINDOW_UPDATE);
    (seen, violation, out)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn the_cut_of_the_input_does_not_matter(
        frames in prop::collection::vec((0..16_u8, any::<u8>()), 1..40),
        sizes in prop::collection::vec(1..3000_usize, 1..9),
        noise in prop::collection::vec(any::<u8>(), 0..30),
    ) {
        let frames: Vec<u8> = frames.into_iter().flat_map(|(kind, at)| some_frame(kind, at)).collect();
        let input = [hello(), frames, noise].concat();
        let each_frame = outcome(&input, &[1]);
        prop_assert_eq!(&outcome(&input, &sizes), &each_frame);
        prop_assert_eq!(&outcome(&input, &[3, 9, 24]), &each_frame);
    }
}
