//! HTTP/2 frames: their heads, types, flags and error codes (RFC 9113, sections 4, 6 and 7). Never holds a payload.

/// Bytes of a frame's head (RFC 9113, section 4.1).
pub const HEAD_BYTES: usize = 9;

/// What a client says first (RFC 9113, section 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Largest payload of a frame where no setting says otherwise (RFC 9113, section 6.5.2).
pub const FRAME_BYTES_DEFAULT: usize = 16 << 10;

/// Flow-control window where no setting says otherwise (RFC 9113, section 6.9.2).
pub const WINDOW_BYTES_DEFAULT: i64 = 65_535;

/// Largest flow-control window (RFC 9113, section 6.9.1).
pub const WINDOW_BYTES_MAX: i64 = 0x7fff_ffff;

/// Largest stream number; the bit above is reserved.
pub const STREAM_MAX: u32 = 0x7fff_ffff;

/// A frame's type. An open set: unknown ones are ignored (RFC 9113, section 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind(pub u8);

#[expect(missing_docs, reason = "the names of the standard, RFC 9113, section 6")]
impl Kind {
    pub const DATA: Self = Self(0);
    pub const HEADERS: Self = Self(1);
    pub const PRIORITY: Self = Self(2);
    pub const RST_STREAM: Self = Self(3);
    pub const SETTINGS: Self = Self(4);
    pub const PUSH_PROMISE: Self = Self(5);
    pub const PING: Self = Self(6);
    pub const GOAWAY: Self = Self(7);
    pub const WINDOW_UPDATE: Self = Self(8);
    pub const CONTINUATION: Self = Self(9);
}

/// END_STREAM of DATA and HEADERS.
pub const END_STREAM: u8 = 0x1;
/// ACK of SETTINGS and PING.
pub const ACK: u8 = 0x1;
/// END_HEADERS of HEADERS and CONTINUATION.
pub const END_HEADERS: u8 = 0x4;
/// PADDED of DATA and HEADERS.
pub const PADDED: u8 = 0x8;
/// PRIORITY of HEADERS: five bytes of a deprecated scheme come first.
pub const HAS_PRIORITY: u8 = 0x20;

/// The settings that mean something here (RFC 9113, section 6.5.2).
#[expect(missing_docs, reason = "the names of the standard")]
pub mod setting {
    pub const HEADER_TABLE_SIZE: u16 = 1;
    pub const ENABLE_PUSH: u16 = 2;
    pub const MAX_CONCURRENT_STREAMS: u16 = 3;
    pub const INITIAL_WINDOW_SIZE: u16 = 4;
    pub const MAX_FRAME_SIZE: u16 = 5;
    pub const MAX_HEADER_LIST_SIZE: u16 = 6;
}

/// Why a stream or a connection ends (RFC 9113, section 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reason(pub u32);

#[expect(missing_docs, reason = "the names of the standard, RFC 9113, section 7")]
impl Reason {
    pub const NO_ERROR: Self = Self(0);
    pub const PROTOCOL_ERROR: Self = Self(1);
    pub const FLOW_CONTROL_ERROR: Self = Self(3);
    pub const STREAM_CLOSED: Self = Self(5);
    pub const FRAME_SIZE_ERROR: Self = Self(6);
    pub const REFUSED_STREAM: Self = Self(7);
    pub const CANCEL: Self = Self(8);
    pub const COMPRESSION_ERROR: Self = Self(9);
    pub const ENHANCE_YOUR_CALM: Self = Self(11);
}

/// The head of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Bytes of the payload that follows.
    pub len: usize,
    /// The type.
    pub kind: Kind,
    /// Flags of that type.
    pub flags: u8,
    /// The stream, 0 for the connection.
    pub stream: u32,
}

impl Head {
    /// Reads a head.
    #[inline]
    pub fn parse(bytes: [u8; HEAD_BYTES]) -> Self {
        let [a, b, c, kind, flags, s0, s1, s2, s3] = bytes;
        Self {
            len: u32::from_be_bytes([0, a, b, c]) as usize,
            kind: Kind(kind),
            flags,
            stream: u32::from_be_bytes([s0, s1, s2, s3]) & STREAM_MAX,
        }
    }

