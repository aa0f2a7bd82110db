//! The model's shape: `config.json` of a Hugging Face directory.

use crate::Error;
use crate::architecture::{Architecture, RopeScaling};
use serde_json::{Map, Value, json};
use std::path::Path;

/// More than any model's width, vocabulary or context.
const LARGEST_SIZE: usize = 1 << 24;

/// Everything that determines the shape of a model and what it computes.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The family.
    pub architecture: Architecture,
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
    /// How they are changed.
    pub rope_scaling: RopeScaling,
    /// Layers whose queries and keys do not turn with their positions.
    pub layers_without_rope: Vec<usize>,
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
            architecture: Architecture::Qwen2,
            vocab_size: 64,
            hidden_size: 32,
            intermediate_size: 48,
            num_hidden_layers: 2,
            num_attention_heads: 4,
            num_key_value_heads: 2,
            head_dim: 8,
            rms_norm_eps: 1e-6,
            rope_theta: 10_000.0,
            rope_scaling: RopeScaling::None,
            layers_without_rope: Vec::new(),
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
            rope_theta: 1e6,
            max_position_embeddings: 32_768,
            eos_token_ids: vec![151_645, 151_643],
            ..Config::tiny()
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
        let bias = if self.architecture.has_qkv_bias() { qkv } else { 0 };
        let head_norms = if self.architecture.has_head_norms() { 2 * self.head_dim } else { 0 };
        let matrices = qkv * hidden + hidden * self.query_size() + 3 * hidden * self.intermediate_size;
        2 * hidden + bias + head_norms + matrices
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
        let architecture = get.architecture()?;
        get.expect_plain(architecture)?;
        let hidden_size = get.count("hidden_size")?;
        let num_attention_heads = get.count("num_attention_heads")?;
        let num_hidden_layers = get.count("num_hidden_layers")?;
        let config = Config {
            architecture,
            vocab_size: get.count("vocab_size")?,
            hidden_size,
            intermediate_size: get.count("intermediate_size")?,
            num_hidden_layers,
            num_attention_heads,
            num_key_value_heads: get.count_or("num_key_value_heads", num_attention_heads)?,
            head_dim: get.count_or("head_dim", hidden_size / num_attention_heads.max(1))?,
            rms_norm_eps: get.number_or("rms_norm_eps", 1e-6)? as f32,
            rope_theta: get.rope_theta()?,
            rope_scaling: get.rope_scaling()?,
            layers_without_rope: get.layers_without_rope(architecture, num_hidden_layers)?,
            // transformers takes an absent field for false, but for SmolLM3.
            tie_word_embeddings: match fields.get("tie_word_embeddings") {
                None => architecture == Architecture::SmolLm3,
                Some(value) => value == &Value::Bool(true),
            },
            max_position_embeddings: get.count_or("max_position_embeddings", 32_768)?,
            eos_token_ids: end_tokens(directory, &fields)?,
        };
        config.check().map_err(|message| Error::invalid(&path, message))?;
        Ok(config)
    }

    /// What no shape may be, in words that name the field.
    pub(crate) fn check(&self) -> Result<(), String> {
        if !self.num_attention_heads.is_multiple_of(self.num_key_value_heads) {
            return Err(format!(
                "num_key_value_heads: {} does not divide num_attention_heads = {}",
                self.num_key_value_heads, self.num_attention_heads
            ));
        }
        if !self.head_dim.is_multiple_of(2) {
            return Err(format!("head_dim: expected an even number, found {}", self.head_dim));
        }
        // A file may lie: what is computed with these must neither overflow nor be taken for memory.
        let sizes = [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_attention_heads", self.num_attention_heads),
            ("head_dim", self.head_dim),
            ("max_position_embeddings", self.max_position_embeddings),
            ("num_attention_heads times head_dim", self.num_attention_heads.saturating_mul(self.head_dim)),
        ];
        match sizes.into_iter().find(|(_, size)| *size > LARGEST_SIZE) {
            Some((name, size)) => Err(format!("{name}: expected at most {LARGEST_SIZE}, found {size}")),
            None => Ok(()),
        }
    }

    /// The fields of `config.json`, as transformers writes them for this family.
    pub fn to_json(&self) -> Value {
        let mut fields = json!({
            "architectures": [self.architecture.class()],
            "attention_bias": false,
            "attention_dropout": 0.0,
            "eos_token_id": self.eos_token_ids.first(),
            "head_dim": self.head_dim,
            "hidden_act": "silu",
            "hidden_size": self.hidden_size,
            "initializer_range": 0.02,
            "intermediate_size": self.intermediate_size,
            "max_position_embeddings": self.max_position_embeddings,
            "model_type": self.architecture.model_type(),
            "num_attention_heads": self.num_attention_heads,
            "num_hidden_layers": self.num_hidden_layers,
            "num_key_value_heads": self.num_key_value_heads,
            "rms_norm_eps": decimal(self.rms_norm_eps),
            "rope_scaling": self.rope_scaling_json(),
            "rope_theta": self.rope_theta,
            "tie_word_embeddings": self.tie_word_embeddings,
            "torch_dtype": "float32",
            "use_cache": true,
            "vocab_size": self.vocab_size,
        });
        match self.architecture {
            Architecture::Qwen2 | Architecture::Qwen3 => {
                fields["max_window_layers"] = self.num_hidden_layers.into();
                fields["use_sliding_window"] = false.into();
            }
            Architecture::Llama => fields["mlp_bias"] = false.into(),
            Architecture::SmolLm3 => {
                fields["mlp_bias"] = false.into();
                fields["use_sliding_window"] = false.into();
                fields["pad_token_id"] = self.eos_token_ids.first().copied().into();
                let rope = (0..self.num_hidden_layers).map(|layer| u8::from(self.has_rope(layer)));
                fields["no_rope_layers"] = rope.collect::<Vec<u8>>().into();
            }
        }
        if self.architecture == Architecture::Qwen2 {
            // transformers' Qwen2 knows no such field: it always has biases.
            if let Some(fields) = fields.as_object_mut() {
                fields.remove("attention_bias");
            }
        }
        fields
    }

    fn rope_scaling_json(&self) -> Value {
        match self.rope_scaling {
            RopeScaling::None => Value::Null,
            RopeScaling::Linear { factor } => json!({ "rope_type": "linear", "factor": factor }),
            RopeScaling::Llama3 {
                factor,
                low_frequency_factor,
                high_frequency_factor,
                original_positions,
            } => json!({
                "rope_type": "llama3",
                "factor": factor,
                "low_freq_factor": low_frequency_factor,
                "high_freq_factor": high_frequency_factor,
                "original_max_position_embeddings": original_positions,
            }),
        }
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
    fn get(&self, name: &str) -> &Value {
        self.fields.get(name).unwrap_or(&Value::Null)
    }

    fn architecture(&self) -> Result<Architecture, Error> {
        let found = self.get("model_type");
        found.as_str().and_then(Architecture::named).ok_or_else(|| {
            let expected = Architecture::names();
            Error::invalid(self.path, format!("model_type: expected one of {expected}, found {found}"))
        })
    }

    /// Refuses what would change the computation and is not implemented.
    fn expect_plain(&self, architecture: Architecture) -> Result<(), Error> {
        let wrong = |message: String| Err(Error::invalid(self.path, message));
        // transformers takes an absent one for the family's, which is this.
        if !self.get("hidden_act").is_null() && self.get("hidden_act") != "silu" {
            return wrong(format!("hidden_act: expected \"silu\", found {}", self.get("hidden_act")));
        }
        for name in ["use_sliding_window", "attention_bias", "mlp_bias"] {
            // Qwen2 has biases whatever the field says.
            let matters = name != "attention_bias" || architecture != Architecture::Qwen2;
            if matters && self.get(name) == &Value::Bool(true) {
                return wrong(format!("{name}: true is not supported"));
            }
        }
        Ok(())
    }

    /// The rotary settings: `rope_parameters` of transformers 5, or `rope_scaling` of versions before.
    fn rope(&self) -> &Value {
        [self.get("rope_parameters"), self.get("rope_scaling")]
            .into_iter()
            .find(|value| !value.is_null())
            .unwrap_or(&Value::Null)
    }

    fn rope_theta(&self) -> Result<f64, Error> {
        match self.rope().get("rope_theta").and_then(Value::as_f64) {
            Some(theta) => Ok(theta),
            None => self.number_or("rope_theta", 10_000.0),
        }
    }

    fn rope_scaling(&self) -> Result<RopeScaling, Error> {
        let rope = self.rope();
        let kind = rope.get("rope_type").or_else(|| rope.get("type")).and_then(Value::as_str);
        let number = |name: &str| {
            rope.get(name).and_then(Value::as_f64).filter(|number| *number > 0.0).ok_or_else(|| {
                Error::invalid(self.path, format!("rope_scaling.{name}: expected a positive number"))
            })
        };
        match kind {
            None | Some("default") => Ok(RopeScaling::None),
            Some("linear") => Ok(RopeScaling::Linear { factor: number("factor")? }),
            Some("llama3") => Ok(RopeScaling::Llama3 {
                factor: number("factor")?,
                low_frequency_factor: number("low_freq_factor")?,
                high_frequency_factor: number("high_freq_factor")?,
                original_positions: number("original_max_position_embeddings")? as usize,
            }),
            Some(other) => Err(Error::invalid(
                self.path,
                format!("rope_scaling.rope_type: expected default, linear or llama3, found \"{other}\""),
            )),
        }
    }

    fn layers_without_rope(&self, architecture: Architecture, layers: usize) -> Result<Vec<usize>, Error> {
        if architecture != Architecture::SmolLm3 {
            return Ok(Vec::new());
        }
        let Some(flags) = self.get("no_rope_layers").as_array() else {
            return Ok(every_nth(self.count_or("no_rope_layer_interval", 4)?, layers));
        };
        if flags.len() != layers {
            let message = format!("no_rope_layers: expected {layers} numbers, found {}", flags.len());
            return Err(Error::invalid(self.path, message));
        }
        Ok((0..layers).filter(|&layer| flags[layer] == 0).collect())
    }

    fn count(&self, name: &str) -> Result<usize, Error> {
        let value = self.get(name).as_u64().filter(|&value| value > 0);
        value.map(|value| value as usize).ok_or_else(|| {
            let found = self.get(name);
            Error::invalid(self.path, format!("{name}: expected a positive integer, found {found}"))
        })
    }

    fn count_or(&self, name: &str, default: usize) -> Result<usize, Error> {
        if self.get(name).is_null() { Ok(default) } else { self.count(name) }
    }

    fn number_or(&self, name: &str, default: f64) -> Result<f64, Error> {
        match self.get(name) {
            Value::Null => Ok(default),
            value => value.as_f64().ok_or_else(|| {
                Error::invalid(self.path, format!("{name}: expected a number, found {value}"))
            }),
        }
    }
}

/// The last of every `interval` layers.
pub(crate) fn every_nth(interval: usize, layers: usize) -> Vec<usize> {
    (0..layers).filter(|layer| (layer + 1).is_multiple_of(interval)).collect()
}

/// A single-precision number as it is written, `1e-6` rather than its nearest double.
pub(crate) fn decimal(number: f32) -> f64 {
    // What `Display` writes is always a number.
    number.to_string().parse().unwrap_or(f64::from(number))
}
