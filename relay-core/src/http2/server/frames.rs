//! What each frame of the peer means (RFC 9113, section 6).

use bytes::{Buf, Bytes};

use super::{
    ACK, END_STREAM, Event, Expect, FRAME_BYTES_DEFAULT, HEAD_BYTES, HTTP2_IDLE_FRAMES_MAX, Head, Kind,
    LEAVING_PING, Leaving, PREFACE, Reason, STREAM_MAX, Server, Violation, WINDOW_BYTES_MAX, find, frame,
    setting,
};

/// A payload of fewer bytes brings a call hardly any further: it counts among the frames that say nothing.
const TINY_DATA_BYTES: usize = 64;

impl Server {
    pub(super) fn preface(&mut self, input: &mut Bytes, seen: usize) -> Result<(), Violation> {
        let expected = PREFACE.get(seen..).unwrap_or_default();
        let common = expected.len().min(input.len());
        if input.get(..common) != expected.get(..common) {
            return Err(self.violation(Reason::PROTOCOL_ERROR, "no HTTP/2 preface"));
        }
        input.advance(common);
        let seen = seen + common;
        self.expect = if seen == PREFACE.len() { Expect::Head } else { Expect::Preface(seen) };
        Ok(())
    }

    /// The next head, if all of it is there; what is there of it is gathered otherwise.
    pub(super) fn head(&mut self, input: &mut Bytes) -> Option<Head> {
        if self.gathered.is_empty()
            && let Some(head) = input.first_chunk::<HEAD_BYTES>()
        {
            let head = Head::parse(*head);
            input.advance(HEAD_BYTES);
            return Some(head);
        }
        let missing = (HEAD_BYTES - self.gathered.len()).min(input.len());
        self.gathered.extend_from_slice(&input.split_to(missing));
        let head = Head::parse(*self.gathered.first_chunk::<HEAD_BYTES>()?);
        self.gathered.clear();
        Some(head)
    }

    /// Judges a head and says what its payload is.
    pub(super) fn begin(&mut self, head: Head) -> Result<(), Violation> {
        if head.len > FRAME_BYTES_DEFAULT {
            return Err(self.violation(Reason::FRAME_SIZE_ERROR, "frame larger than allowed"));
        }
        if !self.settled && head.kind != Kind::SETTINGS {
            return Err(self.violation(Reason::PROTOCOL_ERROR, "SETTINGS must come first"));
        }
        if let Some(open) = self.continues
            && (head.kind != Kind::CONTINUATION || head.stream != open.stream)
        {
            return Err(self.violation(Reason::PROTOCOL_ERROR, "header block is not continued"));
        }
        self.expect = match head.kind {
            Kind::DATA => self.begin_data(head)?,
            Kind::HEADERS
            | Kind::CONTINUATION
            | Kind::SETTINGS
            | Kind::PING
            | Kind::WINDOW_UPDATE
            | Kind::GOAWAY
            | Kind::PRIORITY
            | Kind::RST_STREAM => Expect::Whole(head),
            Kind::PUSH_PROMISE => {
                return Err(self.violation(Reason::PROTOCOL_ERROR, "a client cannot push"));
            }
            _ => {
                self.idle()?;
                Expect::Skip(head.len)
            }
        };
        Ok(())
    }

    fn begin_data(&mut self, head: Head) -> Result<Expect, Violation> {
        if head.len < TINY_DATA_BYTES && !head.has(END_STREAM) {
            self.idle()?;
        }
        let len = i64::try_from(head.len).unwrap_or(i64::MAX);
        if self.is_idle(head.stream) {
            return Err(self.violation(Reason::PROTOCOL_ERROR, "DATA on an idle stream"));
        }
        self.receive_window -= len;
        if self.receive_window < 0 {
            return Err(self.violation(Reason::FLOW_CONTROL_ERROR, "more than the connection's window"));
        }
        match find(&mut self.streams, head.stream) {
            Some(open) if open.remote_ended => {
                return Err(self.violation(Reason::STREAM_CLOSED, "DATA after END_STREAM"));
            }
            Some(open) => {
                open.receive_window -= len;
                if open.receive_window < 0 {
                    return Err(self.violation(Reason::FLOW_CONTROL_ERROR, "more than the call's window"));
                }
            }
            // A call that is over here while its body was on the way (section 5.1, "closed").
            None => {
                if head.len < TINY_DATA_BYTES && head.has(END_STREAM) {
                    self.idle()?;
                }
                self.release(head.stream, head.len);
                return Ok(Expect::Skip(head.len));
            }
        }
        if head.has(frame::PADDED) {
            if head.len == 0 {
                return Err(self.violation(Reason::FRAME_SIZE_ERROR, "padding without its length"));
            }
            return Ok(Expect::PadLength(head));
        }
        Ok(Expect::Data { stream: head.stream, left: head.len, pad: 0, end: head.has(END_STREAM) })
    }

