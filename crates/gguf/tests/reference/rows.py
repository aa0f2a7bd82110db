"""Dequantizes rows of every tensor of a file with llama.cpp's gguf package.

    python3 rows.py FILE OUTPUT

OUTPUT is a GGUF file with, for each tensor, F32 rows: the first, the middle and the last one.
"""

import sys

import numpy as np
from gguf import GGUFReader, GGUFWriter
from gguf.quants import dequantize

reader = GGUFReader(sys.argv[1])
writer = GGUFWriter(sys.argv[2], "rows")
for tensor in reader.tensors:
    rows = tensor.data.reshape(-1, tensor.data.shape[-1])
    sample = np.ascontiguousarray(rows[[0, len(rows) // 2, len(rows) - 1]])
    writer.add_tensor(tensor.name, dequantize(sample, tensor.tensor_type))
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
