"""flashmoe calibrate: mean squares of what enters each matrix."""
import json
import signal
import unittest

import numpy

from flashmoe_cli import PATIENCE, SLOW, SOURCE_DIR, Case, flashmoe, start

TEXT = SOURCE_DIR / "models" / "spark" / "eval" / "text.txt"
CONVERSATIONS = SOURCE_DIR / "models" / "spark" / "eval" / "conversations.jsonl"
LAYERS, EXPERTS, USED, WIDTH = 8, 16, 4, 256


def read(path):
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8:8 + length])
    about = header.pop("__metadata__")
    tensors = {}
    for name, entry in header.items():
        first, end = entry["data_offsets"]
        tensors[name] = numpy.frombuffer(data[8 + length + first:8 + length + end], "<f4").reshape(entry["shape"])
    return about, tensors


class CalibrateTest(Case):
    def calibrate(self, *arguments):
        out = self.folder / "out.imatrix"
        self.assert_done(flashmoe("calibrate", "--out", out, *arguments))
        return read(out)

    def test_every_matrix_has_its_columns(self):
        about, tensors = self.calibrate("--text", TEXT, "--limit", "3", "--ctx", "200")
        self.assertEqual((about["format"], about["tokens"]), ("flashmoe-imatrix-1", "600"))
        for layer in range(LAYERS):
            for role in ("gate_up", "down"):
                name = f"layers.{layer}.experts.{role}"
                counts = tensors[name + ".counts"]
                self.assertEqual(tensors[name].shape, (EXPERTS, WIDTH))
                self.assertEqual(counts.sum(), 600 * USED)
                self.assertTrue((tensors[name][counts > 0].max(1) > 0).all())
                self.assertTrue((tensors[name][counts == 0] == 0).all())
            for name in ("ffn_gate_inp", "ffn_gate_shexp", "ffn_up_shexp", "ffn_down_shexp"):
                self.assertEqual(tensors[f"blk.{layer}.{name}.weight.counts"], [600])
            # The router and the shared expert read the same rows.
            numpy.testing.assert_array_equal(tensors[f"blk.{layer}.ffn_gate_inp.weight"],
                                             tensors[f"blk.{layer}.ffn_up_shexp.weight"])
        self.assertEqual(tensors["output.weight.counts"], [600])
        self.assertNotIn("token_embd.weight", tensors)
        for name, values in tensors.items():
            self.assertTrue((numpy.isfinite(values) & (values >= 0)).all(), name)

    def test_experts_rows_are_those_of_the_layer(self):
        _, tensors = self.calibrate("--conversations", CONVERSATIONS, "--limit", "3")
        for layer in range(LAYERS):
            name = f"layers.{layer}.experts.gate_up"
            counts = tensors[name + ".counts"].astype(float)
            # Each row goes to USED experts, so the experts' mean over all rows is the shared expert's only in total weight.
            self.assertEqual(counts.sum(), USED * tensors[f"blk.{layer}.ffn_up_shexp.weight.counts"][0])
            of_experts = (tensors[name] * counts[:, None]).sum(0) / counts.sum()
            numpy.testing.assert_allclose(of_experts, tensors[f"blk.{layer}.ffn_up_shexp.weight"], rtol=1e-4)

    def test_streamed_and_resident_give_the_same(self):
        arguments = ["--text", TEXT, "--limit", "2", "--ctx", "100"]
        _, resident = self.calibrate(*arguments, "--experts", "resident")
        _, streamed = self.calibrate(*arguments, "--experts", "streamed")
        self.assertEqual(resident.keys(), streamed.keys())
        for name, values in resident.items():
            numpy.testing.assert_array_equal(values, streamed[name], err_msg=name)

    def test_an_interruption_leaves_nothing(self):
        out = self.folder / "out.imatrix"
        slow = start("calibrate", "--text", TEXT, "--out", out, *SLOW)
        try:
            slow.wait(timeout=1.5)
        except Exception:  # still at it
            slow.send_signal(signal.SIGINT)
        _, err = slow.communicate(timeout=PATIENCE)
        self.assertEqual(slow.returncode, 130)
        self.assertIn(b"was not written", err)
        self.assertEqual(list(self.folder.iterdir()), [])

    def test_complaints(self):
        out = self.folder / "out.imatrix"
        empty = self.folder / "empty.txt"
        empty.write_text("")
        self.assert_fails(flashmoe("calibrate", "--out", out), 2, "--text and --conversations")
        self.assert_fails(flashmoe("calibrate", "--out", out, "--text", empty, "--conversations", empty), 2,
                          "--text excludes --conversations")
        self.assert_fails(flashmoe("calibrate", "--out", out, "--text", empty), 1, "no text")
        self.assert_fails(flashmoe("calibrate", "--out", self.folder / "no" / "x", "--text", TEXT), 1, "no")
        self.assert_fails(flashmoe("calibrate", "--text", TEXT), 2, "--out")
        self.assert_fails(flashmoe("calibrate", "--text", TEXT, "--out", "-"), 2, "--out", "standard output")
        absent = ["--text", self.folder / "absent.txt"]  # told before the model is looked for
        self.assert_fails(flashmoe("calibrate", *absent, "--out", out, "-m", "no.gguf"), 1, "absent.txt")


if __name__ == "__main__":
    unittest.main()
