//! Frame heads, settings, and the control frames that are sent (RFC 9113, sections 4.1, 6 and 7).
//!
//! Must never decide anything: who sends which frame when is the business of `load` and `sink`.

/// What a client sends first (RFC 9113, section 3.4).
pub(in crate::tools) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Length of a frame's head.
pub(in crate::tools) const HEAD_BYTES: usize = 9;
/// The largest payload of a frame, here sent and taken: the initial value of `SETTINGS_MAX_FRAME_SIZE`, which grpc-go never raises.
pub(in crate::tools) const FRAME_BYTES_MAX: usize = 16_384;
/// Flow-control windows before anybody has said anything (RFC 9113, section 6.9.2).
pub(in crate::tools) const INITIAL_WINDOW_BYTES: u32 = 65_535;
/// HPACK's dynamic table before anybody has said anything (RFC 9113, section 6.5.2).
pub(in crate::tools) const TABLE_BYTES: u32 = 4_096;

pub(in crate::tools) const DATA: u8 = 0;
pub(in crate::tools) const HEADERS: u8 = 1;
pub(in crate::tools) const RST_STREAM: u8 = 3;
pub(in crate::tools) const SETTINGS: u8 = 4;
pub(in crate::tools) const PUSH_PROMISE: u8 = 5;
pub(in crate::tools) const PING: u8 = 6;
pub(in crate::tools) const GOAWAY: u8 = 7;
pub(in crate::tools) const WINDOW_UPDATE: u8 = 8;
pub(in crate::tools) const CONTINUATION: u8 = 9;

/// Flag of SETTINGS and PING.
pub(in crate::tools) const ACK: u8 = 1;
/// Flag of DATA and HEADERS.
pub(in crate::tools) const END_STREAM: u8 = 1;
/// Flag of HEADERS and CONTINUATION.
pub(in crate::tools) const END_HEADERS: u8 = 4;
/// Flag of DATA and HEADERS.
pub(in crate::tools) const PADDED: u8 = 8;
/// Flag of HEADERS.
pub(in crate::tools) const PRIORITY: u8 = 32;

pub(in crate::tools) const SETTINGS_HEADER_TABLE_SIZE: u16 = 1;
pub(in crate::tools) const SETTINGS_ENABLE_PUSH: u16 = 2;
pub(in crate::tools) const SETTINGS_MAX_CONCURRENT_STREAMS: u16 = 3;
pub(in crate::tools) const SETTINGS_INITIAL_WINDOW_SIZE: u16 = 4;

/// Error codes (RFC 9113, section 7).
pub(in crate::tools) const NO_ERROR: u32 = 0;
pub(in crate::tools) const CANCEL: u32 = 8;

/// The peer does not speak HTTP/2 as it should, or more of it than is understood here: the connection is of no use any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the peer broke HTTP/2: {0}")]
pub(in crate::tools) struct Violation(pub(in crate::tools) &'static str);

/// A frame's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::tools) struct Head {
    /// Bytes after the head.
    pub(in crate::tools) len: usize,
    pub(in crate::tools) kind: u8,
    pub(in crate::tools) flags: u8,
    /// 0 is the connection.
    pub(in crate::tools) stream: u32,
}

impl Head {
    pub(in crate::tools) fn parse(bytes: [u8; HEAD_BYTES]) -> Self {
        let [a, b, c, kind, flags, stream @ ..] = bytes;
        let len = u32::from_be_bytes([0, a, b, c]) as usize;
        Self { len, kind, flags, stream: u32::from_be_bytes(stream) & 0x7fff_ffff }
    }

