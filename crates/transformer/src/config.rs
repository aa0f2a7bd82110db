//! The model's shape: `config.json` of a Hugging Face directory.

use crate::Error;
use serde_json::{Map, Value, json};
use std::path::Path;

/// Everything that determines the shape of a Qwen2 model.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Number of token embeddings.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the feed-forward layer.
    pub intermediate_size: usize,
    /// Number of layers.
    pub num_hidden_layers: usize,
    /// Number of query heads.
    pub num_attention_heads: usize,
    /// Number of key and value heads; divides the number of query heads.
    pub num_key_value_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Added to the mean square before the root.
    pub rms_norm_eps: f32,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// Whether the output matrix is the embedding matrix.
    pub tie_word_embeddings: bool,
    /// Longest sequence the model is meant for.
    pub max_position_embeddings: usize,
    /// Tokens that end a sequence.
    pub eos_token_ids: Vec<u32>,
}

impl Config {
    /// A model of a few thousand parameters, for tests and examples.
    pub fn tiny() -> Self {
        Config {
            vocab_size: 64,
            hidden_size: 32,
            intermediate_size: 48,
            num_hidden_layers: 2,
            num_attention_heads: 4,
            num_key_value_heads: 2,
            head_dim: 8,
            rms_norm_eps: 1e-6,
            rope_theta: 10_000.0,
            tie_word_embeddings: true,
            max_position_embeddings: 512,
            eos_token_ids: vec![0],
        }
    }

    /// The shape of Qwen2.5-1.5B and its relatives.
    pub fn qwen2_5_1_5b() -> Self {
        Config {
            vocab_size: 151_936,
            hidden_size: 1536,
            intermediate_size: 8960,
            num_hidden_layers: 28,
            num_attention_heads: 12,
            num_key_value_heads: 2,
            head_dim: 128,
            rms_norm_eps: 1e-6,
            rope_theta: 1e6,
            tie_word_embeddings: true,
            max_position_embeddings: 32_768,
            eos_token_ids: vec![151_645, 151_643],
        }
    }

    /// Width of all query heads together.
    pub fn query_size(&self) -> usize {
        self.num_attention_heads * self.head_dim
    }

    /// Width of all key heads together; values are as wide.
    pub fn key_value_size(&self) -> usize {
        self.num_key_value_heads * self.head_dim
    }

    /// Width of queries, keys and values side by side.
    pub fn qkv_size(&self) -> usize {
        self.query_size() + 2 * self.key_value_size()
    }

    /// Number of weights of one layer.
    pub fn layer_parameters(&self) -> usize {
        let (hidden, qkv) = (self.hidden_size, self.qkv_size());
        2 * hidden + qkv * hidden + qkv + hidden * self.query_size() + 3 * hidden * self.intermediate_size
    }

    /// Number of weights of the whole model; a tied output counts once.
    pub fn parameters(&self) -> usize {
        let embeddings = self.vocab_size * self.hidden_size;
        let copies = if self.tie_word_embeddings { 1 } else { 2 };
        copies * embeddings + self.num_hidden_layers * self.layer_parameters() + self.hidden_size
    }

    /// Reads `config.json` (and `generation_config.json`, whose end tokens take precedence).
    ///
    /// # Errors
    /// Names the field that is missing, of the wrong type, or outside of what this crate can run.
    pub fn load(directory: &Path) -> Result<Self, Error> {
        let path = directory.join("config.json");
        let fields = read_object(&path)?;
        let get = Fields { path: &path, fields: &fields };
        get.expect_text("model_type", "qwen2")?;
        get.expect_text("hidden_act", "silu")?;
        if fields.get("use_sliding_window") == Some(&Value::Bool(true)) {
            return Err(Error::invalid(&path, "use_sliding_window: true is not supported"));
        }
        if fields.get("rope_scaling").is_some_and(|value| !value.is_null()) {
            return Err(Error::invalid(&path, "rope_scaling is not supported: expected null"));
        }
        let hidden_size = get.count("hidden_size")?;
        let num_attention_heads = get.count("num_attention_heads")?;
        let config = Config {
            vocab_size: get.count("vocab_size")?,
            hidden_size,
            intermediate_size: get.count("intermediate_size")?,
            num_hidden_layers: get.count("num_hidden_layers")?,
            num_attention_heads,
            num_key_value_heads: get.count_or("num_key_value_heads", num_attention_heads)?,
            head_dim: get.count_or("head_dim", hidden_size / num_attention_heads.max(1))?,
            rms_norm_eps: get.number_or("rms_norm_eps", 1e-6)? as f32,
            rope_theta: match fields.get("rope_parameters").and_then(|v| v.get("rope_theta")) {
                Some(theta) => theta.as_f64().unwrap_or(10_000.0),
                None => get.number_or("rope_theta", 10_000.0)?,
            },
            tie_word_embeddings: fields.get("tie_word_embeddings") == Some(&Value::Bool(true)),
            max_position_embeddings: get.count_or("max_position_embeddings", 32_768)?,
            eos_token_ids: end_tokens(directory, &fields)?,
        };
        config.check().map_err(|message| Error::invalid(&path, message))?;
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        if !self.num_attention_heads.is_multiple_of(self.num_key_value_heads) {
            return Err(format!(
                "num_key_value_heads: {} does not divide num_attention_heads = {}",
                self.num_key_value_heads, self.num_attention_heads
            ));
        }
        if !self.head_dim.is_multiple_of(2) {
            return Err(format!("head_dim: expected an even number, found {}", self.head_dim));
        }
        Ok(())
    }

