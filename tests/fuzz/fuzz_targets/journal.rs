#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| weft_tests::fuzz::journal(octets));
