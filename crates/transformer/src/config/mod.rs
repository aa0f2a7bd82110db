//! The model's shape: `config.json` of a Hugging Face directory.

mod check;
pub(crate) use check::LARGEST_SIZE;
mod json;

use crate::Error;
use crate::architecture::{Architecture, RopeScaling};
use serde_json::{Value, json};
use std::path::Path;

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
        json::load(directory)
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

/// The last of every `interval` layers.
pub(crate) fn every_nth(interval: usize, layers: usize) -> Vec<usize> {
    (0..layers).filter(|layer| (layer + 1).is_multiple_of(interval)).collect()
}

/// A single-precision number as it is written, `1e-6` rather than its nearest double.
pub(crate) fn decimal(number: f32) -> f64 {
    // What `Display` writes is always a number.
    number.to_string().parse().unwrap_or(f64::from(number))
}
