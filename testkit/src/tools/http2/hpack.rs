//! HPACK (RFC 7541): a decoder, and the few representations that are sent.
//!
//! Must never let its dynamic table drift from the peer's: an error here ends the connection.

use std::collections::VecDeque;

use httlib_huffman::DecoderSpeed;

use super::frame::{TABLE_BYTES, Violation};
use super::static_table::STATIC_TABLE;

/// What an entry of the dynamic table counts beside its bytes (RFC 7541, section 4.1).
const ENTRY_BYTES: usize = 32;

/// Index of the newest entry of the dynamic table.
pub(in crate::tools) const NEWEST: u64 = STATIC_TABLE.len() as u64 + 1;

#[derive(Debug)]
struct Entry {
    name: Vec<u8>,
    value: Vec<u8>,
}

impl Entry {
    fn size(&self) -> usize {
        self.name.len() + self.value.len() + ENTRY_BYTES
    }
}

/// One direction's decoder.
#[derive(Debug)]
pub(in crate::tools) struct Decoder {
    /// Newest first.
    table: VecDeque<Entry>,
    size: usize,
    /// At most [`TABLE_BYTES`]: nobody here allows more in its SETTINGS.
    size_max: usize,
    name: Vec<u8>,
    value: Vec<u8>,
}

impl Default for Decoder {
    fn default() -> Self {
        let size_max = TABLE_BYTES as usize;
        Self { table: VecDeque::new(), size: 0, size_max, name: Vec::new(), value: Vec::new() }
    }
}

impl Decoder {
    /// Decodes a block, giving each field to `field` as name and value. Says whether the dynamic table has changed: if not, the same
    /// bytes mean the same fields until it does.
    ///
    /// # Errors
    /// [`Violation`] where the block is malformed.
    pub(in crate::tools) fn decode(
        &mut self,
        mut block: &[u8],
        mut field: impl FnMut(&[u8], &[u8]),
    ) -> Result<bool, Violation> {
        let mut changed = false;
        while let Some(&first) = block.first() {
            if first & 0x80 != 0 {
                let (name, value) = self.entry(take_integer(&mut block, 7)?)?;
                field(name, value);
            } else if first & 0xe0 == 0x20 {
                let size_max = take_integer(&mut block, 5)?;
                if size_max > u64::from(TABLE_BYTES) {
                    return Err(Violation("HPACK: the table is to be larger than allowed"));
                }
                self.size_max = size_max as usize;
                self.evict(0);
                changed = true;
            } else {
                let indexed = first & 0x40 != 0;
                self.take_literal(&mut block, if indexed { 6 } else { 4 })?;
                field(&self.name, &self.value);
                if indexed {
                    self.insert();
                    changed = true;
                }
            }
        }
        Ok(changed)
    }

    /// Reads a literal field into `name` and `value`.
    fn take_literal(&mut self, block: &mut &[u8], prefix_bits: u8) -> Result<(), Violation> {
        let index = take_integer(block, prefix_bits)?;
        let mut name = std::mem::take(&mut self.name);
        name.clear();
        if index == 0 {
            take_string(block, &mut name)?;
        } else {
            name.extend_from_slice(self.entry(index)?.0);
        }
        self.name = name;
        self.value.clear();
        take_string(block, &mut self.value)
    }

    fn entry(&self, index: u64) -> Result<(&[u8], &[u8]), Violation> {
        let unknown = Violation("HPACK: an index is out of the table");
        let place = usize::try_from(index).ok().and_then(|index| index.checked_sub(1)).ok_or(unknown)?;
        if let Some(found) = STATIC_TABLE.get(place) {
            return Ok(*found);
        }
        let entry = self.table.get(place - STATIC_TABLE.len()).ok_or(unknown)?;
        Ok((&entry.name, &entry.value))
    }

    /// Adds `name` and `value` (RFC 7541, section 4.4: one that is too large empties the table and is not added).
    fn insert(&mut self) {
        let entry = Entry { name: self.name.clone(), value: self.value.clone() };
        self.evict(entry.size());
        if entry.size() <= self.size_max {
            self.size += entry.size();
            self.table.push_front(entry);
        }
    }