    /// The fields of `config.json`, as transformers writes them for `Qwen2ForCausalLM`.
    pub fn to_json(&self) -> Value {
        json!({
            "architectures": ["Qwen2ForCausalLM"],
            "attention_dropout": 0.0,
            "eos_token_id": self.eos_token_ids.first(),
            "head_dim": self.head_dim,
            "hidden_act": "silu",
            "hidden_size": self.hidden_size,
            "initializer_range": 0.02,
            "intermediate_size": self.intermediate_size,
            "max_position_embeddings": self.max_position_embeddings,
            "max_window_layers": self.num_hidden_layers,
            "model_type": "qwen2",
            "num_attention_heads": self.num_attention_heads,
            "num_hidden_layers": self.num_hidden_layers,
            "num_key_value_heads": self.num_key_value_heads,
            "rms_norm_eps": f64::from(self.rms_norm_eps.to_string().parse::<f32>().unwrap_or(1e-6)),
            "rope_theta": self.rope_theta,
            "tie_word_embeddings": self.tie_word_embeddings,
            "torch_dtype": "float32",
            "use_cache": true,
            "use_sliding_window": false,
            "vocab_size": self.vocab_size,
        })
    }
}

fn read_object(path: &Path) -> Result<Map<String, Value>, Error> {
    let text = std::fs::read_to_string(path).map_err(|source| Error::io(path, source))?;
    match serde_json::from_str(&text) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) => Err(Error::invalid(path, "expected a JSON object")),
        Err(error) => Err(Error::invalid(path, format!("not JSON: {error}"))),
    }
}

fn end_tokens(directory: &Path, config: &Map<String, Value>) -> Result<Vec<u32>, Error> {
    let path = directory.join("generation_config.json");
    let generation = if path.exists() { read_object(&path)? } else { Map::new() };
    let value = generation.get("eos_token_id").or_else(|| config.get("eos_token_id"));
    let tokens = match value {
        Some(Value::Array(items)) => items.clone(),
        Some(Value::Null) | None => Vec::new(),
        Some(single) => vec![single.clone()],
    };
    let token = |value: &Value| value.as_u64().and_then(|value| u32::try_from(value).ok());
    let tokens: Option<Vec<u32>> = tokens.iter().map(token).collect();
    tokens.ok_or_else(|| Error::invalid(path, "eos_token_id: expected token numbers"))
}

struct Fields<'a> {
    path: &'a Path,
    fields: &'a Map<String, Value>,
}

impl Fields<'_> {
    fn expect_text(&self, name: &str, expected: &str) -> Result<(), Error> {
        match self.fields.get(name).and_then(Value::as_str) {
            Some(found) if found == expected => Ok(()),
            found => Err(Error::invalid(
                self.path,
                format!("{name}: expected \"{expected}\", found {found:?}; only the Qwen2 family runs here"),
            )),
        }
    }

    fn count(&self, name: &str) -> Result<usize, Error> {
        let value = self.fields.get(name).and_then(Value::as_u64).filter(|&value| value > 0);
        value.map(|value| value as usize).ok_or_else(|| {
            let found = self.fields.get(name).unwrap_or(&Value::Null);
            Error::invalid(self.path, format!("{name}: expected a positive integer, found {found}"))
        })
    }

    fn count_or(&self, name: &str, default: usize) -> Result<usize, Error> {
        match self.fields.get(name) {
            None | Some(Value::Null) => Ok(default),
            Some(_) => self.count(name),
        }
    }

    fn number_or(&self, name: &str, default: f64) -> Result<f64, Error> {
        match self.fields.get(name) {
            None | Some(Value::Null) => Ok(default),
            Some(value) => value.as_f64().ok_or_else(|| {
                Error::invalid(self.path, format!("{name}: expected a number, found {value}"))
            }),
        }
    }
}
