"""Writes block_formats.safetensors: random bytes of every block format with the values that the gguf package decodes.

  <type>.bytes   I8  [blocks · block bytes]   the encoded row
  <type>.values  F32 [blocks · block elements]
  q8_0.source    F32 [blocks · 32]            a row of floats, and
  q8_0.encoded   I8  [blocks · 34]            what the gguf package encodes it as

Random bytes make every bit of a layout count, scales that are infinite or not numbers included.
Run: python3 make_block_formats.py (needs gguf, numpy, safetensors). Reproducible: seeded.
"""
import pathlib

import gguf
import numpy as np
from gguf import GGMLQuantizationType as T
from gguf.quants import dequantize, quantize
from safetensors.numpy import save_file

BLOCKS = 6
TYPES = [T.F16, T.BF16, T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1, T.Q8_0, T.Q2_K, T.Q3_K, T.Q4_K, T.Q5_K, T.Q6_K]


def main():
    rng = np.random.default_rng(20241124)
    tensors = {}
    for kind in TYPES:
        _, block_bytes = gguf.GGML_QUANT_SIZES[kind]
        blocks = 64 if kind in (T.F16, T.BF16) else BLOCKS
        row = rng.integers(0, 256, size=blocks * block_bytes, dtype=np.uint8)
        name = kind.name.lower()
        tensors[f"{name}.bytes"] = row.view(np.int8)
        with np.errstate(invalid="ignore", over="ignore"):
            values = dequantize(row.view(np.float16) if kind is T.F16 else row.reshape(1, -1), kind)
        tensors[f"{name}.values"] = np.ascontiguousarray(values.reshape(-1).astype(np.float32))
    source = rng.standard_normal(BLOCKS * 32).astype(np.float32)
    source[32:64] = 0  # a block of zeros has the scale zero
    tensors["q8_0.source"] = source
    tensors["q8_0.encoded"] = quantize(source.reshape(1, -1), T.Q8_0).reshape(-1).view(np.int8)
    save_file(tensors, pathlib.Path(__file__).with_name("block_formats.safetensors"))


if __name__ == "__main__":
    main()
