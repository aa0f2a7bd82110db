//! The model's weights; gradients and optimiser moments have the same shape.

use crate::Config;
use rand::SeedableRng;
use rand::distr::Distribution;
use rand_chacha::ChaCha8Rng;
use std::ops::Range;

/// One layer. Matrices are `[outputs, inputs]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Layer {
    /// `[hidden]`
    pub input_norm: Vec<f32>,
    /// Queries, keys and values one below the other: `[query + 2 key_value, hidden]`
    pub qkv: Vec<f32>,
    /// `[query + 2 key_value]`
    pub qkv_bias: Vec<f32>,
    /// `[hidden, query]`
    pub attention_out: Vec<f32>,
    /// `[hidden]`
    pub feed_forward_norm: Vec<f32>,
    /// Gate and up one below the other: `[2 intermediate, hidden]`
    pub gate_up: Vec<f32>,
    /// `[hidden, intermediate]`
    pub down: Vec<f32>,
}

/// All weights of a model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Weights {
    /// `[vocab, hidden]`
    pub embedding: Vec<f32>,
    /// From the first to the last.
    pub layers: Vec<Layer>,
    /// `[hidden]`
    pub final_norm: Vec<f32>,
    /// `[vocab, hidden]`; none where the embedding serves.
    pub output: Option<Vec<f32>>,
}

/// Where a tensor of a Hugging Face file lies in [`Weights`]: which of [`Weights::tensors`], and
/// which of its numbers.
#[derive(Clone, Debug)]
pub struct NamedTensor {
    /// Name in the file.
    pub name: String,
    /// Shape in the file.
    pub shape: Vec<usize>,
    /// Index into [`Weights::tensors`].
    pub tensor: usize,
    /// Its numbers there.
    pub range: Range<usize>,
}

impl Weights {
    /// Weights that are all zero: the start of a gradient or a moment.
    pub fn zeros(config: &Config) -> Self {
        let hidden = config.hidden_size;
        let layer = Layer {
            input_norm: vec![0.0; hidden],
            qkv: vec![0.0; config.qkv_size() * hidden],
            qkv_bias: vec![0.0; config.qkv_size()],
            attention_out: vec![0.0; hidden * config.query_size()],
            feed_forward_norm: vec![0.0; hidden],
            gate_up: vec![0.0; 2 * config.intermediate_size * hidden],
            down: vec![0.0; hidden * config.intermediate_size],
        };
        let embedding = vec![0.0; config.vocab_size * hidden];
        Weights {
            output: (!config.tie_word_embeddings).then(|| embedding.clone()),
            embedding,
            layers: vec![layer; config.num_hidden_layers],
            final_norm: vec![0.0; hidden],
        }
    }

    /// Normal with standard deviation 0.02, the two matrices that write into the residual stream
    /// smaller by the root of their number (GPT-2's initialisation); norms are one, biases zero.
    pub fn random(config: &Config, seed: u64) -> Self {
        let mut weights = Self::zeros(config);
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut fill = |data: &mut [f32], deviation: f32| {
            data.iter_mut().for_each(|value| *value = deviation * standard_normal(&mut random));
        };
        let residual = 0.02 / (2.0 * config.num_hidden_layers as f32).sqrt();
        fill(&mut weights.embedding, 0.02);
        for layer in &mut weights.layers {
            layer.input_norm.fill(1.0);
            layer.feed_forward_norm.fill(1.0);
            fill(&mut layer.qkv, 0.02);
            fill(&mut layer.attention_out, residual);
            fill(&mut layer.gate_up, 0.02);
            fill(&mut layer.down, residual);
        }
        weights.final_norm.fill(1.0);
        if let Some(output) = &mut weights.output {
            fill(output, 0.02);
        }
        weights
    }

    /// The matrix from hidden states to logits.
    pub fn output_matrix(&self) -> &[f32] {
        self.output.as_deref().unwrap_or(&self.embedding)
    }

    /// The same of a gradient, to add to.
    pub fn output_matrix_mut(&mut self) -> &mut [f32] {
        self.output.as_deref_mut().unwrap_or(&mut self.embedding)
    }

    /// Every tensor: embedding, the layers' in order of their fields, final norm, output.
    pub fn tensors(&self) -> Vec<&[f32]> {
        let mut tensors: Vec<&[f32]> = vec![&self.embedding];
        for layer in &self.layers {
            tensors.extend::<[&[f32]; 7]>([
                &layer.input_norm,
                &layer.qkv,
                &layer.qkv_bias,
                &layer.attention_out,
                &layer.feed_forward_norm,
                &layer.gate_up,
                &layer.down,
            ]);
        }
        tensors.push(&self.final_norm);
        tensors.extend(self.output.as_deref());
        tensors
    }

