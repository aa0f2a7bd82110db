//! What tells the families of models apart: a few switches, and their names in files.

use crate::Config;

/// A family of decoders that differ by what [`Config`] says and by their names in files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// Qwen2 and Qwen2.5 (Yang et al., 2024): biases on queries, keys and values.
    Qwen2,
    /// Qwen3, dense (Yang et al., 2025): no biases; queries and keys are normalised head by head.
    Qwen3,
    /// Llama 2 and 3 (Touvron et al., 2023), SmolLM2, DeepSeek-Coder: neither.
    Llama,
    /// SmolLM3 (Hugging Face, 2025): Llama without positions in every fourth layer.
    SmolLm3,
}

impl Architecture {
    /// All of them.
    pub const ALL: [Architecture; 4] =
        [Architecture::Qwen2, Architecture::Qwen3, Architecture::Llama, Architecture::SmolLm3];

    /// `model_type` of a Hugging Face `config.json`.
    pub fn model_type(self) -> &'static str {
        match self {
            Architecture::Qwen2 => "qwen2",
            Architecture::Qwen3 => "qwen3",
            Architecture::Llama => "llama",
            Architecture::SmolLm3 => "smollm3",
        }
    }

    /// `general.architecture` of a GGUF file: the same words.
    pub fn gguf(self) -> &'static str {
        self.model_type()
    }

    /// The class that transformers loads it with.
    pub fn class(self) -> &'static str {
        match self {
            Architecture::Qwen2 => "Qwen2ForCausalLM",
            Architecture::Qwen3 => "Qwen3ForCausalLM",
            Architecture::Llama => "LlamaForCausalLM",
            Architecture::SmolLm3 => "SmolLM3ForCausalLM",
        }
    }

    /// Whether queries, keys and values have biases.
    pub fn has_qkv_bias(self) -> bool {
        self == Architecture::Qwen2
    }

    /// Whether queries and keys are normalised head by head.
    pub fn has_head_norms(self) -> bool {
        self == Architecture::Qwen3
    }

    /// Whether GGUF files keep the rows of queries and keys in the order of neighbouring pairs, where
    /// Hugging Face's have the halves of a head one after the other.
    pub fn has_paired_rows_in_gguf(self) -> bool {
        matches!(self, Architecture::Llama | Architecture::SmolLm3)
    }

    /// The one of that name in `config.json` or GGUF metadata.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|architecture| architecture.model_type() == name)
    }

    /// Their names, for messages.
    pub fn names() -> String {
        Self::ALL.map(Architecture::model_type).join(", ")
    }
}

/// How the frequencies of rotary positions are changed for sequences longer than a model was first
/// trained with.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum RopeScaling {
    /// They are not.
    #[default]
    None,
    /// All are divided by a factor (Chen et al., 2023).
    Linear {
        /// The factor.
        factor: f64,
    },
    /// Low ones are divided by a factor, high ones stay, with a smooth step between (Llama 3.1).
    Llama3 {
        /// The factor.
        factor: f64,
        /// Wavelengths above `original_positions / low_frequency_factor` are divided.
        low_frequency_factor: f64,
        /// Wavelengths below `original_positions / high_frequency_factor` stay.
        high_frequency_factor: f64,
        /// Positions that it was first trained with.
        original_positions: usize,
    },
}

impl RopeScaling {
    /// A frequency after scaling.
    pub fn scaled(&self, frequency: f64) -> f64 {
        match *self {
            RopeScaling::None => frequency,
            RopeScaling::Linear { factor } => frequency / factor,
            RopeScaling::Llama3 {
                factor,
                low_frequency_factor,
                high_frequency_factor,
                original_positions,
            } => {
                let turns = original_positions as f64 * frequency / std::f64::consts::TAU;
                let smooth = (turns - low_frequency_factor) / (high_frequency_factor - low_frequency_factor);
                let smooth = smooth.clamp(0.0, 1.0);
                (1.0 - smooth) * frequency / factor + smooth * frequency
            }
        }
    }
}

impl Config {
    /// The frequency of each pair of a head's components, in radians a position: `[head_dim / 2]`.
    pub fn rope_frequencies(&self) -> Vec<f32> {
        let frequency = |pair: usize| {
            // The reference computes the plain frequency in single precision.
            let plain = 1.0 / self.rope_theta.powf(2.0 * pair as f64 / self.head_dim as f64) as f32;
            self.rope_scaling.scaled(f64::from(plain)) as f32
        };
        (0..self.head_dim / 2).map(frequency).collect()
    }

    /// Whether a layer's queries and keys turn with their positions.
    pub fn has_rope(&self, layer: usize) -> bool {
        !self.layers_without_rope.contains(&layer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn llama3_divides_low_frequencies_only() {
        let scaling = RopeScaling::Llama3 {
            factor: 32.0,
            low_frequency_factor: 1.0,
            high_frequency_factor: 4.0,
            original_positions: 8192,
        };
        assert_eq!(scaling.scaled(1.0), 1.0);
        assert_eq!(scaling.scaled(1e-5), 1e-5 / 32.0);
        // Two and a half turns in 8,192 positions: half way between one and four.
        let middle = 2.5 * std::f64::consts::TAU / 8192.0;
        assert!((scaling.scaled(middle) / middle - (1.0 + 1.0 / 32.0) / 2.0).abs() < 1e-12);
    }
}
