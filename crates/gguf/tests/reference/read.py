"""Reads a file that tests/writing.rs wrote with llama.cpp's gguf package, and compares.

    python3 read.py FILE

A tensor NAME.TYPE has to hold what the package makes of tensor NAME, which is F32, in that type.
"""

import sys

import numpy as np
from gguf import GGMLQuantizationType, GGUFReader
from gguf.quants import dequantize, quantize

reader = GGUFReader(sys.argv[1])
tensors = {tensor.name: tensor for tensor in reader.tensors}
assert [tensor.name for tensor in reader.tensors] == ["a", "a.F16", "a.BF16", "a.Q8_0", "scalar"], tensors.keys()
assert list(tensors["a"].shape) == [64, 3, 2]
for name, tensor in tensors.items():
    if "." not in name:
        continue
    source, quantized = name.split(".")
    expected = quantize(tensors[source].data, GGMLQuantizationType[quantized])
    assert tensor.data.tobytes() == expected.tobytes(), name
    assert np.array_equal(
        dequantize(tensor.data, tensor.tensor_type), dequantize(expected, tensor.tensor_type)), name
assert tensors["scalar"].data.tolist() == 2.5 or tensors["scalar"].data.tolist() == [2.5]
fields = {name: field.contents() for name, field in reader.fields.items() if not name.startswith("GGUF.")}
assert fields == {
    "general.architecture": "test", "general.alignment": 128, "uint8": 1, "int8": -1, "uint16": 2, "int16": -2,
    "int32": -3, "uint64": 2**64 - 1, "int64": -(2**63), "float32": 0.5, "float64": 0.1, "bool": False,
    "numbers": [1, -2, 3], "flags": [True, False], "tokens": ["", "größe", "b"],
}, fields
assert reader.alignment == 128
for tensor in reader.tensors:
    assert tensor.data_offset % 128 == 0, tensor.name
