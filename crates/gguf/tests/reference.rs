//! Files that llama.cpp's gguf package wrote, and its own numbers.
#![allow(clippy::unwrap_used, reason = "a test says by panicking what went wrong")]

mod support;

use gguf::{Array, BlockType, File, Value, quantize_q8_0};
use support::{assert_same, numbers, reference, use_all};

#[test]
fn every_type_dequantizes_to_the_packages_numbers() {
    let file = File::open(&reference("blocks.gguf")).unwrap();
    use_all(&file);
    for block_type in BlockType::ALL.iter().filter(|&&block_type| block_type != BlockType::F32) {
        let blocks = file.tensor(block_type.name()).unwrap();
        let values = file.tensor(&format!("{block_type}.values")).unwrap();
        assert_eq!((blocks.block_type(), values.block_type()), (*block_type, BlockType::F32));
        assert_same(&blocks.dequantize(), &numbers(values.bytes()), block_type.name());
    }
}

#[test]
fn q8_0_is_quantized_to_the_packages_blocks() {
    let file = File::open(&reference("blocks.gguf")).unwrap();
    let values = file.tensor("numbers").unwrap().dequantize();
    let expected = file.tensor("numbers.Q8_0").unwrap();
    let mut blocks = vec![0; expected.bytes().len()];
    quantize_q8_0(&values, &mut blocks).unwrap();
    for (at, (block, expected)) in blocks.chunks(34).zip(expected.bytes().chunks(34)).enumerate() {
        assert_eq!(block, expected, "block {at}");
    }
}

#[test]
fn metadata_of_every_type_is_read() {
    let file = File::open(&reference("values.gguf")).unwrap();
    use_all(&file);
    let values = [
        Value::from(200u8),
        (-100i8).into(),
        60000u16.into(),
        (-30000i16).into(),
        4_000_000_000u32.into(),
        (-2_000_000_000i32).into(),
        u64::MAX.into(),
        i64::MIN.into(),
        0.1f32.into(),
        0.1f64.into(),
        true.into(),
        "größe".into(),
    ];
    for value in values {
        let key = format!("one.{}", value.value_type().to_string().to_lowercase());
        assert_eq!(file.metadata().get(&key), Some(&value), "{key}");
    }
    let many = |name: &str| file.metadata().get(&format!("many.{name}")).unwrap().clone();
    assert_eq!(many("uint8"), vec![200u8, 1, 2].into());
    assert_eq!(many("int64"), vec![i64::MIN, 1, 2].into());
    assert_eq!(many("float64"), vec![0.1, 0.1].into());
    assert_eq!(many("bool"), vec![true, true].into());
    assert_eq!(many("string"), ["größe"; 2].iter().collect::<gguf::Strings>().into());
    let nested = vec![Array::I32(vec![1, 2]), Array::I32(vec![3])];
    assert_eq!(file.metadata().get("nested"), Some(&nested.into()));
}

#[test]
fn shapes_are_in_the_files_order() {
    let file = File::open(&reference("values.gguf")).unwrap();
    assert_eq!((file.version(), file.alignment()), (3, 64));
    let matrix = file.tensor("matrix").unwrap();
    assert_eq!((matrix.shape(), matrix.row_elements(), matrix.rows()), (&[3, 2][..], 3, 2));
    assert_eq!(numbers(matrix.row(1).unwrap()), [3.0, 4.0, 5.0]);
    let cube = file.tensor("cube").unwrap();
    assert_eq!((cube.shape(), cube.block_type()), (&[4, 3, 2][..], BlockType::F16));
    assert_eq!(cube.dequantize(), (0..24u8).map(f32::from).collect::<Vec<_>>());
}

#[test]
fn version_2_is_laid_out_alike() {
    let path = reference("values.gguf");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[4] = 2;
    let file = File::from_bytes(bytes, &path).unwrap();
    assert_eq!(file.version(), 2);
    use_all(&file);
}