    /// A frame without payload.
    pub(super) fn empty(&mut self, head: Head) -> Result<Option<Event>, Violation> {
        match self.expect {
            Expect::Whole(_) => {
                self.expect = Expect::Head;
                self.control(head, &[])
            }
            Expect::Data { stream, pad, end, .. } => Ok(self.data(Bytes::new(), stream, 0, pad, end)),
            _ => {
                self.expect = Expect::Head;
                Ok(None)
            }
        }
    }

    /// Bytes of a DATA frame of which `left` follow.
    pub(super) fn data(
        &mut self,
        bytes: Bytes,
        stream: u32,
        left: usize,
        pad: usize,
        end: bool,
    ) -> Option<Event> {
        self.expect = match (left, pad) {
            (0, 0) => Expect::Head,
            (0, pad) => Expect::Skip(pad),
            (left, pad) => Expect::Data { stream, left, pad, end },
        };
        let end = end && left == 0;
        let thrown_away = find(&mut self.streams, stream).is_none_or(|open| open.answered);
        if end {
            self.remote_end(stream);
        }
        if thrown_away {
            self.release(stream, bytes.len());
            return None;
        }
        (end || !bytes.is_empty()).then_some(Event::Data { stream, bytes, end })
    }

    /// The payload of a frame that is read whole: from the input where all of it is there, else gathered.
    pub(super) fn whole(&mut self, head: Head, input: &mut Bytes) -> Result<Option<Event>, Violation> {
        let missing = head.len - self.gathered.len();
        if self.gathered.is_empty() && input.len() >= missing {
            let payload = input.split_to(missing);
            self.expect = Expect::Head;
            return self.control(head, &payload);
        }
        let taken = input.split_to(missing.min(input.len()));
        self.gathered.extend_from_slice(&taken);
        if self.gathered.len() < head.len {
            return Ok(None);
        }
        self.expect = Expect::Head;
        let payload = std::mem::take(&mut self.gathered);
        let event = self.control(head, &payload);
        // Given back, so that the next partial frame finds its memory.
        self.gathered = payload;
        self.gathered.clear();
        event
    }

    fn control(&mut self, head: Head, payload: &[u8]) -> Result<Option<Event>, Violation> {
        match head.kind {
            Kind::HEADERS => return self.headers(head, payload),
            Kind::CONTINUATION => return self.continuation(head, payload),
            Kind::RST_STREAM => return self.peer_reset(head, payload),
            Kind::SETTINGS => self.settings(head, payload)?,
            Kind::WINDOW_UPDATE => return self.window_update(head, payload),
            Kind::PING => self.ping(head, payload)?,
            Kind::PRIORITY => {
                // Deprecated (section 5.3.2); only its form is looked at.
                self.check_form(head.stream != 0, payload.len() == 5, "malformed PRIORITY")?;
                self.idle()?;
            }
            _ => {
                // The peer is about to go; it ends its calls itself.
                self.check_form(head.stream == 0, payload.len() >= 8, "malformed GOAWAY")?;
                self.idle()?;
            }
        }
        Ok(None)
    }

    fn peer_reset(&mut self, head: Head, payload: &[u8]) -> Result<Option<Event>, Violation> {
        let known = !self.is_idle(head.stream);
        self.check_form(known, payload.len() == 4, "RST_STREAM malformed or of an idle stream")?;
        // "Rapid reset" (CVE-2023-44487): opening and resetting costs the peer nothing. It counts like many frames.
        for _ in 0..16 {
            self.idle()?;
        }
        Ok(self.forget(head.stream).then_some(Event::Reset { stream: head.stream }))
    }

