//! Whatever a file of samples says, reading it ends without a panic, and an error names the file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use problems::samples::{self, Error};
use records::Problem;
use std::io::Write;

fuzz_target!(|bytes: &[u8]| {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(bytes).expect("a file");
    let problems = ["Mbpp/1", "HumanEval/2"].map(|id| Problem { id: id.to_owned(), ..Problem::default() });
    match samples::read(file.path(), &problems) {
        Ok(samples) => assert!(!samples.candidates.is_empty()),
        Err(error @ Error::Malformed { .. }) => {
            assert!(error.to_string().contains(&file.path().display().to_string()), "{error}");
        }
        Err(_) => {}
    }
});
