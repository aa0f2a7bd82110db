//! Files that this crate writes.
#![allow(clippy::unwrap_used, reason = "a test says by panicking what went wrong")]

mod support;

use gguf::{Array, BlockType, File, Strings, TensorInfo, Value, Writer};
use proptest::prelude::*;
use std::path::Path;
use support::{python_with_gguf, run_python, use_all};

fn info(name: &str, shape: &[usize], block_type: BlockType) -> TensorInfo {
    TensorInfo { name: name.to_owned(), shape: shape.to_owned(), block_type }
}

fn metadata() -> Vec<(&'static str, Value)> {
    vec![
        ("general.architecture", "test".into()),
        ("general.alignment", 128u32.into()),
        ("uint8", 1u8.into()),
        ("int8", (-1i8).into()),
        ("uint16", 2u16.into()),
        ("int16", (-2i16).into()),
        ("int32", (-3i32).into()),
        ("uint64", u64::MAX.into()),
        ("int64", i64::MIN.into()),
        ("float32", 0.5f32.into()),
        ("float64", 0.1f64.into()),
        ("bool", false.into()),
        ("numbers", vec![1i32, -2, 3].into()),
        ("flags", vec![true, false].into()),
        ("tokens", ["", "größe", "b"].iter().collect::<Strings>().into()),
    ]
}

const SHAPE: [usize; 3] = [64, 3, 2];
const TYPES: [BlockType; 4] = [BlockType::F32, BlockType::F16, BlockType::Bf16, BlockType::Q8_0];

fn values() -> Vec<f32> {
    (0..384).map(|at| (at as f32 * 0.37).sin() * (at as f32 - 190.0)).collect()
}

/// A file with tensors of every type that is written, in pieces of different sizes.
fn write(path: &Path) {
    let mut tensors: Vec<_> = TYPES.iter().map(|&ty| info(&format!("a.{ty}"), &SHAPE, ty)).collect();
    tensors[0].name = "a".to_owned();
    let names: Vec<_> = tensors.iter().map(|info| info.name.clone()).collect();
    tensors.push(info("scalar", &[], BlockType::F32));
    let mut writer = Writer::create(path, metadata(), tensors).unwrap();
    for (name, piece) in names.iter().zip([1, 100, 384, 32]) {
        values().chunks(piece).for_each(|values| writer.write_f32(name, values).unwrap());
    }
    writer.write("scalar", &2.5f32.to_le_bytes()).unwrap();
    writer.finish().unwrap();
}

#[test]
fn what_is_written_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("new/model.gguf");
    write(&path);
    let file = File::open(&path).unwrap();
    use_all(&file);
    assert_eq!((file.version(), file.alignment()), (3, 128));
    assert!(file.metadata().iter().eq(metadata().iter().map(|(key, value)| (*key, value))));
    assert_eq!(file.tensor("a").unwrap().dequantize(), values());
    assert_eq!(file.tensor("scalar").unwrap().dequantize(), [2.5]);
    for (tensor, block_type) in file.tensors().zip(TYPES) {
        assert_eq!((tensor.block_type(), tensor.shape()), (block_type, &SHAPE[..]));
        for (value, close) in values().iter().zip(tensor.dequantize()) {
            assert!((value - close).abs() <= 1.0, "{value} {close}");
        }
    }
    assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
}

#[test]
fn llama_cpps_package_reads_it() {
    let Some(python) = python_with_gguf() else { return };
    let file = tempfile::NamedTempFile::new().unwrap();
    write(file.path());
    run_python(&python, "read.py", &[file.path()]);
}

