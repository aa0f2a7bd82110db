//! Whatever the bytes of a GGUF file, reading it ends without a panic: in an error that names the file,
//! or in one whose metadata and tensors can be used.
#![no_main]

use gguf::{Array, File, Value};
use libfuzzer_sys::fuzz_target;
use std::path::Path;

fn use_metadata(file: &File) {
    let metadata = file.metadata();
    for (key, value) in metadata.iter() {
        let _ = (metadata.u32(key), metadata.f32(key), metadata.str(key), metadata.bool(key));
        let _ = (metadata.u32s(key), metadata.i32s(key), metadata.f32s(key));
        if let Value::Array(Array::Strings(strings)) = value {
            assert_eq!(strings.iter().count(), strings.len());
            assert_eq!(strings.get(strings.len()), None);
        }
    }
}

fn use_tensors(file: &File) {
    for tensor in file.tensors() {
        assert_eq!(tensor.dequantize().len(), tensor.rows() * tensor.row_elements());
        assert!(tensor.row(tensor.rows() - 1).is_some() && tensor.row(tensor.rows()).is_none());
    }
}

fuzz_target!(|bytes: &[u8]| {
    match File::from_bytes(bytes.to_vec(), Path::new("model.gguf")) {
        Ok(file) => {
            use_metadata(&file);
            use_tensors(&file);
        }
        Err(error) => assert!(error.to_string().starts_with("model.gguf: "), "{error}"),
    }
});
