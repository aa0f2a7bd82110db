//! The types of tensors: how many numbers a block holds, in how many bytes.

use std::fmt;

macro_rules! block_types {
    ($($(#[$documentation:meta])* $variant:ident $name:literal = $id:literal, $elements:literal in $bytes:literal;)*) => {
        /// The type of a tensor, ggml's `ggml_type`.
        ///
        /// A row is a sequence of blocks. A quantized block holds a scale `d`, for some types further
        /// scales, and small integers `q`. `d`, `e` and `m` are half precision; everything is little
        /// endian. Source of the layouts: ggml's `ggml-common.h`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum BlockType {
            $($(#[$documentation])* $variant,)*
        }

        impl BlockType {
            /// All supported types, in ascending order of [`id`](BlockType::id).
            pub const ALL: &[BlockType] = &[$(BlockType::$variant),*];

            /// The type's number in files.
            pub const fn id(self) -> u32 {
                match self { $(BlockType::$variant => $id,)* }
            }

            /// The type with this number in files; `None` if it is not supported.
            pub const fn from_id(id: u32) -> Option<BlockType> {
                match id { $($id => Some(BlockType::$variant),)* _ => None }
            }

            /// ggml's name of the type.
            pub const fn name(self) -> &'static str {
                match self { $(BlockType::$variant => $name,)* }
            }

            /// Elements per block.
            pub const fn block_elements(self) -> usize {
                match self { $(BlockType::$variant => $elements,)* }
            }

            /// Bytes per block.
            pub const fn block_bytes(self) -> usize {
                match self { $(BlockType::$variant => $bytes,)* }
            }
        }
    };
}

block_types! {
    /// Single precision.
    F32 "F32" = 0, 1 in 4;
    /// Half precision.
    F16 "F16" = 1, 1 in 2;
    /// `d · (q - 8)`: d, then 16 bytes; byte i holds element i in its low and element i + 16 in its
    /// high four bits.
    Q4_0 "Q4_0" = 2, 32 in 18;
    /// `d · q + m`: d, m, 16 bytes as in `Q4_0`.
    Q4_1 "Q4_1" = 3, 32 in 20;
    /// `d · (q - 16)`: d, a `u32` of the fifth bits (bit i: element i), 16 bytes as in `Q4_0`.
    Q5_0 "Q5_0" = 6, 32 in 22;
    /// `d · q + m`: d, m, fifth bits as in `Q5_0`, 16 bytes as in `Q4_0`.
    Q5_1 "Q5_1" = 7, 32 in 24;
    /// `d · q`: d, 32 signed bytes.
    Q8_0 "Q8_0" = 8, 32 in 34;
    /// `d · s · q - e · m`, with six-bit s and m for each 32 elements: d, e, 12 bytes that pack s and m,
    /// 128 bytes of q; each 32 bytes hold 32 elements in their low and the next 32 in their high bits.
    Q4K "Q4_K" = 12, 256 in 144;
    /// As `Q4_K`, with 32 bytes of fifth bits before q: bit j of byte i is of element 32 j + i.
    Q5K "Q5_K" = 13, 256 in 176;
    /// `d · s · (q - 32)`, with s for each 16 elements: 128 bytes with the low four and 64 bytes with
    /// the high two bits of q, 16 signed bytes s, d.
    Q6K "Q6_K" = 14, 256 in 210;
    /// The upper half of single precision.
    Bf16 "BF16" = 30, 1 in 2;
}

impl BlockType {
    /// Bytes that a number of elements takes; `None` if they are not whole blocks or on overflow.
    pub const fn row_bytes(self, elements: usize) -> Option<usize> {
        if !elements.is_multiple_of(self.block_elements()) {
            return None;
        }
        (elements / self.block_elements()).checked_mul(self.block_bytes())
    }
}

impl fmt::Display for BlockType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// A conversion between numbers and blocks that cannot be done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    /// The number of bytes does not match the number of elements.
    #[error(
        "{bytes} bytes for {elements} elements of {block_type}, expected {} bytes a block of {}",
        .block_type.block_bytes(), .block_type.block_elements()
    )]
    Length {
        /// The type of the blocks.
        block_type: BlockType,
        /// The number of elements given.
        elements: usize,
        /// The number of bytes given.
        bytes: usize,
    },
    /// Quantization to this type is not implemented.
    #[error("quantization to {0} is not implemented; choose F32, F16, BF16 or Q8_0")]
    Unimplemented(BlockType),
}

/// Checks that `elements` elements take exactly `bytes` bytes.
pub(crate) fn check_row(block_type: BlockType, elements: usize, bytes: usize) -> Result<(), RowError> {
    match block_type.row_bytes(elements) {
        Some(expected) if expected == bytes => Ok(()),
        _ => Err(RowError::Length { block_type, elements, bytes }),
    }
}

/// The names of all supported types, for an error message.
pub(crate) fn supported() -> String {
    let names: Vec<_> = BlockType::ALL.iter().map(|block_type| block_type.name()).collect();
    names.join(", ")
}

/// A type's number, with ggml's name if it has one, for an error message.
pub(crate) fn describe(id: u32) -> String {
    let name = BlockType::from_id(id).map(BlockType::name);
    match name.or_else(|| unsupported_name(id)) {
        Some(name) => format!("{id} ({name})"),
        None => id.to_string(),
    }
}

/// ggml's name of a type that this crate does not support.
fn unsupported_name(id: u32) -> Option<&'static str> {
    Some(match id {
        4 => "Q4_2",
        5 => "Q4_3",
        9 => "Q8_1",
        10 => "Q2_K",
        11 => "Q3_K",
        15 => "Q8_K",
        16 => "IQ2_XXS",
        17 => "IQ2_XS",
        18 => "IQ3_XXS",
        19 => "IQ1_S",
        20 => "IQ4_NL",
        21 => "IQ3_S",
        22 => "IQ2_S",
        23 => "IQ4_XS",
        24 => "I8",
        25 => "I16",
        26 => "I32",
        27 => "I64",
        28 => "F64",
        29 => "IQ1_M",
        31 => "Q4_0_4_4",
        32 => "Q4_0_4_8",
        33 => "Q4_0_8_8",
        34 => "TQ1_0",
        35 => "TQ2_0",
        39 => "MXFP4",
        40 => "NVFP4",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_types_correspond() {
        for &block_type in BlockType::ALL {
            assert_eq!(BlockType::from_id(block_type.id()), Some(block_type));
            assert_eq!(unsupported_name(block_type.id()), None);
        }
        assert_eq!(describe(23), "23 (IQ4_XS)");
        assert_eq!(describe(77), "77");
    }

    #[test]
    fn rows_are_whole_blocks() {
        assert_eq!(BlockType::Q4K.row_bytes(512), Some(288));
        assert_eq!(BlockType::Q4K.row_bytes(300), None);
        assert_eq!(BlockType::F32.row_bytes(usize::MAX), None);
        assert_eq!(BlockType::Q8_0.row_bytes(0), Some(0));
    }
}