    /// Every tensor, in the order of [`tensors`](Self::tensors).
    pub fn tensors_mut(&mut self) -> Vec<&mut [f32]> {
        let mut tensors: Vec<&mut [f32]> = vec![&mut self.embedding];
        for layer in &mut self.layers {
            tensors.extend::<[&mut [f32]; 7]>([
                &mut layer.input_norm,
                &mut layer.qkv,
                &mut layer.qkv_bias,
                &mut layer.attention_out,
                &mut layer.feed_forward_norm,
                &mut layer.gate_up,
                &mut layer.down,
            ]);
        }
        tensors.push(&mut self.final_norm);
        tensors.extend(self.output.as_deref_mut());
        tensors
    }

    /// Which of [`tensors`](Self::tensors) are matrices: weight decay applies to these only.
    pub fn is_matrix(config: &Config) -> Vec<bool> {
        let mut matrix = vec![true];
        for _ in 0..config.num_hidden_layers {
            matrix.extend([false, true, false, true, false, true, true]);
        }
        matrix.push(false);
        if !config.tie_word_embeddings {
            matrix.push(true);
        }
        matrix
    }

    /// The layer that each of [`tensors`](Self::tensors) belongs to: 0 for the embedding, 1 for
    /// the first layer, and one more than the number of layers for what follows them.
    pub fn layer_of_tensor(config: &Config) -> Vec<usize> {
        let mut layers = vec![0];
        for layer in 1..=config.num_hidden_layers {
            layers.extend([layer; 7]);
        }
        layers.push(config.num_hidden_layers + 1);
        if !config.tie_word_embeddings {
            layers.push(config.num_hidden_layers + 1);
        }
        layers
    }

    /// The tensors of a Hugging Face Qwen2 file, with their place here.
    pub fn hugging_face_names(config: &Config) -> Vec<NamedTensor> {
        let (hidden, intermediate) = (config.hidden_size, config.intermediate_size);
        let (query, key_value) = (config.query_size(), config.key_value_size());
        let mut names = Vec::new();
        let mut add = |name: String, shape: Vec<usize>, tensor: usize, start: usize| {
            let size: usize = shape.iter().product();
            names.push(NamedTensor { name, shape, tensor, range: start..start + size });
        };
        add("model.embed_tokens.weight".into(), vec![config.vocab_size, hidden], 0, 0);
        for layer in 0..config.num_hidden_layers {
            let name = |part: &str| format!("model.layers.{layer}.{part}");
            let tensor = 1 + 7 * layer;
            add(name("input_layernorm.weight"), vec![hidden], tensor, 0);
            let heads = [("q", query, 0), ("k", key_value, query), ("v", key_value, query + key_value)];
            for (letter, rows, first) in heads {
                let projection = format!("self_attn.{letter}_proj");
                add(name(&format!("{projection}.weight")), vec![rows, hidden], tensor + 1, first * hidden);
                add(name(&format!("{projection}.bias")), vec![rows], tensor + 2, first);
            }
            add(name("self_attn.o_proj.weight"), vec![hidden, query], tensor + 3, 0);
            add(name("post_attention_layernorm.weight"), vec![hidden], tensor + 4, 0);
            add(name("mlp.gate_proj.weight"), vec![intermediate, hidden], tensor + 5, 0);
            let up = intermediate * hidden;
            add(name("mlp.up_proj.weight"), vec![intermediate, hidden], tensor + 5, up);
            add(name("mlp.down_proj.weight"), vec![hidden, intermediate], tensor + 6, 0);
        }
        let last = 1 + 7 * config.num_hidden_layers;
        add("model.norm.weight".into(), vec![hidden], last, 0);
        if !config.tie_word_embeddings {
            add("lm_head.weight".into(), vec![config.vocab_size, hidden], last + 1, 0);
        }
        names
    }
}

/// A draw from the standard normal distribution (Box and Muller, 1958).
fn standard_normal(random: &mut ChaCha8Rng) -> f32 {
    let uniform = rand::distr::Uniform::new(f32::EPSILON, 1.0);
    // The bounds are constants in order.
    let uniform = uniform.expect("lower bound below the upper");
    let (u, v) = (uniform.sample(random), uniform.sample(random));
    (-2.0 * u.ln()).sqrt() * (std::f32::consts::TAU * v).cos()
}
