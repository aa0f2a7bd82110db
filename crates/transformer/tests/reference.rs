//! The model against PyTorch and transformers; `reference/make.py` makes the values.

use safetensors::SafeTensors;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use transformer::Cpu;
use transformer::decode::{Decode, Request, Sample, Settings, decode};
use transformer::device::{Device, Plan};
use transformer::head::Target;
use transformer::optimizer::AdamWSettings;
use transformer::sampling::Sampling;
use transformer::table::Role;
use transformer::{Model, PackedBatch, Weights, Workspace};

const MODELS: [&str; 7] =
    ["tied-grouped", "untied-grouped", "untied-multihead", "qwen3", "llama3", "llama-linear", "smollm3"];

struct Reference {
    model: Model,
    bytes: Vec<u8>,
}

impl Reference {
    fn load(name: &str) -> Self {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference").join(name);
        let bytes = std::fs::read(directory.join("reference.safetensors")).expect("reference values");
        Reference { model: Model::load(&directory).expect("a model"), bytes }
    }

    fn tensors(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.bytes).expect("a safetensors file")
    }

    fn floats(&self, name: &str) -> Vec<f32> {
        let tensors = self.tensors();
        let view = tensors.tensor(name).expect(name);
        view.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().expect("4 bytes"))).collect()
    }

    fn integers(&self, name: &str) -> Vec<u32> {
        let tensors = self.tensors();
        let view = tensors.tensor(name).expect(name);
        let numbers = view.data().chunks_exact(8);
        numbers.map(|b| i64::from_le_bytes(b.try_into().expect("8 bytes")) as u32).collect()
    }

    /// The three sequences of 17 tokens, packed, and every next token as a target.
    fn batch(&self) -> (PackedBatch, Vec<Target>) {
        let (mut batch, mut targets) = (PackedBatch::default(), Vec::new());
        for sequence in self.integers("tokens").chunks_exact(17) {
            let rows = batch.push_sequence(sequence);
            let next = sequence[1..].iter().zip(rows);
            targets.extend(next.map(|(&token, row)| Target { row, token }));
        }
        (batch, targets)
    }

    fn gradient(&self, model: &Model, workspace: &mut Workspace) -> (f32, Weights) {
        let (batch, targets) = self.batch();
        let hidden = model.forward(&batch, workspace).to_vec();
        let mut gradient = Weights::zeros(&model.config);
        let mut hidden_gradient = Vec::new();
        let weight = -1.0 / targets.len() as f32;
        let found = model.loss_gradient(
            &hidden,
            &targets,
            &mut |_, _| weight,
            &mut hidden_gradient,
            Some(&mut gradient),
        );
        model.backward(&batch, hidden_gradient, 0, workspace, &mut gradient);
        let loss = found.iter().map(|prediction| weight * prediction.log_probability).sum();
        (loss, gradient)
    }
}

#[test]
fn logits_match_transformers() {
    for name in MODELS {
        let reference = Reference::load(name);
        let (batch, _) = reference.batch();
        let hidden = reference.model.forward(&batch, &mut Workspace::for_inference()).to_vec();
        let logits = reference.model.logits(&hidden);
        let expected = reference.floats("logits");
        assert_eq!(logits.len(), expected.len());
        let worst = logits.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-4, "{name}: {worst}");
    }
}

#[test]
fn gradients_of_every_parameter_match_pytorch() {
    for name in MODELS {
        let reference = Reference::load(name);
        let (_, gradient) = reference.gradient(&reference.model, &mut Workspace::for_training());
        compare_tensors(&reference, &gradient, "gradient.", 1e-3, name);
    }
}

