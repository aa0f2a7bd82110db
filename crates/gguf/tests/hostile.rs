//! Files that are damaged or made to do damage: each is an error or can be used.
#![allow(clippy::unwrap_used, reason = "a test says by panicking what went wrong")]

mod support;

use gguf::File;
use proptest::prelude::*;
use std::path::Path;
use std::sync::LazyLock;
use support::{reference, use_all};

const PATH: &str = "model.gguf";

fn read(bytes: Vec<u8>) -> Result<File, String> {
    File::from_bytes(bytes, Path::new(PATH)).map_err(|error| error.to_string())
}

/// Reads a file; an error names it.
fn error_or_use(bytes: Vec<u8>) {
    match read(bytes) {
        Ok(file) => use_all(&file),
        Err(error) => assert!(error.starts_with("model.gguf: "), "{error}"),
    }
}

static VALID: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let names = ["values.gguf", "blocks.gguf", "split-00001-of-00003.gguf"];
    names.iter().map(|name| std::fs::read(reference(name)).unwrap()).collect()
});

/// A change of a file; the number is where, modulo its length.
#[derive(Clone, Debug)]
enum Change {
    Byte(usize, u8),
    Long(usize, u64),
    Truncate(usize),
    Delete(usize, usize),
    Repeat(usize, usize),
}

fn change() -> impl Strategy<Value = Change> {
    // Half of the changes are in the first kilobyte, where the counts and lengths are.
    let place = prop_oneof![0..1024usize, any::<usize>()].boxed();
    let long = prop_oneof![
        prop::sample::select(vec![0, 1, u64::MAX, u64::MAX / 4, 1 << 63, 1 << 32, 1 << 60, u64::MAX - 31]),
        any::<u64>()
    ];
    prop_oneof![
        4 => (place.clone(), any::<u8>()).prop_map(|(at, byte)| Change::Byte(at, byte)),
        4 => (place.clone(), 0..16u8).prop_map(|(at, byte)| Change::Byte(at, byte)),
        4 => (place.clone(), long).prop_map(|(at, long)| Change::Long(at, long)),
        1 => place.clone().prop_map(Change::Truncate),
        1 => (place.clone(), 1..64usize).prop_map(|(at, length)| Change::Delete(at, length)),
        1 => (place, 1..64usize).prop_map(|(at, length)| Change::Repeat(at, length)),
    ]
}

fn apply(change: &Change, bytes: &mut Vec<u8>) {
    let length = bytes.len().max(1);
    let end = |at: usize, count: usize| (at + count).min(bytes.len());
    match *change {
        _ if bytes.is_empty() => {}
        Change::Byte(at, byte) => bytes[at % length] = byte,
        Change::Long(at, long) => {
            let at = at % length;
            let end = end(at, 8);
            bytes[at..end].copy_from_slice(&long.to_le_bytes()[..end - at]);
        }
        Change::Truncate(at) => bytes.truncate(at % length),
        Change::Delete(at, count) => drop(bytes.drain(at % length..end(at % length, count))),
        Change::Repeat(at, count) => {
            let repeated = bytes[at % length..end(at % length, count)].to_vec();
            bytes.splice(at % length..at % length, repeated);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn any_bytes_are_read(bytes in any::<Vec<u8>>()) {
        error_or_use([&b"GGUF\x03\0\0\0"[..], &bytes].concat());
        error_or_use(bytes);
    }

    #[test]
    fn any_change_is_an_error_or_a_file(
        which in 0..3usize,
        changes in prop::collection::vec(change(), 1..4),
    ) {
        let mut bytes = VALID[which].clone();
        changes.iter().for_each(|change| apply(change, &mut bytes));
        error_or_use(bytes);
    }
}

#[test]
fn every_truncation_says_what_to_do() {
    let whole = &VALID[0];
    for length in 0..whole.len() {
        match read(whole[..length].to_vec()) {
            // The padding of the last tensor is nobody's.
            Ok(_) => assert!(whole.len() - length < 64),
            Err(error) => {
                let expected = format!("the file ends after {length} of at least ");
                assert!(error.contains(&expected) && error.ends_with("; download it again"), "{error}");
            }
        }
    }
}

/// A file of hand-made parts.
#[derive(Clone, Default)]
struct Made {
    entries: Vec<Vec<u8>>,
    tensors: Vec<Vec<u8>>,
    data: Vec<u8>,
}

fn text(text: &[u8]) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text].concat()
}

fn entry(key: &str, value_type: u32, value: &[u8]) -> Vec<u8> {
    [text(key.as_bytes()), value_type.to_le_bytes().to_vec(), value.to_vec()].concat()
}

fn tensor(name: &str, shape: &[u64], block_type: u32, offset: u64) -> Vec<u8> {
    let mut bytes = text(name.as_bytes());
    bytes.extend((shape.len() as u32).to_le_bytes());
    bytes.extend(shape.iter().flat_map(|length| length.to_le_bytes()));
    bytes.extend(block_type.to_le_bytes());
    bytes.extend(offset.to_le_bytes());
    bytes
}

impl Made {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = b"GGUF\x03\0\0\0".to_vec();
        bytes.extend((self.tensors.len() as u64).to_le_bytes());
        bytes.extend((self.entries.len() as u64).to_le_bytes());
        bytes.extend(self.entries.concat());
        bytes.extend(self.tensors.concat());
        bytes.resize(bytes.len().next_multiple_of(32), 0);
        bytes.extend(&self.data);
        bytes
    }

    fn error(&self) -> String {
        read(self.bytes()).unwrap_err()
    }
}

