"""A reader of packed folders that knows what docs/formats.md says, and nothing of the program.

Matrices are read as their bytes and as f32; XXH3 comes from the library of that name.
"""
import ctypes
import ctypes.util
import json
import struct
from pathlib import Path

import numpy

GGUF_TYPES = {0: "f32", 1: "f16", 2: "q4_0", 8: "q8_0", 10: "q2_k", 11: "q3_k", 12: "q4_k", 13: "q5_k", 14: "q6_k",
              20: "iq4_nl", 23: "iq4_xs", 24: "i8", 30: "bf16", 39: "mxfp4"}
BLOCKS = {"f32": (1, 4), "f16": (1, 2), "bf16": (1, 2), "i8": (1, 1), "q8_0": (32, 34), "q4_0": (32, 18),
          "q2_k": (256, 84), "q3_k": (256, 110), "q4_k": (256, 144), "q5_k": (256, 176), "q6_k": (256, 210),
          "iq4_nl": (32, 18), "iq4_xs": (256, 136), "mxfp4": (32, 17),
          "affine2": (32, 8), "affine3": (32, 12), "affine4": (32, 16), "affine8": (32, 32)}  # values, bytes
SCALE_BYTES = {"f32": 4, "f16": 2, "bf16": 2, "e8m0": 1}
LEVELS = numpy.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], "f4")
E2M1 = numpy.array([0, .5, 1, 1.5, 2, 3, 4, 6, 0, -.5, -1, -1.5, -2, -3, -4, -6], "f4")


def xxh3():
    library = ctypes.util.find_library("xxhash")
    if library is None:
        return None
    function = ctypes.CDLL(library).XXH3_64bits
    function.restype, function.argtypes = ctypes.c_uint64, (ctypes.c_char_p, ctypes.c_size_t)
    return lambda data: f"{function(bytes(data), len(data)):016x}"


def halves(b, at):
    """The f16 at byte `at` of each block, [blocks, 1]."""
    return b[:, at:at + 2].copy().view("<f2").astype("f4")


def nibbles(b):
    """Low nibbles of all bytes, then the high ones."""
    return numpy.concatenate([b & 15, b >> 4], axis=1)


def pairs(b, n_halves=2):
    """Value 32 r + j of each half of 128 is at bit 2 r of byte j of its 32 bytes."""
    return numpy.concatenate([b[:, 32 * h:32 * h + 32] >> 2 * r & 3 for h in range(n_halves) for r in range(4)], axis=1)


def third_bits(b):
    """Bit g of byte j belongs to value 32 g + j."""
    return numpy.concatenate([b >> g & 1 for g in range(8)], axis=1)


def k_nibbles(b):
    return numpy.concatenate([b[:, 32 * c:32 * c + 32] >> shift & 15 for c in range(4) for shift in (0, 4)], axis=1)


def k_scales(b):
    low, high, rest = b[:, 0:4], b[:, 4:8], b[:, 8:12]
    scales = numpy.concatenate([low & 63, rest & 15 | low >> 6 << 4], axis=1)
    minimums = numpy.concatenate([high & 63, rest >> 4 | high >> 6 << 4], axis=1)
    return scales.astype("f4"), minimums.astype("f4")


def spread(scales, n):
    return numpy.repeat(scales, n, axis=1)


def q4_k(b):
    scales, minimums = k_scales(b[:, 4:16])
    return spread(halves(b, 0) * scales, 32) * k_nibbles(b[:, 16:]) - spread(halves(b, 2) * minimums, 32)


def q5_k(b):
    scales, minimums = k_scales(b[:, 4:16])
    q = k_nibbles(b[:, 48:]) + (third_bits(b[:, 16:48]) << 4)
    return spread(halves(b, 0) * scales, 32) * q - spread(halves(b, 2) * minimums, 32)


def q6_k(b):
    q = []
    for h in range(2):
        low, high = b[:, 64 * h:64 * h + 64], b[:, 128 + 32 * h:160 + 32 * h]
        for r in range(4):
            at = 32 * (r % 2)
            q.append(low[:, at:at + 32] >> (4 if r >= 2 else 0) & 15 | (high >> 2 * r & 3) << 4)
    scales = b[:, 192:208].view("i1").astype("f4")
    return spread(halves(b, 208) * scales, 16) * (numpy.concatenate(q, axis=1).astype("f4") - 32)


def q3_k(b):
    packed = b[:, 96:108]
    low = numpy.concatenate([packed[:, :8] & 15, packed[:, :8] >> 4], axis=1)
    high = numpy.concatenate([packed[:, 8:] >> 2 * k & 3 for k in range(4)], axis=1)
    q = (pairs(b[:, 32:96]) | third_bits(b[:, :32]) << 2).astype("f4") - 4
    return spread(halves(b, 108) * ((low | high << 4).astype("f4") - 32), 16) * q


def q2_k(b):
    scales, minimums = (b[:, :16] & 15).astype("f4"), (b[:, :16] >> 4).astype("f4")
    return spread(halves(b, 80) * scales, 16) * pairs(b[:, 16:80]) - spread(halves(b, 82) * minimums, 16)


