//! The server's session against frames written by hand.

use super::super::super::http2::frame::{
    ACK, DATA, END_HEADERS, END_STREAM, HEADERS, PING, put_head, put_settings,
};
use super::super::super::http2::hpack::{Name, put_literal};
use super::super::Count;
use super::*;
use crate::generate::kube_like_bytes;
use crate::raw::{EXPORT_PATH, grpc_message, grpc_message_with};

const RULES: Rules = Rules { recv_bytes_max: 8 << 20, count: Count::Spans, keeps: false };

/// A frame that the sink sent.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Headers(u32, Option<i32>, bool),
    Data(u32, usize),
    Other(u8, u32, u32),
}

struct Talk {
    session: Session,
    ledger: Ledger,
    frames: FrameReader,
    headers: HeaderReader,
}

impl Talk {
    /// A connection whose client has sent these settings.
    fn new(settings: &[(u16, u32)]) -> Self {
        let mut talk = Self {
            session: Session::new(),
            ledger: Ledger::default(),
            frames: FrameReader::default(),
            headers: HeaderReader::default(),
        };
        let mut opening = PREFACE.to_vec();
        put_settings(&mut opening, settings);
        let (first, rest) = opening.split_at(11);
        talk.hear(first).unwrap();
        talk.hear(rest).unwrap();
        let more = CONNECTION_WINDOW_BYTES - INITIAL_WINDOW_BYTES;
        let opened = talk.say();
        assert_eq!(
            opened[1..],
            [Said::Other(frame::WINDOW_UPDATE, 0, more), Said::Other(frame::SETTINGS, 0, 0)]
        );
        talk
    }

    fn hear(&mut self, bytes: &[u8]) -> Result<(), Violation> {
        self.session.handle_input(bytes, &RULES, &mut self.ledger)
    }

    fn say(&mut self) -> Vec<Said> {
        let mut wire = Vec::new();
        self.session.output.write(&mut wire, &[]).unwrap();
        let (mut input, mut said) = (&wire[..], Vec::new());
        while let Some(event) = self.frames.next(&mut input).unwrap() {
            said.push(match event {
                Event::Headers { stream, block, end_stream } => {
                    Said::Headers(stream, self.headers.read(block).unwrap().grpc_status, end_stream)
                }
                Event::Data { stream, bytes, .. } => Said::Data(stream, bytes.len()),
                Event::Other { head, payload } => {
                    Said::Other(head.kind, head.stream, frame::number(payload).unwrap_or(0))
                }
            });
        }
        said
    }
}

fn head(stream: u32, path: &str) -> Vec<u8> {
    let (mut out, mut block) = (Vec::new(), Vec::new());
    put_literal(&mut block, false, Name::Index(4), if path == EXPORT_PATH { EXPORT_PATH } else { "/other" });
    put_head(&mut out, block.len(), HEADERS, END_HEADERS, stream);
    out.extend_from_slice(&block);
    out
}

fn data(stream: u32, body: &[u8], end: bool) -> Vec<u8> {
    let mut out = Vec::new();
    let count = body.chunks(FRAME_BYTES_MAX).count();
    for (place, piece) in body.chunks(FRAME_BYTES_MAX).enumerate() {
        put_head(&mut out, piece.len(), DATA, if end && place + 1 == count { END_STREAM } else { 0 }, stream);
        out.extend_from_slice(piece);
    }
    out
}

fn ok(stream: u32) -> [Said; 3] {
    [Said::Headers(stream, None, false), Said::Data(stream, 5), Said::Headers(stream, Some(0), true)]
}

/// Guarantee: two requests whose frames alternate are counted each, and answered when they end.
#[test]
fn interleaved_requests_are_told_apart() {
    let mut talk = Talk::new(&[]);
    let bodies = [grpc_message(&kube_like_bytes(100, 1)), grpc_message(&kube_like_bytes(40, 2))];
    talk.hear(&[head(1, EXPORT_PATH), head(3, EXPORT_PATH)].concat()).unwrap();
    let (first, second) = (bodies[0].split_at(20_000), bodies[1].split_at(7));
    talk.hear(&[data(3, second.0, false), data(1, first.0, false)].concat()).unwrap();
    talk.hear(&[data(3, second.1, true), data(1, first.1, true)].concat()).unwrap();
    let [a, b, c] = ok(3);
    let [d, e, f] = ok(1);
    assert_eq!(talk.say(), [a, b, c, d, e, f]);
    assert_eq!((talk.ledger.requests, talk.ledger.spans, talk.ledger.refused), (2, 140, 0));
    assert_eq!(talk.ledger.wire_bytes, bodies.iter().map(|body| body.len() as u64).sum::<u64>());
}

