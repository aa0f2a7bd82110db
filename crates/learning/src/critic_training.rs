//! Teaching the critic which programs pass.
//!
//! Binary cross-entropy on execution labels, and a pairwise term inside each problem: a program
//! that passes should score above one that fails (Burges et al., 2005, RankNet). The pairwise term
//! is what a choice among one problem's candidates depends on.

use crate::supervised::shuffled;
use crate::{OnStep, OptimizerSettings, StepReport};
use anyhow::{Context, Result, ensure};
use critic::{Head, Network, TokenizedQuestion, gather_rows, pack, probability};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::Instant;
use transformer::checkpoint::{Precision, TensorFiles, save_tensors};
use transformer::optimizer::{AdamW, clip_gradient_norm};
use transformer::{Weights, Workspace};

/// Settings of the critic and its training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CriticSettings {
    /// Width of the head's inner layer.
    pub head_width: usize,
    /// Share of the head's inner values dropped in training.
    pub dropout: f64,
    /// Layers of the backbone that learn, from the top; 0 freezes it, more than it has trains the
    /// embedding too.
    pub trainable_layers: usize,
    /// Longest text in tokens.
    pub max_tokens: usize,
    /// Times that every problem is seen.
    pub epochs: usize,
    /// Problems a step, with all their distinct programs.
    pub problems_per_step: usize,
    /// Weight of the pairwise term; 0 leaves plain binary cross-entropy.
    pub pairwise: f64,
    /// A program sampled n times weighs n to this power in the cross-entropy: 1 counts samples,
    /// 0 counts distinct programs.
    pub count_power: f64,
    /// How weights are updated.
    pub optimizer: OptimizerSettings,
}

impl Default for CriticSettings {
    fn default() -> Self {
        CriticSettings {
            head_width: 256,
            dropout: 0.1,
            trainable_layers: 2,
            max_tokens: 512,
            epochs: 2,
            problems_per_step: 16,
            pairwise: 1.0,
            count_power: 1.0,
            optimizer: OptimizerSettings::default(),
        }
    }
}

impl CriticSettings {
    /// Number of steps for so many questions.
    pub fn total_steps(&self, questions: usize) -> usize {
        self.epochs * questions.div_ceil(self.problems_per_step.max(1))
    }
}

/// A problem with its programs and whether each passed.
#[derive(Clone, Debug)]
pub struct LabelledQuestion {
    /// The problem's id.
    pub problem: String,
    /// Prompt and programs.
    pub question: TokenizedQuestion,
    /// Whether each program passed.
    pub passed: Vec<bool>,
    /// How many candidates each program stands for.
    pub counts: Vec<usize>,
}

/// A critic in training, with its optimiser.
pub struct CriticTrainer {
    /// The critic as it is now.
    pub network: Network,
    first_layer: usize,
    optimizer: AdamW,
    gradient: Weights,
    head_gradient: Head,
    step: usize,
}

impl CriticTrainer {
    /// Starts at step 0.
    pub fn new(network: Network, settings: &CriticSettings) -> Self {
        let layers = network.config().num_hidden_layers;
        // Layer 0 of the optimiser's count stands for the embedding and everything above it.
        let first_layer = (layers + 1).saturating_sub(settings.trainable_layers + 1);
        let adamw = settings.optimizer.adamw();
        let (sizes, decayed) = tensor_sizes(&network, first_layer);
        let mut head_gradient = network.head.clone();
        head_gradient.named_mut().into_iter().for_each(|(_, _, tensor)| tensor.fill(0.0));
        CriticTrainer {
            optimizer: AdamW::new(adamw, &sizes, decayed),
            gradient: Weights::zeros(network.config()),
            head_gradient,
            first_layer,
            network,
            step: 0,
        }
    }

    /// Steps done so far.
    pub fn step(&self) -> usize {
        self.step
    }

    fn update(&mut self, settings: &OptimizerSettings, total: usize) -> Result<(f64, f64)> {
        let learning_rate = settings.schedule(total).rate(self.step);
        let mut gradients = self.gradient.tensors_mut();
        gradients.extend(self.head_gradient.named_mut().into_iter().map(|(_, _, tensor)| tensor));
        let norm = clip_gradient_norm(&mut gradients, settings.max_gradient_norm as f32);
        ensure!(norm.is_finite(), "the critic's gradient is not finite at step {}", self.step);
        let mut weights = self.network.backbone.weights.tensors_mut();
        weights.extend(self.network.head.named_mut().into_iter().map(|(_, _, tensor)| tensor));
        let mut gradients = self.gradient.tensors();
        gradients.extend(self.head_gradient.named().into_iter().map(|(_, _, tensor)| tensor));
        self.optimizer.step(learning_rate, weights, &gradients);
        self.gradient.tensors_mut().into_iter().for_each(|tensor| tensor.fill(0.0));
        self.head_gradient.named_mut().into_iter().for_each(|(_, _, tensor)| tensor.fill(0.0));
        self.step += 1;
        Ok((f64::from(norm), f64::from(learning_rate)))
    }

