#!/usr/bin/env python3
"""Writes tests/data/quant/encode.bin: values of several kinds, and how far the reference quantisers are from them.

Little-endian: u32 n_rows, u32 n_cols, f32 importance [n_cols], f32 values [n_rows, n_cols], u32 n_formats, then for each
format a name of 16 bytes (padded with zeros), f32 plain [n_rows] and f32 weighted [n_rows]: the squared error of each
row divided by its squared values, all columns alike and weighted by importance. The formats of GGUF are quantised by
ggml (`ggml_quantize_chunk` in PyPI's llama-cpp-python; `weighted` with its importance), and by PyPI's `gguf` where that
errs less; the affine ones by mlx.core.quantize (PyPI: mlx[cpu]), which knows no importance.
"""
import argparse
import ctypes
import pathlib
import struct

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize, quantize

COLS = 512
GGML = ["Q8_0", "Q6_K", "Q5_K", "Q4_K", "Q3_K", "Q2_K", "IQ4_XS", "IQ4_NL", "Q4_0", "MXFP4"]
AFFINE = {"affine8": 8, "affine4": 4, "affine3": 3, "affine2": 2}


def make_values(rng):
    rows = [rng.normal(0, 0.02, COLS), rng.normal(0, 0.02, COLS), rng.normal(0.01, 0.03, COLS),
            rng.laplace(0, 0.02, COLS), rng.laplace(0, 0.05, COLS), rng.standard_t(4, COLS) * 0.02,
            rng.uniform(-1, 1, COLS), rng.uniform(0.2, 1, COLS), -rng.uniform(0.1, 2, COLS),
            rng.normal(0, 0.02, COLS) * np.repeat(rng.uniform(0.1, 3, COLS // 16), 16),
            rng.normal(0, 0.02, COLS) * (rng.uniform(0, 1, COLS) < 0.1),
            rng.normal(0, 1e-4, COLS)]
    rows[1][[7, 300]] = [0.4, -0.3]
    values = np.array(rows).astype("<f4")
    importance = (rng.lognormal(0, 1.2, COLS)).astype("<f4")
    return values, importance


def load_ggml():
    import llama_cpp
    folder = pathlib.Path(llama_cpp.__file__).parent / "lib"
    library = ctypes.CDLL(str(folder / "libggml-base.so"))
    chunk = library.ggml_quantize_chunk
    chunk.restype = ctypes.c_size_t
    chunk.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64,
                      ctypes.c_void_p]
    return chunk


def by_ggml(chunk, name, values, importance):
    kind = GGMLQuantizationType[name]
    block_values, block_bytes = GGML_QUANT_SIZES[kind]
    out = np.zeros((values.shape[0], values.shape[1] // block_values * block_bytes), dtype=np.uint8)
    n = chunk(int(kind), values.ctypes.data, out.ctypes.data, 0, values.shape[0], values.shape[1],
              None if importance is None else importance.ctypes.data)
    assert n == out.size
    return dequantize(out, kind)


def by_gguf(name, values):
    kind = GGMLQuantizationType[name]
    try:
        return dequantize(quantize(values, kind), kind)
    except NotImplementedError:
        return None


def by_mlx(bits, values):
    import mlx.core as mx
    parts = mx.quantize(mx.array(values).astype(mx.bfloat16), 64, bits)
    return np.array(mx.dequantize(parts[0], *(x.astype(mx.float32) for x in parts[1:]), 64, bits))


def errors(values, decoded, weights):
    wide = values.astype(np.float64)
    return ((decoded - wide)**2 * weights).sum(1) / (wide**2 * weights).sum(1)


def reference_errors(values, importance):
    chunk = load_ggml()
    ones = np.ones_like(importance)
    for name in GGML:
        plain = errors(values, by_ggml(chunk, name, values, None), ones)
        weighted = errors(values, by_ggml(chunk, name, values, importance), importance)
        other = by_gguf(name, values)
        if other is not None:
            plain = np.minimum(plain, errors(values, other, ones))
            weighted = np.minimum(weighted, errors(values, other, importance))
        yield name, plain, weighted
    for name, bits in AFFINE.items():
        decoded = by_mlx(bits, values)
        yield name, errors(values, decoded, ones), errors(values, decoded, importance)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--values", help="compare on this file of f32 [*, 512] instead, and print the mean errors")
    args = parser.parse_args()
    values, importance = make_values(np.random.default_rng(20251127))
    if args.values:
        values = np.fromfile(args.values, dtype="<f4").reshape(-1, COLS)
        for name, plain, weighted in reference_errors(values, importance):
            print(f"{name:8} {plain.mean():.6e} {weighted.mean():.6e}")
        return
    rows = list(reference_errors(values, importance))
    data = struct.pack("<II", *values.shape) + importance.tobytes() + values.tobytes() + struct.pack("<I", len(rows))
    for name, plain, weighted in rows:
        data += name.encode().ljust(16, b"\0") + plain.astype("<f4").tobytes() + weighted.astype("<f4").tobytes()
    (pathlib.Path(__file__).resolve().parent.parent / "tests" / "data" / "quant" / "encode.bin").write_bytes(data)


if __name__ == "__main__":
    main()
