//! A directory is somebody else's: whatever its files say, it is refused by name, or it is a model.

use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::fs;
use std::path::Path;
use transformer::{Checkpoint, Config, Model, Tokenizer};

/// How many damaged directories are opened; `NCOMP_TEST_ROUNDS` says otherwise.
fn rounds() -> usize {
    std::env::var("NCOMP_TEST_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(1000)
}

/// What takes the place of a value.
const VALUES: [&str; 14] = [
    "0",
    "-1",
    "1e300",
    "null",
    "[]",
    "{}",
    "\"x\"",
    "true",
    "18446744073709551615",
    "4294967296",
    "1e-300",
    "[[1]]",
    "0.5",
    "\"\\u001b[31m\"",
];

fn model(directory: &Path) {
    let texts = ["def f(a, b):\n    return a + b\n", "# Add two numbers.\n"];
    let tokenizer = Tokenizer::train(texts.into_iter(), 300, &["<|endoftext|>"]).expect("a tokenizer");
    let config = Config { vocab_size: tokenizer.vocab_size(), ..Config::tiny() };
    Model::random(config, 3).save(directory, Default::default()).expect("saved");
    tokenizer.save(directory).expect("saved");
    fs::write(directory.join("generation_config.json"), "{\"eos_token_id\": [0, 7]}").expect("written");
}

/// Another value for a number of a text, or other bytes.
fn damaged(bytes: &[u8], head: usize, random: &mut ChaCha8Rng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let colons: Vec<usize> = (0..head).filter(|&at| bytes[at] == b':').collect();
    match (random.random_range(0..4), colons.choose(random)) {
        (0 | 1, Some(&colon)) => {
            let length = bytes[colon + 1..head].iter().position(|byte| b",}]".contains(byte)).unwrap_or(0);
            let value = VALUES.choose(random).expect("a value");
            bytes.splice(colon + 1..colon + 1 + length, value.bytes());
        }
        (2, _) => bytes.truncate(random.random_range(0..bytes.len())),
        _ => {
            for _ in 0..random.random_range(1..4) {
                bytes[random.random_range(0..head)] = random.random();
            }
        }
    }
    bytes
}

#[test]
fn a_lying_directory_is_refused_by_name_or_opened() {
    let directory = tempfile::tempdir().expect("a directory");
    model(directory.path());
    let names = ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json"];
    let whole = names.map(|name| fs::read(directory.path().join(name)).expect("a file"));
    let header = u64::from_le_bytes(*whole[2].first_chunk().expect("a header")) as usize + 8;
    let mut random = ChaCha8Rng::seed_from_u64(11);
    let (mut opened, mut refused) = (0, 0);
    for _ in 0..rounds() {
        let which = random.random_range(0..names.len());
        let head = if which == 2 { header } else { whole[which].len() };
        let path = directory.path().join(names[which]);
        fs::write(&path, damaged(&whole[which], head, &mut random)).expect("written");
        match Checkpoint::open_with_tokenizer(directory.path()) {
            Ok((checkpoint, tokenizer)) => {
                opened += 1;
                checkpoint.model().expect("numbers");
                tokenizer.decode(&tokenizer.encode("return a + b<|endoftext|>"));
            }
            Err(error) => {
                refused += 1;
                let message = error.to_string();
                assert!(message.starts_with(&directory.path().display().to_string()), "{message}");
                assert!(message.len() < 1000 && !message.chars().any(char::is_control), "{message}");
                for word in ["enum", "struct ", "usize", "u32"] {
                    assert!(!message.contains(word), "{message}");
                }
            }
        }
        fs::write(&path, &whole[which]).expect("written");
    }
    assert!(opened > 0 && refused > opened / 10, "{opened} opened, {refused} refused");
}
