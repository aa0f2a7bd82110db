//! Parsing and validation of one file's bytes.

use crate::cursor::Cursor;
use crate::error::{Fault, foreign};
use crate::{
    ALIGNMENT_KEY, Array, BlockType, DEFAULT_ALIGNMENT, MAX_DEPTH, MAX_DIMENSIONS, MAX_KEY_BYTES, Place,
    Problem, Strings, TensorInfo, Value, ValueType, layout,
};
use std::collections::HashSet;
use std::ops::Range;

const MAGIC: &[u8; 4] = b"GGUF";
/// The fewest bytes of a metadata entry: an empty key's length, a value type, a byte.
const SMALLEST_ENTRY: u64 = 8 + 4 + 1;
/// The fewest bytes of an entry of the tensor table: an empty name's length, the number of
/// dimensions, a type, an offset.
const SMALLEST_TABLE_ENTRY: u64 = 8 + 4 + 4 + 8;
/// The fewest bytes of a string or an array: its length; an array's type and length.
const SMALLEST_STRING: u64 = 8;
const SMALLEST_ARRAY: u64 = 4 + 8;

/// The contents of a file.
#[derive(Debug)]
pub(crate) struct Contents {
    pub(crate) version: u32,
    pub(crate) alignment: u32,
    /// With distinct keys.
    pub(crate) metadata: Vec<(String, Value)>,
    /// With distinct names; the ranges are byte offsets inside the file and do not overlap.
    pub(crate) tensors: Vec<(TensorInfo, Range<usize>)>,
}

/// Parses and validates a whole file.
pub(crate) fn parse(bytes: &[u8]) -> Result<Contents, Fault> {
    if let Some(message) = foreign(&bytes[..bytes.len().min(64)]) {
        return Err(Problem::Foreign(message).into());
    }
    let mut cursor = Cursor::new(bytes);
    let version = version(&mut cursor)?;
    let (tensors, entries) = (cursor.u64()?, cursor.u64()?);
    let metadata = metadata(&mut cursor, entries)?;
    let alignment = match metadata.iter().find(|(key, _)| key == ALIGNMENT_KEY) {
        Some((key, value)) => layout::alignment(value).map_err(|problem| problem.at_key(key))?,
        None => DEFAULT_ALIGNMENT,
    };
    let table = table(&mut cursor, tensors, alignment)?;
    let tensors = ranges(table, cursor.position(), alignment, bytes.len())?;
    Ok(Contents { version, alignment, metadata, tensors })
}

/// The tensor table of a file's first bytes, past metadata of which nothing is kept.
pub(crate) fn parse_table(bytes: &[u8]) -> Result<Vec<TensorInfo>, Fault> {
    let mut cursor = Cursor::new(bytes);
    version(&mut cursor)?;
    let (tensors, entries) = (cursor.u64()?, cursor.u64()?);
    for number in 0..entries {
        let skipped = key(&mut cursor).and_then(|_| skip_value(&mut cursor));
        skipped.map_err(|problem| problem.at(Place::Entry(number)))?;
    }
    // Where data would start is not asked.
    let table = table(&mut cursor, tensors, 1)?;
    Ok(table.into_iter().map(|(info, ..)| info).collect())
}

fn skip_value(cursor: &mut Cursor<'_>) -> Result<(), Problem> {
    match value_type(cursor)? {
        ValueType::Array => skip_array(cursor, 1),
        kind => skip(cursor, kind, 1),
    }
}

fn skip_array(cursor: &mut Cursor<'_>, depth: usize) -> Result<(), Problem> {
    if depth > MAX_DEPTH {
        return Err(Problem::Depth);
    }
    let (kind, count) = (value_type(cursor)?, cursor.u64()?);
    match kind {
        ValueType::Array => (0..count).try_for_each(|_| skip_array(cursor, depth + 1)),
        kind => skip(cursor, kind, count),
    }
}

