//! See `relay_fuzz_targets::http2_frames`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| relay_fuzz_targets::http2_frames(data));
