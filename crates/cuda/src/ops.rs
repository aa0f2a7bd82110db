//! The kernels as functions: each one launch, on addresses whose sizes the caller vouches for.
//!
//! T is the number of rows, H the hidden size, Q the width of all query heads, QKV that of queries,
//! keys and values together, F the feed-forward width.

use crate::Error;
use crate::gpu::Gpu;
use crate::kernels::Kernels;
use crate::memory::{Address, Buffer};
use cudarc::driver::PushKernelArg;
use std::sync::Arc;
use transformer::Config;

/// Parts of the rows that columns are summed over.
const COLUMN_PARTS: usize = 128;

/// Launches a kernel: name, grid, threads, arguments.
macro_rules! launch {
    ($ops:expr, $name:literal, $grid:expr, $threads:expr, $($argument:expr),+ $(,)?) => {{
        let layout = $ops.kernels.layout($name, $grid, $threads);
        let mut builder = $ops.gpu.stream().launch_builder($ops.kernels.function($name));
        $(let argument = $argument; builder.arg(&argument);)+
        // SAFETY: the arguments are those that the kernel of this name takes, and the addresses lie in
        // buffers of the sizes that the caller says.
        unsafe { builder.launch(layout) }.map(|_| ()).map_err(Error::failed(concat!("running ", $name)))
    }};
}
pub(crate) use launch;

mod cache;
mod norms;

pub use cache::SlotCache;

/// A GPU with the kernels for one model's shape.
#[derive(Clone)]
pub struct Ops {
    pub(crate) gpu: Arc<Gpu>,
    pub(crate) kernels: Arc<Kernels>,
    heads: i32,
    key_heads: i32,
    scale: f32,
}

/// What a packed batch is to the kernels.
pub struct DeviceBatch {
    /// Number of rows.
    pub rows: usize,
    tokens: Address<i32>,
    positions: Address<i32>,
    queries: (Address<i32>, usize),
    keys: (Address<i32>, usize),
    _memory: Buffer<i32>,
}

impl DeviceBatch {
    /// Copies what the kernels need of a batch.
    pub fn upload(gpu: &Gpu, batch: &transformer::PackedBatch) -> Result<Self, Error> {
        let (queries, keys) = crate::tiles::tiles(batch);
        let mut numbers: Vec<i32> = batch.tokens.iter().map(|&token| token as i32).collect();
        numbers.extend(batch.positions.iter().map(|&position| position as i32));
        let queries_at = numbers.len();
        numbers.extend(queries.iter().flatten());
        let keys_at = numbers.len();
        numbers.extend(keys.iter().flatten());
        let memory = gpu.upload(&numbers, "a batch")?;
        Ok(DeviceBatch {
            rows: batch.rows(),
            tokens: memory.start(),
            positions: memory.at(batch.rows()),
            queries: (memory.at(queries_at), queries.len()),
            keys: (memory.at(keys_at), keys.len()),
            _memory: memory,
        })
    }

    /// Token of each row.
    pub fn tokens(&self) -> Address<i32> {
        self.tokens
    }
}

/// Threads that a row of so many numbers occupies, eight at a time.
fn row_threads(width: usize) -> usize {
    (width / 8).next_multiple_of(32).clamp(32, 256)
}

impl Ops {
    /// For a model's shape.
    pub fn new(gpu: &Arc<Gpu>, config: &Config) -> Result<Self, Error> {
        Ok(Ops {
            kernels: Arc::new(gpu.kernels(config)?),
            gpu: gpu.clone(),
            heads: config.num_attention_heads as i32,
            key_heads: config.num_key_value_heads as i32,
            scale: 1.0 / (config.head_dim as f32).sqrt(),
        })
    }

    fn qkv_size(&self) -> usize {
        (self.heads + 2 * self.key_heads) as usize * self.kernels.shape.head_dim
    }

    /// `out [T, H] = embedding[tokens]`
    pub fn embed(
        &self,
        embedding: Address<u16>,
        tokens: Address<i32>,
        rows: usize,
        width: usize,
        out: Address<u16>,
    ) -> Result<(), Error> {
        launch!(self, "embed", (rows, 1), row_threads(width), embedding, tokens, out, width as i32)
    }