    /// The head as bytes. Lengths are those of frames that are made here, far below the 24 bits there are.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "callers cut frames to at most 16 MiB - 1")]
    pub fn bytes(self) -> [u8; HEAD_BYTES] {
        let [_, a, b, c] = (self.len as u32).to_be_bytes();
        let [s0, s1, s2, s3] = self.stream.to_be_bytes();
        [a, b, c, self.kind.0, self.flags, s0, s1, s2, s3]
    }

    /// Whether `flag` is set.
    #[inline]
    pub fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// The payload of a DATA or HEADERS frame without its padding and priority; `None` when these are longer than it
/// (RFC 9113, sections 6.1 and 6.2).
pub fn unpadded(head: Head, payload: &[u8]) -> Option<&[u8]> {
    let (mut rest, mut pad) = (payload, 0);
    if head.has(PADDED) {
        let (first, tail) = rest.split_first()?;
        (rest, pad) = (tail, usize::from(*first));
    }
    if head.kind == Kind::HEADERS && head.has(HAS_PRIORITY) {
        rest = rest.get(5..)?;
    }
    rest.get(..rest.len().checked_sub(pad)?)
}

/// The settings of a SETTINGS payload, whose length is a multiple of six.
pub fn settings(payload: &[u8]) -> impl Iterator<Item = (u16, u32)> {
    payload.chunks_exact(6).filter_map(|one| {
        let (id, value) = one.split_first_chunk::<2>()?;
        Some((u16::from_be_bytes(*id), u32::from_be_bytes(value.try_into().ok()?)))
    })
}

/// Appends a frame.
pub fn put(out: &mut Vec<u8>, kind: Kind, flags: u8, stream: u32, payload: &[u8]) {
    out.extend_from_slice(&Head { len: payload.len(), kind, flags, stream }.bytes());
    out.extend_from_slice(payload);
}

/// Appends a WINDOW_UPDATE.
pub fn put_window_update(out: &mut Vec<u8>, stream: u32, bytes: u32) {
    put(out, Kind::WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes());
}

/// Appends an RST_STREAM.
pub fn put_reset(out: &mut Vec<u8>, stream: u32, reason: Reason) {
    put(out, Kind::RST_STREAM, 0, stream, &reason.0.to_be_bytes());
}

/// Appends a GOAWAY.
pub fn put_goaway(out: &mut Vec<u8>, last: u32, reason: Reason) {
    let [a, b, c, d] = last.to_be_bytes();
    let [e, f, g, h] = reason.0.to_be_bytes();
    put(out, Kind::GOAWAY, 0, 0, &[a, b, c, d, e, f, g, h]);
}

/// Appends a SETTINGS.
pub fn put_settings(out: &mut Vec<u8>, settings: &[(u16, u32)]) {
    let payload: Vec<u8> = settings
        .iter()
        .flat_map(|(id, value)| id.to_be_bytes().into_iter().chain(value.to_be_bytes()))
        .collect();
    put(out, Kind::SETTINGS, 0, 0, &payload);
}

/// The number of a payload of four bytes.
pub fn number(payload: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(payload.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_read_as_they_are_written() {
        let head = Head { len: 0x01_02_03, kind: Kind::DATA, flags: END_STREAM, stream: 0x7fff_fffe };
        assert_eq!(Head::parse(head.bytes()), head);
        let reserved_bit = [0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(Head::parse(reserved_bit).stream, STREAM_MAX);
    }

    #[test]
    fn padding_and_priority_come_off() {
        let head = |kind, flags| Head { len: 0, kind, flags, stream: 1 };
        assert_eq!(unpadded(head(Kind::DATA, PADDED), &[2, 7, 0, 0]), Some(&[7][..]));
        assert_eq!(unpadded(head(Kind::DATA, PADDED), &[4, 7, 0, 0]), None);
        assert_eq!(unpadded(head(Kind::DATA, PADDED), &[]), None);
        let both = head(Kind::HEADERS, PADDED | HAS_PRIORITY);
        assert_eq!(unpadded(both, &[1, 0, 0, 0, 0, 9, 8, 0]), Some(&[8][..]));
        assert_eq!(unpadded(both, &[1, 0, 0, 0]), None);
    }
}
