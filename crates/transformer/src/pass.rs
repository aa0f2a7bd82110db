//! The whole model: forward and backward pass, readable from top to bottom, for every device.
//!
//! A device implements [`Operations`], and [`Gradients`] to train; what happens in which order is
//! written here only. In the comments, T is the number of rows, H the hidden size, Q the width of all
//! query heads, QKV that of queries, keys and values together, F the feed-forward width.

use crate::Config;
use crate::table::{Role, Table};

/// What a device computes, on buffers of its own. Tensors are named by their index in the [`Table`].
pub trait Operations {
    /// Activations `[T, width]`.
    type Rows;
    /// Single-precision numbers `[T, count]`.
    type Scales;
    /// What can go wrong.
    type Error;

    /// The model's shape.
    fn config(&self) -> &Config;

    /// The model's tensors.
    fn table(&self) -> &Table;

    /// T.
    fn rows(&self) -> usize;

    /// Is asked before buffers for so many rows are made; for devices whose memory ends.
    ///
    /// # Errors
    /// Where there is no room.
    fn reserve(&self, _keep: Keep, _rows: usize) -> Result<(), Self::Error> {
        Ok(())
    }

    /// A buffer `[rows, width]`.
    ///
    /// # Errors
    /// Where there is no room.
    fn allocate(&self, rows: usize, width: usize) -> Result<Self::Rows, Self::Error>;

    /// A buffer `[rows, width]`.
    ///
    /// # Errors
    /// Where there is no room.
    fn allocate_scales(&self, rows: usize, width: usize) -> Result<Self::Scales, Self::Error>;

    /// `out [T, H] = embedding[tokens]`
    ///
    /// # Errors
    /// Where the device fails, as for all that follow.
    fn embed(&mut self, out: &mut Self::Rows) -> Result<(), Self::Error>;

    /// `out [T, H] = gain x / rms(x)`; `scale [T]` keeps one over the root mean square.
    ///
    /// # Errors
    /// Where the device fails.
    fn norm(
        &mut self,
        x: &Self::Rows,
        gain: usize,
        out: &mut Self::Rows,
        scale: &mut Self::Scales,
    ) -> Result<(), Self::Error>;

    /// `out [T, outputs] = x [T, inputs] weight' + bias`
    ///
    /// # Errors
    /// Where the device fails.
    fn linear(
        &mut self,
        x: &Self::Rows,
        weight: usize,
        bias: Option<usize>,
        out: &mut Self::Rows,
    ) -> Result<(), Self::Error>;

    /// `out [T, outputs] = residual + x [T, inputs] weight'`
    ///
    /// # Errors
    /// Where the device fails.
    fn linear_add(
        &mut self,
        x: &Self::Rows,
        weight: usize,
        residual: &Self::Rows,
        out: &mut Self::Rows,
    ) -> Result<(), Self::Error>;

    /// `qkv [T, QKV] = projected`, each query and key head divided by its root mean square and
    /// multiplied with the gain; `scale [T, query heads + key heads]` keeps one over the roots.
    ///
    /// # Errors
    /// Where the device fails.
    fn head_norms(
        &mut self,
        projected: &Self::Rows,
        gains: (usize, usize),
        qkv: &mut Self::Rows,
        scale: &mut Self::Scales,
    ) -> Result<(), Self::Error>;

    /// Turns queries and keys with their positions, where the layer does, and attends:
    /// `out [T, Q] = softmax(q k' / √head_dim) v`; `log_sum_exp [T, query heads]` is kept.
    ///
    /// # Errors
    /// Where the device fails.
    fn attend(
        &mut self,
        layer: usize,
        qkv: &mut Self::Rows,
        out: &mut Self::Rows,
        log_sum_exp: &mut Self::Scales,
    ) -> Result<(), Self::Error>;

    /// `out [T, F] = silu(gate) up` of `gate_up [T, 2 F]`
    ///
    /// # Errors
    /// Where the device fails.
    fn swiglu(&mut self, gate_up: &Self::Rows, out: &mut Self::Rows) -> Result<(), Self::Error>;

    /// `out [T, F] = silu(gate) up` of `gate_up [T, 2 F] = x weight'`. A device may leave `gate_up` as it
    /// was where no backward pass follows.
    ///
    /// # Errors
    /// Where the device fails.
    fn gated(
        &mut self,
        x: &Self::Rows,
        weight: usize,
        gate_up: &mut Self::Rows,
        out: &mut Self::Rows,
    ) -> Result<(), Self::Error> {
        self.linear(x, weight, None, gate_up)?;
        self.swiglu(gate_up, out)
    }
}

