//! The bytes of a record, and what is believed of bytes that are not what was written.

use super::*;

fn part(bytes: usize, items: u64) -> Part {
    Part { bytes, items, origin: Origin(7) }
}

fn record() -> NewRecord {
    NewRecord {
        signal: Signal::Logs,
        encoding: Some(Encoding::Lz4),
        items: 301,
        unix_ms: 1_700_000_000_123,
        parts: vec![part(1, 1), part(3, 300)],
        payload: Rope::new(vec![Bytes::from_static(b"ab"), Bytes::from_static(b"cd")]),
    }
}

fn written() -> (Head, Bytes) {
    let record = record();
    let table = parts_table(&record.parts);
    let head = Head::of_record(&record, &table, 5).unwrap();
    (head, [&table[..], b"abcd"].concat().into())
}

/// The format is what was released, not what this code makes of it.
#[test]
fn a_record_has_the_documented_bytes() {
    let (head, body) = written();
    let bytes = head.encode(0xDEAD_BEEF, 40);
    let hex: String = bytes.iter().chain(&body).map(|byte| format!("{byte:02x}")).collect();
    let head_bytes = concat!(
        "c55ea7d1883fcb5401020600050000000400000009a6605f05000000",
        "000000007b68e5cf8b0100002d010000000000000200000000000000"
    );
    assert_eq!(hex, format!("{head_bytes}010103ac0261626364"));
    assert_eq!((head.bytes(), head.body_bytes()), (65, 9));
}

#[test]
fn a_record_is_read_back_without_a_copy() {
    let (head, body) = written();
    assert_eq!(Head::decode(&head.encode(9, 40), 9, 40), Some(head));
    head.prove_sum(&body).unwrap();
    let read = head.record(77, &body).unwrap();
    assert_eq!(read.id, RecordId { segment: 77, sequence: 5 });
    let parts: Vec<(usize, u64)> = read.parts.iter().map(|part| (part.bytes, part.items)).collect();
    assert_eq!((parts, read.items, read.encoding), (vec![(1, 1), (3, 300)], 301, Some(Encoding::Lz4)));
    assert_eq!((&read.payload[..], read.payload.as_ptr()), (&b"abcd"[..], body[5..].as_ptr()));
}

#[test]
fn every_flipped_bit_of_a_head_is_seen_and_so_is_another_segment_or_place() {
    let (head, body) = written();
    let bytes = head.encode(9, 40);
    assert_eq!(Head::decode(&bytes, 8, 40), None);
    assert_eq!(Head::decode(&bytes, 9, 41), None);
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes;
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(Head::decode(&flipped, 9, 40), None, "bit {bit}");
    }
    for bit in 0..body.len() * 8 {
        let mut flipped = body.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(head.prove_sum(&flipped.into()), Err(Corruption::Payload), "bit {bit}");
    }
    for cut in 0..bytes.len() {
        assert_eq!(Head::decode(&bytes[..cut], 9, 40), None);
    }
}

#[test]
fn parts_that_do_not_add_up_are_neither_written_nor_believed() {
    for parts in [vec![], vec![part(4, 300)], vec![part(3, 301)], vec![part(usize::MAX, 1), part(5, 300)]] {
        let bad = NewRecord { parts, ..record() };
        assert_eq!(Head::of_record(&bad, &parts_table(&bad.parts), 0), None);
    }
    let (head, _) = written();
    let tables: [&[u8]; 6] = [
        &[1, 1, 3, 0xac, 0x03], // 428 items
        &[2, 1, 3, 0xac, 0x02], // five bytes
        &[1, 1, 3, 0xac, 0x82], // cut
        &[1, 1, 3, 0x80, 0x80],
        &[0xff, 0xff, 0xff, 0xff, 0xff],
        &[1, 1, 3, 3, 3],
    ];
    for table in tables {
        let body = [table, b"abcd"].concat().into();
        assert_eq!(head.record(1, &body).map(drop), Err(Corruption::Parts), "{table:?}");
    }
    for parts in [0, 1, 3, u32::MAX] {
        let hostile = Head { parts, ..head };
        assert_eq!(hostile.record(1, &written().1).map(drop), Err(Corruption::Parts), "{parts}");
    }
}

#[test]
fn every_encoding_and_signal_has_its_number() {
    let encodings = [
        Encoding::Gzip,
        Encoding::Zlib,
        Encoding::Zstd,
        Encoding::Snappy,
        Encoding::SnappyFramed,
        Encoding::Lz4,
    ];
    for (encoding, number) in encodings.into_iter().zip(1..) {
        assert_eq!(encoding_of_number(number), Some(Some(encoding)));
        assert_eq!(number_of_encoding(encoding), number);
    }
    assert_eq!((encoding_of_number(0), encoding_of_number(7)), (Some(None), None));
    for (signal, number) in Signal::ALL.into_iter().zip(0..) {
        assert_eq!(number_of_signal(signal), number);
    }
}
