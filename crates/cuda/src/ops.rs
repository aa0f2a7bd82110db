//! The kernels as functions: each one launch, on views whose sizes it asserts. What lies in buffers of
//! tokens, positions, rows and pages is the caller's to vouch for: the host does not see it.
//!
//! T is the number of rows, H the hidden size, Q the width of all query heads, QKV that of queries,
//! keys and values together, F the feed-forward width.

use crate::Error;
use crate::gpu::Gpu;
use crate::kernels::Kernels;
use crate::memory::{Buffer, View};
use crate::tiles::{KeyTile, QueryTile, tiles};
use std::sync::Arc;
use transformer::Config;

/// Parts of the rows that columns are summed over.
const COLUMN_PARTS: usize = 128;

/// Launches a kernel: name, grid, threads, arguments.
macro_rules! launch {
    ($ops:expr, $name:literal, $grid:expr, $threads:expr, $($argument:expr),+ $(,)?) => {{
        let mut arguments: Vec<*mut std::ffi::c_void> = Vec::new();
        $(let argument = $crate::memory::Argument::argument(&$argument);
        arguments.push((&raw const argument).cast_mut().cast());)+
        // SAFETY: the arguments are those that the kernel of this name takes, and views of as many numbers
        // as it touches, in buffers that are alive.
        unsafe { $ops.kernels.launch(&$ops.gpu, $name, $grid, $threads, &mut arguments) }
            .map_err(Error::failed(concat!("running ", $name)))
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
    /// Its largest position, plus one.
    longest: usize,
    /// Tokens, positions, tiles of queries, tiles of keys, one after the other.
    memory: Buffer<i32>,
    query_tiles: usize,
    key_tiles: usize,
}

impl DeviceBatch {
    /// Copies what the kernels need of a batch.
    pub fn upload(gpu: &Gpu, batch: &transformer::PackedBatch) -> Result<Self, Error> {
        let (queries, keys) = tiles(batch);
        let mut numbers: Vec<i32> = batch.tokens.iter().map(|&token| token as i32).collect();
        numbers.extend(batch.positions.iter().map(|&position| position as i32));
        numbers.extend(queries.iter().flatten());
        numbers.extend(keys.iter().flatten());
        Ok(DeviceBatch {
            rows: batch.rows(),
            longest: batch.longest(),
            memory: gpu.upload(&numbers, "a batch")?,
            query_tiles: queries.len(),
            key_tiles: keys.len(),
        })
    }

    /// Token of each row.
    pub fn tokens(&self) -> View<'_, i32> {
        self.memory.part(0..self.rows)
    }

    fn positions(&self) -> View<'_, i32> {
        self.memory.part(self.rows..2 * self.rows)
    }

    fn queries(&self) -> View<'_, i32> {
        self.memory.view().after(2 * self.rows).first(self.query_tiles * QUERY_TILE)
    }

    fn keys(&self) -> View<'_, i32> {
        let after = 2 * self.rows + self.query_tiles * QUERY_TILE;
        self.memory.view().after(after).first(self.key_tiles * KEY_TILE)
    }
}

