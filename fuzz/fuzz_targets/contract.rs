#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    lictor_parsers::contract(bytes);
});
