//! Pages of the KV cache: which are free, and who has them.

use crate::Error;
use crate::gpu::Gpu;
use crate::kernels::{PAGE, Shape};
use crate::memory::{Buffer, View};
use std::sync::Arc;
use transformer::Config;

/// The pages of all layers. Page `p` of every layer belongs to the same sequence.
pub struct Pages {
    memory: Buffer<u16>,
    free: Vec<u32>,
    layer_numbers: usize,
}

/// A prompt's pages and the logits that follow it, shared by its samples.
pub struct Prefix {
    /// Its pages, in order.
    pub pages: Vec<u32>,
    /// Its tokens.
    pub length: usize,
    /// Logits of several prompts: `[prompts, stride]`.
    pub logits: Arc<Buffer<f32>>,
    /// Its row there.
    pub row: usize,
}

/// bf16 numbers of a page in one layer: keys and values of all key heads.
fn page_numbers(config: &Config) -> usize {
    let cache_dim = config.head_dim.next_multiple_of(32);
    debug_assert!(Shape::of(config).is_ok_and(|shape| shape.cache_dim() == cache_dim));
    config.num_key_value_heads * 2 * PAGE * cache_dim
}

impl Pages {
    /// Bytes of a page over all layers.
    pub fn bytes_of_one(config: &Config) -> usize {
        2 * config.num_hidden_layers * page_numbers(config)
    }

    /// So many free pages.
    pub fn new(gpu: &Gpu, config: &Config, count: usize) -> Result<Self, Error> {
        let layer_numbers = count * page_numbers(config);
        let memory =
            gpu.allocate(config.num_hidden_layers * layer_numbers, "the cache of keys and values")?;
        Ok(Pages { memory, free: (0..count as u32).rev().collect(), layer_numbers })
    }

    /// A layer's pages.
    pub fn layer(&self, layer: usize) -> View<'_, u16> {
        self.memory.part(layer * self.layer_numbers..(layer + 1) * self.layer_numbers)
    }

    /// Pages that nobody has.
    pub fn free(&self) -> usize {
        self.free.len()
    }

    /// Takes pages; the caller has asked [`free`](Self::free) before.
    pub fn take(&mut self, count: usize) -> Vec<u32> {
        self.free.split_off(self.free.len().saturating_sub(count))
    }

    /// Gives pages back. Steps that are still on their way may write them; whoever has them next
    /// writes later, since all work is done in order.
    pub fn give_back(&mut self, pages: Vec<u32>) {
        self.free.extend(pages);
    }

    /// Gives a prompt's pages back if nobody else holds it.
    pub fn release(&mut self, prefix: Arc<Prefix>) {
        if let Some(prefix) = Arc::into_inner(prefix) {
            self.give_back(prefix.pages);
        }
    }
}
