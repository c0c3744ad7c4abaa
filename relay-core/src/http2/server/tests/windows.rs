//! Flow control both ways (RFC 9113, section 5.2), and floods: what a peer may make the server do, and wait for.

use super::*;

#[test]
fn answers_wait_for_the_calls_window() {
    let mut server = settled();
    receive(&mut server, &settings(&[(4, 0)])).unwrap();
    let calls: Vec<u8> = (0..5).flat_map(|n| call(2 * n + 1, true)).collect();
    receive(&mut server, &calls).unwrap();
    [1, 3, 5, 7, 9].into_iter().for_each(|stream| server.accept(stream));
    let mut after = |input: &[u8]| {
        receive(&mut server, input).unwrap();
        answered(&output(&mut server))
    };
    assert_eq!(after(&window_update(3, 4)), Vec::<u32>::new());
    assert_eq!(after(&window_update(3, 1)), [3]);
    assert_eq!(after(&settings(&[(4, 4)])), Vec::<u32>::new());
    assert_eq!(after(&window_update(7, 1)), [7]);
    assert_eq!(
        after(&[frame(RST_STREAM, 0, 1, &[0; 4]), frame(RST_STREAM, 0, 9, &[0; 4])].concat()),
        Vec::<u32>::new()
    );
    // The bit above the number means nothing.
    assert_eq!(after(&window_update(0, 0x8000_0001)), Vec::<u32>::new());
    assert_eq!(after(&settings(&[(4, 5)])), [5]);
    assert_eq!((server.open_streams(), server.waiting), (0, 0));
    goes_on(&mut server, 11);
}

/// 65,535 bytes are 13,107 answers of 5; the window may also become negative (section 6.9.2).
#[test]
fn answers_wait_for_the_connections_window() {
    let mut server = settled();
    for n in 0..13_107 {
        server.begin_turn();
        receive(&mut server, &call(2 * n + 1, true)).unwrap();
        server.accept(2 * n + 1);
    }
    assert_eq!(answered(&output(&mut server)).len(), 13_107);
    let rest = [30_001, 30_003, 30_005];
    for stream in rest {
        receive(&mut server, &call(stream, true)).unwrap();
        server.accept(stream);
        server.accept(stream);
    }
    // One that waits may be refused in the meantime: that needs no window.
    server.refuse(30_003, [(&b":status"[..], &b"503"[..])].into_iter());
    assert_eq!(answered(&output(&mut server)), [30_003]);
    receive(&mut server, &window_update(0, 4)).unwrap();
    assert_eq!(output(&mut server), []);
    receive(&mut server, &window_update(0, 5)).unwrap();
    assert_eq!(answered(&output(&mut server)), [30_001]);
    receive(&mut server, &window_update(0, 65_535)).unwrap();
    assert_eq!(answered(&output(&mut server)), [30_005]);
    assert_eq!(server.waiting, 0);
    goes_on(&mut server, 40_001);
}

/// Frames that say nothing end the connection within the bound; each in turns of many.
#[test]
fn floods_are_ended() {
    let (max, with_call) = (HTTP2_IDLE_FRAMES_MAX as usize, call(1, false));
    let reset = frame(RST_STREAM, 0, 1, &[0; 4]);
    for (what, flood) in [
        ("pings", frame(PING, 0, 0, &[0; 8])),
        ("ping answers", frame(PING, 1, 0, &[0; 8])),
        ("settings", settings(&[])),
        ("settings answers", frame(SETTINGS, 1, 0, &[])),
        ("empty DATA", frame(DATA, 0, 1, &[])),
        ("tiny DATA", frame(DATA, 0, 1, b"x")),
        ("DATA that is padding", frame(DATA, PAD, 1, &[9, 0, 0, 0, 0, 0, 0, 0, 0, 0])),
        ("window updates", window_update(0, 1)),
        ("window updates of a call", window_update(1, 1)),
        ("priorities", frame(PRIORITY, 0, 1, &[0; 5])),
        ("unknown frames", frame(99, 0, 0, &[])),
        ("goaways", frame(GOAWAY, 0, 0, &[0; 8])),
    ] {
        let mut server = settled();
        receive(&mut server, &with_call).unwrap();
        let result = (0..max).try_for_each(|_| {
            let received = receive(&mut server, &flood).map(drop);
            server.release(1, 1);
            received
        });
        assert!(result.is_err(), "{what}");
        assert_eq!(number(&output(&mut server).pop().unwrap().3), ENHANCE_YOUR_CALM, "{what}");
    }
    // On a call that is over.
    violates(
        settled,
        &[with_call, reset, frame(DATA, ES, 1, b"").repeat(max)].concat(),
        ENHANCE_YOUR_CALM,
        "ends",
    );
    let empty = [frame(HEADERS, 0, 1, &request()), frame(CONTINUATION, 0, 1, &[]).repeat(max)].concat();
    violates(settled, &empty, ENHANCE_YOUR_CALM, "empty CONTINUATION");
    // Calls that are opened and reset at once, and calls that are none.
    let numbers = || (0..).map(|n| 2 * n + 1);
    let rapid = numbers().take(max / 16 + 1).flat_map(|n| [call(n, true), frame(RST_STREAM, 0, n, &[0; 4])]);
    violates(settled, &rapid.flatten().collect::<Vec<_>>(), ENHANCE_YOUR_CALM, "rapid reset");
    let malformed = numbers().take(max + 1).flat_map(|n| frame(HEADERS, EH, n, &[0x84]));
    violates(settled, &malformed.collect::<Vec<_>>(), ENHANCE_YOUR_CALM, "malformed calls");
    let refused = numbers().take(max + 9).flat_map(|n| call(n, true));
    violates(settled, &refused.collect::<Vec<_>>(), ENHANCE_YOUR_CALM, "calls over the limit");
}