#[test]
fn nothing_appears_before_it_is_whole() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.gguf");
    std::fs::write(&path, "older").unwrap();
    let create = || {
        let tensors = vec![info("a", &[2], BlockType::F32), info("b", &[1], BlockType::F32)];
        Writer::create(&path, [("key", Value::Bool(true))], tensors).unwrap()
    };
    let mut writer = create();
    let error = writer.write("b", &[0; 4]).unwrap_err().to_string();
    assert!(error.ends_with("model.gguf: tensor `b`: written out of order; expected tensor `a`"), "{error}");
    let error = writer.write("a", &[0; 9]).unwrap_err().to_string();
    assert!(error.ends_with("tensor `a`: 9 bytes are written, expected 8"), "{error}");
    writer.write_f32("a", &[1.0, 2.0]).unwrap();
    let error = writer.finish().unwrap_err().to_string();
    assert!(error.ends_with("tensor `b`: 0 bytes are written, expected 4"), "{error}");
    drop(create());
    assert_eq!(std::fs::read(&path).unwrap(), b"older");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn what_would_not_be_read_is_not_written() {
    let refused = |metadata: Vec<(&str, Value)>, tensors: Vec<TensorInfo>| {
        Writer::create(Path::new("/nowhere/model.gguf"), metadata, tensors).unwrap_err().to_string()
    };
    let deep = (0..8).fold(Array::U8(vec![]), |array, _| Array::Arrays(vec![array]));
    for (key, value, expected) in [
        ("", Value::Bool(true), "the key has 0 bytes"),
        ("general.alignment", 48u32.into(), "48 (UINT32), expected a power of two"),
        ("deep", Value::Array(deep), "nested deeper than 8"),
    ] {
        let error = refused(vec![(key, value)], vec![]);
        assert!(error.contains(expected), "{error}");
    }
    let twice = refused(vec![("a", Value::Bool(true)), ("a", Value::Bool(true))], vec![]);
    assert!(twice.contains("key `a`: appears twice"), "{twice}");
    let block = refused(vec![], vec![info("a", &[33], BlockType::Q8_0)]);
    assert!(block.contains("tensor `a`: the first dimension is 33, expected a multiple of 32"), "{block}");
    let twice = refused(vec![], vec![info("a", &[1], BlockType::F32), info("a", &[1], BlockType::F32)]);
    assert!(twice.contains("tensor `a`: appears twice"), "{twice}");
    let name = refused(vec![], vec![info(&"a".repeat(65), &[1], BlockType::F32)]);
    assert!(name.contains("the name has 65 bytes"), "{name}");
}

fn array() -> impl Strategy<Value = Array> {
    let numbers = prop_oneof![
        any::<Vec<u8>>().prop_map(Array::U8),
        any::<Vec<i16>>().prop_map(Array::I16),
        any::<Vec<u64>>().prop_map(Array::U64),
        any::<Vec<bool>>().prop_map(Array::Bool),
        prop::collection::vec(-1e9f64..1e9, 0..4).prop_map(Array::F64),
        any::<Vec<String>>().prop_map(|texts| Array::Strings(texts.iter().collect())),
    ];
    numbers.prop_recursive(4, 16, 4, |inner| prop::collection::vec(inner, 0..4).prop_map(Array::Arrays))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_metadata_comes_back(
        arrays in prop::collection::btree_map("[a-zß.]{1,9}", array(), 0..6),
        alignment in 0..12u32,
    ) {
        let mut metadata: Vec<_> =
            arrays.into_iter().map(|(key, array)| (key, Value::Array(array))).collect();
        metadata.push(("general.alignment".to_owned(), Value::U32(1 << alignment)));
        let file = tempfile::NamedTempFile::new().unwrap();
        let borrowed = metadata.iter().map(|(key, value)| (key, value));
        let tensors = vec![info("t", &[3], BlockType::F16), info("u", &[1], BlockType::F32)];
        let mut writer = Writer::create(file.path(), borrowed, tensors).unwrap();
        writer.write_f32("t", &[1.0, 2.0, 3.0]).unwrap();
        writer.write_f32("u", &[4.0]).unwrap();
        writer.finish().unwrap();
        let read = File::open(file.path()).unwrap();
        prop_assert!(read.metadata().iter().eq(metadata.iter().map(|(key, value)| (key.as_str(), value))));
        prop_assert_eq!(read.tensor("t").unwrap().dequantize(), [1.0, 2.0, 3.0]);
        prop_assert_eq!(read.tensor("u").unwrap().dequantize(), [4.0]);
    }
}

#[test]
fn the_table_alone_is_that_of_the_whole_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("m.gguf");
    let nested = Array::Arrays(vec![Array::Strings(["a", "b"].into_iter().collect()), Array::U16(vec![1])]);
    let metadata = [
        ("general.architecture", Value::from("x")),
        ("nested", Value::Array(nested)),
        ("flags", Value::from(vec![true, false])),
        ("number", Value::F64(0.5)),
    ];
    let tensor = |name: &str, shape: Vec<usize>| TensorInfo {
        name: name.to_owned(),
        shape,
        block_type: BlockType::Q8_0,
    };
    let tensors = vec![tensor("a", vec![64, 2]), tensor("b", vec![32])];
    let mut writer = Writer::create(&path, metadata, tensors.clone()).expect("a file");
    writer.write_f32("a", &[0.5; 128]).expect("written");
    writer.write_f32("b", &[0.5; 32]).expect("written");
    writer.finish().expect("written");
    assert_eq!(gguf::tensor_table(&path).expect("a table"), tensors);
    // Any beginning of the file is an error, or has the whole table.
    let bytes = std::fs::read(&path).expect("read");
    for length in (1..bytes.len()).step_by(3) {
        std::fs::write(&path, &bytes[..length]).expect("written");
        match gguf::tensor_table(&path) {
            Ok(found) => assert_eq!(found, tensors),
            Err(error) => assert!(error.to_string().contains("ends after"), "{error}"),
        }
    }
}
