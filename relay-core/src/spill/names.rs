//! Names on disk: DIRECTORY / LOG / OWNER / SEGMENT. What does not have such a name is not ours, and is never touched.

use std::fmt::Write as _;

use super::segment::SegmentHead;
use crate::otlp::Signal;

/// The lock of an owner's directory.
pub(super) const LOCK: &str = "lock";

/// What the name of a directory begins with that is still being made.
pub(super) const UNFINISHED: &str = ".new-";

const OWNER: &str = "p-";
const SEGMENT: &str = ".seg";

/// The name of the directory that holds the log of `signal` for the exporter `upstream`: `otlp%2Fa_traces`. Bytes outside of
/// `[A-Za-z0-9._-]` are written `%XX`, so that no name leaves the directory and no two are the same.
pub fn log_dir_name(upstream: &str, signal: Signal) -> String {
    let mut name = String::with_capacity(upstream.len() + 16);
    for byte in upstream.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-') {
            name.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            write!(name, "%{byte:02X}").ok();
        }
    }
    name.push('_');
    name.push_str(signal.name());
    name
}

/// The name of the directory of a process that started at `unix_ms`; `random` tells it from others that did at the same moment.
pub fn owner_name(unix_ms: u64, random: u32) -> String {
    format!("{OWNER}{unix_ms:013}-{random:08x}")
}

/// Whether `name` is one of [`owner_name`].
pub fn is_owner_name(name: &str) -> bool {
    name.strip_prefix(OWNER).and_then(time_and_number).is_some()
}

/// When the process of this name says that it started, in milliseconds since 1970.
pub(super) fn owner_unix_ms(name: &str) -> Option<u64> {
    name.strip_prefix(OWNER).and_then(time_and_number).map(|(unix_ms, _)| unix_ms)
}

/// The name of the file of a segment: sorts by age.
pub(super) fn segment_name(head: &SegmentHead) -> String {
    format!("{:013}-{:08x}{SEGMENT}", head.created_unix_ms, head.nonce)
}

/// What the header of the file of this name says, if it is the name of a segment: a header that is damaged can be done without.
pub(super) fn segment_of_name(name: &str) -> Option<SegmentHead> {
    let (unix_ms, nonce) = name.strip_suffix(SEGMENT).and_then(time_and_number)?;
    Some(SegmentHead::new(unix_ms, nonce))
}

/// Whether `name` is the name of a segment's file.
pub fn is_segment_name(name: &str) -> bool {
    segment_of_name(name).is_some()
}

/// `0001700000000-00ab12cd`: 13 decimal digits or more, 8 of hexadecimal.
fn time_and_number(name: &str) -> Option<(u64, u32)> {
    let (time, number) = name.split_once('-')?;
    let is_time = time.len() >= 13 && time.bytes().all(|byte| byte.is_ascii_digit());
    let is_number = number.len() == 8 && number.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    (is_time && is_number).then_some(())?;
    Some((time.parse().ok()?, u32::from_str_radix(number, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_logs_stay_inside_and_apart() {
        assert_eq!(log_dir_name("otlp/a", Signal::Traces), "otlp%2Fa_traces");
        assert_eq!(log_dir_name("otlp%2Fa", Signal::Traces), "otlp%252Fa_traces");
        assert_eq!(log_dir_name("../é", Signal::Logs), "..%2F%C3%A9_logs");
    }

    #[test]
    fn names_are_read_back_and_others_are_not_ours() {
        let owner = owner_name(1_700_000_000_123, 0xAB12);
        assert_eq!(owner, "p-1700000000123-0000ab12");
        assert_eq!(owner_unix_ms(&owner), Some(1_700_000_000_123));
        let head = SegmentHead::new(1_700_000_000_123, 0xDEAD_BEEF);
        assert_eq!(segment_of_name(&segment_name(&head)), Some(head));
        for name in
            ["lock", "a.seg", "1700000000123-00ab12.seg", "1700000000123-00AB12CD.seg", "-00000000.seg"]
        {
            assert!(!is_segment_name(name), "{name}");
        }
        for name in ["p-", "p-17-0000ab12", "1700000000123-0000ab12", ".new-p-1700000000123-0000ab12"] {
            assert!(!is_owner_name(name), "{name}");
        }
    }
}
