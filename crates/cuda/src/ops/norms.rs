//! The norms of rows and of heads.

use super::{Ops, row_threads};
use crate::Error;
use crate::memory::Address;
use cudarc::driver::PushKernelArg;

impl Ops {
    /// `out [T, H] = x * weight / rms(x)`; `scale [T]` keeps one over the root mean square.
    pub fn rms_norm(
        &self,
        x: Address<u16>,
        weight: Address<u16>,
        (rows, width): (usize, usize),
        epsilon: f32,
        out: Address<u16>,
        scale: Address<f32>,
    ) -> Result<(), Error> {
        launch!(self, "rms_norm", (rows, 1), row_threads(width), x, weight, out, scale, width as i32, epsilon)
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
        gradient: Address<u16>,
        x: Address<u16>,
        weight: Address<u16>,
        scale: Address<f32>,
        (rows, width): (usize, usize),
        replace: bool,
        x_gradient: Address<u16>,
        scratch: Address<f32>,
        weight_gradient: Option<Address<f32>>,
    ) -> Result<(), Error> {
        let parts = self.norm_parts().min(rows);
        launch!(
            self,
            "rms_norm_backward",
            (parts, 1),
            row_threads(width).max(128),
            gradient,
            x,
            weight,
            scale,
            x_gradient,
            scratch,
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
        x: Address<u16>,
        gains: (Address<u16>, Address<u16>),
        rows: usize,
        epsilon: f32,
        out: Address<u16>,
        scale: Address<f32>,
    ) -> Result<(), Error> {
        let warps = rows * (self.heads + 2 * self.key_heads) as usize;
        launch!(
            self,
            "head_norms",
            (warps.div_ceil(4), 1),
            128,
            x,
            gains.0,
            gains.1,
            out,
            scale,
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
        x: Address<u16>,
        gains: (Address<u16>, Address<u16>),
        scale: Address<f32>,
        rows: usize,
        gradient: Address<u16>,
        scratch: Address<f32>,
        gain_gradients: (Option<Address<f32>>, Option<Address<f32>>),
    ) -> Result<(), Error> {
        let (parts, width) = (self.norm_parts().min(rows), self.kernels.shape.head_dim);
        launch!(
            self,
            "head_norms_backward",
            (parts, 1),
            128,
            gradient,
            x,
            gains.0,
            gains.1,
            scale,
            scratch,
            rows as i32,
            self.heads,
            self.key_heads
        )?;
        let sums = [(gain_gradients.0, scratch), (gain_gradients.1, scratch.offset(parts * width))];
        for (target, partial) in sums {
            if let Some(target) = target {
                self.add_partials(partial, parts, width, target)?;
            }
        }
        Ok(())
    }
}