#[test]
fn ten_adamw_steps_match_pytorch() {
    for name in MODELS {
        let reference = Reference::load(name);
        let optimizer = AdamWSettings { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weight_decay: 0.1 };
        let plan = Plan { optimizer, ..Plan::default() };
        let mut learner = Cpu::default().learner(reference.model.clone(), &plan).expect("a learner");
        let (batch, targets) = reference.batch();
        let weight = -1.0 / targets.len() as f32;
        for (step, expected) in reference.floats("losses").into_iter().enumerate() {
            let found = learner.add_token_gradient(&batch, &targets, &mut |_, _| weight).expect("a gradient");
            let loss: f32 = found.iter().map(|prediction| weight * prediction.log_probability).sum();
            assert!((loss - expected).abs() < 1e-4 * expected, "{name}, step {step}: {loss} {expected}");
            let norm = learner.gradient_square().expect("a norm").sqrt() as f32;
            learner.update(1e-3, (1.0 / (norm + 1e-6)).min(1.0)).expect("a step");
        }
        let trained = learner.model().expect("a model");
        compare_tensors(&reference, &trained.weights, "trained.", 1e-3, name);
    }
}

fn compare_tensors(reference: &Reference, ours: &Weights, prefix: &str, limit: f32, model: &str) {
    let tensors = ours.tensors();
    for (tensor, named) in ours.table().parts() {
        let ours = &tensors[tensor][named.range.clone()];
        let theirs = reference.floats(&format!("{prefix}{}", named.hugging_face));
        let norm = |values: &mut dyn Iterator<Item = f32>| values.map(|v| v * v).sum::<f32>().sqrt();
        let difference = norm(&mut ours.iter().zip(&theirs).map(|(a, b)| a - b));
        let size = norm(&mut theirs.iter().copied());
        // A key's bias shifts all scores of a query alike: its gradient is zero but for rounding.
        assert!(difference <= limit * size + 1e-6, "{model} {}: {difference} of {size}", named.hugging_face);
    }
}

fn sample(model: &Model, requests: &[Request], settings: &Settings) -> Vec<Sample> {
    let mut reader = Cpu::default().reader(model.clone()).expect("a reader");
    sample_by(&mut *reader.decoder().expect("a decoder"), requests, settings)
}

fn sample_by(decoder: &mut dyn Decode, requests: &[Request], settings: &Settings) -> Vec<Sample> {
    let mut samples = Vec::new();
    let ended = decode(decoder, requests, settings, &|_| false, &mut |sample| {
        samples.push(sample);
        ControlFlow::Continue(())
    });
    assert!(ended.expect("runs").is_continue());
    samples.sort_by_key(|sample| (sample.request, sample.index));
    samples
}

fn without_end_tokens(mut model: Model) -> Model {
    model.config.eos_token_ids.clear();
    model
}

#[test]
fn greedy_continuation_is_transformers() {
    for name in MODELS {
        let reference = Reference::load(name);
        let model = without_end_tokens(reference.model.clone());
        let request = Request { prompt: reference.integers("prompt"), samples: 1, stream: 0 };
        let settings = Settings { sampling: Sampling::GREEDY, max_new_tokens: 24, seed: 0, max_sequences: 1 };
        assert_eq!(sample(&model, &[request], &settings)[0].tokens, reference.integers("greedy"), "{name}");
    }
}

#[test]
fn a_sample_depends_on_its_seed_and_index_only() {
    let model = without_end_tokens(Reference::load("tied-grouped").model);
    let sampling = Sampling { temperature: 0.8, top_p: 0.95, ..Sampling::PLAIN };
    let request = |prompt: Vec<u32>, stream| Request { prompt, samples: 7, stream };
    let long: Vec<u32> = (0..70).map(|i| 1 + i % 40).collect();
    let requests = [request(vec![1, 2, 3], 0), request(long, 100), request(vec![4], 200)];
    let settings = |max_sequences| Settings { sampling, max_new_tokens: 40, seed: 5, max_sequences };
    let together = sample(&model, &requests, &settings(64));
    assert_eq!(together, sample(&model, &requests, &settings(3)));
    let alone = Request { prompt: vec![4], samples: 1, stream: 203 };
    let alone = sample(&model, &[alone], &settings(1)).remove(0);
    assert_eq!((alone.tokens, alone.log_probabilities), {
        let same = together[14 + 3].clone();
        (same.tokens, same.log_probabilities)
    });
    assert_ne!(together[0].tokens, together[1].tokens);
}

