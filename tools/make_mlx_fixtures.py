#!/usr/bin/env python3
"""Writes tests/data/quant/<FORMAT>.bin for the formats that keep their scales apart, and what they decode to.

Each file is a row of records, little-endian: u32 scale type (0 F32, 1 F16, 2 BF16, 3 E8M0), u32 group, u32 n_values,
then the quants of one row, its scales, its biases (affine formats) and n_values of f32 as mlx.core.dequantize (PyPI:
mlx[cpu]) gives them in f32. FP8 comes from numpy and the type's definition. Quants are random bytes, so every bit of
every field is exercised.
"""
import pathlib
import struct

import mlx.core as mx
import numpy as np

N_VALUES = 256
TYPES = [(0, mx.float32, np.float32), (1, mx.float16, np.float16), (2, mx.bfloat16, np.uint16)]


def record(kind, group, quants, scales, biases, values):
    values = np.asarray(values, dtype="<f4").ravel()
    assert values.size == N_VALUES and np.isfinite(values).all()
    return struct.pack("<III", kind, group, values.size) + quants + scales + biases + values.tobytes()


def affine(rng, bits):
    records = b""
    for group in (32, 64, 128):
        for kind, dtype, numpy_type in TYPES:
            quants = rng.integers(0, 1 << 32, (1, N_VALUES * bits // 32), dtype=np.uint32)
            pair = [mx.array(rng.normal(0, 0.05, (1, N_VALUES // group)).astype(np.float32)).astype(dtype)
                    for _ in range(2)]
            values = mx.dequantize(mx.array(quants), *(x.astype(mx.float32) for x in pair), group, bits)
            raw = [np.array(x.view(mx.uint16) if kind == 2 else x).astype(numpy_type).tobytes() for x in pair]
            records += record(kind, group, quants.tobytes(), *raw, np.array(values))
    return records


def mxfp4(rng):
    quants = rng.integers(0, 1 << 32, (1, N_VALUES // 8), dtype=np.uint32)
    scales = np.array([[1, 100, 120, 127, 128, 130, 150, 200]], dtype=np.uint8)
    values = mx.dequantize(mx.array(quants), mx.array(scales), None, 32, 4, mode="mxfp4").astype(mx.float32)
    return record(3, 32, quants.tobytes(), scales.tobytes(), b"", np.array(values) + 0.0)  # zeros have no sign here


def fp8(rng):
    codes = np.arange(256, dtype=np.uint8)
    codes[[0x7F, 0xFF]] = 0  # not numbers
    sign, exponent, mantissa = codes >> 7, (codes >> 3 & 15).astype(int), codes & 7
    magnitude = np.where(exponent == 0, mantissa * 2.0**-9, (1 + mantissa / 8) * 2.0**(exponent - 7))
    records = b""
    for group in (64, 128):
        scales = rng.normal(0, 0.05, N_VALUES // group).astype("<f4")
        values = np.where(sign == 1, -magnitude, magnitude).astype(np.float32) * np.repeat(scales, group)
        records += record(0, group, codes.tobytes(), scales.tobytes(), b"", values)
        upper = (scales.view("<u4") >> 16).astype("<u2")
        scales = (upper.astype("<u4") << 16).view("<f4")
        values = np.where(sign == 1, -magnitude, magnitude).astype(np.float32) * np.repeat(scales, group)
        records += record(2, group, codes.tobytes(), upper.tobytes(), b"", values)
    return records


def main():
    folder = pathlib.Path(__file__).resolve().parent.parent / "tests" / "data" / "quant"
    mx.set_default_device(mx.cpu)
    rng = np.random.default_rng(20240607)
    for bits in (2, 3, 4, 5, 6, 8):
        (folder / f"affine{bits}.bin").write_bytes(affine(rng, bits))
    (folder / "mxfp4_split.bin").write_bytes(mxfp4(rng))
    (folder / "fp8_e4m3.bin").write_bytes(fp8(rng))


if __name__ == "__main__":
    main()