    /// Writes everything needed to go on to one file, as a whole.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn save_state(&self, path: &Path) -> Result<()> {
        let steps = [self.step as f32, self.optimizer.steps() as f32];
        let mut weights = self.network.backbone.weights.tensors();
        weights.extend(self.network.head.named().into_iter().map(|(_, _, tensor)| tensor));
        let (first, second) = self.optimizer.moments();
        let mut tensors: Vec<(String, Vec<usize>, &[f32])> = vec![("steps".into(), vec![2], &steps)];
        for (prefix, parts) in [("weight", weights), ("first", first), ("second", second)] {
            for (index, part) in parts.into_iter().enumerate() {
                tensors.push((format!("{prefix}.{index}"), vec![part.len()], part));
            }
        }
        save_tensors(path, tensors, Precision::F32).context("cannot save the critic's state")?;
        Ok(())
    }

    /// Goes on from a file that [`save_state`](Self::save_state) wrote; `network` gives the shape.
    ///
    /// # Errors
    /// Where the file is damaged or belongs to a critic of another shape.
    pub fn load_state(network: Network, settings: &CriticSettings, path: &Path) -> Result<Self> {
        let files = TensorFiles::open_file(path)?;
        let mut steps = [0.0; 2];
        files.read("steps", &[2], &mut steps)?;
        let mut trainer = Self::new(network, settings);
        let mut weights = trainer.network.backbone.weights.tensors_mut();
        weights.extend(trainer.network.head.named_mut().into_iter().map(|(_, _, tensor)| tensor));
        let (first, second) = trainer.optimizer.moments_mut();
        for (prefix, parts) in [("weight", weights), ("first", first), ("second", second)] {
            for (index, part) in parts.into_iter().enumerate() {
                files.read(&format!("{prefix}.{index}"), &[part.len()], part)?;
            }
        }
        trainer.optimizer.set_steps(steps[1] as usize);
        trainer.step = steps[0] as usize;
        Ok(trainer)
    }
}

/// Sizes of backbone and head tensors (0 where frozen), and which are matrices.
fn tensor_sizes(network: &Network, first_layer: usize) -> (Vec<usize>, Vec<bool>) {
    let config = network.config();
    let layers = Weights::layer_of_tensor(config);
    let last = config.num_hidden_layers + 1;
    let tensors = network.backbone.weights.tensors();
    let output = network.backbone.weights.output.is_some();
    let count = tensors.len();
    let trained = |index: usize, layer: usize| {
        // The critic has no use for an output matrix of its own.
        let is_output = output && index + 1 == count;
        !is_output && (layer == last || layer > first_layer || (first_layer == 0 && layer == 0))
    };
    let mut sizes: Vec<usize> = Vec::with_capacity(count + 4);
    for (index, (tensor, layer)) in tensors.iter().zip(layers).enumerate() {
        sizes.push(if trained(index, layer) { tensor.len() } else { 0 });
    }
    let mut decayed = Weights::is_matrix(config);
    for (_, shape, tensor) in network.head.named() {
        sizes.push(tensor.len());
        decayed.push(shape.len() == 2);
    }
    (sizes, decayed)
}

/// Trains until all steps are done or `on_step` breaks off.
///
/// # Errors
/// Where there are no questions, or the loss stops being finite.
pub fn train(
    trainer: &mut CriticTrainer,
    questions: &[LabelledQuestion],
    settings: &CriticSettings,
    seed: u64,
    on_step: &mut OnStep,
) -> Result<()> {
    ensure!(!questions.is_empty(), "there are no labelled candidates to train the critic on");
    let total = settings.total_steps(questions.len());
    let steps_per_epoch = total / settings.epochs.max(1);
    let mut workspace = Workspace::for_training();
    let mut order: (usize, Vec<usize>) = (usize::MAX, Vec::new());
    while trainer.step < total {
        let started = Instant::now();
        let (epoch, at) = (trainer.step / steps_per_epoch, trainer.step % steps_per_epoch);
        if order.0 != epoch {
            order = (epoch, shuffled(questions.len(), seed.wrapping_add(epoch as u64)));
        }
        let start = at * settings.problems_per_step;
        let end = (start + settings.problems_per_step).min(questions.len());
        let batch: Vec<&LabelledQuestion> =
            order.1[start..end].iter().map(|&index| &questions[index]).collect();
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        random.set_stream(trainer.step as u64);
        let (loss, accuracy) = gradient(trainer, &batch, settings, &mut random, &mut workspace);
        let (norm, learning_rate) = trainer.update(&settings.optimizer, total)?;
        let metrics = vec![
            ("loss", loss),
            ("accuracy", accuracy),
            ("grad_norm", norm),
            ("learning_rate", learning_rate),
            ("step_time", started.elapsed().as_secs_f64()),
        ];
        if on_step(&StepReport { step: trainer.step, total, metrics }).is_break() {
            break;
        }
    }
    Ok(())
}

