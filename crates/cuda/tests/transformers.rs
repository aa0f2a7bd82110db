//! A model of Qwen2.5-1.5B's shape against PyTorch and transformers on the same GPU: as near to the truth
//! (theirs in f32) as theirs in bf16 is. `tests/reference.py` makes the model and the values.

use safetensors::SafeTensors;
use std::ops::ControlFlow;
use std::path::PathBuf;
use transformer::decode::{Request, Settings, decode};
use transformer::device::{Device, Plan};
use transformer::head::Target;
use transformer::sampling::Sampling;
use transformer::table::Table;
use transformer::{Model, PackedBatch};

struct Reference<'a>(SafeTensors<'a>);

impl Reference<'_> {
    fn floats(&self, name: &str) -> Vec<f32> {
        let data = self.0.tensor(name).expect(name).data().to_vec();
        data.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().expect("4 bytes"))).collect()
    }

    fn integers(&self, name: &str) -> Vec<u32> {
        let data = self.0.tensor(name).expect(name).data().to_vec();
        data.chunks_exact(8)
            .map(|bytes| i64::from_le_bytes(bytes.try_into().expect("8 bytes")) as u32)
            .collect()
    }
}

fn error(found: &[f32], truth: &[f32]) -> f64 {
    assert_eq!(found.len(), truth.len());
    let norm = |numbers: &mut dyn Iterator<Item = f64>| numbers.map(|x| x * x).sum::<f64>().sqrt();
    norm(&mut found.iter().zip(truth).map(|(&a, &b)| f64::from(a) - f64::from(b)))
        / norm(&mut truth.iter().map(|&x| f64::from(x)))
}

/// Our error is theirs, give or take: half as much again, for sums in another order.
fn as_near(what: &str, ours: &[f32], truth: &[f32], theirs: &[f32]) {
    let (ours, theirs) = (error(ours, truth), error(theirs, truth));
    println!("{what}: error {ours:.2e}, transformers in bf16 {theirs:.2e}");
    assert!(ours < 1.5 * theirs + 1e-4, "{what}: {ours} {theirs}");
}

#[test]
fn a_model_of_qwens_shape_is_as_near_to_the_truth_as_transformers() {
    let Some(directory) = std::env::var_os("NCOMP_TEST_REFERENCE").map(PathBuf::from) else {
        eprintln!("skipped: NCOMP_TEST_REFERENCE names no directory that tests/reference.py made");
        return;
    };
    let cuda = cuda::Cuda::open(0).expect("a GPU");
    let bytes = std::fs::read(directory.join("reference.safetensors")).expect("reference values");
    let reference = Reference(SafeTensors::deserialize(&bytes).expect("a safetensors file"));
    let model = Model::load(&directory).expect("a model");
    let config = model.config.clone();
    let (mut batch, mut targets) = (PackedBatch::default(), Vec::new());
    let tokens = reference.integers("tokens");
    for sequence in tokens.chunks_exact(96) {
        let rows = batch.push_sequence(sequence);
        targets.extend(rows.zip(&sequence[1..]).map(|(row, &token)| Target { row, token }));
    }

    let mut reader = cuda.reader(model.clone()).expect("a reader");
    let rows: Vec<usize> = (0..batch.rows()).step_by(8).collect();
    let hidden = reader.hidden_rows(&batch, &rows).expect("hidden states");
    let logits = model.logits(&hidden);
    as_near("logits", &logits, &reference.floats("f32.logits"), &reference.floats("bf16.logits"));

    let request = Request { prompt: tokens[..40].to_vec(), samples: 1, stream: 0 };
    let settings = Settings { sampling: Sampling::GREEDY, max_new_tokens: 64, seed: 0, max_sequences: 1 };
    let mut greedy = Vec::new();
    let mut decoder = reader.decoder().expect("a decoder");
    let _ = decode(&mut *decoder, &[request], &settings, &|_| false, &mut |sample| {
        greedy = sample.tokens;
        ControlFlow::Continue(())
    })
    .expect("runs");
    let (expected, margins) = (reference.integers("greedy"), reference.floats("margin"));
    let same = greedy.iter().zip(&expected).take_while(|(a, b)| a == b).count();
    println!("{same} of 64 greedy tokens agree; the margin there: {:?}", margins.get(same));
    assert!(same == 64 || margins[same] < 0.1, "{same}: {}", margins[same]);
    drop(decoder);
    drop(reader);

    let mut learner = cuda.learner(model, &Plan::default()).expect("a learner");
    let scale = -1.0 / targets.len() as f32;
    let found = learner.add_token_gradient(&batch, &targets, &mut |_, _| scale).expect("a gradient");
    let loss: f32 = found.iter().map(|prediction| scale * prediction.log_probability).sum();
    let truth = reference.floats("f32.loss")[0];
    println!("loss {loss}, in f32 {truth}, transformers in bf16 {}", reference.floats("bf16.loss")[0]);
    assert!((loss - truth).abs() < 2e-2);
    learner.update(1e-6, 1.0).expect("an update");
    // AdamW's first moment after one step is a tenth of the gradient.
    let (_, state) = learner.state().expect("a state");
    for (tensor, part) in Table::of(&config).parts() {
        let name = |precision: &str| format!("{precision}.gradient.{}", part.hugging_face);
        if reference.0.tensor(&name("f32")).is_err() {
            continue;
        }
        let moment = state.iter().find(|(name, _)| *name == format!("first.{tensor}")).expect("a moment");
        let ours: Vec<f32> = moment.1[part.range.clone()].iter().map(|value| 10.0 * value).collect();
        let truth = reference.floats(&name("f32"));
        // A key's bias shifts all scores of a query alike: its gradient is zero but for rounding.
        if !part.hugging_face.ends_with("k_proj.bias") {
            as_near(&part.hugging_face, &ours, &truth, &reference.floats(&name("bf16")));
        }
    }
}
