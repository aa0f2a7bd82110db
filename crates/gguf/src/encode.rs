//! Encoding of all that precedes the tensor data: header, metadata, tensor table.

use crate::error::Fault;
use crate::{
    ALIGNMENT_KEY, Array, DEFAULT_ALIGNMENT, MAX_DEPTH, MAX_KEY_BYTES, Problem, TensorInfo, Value, layout,
};
use std::collections::HashSet;

/// The version of written files.
const VERSION: u32 = 3;

/// Everything before the tensor data, without the padding in between.
pub(crate) struct Head {
    pub(crate) bytes: Vec<u8>,
    pub(crate) alignment: u32,
    /// Each tensor's length in bytes.
    pub(crate) lengths: Vec<usize>,
}

/// Validates and encodes metadata and tensor table.
pub(crate) fn head(metadata: &[(&str, &Value)], tensors: &[TensorInfo]) -> Result<Head, Fault> {
    let mut bytes = b"GGUF".to_vec();
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend((tensors.len() as u64).to_le_bytes());
    bytes.extend((metadata.len() as u64).to_le_bytes());
    let alignment = entries(metadata, &mut bytes)?;
    let lengths = table(tensors, alignment, &mut bytes)?;
    Ok(Head { bytes, alignment, lengths })
}

/// Appends the metadata; returns the alignment that it sets.
fn entries(metadata: &[(&str, &Value)], bytes: &mut Vec<u8>) -> Result<u32, Fault> {
    let (mut keys, mut alignment) = (HashSet::new(), DEFAULT_ALIGNMENT);
    for (key, entry) in metadata {
        check_entry(key, entry, &mut keys).map_err(|problem| problem.at_key(key))?;
        if *key == ALIGNMENT_KEY {
            alignment = layout::alignment(entry).map_err(|problem| problem.at_key(key))?;
        }
        text(key, bytes);
        bytes.extend(entry.value_type().id().to_le_bytes());
        value(entry, bytes);
    }
    Ok(alignment)
}

fn check_entry<'a>(key: &'a str, value: &Value, keys: &mut HashSet<&'a str>) -> Result<(), Problem> {
    match key.len() {
        1..=MAX_KEY_BYTES => {}
        length => return Err(Problem::KeyLength(length as u64)),
    }
    match value {
        Value::Array(array) if is_deeper(array, MAX_DEPTH) => return Err(Problem::Depth),
        _ => {}
    }
    if keys.insert(key) { Ok(()) } else { Err(Problem::DuplicateKey) }
}

/// Whether an array is nested deeper than a limit.
fn is_deeper(array: &Array, limit: usize) -> bool {
    match array {
        _ if limit == 0 => true,
        Array::Arrays(arrays) => arrays.iter().any(|array| is_deeper(array, limit - 1)),
        _ => false,
    }
}

fn text(text: &str, bytes: &mut Vec<u8>) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text.as_bytes());
}

fn value(value: &Value, bytes: &mut Vec<u8>) {
    match value {
        Value::U8(value) => bytes.extend(value.to_le_bytes()),
        Value::I8(value) => bytes.extend(value.to_le_bytes()),
        Value::U16(value) => bytes.extend(value.to_le_bytes()),
        Value::I16(value) => bytes.extend(value.to_le_bytes()),
        Value::U32(value) => bytes.extend(value.to_le_bytes()),
        Value::I32(value) => bytes.extend(value.to_le_bytes()),
        Value::U64(value) => bytes.extend(value.to_le_bytes()),
        Value::I64(value) => bytes.extend(value.to_le_bytes()),
        Value::F32(value) => bytes.extend(value.to_le_bytes()),
        Value::F64(value) => bytes.extend(value.to_le_bytes()),
        Value::Bool(value) => bytes.push(u8::from(*value)),
        Value::String(value) => text(value, bytes),
        Value::Array(value) => array(value, bytes),
    }
}

fn array(array: &Array, bytes: &mut Vec<u8>) {
    bytes.extend(array.element_type().id().to_le_bytes());
    bytes.extend((array.len() as u64).to_le_bytes());
    match array {
        Array::U8(values) => bytes.extend(values),
        Array::I8(values) => numbers(values, i8::to_le_bytes, bytes),
        Array::U16(values) => numbers(values, u16::to_le_bytes, bytes),
        Array::I16(values) => numbers(values, i16::to_le_bytes, bytes),
        Array::U32(values) => numbers(values, u32::to_le_bytes, bytes),
        Array::I32(values) => numbers(values, i32::to_le_bytes, bytes),
        Array::U64(values) => numbers(values, u64::to_le_bytes, bytes),
        Array::I64(values) => numbers(values, i64::to_le_bytes, bytes),
        Array::F32(values) => numbers(values, f32::to_le_bytes, bytes),
        Array::F64(values) => numbers(values, f64::to_le_bytes, bytes),
        Array::Bool(values) => bytes.extend(values.iter().map(|&value| u8::from(value))),
        Array::Strings(values) => values.iter().for_each(|value| text(value, bytes)),
        Array::Arrays(values) => values.iter().for_each(|value| self::array(value, bytes)),
    }
}

fn numbers<T: Copy, const N: usize>(values: &[T], number: fn(T) -> [u8; N], bytes: &mut Vec<u8>) {
    bytes.extend(values.iter().flat_map(|&value| number(value)));
}

/// Appends the tensor table; returns each tensor's length in bytes.
fn table(tensors: &[TensorInfo], alignment: u32, bytes: &mut Vec<u8>) -> Result<Vec<usize>, Fault> {
    let (mut names, mut lengths, mut offset) = (HashSet::new(), Vec::new(), 0usize);
    for info in tensors {
        let at = |problem: Problem| problem.at_tensor(&info.name);
        let length = info.checked_bytes().map_err(at)?;
        if !names.insert(&info.name) {
            return Err(at(Problem::DuplicateTensor));
        }
        text(&info.name, bytes);
        bytes.extend((info.shape.len() as u32).to_le_bytes());
        bytes.extend(info.shape.iter().flat_map(|&length| (length as u64).to_le_bytes()));
        bytes.extend(info.block_type.id().to_le_bytes());
        bytes.extend((offset as u64).to_le_bytes());
        let end = offset.checked_add(length).and_then(|end| layout::align(end, alignment));
        let too_large = || Problem::TooLarge(info.shape.iter().map(|&length| length as u64).collect());
        offset = end.ok_or_else(|| at(too_large()))?;
        lengths.push(length);
    }
    Ok(lengths)
}