def iq4_xs(b):
    upper, low = b[:, 2:4].copy().view("<u2"), b[:, 4:8]
    scales = [(low[:, g // 2:g // 2 + 1] >> 4 * (g % 2) & 15) + 16. * (upper >> 2 * g & 3) - 32 for g in range(8)]
    levels = numpy.concatenate([LEVELS[nibbles(b[:, 8 + 16 * g:24 + 16 * g])] for g in range(8)], axis=1)
    return spread(halves(b, 0) * numpy.concatenate(scales, axis=1).astype("f4"), 32) * levels


DECODERS = {
    "f32": lambda b: b.copy().view("<f4"),
    "f16": lambda b: b.copy().view("<f2").astype("f4"),
    "bf16": lambda b: (b.copy().view("<u2").astype("<u4") << 16).view("<f4"),
    "q8_0": lambda b: halves(b, 0) * b[:, 2:].view("i1"),
    "q4_0": lambda b: halves(b, 0) * (nibbles(b[:, 2:]).astype("f4") - 8),
    "iq4_nl": lambda b: halves(b, 0) * LEVELS[nibbles(b[:, 2:])],
    "mxfp4": lambda b: numpy.exp2(b[:, :1].astype("f8") - 127).astype("f4") * E2M1[nibbles(b[:, 1:])],
    "q2_k": q2_k, "q3_k": q3_k, "q4_k": q4_k, "q5_k": q5_k, "q6_k": q6_k, "iq4_xs": iq4_xs,
}


def decode(word, data):
    """Of a format whose scales are within its blocks."""
    return DECODERS[word](numpy.frombuffer(data, "u1").reshape(-1, BLOCKS[word][1])).astype("f4").ravel()


def decode_affine(bits, data, scales, biases, group):
    """One row or several; scales and biases in order, as f32."""
    stream = numpy.unpackbits(numpy.frombuffer(data, "u1"), bitorder="little").reshape(-1, bits)
    q = (stream * (1 << numpy.arange(bits))).sum(axis=1).astype("f4")
    return numpy.repeat(scales, group) * q + numpy.repeat(biases, group)


class Matrix:
    """What a manifest calls MATRIX."""

    def __init__(self, entry):
        self.word, self.rows, self.cols = entry["format"], entry["rows"], entry["cols"]
        values, n_bytes = BLOCKS[self.word]
        self.sizes = [self.rows * self.cols // values * n_bytes, 0, 0]  # weights, scales, biases
        self.scale_type, self.group = entry.get("scale_type"), entry.get("group_cols")
        if self.scale_type:
            assert entry["group_rows"] == 1 and "first_row" not in entry
            self.sizes[1:] = [self.rows * self.cols // self.group * SCALE_BYTES[self.scale_type]] * 2

    def values(self, parts):
        """Of its three parts' bytes, [rows, cols]."""
        if self.scale_type:
            scales, biases = (decode(self.scale_type, part) for part in parts[1:])
            flat = decode_affine(int(self.word.removeprefix("affine")), parts[0], scales, biases, self.group)
        else:
            flat = decode(self.word, parts[0])
        return flat.reshape(self.rows, self.cols)


class Gguf:
    SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}

    def __init__(self, path):
        self.data, self.at = Path(path).read_bytes(), 4
        assert self.data[:4] == b"GGUF"
        version, n_tensors, n_metadata = self.take("IQQ")
        assert version == 3
        self.metadata = {self.text(): self.value(*self.take("I")) for _ in range(n_metadata)}
        self.tensors = {}  # name: (type, shape, offset, bytes)
        for _ in range(n_tensors):
            name, (n_dims,) = self.text(), self.take("I")
            shape = self.take(f"{n_dims}Q")[::-1]
            kind, offset = self.take("IQ")
            values, n_bytes = BLOCKS[GGUF_TYPES[kind]]
            count = int(numpy.prod(shape)) // values * n_bytes
            self.tensors[name] = (GGUF_TYPES[kind], shape, offset, count)
        alignment = self.metadata.get("general.alignment", 32)
        self.start = -(-self.at // alignment) * alignment

    def take(self, form):
        got = struct.unpack_from("<" + form, self.data, self.at)
        self.at += struct.calcsize("<" + form)
        return got

    def text(self):
        length, = self.take("Q")
        self.at += length
        return self.data[self.at - length:self.at].decode()

    def value(self, kind):
        if kind == 8:
            return self.text()
        if kind == 9:
            inner, n = self.take("IQ")
            return [self.value(inner) for _ in range(n)]
        return self.take(self.SCALARS[kind])[0]

    def raw(self, name):
        _, _, offset, count = self.tensors[name]
        return self.data[self.start + offset:self.start + offset + count]

    def values(self, name):
        word, shape, _, _ = self.tensors[name]
        return decode(word, self.raw(name)).reshape(shape)


class PackedFolder:
    def __init__(self, folder):
        self.folder = Path(folder)
        self.text = (self.folder / "manifest.json").read_text(encoding="utf-8")
        self.manifest = json.loads(self.text)
        self.trunk = Gguf(self.folder / self.manifest["trunk"]["file"])
        self.banks = [(self.folder / layer["file"]).read_bytes() for layer in self.manifest["layers"]]

    def record(self, layer, expert):
        entry = self.manifest["layers"][layer]
        at = expert * entry["stride"]
        return self.banks[layer][at:at + entry["record_bytes"]]

    def expert(self, layer, expert, role):
        """(the parts' bytes, values) of "gate", "up" or "down"."""
        record, at = self.record(layer, expert), 0
        for name in ("gate", "up", "down"):
            matrix, parts = Matrix(self.manifest["layers"][layer][name]), []
            for size in matrix.sizes:
                parts.append(record[at:at + size])
                at += size
            if name == role:
                return parts, matrix.values(parts)
        raise KeyError(role)

    def trunk_parts(self, name):
        return [self.trunk.raw(n) for n in (name, name + ".scales", name + ".biases") if n in self.trunk.tensors]

    def trunk_values(self, name):
        for entry in self.manifest["trunk"]["apart"]:
            if entry["name"] == name:
                return Matrix(entry).values(self.trunk_parts(name))
        return self.trunk.values(name)