/// What a device computes to train. Gradients of weights are added to a place that it knows; those of
/// what is frozen it may leave out.
pub trait Gradients: Operations {
    /// The gradient of [`norm`](Operations::norm): adds that of its input to `x_gradient`, or replaces
    /// it.
    ///
    /// # Errors
    /// Where the device fails, as for all that follow.
    fn norm_backward(
        &mut self,
        gradient: &Self::Rows,
        x: &Self::Rows,
        gain: usize,
        scale: &Self::Scales,
        replace: bool,
        x_gradient: &mut Self::Rows,
    ) -> Result<(), Self::Error>;

    /// `out [T, inputs] = gradient [T, outputs] weight`
    ///
    /// # Errors
    /// Where the device fails.
    fn linear_backward_input(
        &mut self,
        gradient: &Self::Rows,
        weight: usize,
        out: &mut Self::Rows,
    ) -> Result<(), Self::Error>;

    /// Adds `gradient' x` to the weight's gradient, and `gradient`'s sum over rows to the bias's.
    ///
    /// # Errors
    /// Where the device fails.
    fn linear_backward_weight(
        &mut self,
        gradient: &Self::Rows,
        x: &Self::Rows,
        weight: usize,
        bias: Option<usize>,
    ) -> Result<(), Self::Error>;

    /// `gate_up [T, 2 F]` becomes its gradient, and `gradient [T, F]`, that of
    /// [`swiglu`](Operations::swiglu)'s output, the output itself.
    ///
    /// # Errors
    /// Where the device fails.
    fn swiglu_backward(
        &mut self,
        gate_up: &mut Self::Rows,
        gradient: &mut Self::Rows,
    ) -> Result<(), Self::Error>;

    /// The gradient of [`attend`](Operations::attend) by its `qkv` before turning, to `qkv_gradient
    /// [T, QKV]`; `qkv` is as it was left there.
    ///
    /// # Errors
    /// Where the device fails.
    fn attend_backward(
        &mut self,
        layer: usize,
        qkv: &Self::Rows,
        out: &Self::Rows,
        log_sum_exp: &Self::Scales,
        out_gradient: &Self::Rows,
        qkv_gradient: &mut Self::Rows,
    ) -> Result<(), Self::Error>;

    /// `gradient`, that of [`head_norms`](Operations::head_norms)' output, becomes that of its input.
    ///
    /// # Errors
    /// Where the device fails.
    fn head_norms_backward(
        &mut self,
        projected: &Self::Rows,
        gains: (usize, usize),
        scale: &Self::Scales,
        gradient: &mut Self::Rows,
    ) -> Result<(), Self::Error>;

    /// Adds each row of `gradient [T, H]` to that of its token's embedding.
    ///
    /// # Errors
    /// Where the device fails.
    fn embed_backward(&mut self, gradient: &Self::Rows) -> Result<(), Self::Error>;
}

/// How much a forward pass keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Nothing: there will be no backward pass.
    Nothing,
    /// Every layer's activations.
    Everything,
    /// Every layer's input; the backward pass computes the rest again, layer by layer.
    Inputs,
}

impl Keep {
    /// Layers whose activations are kept, and inputs of layers.
    fn counts(self, layers: usize) -> (usize, usize) {
        match self {
            Keep::Nothing => (1, 2),
            Keep::Everything => (layers, layers + 1),
            Keep::Inputs => (1, layers + 1),
        }
    }
}

/// What one layer leaves for the backward pass.
struct Layer<R, S> {
    normed: R,                 // [T, H]
    input_scale: S,            // [T]
    projected: Option<(R, S)>, // [T, QKV] before the norms of heads, [T, query heads + key heads]
    qkv: R,                    // [T, QKV] after rotation
    attended: R,               // [T, Q]
    log_sum_exp: S,            // [T, query heads]
    middle: R,                 // [T, H] residual stream after attention
    middle_scale: S,           // [T]
    middle_normed: R,          // [T, H]
    gate_up: R,                // [T, 2 F]; the backward pass turns it into its gradient
}

/// What is there once, whatever the number of layers.
struct Shared<R, S> {
    activated: R,   // [T, F]; in the backward pass gradient of it, then itself
    final_scale: S, // [T]
    hidden: R,      // [T, H] after the final norm
}