    /// Adds each row's gradient `[T, H]` to that of its token's embedding.
    pub fn embed_backward(
        &self,
        rows_gradient: Address<u16>,
        tokens: &[u32],
        width: usize,
        gradient: Address<f32>,
    ) -> Result<(), Error> {
        let mut order: Vec<i32> = (0..tokens.len() as i32).collect();
        order.sort_by_key(|&row| tokens[row as usize]);
        let (mut distinct, mut starts) = (Vec::new(), Vec::new());
        for (at, &row) in order.iter().enumerate() {
            let token = tokens[row as usize] as i32;
            if distinct.last() != Some(&token) {
                distinct.push(token);
                starts.push(at as i32);
            }
        }
        starts.push(order.len() as i32);
        let numbers = [distinct.as_slice(), &starts, &order].concat();
        let memory = self.gpu.upload(&numbers, "a batch")?;
        let (starts_at, rows_at) = (memory.at(distinct.len()), memory.at(distinct.len() + starts.len()));
        launch!(
            self,
            "embed_backward",
            (distinct.len(), 1),
            row_threads(width),
            rows_gradient,
            memory.start(),
            starts_at,
            rows_at,
            gradient,
            width as i32
        )
    }

    /// Rotates queries and keys of `qkv [T, QKV]` in place; `backward` is the gradient of that.
    pub fn rotate(
        &self,
        qkv: Address<u16>,
        batch: &DeviceBatch,
        table: Address<f32>,
        backward: bool,
    ) -> Result<(), Error> {
        let heads = self.heads + self.key_heads;
        let warps = batch.rows * heads as usize;
        let direction = if backward { -1.0f32 } else { 1.0 };
        launch!(
            self,
            "rotate",
            (warps.div_ceil(4), 1),
            128,
            qkv,
            batch.positions,
            table,
            batch.rows as i32,
            heads,
            self.qkv_size() as i32,
            direction
        )
    }

    /// `out [T, F] = silu(gate) * up` of `gate_up [T, 2 F]`.
    pub fn swiglu(
        &self,
        gate_up: Address<u16>,
        rows: usize,
        width: usize,
        out: Address<u16>,
    ) -> Result<(), Error> {
        let grid = (rows * width / 8).div_ceil(256);
        launch!(self, "swiglu", (grid, 1), 256, gate_up, out, rows as i32, width as i32)
    }

    /// `gate_up` becomes its gradient, and `gradient [T, F]`, that of the output, the output itself.
    pub fn swiglu_backward(
        &self,
        gate_up: Address<u16>,
        rows: usize,
        width: usize,
        gradient: Address<u16>,
    ) -> Result<(), Error> {
        let grid = (rows * width / 8).div_ceil(256);
        launch!(self, "swiglu_backward", (grid, 1), 256, gate_up, gradient, rows as i32, width as i32)
    }

    /// `out[i] = x[rows[i]]`, rows of `width` numbers.
    pub fn gather(
        &self,
        x: Address<u16>,
        rows: Address<i32>,
        count: usize,
        width: usize,
        out: Address<u16>,
    ) -> Result<(), Error> {
        launch!(self, "gather", (count, 1), row_threads(width), x, rows, out, width as i32)
    }

    /// `out[rows[i]] += x[i]`; no row twice.
    pub fn scatter_add(
        &self,
        x: Address<u16>,
        rows: Address<i32>,
        count: usize,
        width: usize,
        out: Address<u16>,
    ) -> Result<(), Error> {
        launch!(self, "scatter_add", (count, 1), row_threads(width), x, rows, out, width as i32)
    }

    /// bf16 to f32.
    pub fn widen(&self, x: Address<u16>, out: Address<f32>, count: usize) -> Result<(), Error> {
        launch!(self, "widen", (count.div_ceil(256), 1), 256, x, out, count as i64)
    }

    /// f32 to bf16, rounded to nearest.
    pub fn narrow(&self, x: Address<f32>, out: Address<u16>, count: usize) -> Result<(), Error> {
        launch!(self, "narrow", (count.div_ceil(256), 1), 256, x, out, count as i64)
    }

    /// Normal numbers that depend on seed, tensor and place only.
    pub fn fill_normal(
        &self,
        out: Address<f32>,
        count: usize,
        seed: u32,
        tensor: u32,
        deviation: f32,
    ) -> Result<(), Error> {
        launch!(
            self,
            "fill_normal",
            (count.div_ceil(256), 1),
            256,
            out,
            count as i64,
            seed,
            tensor,
            deviation
        )
    }

    /// Rows of partial sums that a kernel with `scratch` for them writes, at most.
    pub fn sum_parts(&self) -> usize {
        self.norm_parts().max(COLUMN_PARTS)
    }