/// Numbers of a tile of queries.
const QUERY_TILE: usize = size_of::<QueryTile>() / size_of::<i32>();
/// Numbers of a tile of keys.
const KEY_TILE: usize = size_of::<KeyTile>() / size_of::<i32>();

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

    /// Width of queries, keys and values together.
    fn qkv_size(&self) -> usize {
        (self.heads + 2 * self.key_heads) as usize * self.kernels.shape.head_dim
    }

    /// Width of all query heads.
    fn query_size(&self) -> usize {
        self.heads as usize * self.kernels.shape.head_dim
    }

    /// `out [T, H] = embedding[tokens]`
    pub fn embed(
        &self,
        embedding: View<u16>,
        tokens: View<i32>,
        rows: usize,
        width: usize,
        out: View<u16>,
    ) -> Result<(), Error> {
        launch!(
            self,
            "embed",
            (rows, 1),
            row_threads(width),
            embedding,
            tokens.first(rows),
            out.first(rows * width),
            width as i32
        )
    }

    /// Adds each row's gradient `[T, H]` to that of its token's embedding.
    pub fn embed_backward(
        &self,
        rows_gradient: View<u16>,
        tokens: &[u32],
        width: usize,
        gradient: View<f32>,
    ) -> Result<(), Error> {
        let largest = tokens.iter().max().map_or(0, |&token| token as usize + 1);
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
        let (tokens_at, rest) = (memory.part(0..distinct.len()), memory.view().after(distinct.len()));
        launch!(
            self,
            "embed_backward",
            (distinct.len(), 1),
            row_threads(width),
            rows_gradient.first(tokens.len() * width),
            tokens_at,
            rest.first(starts.len()),
            rest.after(starts.len()).first(order.len()),
            gradient.first(largest * width),
            width as i32
        )
    }

    /// Rotates queries and keys of `qkv [T, QKV]` in place; `backward` is the gradient of that.
    pub fn rotate(
        &self,
        qkv: View<u16>,
        batch: &DeviceBatch,
        table: View<f32>,
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
            qkv.first(batch.rows * self.qkv_size()),
            batch.positions(),
            table.first(batch.longest * self.kernels.shape.head_dim),
            batch.rows as i32,
            heads,
            self.qkv_size() as i32,
            direction
        )
    }

    /// `out [T, F] = silu(gate) * up` of `gate_up [T, 2 F]`.
    pub fn swiglu(&self, gate_up: View<u16>, rows: usize, width: usize, out: View<u16>) -> Result<(), Error> {
        let grid = (rows * width / 8).div_ceil(256);
        launch!(
            self,
            "swiglu",
            (grid, 1),
            256,
            gate_up.first(2 * rows * width),
            out.first(rows * width),
            rows as i32,
            width as i32
        )
    }

    /// Whether [`gate_up_swiglu`](Self::gate_up_swiglu) takes products of this shape.
    pub fn is_skinny(rows: usize, inputs: usize, width: usize) -> bool {
        rows <= 64 && inputs.is_multiple_of(64) && width.is_multiple_of(64)
    }

    /// `out [T, F] = silu(gate) up` of `[gate, up] = x weight'`, for few rows: in one pass over `weight
    /// [2 F, inputs]`.
    ///
    /// # Panics
    /// If the shape is none that [`is_skinny`](Self::is_skinny) takes.
    pub fn gate_up_swiglu(
        &self,
        x: View<u16>,
        weight: View<u16>,
        (rows, inputs, width): (usize, usize, usize),
        out: View<u16>,
    ) -> Result<(), Error> {
        assert!(Self::is_skinny(rows, inputs, width), "{rows} rows, {inputs} inputs, {width} features");
        launch!(
            self,
            "gate_up_swiglu",
            (width / 64, 1),
            128,
            x.first(rows * inputs),
            weight.first(2 * width * inputs),
            out.first(rows * width),
            rows as i32,
            inputs as i32,
            width as i32
        )
    }

    /// `gate_up` becomes its gradient, and `gradient [T, F]`, that of the output, the output itself.
    pub fn swiglu_backward(
        &self,
        gate_up: View<u16>,
        rows: usize,
        width: usize,
        gradient: View<u16>,
    ) -> Result<(), Error> {
        let grid = (rows * width / 8).div_ceil(256);
        launch!(
            self,
            "swiglu_backward",
            (grid, 1),
            256,
            gate_up.first(2 * rows * width),
            gradient.first(rows * width),
            rows as i32,
            width as i32
        )
    }

    /// `out[i] = x[rows[i]]`, rows of `width` numbers.
    pub fn gather(
        &self,
        x: View<u16>,
        rows: View<i32>,
        count: usize,
        width: usize,
        out: View<u16>,
    ) -> Result<(), Error> {
        launch!(
            self,
            "gather",
            (count, 1),
            row_threads(width),
            x,
            rows.first(count),
            out.first(count * width),
            width as i32
        )
    }

    /// `out[rows[i]] += x[i]`; no row twice.
    pub fn scatter_add(
        &self,
        x: View<u16>,
        rows: View<i32>,
        count: usize,
        width: usize,
        out: View<u16>,
    ) -> Result<(), Error> {
        launch!(
            self,
            "scatter_add",
            (count, 1),
            row_threads(width),
            x.first(count * width),
            rows.first(count),
            out,
            width as i32
        )
    }

    /// bf16 to f32: all of `x`, to the beginning of `out`.
    pub fn widen(&self, x: View<u16>, out: View<f32>) -> Result<(), Error> {
        let count = x.len();
        launch!(self, "widen", (count.div_ceil(256), 1), 256, x, out.first(count), count as i64)
    }

    /// f32 to bf16, rounded to nearest: all of `out`, from the beginning of `x`.
    pub fn narrow(&self, x: View<f32>, out: View<u16>) -> Result<(), Error> {
        let count = out.len();
        launch!(self, "narrow", (count.div_ceil(256), 1), 256, x.first(count), out, count as i64)
    }

    /// Normal numbers that depend on seed, tensor and place only.
    pub fn fill_normal(&self, out: View<f32>, seed: u32, tensor: u32, deviation: f32) -> Result<(), Error> {
        let count = out.len();
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
        x: View<u16>,
        rows: usize,
        width: usize,
        scratch: View<f32>,
        out: View<f32>,
    ) -> Result<(), Error> {
        let threads = 64;
        launch!(
            self,
            "column_sums",
            ((width / 8).div_ceil(threads), COLUMN_PARTS),
            threads,
            x.first(rows * width),
            scratch.first(COLUMN_PARTS * width),
            rows as i32,
            width as i32
        )?;
        self.add_partials(scratch, COLUMN_PARTS, width, out)
    }

    fn add_partials(
        &self,
        partial: View<f32>,
        parts: usize,
        width: usize,
        out: View<f32>,
    ) -> Result<(), Error> {
        let (partial, out) = (partial.first(parts * width), out.first(width));
        launch!(self, "add_partials", (width.div_ceil(128), 1), 128, partial, out, parts as i32, width as i32)
    }

    /// `out [T, Q] = softmax(q k' / root of the head's width) v`; `log_sum_exp [T, heads]` is kept.
    pub fn attention(
        &self,
        batch: &DeviceBatch,
        qkv: View<u16>,
        out: View<u16>,
        log_sum_exp: View<f32>,
    ) -> Result<(), Error> {
        launch!(
            self,
            "attention_forward",
            (batch.query_tiles, self.heads as usize),
            128,
            qkv.first(batch.rows * self.qkv_size()),
            out.first(batch.rows * self.query_size()),
            log_sum_exp.first(batch.rows * self.heads as usize),
            batch.queries(),
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
        qkv: View<u16>,
        out: View<u16>,
        log_sum_exp: View<f32>,
        out_gradient: View<u16>,
        delta: View<f32>,
        qkv_gradient: View<u16>,
    ) -> Result<(), Error> {
        let (heads, key_heads, scale) = (self.heads, self.key_heads, self.scale);
        let items = batch.rows * heads as usize;
        let (qkv, qkv_gradient) =
            (qkv.first(batch.rows * self.qkv_size()), qkv_gradient.first(batch.rows * self.qkv_size()));
        let out_gradient = out_gradient.first(batch.rows * self.query_size());
        let (log_sum_exp, delta) = (log_sum_exp.first(items), delta.first(items));
        launch!(
            self,
            "attention_delta",
            (items.div_ceil(4), 1),
            128,
            out.first(batch.rows * self.query_size()),
            out_gradient,
            delta,
            items as i32
        )?;
        launch!(
            self,
            "attention_backward_keys",
            (batch.key_tiles, key_heads as usize),
            128,
            qkv,
            out_gradient,
            log_sum_exp,
            delta,
            qkv_gradient,
            batch.keys(),
            heads,
            key_heads,
            scale
        )?;
        launch!(
            self,
            "attention_backward_queries",
            (batch.query_tiles, heads as usize),
            128,
            qkv,
            out_gradient,
            log_sum_exp,
            delta,
            qkv_gradient,
            batch.queries(),
            heads,
            key_heads,
            scale
        )
    }

    /// `statistics[row]` = log-probability of the row's target, entropy; `log_sum_exp[row]` is kept.
    pub fn predict(
        &self,
        logits: View<f32>,
        targets: View<i32>,
        (rows, vocabulary, stride): (usize, usize, usize),
        statistics: View<f32>,
        log_sum_exp: View<f32>,
    ) -> Result<(), Error> {
        let threads = (vocabulary / 4).next_multiple_of(32).clamp(32, 1024);
        launch!(
            self,
            "predict",
            (rows, 1),
            threads,
            logits.first(rows * stride),
            targets.first(rows),
            statistics.first(2 * rows),
            log_sum_exp.first(rows),
            vocabulary as i32,
            stride as i32
        )
    }

    /// `gradient [rows, stride] = weight * (one-hot(target) - probabilities)`
    pub fn loss_gradient(
        &self,
        logits: View<f32>,
        targets: View<i32>,
        log_sum_exp: View<f32>,
        weights: View<f32>,
        (rows, vocabulary, stride): (usize, usize, usize),
        gradient: View<u16>,
    ) -> Result<(), Error> {
        launch!(
            self,
            "loss_gradient",
            (rows, 1),
            row_threads(stride).max(64),
            logits.first(rows * stride),
            targets.first(rows),
            log_sum_exp.first(rows),
            weights.first(rows),
            gradient.first(rows * stride),
            vocabulary as i32,
            stride as i32
        )
    }

    /// The sum of squares of some numbers; waits for it.
    pub fn square_sum(&self, x: View<f32>) -> Result<f64, Error> {
        let blocks = 8 * self.gpu.multiprocessors();
        let partial = self.gpu.allocate::<f32>(blocks, "a sum")?;
        launch!(self, "square_sums", (blocks, 1), 256, x, partial.view(), x.len() as i64)?;
        let parts = self.gpu.read(partial.part(0..blocks))?;
        Ok(parts.into_iter().map(f64::from).sum())
    }
}

#[cfg(test)]
mod tests;
