//! The table of a model's tensors: what each is for, its shape, and its names in files.
//!
//! Weights, gradients, moments, checkpoints, adapters and devices all follow its order: the embedding,
//! the layers' tensors, the final norm, the output matrix.

use crate::Config;
use crate::architecture::Architecture;
use std::ops::Range;

/// What a tensor is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// `[vocab, hidden]`
    Embedding,
    /// Gain of the norm before attention: `[hidden]`
    InputNorm,
    /// Queries, keys and values one below the other: `[query + 2 key_value, hidden]`
    Qkv,
    /// Their biases, where the family has them: `[query + 2 key_value]`
    QkvBias,
    /// Gain of the norm of each query head, where the family has it: `[head_dim]`
    QueryNorm,
    /// Gain of the norm of each key head: `[head_dim]`
    KeyNorm,
    /// From attention back to the residual stream: `[hidden, query]`
    AttentionOut,
    /// Gain of the norm before the feed-forward part: `[hidden]`
    FeedForwardNorm,
    /// Gate and up one below the other: `[2 intermediate, hidden]`
    GateUp,
    /// From the feed-forward part back to the residual stream: `[hidden, intermediate]`
    Down,
    /// Gain of the norm after the last layer: `[hidden]`
    FinalNorm,
    /// `[vocab, hidden]`; there is none where the embedding serves.
    Output,
}

/// One tensor of a model.
#[derive(Clone, Debug)]
pub struct TensorInfo {
    /// What it is for.
    pub role: Role,
    /// The layer that it belongs to; none for embedding, final norm and output.
    pub layer: Option<usize>,
    /// Rows and columns of a matrix `[outputs, inputs]`, or the length of a vector.
    pub shape: Vec<usize>,
    /// The tensors of a file that it is made of, one below the other.
    pub parts: Vec<Part>,
}

impl TensorInfo {
    /// How many numbers it has.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it has none; no tensor of a model is so.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it is a matrix: weight decay applies to these only.
    pub fn is_matrix(&self) -> bool {
        self.shape.len() == 2
    }
}

/// A tensor of a file.
#[derive(Clone, Debug)]
pub struct Part {
    /// Its name in a Hugging Face file.
    pub hugging_face: String,
    /// Its name in a GGUF file.
    pub gguf: String,
    /// Its shape, rows first.
    pub shape: Vec<usize>,
    /// Its numbers in the model's tensor.
    pub range: Range<usize>,
    /// Width of the heads whose rows a GGUF file keeps in another order, if it does
    /// ([`Architecture::has_paired_rows_in_gguf`]).
    pub paired_head_dim: Option<usize>,
}

impl Part {
    /// The row of a GGUF file that holds a row of this part.
    pub fn gguf_row(&self, row: usize) -> usize {
        match self.paired_head_dim {
            None => row,
            Some(width) => {
                let (head, within) = (row / width, row % width);
                head * width + 2 * (within % (width / 2)) + within / (width / 2)
            }
        }
    }
}

/// All tensors of a model, in order.
#[derive(Clone, Debug)]
pub struct Table {
    tensors: Vec<TensorInfo>,
    /// What each layer has, in order.
    roles: Vec<Role>,
    layers: usize,
}

impl Table {
    /// The tensors of a model of this shape.
    pub fn of(config: &Config) -> Self {
        let roles = layer_roles(config.architecture);
        let mut tensors = vec![tensor(config, Role::Embedding, None)];
        for layer in 0..config.num_hidden_layers {
            tensors.extend(roles.iter().map(|&role| tensor(config, role, Some(layer))));
        }
        tensors.push(tensor(config, Role::FinalNorm, None));
        if !config.tie_word_embeddings {
            tensors.push(tensor(config, Role::Output, None));
        }
        Table { tensors, roles, layers: config.num_hidden_layers }
    }

    /// Every tensor.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// Index of the embedding.
    pub fn embedding(&self) -> usize {
        0
    }

    /// Index of a layer's tensor; none where the family has no such thing.
    pub fn layer(&self, layer: usize, role: Role) -> Option<usize> {
        let within = self.roles.iter().position(|&other| other == role)?;
        Some(1 + self.roles.len() * layer + within)
    }

    /// Index of a tensor that every layer of every family has.
    ///
    /// # Panics
    /// If it is another.
    pub fn of_layer(&self, layer: usize, role: Role) -> usize {
        match self.layer(layer, role) {
            Some(index) => index,
            None => panic!("{role:?} is not in every layer"),
        }
    }

    /// Index of the final norm.
    pub fn final_norm(&self) -> usize {
        1 + self.roles.len() * self.layers
    }

    /// Index of the matrix from hidden states to logits: the embedding where that serves.
    pub fn output(&self) -> usize {
        let own = self.final_norm() + 1;
        if own < self.tensors.len() { own } else { self.embedding() }
    }

    /// All parts, with the index of the tensor that each belongs to.
    pub fn parts(&self) -> impl Iterator<Item = (usize, &Part)> {
        self.tensors
            .iter()
            .enumerate()
            .flat_map(|(index, tensor)| tensor.parts.iter().map(move |part| (index, part)))
    }
}

fn layer_roles(architecture: Architecture) -> Vec<Role> {
    let mut roles = vec![Role::InputNorm, Role::Qkv];
    if architecture.has_qkv_bias() {
        roles.push(Role::QkvBias);
    }
    if architecture.has_head_norms() {
        roles.extend([Role::QueryNorm, Role::KeyNorm]);
    }
    roles.extend([Role::AttentionOut, Role::FeedForwardNorm, Role::GateUp, Role::Down]);
    roles
}

