//! Whatever a file of problems says, reading it ends without a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::io::Write;

fuzz_target!(|bytes: &[u8]| {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(bytes).expect("a file");
    if let Err(error) = problems::sets::read_file(file.path()) {
        // Whoever reads it is to know where.
        assert!(error.to_string().contains(&file.path().display().to_string()), "{error}");
    }
});
