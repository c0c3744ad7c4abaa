//! See `relay_fuzz_targets::views_against_prost`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| relay_fuzz_targets::views_against_prost(data));
