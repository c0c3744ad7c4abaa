//! HPACK (RFC 7541): decodes the header blocks of a peer. What is sent here needs no encoder but [`put_literal`].
//!
//! A block is decoded into one buffer that is used again and again: the calls of a connection repeat the same few fields.

use super::huffman;
pub use super::table::TABLE_BYTES;
use super::table::{ENTRY_BYTES, Table};

/// The block is none, or says what it must not; the connection's tables are out of step from here on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("header block is malformed")]
pub struct HpackError;

/// The fields of one header block, in order.
#[derive(Debug, Default)]
pub struct Fields {
    bytes: Vec<u8>,
    // Ends of name and value in `bytes`, of each field.
    ends: Vec<(usize, usize)>,
    list_bytes: usize,
    list_bytes_max: usize,
}

impl Fields {
    /// Name and value of each field.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.ends.iter().scan(0, |start, (name_end, value_end)| {
            let name = self.bytes.get(*start..*name_end).unwrap_or_default();
            let value = self.bytes.get(*name_end..*value_end).unwrap_or_default();
            *start = *value_end;
            Some((name, value))
        })
    }

    /// The value of the first field of this name; empty if there is none.
    pub fn get(&self, name: &[u8]) -> &[u8] {
        self.iter().find(|(found, _)| *found == name).map_or(&[], |(_, value)| value)
    }

    /// Whether a field of this name is there.
    pub fn has(&self, name: &[u8]) -> bool {
        self.iter().any(|(found, _)| found == name)
    }

    /// Whether the list was longer than its bound (RFC 9113, section 6.5.2, MAX_HEADER_LIST_SIZE) and is cut.
    pub fn is_too_large(&self) -> bool {
        self.list_bytes > self.list_bytes_max
    }

    fn clear(&mut self, list_bytes_max: usize) {
        self.bytes.clear();
        self.ends.clear();
        (self.list_bytes, self.list_bytes_max) = (0, list_bytes_max);
    }

    /// Ends the field that began at `start` and whose name ended at `name_end`; the caller has appended both.
    fn close(&mut self, start: usize, name_end: usize) {
        self.list_bytes += self.bytes.len() - start + ENTRY_BYTES;
        if self.is_too_large() {
            // A block of small references may unfold without a bound; what is over is not kept.
            self.bytes.truncate(start);
        } else {
            self.ends.push((name_end, self.bytes.len()));
        }
    }
}

/// Decodes the blocks of one connection, in their order.
#[derive(Debug, Default)]
pub struct Decoder {
    table: Table,
}

impl Decoder {
    /// Decodes a complete block into `fields`, which forgets what it held.
    ///
    /// # Errors
    /// [`HpackError`]: a connection error COMPRESSION_ERROR (RFC 9113, section 4.3).
    pub fn decode(
        &mut self,
        block: &[u8],
        list_bytes_max: usize,
        fields: &mut Fields,
    ) -> Result<(), HpackError> {
        fields.clear(list_bytes_max);
        let mut rest = block;
        let mut first = true;
        while let Some(lead) = rest.first().copied() {
            let start = fields.bytes.len();
            if lead & 0x80 != 0 {
                let index = integer(&mut rest, 7)?;
                let name_end = self.table.copy(index, true, &mut fields.bytes).ok_or(HpackError)?;
                fields.close(start, name_end);
            } else if lead & 0xe0 == 0x20 {
                // Section 4.2: only where a block begins.
                let size = integer(&mut rest, 5)?;
                if !first || size > TABLE_BYTES {
                    return Err(HpackError);
                }
                self.table.resize(size);
                continue;
            } else {
                let indexed = lead & 0x40 != 0;
                let index = integer(&mut rest, if indexed { 6 } else { 4 })?;
                let name_end = match index {
                    0 => {
                        string(&mut rest, &mut fields.bytes)?;
                        fields.bytes.len()
                    }
                    index => self.table.copy(index, false, &mut fields.bytes).ok_or(HpackError)?,
                };
                string(&mut rest, &mut fields.bytes)?;
                if indexed {
                    let field = fields.bytes.get(start..).unwrap_or_default();
                    self.table.insert(field, name_end - start);
                }
                fields.close(start, name_end);
            }
            first = false;
        }
        Ok(())
    }
}

/// Appends a literal field that is not to be indexed, uncoded (RFC 7541, section 6.2.2).
pub fn put_literal(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.push(0);
    put_field(out, name, value);
}

/// Appends a literal field that joins the receiver's table (RFC 7541, section 6.2.1).
pub fn put_indexing(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.push(0x40);
    put_field(out, name, value);
}

/// Appends a literal field that nobody on the way may index (RFC 7541, section 6.2.3): for secrets.
pub fn put_never_indexed(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.push(0x10);
    put_field(out, name, value);
}

/// Appends a field that stands at `index` in the receiver's table.
pub fn put_index(out: &mut Vec<u8>, index: usize) {
    put_integer(out, 0x80, 7, index);
}

/// What a field counts in a table (RFC 7541, section 4.1).
pub fn table_bytes(name: &[u8], value: &[u8]) -> usize {
    name.len() + value.len() + ENTRY_BYTES
}

fn put_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    for text in [name, value] {
        put_integer(out, 0, 7, text.len());
        out.extend_from_slice(text);
    }
}