/// Guarantee: an unknown path and a body that is too large are refused at once, what still comes of them is passed over, and the next
/// request is taken.
#[test]
fn refusals_do_not_wait_for_the_end() {
    let mut talk = Talk::new(&[]);
    talk.hear(&head(1, "/other")).unwrap();
    let reset = |stream| Said::Other(frame::RST_STREAM, stream, NO_ERROR);
    assert_eq!(talk.say(), [Said::Headers(1, Some(12), true), reset(1)]);
    talk.hear(&data(1, b"whatever", true)).unwrap();
    talk.hear(&head(3, EXPORT_PATH)).unwrap();
    let large = grpc_message(&vec![0; (8 << 20) + 1]);
    talk.hear(&data(3, &large, true)).unwrap();
    let said = talk.say();
    // Half the stream's window went by four times before it was too much.
    let half = || Said::Other(frame::WINDOW_UPDATE, 3, 2 << 20);
    assert_eq!(said, [half(), half(), half(), half(), Said::Headers(3, Some(8), true)]);
    talk.hear(&[head(5, EXPORT_PATH), data(5, &grpc_message(&kube_like_bytes(1, 1)), true)].concat())
        .unwrap();
    assert_eq!(talk.say(), ok(5));
    assert_eq!((talk.ledger.requests, talk.ledger.spans, talk.ledger.refused), (1, 1, 2));
}

/// Guarantee: answers wait for the client's windows, of the stream and of the connection, and come when those open.
#[test]
fn answers_wait_for_windows() {
    let mut talk = Talk::new(&[(frame::SETTINGS_INITIAL_WINDOW_SIZE, 3)]);
    let request = |stream| [head(stream, EXPORT_PATH), data(stream, &grpc_message(b""), true)].concat();
    talk.hear(&request(1)).unwrap();
    talk.hear(&request(3)).unwrap();
    assert_eq!(talk.say(), []);
    let update = |stream: u32, more| {
        let mut out = Vec::new();
        frame::put_window_update(&mut out, stream, more);
        out
    };
    talk.hear(&update(3, 2)).unwrap();
    assert_eq!(talk.say(), ok(3));
    let mut out = Vec::new();
    put_settings(&mut out, &[(frame::SETTINGS_INITIAL_WINDOW_SIZE, 100)]);
    talk.hear(&out).unwrap();
    assert_eq!(talk.say()[1..], ok(1));
    talk.session.window = 4;
    talk.hear(&request(5)).unwrap();
    assert_eq!(talk.say(), []);
    talk.hear(&update(0, 1)).unwrap();
    assert_eq!(talk.say(), ok(5));
    assert_eq!(talk.session.window, 0);
}

/// Guarantee: a client's reset ends its request uncounted, PINGs are answered, and what is no HTTP/2 ends the connection.
#[test]
fn resets_pings_and_strangers() {
    let mut talk = Talk::new(&[]);
    talk.hear(&[head(1, EXPORT_PATH), data(1, &grpc_message_with(0, 9, b"abc"), false)].concat()).unwrap();
    let mut out = Vec::new();
    frame::put_reset(&mut out, 1, frame::CANCEL);
    put_head(&mut out, 8, PING, 0, 0);
    out.extend_from_slice(&[0, 0, 0, 7, 0, 0, 0, 0]);
    put_head(&mut out, 8, PING, ACK, 0);
    out.extend_from_slice(&[0; 8]);
    talk.hear(&out).unwrap();
    assert_eq!(talk.say(), [Said::Other(PING, 0, 7)]);
    assert!(talk.session.streams.is_empty());
    assert_eq!((talk.ledger.requests, talk.ledger.refused), (0, 0));
    let stranger = Session::new().handle_input(b"GET / HTTP/1.1\r\n", &RULES, &mut Ledger::default());
    assert!(stranger.is_err());
}

/// Guarantee: the connection's window is given back in halves, also for streams that nobody reads any more.
#[test]
fn the_connection_window_is_given_back() {
    let mut talk = Talk::new(&[]);
    talk.hear(&head(1, "/other")).unwrap();
    talk.say();
    let piece = data(1, &vec![0; 1 << 20], false);
    (0..32).for_each(|_| talk.hear(&piece).unwrap());
    assert_eq!(talk.say(), [Said::Other(frame::WINDOW_UPDATE, 0, 32 << 20)]);
}
