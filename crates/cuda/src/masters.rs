//! The f32 masters and moments of weights in training, and AdamW on them.

use crate::Error;
use crate::memory::Buffer;
use crate::network::Network;
use crate::ops::launch;
use crate::weights::download;
use std::borrow::Cow;
use std::ops::Range;
use transformer::Weights;
use transformer::checkpoint::ReadTensor;
use transformer::device::NamedTensors;
use transformer::optimizer::AdamWSettings;

/// Masters and moments of a stretch of the weights.
pub struct Masters {
    /// The stretch.
    pub trained: Range<usize>,
    settings: AdamWSettings,
    master: Buffer<f32>,
    first: Buffer<f32>,
    second: Buffer<f32>,
    /// Steps taken.
    pub steps: usize,
}

impl Masters {
    /// Masters that are the network's weights as bf16 has them.
    pub fn new(network: &Network, trained: Range<usize>, settings: AdamWSettings) -> Result<Self, Error> {
        let (gpu, count) = (&network.gpu, trained.len());
        let (free, _) = gpu.memory()?;
        // With the gradient, which whoever owns these keeps.
        if 16 * count > free {
            return Err(Error::OutOfMemory {
                what: format!("training {count} weights (16 bytes each)"),
                wanted: 16 * count,
                free,
                advice: "train adapters (optimizer.lora.rank), fewer layers, or a smaller model".into(),
            });
        }
        let master = gpu.zeros(count, "the masters of the weights")?;
        network.ops.widen(network.weights.part(trained.clone()), master.view())?;
        let first = gpu.zeros(count, "the optimiser's first moments")?;
        let second = gpu.zeros(count, "the optimiser's second moments")?;
        Ok(Masters { trained, settings, master, first, second, steps: 0 })
    }

    /// Takes the masters from weights in f32.
    pub fn set(&mut self, network: &Network, weights: &Weights) -> Result<(), Error> {
        for (tensor, place) in weights.tensors().into_iter().zip(network.places.tensors()) {
            if self.trained.contains(&place.start) {
                network.gpu.write(self.master.part(self.within(place)), tensor)?;
            }
        }
        network.gpu.synchronize()
    }

    /// Writes the masters to weights on the host.
    pub fn read(&self, network: &Network, weights: &mut Weights) -> Result<(), Error> {
        download(&network.gpu, &network.places, self.master.view(), &self.trained, weights)
    }

    /// One step of AdamW with the gradient times `scale`, over the stretches that decay and those that do
    /// not; clears the gradient.
    pub fn step(
        &mut self,
        network: &Network,
        gradient: &Buffer<f32>,
        learning_rate: f32,
        scale: f32,
    ) -> Result<(), Error> {
        self.steps += 1;
        let AdamWSettings { beta1, beta2, epsilon, weight_decay } = self.settings;
        let first_correction = 1.0 - beta1.powi(self.steps as i32);
        let second_correction = (1.0 - beta2.powi(self.steps as i32)).sqrt();
        let ops = &network.ops;
        for (stretch, decays) in self.stretches(network) {
            let (at, count) = (self.within(&stretch), stretch.len());
            let keep = if decays { 1.0 - learning_rate * weight_decay } else { 1.0 };
            let blocks = count.div_ceil(4 * 256).min(16 * network.gpu.multiprocessors());
            launch!(
                ops,
                "adamw",
                (blocks, 1),
                256,
                self.master.part(at.clone()),
                self.first.part(at.clone()),
                self.second.part(at.clone()),
                gradient.part(at),
                network.weights.part(stretch),
                count as i64,
                scale,
                learning_rate,
                beta1,
                beta2,
                epsilon,
                keep,
                first_correction,
                second_correction
            )?;
        }
        Ok(())
    }

    /// Where a place among the weights lies in these buffers.
    fn within(&self, place: &Range<usize>) -> Range<usize> {
        place.start - self.trained.start..place.end - self.trained.start
    }

    /// Neighbouring tensors that decay alike, as one; whole vectors, padding included.
    fn stretches(&self, network: &Network) -> Vec<(Range<usize>, bool)> {
        let without_decay = self.settings.weight_decay == 0.0;
        let mut stretches: Vec<(Range<usize>, bool)> = Vec::new();
        for (index, tensor) in network.table.tensors().iter().enumerate() {
            let (start, end) = (network.places.start(index), network.places.next(index));
            if !self.trained.contains(&start) {
                continue;
            }
            let decays = tensor.is_matrix();
            match stretches.last_mut() {
                Some((last, decay)) if *decay == decays || without_decay => last.end = end,
                _ => stretches.push((start..end, decays)),
            }
        }
        stretches
    }

    /// The moments of every tensor, by name; as on the CPU, what is not trained has none.
    pub fn moments(&self, network: &Network) -> Result<NamedTensors<'static>, Error> {
        let mut named = Vec::new();
        for (prefix, numbers) in [("first", &self.first), ("second", &self.second)] {
            for (index, place) in network.places.tensors().iter().enumerate() {
                let moment = match self.trained.contains(&place.start) {
                    true => network.gpu.read(numbers.part(self.within(place)))?,
                    false => Vec::new(),
                };
                named.push((format!("{prefix}.{index}"), Cow::Owned(moment)));
            }
        }
        Ok(named)
    }

    /// Takes the moments from what [`moments`](Self::moments) named.
    pub fn set_moments(
        &mut self,
        network: &Network,
        from: &mut ReadTensor,
    ) -> Result<(), transformer::Error> {
        for (prefix, numbers) in [("first", &self.first), ("second", &self.second)] {
            for (index, place) in network.places.tensors().iter().enumerate() {
                if self.trained.contains(&place.start) {
                    let mut tensor = vec![0.0; place.len()];
                    from(&format!("{prefix}.{index}"), &mut tensor)?;
                    network.gpu.write(numbers.part(self.within(place)), &tensor)?;
                }
            }
        }
        Ok(network.gpu.synchronize()?)
    }
}
