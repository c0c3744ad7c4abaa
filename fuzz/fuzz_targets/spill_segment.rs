//! See `relay_fuzz_targets::spill_segment`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| relay_fuzz_targets::spill_segment(data));
