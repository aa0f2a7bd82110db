//! What can be wrong with a matrix or a product.

use gguf::BlockType;
use std::ops::Range;

/// A weight or a product that does not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Rows of the type are whole blocks.
    #[error("a row of {inputs} weights is not a whole number of {kind} blocks of {}", kind.block_elements())]
    PartialBlock {
        /// Type of the tensor.
        kind: BlockType,
        /// Weights of a row.
        inputs: usize,
    },
    /// The tensor has other bytes than its shape says.
    #[error("a {kind} tensor [{outputs}, {inputs}] does not have {found} bytes")]
    Bytes {
        /// Type of the tensor.
        kind: BlockType,
        /// Rows.
        outputs: usize,
        /// Weights of a row.
        inputs: usize,
        /// Bytes that were given.
        found: usize,
    },
    /// Weights of this type come from files only.
    #[error("weights are rounded to F32, F16, BF16 or Q8_0, not to {kind}")]
    NotMade {
        /// The type asked for.
        kind: BlockType,
    },
    /// There is no such row.
    #[error("row {index} of a matrix with {outputs}")]
    Row {
        /// The row asked for.
        index: usize,
        /// Rows of the matrix.
        outputs: usize,
    },
    /// A matrix of activations or results has another size.
    #[error("expected {rows} x {columns} numbers, found {found}")]
    Shape {
        /// Rows of the product.
        rows: usize,
        /// Numbers of a row.
        columns: usize,
        /// Numbers that were given.
        found: usize,
    },
    /// The activations are for another matrix.
    #[error(
        "a {kind} matrix with {inputs} inputs cannot take {} activations of {found} inputs",
        if *.quantized { "8-bit" } else { "single-precision" }
    )]
    Activations {
        /// Type of the matrix.
        kind: BlockType,
        /// Inputs of the matrix.
        inputs: usize,
        /// Inputs of the activations.
        found: usize,
        /// Whether the activations are rounded to 8 bits.
        quantized: bool,
    },
    /// Ranges of outputs start and end between panels, or end with the last output.
    #[error("outputs {range:?} of {outputs} are not whole panels of {}", crate::PANEL)]
    Range {
        /// The range asked for.
        range: Range<usize>,
        /// Outputs of the matrix.
        outputs: usize,
    },
}
