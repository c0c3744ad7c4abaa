//! The client's session against frames written by hand.

use super::super::super::http2::frame::{ACK, PADDED, PING, put_settings};
use super::super::super::http2::hpack::{Name, put_indexed, put_literal};
use super::super::Args;
use super::super::pace::Pace;
use super::*;

const ARGS: [&str; 3] = ["load", "--spans-per-request", "512"];

#[derive(Debug, clap::Parser)]
struct Wrapped {
    #[command(flatten)]
    args: Args,
}

/// A frame that the client sent; DATA without its bytes.
#[derive(Debug, PartialEq, Eq)]
enum Sent {
    Headers(u32),
    Data(u32, usize, bool),
    Other(u8, u32, u32),
}

struct Talk {
    session: Session,
    plan: Plan,
    pace: Pace,
    seen: Seen,
    sent: FrameReader,
    now: Instant,
}

impl Talk {
    /// A connection whose peer has sent these settings.
    fn new(settings: &[(u16, u32)]) -> Self {
        let args: Wrapped = clap::Parser::parse_from(ARGS);
        let now = Instant::now();
        let mut talk = Self {
            session: Session::new(),
            plan: Plan::new(&args.args, "127.0.0.1:4317").unwrap(),
            pace: Pace::new(now, Duration::from_secs(10), None),
            seen: Seen::default(),
            sent: FrameReader::default(),
            now,
        };
        let mut opening = Vec::new();
        talk.session.output.write(&mut opening, &[]).unwrap();
        assert!(opening.starts_with(PREFACE) && !talk.session.can_start(&talk.plan));
        let mut out = Vec::new();
        put_settings(&mut out, settings);
        talk.hear(&out).unwrap();
        assert_eq!(talk.say(), [Sent::Other(frame::SETTINGS, 0, 0)]);
        talk
    }

    fn hear(&mut self, bytes: &[u8]) -> Result<(), Violation> {
        self.session.handle_input(bytes, self.now, &self.plan, &mut self.seen)
    }

    fn start(&mut self) {
        assert!(self.session.can_start(&self.plan));
        let turn = self.pace.take(self.now).unwrap();
        self.session.start(turn, self.now, &self.plan, &mut self.seen);
    }

    /// What the client sends now.
    fn say(&mut self) -> Vec<Sent> {
        let mut wire = Vec::new();
        loop {
            self.session.fill(&self.plan);
            if self.session.output.is_empty() {
                break;
            }
            self.session.output.write(&mut wire, &self.plan.bodies).unwrap();
        }
        let (mut input, mut said) = (&wire[..], Vec::new());
        while let Some(event) = self.sent.next(&mut input).unwrap() {
            said.push(match event {
                Event::Headers { stream, end_stream, .. } => {
                    assert!(!end_stream);
                    Sent::Headers(stream)
                }
                Event::Data { stream, bytes, end_stream, .. } => Sent::Data(stream, bytes.len(), end_stream),
                Event::Other { head, payload } => {
                    Sent::Other(head.kind, head.stream, frame::number(payload).unwrap_or(0))
                }
            });
        }
        said
    }

    fn body_bytes(&self) -> usize {
        self.plan.bodies[0].len()
    }
}

/// An answer: head, message, trailers.
fn answer(stream: u32, status: &str) -> Vec<u8> {
    let (mut out, mut block) = (Vec::new(), Vec::new());
    put_indexed(&mut block, 8);
    put_head(&mut out, block.len(), HEADERS, END_HEADERS, stream);
    out.extend_from_slice(&block);
    put_head(&mut out, 5, DATA, 0, stream);
    out.extend_from_slice(&[0; 5]);
    block.clear();
    put_literal(&mut block, false, Name::Spelled("grpc-status"), status);
    put_head(&mut out, block.len(), HEADERS, END_HEADERS | END_STREAM, stream);
    out.extend_from_slice(&block);
    out
}

fn control(kind: u8, stream: u32, number: u32) -> Vec<u8> {
    let mut out = Vec::new();
    put_head(&mut out, 4, kind, 0, stream);
    out.extend_from_slice(&number.to_be_bytes());
    out
}

/// Guarantee: a large body leaves in frames of 16 KiB, the last ends the stream, and the windows are what stops it.
#[test]
fn bodies_are_cut_and_windows_obeyed() {
    let mut talk = Talk::new(&[(frame::SETTINGS_INITIAL_WINDOW_SIZE, 40_000)]);
    talk.start();
    let frames = [16_384, 16_384, 7_232].map(|len| Sent::Data(1, len, false));
    let [a, b, c] = frames;
    assert_eq!(talk.say(), [Sent::Headers(1), a, b, c]);
    // The stream may go on, the connection has 25,535 bytes left.
    talk.hear(&control(frame::WINDOW_UPDATE, 1, 1 << 20)).unwrap();
    assert_eq!(talk.say(), [Sent::Data(1, 16_384, false), Sent::Data(1, 9_151, false)]);
    talk.hear(&control(frame::WINDOW_UPDATE, 0, 1 << 20)).unwrap();
    let rest = talk.say();
    let sent: usize = rest.iter().map(|one| if let Sent::Data(_, len, _) = one { *len } else { 0 }).sum();
    assert_eq!(sent, talk.body_bytes() - 65_535);
    let last = rest.iter().map(|one| matches!(one, Sent::Data(1, _, true))).collect::<Vec<_>>();
    assert!(last.iter().rev().skip(1).all(|is_last| !is_last) && last[last.len() - 1]);
}