fn with_entries(entries: &[Vec<u8>]) -> Made {
    Made { entries: entries.to_vec(), ..Made::default() }
}

/// With 64 bytes of data.
fn with_tensors(tensors: &[Vec<u8>]) -> Made {
    Made { tensors: tensors.to_vec(), data: vec![0; 64], ..Made::default() }
}

#[test]
fn headers_are_checked() {
    let head = |bytes: &[u8]| read([bytes, &[0; 16]].concat()).map(|_| ()).unwrap_err();
    assert!(head(b"PK\x03\x04....").contains(r"it starts with `PK\x03\x04`, expected `GGUF`"));
    assert!(head(b"GGUF\0\0\0\x03").contains("a big-endian file, expected little endian"));
    assert!(head(b"GGUF\x01\0\0\0").contains("version 1 of the format; versions 2 and 3 are supported"));
    use_all(&read(Made::default().bytes()).unwrap());
}

#[test]
fn metadata_is_checked() {
    let array =
        |depth: usize| [9u32.to_le_bytes().to_vec(), 1u64.to_le_bytes().to_vec()].concat().repeat(depth);
    for (entries, expected) in [
        (vec![entry("a", 7, &[2])], "key `a`: a boolean is 2, expected 0 or 1"),
        (vec![entry("a", 13, &[0])], "key `a`: value type 13, expected 0 to 12"),
        (vec![entry("a", 8, &text(&[0xff]))], "key `a`: a string is not UTF-8"),
        (vec![entry("", 0, &[0])], "metadata entry 0: the key has 0 bytes"),
        (vec![entry("a", 0, &[0]), entry("a", 0, &[0])], "key `a`: appears twice"),
        (vec![entry("a", 9, &array(9))], "key `a`: arrays are nested deeper than 8"),
        (
            vec![entry("general.alignment", 4, &[3, 0, 0, 0])],
            "`general.alignment`: 3 (UINT32), expected a power",
        ),
        (
            vec![entry("general.alignment", 0, &[32])],
            "`general.alignment`: 32 (UINT8), expected a power of two",
        ),
    ] {
        let error = with_entries(&entries).error();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn lengths_beyond_the_file_take_no_memory() {
    let huge = u64::MAX.to_le_bytes();
    for element_type in 0..13u32 {
        let value = [&element_type.to_le_bytes()[..], &huge, &[0; 64]].concat();
        let error = with_entries(&[entry("a", 9, &value)]).error();
        assert!(error.contains("key `a`: the file ends after"), "{error}");
    }
    for place in [8, 16] {
        let mut bytes = Made::default().bytes();
        bytes[place..place + 8].copy_from_slice(&huge);
        assert!(read(bytes).unwrap_err().contains("the file ends after"));
    }
}

#[test]
fn tensors_are_checked() {
    for (tensors, expected) in [
        (vec![tensor("a", &[4], 23, 0)], "tensor `a`: type 23 (IQ4_XS) is not supported"),
        (
            vec![tensor("a", &[4], 99, 0)],
            "with F32, F16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K, Q6_K, BF16",
        ),
        (
            vec![tensor("a", &[48], 8, 0)],
            "the first dimension is 48, expected a multiple of 32, the block of Q8_0",
        ),
        (vec![tensor("a", &[1; 5], 0, 0)], "5 dimensions, expected at most 4"),
        (vec![tensor("a", &[4, 0], 0, 0)], "dimension 1 is 0, expected at least 1"),
        (vec![tensor("a", &[1 << 40, 1 << 40], 0, 0)], "has more bytes than this machine can address"),
        (vec![tensor("a", &[4], 0, 8)], "offset 8, expected a multiple of the alignment, 32"),
        (vec![tensor("a", &[17], 0, 0)], "tensor `a`: the file ends after 128 of at least 132 bytes"),
        (vec![tensor("a", &[4], 0, u64::MAX - 31)], "tensor `a`: the file ends after 128 of at least"),
        (vec![tensor("a", &[1], 0, 0), tensor("a", &[1], 0, 32)], "tensor `a`: appears twice"),
        (
            vec![tensor("a", &[9], 0, 0), tensor("b", &[1], 0, 32)],
            "tensor `b`: its data overlaps that of tensor `a`",
        ),
        (vec![tensor("", &[4], 0, 0)], "entry 0 of the tensor table: the name has 0 bytes"),
        (vec![tensor(&"a".repeat(65), &[4], 0, 0)], "entry 0 of the tensor table: the name has 65 bytes"),
    ] {
        let error = with_tensors(&tensors).error();
        assert!(error.contains(expected), "{error}");
    }
    use_all(&read(with_tensors(&[tensor("b", &[], 0, 32), tensor("a", &[8], 0, 0)]).bytes()).unwrap());
}

#[test]
fn control_characters_are_not_repeated() {
    let error = with_tensors(&[tensor("\x1b[2J", &[4], 99, 0)]).error();
    assert!(error.contains(r"tensor `\u{1b}[2J`"), "{error}");
}

#[test]
fn what_is_not_a_file_is_named() {
    let error = File::open(Path::new("/nowhere/model.gguf")).unwrap_err().to_string();
    assert!(error.starts_with("/nowhere/model.gguf: No such file"), "{error}");
    let directory = tempfile::tempdir().unwrap();
    let error = File::open(directory.path()).unwrap_err().to_string();
    assert!(error.ends_with("not a regular file; name a GGUF file"), "{error}");
    let empty = tempfile::NamedTempFile::new().unwrap();
    let error = File::open(empty.path()).unwrap_err().to_string();
    assert!(error.contains("the file ends after 0 of at least 4 bytes"), "{error}");
}