    /// Drops the oldest entries until `room` bytes are free.
    fn evict(&mut self, room: usize) {
        while self.size + room > self.size_max {
            let Some(oldest) = self.table.pop_back() else { return };
            self.size -= oldest.size();
        }
    }
}

/// Takes an integer (RFC 7541, section 5.1) whose first byte has `prefix_bits` bits of it.
fn take_integer(block: &mut &[u8], prefix_bits: u8) -> Result<u64, Violation> {
    let cut = Violation("HPACK: a block ends inside a field");
    let (&first, mut rest) = block.split_first().ok_or(cut)?;
    let mask = (1_u64 << prefix_bits) - 1;
    let mut value = u64::from(first) & mask;
    if value == mask {
        for shift in (0..).step_by(7) {
            let (&byte, left) = rest.split_first().ok_or(cut)?;
            rest = left;
            value += u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
            if shift >= 28 {
                return Err(Violation("HPACK: an integer does not fit 32 bits"));
            }
        }
    }
    *block = rest;
    Ok(value)
}

/// Takes a string (RFC 7541, section 5.2), Huffman or plain, and appends it to `out`.
fn take_string(block: &mut &[u8], out: &mut Vec<u8>) -> Result<(), Violation> {
    let is_huffman = block.first().is_some_and(|first| first & 0x80 != 0);
    let len = take_integer(block, 7)?;
    let split = usize::try_from(len).ok().and_then(|len| block.split_at_checked(len));
    let (string, rest) = split.ok_or(Violation("HPACK: a block ends inside a string"))?;
    *block = rest;
    if is_huffman {
        return httlib_huffman::decode(string, out, DecoderSpeed::FourBits)
            .map_err(|_| Violation("HPACK: a string is not in Huffman's code"));
    }
    out.extend_from_slice(string);
    Ok(())
}