struct Backward<R> {
    residual: R, // [T, H] gradient of the residual stream
    normed: R,   // [T, H]
    qkv: R,      // [T, QKV]
    attended: R, // [T, Q]
}

/// Buffers of the forward and backward pass, kept from batch to batch.
pub struct Workspace<R, S> {
    keep: Keep,
    /// Rows that there is room for.
    capacity: usize,
    layers: Vec<Layer<R, S>>,
    inputs: Vec<R>, // [T, H] residual stream before each layer, and after the last
    shared: Option<Shared<R, S>>,
    backward: Option<Backward<R>>,
}

impl<R, S> Workspace<R, S> {
    /// Buffers that grow with the batches they are used for.
    pub fn new(keep: Keep) -> Self {
        Workspace { keep, capacity: 0, layers: Vec::new(), inputs: Vec::new(), shared: None, backward: None }
    }

    /// Keeps every layer's activations, for a backward pass.
    pub fn for_training() -> Self {
        Self::new(Keep::Everything)
    }

    /// Uses one layer's buffers for all of them.
    pub fn for_inference() -> Self {
        Self::new(Keep::Nothing)
    }

    /// How much it keeps.
    pub fn keep(&self) -> Keep {
        self.keep
    }

    /// The hidden states of the last forward pass after the final norm, `[T, H]`; none before the first.
    pub fn hidden(&self) -> Option<&R> {
        self.shared.as_ref().map(|shared| &shared.hidden)
    }

    /// Makes room for passes over so many rows. Buffers stay where they are as long as no pass has more.
    ///
    /// # Errors
    /// Where there is no room.
    pub fn prepare<O: Operations<Rows = R, Scales = S>>(
        &mut self,
        ops: &O,
        rows: usize,
    ) -> Result<(), O::Error> {
        if self.capacity >= rows && self.shared.is_some() {
            return Ok(());
        }
        // The old ones go first: there may be no room for both.
        *self = Workspace::new(self.keep);
        ops.reserve(self.keep, rows)?;
        let config = ops.config().clone();
        let (kept, inputs) = self.keep.counts(config.num_hidden_layers);
        for _ in 0..kept {
            self.layers.push(Layer::new(ops, &config, rows)?);
        }
        for _ in 0..inputs {
            self.inputs.push(ops.allocate(rows, config.hidden_size)?);
        }
        self.shared = Some(Shared {
            activated: ops.allocate(rows, config.intermediate_size)?,
            final_scale: ops.allocate_scales(rows, 1)?,
            hidden: ops.allocate(rows, config.hidden_size)?,
        });
        if self.keep != Keep::Nothing {
            self.backward = Some(Backward {
                residual: ops.allocate(rows, config.hidden_size)?,
                normed: ops.allocate(rows, config.hidden_size)?,
                qkv: ops.allocate(rows, config.qkv_size())?,
                attended: ops.allocate(rows, config.query_size())?,
            });
        }
        self.capacity = rows;
        Ok(())
    }
}

impl<R, S> Layer<R, S> {
    fn new<O: Operations<Rows = R, Scales = S>>(
        ops: &O,
        config: &Config,
        rows: usize,
    ) -> Result<Self, O::Error> {
        let heads = config.num_attention_heads + config.num_key_value_heads;
        let projected = match config.architecture.has_head_norms() {
            true => Some((ops.allocate(rows, config.qkv_size())?, ops.allocate_scales(rows, heads)?)),
            false => None,
        };
        Ok(Layer {
            normed: ops.allocate(rows, config.hidden_size)?,
            input_scale: ops.allocate_scales(rows, 1)?,
            projected,
            qkv: ops.allocate(rows, config.qkv_size())?,
            attended: ops.allocate(rows, config.query_size())?,
            log_sum_exp: ops.allocate_scales(rows, config.num_attention_heads)?,
            middle: ops.allocate(rows, config.hidden_size)?,
            middle_scale: ops.allocate_scales(rows, 1)?,
            middle_normed: ops.allocate(rows, config.hidden_size)?,
            gate_up: ops.allocate(rows, 2 * config.intermediate_size)?,
        })
    }
}