/// Skips values of a type that is no array.
fn skip(cursor: &mut Cursor<'_>, kind: ValueType, count: u64) -> Result<(), Problem> {
    let bytes = match kind {
        ValueType::Uint8 | ValueType::Int8 | ValueType::Bool => 1,
        ValueType::Uint16 | ValueType::Int16 => 2,
        ValueType::Uint32 | ValueType::Int32 | ValueType::Float32 => 4,
        ValueType::Uint64 | ValueType::Int64 | ValueType::Float64 => 8,
        ValueType::String | ValueType::Array => {
            return (0..count)
                .try_for_each(|_| cursor.u64().and_then(|length| cursor.take(length)).map(|_| ()));
        }
    };
    cursor.take(count.saturating_mul(bytes)).map(|_| ())
}

fn version(cursor: &mut Cursor<'_>) -> Result<u32, Problem> {
    let magic: [u8; 4] = cursor.array()?;
    if magic != *MAGIC {
        return Err(Problem::Magic(magic.to_vec()));
    }
    match cursor.u32()? {
        version @ (2 | 3) => Ok(version),
        // A small version number with its bytes swapped.
        version if version != 0 && version & 0xffff == 0 => Err(Problem::BigEndian),
        version => Err(Problem::Version(version)),
    }
}

fn metadata(cursor: &mut Cursor<'_>, count: u64) -> Result<Vec<(String, Value)>, Fault> {
    // No capacity: an entry takes more memory than its fewest bytes in the file.
    cursor.count(count, SMALLEST_ENTRY)?;
    let (mut entries, mut keys) = (Vec::new(), HashSet::new());
    for number in 0..count {
        let key = key(cursor).map_err(|problem| problem.at(Place::Entry(number)))?;
        room(&mut entries, 1)?;
        keys.try_reserve(1).map_err(|_| Problem::Memory(count))?;
        if !keys.insert(key) {
            return Err(Problem::DuplicateKey.at_key(key));
        }
        entries.push((key.to_owned(), value(cursor).map_err(|problem| problem.at_key(key))?));
    }
    Ok(entries)
}

/// Room for more, or an error where an allocation that fails would end the process.
fn room<T>(items: &mut Vec<T>, more: usize) -> Result<(), Problem> {
    let bytes = more.saturating_mul(size_of::<T>()) as u64;
    items.try_reserve(more).map_err(|_| Problem::Memory(bytes))
}

fn owned(text: &str) -> Result<String, Problem> {
    let mut copy = String::new();
    copy.try_reserve_exact(text.len()).map_err(|_| Problem::Memory(text.len() as u64))?;
    copy.push_str(text);
    Ok(copy)
}

fn key<'a>(cursor: &mut Cursor<'a>) -> Result<&'a str, Problem> {
    let key = cursor.text()?;
    match key.len() {
        1..=MAX_KEY_BYTES => Ok(key),
        length => Err(Problem::KeyLength(length as u64)),
    }
}

fn value_type(cursor: &mut Cursor<'_>) -> Result<ValueType, Problem> {
    let id = cursor.u32()?;
    ValueType::from_id(id).ok_or(Problem::ValueType(id))
}

fn value(cursor: &mut Cursor<'_>) -> Result<Value, Problem> {
    Ok(match value_type(cursor)? {
        ValueType::Uint8 => Value::U8(u8::from_le_bytes(cursor.array()?)),
        ValueType::Int8 => Value::I8(i8::from_le_bytes(cursor.array()?)),
        ValueType::Uint16 => Value::U16(u16::from_le_bytes(cursor.array()?)),
        ValueType::Int16 => Value::I16(i16::from_le_bytes(cursor.array()?)),
        ValueType::Uint32 => Value::U32(cursor.u32()?),
        ValueType::Int32 => Value::I32(i32::from_le_bytes(cursor.array()?)),
        ValueType::Uint64 => Value::U64(cursor.u64()?),
        ValueType::Int64 => Value::I64(i64::from_le_bytes(cursor.array()?)),
        ValueType::Float32 => Value::F32(f32::from_le_bytes(cursor.array()?)),
        ValueType::Float64 => Value::F64(f64::from_le_bytes(cursor.array()?)),
        ValueType::Bool => Value::Bool(boolean(u8::from_le_bytes(cursor.array()?))?),
        ValueType::String => Value::String(owned(cursor.text()?)?),
        ValueType::Array => Value::Array(array(cursor, 1)?),
    })
}

