//! The client against a server of a few frames, without a socket.

use super::*;
use crate::http2::hpack;

const SETTINGS_EMPTY: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];

fn head() -> RequestHead {
    let shared = [(&b":path"[..], &b"/export"[..]), (b":authority", b"sink:4317"), (b"te", b"trailers")];
    RequestHead::new(false, shared.into_iter(), std::iter::empty())
}

/// A client whose preface is written and that has the server's settings, with `more` settings.
fn settled(more: &[(u16, u32)]) -> Client<Bytes> {
    let mut client = Client::new();
    let mut settings = Vec::new();
    frame::put_settings(&mut settings, more);
    client.receive(&settings).unwrap();
    written(&mut client);
    client
}

/// Everything that may be written now, taken as written.
fn written(client: &mut Client<Bytes>) -> Vec<u8> {
    let mut all = Vec::new();
    while client.fill() {
        let mut slices = [IoSlice::new(&[]); 4];
        let filled = client.slices(&mut slices);
        let turn: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect();
        // A socket that takes less than it is given.
        let taken = turn.len().min(10_000);
        client.written(taken);
        all.extend_from_slice(&turn[..taken]);
    }
    all
}

/// The frames of `bytes`: type, flags, stream, payload.
fn frames(mut bytes: &[u8]) -> Vec<(Kind, u8, u32, Vec<u8>)> {
    let mut frames = Vec::new();
    while let Some((head, rest)) = bytes.split_first_chunk::<HEAD_BYTES>() {
        let head = Head::parse(*head);
        frames.push((head.kind, head.flags, head.stream, rest[..head.len].to_vec()));
        bytes = &rest[head.len..];
    }
    assert!(bytes.is_empty(), "whole frames");
    frames
}

fn data_of(frames: &[(Kind, u8, u32, Vec<u8>)], stream: u32) -> Vec<u8> {
    let of_stream = frames.iter().filter(|frame| frame.0 == Kind::DATA && frame.2 == stream);
    of_stream.flat_map(|frame| frame.3.clone()).collect()
}

/// A header block of literals as one frame.
fn headers(stream: u32, end: bool, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    fields.iter().for_each(|(name, value)| hpack::put_literal(&mut block, name.as_bytes(), value.as_bytes()));
    let mut out = Vec::new();
    frame::put(&mut out, Kind::HEADERS, END_HEADERS | if end { END_STREAM } else { 0 }, stream, &block);
    out
}

fn answered(stream: u32, status: &str) -> Vec<u8> {
    let mut out = headers(stream, false, &[(":status", "200"), ("content-type", "application/grpc")]);
    frame::put(&mut out, Kind::DATA, 0, stream, &[0; 5]);
    out.extend(headers(stream, true, &[("grpc-status", status), ("grpc-message", "why")]));
    out
}

#[test]
fn it_begins_with_preface_and_settings() {
    let mut client = Client::<Bytes>::new();
    let begun = written(&mut client);
    let rest = begun.strip_prefix(PREFACE).unwrap();
    let kinds: Vec<Kind> = frames(rest).iter().map(|frame| frame.0).collect();
    assert_eq!(kinds, [Kind::SETTINGS, Kind::WINDOW_UPDATE]);
    assert!(!client.is_settled());
    client.receive(&SETTINGS_EMPTY).unwrap();
    assert!(client.is_settled());
    assert_eq!(frames(&written(&mut client)), [(Kind::SETTINGS, frame::ACK, 0, vec![])]);
}

/// The body goes out in frames of the peer's size, as far as its windows allow, and on when they open.
#[test]
fn windows_and_frame_sizes_are_obeyed() {
    let mut client = settled(&[]);
    let body: Bytes = (0..100_000_u32).map(|at| u8::try_from(at % 251).unwrap()).collect::<Vec<_>>().into();
    assert_eq!(client.open(&head(), body.clone()), Some(1));
    let mut seen = frames(&written(&mut client));
    assert_eq!(seen[0].0, Kind::HEADERS);
    assert!(seen.iter().all(|frame| frame.3.len() <= FRAME_BYTES_DEFAULT));
    assert_eq!(data_of(&seen, 1).len(), 65_535, "the windows of the standard");
    let mut update = Vec::new();
    frame::put_window_update(&mut update, 0, 1_000_000);
    client.receive(&update).unwrap();
    assert_eq!(written(&mut client), Vec::<u8>::new(), "the stream's window is still shut");
    update.clear();
    frame::put_window_update(&mut update, 1, 1_000_000);
    client.receive(&update).unwrap();
    seen.extend(frames(&written(&mut client)));
    assert_eq!(data_of(&seen, 1), body);
    assert_eq!(seen.last().unwrap().1, END_STREAM);
}

