//! Matrix products with a model's weights on the processor.
//!
//! A decoder multiplies the same weights with few rows many times: its speed is that of reading
//! them, so a [`Matrix`] keeps them in the 4 to 16 bits of their file, in the order in which a
//! kernel reads them. [`Activations`] are rounded to 8 bits in blocks of 32 for weights of
//! integers, so that many rows run at the speed of integer products, and kept as they are for
//! weights of floating point.
//!
//! A row's result has the same bits whatever the other rows, the threads and the processor's
//! instructions are: sums of integers are exact, and everything else happens in one order
//! (`kernel`). `examples/products.rs` measures.
//!
//! ```
//! use cpu::{BlockType, Matrix};
//!
//! let weights: Vec<f32> = (0..64 * 32).map(|i| (i % 7) as f32 - 3.0).collect();
//! let matrix = Matrix::from_f32(BlockType::Q8_0, &weights, 64, 32)?;
//! let activations = matrix.activations(&[1.0; 2 * 32], 2)?;
//! let mut out = [0.0; 2 * 64];
//! matrix.multiply(&activations, &mut out)?;
//! assert_eq!(out[..64], out[64..]);
//! # Ok::<(), cpu::Error>(())
//! ```

mod activations;
mod block;
mod error;
mod kernel;
mod matrix;
mod panel;
mod product;
mod unpack;

pub use activations::Activations;
pub use block::{BLOCK, SUPER_BLOCK};
pub use error::Error;
pub use gguf::BlockType;
pub use kernel::Instructions;
pub use matrix::Matrix;
pub use panel::PANEL;
