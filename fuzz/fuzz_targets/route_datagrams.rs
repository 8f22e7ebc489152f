#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| corridor_fuzz::route_datagrams(data));