/// Adds a batch's gradient; returns the mean loss and accuracy over programs.
fn gradient(
    trainer: &mut CriticTrainer,
    batch: &[&LabelledQuestion],
    settings: &CriticSettings,
    random: &mut ChaCha8Rng,
    workspace: &mut Workspace,
) -> (f64, f64) {
    let questions: Vec<TokenizedQuestion> = batch.iter().map(|labelled| labelled.question.clone()).collect();
    let (packed, last_rows) = pack(&questions);
    let network = &trainer.network;
    let width = network.config().hidden_size;
    let hidden = network.backbone.forward(&packed, workspace);
    let pooled = gather_rows(hidden, &last_rows, width);
    let rate = settings.dropout as f32;
    let dropout = (rate > 0.0).then_some((rate, random));
    let activations = network.head.forward(&pooled, dropout);
    let (loss, correct, logit_gradient) = loss_gradient(batch, &activations.logits, settings);
    let pooled_gradient =
        network.head.backward(&pooled, &activations, &logit_gradient, rate, &mut trainer.head_gradient);
    if settings.trainable_layers > 0 {
        let mut hidden_gradient = vec![0.0; packed.rows() * width];
        for (row, gradient) in last_rows.iter().zip(pooled_gradient.chunks_exact(width)) {
            hidden_gradient[row * width..(row + 1) * width].copy_from_slice(gradient);
        }
        let first_layer = trainer.first_layer.min(network.config().num_hidden_layers);
        network.backbone.backward(&packed, &hidden_gradient, first_layer, workspace, &mut trainer.gradient);
    }
    (loss, correct / last_rows.len() as f64)
}

/// Mean loss, number of right programs, and the gradient by the logits.
fn loss_gradient(
    batch: &[&LabelledQuestion],
    logits: &[f32],
    settings: &CriticSettings,
) -> (f64, f64, Vec<f32>) {
    let mut gradient = vec![0.0; logits.len()];
    let (mut loss, mut correct) = (0.0, 0.0);
    let pairwise = settings.pairwise as f32;
    let weight_of = |count: usize| (count as f32).powf(settings.count_power as f32);
    let total: f32 = batch.iter().flat_map(|labelled| &labelled.counts).map(|&count| weight_of(count)).sum();
    let mut start = 0;
    for labelled in batch {
        let rows = start..start + labelled.passed.len();
        start = rows.end;
        let logits = &logits[rows.clone()];
        let gradient = &mut gradient[rows];
        for (index, (&logit, &passed)) in logits.iter().zip(&labelled.passed).enumerate() {
            let weight = weight_of(labelled.counts[index]) / total;
            let target = f32::from(u8::from(passed));
            loss += f64::from(weight * (softplus(logit) - target * logit));
            gradient[index] += weight * (probability(logit) as f32 - target);
            correct += f64::from(u8::from((logit > 0.0) == passed));
        }
        let all = 0..logits.len();
        let pairs = all
            .clone()
            .filter(|&i| labelled.passed[i])
            .flat_map(|i| all.clone().filter(|&j| !labelled.passed[j]).map(move |j| (i, j)));
        let pairs: Vec<(usize, usize)> = pairs.collect();
        let scale = pairwise / (pairs.len().max(1) * batch.len()) as f32;
        for (better, worse) in pairs {
            let margin = logits[better] - logits[worse];
            loss += f64::from(scale * softplus(-margin));
            let pull = scale * probability(-margin) as f32;
            gradient[better] -= pull;
            gradient[worse] += pull;
        }
    }
    (loss, correct, gradient)
}

/// `ln(1 + e^x)`, without overflow.
fn softplus(x: f32) -> f32 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}