/// What is written of a body are slices of its memory.
#[test]
fn bodies_are_not_copied() {
    let mut client = settled(&[]);
    let body = Bytes::from(vec![7; 40_000]);
    let memory = body.as_ptr_range();
    client.open(&head(), body.clone());
    assert!(client.fill());
    let mut slices = [IoSlice::new(&[]); 16];
    let filled = client.slices(&mut slices);
    let inside = slices[..filled].iter().filter(|slice| memory.contains(&slice.as_ptr()));
    assert_eq!(inside.map(|slice| slice.len()).sum::<usize>(), 40_000);
}

#[test]
fn heads_are_repeated_by_reference_unless_the_peer_has_no_table() {
    let block_bytes = |settings: &[(u16, u32)]| {
        let mut client = settled(settings);
        let mut of_call = || {
            client.open(&head(), Bytes::new());
            frames(&written(&mut client))[0].3.clone()
        };
        (of_call(), of_call())
    };
    let (first, second) = block_bytes(&[]);
    assert!(first.len() > 40 && second.len() == 5, "{} {}", first.len(), second.len());
    let (first, second) = block_bytes(&[(setting::HEADER_TABLE_SIZE, 0)]);
    assert_eq!(first[0], 0x20, "the size update comes first");
    assert_eq!(first[1..], second, "and once");
}

#[test]
fn answers_are_told_whatever_the_cut() {
    let mut bytes = answered(1, "0");
    bytes.extend(headers(
        3,
        true,
        &[(":status", "200"), ("grpc-status", "14"), ("grpc-status-details-bin", "x")],
    ));
    for cut in 1..bytes.len() {
        let mut client = settled(&[]);
        client.open(&head(), Bytes::new());
        client.open(&head(), Bytes::new());
        for piece in [&bytes[..cut], &bytes[cut..]] {
            client.receive(piece).unwrap();
        }
        let Some((1, Ended::Answered(first))) = client.next_ended() else { panic!("{cut}") };
        let Some((3, Ended::Answered(second))) = client.next_ended() else { panic!("{cut}") };
        assert_eq!((first.http_status, first.grpc_status), (200, Some(Code::OK)));
        assert_eq!((&first.body[..], &first.grpc_message[..]), (&[0; 5][..], &b"why"[..]));
        assert_eq!(second.grpc_status, Some(Code::UNAVAILABLE));
        assert_eq!(second.grpc_status_details, b"x");
        assert_eq!((client.next_ended(), client.open_calls()), (None, 0));
    }
}

/// A server that answers before it has the body wants the rest no more (RFC 9113, section 8.1).
#[test]
fn an_early_answer_ends_the_body() {
    let mut client = settled(&[]);
    client.open(&head(), Bytes::from(vec![1; 200_000]));
    written(&mut client);
    client.receive(&headers(1, true, &[(":status", "200"), ("grpc-status", "8")])).unwrap();
    assert!(matches!(client.next_ended(), Some((1, Ended::Answered(_)))));
    let after = frames(&written(&mut client));
    assert_eq!(after, [(Kind::RST_STREAM, 0, 1, Reason::CANCEL.0.to_be_bytes().to_vec())]);
}

