//! The model's weights in single precision; gradients and optimiser moments have the same shape.

use crate::Config;
use crate::table::{Role, Table};
use rand::SeedableRng;
use rand::distr::Distribution;
use rand_chacha::ChaCha8Rng;
use std::sync::Arc;

/// All weights of a model: the tensors of its [`Table`].
#[derive(Clone, Debug)]
pub struct Weights {
    table: Arc<Table>,
    tensors: Vec<Vec<f32>>,
}

impl PartialEq for Weights {
    fn eq(&self, other: &Self) -> bool {
        self.tensors == other.tensors
    }
}

impl Weights {
    /// Weights that are all zero: the start of a gradient or a moment.
    pub fn zeros(config: &Config) -> Self {
        let table = Arc::new(Table::of(config));
        let tensors = table.tensors().iter().map(|tensor| vec![0.0; tensor.len()]).collect();
        Weights { table, tensors }
    }

    /// Normal with standard deviation 0.02, the two matrices that write into the residual stream
    /// smaller by the root of their number (GPT-2's initialisation); norms are one, biases zero.
    pub fn random(config: &Config, seed: u64) -> Self {
        let mut weights = Self::zeros(config);
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let table = weights.table.clone();
        for (tensor, info) in weights.tensors.iter_mut().zip(table.tensors()) {
            match initial_deviation(config, info.role) {
                Some(deviation) => {
                    tensor.iter_mut().for_each(|value| *value = deviation * standard_normal(&mut random));
                }
                None if info.role != Role::QkvBias => tensor.fill(1.0),
                None => {}
            }
        }
        weights
    }

    /// What the tensors are.
    pub fn table(&self) -> &Arc<Table> {
        &self.table
    }

    /// Every tensor, in the order of the table.
    pub fn tensors(&self) -> Vec<&[f32]> {
        self.tensors.iter().map(Vec::as_slice).collect()
    }

    /// As [`tensors`](Self::tensors), to write to.
    pub fn tensors_mut(&mut self) -> Vec<&mut [f32]> {
        self.tensors.iter_mut().map(Vec::as_mut_slice).collect()
    }

    /// The tensor of that index.
    ///
    /// # Panics
    /// If there is none.
    pub fn tensor(&self, index: usize) -> &[f32] {
        &self.tensors[index]
    }

    /// As [`tensor`](Self::tensor), to write to.
    ///
    /// # Panics
    /// If there is none.
    pub fn tensor_mut(&mut self, index: usize) -> &mut [f32] {
        &mut self.tensors[index]
    }

    /// Two tensors to write to at once.
    ///
    /// # Panics
    /// If there is none of an index, or they are the same.
    pub fn two_mut(&mut self, first: usize, second: usize) -> [&mut [f32]; 2] {
        match self.tensors.get_disjoint_mut([first, second]) {
            Ok(two) => two.map(Vec::as_mut_slice),
            Err(error) => panic!("tensors {first} and {second}: {error}"),
        }
    }

    /// A layer's tensor; none where the family has no such thing.
    pub fn layer(&self, layer: usize, role: Role) -> Option<&[f32]> {
        self.table.layer(layer, role).map(|index| self.tensor(index))
    }

    /// `[vocab, hidden]`
    pub fn embedding(&self) -> &[f32] {
        self.tensor(self.table.embedding())
    }

    /// The matrix from hidden states to logits.
    pub fn output_matrix(&self) -> &[f32] {
        self.tensor(self.table.output())
    }
}

/// The standard deviation that a tensor's random numbers have; none of vectors.
pub fn initial_deviation(config: &Config, role: Role) -> Option<f32> {
    match role {
        Role::AttentionOut | Role::Down => Some(0.02 / (2.0 * config.num_hidden_layers as f32).sqrt()),
        Role::Embedding | Role::Qkv | Role::GateUp | Role::Output => Some(0.02),
        _ => None,
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
