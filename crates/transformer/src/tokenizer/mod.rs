//! Text to tokens and back: `tokenizer.json` or a GGUF file's metadata, through the `tokenizers` crate.

pub mod gguf;
mod json;
mod merges;
mod of_json;
mod splits;

use crate::Error;
use crate::checkpoint::Checkpoint;
use std::path::Path;
use tokenizers::decoders::byte_level::ByteLevel;
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::{AddedToken, TokenizerBuilder};

/// At most one in so many embeddings has no token.
const LARGEST_SURPLUS: usize = 5;

/// A Hugging Face tokenizer.
#[derive(Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
}

/// The byte that a letter of a byte-level vocabulary stands for: itself where it can be seen, otherwise the
/// letters from 256 on stand for the bytes that cannot, in their order (Radford et al., 2019, GPT-2).
fn byte_of(letter: char) -> Option<u8> {
    let is_seen = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    match u8::try_from(u32::from(letter)) {
        Ok(byte) => Some(byte).filter(is_seen),
        Err(_) => (0..=u8::MAX).filter(|byte| !is_seen(byte)).nth((u32::from(letter) - 256) as usize),
    }
}

impl Tokenizer {
    /// Reads the tokenizer of a model: `tokenizer.json` of its directory, or what its GGUF file says.
    ///
    /// # Errors
    /// Where the file is missing or damaged.
    pub fn of(model: &Checkpoint) -> Result<Self, Error> {
        match model.gguf() {
            None => Self::load(model.path()),
            Some(file) => {
                let inner = json::parse(&gguf::tokenizer(file)?.to_string());
                let inner = inner.map_err(|message| {
                    Error::invalid(file.path(), format!("the tokenizer in tokenizer.ggml.*: {message}"))
                })?;
                Ok(Tokenizer { inner })
            }
        }
    }

    /// Reads `tokenizer.json` of a directory.
    ///
    /// # Errors
    /// Where the file is missing or damaged.
    pub fn load(directory: &Path) -> Result<Self, Error> {
        let path = directory.join("tokenizer.json");
        let text = std::fs::read_to_string(&path).map_err(|source| Error::io(&path, source))?;
        let mut inner = json::parse(&text).map_err(|message| Error::invalid(path, message))?;
        // Of batches that somebody trained with: transformers cuts and pads nothing either unless asked.
        let _ = inner.with_truncation(None);
        inner.with_padding(None);
        Ok(Tokenizer { inner })
    }

    /// Makes sure that tokenizer and model are of one another: the model has an embedding for every token,
    /// few embeddings without a token (some models round their number up), and the tokens that end an answer.
    ///
    /// # Errors
    /// Names the tokenizer's file and both sizes.
    pub fn check_fits(&self, model: &Checkpoint) -> Result<(), Error> {
        let config = model.config();
        let (path, embeddings) = match model.gguf() {
            Some(file) => (file.path().to_owned(), "the rows of token_embd.weight are"),
            None => (model.path().join("tokenizer.json"), "vocab_size in config.json is"),
        };
        let wrong = |message: String| {
            let advice = "take tokenizer and model from the same place";
            let size = config.vocab_size;
            Err(Error::invalid(&path, format!("{message}, but {embeddings} {size}; {advice}")))
        };
        let vocabulary = self.inner.get_vocab(true);
        let largest = vocabulary.values().copied().max().unwrap_or(0) as usize;
        if largest >= config.vocab_size {
            return wrong(format!("the tokenizer has a token {largest}"));
        }
        if vocabulary.len() < config.vocab_size - config.vocab_size / LARGEST_SURPLUS {
            return wrong(format!("the tokenizer is another model's: it has {} tokens", vocabulary.len()));
        }
        Ok(())
    }

