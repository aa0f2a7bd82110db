//! Linear → ReLU → dropout → Linear: from a hidden state to logits, the first of which says whether it passes.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use transformer::ops::matmul::{linear, linear_backward_input, linear_backward_weight};

/// The head's weights, or a gradient of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    hidden: usize,
    /// `[width, hidden]`
    pub inner: Vec<f32>,
    /// `[width]`
    pub inner_bias: Vec<f32>,
    /// `[outputs, width]`
    pub outer: Vec<f32>,
    /// `[outputs]`
    pub outer_bias: Vec<f32>,
}

/// What a forward pass leaves for the backward pass.
pub struct HeadActivations {
    /// `[rows, outputs]`
    pub logits: Vec<f32>,
    /// After ReLU and dropout: `[rows, width]`
    inner: Vec<f32>,
}

impl Head {
    /// All zero.
    pub fn zeros(hidden: usize, width: usize, outputs: usize) -> Self {
        Head {
            hidden,
            inner: vec![0.0; width * hidden],
            inner_bias: vec![0.0; width],
            outer: vec![0.0; outputs * width],
            outer_bias: vec![0.0; outputs],
        }
    }

    /// Uniform within one over the root of the inputs, as PyTorch's `Linear`.
    pub fn random(hidden: usize, width: usize, outputs: usize, seed: u64) -> Self {
        let mut head = Self::zeros(hidden, width, outputs);
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut fill = |data: &mut [f32], inputs: usize| {
            let bound = 1.0 / (inputs.max(1) as f32).sqrt();
            data.iter_mut().for_each(|value| *value = bound * (2.0 * random.random::<f32>() - 1.0));
        };
        fill(&mut head.inner, hidden);
        fill(&mut head.inner_bias, hidden);
        fill(&mut head.outer, width);
        fill(&mut head.outer_bias, width);
        head
    }

    fn width(&self) -> usize {
        self.inner_bias.len()
    }

    /// Logits of each row.
    pub fn outputs(&self) -> usize {
        self.outer_bias.len()
    }

    /// Logits of pooled hidden states `[rows, hidden]`. With `dropout` (a rate and a random
    /// stream), inner values are zeroed at that rate and the others scaled up.
    pub fn forward(&self, pooled: &[f32], dropout: Option<(f32, &mut ChaCha8Rng)>) -> HeadActivations {
        let rows = pooled.len() / self.hidden;
        let mut inner = vec![0.0; rows * self.width()];
        linear(pooled, &self.inner, Some(&self.inner_bias), rows, &mut inner);
        inner.iter_mut().for_each(|value| *value = value.max(0.0));
        if let Some((rate, random)) = dropout {
            let keep = 1.0 / (1.0 - rate);
            inner
                .iter_mut()
                .for_each(|value| *value *= if random.random::<f32>() < rate { 0.0 } else { keep });
        }
        let mut logits = vec![0.0; rows * self.outputs()];
        linear(&inner, &self.outer, Some(&self.outer_bias), rows, &mut logits);
        HeadActivations { logits, inner }
    }

    /// Adds to `gradient` what the loss's gradient by the logits gives, and returns that by the
    /// pooled hidden states. `dropout_rate` must be the forward pass's.
    pub fn backward(
        &self,
        pooled: &[f32],
        activations: &HeadActivations,
        logit_gradient: &[f32],
        dropout_rate: f32,
        gradient: &mut Head,
    ) -> Vec<f32> {
        let rows = logit_gradient.len() / self.outputs();
        let bias = Some(gradient.outer_bias.as_mut_slice());
        linear_backward_weight(logit_gradient, &activations.inner, rows, &mut gradient.outer, bias);
        let mut inner_gradient = vec![0.0; activations.inner.len()];
        linear_backward_input(logit_gradient, &self.outer, rows, false, &mut inner_gradient);
        // A value that ReLU or dropout made zero passes nothing on.
        let keep = 1.0 / (1.0 - dropout_rate);
        for (gradient, &value) in inner_gradient.iter_mut().zip(&activations.inner) {
            *gradient *= if value > 0.0 { keep } else { 0.0 };
        }
        let bias = Some(gradient.inner_bias.as_mut_slice());
        linear_backward_weight(&inner_gradient, pooled, rows, &mut gradient.inner, bias);
        let mut pooled_gradient = vec![0.0; pooled.len()];
        linear_backward_input(&inner_gradient, &self.inner, rows, false, &mut pooled_gradient);
        pooled_gradient
    }

    /// The tensors with the names and shapes they have on disk.
    pub fn named(&self) -> Vec<(&'static str, Vec<usize>, &[f32])> {
        let (width, hidden, outputs) = (self.width(), self.hidden, self.outputs());
        vec![
            ("score.0.weight", vec![width, hidden], &self.inner),
            ("score.0.bias", vec![width], &self.inner_bias),
            ("score.2.weight", vec![outputs, width], &self.outer),
            ("score.2.bias", vec![outputs], &self.outer_bias),
        ]
    }

    /// As [`named`](Self::named), to write to.
    pub fn named_mut(&mut self) -> Vec<(&'static str, Vec<usize>, &mut [f32])> {
        let (width, hidden, outputs) = (self.width(), self.hidden, self.outputs());
        vec![
            ("score.0.weight", vec![width, hidden], &mut self.inner),
            ("score.0.bias", vec![width], &mut self.inner_bias),
            ("score.2.weight", vec![outputs, width], &mut self.outer),
            ("score.2.bias", vec![outputs], &mut self.outer_bias),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The hand-derived gradient against finite differences.
    #[test]
    fn the_gradient_is_the_slope() {
        let head = Head::random(6, 10, 3, 1);
        let pooled: Vec<f32> = (0..18).map(|i| ((i * 7 % 11) as f32 - 5.0) / 5.0).collect();
        let loss = |head: &Head, pooled: &[f32]| -> f32 {
            head.forward(pooled, None).logits.iter().map(|logit| logit * logit).sum()
        };
        let activations = head.forward(&pooled, None);
        let logit_gradient: Vec<f32> = activations.logits.iter().map(|logit| 2.0 * logit).collect();
        let mut gradient = Head::zeros(6, 10, 3);
        let pooled_gradient = head.backward(&pooled, &activations, &logit_gradient, 0.0, &mut gradient);
        let step = 1e-3;
        for (index, &ours) in pooled_gradient.iter().enumerate() {
            let (mut up, mut down) = (pooled.clone(), pooled.clone());
            up[index] += step;
            down[index] -= step;
            let slope = (loss(&head, &up) - loss(&head, &down)) / (2.0 * step);
            assert!((slope - ours).abs() < 1e-2 * (1.0 + slope.abs()), "{slope} {ours}");
        }
        let gradients: Vec<Vec<f32>> =
            gradient.named().iter().map(|(_, _, tensor)| tensor.to_vec()).collect();
        for (tensor, gradients) in gradients.iter().enumerate() {
            for (index, ours) in gradients.iter().enumerate() {
                let moved = |by: f32| {
                    let mut head = head.clone();
                    head.named_mut()[tensor].2[index] += by;
                    loss(&head, &pooled)
                };
                let slope = (moved(step) - moved(-step)) / (2.0 * step);
                assert!((slope - ours).abs() < 1e-2 * (1.0 + slope.abs()), "{slope} {ours}");
            }
        }
    }
}
