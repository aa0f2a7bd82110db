"""Makes blocks of every type and their values by gguf-py (`pip install gguf`), for tests/reference.rs.

    python make.py    writes NAME.bytes and NAME.f32 beside itself

Bytes are random; half-precision scales are small numbers.
"""

import pathlib

import numpy
from gguf import GGMLQuantizationType
from gguf.constants import GGML_QUANT_SIZES
from gguf.quants import dequantize

SCALES = {
    "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0],
    "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "F16": [0], "BF16": [], "F32": [],
}  # fmt: skip


def main():
    random = numpy.random.default_rng(7)
    here = pathlib.Path(__file__).parent
    for name, scales in SCALES.items():
        kind = GGMLQuantizationType[name]
        weights, size = GGML_QUANT_SIZES[kind]
        blocks = random.integers(0, 256, (512 // weights, size), dtype=numpy.uint8)
        if name in ("BF16", "F32"):
            values = random.standard_normal(512).astype(numpy.float32)
            blocks = values.view(numpy.uint16)[1::2].copy() if name == "BF16" else values
            blocks = blocks.view(numpy.uint8).reshape(512, size)
        for at in scales:
            scale = (random.standard_normal(len(blocks)) * 0.02).astype(numpy.float16)
            blocks[:, at : at + 2] = scale.view(numpy.uint8).reshape(-1, 2)
        values = dequantize(blocks.reshape(1, -1), kind) if name != "F32" else values
        (here / f"{name}.bytes").write_bytes(blocks.tobytes())
        (here / f"{name}.f32").write_bytes(numpy.asarray(values, dtype="<f4").tobytes())


main()