/// Name of a field to be sent: a place in the table, or spelled.
#[derive(Debug, Clone, Copy)]
pub(in crate::tools) enum Name {
    Index(u64),
    Spelled(&'static str),
}

/// Appends a field that is in the table, name and value.
pub(in crate::tools) fn put_indexed(out: &mut Vec<u8>, index: u64) {
    put_integer(out, 0x80, 7, index);
}

/// Appends a literal field; with `indexed` it becomes the newest entry of the peer's dynamic table.
pub(in crate::tools) fn put_literal(out: &mut Vec<u8>, indexed: bool, name: Name, value: &str) {
    let (pattern, prefix_bits) = if indexed { (0x40, 6) } else { (0, 4) };
    match name {
        Name::Index(index) => put_integer(out, pattern, prefix_bits, index),
        Name::Spelled(name) => {
            out.push(pattern);
            put_string(out, name);
        }
    }
    put_string(out, value);
}

/// Appends "the dynamic table has this size now", which must begin a block (RFC 7541, section 4.2).
pub(in crate::tools) fn put_table_size(out: &mut Vec<u8>, size: u32) {
    put_integer(out, 0x20, 5, size.into());
}

fn put_integer(out: &mut Vec<u8>, pattern: u8, prefix_bits: u8, value: u64) {
    let mask = (1_u64 << prefix_bits) - 1;
    if value < mask {
        out.push(pattern | value as u8);
        return;
    }
    out.push(pattern | mask as u8);
    crate::wire::put_varint(out, value - mask);
}

/// Appends a string in Huffman's code where that is shorter, as Go's encoder does.
fn put_string(out: &mut Vec<u8>, string: &str) {
    let mut coded = Vec::new();
    let coding = httlib_huffman::encode(string.as_bytes(), &mut coded);
    if coding.is_ok() && coded.len() < string.len() {
        put_integer(out, 0x80, 7, coded.len() as u64);
        out.extend_from_slice(&coded);
    } else {
        put_integer(out, 0, 7, string.len() as u64);
        out.extend_from_slice(string.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<String>, Violation> {
        let mut found = Vec::new();
        decoder.decode(block, |name, value| {
            found.push(format!("{}: {}", String::from_utf8_lossy(name), String::from_utf8_lossy(value)));
        })?;
        Ok(found)
    }

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        digits.chunks(2).map(byte).collect()
    }

    /// RFC 7541, appendix C.4: three requests on one connection, in Huffman's code.
    #[test]
    fn the_requests_of_the_rfc_are_read() {
        let mut decoder = Decoder::default();
        let first = fields(&mut decoder, &bytes("828684418cf1e3c2e5f23a6ba0ab90f4ff")).unwrap();
        assert_eq!(first, [":method: GET", ":scheme: http", ":path: /", ":authority: www.example.com"]);
        let second = fields(&mut decoder, &bytes("828684be5886a8eb10649cbf")).unwrap();
        assert_eq!(second[3..], [":authority: www.example.com", "cache-control: no-cache"]);
        let third = fields(&mut decoder, &bytes("828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf")).unwrap();
        assert_eq!(
            third[1..],
            [
                ":scheme: https",
                ":path: /index.html",
                ":authority: www.example.com",
                "custom-key: custom-value"
            ]
        );
        assert_eq!((decoder.size, decoder.table.len()), (164, 3));
    }

    /// RFC 7541, appendix C.5: responses with a table of 256 bytes, so that entries are evicted.
    #[test]
    fn the_responses_of_the_rfc_are_read() {
        let mut decoder = Decoder { size_max: 256, ..Decoder::default() };
        let first = bytes(
            "4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d546e
             1768747470733a2f2f7777772e6578616d706c652e636f6d",
        );
        assert_eq!(fields(&mut decoder, &first).unwrap()[0], ":status: 302");
        assert_eq!(decoder.size, 222);
        let second = fields(&mut decoder, &bytes("4803333037c1c0bf")).unwrap();
        let location = "location: https://www.example.com";
        let date = "date: Mon, 21 Oct 2013 20:13:21 GMT";
        assert_eq!(second, [":status: 307", "cache-control: private", date, location]);
        assert_eq!(decoder.size, 222);
        let third = bytes(
            "88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a69707738666f6f3d
             4153444a4b48514b425a584f5157454f50495541585157454f49553b206d61782d6167653d333630303b20766572
             73696f6e3d31",
        );
        let third = fields(&mut decoder, &third).unwrap();
        assert_eq!(third[..2], [":status: 200", "cache-control: private"]);
        assert_eq!(third[3..5], [location, "content-encoding: gzip"]);
        assert_eq!((decoder.size, decoder.table.len()), (215, 3));
    }

    /// Guarantee: what is sent is read back, by index where it was indexed; the table empties when told to.
    #[test]
    fn what_is_sent_is_read_back() {
        let mut block = Vec::new();
        put_indexed(&mut block, 3);
        put_literal(&mut block, true, Name::Index(58), "grpc-go/1.80.0");
        put_literal(&mut block, false, Name::Index(31), "application/grpc");
        put_literal(&mut block, true, Name::Spelled("grpc-timeout"), &"9".repeat(200));
        let mut decoder = Decoder::default();
        let long = format!("grpc-timeout: {}", "9".repeat(200));
        let first = fields(&mut decoder, &block).unwrap();
        let expected =
            [":method: POST", "user-agent: grpc-go/1.80.0", "content-type: application/grpc", &long];
        assert_eq!(first, expected);
        block.clear();
        put_indexed(&mut block, NEWEST + 1);
        put_indexed(&mut block, NEWEST);
        assert_eq!(fields(&mut decoder, &block).unwrap(), [expected[1], expected[3]]);
        assert_eq!(decoder.decode(&block, |_, _| {}), Ok(false));
        block.clear();
        put_table_size(&mut block, 0);
        put_literal(&mut block, true, Name::Spelled("a"), "b");
        assert_eq!(decoder.decode(&block, |_, _| {}), Ok(true));
        assert_eq!((decoder.size, decoder.table.len()), (0, 0));
    }

    #[test]
    fn malformed_blocks_are_refused() {
        let refused = |block: &[u8]| fields(&mut Decoder::default(), block).is_err();
        assert!(refused(&[0x80]), "index 0");
        assert!(refused(&[0xbe]), "nothing is in the dynamic table");
        assert!(refused(&[0xff]) && refused(&[0xff, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01]));
        assert!(refused(&[0x40, 0x01]) && refused(&[0x40, 0x05, b'a']));
        assert!(refused(&[0x00, 0x01, b'a', 0x82, 0xff, 0xff]), "padding of more than 7 bits");
        assert!(refused(&[0x3f, 0xe2, 0x1f]), "a table of 4,097 bytes");
    }
}
