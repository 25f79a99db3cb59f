"""Packed folders through a reader that was written from docs/formats.md."""
import json
import struct
import unittest

import numpy

from flashmoe_cli import MODEL, SOURCE_DIR
from pack_case import FOLDER, PackCase
from packed_reader import BLOCKS, DECODERS, Gguf, PackedFolder, decode, decode_affine, xxh3

FIXTURES = SOURCE_DIR / "tests" / "data" / "quant"
ROLES = ("gate", "up", "down")
# A format for each matrix of the eight layers; how far it may be from the source, relative and root mean square.
FORMATS = {"f32": 1e-6, "f16": 1e-3, "bf16": 3e-3, "q8_0": .007, "q6_k": .02, "q5_k": .04, "q4_k": .08, "q3_k": .16,
           "q2_k": .35, "iq4_xs": .09, "iq4_nl": .09, "q4_0": .1, "mxfp4": .13, "affine8": .006, "affine4": .09,
           "affine3": .18, "affine2": .4}


class Reader(PackCase):
    def pack_of_every_format(self):
        words = list(FORMATS) * 2
        layers = {str(i): dict(zip(ROLES, words[3 * i:3 * i + 3])) for i in range(8)}
        recipe = self.folder / "recipe.json"
        recipe.write_text(json.dumps({"layers": layers, "trunk": "affine8", "embedding": "affine4", "output": "q6_k"}))
        return PackedFolder(self.pack(MODEL, "--recipe", recipe, "--scale-type", "bf16", name="every"))

    def check_sums(self, packed):
        checksum = xxh3()
        if checksum is None:
            self.skipTest("libxxhash is not installed")
        manifest = dict(packed.manifest)
        self.assertEqual((manifest["format"], manifest["version"]), ("flashmoe-pack", 2))
        said = manifest.pop("xxh3")
        self.assertEqual(checksum(json.dumps(manifest, indent=1, ensure_ascii=False).encode()), said)
        trunk = manifest["trunk"]
        self.assertEqual(len(packed.trunk.data), trunk["bytes"])
        first = min(packed.trunk.start + offset for _, _, offset, _ in packed.trunk.tensors.values())
        self.assertEqual(trunk["header_bytes"], first)
        self.assertEqual(checksum(packed.trunk.data[:first]), trunk["header_xxh3"])
        for name, said in trunk["tensors"].items():
            self.assertEqual(checksum(b"".join(packed.trunk_parts(name))), said, name)
        for i, layer in enumerate(manifest["layers"]):
            self.assertEqual(layer["stride"], -(-layer["record_bytes"] // 4096) * 4096)
            self.assertEqual(len(packed.banks[i]), manifest["n_experts"] * layer["stride"])
            self.assertEqual([checksum(packed.record(i, e)) for e in range(manifest["n_experts"])], layer["xxh3"])

    def test_checksums_and_places_are_what_the_page_says(self):
        for source, arguments in ((MODEL, ()), (FOLDER, ("--experts", "affine4"))):
            with self.subTest(source=source):
                self.check_sums(PackedFolder(self.pack(source, *arguments, name=source.name)))

    def test_kept_bytes_are_those_of_the_source(self):
        packed, source = PackedFolder(self.pack(MODEL)), Gguf(MODEL)
        routed = [name for name in source.tensors if "_exps" in name and name.split(".")[1] != "8"]
        self.assertEqual(len(routed), 24)
        for name in routed:
            layer, role = int(name.split(".")[1]), name.split("ffn_")[1].split("_")[0]
            stack = b"".join(packed.expert(layer, e, role)[0][0] for e in range(16))
            self.assertEqual(stack, source.raw(name), name)
        for name in source.tensors.keys() - set(routed):
            self.assertEqual(packed.trunk.raw(name), source.raw(name), name)
            self.assertEqual(packed.trunk.tensors[name][:2], source.tensors[name][:2])
        for key, value in source.metadata.items():
            if key.startswith(("tokenizer.", "qwen35moe.")):
                self.assertEqual(packed.trunk.metadata[key], value, key)

    def test_every_format_decodes_to_about_the_source(self):
        packed, source = self.pack_of_every_format(), Gguf(MODEL)
        self.check_sums(packed)
        seen = set()
        for layer in range(8):
            for role in ROLES:
                word = packed.manifest["layers"][layer][role]["format"]
                seen.add(word)
                want = source.values(f"blk.{layer}.ffn_{role}_exps.weight")
                got = numpy.stack([packed.expert(layer, e, role)[1] for e in range(16)])
                self.assertLess(numpy.sqrt(((got - want)**2).sum() / (want**2).sum()), FORMATS[word], (layer, role, word))
        self.assertEqual(seen, set(FORMATS))
        for name, far in (("token_embd.weight", .1), ("blk.0.attn_qkv.weight", .006), ("output_norm.weight", 0)):
            want, got = source.values(name), packed.trunk_values(name)
            self.assertLessEqual(numpy.sqrt(((got - want)**2).sum() / (want**2).sum()), far, name)

    def test_blocks_decode_to_what_others_make_of_them(self):
        for word in DECODERS:
            raw = (FIXTURES / f"{word.upper()}.bin").read_bytes()
            n_bytes, n_values = struct.unpack("<II", raw[:8])
            want = numpy.frombuffer(raw[8 + n_bytes:], "<f4")
            self.assertEqual(n_values, want.size)
            numpy.testing.assert_allclose(decode(word, raw[8:8 + n_bytes]), want, rtol=1e-6, atol=1e-30, err_msg=word)
        for bits in (2, 3, 4, 8):
            raw, at = (FIXTURES / f"affine{bits}.bin").read_bytes(), 0
            while at < len(raw):
                kind, group, n = struct.unpack_from("<III", raw, at)
                scale_word = ("f32", "f16", "bf16")[kind]
                sizes = [n * bits // 8] + [n // group * BLOCKS[scale_word][1]] * 2 + [4 * n]
                parts, at = [], at + 12
                for size in sizes:
                    parts.append(raw[at:at + size])
                    at += size
                scales, biases = (decode(scale_word, part) for part in parts[1:3])
                numpy.testing.assert_allclose(decode_affine(bits, parts[0], scales, biases, group),
                                              numpy.frombuffer(parts[3], "<f4"), rtol=1e-6, atol=1e-7)


if __name__ == "__main__":
    unittest.main()