/// Names in Hugging Face and GGUF files, and rows, of a tensor's parts.
fn names(config: &Config, role: Role) -> Vec<(&'static str, &'static str, usize)> {
    let (hidden, head) = (config.hidden_size, config.head_dim);
    let (query, key_value, feed_forward) =
        (config.query_size(), config.key_value_size(), config.intermediate_size);
    match role {
        Role::Embedding => vec![("embed_tokens.weight", "token_embd.weight", config.vocab_size)],
        Role::InputNorm => vec![("input_layernorm.weight", "attn_norm.weight", hidden)],
        Role::Qkv => vec![
            ("self_attn.q_proj.weight", "attn_q.weight", query),
            ("self_attn.k_proj.weight", "attn_k.weight", key_value),
            ("self_attn.v_proj.weight", "attn_v.weight", key_value),
        ],
        Role::QkvBias => vec![
            ("self_attn.q_proj.bias", "attn_q.bias", query),
            ("self_attn.k_proj.bias", "attn_k.bias", key_value),
            ("self_attn.v_proj.bias", "attn_v.bias", key_value),
        ],
        Role::QueryNorm => vec![("self_attn.q_norm.weight", "attn_q_norm.weight", head)],
        Role::KeyNorm => vec![("self_attn.k_norm.weight", "attn_k_norm.weight", head)],
        Role::AttentionOut => vec![("self_attn.o_proj.weight", "attn_output.weight", hidden)],
        Role::FeedForwardNorm => vec![("post_attention_layernorm.weight", "ffn_norm.weight", hidden)],
        Role::GateUp => vec![
            ("mlp.gate_proj.weight", "ffn_gate.weight", feed_forward),
            ("mlp.up_proj.weight", "ffn_up.weight", feed_forward),
        ],
        Role::Down => vec![("mlp.down_proj.weight", "ffn_down.weight", hidden)],
        Role::FinalNorm => vec![("norm.weight", "output_norm.weight", hidden)],
        Role::Output => vec![("lm_head.weight", "output.weight", config.vocab_size)],
    }
}

/// Columns of a matrix; none of a vector.
fn columns(config: &Config, role: Role) -> Option<usize> {
    match role {
        Role::Embedding | Role::Qkv | Role::GateUp | Role::Output => Some(config.hidden_size),
        Role::AttentionOut => Some(config.query_size()),
        Role::Down => Some(config.intermediate_size),
        _ => None,
    }
}

fn tensor(config: &Config, role: Role, layer: Option<usize>) -> TensorInfo {
    let columns = columns(config, role);
    let shape = |rows: usize| [rows].into_iter().chain(columns).collect::<Vec<usize>>();
    let paired = config.architecture.has_paired_rows_in_gguf() && role == Role::Qkv;
    let mut rows = 0;
    let parts = names(config, role).into_iter().map(|(hugging_face, gguf, count)| {
        let first = rows;
        rows += count;
        let numbers = columns.unwrap_or(1);
        Part {
            hugging_face: match (layer, role) {
                (Some(layer), _) => format!("model.layers.{layer}.{hugging_face}"),
                (None, Role::Output) => hugging_face.to_owned(),
                (None, _) => format!("model.{hugging_face}"),
            },
            gguf: layer.map_or(gguf.to_owned(), |layer| format!("blk.{layer}.{gguf}")),
            shape: shape(count),
            range: first * numbers..rows * numbers,
            paired_head_dim: (paired && gguf != "attn_v.weight").then_some(config.head_dim),
        }
    });
    let parts = parts.collect();
    TensorInfo { role, layer, shape: shape(rows), parts }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_has_its_tensors_and_their_number() {
        for architecture in Architecture::ALL {
            for tie_word_embeddings in [true, false] {
                let config = Config { architecture, tie_word_embeddings, ..Config::tiny() };
                let table = Table::of(&config);
                let count: usize = table.tensors().iter().map(TensorInfo::len).sum();
                assert_eq!(count, config.parameters(), "{architecture:?}");
                for tensor in table.tensors() {
                    let mut end = 0;
                    for part in &tensor.parts {
                        assert_eq!(part.range.start, end);
                        assert_eq!(part.range.len(), part.shape.iter().product::<usize>());
                        end = part.range.end;
                    }
                    assert_eq!(end, tensor.len());
                }
                assert_eq!(table.tensors()[table.final_norm()].role, Role::FinalNorm);
                let output = table.tensors()[table.output()].role;
                assert_eq!(output, if tie_word_embeddings { Role::Embedding } else { Role::Output });
                assert_eq!(table.tensors()[table.of_layer(1, Role::Down)].layer, Some(1));
                let has_bias = table.layer(1, Role::QkvBias).is_some();
                assert_eq!(has_bias, architecture == Architecture::Qwen2);
            }
        }
    }

    #[test]
    fn paired_rows_are_the_halves_interleaved() {
        let config = Config { architecture: Architecture::Llama, ..Config::tiny() };
        let table = Table::of(&config);
        let qkv = &table.tensors()[table.of_layer(0, Role::Qkv)];
        let rows: Vec<usize> = (8..16).map(|row| qkv.parts[0].gguf_row(row)).collect();
        assert_eq!(rows, [8, 10, 12, 14, 9, 11, 13, 15]);
        assert_eq!(qkv.parts[2].gguf_row(3), 3);
    }
}
