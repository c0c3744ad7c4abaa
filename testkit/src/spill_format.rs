//! Version 1 of a segment, written a second time: from the document of the format alone, without a line of the code under test. Says
//! where each record lies, so that a test can state what a cut or a flipped bit must do.

use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::wire::put_varint;

/// Bytes of a segment's header.
pub const HEADER_BYTES: usize = 40;
/// Bytes of a record's head, without its table of parts.
pub const HEAD_BYTES: usize = 56;
/// What every record begins with.
pub const MARKER: u32 = 0xD1A7_5EC5;

/// Ranges of records, by segment id.
pub type Table = Vec<(u64, Vec<Range<u32>>)>;

/// What a record is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Requests.
    Data = 1,
    /// What is settled.
    Settled = 2,
    /// The end of a segment that was closed.
    Footer = 3,
}

/// A record of data as a test states it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plain {
    /// Index in `Signal::ALL`.
    pub signal: u8,
    /// 0 for none.
    pub encoding: u8,
    /// When its oldest request came, in milliseconds since 1970.
    pub unix_ms: u64,
    /// Bytes and items of each part; the bytes add up to the payload's.
    pub parts: Vec<(usize, u64)>,
    /// The requests, one after the other.
    pub payload: Vec<u8>,
}

impl Plain {
    /// Items of all parts.
    #[must_use]
    pub fn items(&self) -> u64 {
        self.parts.iter().map(|(_, items)| items).sum()
    }
}

/// Where a record lies in its segment.
#[derive(Clone, Debug)]
pub struct Place {
    /// What it is.
    pub kind: Kind,
    /// Its index in the segment.
    pub sequence: u32,
    /// The items that its head names.
    pub items: u64,
    /// Its head.
    pub head: Range<usize>,
    /// Its parts and payload.
    pub body: Range<usize>,
}

impl Place {
    /// All of it.
    #[must_use]
    pub fn whole(&self) -> Range<usize> {
        self.head.start..self.body.end
    }
}

/// A segment while it is written.
#[derive(Clone, Debug)]
pub struct Segment {
    /// When it was made, in milliseconds since 1970.
    pub unix_ms: u64,
    /// What the sums of its heads begin with.
    pub nonce: u32,
    /// The file so far.
    pub bytes: Vec<u8>,
    /// Its records so far.
    pub places: Vec<Place>,
    /// Its records of data so far.
    pub data: Vec<Plain>,
}

impl Segment {
    /// One without records.
    #[must_use]
    pub fn new(unix_ms: u64, nonce: u32) -> Self {
        let mut bytes = b"RLSPILL\n".to_vec();
        bytes.extend(1_u16.to_le_bytes());
        bytes.extend(40_u16.to_le_bytes());
        bytes.extend(0_u32.to_le_bytes());
        bytes.extend(id(unix_ms, nonce).to_le_bytes());
        bytes.extend(unix_ms.to_le_bytes());
        bytes.extend(nonce.to_le_bytes());
        bytes.extend(crc32c(0, &bytes).to_le_bytes());
        Self { unix_ms, nonce, bytes, places: Vec::new(), data: Vec::new() }
    }

    /// The number in its header.
    #[must_use]
    pub fn id(&self) -> u64 {
        id(self.unix_ms, self.nonce)
    }

    /// Its file in the directory of its owner.
    #[must_use]
    pub fn path(&self, dir: &Path) -> PathBuf {
        dir.join(format!("{:013}-{:08x}.seg", self.unix_ms, self.nonce))
    }

    /// Appends requests.
    pub fn data(&mut self, plain: &Plain) -> &mut Self {
        let mut parts = Vec::new();
        for (bytes, items) in &plain.parts {
            put_varint(&mut parts, *bytes as u64);
            put_varint(&mut parts, *items);
        }
        let head = Head {
            kind: Kind::Data,
            signal: plain.signal,
            encoding: plain.encoding,
            unix_ms: plain.unix_ms,
            items: plain.items(),
            parts: u32::try_from(plain.parts.len()).unwrap(),
        };
        self.data.push(plain.clone());
        self.record(&head, &parts, &plain.payload)
    }

    /// Appends what is settled.
    pub fn settled(&mut self, unix_ms: u64, table: &Table) -> &mut Self {
        self.record(&Head::of(Kind::Settled, unix_ms), &[], &table_bytes(table))
    }