/// Numbers that a [`Workspace`] holds for each row: activations, and scales.
pub fn numbers_per_row(config: &Config, keep: Keep) -> (usize, usize) {
    let (hidden, qkv, query) = (config.hidden_size, config.qkv_size(), config.query_size());
    let (kept, inputs) = keep.counts(config.num_hidden_layers);
    let heads = config.num_attention_heads + config.num_key_value_heads;
    let (mut layer, mut scales) =
        (3 * hidden + qkv + query + 2 * config.intermediate_size, 2 + config.num_attention_heads);
    if config.architecture.has_head_norms() {
        (layer, scales) = (layer + qkv, scales + heads);
    }
    let backward = if keep == Keep::Nothing { 0 } else { 2 * hidden + qkv + query };
    let once = inputs * hidden + hidden + config.intermediate_size + backward;
    (kept * layer + once, kept * scales + 1)
}

/// One of the buffers to read from, another to write to.
fn from_to<R>(buffers: &mut [R], from: usize, to: usize) -> (&R, &mut R) {
    if from < to {
        let (low, high) = buffers.split_at_mut(to);
        (&low[from], &mut high[0])
    } else {
        let (low, high) = buffers.split_at_mut(from);
        (&high[0], &mut low[to])
    }
}

/// Indices of one layer's tensors.
struct Place {
    input_norm: usize,
    qkv: usize,
    qkv_bias: Option<usize>,
    head_norms: Option<(usize, usize)>,
    attention_out: usize,
    feed_forward_norm: usize,
    gate_up: usize,
    down: usize,
}

impl Place {
    fn of(table: &Table, layer: usize) -> Self {
        let one = |role| table.of_layer(layer, role);
        Place {
            input_norm: one(Role::InputNorm),
            qkv: one(Role::Qkv),
            qkv_bias: table.layer(layer, Role::QkvBias),
            head_norms: table.layer(layer, Role::QueryNorm).zip(table.layer(layer, Role::KeyNorm)),
            attention_out: one(Role::AttentionOut),
            feed_forward_norm: one(Role::FeedForwardNorm),
            gate_up: one(Role::GateUp),
            down: one(Role::Down),
        }
    }
}

/// Hidden states after the final norm, `[T, H]`, in the workspace.
///
/// # Errors
/// Where the device fails.
pub fn forward<O: Operations>(
    ops: &mut O,
    workspace: &mut Workspace<O::Rows, O::Scales>,
) -> Result<(), O::Error> {
    workspace.prepare(ops, ops.rows())?;
    let Workspace { layers, inputs, shared, .. } = workspace;
    let Some(shared) = shared else { return Ok(()) }; // There since `prepare`.
    ops.embed(&mut inputs[0])?;
    let count = ops.config().num_hidden_layers;
    for layer in 0..count {
        let place = Place::of(ops.table(), layer);
        let (from, to) = (layer % inputs.len(), (layer + 1) % inputs.len());
        let (input, next) = from_to(inputs, from, to);
        let kept = layer.min(layers.len() - 1);
        let kept = &mut layers[kept];
        attention(ops, layer, &place, input, kept)?;
        // next = middle + down(swiglu(gate_up(norm(middle))))
        middle_norm(ops, &place, kept)?;
        ops.gated(&kept.middle_normed, place.gate_up, &mut kept.gate_up, &mut shared.activated)?;
        ops.linear_add(&shared.activated, place.down, &kept.middle, next)?;
    }
    let (last, norm) = (&inputs[count % inputs.len()], ops.table().final_norm());
    ops.norm(last, norm, &mut shared.hidden, &mut shared.final_scale)
}

/// middle = input + attention_out(attend(head_norms(qkv(norm(input)))))
fn attention<O: Operations>(
    ops: &mut O,
    layer: usize,
    place: &Place,
    input: &O::Rows,
    kept: &mut Layer<O::Rows, O::Scales>,
) -> Result<(), O::Error> {
    ops.norm(input, place.input_norm, &mut kept.normed, &mut kept.input_scale)?;
    match (&mut kept.projected, place.head_norms) {
        (Some((projected, scale)), Some(gains)) => {
            ops.linear(&kept.normed, place.qkv, place.qkv_bias, projected)?;
            ops.head_norms(projected, gains, &mut kept.qkv, scale)?;
        }
        _ => ops.linear(&kept.normed, place.qkv, place.qkv_bias, &mut kept.qkv)?,
    }
    ops.attend(layer, &mut kept.qkv, &mut kept.attended, &mut kept.log_sum_exp)?;
    ops.linear_add(&kept.attended, place.attention_out, input, &mut kept.middle)
}

