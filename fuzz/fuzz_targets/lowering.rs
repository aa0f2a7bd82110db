//! Whatever a test says, taking it apart ends without a panic, and what is taken for a literal is
//! read back from its own text as an equal one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pydata::{parse_assert, parse_call, parse_literal};

fuzz_target!(|text: &str| {
    let _ = parse_call(text);
    let literals = [parse_literal(text).ok(), parse_assert(text).ok().map(|assert| assert.expected)];
    for value in literals.into_iter().flatten() {
        let written = value.to_string();
        if written.contains("nan") || written.contains("inf") {
            continue;
        }
        let read = parse_literal(&written);
        assert!(read.as_ref().is_ok_and(|read| read.python_eq(&value)), "{written}: {read:?}");
    }
});
