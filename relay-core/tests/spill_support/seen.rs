//! What a reader says of a segment, and what a test says that it must say, in one form.

use std::io;

use relay_core::spill::{Corruption, DiskFile, Found, SegmentError, SegmentReader};
use testkit::spill_format::{Kind, Plain, Segment, Table};

/// One thing in a segment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Seen {
    Data(u64, u32, Plain),
    Settled(u64, Table),
    /// Records, items, requests that were never opened, bytes, the oldest and the newest time; what is settled.
    Footer(u64, [u64; 6], Table),
    Corrupt {
        offset: u64,
        bytes: u64,
        items: Option<u64>,
        why: Corruption,
    },
    Torn {
        offset: u64,
        bytes: u64,
    },
}

/// A file in memory that can only be read.
#[derive(Clone, Debug)]
pub(crate) struct Bytes(pub(crate) Vec<u8>);

impl DiskFile for Bytes {
    fn write_at(&self, _: u64, _: &[io::IoSlice<'_>]) -> io::Result<usize> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<usize> {
        let from = usize::try_from(at).unwrap_or(usize::MAX).min(self.0.len());
        let len = into.len().min(self.0.len() - from);
        into[..len].copy_from_slice(&self.0[from..from + len]);
        Ok(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }
}

/// What is in these bytes, by the reader; `name` is that of the file, if it counts.
pub(crate) fn read(bytes: &[u8], name: Option<&str>) -> Result<Vec<Seen>, SegmentError> {
    let file = Bytes(bytes.to_vec());
    let mut reader = match name {
        None => SegmentReader::open(file)?,
        Some(name) => SegmentReader::open_named(file, name)?.0,
    };
    let mut seen = Vec::new();
    while let Some(found) = reader.next()? {
        seen.push(match found {
            Found::Record { offset, record } => {
                assert_eq!(record.id.segment, reader.head().id);
                let signals = relay_core::otlp::Signal::ALL;
                let plain = Plain {
                    signal: signals.iter().position(|signal| *signal == record.signal).unwrap() as u8,
                    encoding: record.encoding.map_or(0, number),
                    unix_ms: record.unix_ms,
                    parts: record.parts.iter().map(|part| (part.bytes, part.items)).collect(),
                    payload: record.payload.to_vec(),
                };
                assert_eq!(record.items, plain.items());
                Seen::Data(offset, record.id.sequence, plain)
            }
            Found::Settled { offset, table } => Seen::Settled(offset, table),
            Found::Footer { offset, summary: sum, table } => {
                let (oldest, newest) = (sum.oldest_unix_ms, sum.newest_unix_ms);
                let sum = [sum.records.into(), sum.items, sum.unopened, sum.data_bytes, oldest, newest];
                Seen::Footer(offset, sum, table)
            }
            Found::Corrupt { offset, bytes, items, why } => Seen::Corrupt { offset, bytes, items, why },
            Found::Torn { offset, bytes } => Seen::Torn { offset, bytes },
        });
        assert!(seen.len() <= bytes.len(), "a reader that does not end");
    }
    Ok(seen)
}

/// The number of an encoding, as the document has it.
fn number(encoding: relay_core::batch::Encoding) -> u8 {
    use relay_core::batch::Encoding::{Gzip, Lz4, Snappy, SnappyFramed, Zlib, Zstd};
    match encoding {
        Gzip => 1,
        Zlib => 2,
        Zstd => 3,
        Snappy => 4,
        SnappyFramed => 5,
        Lz4 => 6,
    }
}

/// What is in a sound segment.
pub(crate) fn of(segment: &Segment, tables: &[(u32, Table)]) -> Vec<Seen> {
    let mut data = segment.data.iter();
    let table = |sequence| tables.iter().find(|(index, _)| *index == sequence).unwrap().1.clone();
    let seen = segment.places.iter().map(|place| {
        let offset = place.head.start as u64;
        match place.kind {
            Kind::Data => Seen::Data(offset, place.sequence, data.next().unwrap().clone()),
            Kind::Settled => Seen::Settled(offset, table(place.sequence)),
            Kind::Footer => Seen::Footer(offset, summary(segment), table(place.sequence)),
        }
    });
    seen.collect()
}

fn summary(segment: &Segment) -> [u64; 6] {
    let data = segment.places.iter().filter(|place| place.kind == Kind::Data);
    let bytes: usize = data.map(|place| place.whole().len()).sum();
    let items = |is_unopened: bool| {
        let meant = segment.data.iter().filter(|plain| (plain.encoding != 0) == is_unopened);
        meant.map(Plain::items).sum::<u64>()
    };
    let times = segment.data.iter().map(|plain| plain.unix_ms);
    let (oldest, newest) = (times.clone().min().unwrap_or(0), times.max().unwrap_or(0));
    [segment.data.len() as u64, items(false), items(true), bytes as u64, oldest, newest]
}
