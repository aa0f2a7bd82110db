//! Whatever a candidate sends, reading it ends without a panic, keeps to the limit, and gives the
//! same however the bytes are cut into pieces.
#![no_main]

use libfuzzer_sys::fuzz_target;
use python::wire::{Message, TooLong, decode, take_message};

const LIMIT: usize = 4096;

fn messages(pieces: &[&[u8]]) -> (Vec<Message>, bool) {
    let (mut buffer, mut taken) = (Vec::new(), Vec::new());
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match take_message(&mut buffer, LIMIT) {
                Ok(Some(message)) => taken.push(message),
                Ok(None) => break,
                Err(TooLong) => return (taken, false),
            }
        }
    }
    (taken, true)
}

fuzz_target!(|bytes: &[u8]| {
    let whole = messages(&[bytes]);
    let (head, tail) = bytes.split_at(bytes.len() / 2);
    assert_eq!(whole, messages(&[head, tail]));
    for message in whole.0 {
        assert!(message.payload.len() <= LIMIT);
        let _ = decode(&message.payload);
    }
    if let Some(value) = decode(bytes) {
        let text = value.to_string();
        assert!(value.python_eq(&value) || text.contains("nan") || text.contains('<'), "{text}");
        assert_eq!(value.python_hash(), value.python_hash());
    }
});
