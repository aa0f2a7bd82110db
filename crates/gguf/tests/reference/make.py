"""Makes the reference files in this directory with llama.cpp's gguf package.

    python3 -m venv venv && venv/bin/pip install gguf==0.19.0
    venv/bin/python crates/gguf/tests/reference/make.py

  blocks.gguf   for each quantized type, tensors TYPE (random blocks) and TYPE.values (what the package
                makes of them); `numbers` and `numbers.Q8_0` (what it quantizes them to)
  values.gguf   metadata of every type, and tensors aligned to 64 bytes
  split-*.gguf  a model in three parts
"""

import logging
import pathlib
import warnings

import numpy as np
from gguf import GGMLQuantizationType, GGUFValueType, GGUFWriter
from gguf.constants import GGML_QUANT_SIZES
from gguf.quants import dequantize, quantize

HERE = pathlib.Path(__file__).parent
BLOCKS = 6
# Where a block has half-precision scales, in bytes: random ones would mostly be huge.
SCALES = {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0],
          "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "F16": [], "BF16": []}


def write(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def random_blocks(rng, name, size):
    blocks = rng.integers(0, 256, (BLOCKS, size), dtype=np.uint8)
    for place in SCALES[name]:
        scales = rng.normal(0, 0.01, BLOCKS).astype(np.float16)
        # The last three: the least subnormal, the greatest, infinity.
        scales[-3:] = np.array([0x0001, 0x7BFF, 0x7C00], dtype=np.uint16).view(np.float16)
        blocks[:, place : place + 2] = scales.view(np.uint8).reshape(-1, 2)
    return blocks.reshape(1, -1)


def make_blocks():
    rng = np.random.default_rng(7)
    writer = GGUFWriter(HERE / "blocks.gguf", "reference")
    for name in SCALES:
        quantized = GGMLQuantizationType[name]
        _, size = GGML_QUANT_SIZES[quantized]
        blocks = random_blocks(rng, name, size * (64 if size == 2 else 1))
        writer.add_tensor(name, blocks, raw_dtype=quantized)
        writer.add_tensor(f"{name}.values", dequantize(blocks, quantized))
    numbers = rng.normal(0, 1, (16, 64)).astype(np.float32) * 10.0 ** rng.integers(-9, 6, (16, 1))
    numbers = numbers.astype(np.float32)
    numbers[3] = 0
    numbers[4, 32:] = np.arange(32) - 15.5  # ties, where the scale is 0.122…
    numbers[5] = np.arange(64) * 127 / 63  # and where it is near 1
    writer.add_tensor("numbers", numbers)
    writer.add_tensor("numbers.Q8_0", quantize(numbers, GGMLQuantizationType.Q8_0),
                      raw_dtype=GGMLQuantizationType.Q8_0)
    write(writer)


def make_values():
    writer = GGUFWriter(HERE / "values.gguf", "reference")
    writer.add_custom_alignment(64)
    integers = {"uint8": 200, "int8": -100, "uint16": 60000, "int16": -30000, "uint32": 4000000000,
                "int32": -2000000000, "uint64": 2**64 - 1, "int64": -(2**63)}
    for name, value in integers.items():
        value_type = GGUFValueType[name.upper()]
        writer.add_key_value(f"one.{name}", value, value_type)
        writer.add_key_value(f"many.{name}", [value, 1, 2], GGUFValueType.ARRAY, sub_type=value_type)
    for name, value in {"float32": 0.1, "float64": 0.1, "bool": True, "string": "größe"}.items():
        value_type = GGUFValueType[name.upper()]
        writer.add_key_value(f"one.{name}", value, value_type)
        writer.add_key_value(f"many.{name}", [value, value], GGUFValueType.ARRAY, sub_type=value_type)
    writer.add_array("nested", [[1, 2], [3]])
    writer.add_tensor("matrix", np.arange(6, dtype=np.float32).reshape(2, 3))
    writer.add_tensor("cube", np.arange(24, dtype=np.float16).reshape(2, 3, 4))
    write(writer)


def make_split():
    writer = GGUFWriter(HERE / "split.gguf", "reference", split_max_tensors=2)
    for number in range(5):
        writer.add_tensor(f"tensor.{number}", np.full(3, number, dtype=np.float32))
    write(writer)


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR)
    warnings.simplefilter("ignore", RuntimeWarning)  # infinity times zero
    make_blocks()
    make_values()
    make_split()