    /// Tokens of a text; the text of special tokens becomes these tokens, none are added: what a chat
    /// template has written, or what stands in the midst of others.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        self.encode_with(text, false)
    }

    /// Tokens of a text that begins a sequence, with those that the model's own tokenizer adds.
    pub fn encode_whole(&self, text: &str) -> Vec<u32> {
        self.encode_with(text, true)
    }

    fn encode_with(&self, text: &str, adds: bool) -> Vec<u32> {
        // Encoding fails only in normalisers and templates that refuse their input.
        let encoding = self.inner.encode_fast(text, adds);
        encoding.map(|encoding| encoding.get_ids().to_vec()).unwrap_or_default()
    }

    /// Text of tokens, special tokens left out.
    pub fn decode(&self, tokens: &[u32]) -> String {
        self.inner.decode(tokens, true).unwrap_or_default()
    }

    /// Bytes of a token, which may be part of a character; of a special token none.
    pub fn bytes(&self, token: u32) -> Vec<u8> {
        let text = self.decode(&[token]);
        if !text.contains(char::REPLACEMENT_CHARACTER) {
            return text.into_bytes();
        }
        let letters = self.inner.id_to_token(token).unwrap_or_default();
        let bytes = letters.chars().map(byte_of).collect::<Option<Vec<u8>>>();
        bytes.unwrap_or_else(|| text.into_bytes())
    }

    /// The token of a text that is one token, such as `<|im_end|>`.
    pub fn token(&self, text: &str) -> Option<u32> {
        self.inner.token_to_id(text)
    }

    /// Number of tokens.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// Learns a byte-level BPE (Sennrich et al., 2016) of `vocab_size` tokens from texts;
    /// `special` tokens come first, in their order.
    ///
    /// # Errors
    /// Where the tokenizer cannot be built from these texts.
    pub fn train<'a>(
        texts: impl Iterator<Item = &'a str> + Send,
        vocab_size: usize,
        special: &[&str],
    ) -> Result<Self, Error> {
        let fail = |error: tokenizers::Error| Error::invalid("tokenizer", error.to_string());
        let special = special.iter().map(|&text| AddedToken::from(text, true)).collect();
        let byte_level = || ByteLevel::new(false, true, true);
        let mut trainer = BpeTrainerBuilder::new()
            .vocab_size(vocab_size)
            .min_frequency(2)
            .show_progress(false)
            .special_tokens(special)
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .build();
        let mut tokenizer = TokenizerBuilder::new()
            .with_model(BPE::default())
            .with_normalizer(None::<tokenizers::NormalizerWrapper>)
            .with_pre_tokenizer(Some(byte_level()))
            .with_post_processor(None::<tokenizers::PostProcessorWrapper>)
            .with_decoder(Some(byte_level()))
            .build()
            .map_err(fail)?;
        tokenizer.train(&mut trainer, texts.map(str::to_owned)).map_err(fail)?;
        let json = tokenizer.to_string(false).map_err(fail)?;
        let inner = json.parse().map_err(fail)?;
        Ok(Tokenizer { inner })
    }

    /// Writes `tokenizer.json`.
    ///
    /// # Errors
    /// Where the directory cannot be written.
    pub fn save(&self, directory: &Path) -> Result<(), Error> {
        let path = directory.join("tokenizer.json");
        self.inner
            .save(&path, false)
            .map_err(|error| Error::io(&path, std::io::Error::other(error.to_string())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_of_tokens_make_up_the_text() {
        let texts = ["é é é", "naïve naïve"];
        let tokenizer = Tokenizer::train(texts.into_iter(), 262, &["<|end|>"]).expect("a tokenizer");
        for text in ["é€😀 naïve\n\u{0}\u{ad}\u{fffd}", "", "plain"] {
            let bytes: Vec<u8> =
                tokenizer.encode(text).into_iter().flat_map(|token| tokenizer.bytes(token)).collect();
            assert_eq!(bytes, text.as_bytes());
        }
        let part = tokenizer.encode("€")[0];
        assert_eq!((tokenizer.decode(&[part]).as_str(), tokenizer.bytes(part)), ("\u{fffd}", vec![0xe2]));
        assert_eq!(tokenizer.bytes(tokenizer.token("<|end|>").expect("a token")), b"");
    }
}