/// Section 5.1.
#[expect(clippy::cast_possible_truncation, reason = "each byte takes its seven bits")]
fn put_integer(out: &mut Vec<u8>, flags: u8, bits: u32, value: usize) {
    let max = (1_usize << bits) - 1;
    if value < max {
        out.push(flags | value as u8);
        return;
    }
    out.push(flags | max as u8);
    let mut rest = value - max;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Section 5.1; three more bytes are enough for everything that fits into a block.
fn integer(rest: &mut &[u8], bits: u32) -> Result<usize, HpackError> {
    let max = (1_usize << bits) - 1;
    let mut value = usize::from(take(rest)?) & max;
    if value < max {
        return Ok(value);
    }
    for shift in [0, 7, 14] {
        let byte = usize::from(take(rest)?);
        value += (byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(HpackError)
}

/// Section 5.2.
fn string(rest: &mut &[u8], out: &mut Vec<u8>) -> Result<(), HpackError> {
    let coded = rest.first().is_some_and(|lead| lead & 0x80 != 0);
    let len = integer(rest, 7)?;
    let (text, tail) = rest.split_at_checked(len).ok_or(HpackError)?;
    *rest = tail;
    if coded {
        return huffman::decode(text, out).ok_or(HpackError);
    }
    out.extend_from_slice(text);
    Ok(())
}

fn take(rest: &mut &[u8]) -> Result<u8, HpackError> {
    let (first, tail) = rest.split_first().ok_or(HpackError)?;
    *rest = tail;
    Ok(*first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<(String, String)>, HpackError> {
        let mut fields = Fields::default();
        decoder.decode(block, 16 << 10, &mut fields)?;
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Ok(fields.iter().map(|(name, value)| (text(name), text(value))).collect())
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    /// RFC 7541, appendix C.4: three requests, Huffman coded, with a growing table.
    #[test]
    fn requests_of_the_standard() {
        let mut decoder = Decoder::default();
        let first = [
            0x82, 0x86, 0x84, 0x41, 0x8c, 0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4,
            0xff,
        ];
        let common = [
            pair(":method", "GET"),
            pair(":scheme", "http"),
            pair(":path", "/"),
            pair(":authority", "www.example.com"),
        ];
        assert_eq!(decode(&mut decoder, &first).unwrap(), common);
        let second = [0x82, 0x86, 0x84, 0xbe, 0x58, 0x86, 0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf];
        assert_eq!(
            decode(&mut decoder, &second).unwrap()[3..],
            [common[3].clone(), pair("cache-control", "no-cache")]
        );
        let third = [
            0x82, 0x87, 0x85, 0xbf, 0x40, 0x88, 0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xa9, 0x7d, 0x7f, 0x89, 0x25,
            0xa8, 0x49, 0xe9, 0x5b, 0xb8, 0xe8, 0xb4, 0xbf,
        ];
        assert_eq!(
            decode(&mut decoder, &third).unwrap()[3..],
            [common[3].clone(), pair("custom-key", "custom-value")]
        );
        assert_eq!(decoder.table.size, 164);
    }

    /// The table stays within its bound while fields come and go, and indexes name the newest first.
    #[test]
    fn the_oldest_entries_go_first() {
        let mut decoder = Decoder::default();
        for n in 0..1000 {
            let (mut block, value) = (Vec::new(), format!("value-{n}"));
            put_indexing(&mut block, b"name", value.as_bytes());
            assert_eq!(decode(&mut decoder, &block).unwrap(), [pair("name", &value)]);
            assert!(decoder.table.size <= TABLE_BYTES && decoder.table.bytes.len() < 2 * TABLE_BYTES);
            assert_eq!(decode(&mut decoder, &[0xbe]).unwrap(), [pair("name", &value)]);
        }
        let mut block = Vec::new();
        put_index(&mut block, 62 + 20);
        assert_eq!(decode(&mut decoder, &block).unwrap(), [pair("name", "value-979")]);
        assert_eq!(decode(&mut decoder, &[0x20]).unwrap(), []);
        assert_eq!(decode(&mut decoder, &[0xbe]), Err(HpackError), "an emptied table");
    }

    #[test]
    fn malformed_blocks_are_errors() {
        for bad in [
            &[0x80][..],
            &[0xff, 0xff, 0xff, 0xff, 0xff],
            &[0x40, 0x05, b'a'],
            &[0x82, 0x20],
            &[0x3f, 0xe2, 0x1f],
            &[0x40],
            &[0xbe],
        ] {
            assert_eq!(decode(&mut Decoder::default(), bad), Err(HpackError), "{bad:x?}");
        }
    }

    /// A small block that names one large entry again and again holds no more than the bound.
    #[test]
    fn a_list_over_the_bound_is_cut_and_the_table_goes_on() {
        let mut decoder = Decoder::default();
        let (mut block, mut fields) = (Vec::new(), Fields::default());
        put_indexing(&mut block, b"name", &[b'v'; 3000]);
        block.extend([0xbe; 5000]);
        decoder.decode(&block, 8 << 10, &mut fields).unwrap();
        assert!(fields.is_too_large() && fields.bytes.len() <= 8 << 10);
        assert_eq!(decode(&mut decoder, &[0xbe]).unwrap().len(), 1);
    }

    #[test]
    fn integers_read_as_they_are_written() {
        for value in [0, 30, 31, 126, 127, 128, 300, 16 << 10, 1 << 20] {
            let mut out = Vec::new();
            put_integer(&mut out, 0, 7, value);
            assert_eq!(integer(&mut &out[..], 7), Ok(value));
        }
    }
}