fn boolean(byte: u8) -> Result<bool, Problem> {
    match byte {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Problem::Bool(byte)),
    }
}

/// An array at a nesting depth, counted from 1.
fn array(cursor: &mut Cursor<'_>, depth: usize) -> Result<Array, Problem> {
    if depth > MAX_DEPTH {
        return Err(Problem::Depth);
    }
    let element_type = value_type(cursor)?;
    let count = cursor.u64()?;
    Ok(match element_type {
        ValueType::Uint8 => Array::U8(numbers(cursor, count, u8::from_le_bytes)?),
        ValueType::Int8 => Array::I8(numbers(cursor, count, i8::from_le_bytes)?),
        ValueType::Uint16 => Array::U16(numbers(cursor, count, u16::from_le_bytes)?),
        ValueType::Int16 => Array::I16(numbers(cursor, count, i16::from_le_bytes)?),
        ValueType::Uint32 => Array::U32(numbers(cursor, count, u32::from_le_bytes)?),
        ValueType::Int32 => Array::I32(numbers(cursor, count, i32::from_le_bytes)?),
        ValueType::Uint64 => Array::U64(numbers(cursor, count, u64::from_le_bytes)?),
        ValueType::Int64 => Array::I64(numbers(cursor, count, i64::from_le_bytes)?),
        ValueType::Float32 => Array::F32(numbers(cursor, count, f32::from_le_bytes)?),
        ValueType::Float64 => Array::F64(numbers(cursor, count, f64::from_le_bytes)?),
        ValueType::Bool => {
            let bytes = cursor.take(count)?.iter();
            let mut flags = Vec::new();
            room(&mut flags, bytes.len())?;
            for &byte in bytes {
                flags.push(boolean(byte)?);
            }
            Array::Bool(flags)
        }
        ValueType::String => Array::Strings(strings(cursor, count)?),
        ValueType::Array => Array::Arrays(arrays(cursor, count, depth)?),
    })
}

fn numbers<T, const N: usize>(
    cursor: &mut Cursor<'_>,
    count: u64,
    number: fn([u8; N]) -> T,
) -> Result<Vec<T>, Problem> {
    let bytes = cursor.take(count.saturating_mul(N as u64))?;
    let mut numbers = Vec::new();
    room(&mut numbers, bytes.len() / N)?;
    numbers.extend(bytes.as_chunks().0.iter().map(|&bytes| number(bytes)));
    Ok(numbers)
}

fn strings(cursor: &mut Cursor<'_>, count: u64) -> Result<Strings, Problem> {
    let count = cursor.count(count, SMALLEST_STRING)?;
    let mut strings = Strings::default();
    let bytes = count.saturating_mul(size_of::<usize>()) as u64;
    strings.try_reserve(count, 0).map_err(|_| Problem::Memory(bytes))?;
    for _ in 0..count {
        let text = cursor.text()?;
        strings.try_reserve(0, text.len()).map_err(|_| Problem::Memory(text.len() as u64))?;
        strings.push(text);
    }
    Ok(strings)
}

fn arrays(cursor: &mut Cursor<'_>, count: u64, depth: usize) -> Result<Vec<Array>, Problem> {
    let count = cursor.count(count, SMALLEST_ARRAY)?;
    let mut arrays = Vec::new();
    for _ in 0..count {
        room(&mut arrays, 1)?;
        arrays.push(array(cursor, depth + 1)?);
    }
    Ok(arrays)
}