    /// Appends a record with a table, or a footer, of these bytes, whatever they say.
    pub fn table(&mut self, kind: Kind, unix_ms: u64, payload: &[u8]) -> &mut Self {
        self.record(&Head::of(kind, unix_ms), &[], payload)
    }

    /// A footer that tells the truth about the records before it.
    pub fn footer(&mut self, unix_ms: u64, table: &Table) -> &mut Self {
        let opened = self.data.iter().filter(|plain| plain.encoding == 0).map(Plain::items).sum::<u64>();
        let unopened = self.data.iter().filter(|plain| plain.encoding != 0).map(Plain::items).sum::<u64>();
        let data = self.places.iter().filter(|place| place.kind == Kind::Data);
        let bytes: usize = data.map(|place| place.whole().len()).sum();
        let times = self.data.iter().map(|plain| plain.unix_ms);
        let (oldest, newest) = (times.clone().min().unwrap_or(0), times.max().unwrap_or(0));
        let mut payload = u32::try_from(self.data.len()).unwrap().to_le_bytes().to_vec();
        for value in [opened, unopened, bytes as u64, oldest, newest] {
            payload.extend(value.to_le_bytes());
        }
        payload.extend(table_bytes(table));
        let length = HEAD_BYTES + payload.len() + 4;
        payload.extend(u32::try_from(length).unwrap().to_le_bytes());
        self.record(&Head::of(Kind::Footer, unix_ms), &[], &payload)
    }

    /// Writes the checksum of the head at byte `at` again, after somebody has changed what it says.
    pub fn seal_again(&mut self, at: usize) {
        let sum = self.head_sum(at, &self.bytes[at + 8..at + HEAD_BYTES]);
        self.bytes[at + 4..at + 8].copy_from_slice(&sum.to_le_bytes());
    }

    fn head_sum(&self, at: usize, sealed: &[u8]) -> u32 {
        let place = [&self.nonce.to_le_bytes()[..], &(at as u64).to_le_bytes()].concat();
        crc32c(crc32c(0, &place), sealed)
    }

    fn record(&mut self, head: &Head, parts: &[u8], payload: &[u8]) -> &mut Self {
        let sequence = u32::try_from(self.places.len()).unwrap();
        let from = self.bytes.len();
        let mut sealed = vec![head.kind as u8, head.signal, head.encoding, 0];
        sealed.extend(u32::try_from(parts.len()).unwrap().to_le_bytes());
        sealed.extend(u32::try_from(payload.len()).unwrap().to_le_bytes());
        sealed.extend(crc32c(0, &[parts, payload].concat()).to_le_bytes());
        sealed.extend(u64::from(sequence).to_le_bytes());
        sealed.extend(head.unix_ms.to_le_bytes());
        sealed.extend(head.items.to_le_bytes());
        sealed.extend(head.parts.to_le_bytes());
        sealed.extend(0_u32.to_le_bytes());
        self.bytes.extend(MARKER.to_le_bytes());
        self.bytes.extend(self.head_sum(from, &sealed).to_le_bytes());
        self.bytes.extend(sealed);
        let middle = self.bytes.len();
        self.bytes.extend(parts);
        self.bytes.extend(payload);
        self.places.push(Place {
            kind: head.kind,
            sequence,
            items: head.items,
            head: from..middle,
            body: middle..self.bytes.len(),
        });
        self
    }
}

struct Head {
    kind: Kind,
    signal: u8,
    encoding: u8,
    unix_ms: u64,
    items: u64,
    parts: u32,
}

impl Head {
    fn of(kind: Kind, unix_ms: u64) -> Self {
        Self { kind, signal: 0, encoding: 0, unix_ms, items: 0, parts: 0 }
    }
}

/// The number of a segment.
#[must_use]
pub fn id(unix_ms: u64, nonce: u32) -> u64 {
    unix_ms << 20 | u64::from(nonce & 0xF_FFFF)
}

fn table_bytes(table: &Table) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (segment, ranges) in table {
        bytes.extend(segment.to_le_bytes());
        bytes.extend(u32::try_from(ranges.len()).unwrap().to_le_bytes());
        for range in ranges {
            bytes.extend(range.start.to_le_bytes());
            bytes.extend(range.end.to_le_bytes());
        }
    }
    bytes
}

/// CRC32C (Castagnoli, reflected 0x82F63B78), bit by bit, going on from an earlier sum.
#[must_use]
pub fn crc32c(before: u32, bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!before, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| (sum >> 1) ^ (0x82F6_3B78 & (sum & 1).wrapping_neg()))
    })
}
