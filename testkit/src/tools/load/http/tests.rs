//! The client's session against answers written by hand, in pieces of every size.

use super::super::Args;
use super::super::pace::Pace;
use super::*;

#[derive(Debug, clap::Parser)]
struct Wrapped {
    #[command(flatten)]
    args: Args,
}

struct Talk {
    session: Session,
    plan: Plan,
    pace: Pace,
    seen: Seen,
    now: Instant,
}

impl Talk {
    /// A connection that is open, with room for so many calls.
    fn new(in_flight: &str) -> Self {
        let words =
            ["load", "--protocol", "http/protobuf", "--spans-per-request", "2", "--in-flight", in_flight];
        let args: Wrapped = clap::Parser::parse_from(words);
        let now = Instant::now();
        let plan = Plan::new(&args.args, "127.0.0.1:4318").unwrap();
        let mut session = Session::new();
        assert!(!session.is_settled() && !session.can_start(&plan));
        session.note_connected();
        let pace = Pace::new(now, Duration::from_secs(10), None);
        Self { session, plan, pace, seen: Seen::default(), now }
    }

    /// Starts as many calls as may start.
    fn start_all(&mut self) -> usize {
        let mut started = 0;
        while self.session.can_start(&self.plan) {
            let turn = self.pace.take(self.now).unwrap();
            self.session.start(turn, self.now, &self.plan, &mut self.seen);
            started += 1;
        }
        started
    }

    fn hear(&mut self, bytes: &[u8]) -> Result<(), Violation> {
        self.session.handle_input(bytes, self.now, &self.plan, &mut self.seen)
    }

    fn errors(&self) -> Vec<(&str, u64)> {
        self.seen.errors.iter().map(|(name, count)| (name.as_str(), *count)).collect()
    }
}

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\ncontent-length: 2\r\n\r\n{}";
const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nRetry-After: 1\r\n\r\n";
const INTERIM: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
const LAST: &[u8] = b"HTTP/1.1 200 OK\r\nConnection: Close\r\nContent-Length: 1\r\n\r\n\n";

/// Guarantee: each answer ends one call by its status, however its bytes are cut; an interim one ends none, the last one the connection.
#[test]
fn answers_end_calls_in_any_pieces() {
    let said = [OK, INTERIM, BUSY, OK, LAST].concat();
    for at_once in 1..=said.len() {
        let mut talk = Talk::new("4");
        assert_eq!(talk.start_all(), 4);
        for piece in said.chunks(at_once) {
            assert!(!talk.session.is_done());
            talk.hear(piece).unwrap();
        }
        assert_eq!(
            (talk.seen.requests, talk.seen.spans, talk.seen.in_flight),
            (3, 6, 0),
            "{at_once} at once"
        );
        assert_eq!(talk.errors(), [("503", 1)]);
        assert!(talk.session.is_done() && !talk.session.can_start(&talk.plan));
    }
}

/// Guarantee: whole requests leave, one after the other, and no more than are allowed at a time.
#[test]
fn requests_are_pipelined_as_far_as_allowed() {
    let mut talk = Talk::new("2");
    assert_eq!(talk.start_all(), 2);
    let mut wire = Vec::new();
    assert!(talk.session.output.write(&mut wire, &talk.plan.bodies).unwrap());
    assert_eq!(wire, [&talk.plan.bodies[0][..], &talk.plan.bodies[0][..]].concat());
    talk.hear(OK).unwrap();
    assert_eq!(talk.start_all(), 1);
}

/// Guarantee: what is no answer, or one without an end, closes the connection; its calls are counted as lost with it.
#[test]
fn what_cannot_be_understood_ends_the_connection() {
    let endless = vec![b'a'; HEAD_BYTES_MAX + 1];
    let bad: [&[u8]; 6] = [
        b"HTTP/2 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"\xff\xff\r\n\r\n",
        &endless,
    ];
    for said in bad {
        let mut talk = Talk::new("1");
        talk.start_all();
        assert!(talk.hear(said).is_err(), "{}", String::from_utf8_lossy(said));
        talk.session.lose(talk.now, &talk.plan, &mut talk.seen);
        assert_eq!((talk.errors(), talk.seen.in_flight), (vec![("connection", 1)], 0));
    }
    assert!(Talk::new("1").hear(OK).is_err());
}

/// Guarantee: a call that takes too long ends with its connection, as do those behind it.
#[test]
fn a_late_answer_costs_the_connection() {
    let mut talk = Talk::new("3");
    talk.start_all();
    talk.hear(OK).unwrap();
    talk.now += Duration::from_secs(5);
    talk.start_all();
    talk.now += Duration::from_secs(5);
    assert!(talk.session.expire(talk.now, talk.plan.timeout, &talk.plan, &mut talk.seen));
    assert_eq!(talk.errors(), [("connection", 1), ("timeout", 2)]);
    assert!(talk.session.is_done() && talk.seen.in_flight == 0);
    assert!(!talk.session.expire(talk.now, talk.plan.timeout, &talk.plan, &mut talk.seen));
}
