//! See `relay_fuzz_targets::wire`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| relay_fuzz_targets::wire(data));