    /// `out[column] += sum over the rows of x [T, width]`; `scratch` holds `128 width` numbers.
    pub fn add_column_sums(
        &self,
        x: Address<u16>,
        rows: usize,
        width: usize,
        scratch: Address<f32>,
        out: Address<f32>,
    ) -> Result<(), Error> {
        let threads = 64;
        launch!(
            self,
            "column_sums",
            ((width / 8).div_ceil(threads), COLUMN_PARTS),
            threads,
            x,
            scratch,
            rows as i32,
            width as i32
        )?;
        self.add_partials(scratch, COLUMN_PARTS, width, out)
    }

    fn add_partials(
        &self,
        partial: Address<f32>,
        parts: usize,
        width: usize,
        out: Address<f32>,
    ) -> Result<(), Error> {
        launch!(self, "add_partials", (width.div_ceil(128), 1), 128, partial, out, parts as i32, width as i32)
    }

    /// `out [T, Q] = softmax(q k' / root of the head's width) v`; `log_sum_exp [T, heads]` is kept.
    pub fn attention(
        &self,
        batch: &DeviceBatch,
        qkv: Address<u16>,
        out: Address<u16>,
        log_sum_exp: Address<f32>,
    ) -> Result<(), Error> {
        launch!(
            self,
            "attention_forward",
            (batch.queries.1, self.heads as usize),
            128,
            qkv,
            out,
            log_sum_exp,
            batch.queries.0,
            self.heads,
            self.key_heads,
            self.scale
        )
    }

    /// The gradient of [`attention`](Self::attention)'s `qkv`, every number of it; `delta [T, heads]` is
    /// scratch.
    #[allow(clippy::too_many_arguments)]
    pub fn attention_backward(
        &self,
        batch: &DeviceBatch,
        qkv: Address<u16>,
        out: Address<u16>,
        log_sum_exp: Address<f32>,
        out_gradient: Address<u16>,
        delta: Address<f32>,
        qkv_gradient: Address<u16>,
    ) -> Result<(), Error> {
        let (heads, key_heads, scale) = (self.heads, self.key_heads, self.scale);
        let items = batch.rows * heads as usize;
        launch!(
            self,
            "attention_delta",
            (items.div_ceil(4), 1),
            128,
            out,
            out_gradient,
            delta,
            items as i32
        )?;
        launch!(
            self,
            "attention_backward_keys",
            (batch.keys.1, key_heads as usize),
            128,
            qkv,
            out_gradient,
            log_sum_exp,
            delta,
            qkv_gradient,
            batch.keys.0,
            heads,
            key_heads,
            scale
        )?;
        launch!(
            self,
            "attention_backward_queries",
            (batch.queries.1, heads as usize),
            128,
            qkv,
            out_gradient,
            log_sum_exp,
            delta,
            qkv_gradient,
            batch.queries.0,
            heads,
            key_heads,
            scale
        )
    }

    /// `statistics[row]` = log-probability of the row's target, entropy; `log_sum_exp[row]` is kept.
    pub fn predict(
        &self,
        logits: Address<f32>,
        targets: Address<i32>,
        (rows, vocabulary, stride): (usize, usize, usize),
        statistics: Address<f32>,
        log_sum_exp: Address<f32>,
    ) -> Result<(), Error> {
        let threads = (vocabulary / 4).next_multiple_of(32).clamp(32, 1024);
        launch!(
            self,
            "predict",
            (rows, 1),
            threads,
            logits,
            targets,
            statistics,
            log_sum_exp,
            vocabulary as i32,
            stride as i32
        )
    }

    /// `gradient [rows, stride] = weight * (one-hot(target) - probabilities)`
    pub fn loss_gradient(
        &self,
        logits: Address<f32>,
        targets: Address<i32>,
        log_sum_exp: Address<f32>,
        weights: Address<f32>,
        (rows, vocabulary, stride): (usize, usize, usize),
        gradient: Address<u16>,
    ) -> Result<(), Error> {
        launch!(
            self,
            "loss_gradient",
            (rows, 1),
            row_threads(stride).max(64),
            logits,
            targets,
            log_sum_exp,
            weights,
            gradient,
            vocabulary as i32,
            stride as i32
        )
    }

    /// The sum of squares of some numbers; waits for it.
    pub fn square_sum(&self, x: Address<f32>, count: usize) -> Result<f64, Error> {
        let blocks = 8 * self.gpu.multiprocessors();
        let partial = self.gpu.allocate::<f32>(blocks, "a sum")?;
        launch!(self, "square_sums", (blocks, 1), 256, x, partial.start(), count as i64)?;
        let parts = self.gpu.read(partial.start(), blocks)?;
        Ok(parts.into_iter().map(f64::from).sum())
    }
}

#[cfg(test)]
mod tests;
