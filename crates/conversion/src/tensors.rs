//! Weights: GGUF's blocks as one safetensors file, tensor by tensor.
//!
//! The safetensors format: the header's length (8 bytes, little endian), a header in JSON with name,
//! type, shape and place of each tensor, then the numbers.

use crate::config::Model;
use crate::{Error, Progress};
use gguf::{File, Tensor};
use half::bf16;
use serde_json::{Map, Value, json};
use std::collections::HashSet;
use std::io::{BufWriter, Write};
use std::path::Path;

/// The form of the numbers that are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// 16 bits: half the size, each number rounded to 8 bits of precision.
    #[default]
    Bf16,
    /// 32 bits: exactly the file's numbers.
    F32,
}

impl Precision {
    fn bytes(self) -> usize {
        match self {
            Precision::Bf16 => 2,
            Precision::F32 => 4,
        }
    }
}

/// A tensor with both of its names and its shape, rows first.
struct Named {
    gguf: String,
    hugging_face: String,
    shape: Vec<usize>,
}

fn names(model: &Model) -> Vec<Named> {
    let (hidden, intermediate) = (model.hidden, model.intermediate);
    let (query, key_value) = (model.heads * model.head(), model.key_value_heads * model.head());
    let mut names = Vec::new();
    let mut add = |gguf: String, hugging_face: String, shape: &[usize]| {
        names.push(Named { gguf, hugging_face, shape: shape.to_vec() });
    };
    add("token_embd.weight".into(), "model.embed_tokens.weight".into(), &[model.vocabulary, hidden]);
    let of_layer: [(&str, &str, &[usize]); 12] = [
        ("attn_norm.weight", "input_layernorm.weight", &[hidden]),
        ("attn_q.weight", "self_attn.q_proj.weight", &[query, hidden]),
        ("attn_q.bias", "self_attn.q_proj.bias", &[query]),
        ("attn_k.weight", "self_attn.k_proj.weight", &[key_value, hidden]),
        ("attn_k.bias", "self_attn.k_proj.bias", &[key_value]),
        ("attn_v.weight", "self_attn.v_proj.weight", &[key_value, hidden]),
        ("attn_v.bias", "self_attn.v_proj.bias", &[key_value]),
        ("attn_output.weight", "self_attn.o_proj.weight", &[hidden, query]),
        ("ffn_norm.weight", "post_attention_layernorm.weight", &[hidden]),
        ("ffn_gate.weight", "mlp.gate_proj.weight", &[intermediate, hidden]),
        ("ffn_up.weight", "mlp.up_proj.weight", &[intermediate, hidden]),
        ("ffn_down.weight", "mlp.down_proj.weight", &[hidden, intermediate]),
    ];
    for layer in 0..model.layers {
        for (gguf, hugging_face, shape) in of_layer {
            add(format!("blk.{layer}.{gguf}"), format!("model.layers.{layer}.{hugging_face}"), shape);
        }
    }
    add("output_norm.weight".into(), "model.norm.weight".into(), &[hidden]);
    if !model.is_tied {
        add("output.weight".into(), "lm_head.weight".into(), &[model.vocabulary, hidden]);
    }
    names
}

/// The file's tensors in the order of their names, each of the shape that it should have; and none
/// that nobody asked for.
fn found<'a>(file: &'a File, names: &[Named]) -> Result<Vec<Tensor<'a>>, Error> {
    let known: HashSet<&str> = names.iter().map(|named| named.gguf.as_str()).collect();
    if let Some(tensor) = file.tensors().find(|tensor| !known.contains(tensor.name())) {
        return Err(Error::unsupported(file, "tensors", "those of a qwen2 model", tensor.name()));
    }
    let mut tensors = Vec::with_capacity(names.len());
    for named in names {
        let tensor = file.tensor(&named.gguf)?;
        // GGUF names the contiguous dimension first.
        if !tensor.shape().iter().rev().eq(&named.shape) {
            let (expected, shape) = (named.shape.iter().rev().collect::<Vec<_>>(), tensor.shape());
            return Err(Error::unsupported(
                file,
                format!("tensor {}", named.gguf),
                format!("shape {expected:?}"),
                format!("{shape:?}"),
            ));
        }
        tensors.push(tensor);
    }
    Ok(tensors)
}

/// Writes all tensors; the file appears whole or not at all.
pub(crate) fn write(
    file: &File,
    model: &Model,
    path: &Path,
    precision: Precision,
    progress: &mut Progress,
) -> Result<(), Error> {
    let names = names(model);
    let tensors = found(file, &names)?;
    let fail = |source| Error::write(path, source);
    let parent = path.parent().unwrap_or(Path::new("."));
    let mut out = BufWriter::new(tempfile::NamedTempFile::new_in(parent).map_err(fail)?);
    let header = header(&names, precision).to_string();
    out.write_all(&(header.len() as u64).to_le_bytes()).map_err(fail)?;
    out.write_all(header.as_bytes()).map_err(fail)?;
    for (at, tensor) in tensors.iter().enumerate() {
        out.write_all(&numbers(tensor, precision)).map_err(fail)?;
        if progress(at + 1, tensors.len()).is_break() {
            return Err(Error::Stopped);
        }
    }
    let whole = out.into_inner().map_err(|error| fail(error.into_error()))?;
    whole.as_file().sync_all().map_err(fail)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        whole.as_file().set_permissions(std::fs::Permissions::from_mode(0o644)).map_err(fail)?;
    }
    whole.persist(path).map_err(|error| fail(error.error))?;
    Ok(())
}

fn header(names: &[Named], precision: Precision) -> Value {
    let kind = match precision {
        Precision::Bf16 => "BF16",
        Precision::F32 => "F32",
    };
    let mut fields = Map::new();
    fields.insert("__metadata__".into(), json!({ "format": "pt" }));
    let mut start = 0;
    for named in names {
        let end = start + named.shape.iter().product::<usize>() * precision.bytes();
        let tensor = json!({ "dtype": kind, "shape": named.shape, "data_offsets": [start, end] });
        fields.insert(named.hugging_face.clone(), tensor);
        start = end;
    }
    Value::Object(fields)
}

fn numbers(tensor: &Tensor, precision: Precision) -> Vec<u8> {
    let values = tensor.dequantize();
    match precision {
        Precision::Bf16 => values.iter().flat_map(|&value| bf16::from_f32(value).to_le_bytes()).collect(),
        Precision::F32 => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
    }
}