/// The tensor table, with each tensor's length and its offset in the data section, in bytes.
fn table(
    cursor: &mut Cursor<'_>,
    count: u64,
    alignment: u32,
) -> Result<Vec<(TensorInfo, usize, u64)>, Fault> {
    cursor.count(count, SMALLEST_TABLE_ENTRY)?;
    let (mut table, mut names) = (Vec::new(), HashSet::new());
    for number in 0..count {
        let name = cursor.text().map_err(|problem| problem.at(Place::TableEntry(number)))?;
        layout::check_name(name).map_err(|problem| problem.at(Place::TableEntry(number)))?;
        room(&mut table, 1)?;
        names.try_reserve(1).map_err(|_| Problem::Memory(count))?;
        if !names.insert(name) {
            return Err(Problem::DuplicateTensor.at_tensor(name));
        }
        table.push(table_entry(cursor, name, alignment).map_err(|problem| problem.at_tensor(name))?);
    }
    Ok(table)
}

fn table_entry(
    cursor: &mut Cursor<'_>,
    name: &str,
    alignment: u32,
) -> Result<(TensorInfo, usize, u64), Problem> {
    let dimensions = cursor.u32()?;
    if dimensions as usize > MAX_DIMENSIONS {
        return Err(Problem::Dimensions(dimensions.into()));
    }
    let shape: Vec<u64> = (0..dimensions).map(|_| cursor.u64()).collect::<Result<_, _>>()?;
    let id = cursor.u32()?;
    let block_type = BlockType::from_id(id).ok_or(Problem::UnsupportedType(id))?;
    let offset = cursor.u64()?;
    if !offset.is_multiple_of(alignment.into()) {
        return Err(Problem::Offset { offset, alignment });
    }
    let lengths = shape.iter().map(|&length| usize::try_from(length)).collect::<Result<_, _>>();
    let shape = lengths.map_err(|_| Problem::TooLarge(shape))?;
    let info = TensorInfo { name: name.to_owned(), shape, block_type };
    let bytes = info.checked_bytes()?;
    Ok((info, bytes, offset))
}

/// Converts offsets in the data section to ranges of the file, and validates them.
fn ranges(
    table: Vec<(TensorInfo, usize, u64)>,
    table_end: usize,
    alignment: u32,
    file_length: usize,
) -> Result<Vec<(TensorInfo, Range<usize>)>, Fault> {
    // If the padding overflows, every tensor is beyond the end.
    let data_start = layout::align(table_end, alignment).unwrap_or(usize::MAX) as u64;
    let end = |(_, bytes, offset): &(TensorInfo, usize, u64)| {
        data_start.saturating_add(*offset).saturating_add(*bytes as u64)
    };
    if let Some(last) = table.iter().max_by_key(|entry| end(entry))
        && end(last) > file_length as u64
    {
        let problem = Problem::Truncated { length: file_length as u64, needed: end(last) };
        return Err(problem.at_tensor(&last.0.name));
    }
    // From here on, no sum exceeds the file's length.
    let ranged = table.into_iter().map(|(info, bytes, offset)| {
        let start = (data_start + offset) as usize;
        (info, start..start + bytes)
    });
    let tensors: Vec<_> = ranged.collect();
    check_overlaps(&tensors)?;
    Ok(tensors)
}

fn check_overlaps(tensors: &[(TensorInfo, Range<usize>)]) -> Result<(), Fault> {
    let mut by_start: Vec<_> = tensors.iter().collect();
    by_start.sort_by_key(|(_, range)| range.start);
    for pair in by_start.windows(2) {
        if pair[0].1.end > pair[1].1.start {
            return Err(Problem::Overlap(pair[0].0.name.clone()).at_tensor(&pair[1].0.name));
        }
    }
    Ok(())
}
