//! Models split into several files.
#![allow(clippy::unwrap_used, reason = "a test says by panicking what went wrong")]

mod support;

use gguf::{BlockType, File, TensorInfo, Value, Writer};
use std::path::Path;
use support::{reference, use_all};

#[test]
fn any_part_of_a_split_model_opens_all() {
    for part in 1..=3 {
        let file = File::open(&reference(&format!("split-0000{part}-of-00003.gguf"))).unwrap();
        use_all(&file);
        assert_eq!(file.metadata().str("general.architecture").unwrap(), "reference");
        assert_eq!(file.tensors().len(), 5);
        for number in 0..5u8 {
            let tensor = file.tensor(&format!("tensor.{number}")).unwrap();
            assert_eq!(tensor.dequantize(), [f32::from(number); 3]);
        }
    }
}

#[test]
fn parts_must_be_complete_and_belong_together() {
    let directory = tempfile::tempdir().unwrap();
    let copy = |from: u8, to: &str| {
        let target = directory.path().join(to);
        std::fs::copy(reference(&format!("split-0000{from}-of-00003.gguf")), &target).unwrap();
        target
    };
    let open = |path| File::open(path).unwrap_err().to_string();

    let first = copy(1, "m-00001-of-00003.gguf");
    let error = open(&first);
    assert!(error.contains("m-00002-of-00003.gguf: part 2 of 3 cannot be read"), "{error}");
    assert!(error.contains("download all parts into one directory"), "{error}");

    copy(2, "m-00002-of-00003.gguf");
    copy(2, "m-00003-of-00003.gguf");
    let error = open(&first);
    assert!(error.contains("part 1 of 3 (counted from 0), expected part 2 of 3"), "{error}");

    let error = open(&copy(1, "model.gguf"));
    assert!(error.contains("a name that ends in -00001-of-00003.gguf"), "{error}");

    let bytes = std::fs::read(&first).unwrap();
    let error = File::from_bytes(bytes, &first).unwrap_err().to_string();
    assert!(error.contains("one of 3 parts of a split model; open it from its file"), "{error}");
}

/// Writes part `number` (counted from 0) of two, with a tensor; the metadata declares `declared`.
fn write_part(directory: &Path, number: u16, tensor: &str, declared: u16, tensors: i32) {
    let path = directory.join(format!("m-0000{}-of-00002.gguf", number + 1));
    let metadata: [(&str, Value); 3] = [
        ("split.no", declared.into()),
        ("split.count", 2u16.into()),
        ("split.tensors.count", tensors.into()),
    ];
    let info = TensorInfo { name: tensor.to_owned(), shape: vec![1], block_type: BlockType::F32 };
    let mut writer = Writer::create(&path, metadata, vec![info]).unwrap();
    writer.write_f32(tensor, &[1.0]).unwrap();
    writer.finish().unwrap();
}

#[test]
fn parts_must_not_contradict_each_other() {
    for (second, declared, tensors, expected) in [
        ("a", 1, 2, "m-00002-of-00002.gguf: tensor `a`: appears twice in the tensor table"),
        ("b", 1, 3, "m-00001-of-00002.gguf: all parts have 2 tensors, expected 3"),
        ("b", 2, 2, "m-00002-of-00002.gguf: key `split.no`: 2 (UINT32), expected less than `split.count`"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        write_part(directory.path(), 0, "a", 0, tensors);
        write_part(directory.path(), 1, second, declared, tensors);
        let error = File::open(&directory.path().join("m-00001-of-00002.gguf")).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}
