#!/usr/bin/env python3
"""Writes tests/data/quant/<FORMAT>.bin: blocks of random bytes and what they decode to.

Layout, little-endian: u32 n_bytes, u32 n_values, n_bytes of blocks, n_values of f32 as the reference package `gguf`
(PyPI) dequantises them. Block scales are finite halves of both signs, subnormal ones and zero among them; all other
bytes are random, so every bit of every field is exercised.
"""
import pathlib
import struct

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize

# format: blocks, offsets of the f16 scales in a block
FORMATS = {"F32": (64, []), "F16": (512, []), "BF16": (256, []), "Q8_0": (12, [0]), "Q4_0": (12, [0]),
           "Q4_K": (4, [0, 2]), "Q5_K": (4, [0, 2]), "Q6_K": (4, [208]),
           "Q4_1": (12, [0, 2]), "Q5_0": (12, [0]), "Q5_1": (12, [0, 2]), "Q2_K": (4, [80, 82]), "Q3_K": (4, [108]),
           "IQ1_S": (12, [0]), "IQ1_M": (12, []), "IQ2_XXS": (4, [0]), "IQ2_XS": (4, [0]), "IQ2_S": (4, [0]),
           "IQ3_XXS": (4, [0]), "IQ3_S": (4, [0]), "IQ4_NL": (12, [0]), "IQ4_XS": (4, [0]), "MXFP4": (12, [])}
SCALES = np.array([0.0123, -0.5, 3.1e-6, 0.0, 1.75, -6.1e-5, 0.0078125, -33.3], dtype=np.float16)


def main():
    folder = pathlib.Path(__file__).resolve().parent.parent / "tests" / "data" / "quant"
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(20240607)
    for name, (n_blocks, scale_offsets) in FORMATS.items():
        kind = GGMLQuantizationType[name]
        block_values, block_bytes = GGML_QUANT_SIZES[kind]
        blocks = rng.integers(0, 256, (n_blocks, block_bytes), dtype=np.uint8)
        if name in ("F32", "F16", "BF16"):  # no NaN: its payload is not part of the formats' meaning
            blocks[:, -1] &= 0xBF
            if name == "F16":
                edges = np.array([0, 1, 0x3FF, 0x400, 0x8000, 0x83FF, 0x7BFF, 0xFBFF], dtype="<u2")
                blocks[:8] = edges.view(np.uint8).reshape(8, 2)
        if name == "MXFP4":
            blocks[:6, 0] = [0, 1, 2, 3, 128, 251]  # both subnormal exponents; 252 and beyond overflow
            blocks[6:, 0] = rng.integers(100, 150, n_blocks - 6)
        for i in range(n_blocks):
            if name == "IQ1_M":  # the nibbles of its scale are on top of the last four words
                nibbles = int(SCALES[i % len(SCALES)].view(np.uint16)) >> np.arange(0, 16, 4) & 15
                blocks[i, 49:56:2] = blocks[i, 49:56:2] & 15 | nibbles << 4
            for k, offset in enumerate(scale_offsets):
                blocks[i, offset:offset + 2] = SCALES[(i + 3 * k) % len(SCALES):][:1].view(np.uint8)
        values = dequantize(blocks.reshape(1, -1), kind).astype("<f4").ravel()
        assert values.size == n_blocks * block_values and np.isfinite(values).all()
        data = struct.pack("<II", blocks.size, values.size) + blocks.tobytes() + values.tobytes()
        (folder / f"{name}.bin").write_bytes(data)


if __name__ == "__main__":
    main()
