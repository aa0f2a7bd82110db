//! The norms of rows and of heads.

use super::{Ops, row_threads};
use crate::Error;
use crate::memory::View;

impl Ops {
    /// `out [T, H] = x * weight / rms(x)`; `scale [T]` keeps one over the root mean square.
    pub fn rms_norm(
        &self,
        x: View<u16>,
        weight: View<u16>,
        (rows, width): (usize, usize),
        epsilon: f32,
        out: View<u16>,
        scale: View<f32>,
    ) -> Result<(), Error> {
        launch!(
            self,
            "rms_norm",
            (rows, 1),
            row_threads(width),
            x.first(rows * width),
            weight.first(width),
            out.first(rows * width),
            scale.first(rows),
            width as i32,
            epsilon
        )
    }

    /// Rows of partial sums that the gradients of norms write, at most.
    pub fn norm_parts(&self) -> usize {
        4 * self.gpu.multiprocessors()
    }

    /// Adds the gradient of [`rms_norm`](Self::rms_norm)'s input to `x_gradient` (or replaces it), and
    /// that of its weight to `weight_gradient` unless that is frozen; `scratch` holds `norm_parts H`
    /// numbers.
    #[allow(clippy::too_many_arguments)]
    pub fn rms_norm_backward(
        &self,
        gradient: View<u16>,
        x: View<u16>,
        weight: View<u16>,
        scale: View<f32>,
        (rows, width): (usize, usize),
        replace: bool,
        x_gradient: View<u16>,
        scratch: View<f32>,
        weight_gradient: Option<View<f32>>,
    ) -> Result<(), Error> {
        let parts = self.norm_parts().min(rows);
        launch!(
            self,
            "rms_norm_backward",
            (parts, 1),
            row_threads(width).max(128),
            gradient.first(rows * width),
            x.first(rows * width),
            weight.first(width),
            scale.first(rows),
            x_gradient.first(rows * width),
            scratch.first(parts * width),
            rows as i32,
            width as i32,
            i32::from(replace)
        )?;
        match weight_gradient {
            Some(out) => self.add_partials(scratch, parts, width, out),
            None => Ok(()),
        }
    }

    /// `out [T, QKV] = x`, each query and key head times its gain over its root mean square;
    /// `scale [T, query heads + key heads]` keeps one over the roots. `gains` are those of queries and of
    /// keys, as wide as a head.
    pub fn head_norms(
        &self,
        x: View<u16>,
        gains: (View<u16>, View<u16>),
        rows: usize,
        epsilon: f32,
        out: View<u16>,
        scale: View<f32>,
    ) -> Result<(), Error> {
        let warps = rows * (self.heads + 2 * self.key_heads) as usize;
        let (width, head_dim) = (self.qkv_size(), self.kernels.shape.head_dim);
        launch!(
            self,
            "head_norms",
            (warps.div_ceil(4), 1),
            128,
            x.first(rows * width),
            gains.0.first(head_dim),
            gains.1.first(head_dim),
            out.first(rows * width),
            scale.first(rows * (self.heads + self.key_heads) as usize),
            rows as i32,
            self.heads,
            self.key_heads,
            epsilon
        )
    }

    /// `gradient [T, QKV]`, that of [`head_norms`](Self::head_norms)' output, becomes that of its input;
    /// adds those of the gains to `gain_gradients` unless they are frozen. `scratch` holds `2 norm_parts
    /// head_dim` numbers.
    #[allow(clippy::too_many_arguments)]
    pub fn head_norms_backward(
        &self,
        x: View<u16>,
        gains: (View<u16>, View<u16>),
        scale: View<f32>,
        rows: usize,
        gradient: View<u16>,
        scratch: View<f32>,
        gain_gradients: (Option<View<f32>>, Option<View<f32>>),
    ) -> Result<(), Error> {
        let (parts, head_dim, width) =
            (self.norm_parts().min(rows), self.kernels.shape.head_dim, self.qkv_size());
        let scratch = scratch.first(2 * parts * head_dim);
        launch!(
            self,
            "head_norms_backward",
            (parts, 1),
            128,
            gradient.first(rows * width),
            x.first(rows * width),
            gains.0.first(head_dim),
            gains.1.first(head_dim),
            scale.first(rows * (self.heads + self.key_heads) as usize),
            scratch,
            rows as i32,
            self.heads,
            self.key_heads
        )?;
        let sums = [(gain_gradients.0, scratch), (gain_gradients.1, scratch.after(parts * head_dim))];
        for (target, partial) in sums {
            if let Some(target) = target {
                self.add_partials(partial, parts, head_dim, target)?;
            }
        }
        Ok(())
    }
}
