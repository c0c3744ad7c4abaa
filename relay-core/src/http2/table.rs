//! HPACK's tables (RFC 7541, section 2.3): the static one, and the one that a peer's fields make.

use std::collections::VecDeque;

/// Most bytes of a peer's dynamic table, as RFC 7541 counts them (section 4.1): the default, which this crate leaves.
pub const TABLE_BYTES: usize = 4096;

/// What an entry of the table counts besides its bytes (RFC 7541, section 4.1).
pub(super) const ENTRY_BYTES: usize = 32;

/// The dynamic table: entries one after the other in one buffer, the oldest first.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) bytes: Vec<u8>,
    // Bytes that were ever dropped from the front of `bytes`: entries count their places from the very first byte.
    dropped: usize,
    // The oldest first.
    entries: VecDeque<Entry>,
    pub(super) size: usize,
    size_max: usize,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    start: usize,
    name_len: usize,
    value_len: usize,
}

impl Default for Table {
    fn default() -> Self {
        Self { bytes: Vec::new(), dropped: 0, entries: VecDeque::new(), size: 0, size_max: TABLE_BYTES }
    }
}

impl Table {
    /// Appends the name, and with `value` the value, at `index` to `out`; gives where the name ends.
    pub(super) fn copy(&self, index: usize, value: bool, out: &mut Vec<u8>) -> Option<usize> {
        let (name_of, value_of) = match STATIC.get(index.checked_sub(1)?) {
            Some((name, value)) => (name.as_bytes(), value.as_bytes()),
            None => self.entry(index - 1 - STATIC.len())?,
        };
        out.extend_from_slice(name_of);
        let name_end = out.len();
        if value {
            out.extend_from_slice(value_of);
        }
        Some(name_end)
    }

    /// The entry that is `nth` from the newest.
    fn entry(&self, nth: usize) -> Option<(&[u8], &[u8])> {
        let entry = self.entries.get(self.entries.len().checked_sub(nth + 1)?)?;
        let field = self.bytes.get(entry.start.checked_sub(self.dropped)?..)?;
        field.get(..entry.name_len + entry.value_len)?.split_at_checked(entry.name_len)
    }

    pub(super) fn insert(&mut self, field: &[u8], name_len: usize) {
        let size = field.len() + ENTRY_BYTES;
        self.shrink_to(self.size_max.saturating_sub(size));
        if size > self.size_max {
            // Section 4.4: such an entry empties the table and is not an error.
            return;
        }
        let end = self.dropped + self.bytes.len();
        let live_from = self.entries.front().map_or(end, |oldest| oldest.start) - self.dropped;
        if live_from > self.bytes.len() / 2 {
            self.bytes.drain(..live_from);
            self.dropped += live_from;
        }
        self.bytes.extend_from_slice(field);
        self.entries.push_back(Entry { start: end, name_len, value_len: field.len() - name_len });
        self.size += size;
    }

    pub(super) fn resize(&mut self, size_max: usize) {
        self.size_max = size_max;
        self.shrink_to(size_max);
    }

    fn shrink_to(&mut self, size_max: usize) {
        while self.size > size_max
            && let Some(entry) = self.entries.pop_front()
        {
            self.size -= entry.name_len + entry.value_len + ENTRY_BYTES;
        }
    }
}

/// RFC 7541, appendix A.
#[rustfmt::skip]
const STATIC: [(&str, &str); 61] = [
    (":authority", ""), (":method", "GET"), (":method", "POST"), (":path", "/"), (":path", "/index.html"),
    (":scheme", "http"), (":scheme", "https"), (":status", "200"), (":status", "204"), (":status", "206"),
    (":status", "304"), (":status", "400"), (":status", "404"), (":status", "500"), ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"), ("accept-language", ""), ("accept-ranges", ""), ("accept", ""),
    ("access-control-allow-origin", ""), ("age", ""), ("allow", ""), ("authorization", ""), ("cache-control", ""),
    ("content-disposition", ""), ("content-encoding", ""), ("content-language", ""), ("content-length", ""),
    ("content-location", ""), ("content-range", ""), ("content-type", ""), ("cookie", ""), ("date", ""), ("etag", ""),
    ("expect", ""), ("expires", ""), ("from", ""), ("host", ""), ("if-match", ""), ("if-modified-since", ""),
    ("if-none-match", ""), ("if-range", ""), ("if-unmodified-since", ""), ("last-modified", ""), ("link", ""),
    ("location", ""), ("max-forwards", ""), ("proxy-authenticate", ""), ("proxy-authorization", ""), ("range", ""),
    ("referer", ""), ("refresh", ""), ("retry-after", ""), ("server", ""), ("set-cookie", ""),
    ("strict-transport-security", ""), ("transfer-encoding", ""), ("user-agent", ""), ("vary", ""), ("via", ""),
    ("www-authenticate", ""),
];
