//! The header of a safetensors file, read so that an error names the tensor.
//!
//! The format: the header's length (8 bytes, little endian), a header in JSON with type, shape and place of
//! each tensor, then the numbers, without gaps and without overlaps.

use crate::error::{not_a_model, quoted};
use safetensors::Dtype;
use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::Value;
use std::fmt;
use std::ops::Range;

/// Bytes of the number that a file begins with: its header's length.
const LENGTH_BYTES: usize = 8;
/// More than any model's header (the reference's limit).
const LONGEST_HEADER: usize = 100_000_000;
/// What to do about a damaged file.
const ADVICE: &str = "fetch it again";

/// One tensor of a file.
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) kind: Dtype,
    pub(super) shape: Vec<usize>,
    /// Its bytes in the file.
    pub(super) range: Range<usize>,
}

/// Reads and checks the header of a whole file.
///
/// # Errors
/// Names the tensor and field, what was expected, and what to do.
pub(super) fn read(bytes: &[u8]) -> Result<Vec<Entry>, String> {
    if let Some(message) = not_a_model(&bytes[..bytes.len().min(64)]) {
        return Err(message.to_owned());
    }
    let (header, start) = header(bytes)?;
    let fields = Fields::read(header)?;
    let data = bytes.len() - start;
    let mut entries = Vec::with_capacity(fields.0.len());
    for (name, value) in &fields.0 {
        if name != "__metadata__" {
            let entry = entry(value, data)
                .map_err(|message| format!("tensor {}: {message}; {ADVICE}", quoted(name)))?;
            let (kind, shape, range) = entry;
            entries.push(Entry { name: name.clone(), kind, shape, range });
        }
    }
    check_places(&mut entries, data)?;
    for entry in &mut entries {
        entry.range = entry.range.start + start..entry.range.end + start;
    }
    Ok(entries)
}

/// The header's text, and where the data starts.
fn header(bytes: &[u8]) -> Result<(&[u8], usize), String> {
    let cut = |needed: usize| {
        format!(
            "the file ends after {} of at least {needed} bytes of a safetensors file; {ADVICE}",
            bytes.len()
        )
    };
    let length = bytes.first_chunk::<LENGTH_BYTES>().ok_or_else(|| cut(LENGTH_BYTES + 2))?;
    let length = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX);
    if length > LONGEST_HEADER {
        return Err(format!("not a safetensors file: its header would have {length} bytes; {ADVICE}"));
    }
    let start = LENGTH_BYTES + length;
    bytes.get(LENGTH_BYTES..start).map(|header| (header, start)).ok_or_else(|| cut(start))
}

/// Type, shape and place of a tensor, its place counted from the start of the data.
fn entry(value: &Value, data: usize) -> Result<(Dtype, Vec<usize>, Range<usize>), String> {
    let found = |name: &str| quoted(&value[name].to_string());
    let kind = serde_json::from_value::<Dtype>(value["dtype"].clone())
        .map_err(|_| format!("dtype: expected F32, F16 or BF16, found {}", found("dtype")))?;
    let numbers = |name: &str| -> Option<Vec<usize>> {
        let all = value[name].as_array()?;
        all.iter().map(|number| usize::try_from(number.as_u64()?).ok()).collect()
    };
    let shape = numbers("shape")
        .ok_or_else(|| format!("shape: expected a list of sizes, found {}", found("shape")))?;
    let place = numbers("data_offsets");
    let Some(&[start, end]) = place.as_deref() else {
        return Err(format!(
            "data_offsets: expected its start and end in bytes, found {}",
            found("data_offsets")
        ));
    };
    if start > end {
        return Err(format!("data_offsets: expected its start before its end, found {start} and {end}"));
    }
    if end > data {
        return Err(format!(
            "its data ends at byte {end}, but the file has {data} bytes of data: the file is cut"
        ));
    }
    let bits = shape.iter().try_fold(kind.bitsize(), |bits, size| bits.checked_mul(*size));
    if bits != (end - start).checked_mul(8) {
        let needed =
            bits.map_or("more bytes than there can be".to_owned(), |bits| format!("{} bytes", bits / 8));
        return Err(format!(
            "data_offsets: shape {shape:?} in {kind:?} takes {needed}, found {}",
            end - start
        ));
    }
    Ok((kind, shape, start..end))
}