#[test]
fn a_decoder_serves_one_batch_after_the_other() {
    let model = without_end_tokens(Reference::load("tied-grouped").model);
    let sampling = Sampling { temperature: 0.8, top_p: 0.95, ..Sampling::PLAIN };
    let settings = Settings { sampling, max_new_tokens: 12, seed: 5, max_sequences: 4 };
    let mut reader = Cpu::default().reader(model.clone()).expect("a reader");
    let mut decoder = reader.decoder().expect("a decoder");
    for prompts in [vec![vec![1, 2, 3], vec![7; 40]], vec![vec![9, 8]], vec![vec![9, 8], vec![3, 4, 5]]] {
        let request = |(at, prompt)| Request { prompt, samples: 3, stream: 100 * at as u64 };
        let requests: Vec<Request> = prompts.into_iter().enumerate().map(request).collect();
        assert_eq!(sample_by(&mut *decoder, &requests, &settings), sample(&model, &requests, &settings));
    }
}

/// What decoding says of its own tokens is what a forward pass over them says.
#[test]
fn decoded_log_probabilities_are_the_models() {
    let model = without_end_tokens(Reference::load("untied-grouped").model);
    let prompt: Vec<u32> = (0..40).map(|i| 1 + i % 30).collect();
    let request = Request { prompt: prompt.clone(), samples: 3, stream: 0 };
    let sampling = Sampling { temperature: 1.3, top_p: 0.9, top_k: 20, ..Sampling::PLAIN };
    let settings = Settings { sampling, max_new_tokens: 50, seed: 1, max_sequences: 8 };
    let samples = sample(&model, &[request], &settings);
    // The samples share the prompt but for its last token, which each holds itself.
    let (last, prefix) = prompt.split_last().expect("a prompt");
    let continuations: Vec<Vec<u32>> =
        samples.iter().map(|s| [&[*last], &s.tokens[..s.tokens.len() - 1]].concat()).collect();
    let mut batch = PackedBatch::default();
    let rows = batch.push_tree(prefix, continuations.iter().map(Vec::as_slice));
    let targets = rows.into_iter().zip(&samples).flat_map(|(rows, sample)| {
        rows.zip(&sample.tokens).map(|(row, &token)| Target { row, token }).collect::<Vec<_>>()
    });
    let targets: Vec<Target> = targets.collect();
    let hidden = model.forward(&batch, &mut Workspace::for_inference()).to_vec();
    let predictions = model.predictions(&hidden, &targets);
    let decoded = samples.iter().flat_map(|sample| &sample.log_probabilities);
    for (prediction, decoded) in predictions.iter().zip(decoded) {
        // The cache holds 16-bit numbers, and this model's weights are large.
        assert!((prediction.log_probability - decoded).abs() < 2e-3, "{prediction:?} {decoded}");
    }
}

/// A shared prefix changes neither hidden states nor gradients.
#[test]
fn a_shared_prefix_gives_the_same_gradients() {
    let model = Reference::load("tied-grouped").model;
    let prefix = [3, 1, 4, 1, 5];
    let continuations = [vec![9, 2, 6], vec![5, 3, 5, 8], vec![9]];
    let run = |shared: bool| {
        let (mut batch, mut targets) = (PackedBatch::default(), Vec::new());
        let slices = || continuations.iter().map(Vec::as_slice);
        let rows = match shared {
            true => batch.push_tree(&prefix, slices()),
            false => slices()
                .map(|tokens| {
                    let all = batch.push_sequence(&[&prefix, tokens].concat());
                    all.start + prefix.len()..all.end
                })
                .collect(),
        };
        for rows in rows {
            targets.extend(rows.map(|row| Target { row, token: 7 }));
        }
        let mut workspace = Workspace::for_training();
        let hidden = model.forward(&batch, &mut workspace).to_vec();
        let (mut gradient, mut hidden_gradient) = (Weights::zeros(&model.config), Vec::new());
        model.loss_gradient(
            &hidden,
            &targets,
            &mut |i, _| 1.0 + i as f32,
            &mut hidden_gradient,
            Some(&mut gradient),
        );
        model.backward(&batch, hidden_gradient, 0, &mut workspace, &mut gradient);
        gradient
    };
    for (shared, apart) in run(true).tensors().into_iter().zip(run(false).tensors()) {
        for (a, b) in shared.iter().zip(apart) {
            assert!((a - b).abs() < 1e-3 * (1.0 + b.abs()), "{a} {b}");
        }
    }
}

