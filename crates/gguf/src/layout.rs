//! The layout of tensors in a file, and the checks that reader and writer share.

use crate::{BlockType, MAX_DIMENSIONS, MAX_NAME_BYTES, Problem, Value};

/// A tensor's entry in the tensor table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// 1 to [`MAX_NAME_BYTES`] bytes.
    pub name: String,
    /// Dimensions in GGUF's order: the first is the contiguous one. A matrix that PyTorch calls
    /// `[rows, columns]` is `[columns, rows]` here. At most [`MAX_DIMENSIONS`], each at least 1; an
    /// empty shape is a scalar.
    pub shape: Vec<usize>,
    /// The type of the elements; a row (the first dimension) consists of whole blocks.
    pub block_type: BlockType,
}

impl TensorInfo {
    /// Elements per row: the first dimension, or 1 for a scalar.
    pub fn row_elements(&self) -> usize {
        self.shape.first().copied().unwrap_or(1)
    }

    /// Validates the entry and returns the tensor's length in bytes.
    pub(crate) fn checked_bytes(&self) -> Result<usize, Problem> {
        check_name(&self.name)?;
        if self.shape.len() > MAX_DIMENSIONS {
            return Err(Problem::Dimensions(self.shape.len() as u64));
        }
        if let Some(dimension) = self.shape.iter().position(|&length| length == 0) {
            return Err(Problem::EmptyDimension(dimension));
        }
        let first = self.row_elements();
        if !first.is_multiple_of(self.block_type.block_elements()) {
            return Err(Problem::PartialBlock { first, block_type: self.block_type });
        }
        self.bytes()
            .ok_or_else(|| Problem::TooLarge(self.shape.iter().map(|&length| length as u64).collect()))
    }

    /// `None` if the data, as stored or as `f32`, does not fit into a slice.
    fn bytes(&self) -> Option<usize> {
        let elements = self.shape.iter().try_fold(1usize, |product, &length| product.checked_mul(length))?;
        let largest = isize::MAX as usize;
        (elements <= largest / size_of::<f32>()).then_some(())?;
        self.block_type.row_bytes(elements).filter(|&bytes| bytes <= largest)
    }
}

pub(crate) fn check_name(name: &str) -> Result<(), Problem> {
    match name.len() {
        1..=MAX_NAME_BYTES => Ok(()),
        length => Err(Problem::NameLength(length as u64)),
    }
}

/// The alignment in bytes that a value of `general.alignment` stands for.
pub(crate) fn alignment(value: &Value) -> Result<u32, Problem> {
    match *value {
        Value::U32(alignment) if alignment.is_power_of_two() => Ok(alignment),
        _ => Err(Problem::Alignment(value.describe())),
    }
}

/// The next multiple of the alignment; `None` on overflow.
pub(crate) fn align(position: usize, alignment: u32) -> Option<usize> {
    position.checked_next_multiple_of(alignment as usize)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test says by panicking what went wrong")]
mod tests {
    use super::*;

    fn bytes(shape: &[usize], block_type: BlockType) -> Result<usize, String> {
        let info = TensorInfo { name: "a".to_owned(), shape: shape.to_owned(), block_type };
        info.checked_bytes().map_err(|problem| problem.to_string())
    }

    #[test]
    fn shapes_are_checked() {
        assert_eq!(bytes(&[], BlockType::F16), Ok(2));
        assert_eq!(bytes(&[64, 3], BlockType::Q8_0), Ok(204));
        for (shape, expected) in [
            (&[][..], "the first dimension is 1, expected a multiple of 32, the block of Q8_0"),
            (&[48], "the first dimension is 48, expected a multiple of 32, the block of Q8_0"),
            (&[32, 0], "dimension 1 is 0, expected at least 1"),
            (&[32, 1, 1, 1, 1], "5 dimensions, expected at most 4"),
        ] {
            assert_eq!(bytes(shape, BlockType::Q8_0), Err(expected.to_owned()));
        }
        for shape in [&[usize::MAX][..], &[1 << 40, 1 << 40], &[1 << 62]] {
            assert!(bytes(shape, BlockType::F32).unwrap_err().contains("more bytes than"));
        }
    }

    #[test]
    fn alignments_are_powers_of_two() {
        assert_eq!(alignment(&Value::U32(64)).unwrap(), 64);
        for value in [Value::U32(0), Value::U32(24), Value::U64(32), "32".into()] {
            assert!(alignment(&value).is_err());
        }
        assert_eq!((align(0, 32), align(33, 32), align(usize::MAX, 32)), (Some(0), Some(64), None));
    }
}