/// Tensors lie side by side and fill the file.
fn check_places(entries: &mut [Entry], data: usize) -> Result<(), String> {
    entries.sort_by_key(|entry| (entry.range.start, entry.range.end));
    let mut end = 0;
    for entry in &*entries {
        if entry.range.start != end {
            let what =
                if entry.range.start < end { "overlaps the tensor before it" } else { "follows a gap" };
            return Err(format!("tensor {}: its data {what}; {ADVICE}", quoted(&entry.name)));
        }
        end = entry.range.end;
    }
    match end == data {
        true => Ok(()),
        false => {
            Err(format!("the tensors have {end} bytes, but the file has {data} bytes of data; {ADVICE}"))
        }
    }
}

/// The fields of the header in their order, each once.
struct Fields(Vec<(String, Value)>);

impl Fields {
    fn read(header: &[u8]) -> Result<Self, String> {
        let wrong = |message: String| format!("not a safetensors file: its header is {message}; {ADVICE}");
        let text = std::str::from_utf8(header).map_err(|_| wrong("not UTF-8".to_owned()))?;
        let mut reader = serde_json::Deserializer::from_str(text);
        let fields = reader.deserialize_map(Each).map_err(|error| match error.is_data() {
            true => wrong("no JSON object".to_owned()),
            false => wrong(format!("no JSON ({error})")),
        })?;
        let mut names: Vec<&str> = fields.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        match names.windows(2).find(|pair| pair[0] == pair[1]) {
            None => Ok(Fields(fields)),
            Some(pair) => Err(format!("tensor {}: appears twice in the header; {ADVICE}", quoted(pair[0]))),
        }
    }
}

/// Takes fields one by one: a map would keep the last of those that appear twice.
struct Each;

impl<'de> Visitor<'de> for Each {
    type Value = Vec<(String, Value)>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = map.next_entry()? {
            fields.push(field);
        }
        Ok(fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, data: usize) -> Vec<u8> {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(header.as_bytes());
        bytes.resize(bytes.len() + data, 0);
        bytes
    }

    fn refused(header: &str) -> String {
        read(&file(header, 16)).map(drop).expect_err(header)
    }

    const A: &str = r#""a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}"#;
    const B: &str = r#""b": {"dtype": "BF16", "shape": [2, 2], "data_offsets": [8, 16]}"#;

    #[test]
    fn a_sound_header_is_read() {
        let header = format!("{{\"__metadata__\": {{\"format\": \"pt\"}}, {B}, {A}}}  ");
        let entries = read(&file(&header, 16)).expect("sound");
        let start = 8 + header.len();
        let found: Vec<_> =
            entries.iter().map(|entry| (entry.name.as_str(), entry.kind, entry.range.clone())).collect();
        assert_eq!(found, [("a", Dtype::F32, start..start + 8), ("b", Dtype::BF16, start + 8..start + 16)]);
        assert_eq!(entries[1].shape, [2, 2]);
    }

    #[test]
    fn an_error_names_the_tensor() {
        for (from, to, expected) in [
            ("\"F32\"", "\"bogus\"", "tensor a: dtype: expected F32, F16 or BF16, found \"bogus\""),
            ("\"F32\"", "7", "tensor a: dtype: "),
            ("\"F32\"", "\"F64\"", "tensor a: data_offsets: shape [2] in F64 takes 16 bytes, found 8"),
            ("[2],", "[-1],", "tensor a: shape: expected a list of sizes, found [-1]"),
            ("[2],", "null,", "tensor a: shape: "),
            ("[2],", "[9223372036854775808, 9223372036854775808],", "tensor a: data_offsets: shape"),
            ("[0, 8]", "[0]", "tensor a: data_offsets: expected its start and end"),
            ("[0, 8]", "[8, 0]", "tensor a: data_offsets: expected its start before its end, found 8 and 0"),
            ("[0, 8]", "[9, 17]", "tensor a: its data ends at byte 17, but the file has 16 bytes"),
            ("[0, 8]", "[1, 9]", "tensor a: its data follows a gap"),
            ("[8, 16]", "[7, 15]", "tensor b: its data overlaps the tensor before it"),
        ] {
            let message = refused(&format!("{{{A}, {B}}}").replace(from, to));
            assert!(message.starts_with(expected), "{message}");
        }
        assert!(refused(&format!("{{{A}, {A}, {B}}}")).starts_with("tensor a: appears twice"));
        assert!(refused(&format!("{{{A}}}")).contains("the tensors have 8 bytes, but the file has 16"));
        for broken in ["", "{", "[]", "5", "\"x"] {
            let message = refused(broken);
            assert!(message.starts_with("not a safetensors file: its header is"), "{message}");
        }
    }
}
