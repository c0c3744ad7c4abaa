//! See `relay_fuzz_targets::grpc_messages`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| relay_fuzz_targets::grpc_messages(data));