    pub(in crate::tools) fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Appends a frame's head. `len` must be below 2^24.
pub(in crate::tools) fn put_head(out: &mut Vec<u8>, len: usize, kind: u8, flags: u8, stream: u32) {
    let [_, a, b, c] = (len as u32).to_be_bytes();
    let [d, e, f, g] = stream.to_be_bytes();
    out.extend_from_slice(&[a, b, c, kind, flags, d, e, f, g]);
}

/// Appends a SETTINGS frame with these settings.
pub(in crate::tools) fn put_settings(out: &mut Vec<u8>, settings: &[(u16, u32)]) {
    put_head(out, settings.len() * 6, SETTINGS, 0, 0);
    for (name, value) in settings {
        out.extend_from_slice(&name.to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
    }
}

/// Appends the acknowledgement of a SETTINGS frame.
pub(in crate::tools) fn put_settings_ack(out: &mut Vec<u8>) {
    put_head(out, 0, SETTINGS, ACK, 0);
}

/// Appends the acknowledgement of a PING with this payload.
pub(in crate::tools) fn put_ping_ack(out: &mut Vec<u8>, payload: &[u8]) {
    put_head(out, payload.len(), PING, ACK, 0);
    out.extend_from_slice(payload);
}

/// Appends a WINDOW_UPDATE: `more` bytes (> 0) may come on the stream, or on the connection if `stream` is 0.
pub(in crate::tools) fn put_window_update(out: &mut Vec<u8>, stream: u32, more: u32) {
    put_head(out, 4, WINDOW_UPDATE, 0, stream);
    out.extend_from_slice(&more.to_be_bytes());
}

/// Appends a RST_STREAM.
pub(in crate::tools) fn put_reset(out: &mut Vec<u8>, stream: u32, code: u32) {
    put_head(out, 4, RST_STREAM, 0, stream);
    out.extend_from_slice(&code.to_be_bytes());
}

/// Appends a GOAWAY without error.
pub(in crate::tools) fn put_goaway(out: &mut Vec<u8>, last_stream: u32) {
    put_head(out, 8, GOAWAY, 0, 0);
    out.extend_from_slice(&last_stream.to_be_bytes());
    out.extend_from_slice(&NO_ERROR.to_be_bytes());
}

/// The settings in the payload of a SETTINGS frame.
pub(in crate::tools) fn settings(payload: &[u8]) -> impl Iterator<Item = (u16, u32)> {
    payload.chunks_exact(6).map(|one| {
        (u16::from_be_bytes([one[0], one[1]]), u32::from_be_bytes([one[2], one[3], one[4], one[5]]))
    })
}

/// The first four bytes of a payload as a number of 31 bits: an increment, or the last stream of a GOAWAY.
///
/// # Errors
/// [`Violation`] where there are fewer.
pub(in crate::tools) fn number(payload: &[u8]) -> Result<u32, Violation> {
    let bytes = payload.first_chunk().ok_or(Violation("a control frame is too short"))?;
    Ok(u32::from_be_bytes(*bytes) & 0x7fff_ffff)
}

/// How much of a window's bytes has been used and not yet given back: it is given back when half is used, in one piece.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::tools) struct Used(u32);

impl Used {
    /// Notes `bytes` more; appends a WINDOW_UPDATE for `stream` if half of `window` is used by now.
    pub(in crate::tools) fn note(&mut self, out: &mut Vec<u8>, stream: u32, bytes: u32, window: u32) {
        self.0 += bytes;
        if self.0 >= window / 2 {
            put_window_update(out, stream, self.0);
            self.0 = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_read_as_written() {
        let mut out = Vec::new();
        put_head(&mut out, 0x01_02_03, HEADERS, END_STREAM | END_HEADERS, 0x7fff_fffd);
        assert_eq!(out, [1, 2, 3, 1, 5, 0x7f, 0xff, 0xff, 0xfd]);
        // The reserved bit says nothing (RFC 9113, section 4.1).
        out[5] |= 0x80;
        let head = Head::parse(out.try_into().unwrap());
        assert_eq!(head, Head { len: 0x01_02_03, kind: HEADERS, flags: 5, stream: 0x7fff_fffd });
        assert!(head.has(END_STREAM) && !head.has(PADDED));
    }

    /// Guarantee: a window is given back in few pieces, and in full.
    #[test]
    fn windows_are_given_back_by_halves() {
        let (mut used, mut out) = (Used::default(), Vec::new());
        for _ in 0..4 {
            used.note(&mut out, 3, 30, 100);
        }
        let mut expected = Vec::new();
        put_window_update(&mut expected, 3, 60);
        put_window_update(&mut expected, 3, 60);
        assert_eq!(out, expected);
        assert_eq!(number(&out[HEAD_BYTES..]), Ok(60));
        assert!(number(&[1, 2]).is_err());
    }

    #[test]
    fn settings_are_read_as_written() {
        let mut out = Vec::new();
        put_settings(&mut out, &[(SETTINGS_INITIAL_WINDOW_SIZE, 70_000), (SETTINGS_ENABLE_PUSH, 0)]);
        let read: Vec<_> = settings(&out[HEAD_BYTES..]).collect();
        assert_eq!(read, [(SETTINGS_INITIAL_WINDOW_SIZE, 70_000), (SETTINGS_ENABLE_PUSH, 0)]);
    }
}