/// middle_normed = norm(middle)
fn middle_norm<O: Operations>(
    ops: &mut O,
    place: &Place,
    kept: &mut Layer<O::Rows, O::Scales>,
) -> Result<(), O::Error> {
    ops.norm(&kept.middle, place.feed_forward_norm, &mut kept.middle_normed, &mut kept.middle_scale)
}

/// Adds what the loss's gradient by the hidden states, `[T, H]`, gives for every weight of layers
/// `first_layer..`, of the final norm, and, if `first_layer` is 0, of the embedding. Must follow a
/// [`forward`] of the same rows with a workspace that keeps what is needed; it consumes what that left.
///
/// # Errors
/// Where the device fails.
///
/// # Panics
/// If the workspace kept nothing.
pub fn backward<O: Gradients>(
    ops: &mut O,
    hidden_gradient: &O::Rows,
    first_layer: usize,
    workspace: &mut Workspace<O::Rows, O::Scales>,
) -> Result<(), O::Error> {
    let Workspace { keep, layers, inputs, shared, backward, .. } = workspace;
    let (Some(shared), Some(buffers)) = (shared, backward) else {
        panic!("a backward pass needs a workspace made for training, after a forward pass")
    };
    let (count, norm) = (ops.config().num_hidden_layers, ops.table().final_norm());
    let last = &inputs[count];
    ops.norm_backward(hidden_gradient, last, norm, &shared.final_scale, true, &mut buffers.residual)?;
    for layer in (first_layer..count).rev() {
        let (place, input) = (Place::of(ops.table(), layer), &inputs[layer]);
        let kept = &mut layers[if *keep == Keep::Everything { layer } else { 0 }];
        if *keep == Keep::Inputs {
            attention(ops, layer, &place, input, kept)?;
            middle_norm(ops, &place, kept)?;
            ops.linear(&kept.middle_normed, place.gate_up, None, &mut kept.gate_up)?;
        }
        feed_forward_backward(ops, &place, kept, &mut shared.activated, buffers)?;
        attention_backward(ops, layer, &place, input, kept, buffers)?;
    }
    if first_layer == 0 {
        ops.embed_backward(&buffers.residual)?;
    }
    Ok(())
}

/// Through residual += down(swiglu(gate_up(norm(middle)))).
fn feed_forward_backward<O: Gradients>(
    ops: &mut O,
    place: &Place,
    kept: &mut Layer<O::Rows, O::Scales>,
    activated: &mut O::Rows,
    buffers: &mut Backward<O::Rows>,
) -> Result<(), O::Error> {
    let Backward { residual, normed, .. } = buffers;
    ops.linear_backward_input(residual, place.down, activated)?;
    ops.swiglu_backward(&mut kept.gate_up, activated)?;
    ops.linear_backward_weight(residual, activated, place.down, None)?;
    ops.linear_backward_weight(&kept.gate_up, &kept.middle_normed, place.gate_up, None)?;
    ops.linear_backward_input(&kept.gate_up, place.gate_up, normed)?;
    let (gain, scale) = (place.feed_forward_norm, &kept.middle_scale);
    ops.norm_backward(normed, &kept.middle, gain, scale, false, residual)
}

/// Through residual += attention_out(attend(head_norms(qkv(norm(input))))).
fn attention_backward<O: Gradients>(
    ops: &mut O,
    layer: usize,
    place: &Place,
    input: &O::Rows,
    kept: &Layer<O::Rows, O::Scales>,
    buffers: &mut Backward<O::Rows>,
) -> Result<(), O::Error> {
    let Backward { residual, normed, qkv, attended } = buffers;
    ops.linear_backward_input(residual, place.attention_out, attended)?;
    ops.linear_backward_weight(residual, &kept.attended, place.attention_out, None)?;
    ops.attend_backward(layer, &kept.qkv, &kept.attended, &kept.log_sum_exp, attended, qkv)?;
    if let (Some((projected, scale)), Some(gains)) = (&kept.projected, place.head_norms) {
        ops.head_norms_backward(projected, gains, scale, qkv)?;
    }
    ops.linear_backward_weight(qkv, &kept.normed, place.qkv, place.qkv_bias)?;
    ops.linear_backward_input(qkv, place.qkv, normed)?;
    ops.norm_backward(normed, input, place.input_norm, &kept.input_scale, false, residual)
}