/// A server that leaves has not looked at the calls after its last: they may be made again elsewhere. The others go on.
#[test]
fn goaway_tells_which_calls_were_not_processed() {
    let mut client = settled(&[]);
    assert_eq!([(); 3].map(|()| client.open(&head(), Bytes::new())), [Some(1), Some(3), Some(5)]);
    let mut goaway = Vec::new();
    frame::put_goaway(&mut goaway, 3, Reason::NO_ERROR);
    client.receive(&goaway).unwrap();
    assert_eq!((client.next_ended(), client.next_ended()), (Some((5, Ended::NotProcessed)), None));
    assert!(client.is_leaving() && client.open(&head(), Bytes::new()).is_none());
    client.receive(&answered(3, "0")).unwrap();
    assert!(matches!(client.next_ended(), Some((3, Ended::Answered(_)))));
    let mut reset = Vec::new();
    frame::put_reset(&mut reset, 1, Reason::REFUSED_STREAM);
    client.receive(&reset).unwrap();
    assert_eq!(client.next_ended(), Some((1, Ended::NotProcessed)));
}

#[test]
fn no_more_calls_than_the_peer_takes() {
    let mut client = settled(&[(setting::MAX_CONCURRENT_STREAMS, 2)]);
    assert_eq!((client.open(&head(), Bytes::new()), client.open(&head(), Bytes::new())), (Some(1), Some(3)));
    assert!(!client.has_room() && client.open(&head(), Bytes::new()).is_none());
    client.cancel(1);
    assert!(client.has_room());
    let seen = frames(&written(&mut client));
    assert!(seen.iter().any(|frame| (frame.0, frame.2) == (Kind::RST_STREAM, 1)));
    assert!(seen.iter().all(|frame| (frame.0, frame.2) != (Kind::DATA, 1)));
}

/// What a peer can make grow is told to the caller, and is not queued behind more data than one write takes.
#[test]
fn frames_that_a_pinging_peer_causes_are_counted() {
    let mut client = settled(&[(setting::INITIAL_WINDOW_SIZE, 1 << 30)]);
    let mut window = Vec::new();
    frame::put_window_update(&mut window, 0, 1 << 30);
    client.receive(&window).unwrap();
    client.open(&head(), Bytes::from(vec![1; 2 * WRITE_AHEAD_BYTES]));
    assert!(client.fill() && client.control_bytes() == 0);
    let mut pings = Vec::new();
    (0..1000).for_each(|_| frame::put(&mut pings, Kind::PING, 0, 0, &[7; 8]));
    client.receive(&pings).unwrap();
    assert!(client.fill());
    assert_eq!(client.control_bytes(), 17_000, "the queue is full");
    let all = frames(&written(&mut client));
    assert_eq!(all.iter().filter(|frame| frame.0 == Kind::PING).count(), 1000);
    assert_eq!((data_of(&all, 1).len(), client.control_bytes()), (2 * WRITE_AHEAD_BYTES, 0));
}

/// Whoever does not speak HTTP/2, or breaks its rules, is told so and given up.
#[test]
fn violations() {
    let mut not_http2 = Client::<Bytes>::new();
    assert!(
        not_http2.receive(b"HTTP/1.1 400 Bad Request\r\n").unwrap_err().0.contains("does not speak HTTP/2")
    );
    let bad = [
        Head { len: 20_000, kind: Kind::DATA, flags: 0, stream: 1 }.bytes().to_vec(),
        Head { len: 0, kind: Kind::PUSH_PROMISE, flags: 0, stream: 1 }.bytes().to_vec(),
        Head { len: 0, kind: Kind::CONTINUATION, flags: 0, stream: 1 }.bytes().to_vec(),
        [&Head { len: 1, kind: Kind::HEADERS, flags: END_HEADERS, stream: 1 }.bytes()[..], &[0x80]].concat(),
        [&Head { len: 3, kind: Kind::SETTINGS, flags: 0, stream: 0 }.bytes()[..], &[0; 3]].concat(),
        [&Head { len: 4, kind: Kind::PING, flags: 0, stream: 0 }.bytes()[..], &[0; 4]].concat(),
    ];
    for bytes in bad {
        let mut client = settled(&[]);
        client.open(&head(), Bytes::new());
        written(&mut client);
        assert!(client.receive(&bytes).is_err(), "{bytes:?}");
        assert_eq!(frames(&written(&mut client)).pop().unwrap().0, Kind::GOAWAY);
    }
}