/// Guarantee: changed initial windows reach calls in flight, and may make their windows negative.
#[test]
fn settings_reach_calls_in_flight() {
    let mut talk = Talk::new(&[(frame::SETTINGS_INITIAL_WINDOW_SIZE, 10_000)]);
    talk.hear(&control(frame::WINDOW_UPDATE, 0, 1 << 20)).unwrap();
    talk.start();
    assert_eq!(talk.say(), [Sent::Headers(1), Sent::Data(1, 10_000, false)]);
    let change = |window: u32| {
        let mut out = Vec::new();
        put_settings(&mut out, &[(frame::SETTINGS_INITIAL_WINDOW_SIZE, window)]);
        out
    };
    let ack = || Sent::Other(frame::SETTINGS, 0, 0);
    talk.hear(&change(4_000)).unwrap();
    assert_eq!(talk.say(), [ack()]);
    talk.hear(&control(frame::WINDOW_UPDATE, 1, 6_000)).unwrap();
    assert_eq!(talk.say(), []);
    talk.hear(&change(4_100)).unwrap();
    assert_eq!(talk.say(), [ack(), Sent::Data(1, 100, false)]);
    assert!(talk.hear(&change(1 << 31)).is_err());
}

/// Guarantee: answers end calls by their status, wherever it stands; resets, refusals by HTTP and lost connections have names.
#[test]
fn every_end_is_counted() {
    let mut talk = Talk::new(&[(frame::SETTINGS_INITIAL_WINDOW_SIZE, 1 << 20)]);
    talk.hear(&control(frame::WINDOW_UPDATE, 0, 1 << 24)).unwrap();
    (0..6).for_each(|_| talk.start());
    talk.say();
    talk.hear(&[answer(3, "0"), answer(1, "14")].concat()).unwrap();
    talk.hear(&control(frame::RST_STREAM, 5, 7)).unwrap();
    // An answer of HTTP alone: 503, no gRPC status.
    let mut block = Vec::new();
    put_literal(&mut block, false, Name::Index(8), "503");
    let mut out = Vec::new();
    put_head(&mut out, block.len(), HEADERS, END_HEADERS | END_STREAM, 7);
    out.extend_from_slice(&block);
    talk.hear(&out).unwrap();
    assert_eq!(talk.seen.in_flight, 2);
    // GOAWAY: stream 9 will be answered, stream 11 has not been seen.
    let mut out = Vec::new();
    frame::put_goaway(&mut out, 9);
    talk.hear(&out).unwrap();
    assert!(!talk.session.can_start(&talk.plan) && !talk.session.is_done());
    talk.hear(&answer(9, "0")).unwrap();
    assert!(talk.session.is_done());
    let errors: Vec<_> = talk.seen.errors.iter().map(|(name, count)| (name.as_str(), *count)).collect();
    assert_eq!(errors, [("14", 2), ("connection", 1), ("reset", 1)]);
    assert_eq!((talk.seen.requests, talk.seen.spans, talk.seen.in_flight), (2, 1_024, 0));
}

/// Scenario: an answer before the body is sent, and a call that takes too long.
/// Guarantee: both streams are reset, so that the peer can forget them, and what is left of the bodies is not sent.
#[test]
fn streams_that_are_given_up_are_reset() {
    let mut talk = Talk::new(&[]);
    talk.start();
    talk.say();
    talk.hear(&answer(1, "8")).unwrap();
    assert_eq!(talk.say(), [Sent::Other(frame::RST_STREAM, 1, CANCEL)]);
    talk.hear(&control(frame::WINDOW_UPDATE, 0, 1 << 24)).unwrap();
    talk.start();
    talk.say();
    talk.now += Duration::from_secs(10);
    assert!(talk.session.expire(talk.now, talk.plan.timeout, &talk.plan, &mut talk.seen));
    assert_eq!(talk.say(), [Sent::Other(frame::RST_STREAM, 3, CANCEL)]);
    talk.hear(&answer(3, "0")).unwrap();
    let errors: Vec<_> = talk.seen.errors.iter().map(|(name, count)| (name.as_str(), *count)).collect();
    assert_eq!((errors, talk.seen.requests), (vec![("8", 1), ("timeout", 1)], 0));
}

/// Guarantee: the peer's limit of streams is kept, PINGs are answered, acknowledgements and padded answers are understood.
#[test]
fn limits_and_pings_are_honoured() {
    let mut talk = Talk::new(&[(frame::SETTINGS_MAX_CONCURRENT_STREAMS, 1)]);
    talk.start();
    assert!(!talk.session.can_start(&talk.plan));
    talk.say();
    let mut out = Vec::new();
    put_head(&mut out, 8, PING, 0, 0);
    out.extend_from_slice(&[0, 0, 0, 9, 0, 0, 0, 0]);
    put_head(&mut out, 8, PING, ACK, 0);
    out.extend_from_slice(&[0; 8]);
    put_head(&mut out, 8, DATA, PADDED, 1);
    out.extend_from_slice(&[2, 0, 0, 0, 0, 0, 0, 0]);
    talk.hear(&out).unwrap();
    assert_eq!(talk.say(), [Sent::Other(PING, 0, 9)]);
    talk.hear(&answer(1, "0")).unwrap();
    assert!(talk.session.can_start(&talk.plan));
    assert_eq!((talk.seen.requests, talk.session.next_stream), (1, 3));
}
