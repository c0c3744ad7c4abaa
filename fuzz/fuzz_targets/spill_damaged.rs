//! See `relay_fuzz_targets::spill_damaged`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| relay_fuzz_targets::spill_damaged(data));