/// Answers that wait do not make a flood of window updates cheaper.
#[test]
fn a_flood_while_answers_wait_is_ended() {
    let mut server = settled();
    receive(&mut server, &[settings(&[(4, 0)]), call(1, true), call(3, true)].concat()).unwrap();
    [1, 3].into_iter().for_each(|stream| server.accept(stream));
    let flood = window_update(0, 1).repeat(HTTP2_IDLE_FRAMES_MAX as usize);
    receive(&mut server, &flood).unwrap_err();
    assert_eq!(number(&output(&mut server).pop().unwrap().3), ENHANCE_YOUR_CALM);
}

/// What still comes for calls that are answered or gone is thrown away, and takes nothing from the connection's window.
#[test]
fn late_bodies_cost_no_window() {
    let mut server = settled();
    receive(&mut server, &[call(1, false), call(3, false), frame(RST_STREAM, 0, 3, &[0; 4])].concat())
        .unwrap();
    server.refuse(1, std::iter::empty());
    let late = [frame(DATA, 0, 1, &[0; 9999]), frame(DATA, PAD, 3, &[9; 9999])].concat();
    for _ in 0..1000 {
        assert_eq!(receive(&mut server, &late).unwrap(), []);
    }
    goes_on(&mut server, 5);
}

/// A client counts with 65,535 bytes until it has seen a smaller window.
#[test]
fn a_small_window_begins_when_the_client_knows() {
    let config = ServerConfig { stream_window_bytes: 100, ..CONFIG };
    let mut server = Server::new(config);
    let early = [hello(), call(1, false), frame(DATA, 0, 1, &[1; 16_000]).repeat(4)].concat();
    assert_eq!(receive(&mut server, &early).unwrap().len(), 2);
    let more = [&early[..], &frame(DATA, 0, 1, &[1; 1_536])].concat();
    violates(|| Server::new(config), &more, FLOW_CONTROL_ERROR, "more than a client can believe");
}

/// Keepalive alone, one ping and one window update a turn; and few turns with calls that bring ten such frames each.
#[test]
fn turns_and_calls_make_up_for_frames_that_say_nothing() {
    let ping = frame(PING, 0, 0, &[7; 8]);
    let mut server = settled();
    for _ in 0..100_000 {
        server.begin_turn();
        receive(&mut server, &[&ping[..], &window_update(0, 1)].concat()).unwrap();
        server.output().clear();
    }
    for number in 0..10_000 {
        let stream = 2 * number + 1;
        receive(&mut server, &[call(stream, true), ping.repeat(10)].concat()).unwrap();
        server.accept(stream);
        server.output().clear();
    }
}

/// 100,000 turns of what an honest client sends: keepalive pings, settings, window updates and now and then a call that it
/// gives up.
#[test]
fn an_honest_client_is_never_a_flood() {
    let mut server = settled();
    for turn in 0..100_000_u32 {
        server.begin_turn();
        let stream = 2 * turn + 1;
        let mut input = [frame(PING, 0, 0, &[7; 8]), window_update(0, 5)].concat();
        if turn % 16 == 0 {
            input.extend([call(stream, false), frame(RST_STREAM, 0, stream, &[0; 4])].concat());
        } else if turn % 3 == 0 {
            input.extend([settings(&[]), call(stream, false), frame(DATA, 0, stream, b"x")].concat());
            input.extend(frame(DATA, ES, stream, b""));
        }
        receive(&mut server, &input).unwrap();
        server.accept(stream);
        server.output().clear();
    }
    assert_eq!(server.open_streams(), 0);
}