    fn settings(&mut self, head: Head, payload: &[u8]) -> Result<(), Violation> {
        let whole = payload.len().is_multiple_of(6) && (payload.is_empty() || !head.has(ACK));
        self.check_form(head.stream == 0, whole, "malformed SETTINGS")?;
        if head.has(ACK) {
            if !self.settled {
                return Err(self.violation(Reason::PROTOCOL_ERROR, "SETTINGS must come first"));
            }
            return self.idle();
        }
        self.settled = true;
        self.idle()?;
        for (id, value) in frame::settings(payload) {
            match id {
                setting::INITIAL_WINDOW_SIZE => {
                    self.peer_stream_window = i64::from(value);
                }
                setting::HEADER_TABLE_SIZE if (value as usize) < crate::http2::hpack::TABLE_BYTES => {
                    // A table that is smaller than the default is not used at all; that is rare.
                    self.table_cleared = !self.may_index && self.table_cleared;
                    self.may_index = false;
                }
                setting::MAX_FRAME_SIZE if !(FRAME_BYTES_DEFAULT..1 << 24).contains(&(value as usize)) => {
                    return Err(self.violation(Reason::PROTOCOL_ERROR, "frame size out of range"));
                }
                setting::ENABLE_PUSH if value > 1 => {
                    return Err(self.violation(Reason::PROTOCOL_ERROR, "ENABLE_PUSH is 0 or 1"));
                }
                _ => {}
            }
        }
        // Section 6.9.2: the initial window changes those of the open streams too.
        let most = self.streams.iter().map(|open| open.send_delta).max().unwrap_or(0).max(0);
        if self.peer_stream_window + most > WINDOW_BYTES_MAX {
            return Err(self.violation(Reason::FLOW_CONTROL_ERROR, "initial window too large"));
        }
        frame::put(&mut self.out, Kind::SETTINGS, ACK, 0, &[]);
        self.retry_waiting();
        Ok(())
    }

    fn window_update(&mut self, head: Head, payload: &[u8]) -> Result<Option<Event>, Violation> {
        let Some(bytes) = frame::number(payload) else {
            return Err(self.violation(Reason::FRAME_SIZE_ERROR, "malformed WINDOW_UPDATE"));
        };
        self.idle()?;
        let bytes = i64::from(bytes & STREAM_MAX);
        if head.stream == 0 {
            self.send_window += bytes;
            if bytes == 0 || self.send_window > WINDOW_BYTES_MAX {
                let reason = if bytes == 0 { Reason::PROTOCOL_ERROR } else { Reason::FLOW_CONTROL_ERROR };
                return Err(self.violation(reason, "WINDOW_UPDATE out of range"));
            }
        } else if self.is_idle(head.stream) {
            return Err(self.violation(Reason::PROTOCOL_ERROR, "WINDOW_UPDATE of an idle stream"));
        } else if let Some(open) = find(&mut self.streams, head.stream) {
            open.send_delta += bytes;
            let over = self.peer_stream_window + open.send_delta > WINDOW_BYTES_MAX;
            if bytes == 0 || over {
                let reason = if over { Reason::FLOW_CONTROL_ERROR } else { Reason::PROTOCOL_ERROR };
                self.reset(head.stream, reason);
                return Ok(Some(Event::Reset { stream: head.stream }));
            }
        }
        self.retry_waiting();
        Ok(None)
    }

    fn ping(&mut self, head: Head, payload: &[u8]) -> Result<(), Violation> {
        self.check_form(head.stream == 0, payload.len() == 8, "malformed PING")?;
        self.idle()?;
        if !head.has(ACK) {
            frame::put(&mut self.out, Kind::PING, ACK, 0, payload);
        } else if payload == LEAVING_PING && self.leaving == Leaving::Announced {
            self.leaving = Leaving::Final;
            frame::put_goaway(&mut self.out, self.last_taken, Reason::NO_ERROR);
        }
        Ok(())
    }

    /// Whether no call can ever have had this number (section 5.1, "idle").
    fn is_idle(&self, stream: u32) -> bool {
        stream.is_multiple_of(2) || stream > self.highest
    }

    /// The two rules that each type of frame has: whose it may be, and how long.
    fn check_form(&mut self, stream: bool, len: bool, what: &'static str) -> Result<(), Violation> {
        match (stream, len) {
            (true, true) => Ok(()),
            (false, _) => Err(self.violation(Reason::PROTOCOL_ERROR, what)),
            (true, false) => Err(self.violation(Reason::FRAME_SIZE_ERROR, what)),
        }
    }

    /// Counts a frame that brings no call any further.
    pub(super) fn idle(&mut self) -> Result<(), Violation> {
        self.idle_frames += 1;
        if self.idle_frames > HTTP2_IDLE_FRAMES_MAX {
            return Err(self.violation(Reason::ENHANCE_YOUR_CALM, "flood of frames that say nothing"));
        }
        Ok(())
    }

    pub(super) fn violation(&mut self, reason: Reason, what: &'static str) -> Violation {
        frame::put_goaway(&mut self.out, self.last_taken, reason);
        Violation(what)
    }
}
