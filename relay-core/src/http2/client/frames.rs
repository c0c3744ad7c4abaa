//! What each frame of the server means (RFC 9113, section 6).

use bytes::Buf;

use super::super::Violation;
use super::{
    CONNECTION_WINDOW_BYTES, Client, END_STREAM, Ended, FRAME_BYTES_DEFAULT, HEAD_BYTES,
    HEADER_LIST_BYTES_MAX, Head, Kind, Reason, STREAM_MAX, STREAM_WINDOW_BYTES, frame, setting,
};
use crate::grpc::Code;
use crate::http2::frame::{ACK, END_HEADERS, WINDOW_BYTES_MAX};
use crate::http2::hpack::{Fields, TABLE_BYTES};
use crate::limits::{HTTP2_BLOCK_BYTES_MAX, UPSTREAM_FRAME_BYTES_MAX, UPSTREAM_RESPONSE_BYTES_MAX};

impl<B: Buf> Client<B> {
    /// Reads what has come. Calls that ended by it are told by [`Client::next_ended`].
    ///
    /// # Errors
    /// [`Violation`]: the peer has broken the rules, and the connection cannot go on.
    pub fn receive(&mut self, input: &[u8]) -> Result<(), Violation> {
        // Answers are a few bytes: gathering them costs less than a parser that can stop anywhere.
        self.input.extend_from_slice(input);
        let mut gathered = std::mem::take(&mut self.input);
        let mut rest = &gathered[..];
        while let Some((head, after)) = rest.split_first_chunk::<HEAD_BYTES>() {
            let head = Head::parse(*head);
            if !self.settled && head.kind != Kind::SETTINGS {
                return Err(self.violation(Reason::PROTOCOL_ERROR, "the upstream does not speak HTTP/2"));
            }
            if head.len > FRAME_BYTES_DEFAULT {
                return Err(self.violation(Reason::FRAME_SIZE_ERROR, "frame larger than allowed"));
            }
            let Some((payload, after)) = after.split_at_checked(head.len) else { break };
            self.frame(head, payload)?;
            rest = after;
        }
        let read = gathered.len() - rest.len();
        gathered.drain(..read);
        self.input = gathered;
        Ok(())
    }

    fn frame(&mut self, head: Head, payload: &[u8]) -> Result<(), Violation> {
        if let Some(open) = self.continues
            && (head.kind != Kind::CONTINUATION || head.stream != open.stream)
        {
            return Err(self.violation(Reason::PROTOCOL_ERROR, "header block is not continued"));
        }
        match head.kind {
            Kind::DATA => self.data(head, payload),
            Kind::HEADERS => self.headers(head, payload),
            Kind::CONTINUATION => self.continuation(head, payload),
            Kind::SETTINGS => self.settings(head, payload),
            Kind::WINDOW_UPDATE => self.window_update(head, payload),
            Kind::PING if payload.len() != 8 => {
                Err(self.violation(Reason::FRAME_SIZE_ERROR, "malformed PING"))
            }
            Kind::PING => {
                if !head.has(ACK) {
                    frame::put(&mut self.control, Kind::PING, ACK, 0, payload);
                }
                Ok(())
            }
            Kind::RST_STREAM => {
                let Some(reason) = frame::number(payload) else {
                    return Err(self.violation(Reason::FRAME_SIZE_ERROR, "malformed RST_STREAM"));
                };
                self.reset_by_peer(head.stream, Reason(reason));
                Ok(())
            }
            Kind::GOAWAY => self.goaway(payload),
            Kind::PUSH_PROMISE => Err(self.violation(Reason::PROTOCOL_ERROR, "push is switched off")),
            _ => Ok(()),
        }
    }

    fn data(&mut self, head: Head, payload: &[u8]) -> Result<(), Violation> {
        let Some(bytes) = frame::unpadded(head, payload) else {
            return Err(self.violation(Reason::PROTOCOL_ERROR, "padding"));
        };
        self.unreleased += payload.len();
        if self.unreleased >= CONNECTION_WINDOW_BYTES as usize / 2 {
            let update = u32::try_from(std::mem::take(&mut self.unreleased)).unwrap_or(u32::MAX >> 1);
            frame::put_window_update(&mut self.control, 0, update);
        }
        let Some(call) = self.find(head.stream) else { return Ok(()) };
        call.received += payload.len();
        if call.answer.body.len() + bytes.len() <= UPSTREAM_RESPONSE_BYTES_MAX {
            call.answer.body.extend_from_slice(bytes);
        }
        if head.has(END_STREAM) {
            self.finish(head.stream);
        } else if call.received >= STREAM_WINDOW_BYTES as usize / 2 {
            let update = u32::try_from(std::mem::take(&mut call.received)).unwrap_or(u32::MAX >> 1);
            frame::put_window_update(&mut self.control, head.stream, update);
        }
        Ok(())
    }

    fn headers(&mut self, head: Head, payload: &[u8]) -> Result<(), Violation> {
        let Some(block) = frame::unpadded(head, payload) else {
            return Err(self.violation(Reason::PROTOCOL_ERROR, "malformed HEADERS"));
        };
        if head.has(END_HEADERS) {
            return self.block(head, block);
        }
        self.block.clear();
        self.block.extend_from_slice(block);
        self.continues = Some(head);
        Ok(())
    }

