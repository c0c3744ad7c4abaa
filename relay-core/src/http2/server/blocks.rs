//! Header blocks of the peer: put together, decoded, and what they begin or end (RFC 9113, sections 4.3 and 8.1).

use bytes::Bytes;

use super::{
    END_HEADERS, END_STREAM, Event, HTTP2_BLOCK_BYTES_MAX, Head, Leaving, Reason, Server, Stream, Violation,
    WINDOW_BYTES_DEFAULT, find, frame,
};

impl Server {
    pub(super) fn headers(&mut self, head: Head, payload: &[u8]) -> Result<Option<Event>, Violation> {
        let Some(block) = frame::unpadded(head, payload) else {
            return Err(self.violation(Reason::PROTOCOL_ERROR, "malformed HEADERS"));
        };
        if head.stream.is_multiple_of(2) {
            return Err(self.violation(Reason::PROTOCOL_ERROR, "a client's streams have odd numbers"));
        }
        if head.has(END_HEADERS) {
            return self.call(head, block);
        }
        self.block.clear();
        self.block.extend_from_slice(block);
        self.continues = Some(head);
        Ok(None)
    }

    pub(super) fn continuation(&mut self, head: Head, payload: &[u8]) -> Result<Option<Event>, Violation> {
        let Some(first) = self.continues else {
            return Err(self.violation(Reason::PROTOCOL_ERROR, "CONTINUATION of nothing"));
        };
        if payload.is_empty() {
            self.idle()?;
        }
        if self.block.len() + payload.len() > HTTP2_BLOCK_BYTES_MAX {
            return Err(self.violation(Reason::ENHANCE_YOUR_CALM, "header block too large"));
        }
        self.block.extend_from_slice(payload);
        if !head.has(END_HEADERS) {
            return Ok(None);
        }
        self.continues = None;
        let block = std::mem::take(&mut self.block);
        self.call(first, &block)
    }

    /// A complete header block: a new call, or the trailers of one.
    fn call(&mut self, head: Head, block: &[u8]) -> Result<Option<Event>, Violation> {
        // Decoded in any case: the connection's table is the same for all streams.
        let list_bytes_max = self.config.header_list_bytes_max as usize;
        if self.decoder.decode(block, list_bytes_max, &mut self.fields).is_err() {
            return Err(self.violation(Reason::COMPRESSION_ERROR, "malformed header block"));
        }
        let (id, end) = (head.stream, head.has(END_STREAM));
        if id <= self.highest {
            return self.trailers(id, end);
        }
        self.highest = id;
        if self.leaving == Leaving::Final {
            // Section 6.8: ignored, and the peer knows from the last GOAWAY.
            return Ok(None);
        }
        self.last_taken = id;
        if self.streams.len() >= self.config.streams_max as usize {
            self.idle()?;
            frame::put_reset(&mut self.out, id, Reason::REFUSED_STREAM);
            return Ok(None);
        }
        // Until the peer has seen the settings it counts with the default (section 6.9.3).
        let receive_window = i64::from(self.config.stream_window_bytes).max(WINDOW_BYTES_DEFAULT);
        self.streams.push(Stream {
            id,
            remote_ended: end,
            answered: false,
            waiting: false,
            message: Vec::new(),
            receive_window,
            released: 0,
            send_delta: 0,
        });
        if self.fields.is_too_large() {
            // RFC 6585, section 5.
            self.refuse(id, [(&b":status"[..], &b"431"[..])].into_iter());
            return Ok(None);
        }
        if !is_well_formed(&self.fields) {
            self.idle()?;
            self.reset(id, Reason::PROTOCOL_ERROR);
            return Ok(None);
        }
        Ok(Some(Event::Call { stream: id, end }))
    }

    fn trailers(&mut self, id: u32, end: bool) -> Result<Option<Event>, Violation> {
        self.idle()?;
        let has_pseudo = self.fields.iter().any(|(name, _)| name.starts_with(b":"));
        let Some(open) = find(&mut self.streams, id) else {
            if has_pseudo {
                // Section 5.1.1. Trailers may be on their way to a call that is over here; a new call may not.
                return Err(self.violation(Reason::PROTOCOL_ERROR, "a call's stream is not a new one"));
            }
            return Ok(None);
        };
        if open.remote_ended {
            return Err(self.violation(Reason::STREAM_CLOSED, "HEADERS after END_STREAM"));
        }
        if !end || has_pseudo {
            // Section 8.1: trailers end the stream, and have no such fields.
            self.reset(id, Reason::PROTOCOL_ERROR);
            return Ok(Some(Event::Reset { stream: id }));
        }
        let answered = open.answered;
        self.remote_end(id);
        Ok((!answered).then_some(Event::Data { stream: id, bytes: Bytes::new(), end: true }))
    }
}

/// The rules for requests that a careless relay could be fooled with (RFC 9113, sections 8.2 and 8.3).
fn is_well_formed(fields: &super::Fields) -> bool {
    let (mut method, mut path, mut scheme, mut regular) = (0, 0, 0, false);
    for (name, value) in fields.iter() {
        match name {
            b":method" => method += 1,
            b":path" => path += usize::from(!value.is_empty()),
            b":scheme" => scheme += 1,
            b":authority" => {}
            [b':', ..]
            | []
            | b"connection"
            | b"transfer-encoding"
            | b"upgrade"
            | b"keep-alive"
            | b"proxy-connection" => {
                return false;
            }
            _ => {
                regular = true;
                if name.iter().any(u8::is_ascii_uppercase) || (name == b"te" && value != b"trailers") {
                    return false;
                }
                continue;
            }
        }
        if regular {
            return false;
        }
    }
    method == 1 && path == 1 && scheme == 1
}