proptest! {
    /// A client that obeys the windows can send any amount: it is never refused, and when everything is released it always has
    /// room again, on each open call and on the connection.
    #[test]
    fn an_obedient_client_always_gets_room(
        steps in prop::collection::vec((0..6_usize, 0..12_000_usize, any::<u8>()), 1..400),
        stream_window in 1..200_000_u32,
        connection_window in 1..400_000_u32,
    ) {
        let config = ServerConfig {
            stream_window_bytes: stream_window,
            connection_window_bytes: connection_window,
            ..CONFIG
        };
        let mut server = Server::new(config);
        receive(&mut server, &hello()).unwrap();
        let mut model = Obedient::new(&mut server, &config);
        for (place, len, choice) in steps {
            model.step(&mut server, place, len, choice);
            model.check(&mut server);
        }
    }
}

/// A client's view of the windows, and what its server has not released.
struct Obedient {
    connection: i64,
    initial: i64,
    config: ServerConfig,
    // Number, window, and bytes not released of each call.
    calls: Vec<(u32, i64, usize)>,
    // The number of the next call.
    next: u32,
}

impl Obedient {
    fn new(server: &mut Server, config: &ServerConfig) -> Self {
        let initial = i64::from(config.stream_window_bytes);
        let mut new = Self { connection: 65_535, initial, config: *config, calls: Vec::new(), next: 1 };
        (0..6).for_each(|_| new.open(server));
        new.hear(server);
        new
    }

    fn open(&mut self, server: &mut Server) {
        assert_eq!(receive(server, &call(self.next, false)).unwrap(), [Seen::Call(self.next, false)]);
        self.calls.push((self.next, self.initial, 0));
        self.next += 2;
    }

    /// Takes WINDOW_UPDATEs to heart, which are neither 0 nor too large.
    fn hear(&mut self, server: &mut Server) {
        for (kind, _, stream, payload) in output(server) {
            if kind == SETTINGS {
                continue;
            }
            assert_eq!(kind, WINDOW_UPDATE);
            let bytes = i64::from(number(&payload));
            assert!(bytes > 0);
            match stream {
                0 => self.connection += bytes,
                _ => self.calls.iter_mut().find(|call| call.0 == stream).expect("an open call").1 += bytes,
            }
        }
    }

    fn step(&mut self, server: &mut Server, place: usize, len: usize, choice: u8) {
        let (stream, window, held) = self.calls[place];
        let room = usize::try_from(window.min(self.connection).max(0)).unwrap();
        let padding = usize::from(choice) * usize::from(choice.is_multiple_of(5));
        let len = len.min(room);
        let data = vec![choice; len.saturating_sub(padding + 1)];
        if len > padding && padding > 0 {
            let payload = [&[u8::try_from(padding).unwrap()], &data[..], &vec![0; padding]].concat();
            receive(server, &frame(DATA, PAD, stream, &payload)).unwrap();
        } else {
            receive(server, &frame(DATA, 0, stream, &vec![choice; len])).unwrap();
        }
        let body = if len > padding && padding > 0 { data.len() } else { len };
        self.connection -= i64::try_from(len).unwrap();
        self.calls[place].1 -= i64::try_from(len).unwrap();
        let held = held + body;
        self.calls[place].2 = held;
        server.begin_turn();
        self.hear(server);
        let released = match choice % 8 {
            0 => held / 2,
            // All of a call that is over: its bytes count for the connection still.
            1 | 2 => {
                let reset = frame(RST_STREAM, 0, stream, &[0; 4]);
                assert_eq!(receive(server, &reset).unwrap(), [Seen::Reset(stream)]);
                self.calls.remove(place);
                held
            }
            _ => held,
        };
        server.release(stream, released);
        match self.calls.get_mut(place).filter(|call| call.0 == stream) {
            Some(call) => call.2 -= released,
            None => self.open(server),
        }
        self.hear(server);
    }

    /// What is missing in each window is what is held, and less than half of it.
    fn check(&self, server: &mut Server) {
        let held: usize = self.calls.iter().map(|call| call.2).sum();
        let whole = i64::from(self.config.connection_window_bytes).max(65_535);
        let half = i64::from(self.config.connection_window_bytes) / 2;
        let missing = whole - self.connection - i64::try_from(held).unwrap();
        assert!((0..half.max(1)).contains(&missing), "connection: {missing} missing of {whole}");
        for (stream, window, held) in &self.calls {
            let missing = self.initial - window - i64::try_from(*held).unwrap();
            assert!((0..(self.initial / 2).max(1)).contains(&missing), "call {stream}: {missing} missing");
        }
        assert_eq!(server.open_streams(), self.calls.len());
        // The server grants what it says, and no more.
        assert_eq!(server.receive_window, self.connection);
        let before_settings = 65_535_i64.saturating_sub(self.initial).max(0);
        let granted = server.streams.iter().map(|open| open.receive_window - before_settings);
        assert!(granted.eq(self.calls.iter().map(|call| call.1)));
    }
}