    fn continuation(&mut self, head: Head, payload: &[u8]) -> Result<(), Violation> {
        let Some(first) = self.continues else {
            return Err(self.violation(Reason::PROTOCOL_ERROR, "CONTINUATION of nothing"));
        };
        if self.block.len() + payload.len() > HTTP2_BLOCK_BYTES_MAX {
            return Err(self.violation(Reason::ENHANCE_YOUR_CALM, "header block too large"));
        }
        self.block.extend_from_slice(payload);
        if !head.has(END_HEADERS) {
            return Ok(());
        }
        self.continues = None;
        let block = std::mem::take(&mut self.block);
        self.block(first, &block)
    }

    fn block(&mut self, head: Head, block: &[u8]) -> Result<(), Violation> {
        let mut fields = std::mem::take(&mut self.fields);
        let decoded = self.decoder.decode(block, HEADER_LIST_BYTES_MAX as usize, &mut fields);
        if decoded.is_err() {
            return Err(self.violation(Reason::COMPRESSION_ERROR, "malformed header block"));
        }
        if let Some(call) = self.find(head.stream) {
            learn(&mut call.answer, &fields);
            if head.has(END_STREAM) {
                self.finish(head.stream);
            }
        }
        self.fields = fields;
        Ok(())
    }

    fn settings(&mut self, head: Head, payload: &[u8]) -> Result<(), Violation> {
        if head.stream != 0 || !payload.len().is_multiple_of(6) {
            return Err(self.violation(Reason::FRAME_SIZE_ERROR, "malformed SETTINGS"));
        }
        if head.has(ACK) {
            return Ok(());
        }
        for (id, value) in frame::settings(payload) {
            match id {
                setting::INITIAL_WINDOW_SIZE => {
                    if i64::from(value) > WINDOW_BYTES_MAX {
                        return Err(self.violation(Reason::FLOW_CONTROL_ERROR, "initial window too large"));
                    }
                    self.peer_stream_window = i64::from(value);
                }
                setting::MAX_CONCURRENT_STREAMS => self.peer_streams_max = value as usize,
                setting::MAX_FRAME_SIZE => {
                    self.frame_bytes_max =
                        (value as usize).clamp(FRAME_BYTES_DEFAULT, UPSTREAM_FRAME_BYTES_MAX);
                }
                setting::HEADER_TABLE_SIZE if (value as usize) < TABLE_BYTES => {
                    self.table_cleared = !self.may_index && self.table_cleared;
                    self.may_index = false;
                }
                _ => {}
            }
        }
        self.settled = true;
        frame::put(&mut self.control, Kind::SETTINGS, ACK, 0, &[]);
        Ok(())
    }

    fn window_update(&mut self, head: Head, payload: &[u8]) -> Result<(), Violation> {
        let Some(bytes) = frame::number(payload) else {
            return Err(self.violation(Reason::FRAME_SIZE_ERROR, "malformed WINDOW_UPDATE"));
        };
        let bytes = i64::from(bytes & STREAM_MAX);
        if head.stream == 0 {
            self.send_window += bytes;
            if self.send_window > WINDOW_BYTES_MAX {
                return Err(self.violation(Reason::FLOW_CONTROL_ERROR, "WINDOW_UPDATE out of range"));
            }
        } else if let Some(call) = self.find(head.stream) {
            // Past the largest window nothing is sent that the peer could mind: its own addition is what counts.
            call.send_delta = (call.send_delta + bytes).min(WINDOW_BYTES_MAX);
        }
        Ok(())
    }

    fn reset_by_peer(&mut self, stream: u32, reason: Reason) {
        let Some(call) = self.forget(stream) else { return };
        let ended = match reason {
            // RFC 9113, section 8.7: such a call was not processed.
            Reason::REFUSED_STREAM => Ended::NotProcessed,
            // An answer that was complete but for its end, and then "no more of your body" (section 8.1).
            Reason::NO_ERROR if call.answer.grpc_status.is_some() => Ended::Answered(call.answer),
            reason => Ended::Reset(reason),
        };
        self.ended.push_back((stream, ended));
    }

    fn goaway(&mut self, payload: &[u8]) -> Result<(), Violation> {
        let Some(last) = payload.first_chunk::<4>().map(|last| u32::from_be_bytes(*last) & STREAM_MAX) else {
            return Err(self.violation(Reason::FRAME_SIZE_ERROR, "malformed GOAWAY"));
        };
        self.last = Some(self.last.map_or(last, |before| before.min(last)));
        while let Some(call) = self.calls.pop_if(|call| call.id > last) {
            self.ended.push_back((call.id, Ended::NotProcessed));
        }
        Ok(())
    }

    fn violation(&mut self, reason: Reason, what: &'static str) -> Violation {
        frame::put_goaway(&mut self.control, 0, reason);
        Violation(what)
    }
}

/// Takes the fields that gRPC looks at, of a head or of trailers.
fn learn(answer: &mut super::Answer, fields: &Fields) {
    for (name, value) in fields.iter() {
        match name {
            b":status" => {
                answer.http_status =
                    std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
            }
            b"content-type" if value.starts_with(b"application/grpc") => answer.is_grpc = true,
            b"content-type" => answer.content_type = value.to_vec(),
            b"grpc-status" => answer.grpc_status = Some(Code::parse(value)),
            b"grpc-message" => answer.grpc_message = value.to_vec(),
            b"grpc-status-details-bin" => answer.grpc_status_details = value.to_vec(),
            _ => {}
        }
    }
}