/// Training only the upper layers gives them the gradients of full training.
#[test]
fn frozen_layers_leave_the_others_gradients_alone() {
    let reference = Reference::load("untied-multihead");
    let model = &reference.model;
    let (_, full) = reference.gradient(model, &mut Workspace::for_training());
    let (batch, targets) = reference.batch();
    let mut workspace = Workspace::for_training();
    let hidden = model.forward(&batch, &mut workspace).to_vec();
    let (mut gradient, mut hidden_gradient) = (Weights::zeros(&model.config), Vec::new());
    let weight = -1.0 / targets.len() as f32;
    model.loss_gradient(&hidden, &targets, &mut |_, _| weight, &mut hidden_gradient, None);
    model.backward(&batch, hidden_gradient, 1, &mut workspace, &mut gradient);
    for (index, info) in full.table().tensors().iter().enumerate() {
        let is_trained = info.layer == Some(1) || info.role == Role::FinalNorm;
        let expected = if is_trained { full.tensor(index) } else { &vec![0.0; info.len()] };
        assert_eq!(gradient.tensor(index), expected, "{info:?}");
    }
}

#[test]
fn a_model_survives_being_written_and_read() {
    let model = Model::random(transformer::Config::tiny(), 3);
    let directory = tempfile::tempdir().expect("a directory");
    model.save(directory.path(), Default::default()).expect("saved");
    let again = Model::load(directory.path()).expect("loaded");
    assert_eq!((again.config, again.weights), (model.config, model.weights));
}

#[test]
fn damage_is_named() {
    let model = Model::random(transformer::Config::tiny(), 3);
    let save = || {
        let directory = tempfile::tempdir().expect("a directory");
        model.save(directory.path(), Default::default()).expect("saved");
        directory
    };
    let message = |directory: &Path| Model::load(directory).expect_err("damaged").to_string();

    let cut = save();
    let file = cut.path().join("model.safetensors");
    let bytes = std::fs::read(&file).expect("read");
    std::fs::write(&file, &bytes[..bytes.len() / 2]).expect("cut off");
    let found = message(cut.path());
    assert!(found.contains("model.safetensors: tensor ") && found.contains("the file is cut"), "{found}");

    let other = save();
    let config = other.path().join("config.json");
    let text = std::fs::read_to_string(&config).expect("read");
    std::fs::write(&config, text.replace("\"hidden_size\": 32", "\"hidden_size\": 40")).expect("written");
    assert!(message(other.path()).contains("expected shape"), "{}", message(other.path()));
    std::fs::write(&config, text.replace("\"hidden_size\": 32", "\"hidden_size\": \"32\"")).expect("written");
    assert!(message(other.path()).contains("hidden_size: expected a positive integer"));
    std::fs::write(&config, text.replace("qwen2", "gemma")).expect("written");
    assert!(message(other.path()).contains("model_type"), "{}", message(other.path()));
    std::fs::remove_file(&config).expect("removed");
    std::fs::remove_file(other.path().join("model.safetensors")).expect("removed");
    assert!(message(other.path()).contains("the directory has neither"), "{}", message(other.path()));
    assert!(message(&PathBuf::from("/dev/null")).contains("found a pipe or a device"));
    assert!(message(&PathBuf::from("/nowhere")).contains("/nowhere/config.json"));
}
