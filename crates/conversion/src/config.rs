//! The model's shape: GGUF's metadata as `config.json`.

use crate::{Error, Precision};
use gguf::File;
use serde_json::{Value, json};

/// The shape of a model of the Qwen2 family.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) layers: usize,
    pub(crate) hidden: usize,
    pub(crate) intermediate: usize,
    pub(crate) heads: usize,
    pub(crate) key_value_heads: usize,
    pub(crate) vocabulary: usize,
    /// Whether the output matrix is the embedding.
    pub(crate) is_tied: bool,
    context: usize,
    rope_theta: f32,
    norm_epsilon: f32,
}

impl Model {
    /// Reads the metadata.
    pub(crate) fn of(file: &File) -> Result<Self, Error> {
        let metadata = file.metadata();
        let architecture = metadata.str("general.architecture")?;
        if architecture != "qwen2" {
            return Err(Error::unsupported(file, "general.architecture", "qwen2", architecture));
        }
        if let Some(scaling) = metadata.optional::<&str>("qwen2.rope.scaling.type")?
            && scaling != "none"
        {
            return Err(Error::unsupported(file, "qwen2.rope.scaling.type", "none", scaling));
        }
        let count = |key: &str| metadata.u32(&format!("qwen2.{key}")).map(|count| count as usize);
        let heads = count("attention.head_count")?;
        let key_value_heads = metadata.optional::<u32>("qwen2.attention.head_count_kv")?;
        let embedding = file.tensor("token_embd.weight")?;
        Ok(Model {
            layers: count("block_count")?,
            hidden: count("embedding_length")?,
            intermediate: count("feed_forward_length")?,
            heads,
            key_value_heads: key_value_heads.map_or(heads, |count| count as usize),
            // The matrix has rows that the tokenizer does not use.
            vocabulary: embedding.rows(),
            is_tied: file.optional_tensor("output.weight").is_none(),
            context: count("context_length")?,
            rope_theta: metadata.optional("qwen2.rope.freq_base")?.unwrap_or(10_000.0),
            norm_epsilon: metadata.f32("qwen2.attention.layer_norm_rms_epsilon")?,
        })
    }

    /// Width of a head.
    pub(crate) fn head(&self) -> usize {
        self.hidden / self.heads.max(1)
    }

    /// The fields of `config.json`, as transformers has them for `Qwen2ForCausalLM`.
    pub(crate) fn to_json(&self, precision: Precision) -> Value {
        json!({
            "architectures": ["Qwen2ForCausalLM"],
            "attention_dropout": 0.0,
            "hidden_act": "silu",
            "hidden_size": self.hidden,
            "initializer_range": 0.02,
            "intermediate_size": self.intermediate,
            "max_position_embeddings": self.context,
            "max_window_layers": self.layers,
            "model_type": "qwen2",
            "num_attention_heads": self.heads,
            "num_hidden_layers": self.layers,
            "num_key_value_heads": self.key_value_heads,
            "rms_norm_eps": decimal(self.norm_epsilon),
            "rope_theta": decimal(self.rope_theta),
            "tie_word_embeddings": self.is_tied,
            "torch_dtype": match precision { Precision::Bf16 => "bfloat16", Precision::F32 => "float32" },
            "use_cache": true,
            "use_sliding_window": false,
            "vocab_size": self.vocabulary,
        })
    }
}

/// A single-precision number as it is written, `1e-6` rather than its nearest double.
fn decimal(number: f32) -> f64 {
    // What `Display` writes is always a number.
    number.to_string().parse().unwrap_or(f64::from(number))
}
