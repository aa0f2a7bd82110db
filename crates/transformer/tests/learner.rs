//! Training through `Device`: what is saved is enough to go on, and adapters leave the rest alone.

use std::collections::HashMap;
use transformer::device::{Device, Learner, Plan};
use transformer::head::Target;
use transformer::lora::LoraSettings;
use transformer::{Config, Cpu, Model, PackedBatch};

fn step(learner: &mut dyn Learner, at: u32) -> f64 {
    let mut batch = PackedBatch::default();
    let rows = batch.push_sequence(&[at % 7, 3, 9, at % 11, 5, 2]);
    let targets: Vec<Target> = rows.map(|row| Target { row, token: 10 + row as u32 }).collect();
    let found = learner.add_token_gradient(&batch, &targets, &mut |_, _| -1.0).expect("a gradient");
    let norm = learner.gradient_square().expect("a norm").sqrt();
    learner.update(1e-2, (1.0 / norm).min(1.0) as f32).expect("an update");
    found.iter().map(|prediction| -f64::from(prediction.log_probability)).sum()
}

#[test]
fn a_saved_state_goes_on_as_if_nothing_had_happened() {
    let model = Model::random(Config::tiny(), 3);
    let lora = LoraSettings { rank: 8, alpha: 16.0, ..LoraSettings::default() };
    for plan in [Plan::default(), Plan { lora, ..Plan::default() }] {
        let mut whole = Cpu::default().learner(model.clone(), &plan).expect("a learner");
        let mut first = Cpu::default().learner(model.clone(), &plan).expect("a learner");
        (0..4).for_each(|at| assert_eq!(step(&mut *whole, at), step(&mut *first, at)));
        let (steps, tensors) = first.state().expect("a state");
        assert_eq!(steps, 4);
        let saved: HashMap<String, Vec<f32>> =
            tensors.into_iter().map(|(name, tensor)| (name, tensor.into_owned())).collect();
        let mut second = Cpu::default().learner(model.clone(), &plan).expect("a learner");
        let mut read = |name: &str, tensor: &mut [f32]| {
            tensor.copy_from_slice(&saved[name]);
            Ok(())
        };
        second.set_state(steps, &mut read).expect("a state");
        (4..8).for_each(|at| assert_eq!(step(&mut *whole, at), step(&mut *second, at)));
        let (ours, theirs) = (second.model().expect("a model"), whole.model().expect("a model"));
        assert_eq!(ours.weights, theirs.weights);
        assert_ne!(ours.weights, model.weights);
        // Adapters change neither embedding nor norms.
        assert_eq!(plan.lora.rank > 0, ours.weights.embedding() == model.weights.embedding());
    }
}
