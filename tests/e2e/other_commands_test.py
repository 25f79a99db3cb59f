"""flashmoe inspect, tokenize and logits, and where the built-in model is found."""
import json
import shutil
import struct
import subprocess
import unittest

import numpy

from flashmoe_cli import BUILD_DIR, MODEL, QUESTION, Case, flashmoe


class Inspect(Case):
    def test_built_in_model(self):
        report = json.loads(self.assert_done(flashmoe("inspect", MODEL, "--json")).out)
        expected = {"container": "GGUF v3", "family": "qwen3_5_moe", "n_layers": 8, "n_attention_layers": 2,
                    "d_model": 256, "n_experts": 16, "n_experts_used": 4, "d_ff_expert": 256, "n_heads": 4,
                    "n_kv_heads": 2, "d_head": 64, "n_key_heads": 4, "n_value_heads": 8, "d_key": 64, "d_value": 64,
                    "vocab_size": 4096, "context_tokens": 8192, "file_bytes": MODEL.stat().st_size,
                    "has_tokenizer": True, "has_chat_template": True}
        self.assertEqual({name: report[name] for name in expected}, expected)
        self.assertEqual(sum(entry["n_tensors"] for entry in report["formats"]), report["n_tensors"])
        self.assertLess(report["trunk_bytes"] + report["expert_bytes"], report["file_bytes"])
        self.assertGreaterEqual(report["expert_bytes"], 16 * 8 * report["bytes_per_expert"] * 0.8)
        self.assertLess(report["expert_bytes_per_token"], report["expert_bytes"] / 3)
        self.assertGreater(report["kv_bytes_per_token"], 0)
        self.assertEqual([part["what"] for part in report["not_run"]], ["draft head"])
        self.assertEqual((report["unused_tensors"], report["unused_bytes"]), ([], 0))
        self.assert_adds_up(report)
        self.assertGreater(report["state_bytes"], 0)

    def assert_adds_up(self, report):
        parts = report["trunk_tensor_bytes"] + report["expert_bytes"] + report["unused_bytes"]
        parts += sum(part["bytes"] for part in report["not_run"])
        self.assertEqual(parts, report["tensor_bytes"])
        self.assertEqual(parts, sum(entry["bytes"] for entry in report["formats"]))
        self.assertTrue(0.9 * report["trunk_bytes"] < report["trunk_tensor_bytes"] <= report["trunk_bytes"])

    def test_experts_of_different_sizes(self):
        page = self.assert_done(flashmoe("inspect", MODEL)).out
        report = json.loads(flashmoe("inspect", MODEL, "--json").out)
        mean = report["expert_bytes"] / (8 * 16)
        self.assertRegex(page, rf"experts +[\d.]+ MB, {mean / 1e3:.0f} KB each on average, {report['bytes_per_expert'] / 1e3:.0f} KB at most\n")
        self.assertRegex(page, r"not run +[\d.]+ MB, draft head\n")

    def test_for_people(self):
        page = self.assert_done(flashmoe("inspect", MODEL)).out
        for part in ("qwen3_5_moe", "GGUF v3", "Q4_K", "trunk", "experts", "4,096", str(MODEL)):
            self.assertIn(part, page)
        self.assertLessEqual(max(len(line) for line in page.splitlines() if str(MODEL) not in line), 80, page)

    def test_without_a_path_it_is_the_built_in_model(self):
        report = json.loads(self.assert_done(flashmoe("inspect", "--json")).out)
        self.assertEqual(report["n_layers"], 8)

    def test_a_model_may_be_named_as_everywhere_else(self):
        self.assertEqual(flashmoe("inspect", "-m", MODEL).out, self.assert_done(flashmoe("inspect", MODEL)).out)
        self.assert_fails(flashmoe("inspect", MODEL, "-m", MODEL), 2, "--model")


class Tokenize(Case):
    TEXTS = ["Hello world", " two  spaces ", "line\nbreak\n", "naïve 日本語 🎉 e\u0301", "<|im_start|>user\n", "", "12345"]

    def test_round_trip(self):
        for text in self.TEXTS:
            ids = self.assert_done(flashmoe("tokenize", text)).out
            self.assertTrue(ids.endswith("\n"))
            if not ids.split():
                self.assertEqual(text, "")
                continue
            back = flashmoe("tokenize", "--ids", *ids.split()).raw_out.decode("utf-8")
            self.assertEqual(back, text.replace("e\u0301", "é"))  # NFC
            self.assertEqual(flashmoe("tokenize", "--ids", "-", stdin=ids.encode()).raw_out.decode("utf-8"), back)
            self.assertEqual(flashmoe("tokenize", "-", stdin=text.encode()).out, ids)

    def test_marks(self):
        text = "<|im_start|>"
        self.assertEqual(len(flashmoe("tokenize", text).out.split()), 1)
        plain = flashmoe("tokenize", "--no-marks", text).out.split()
        self.assertGreater(len(plain), 1)
        self.assertEqual(flashmoe("tokenize", "--ids", *plain).out, text)

    def test_invalid_utf8_becomes_a_replacement_character(self):
        ids = self.assert_done(flashmoe("tokenize", b"a\xffb")).out.split()
        self.assertEqual(flashmoe("tokenize", "--ids", *ids).raw_out.decode("utf-8"), "a\ufffdb")

    def test_bad_ids(self):
        self.assert_fails(flashmoe("tokenize", "--ids", 1, 999999), 1, "999999")
        self.assert_fails(flashmoe("tokenize", "--ids", 1, "x"), 2, "--ids: a token id is expected, not 'x'")
        self.assert_fails(flashmoe("tokenize", "--ids", "-", stdin=b"1\nx"), 1, "standard input: line 2", "'x'")
        self.assertEqual(flashmoe("tokenize", "--ids", "100 101").out, flashmoe("tokenize", "--ids", 100, 101).out)
        self.assert_fails(flashmoe("tokenize"), 2, "TEXT")
        self.assert_fails(flashmoe("tokenize", "x", "--ids", 1), 2, "--ids")


def read_safetensors(path):
    data = path.read_bytes()
    length = struct.unpack_from("<Q", data)[0]
    header = json.loads(data[8:8 + length])
    entry = header["logits"]
    begin, end = entry["data_offsets"]
    assert entry["dtype"] == "F32" and 8 + length + end == len(data) and length % 8 == 0
    return numpy.frombuffer(data[8 + length + begin:8 + length + end], dtype="<f4").reshape(entry["shape"])


class Logits(Case):
    def logits(self, ids, *arguments):
        out = self.folder / "logits.safetensors"
        stdin = " ".join(map(str, ids)).encode()
        run = self.assert_done(flashmoe("logits", "--ids", "-", "--out", out, *arguments, stdin=stdin))
        self.assertEqual((run.out, run.err), ("", ""))
        return read_safetensors(out)

    def test_shape_and_meaning(self):
        prompt = f"<|im_start|>user\n{QUESTION}<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
        ids = flashmoe("tokenize", prompt).out.split()
        rows = self.logits(ids)
        self.assertEqual(rows.shape, (len(ids), 4096))
        self.assertTrue(numpy.isfinite(rows).all())
        greedy = flashmoe("tokenize", "--ids", int(rows[-1].argmax())).raw_out
        answer = flashmoe("run", "--quiet", "--raw", "-p", prompt).raw_out
        self.assertTrue(answer.startswith(greedy), (greedy, answer))

    def test_the_past_does_not_see_the_future(self):
        ids = list(range(100, 230))
        whole, part = self.logits(ids, "--exact"), self.logits(ids[:70], "--exact")
        self.assertLess(numpy.abs(whole[:70] - part).max(), 1e-3)

    def test_ids_from_a_file(self):
        path = self.folder / "ids.txt"
        path.write_text("5\n6\t7\n\n 8 ", encoding="utf-8")
        out = self.folder / "from_file.safetensors"
        self.assert_done(flashmoe("logits", "-m", MODEL, "--ids", path, "--out", out))
        self.assertTrue(numpy.array_equal(read_safetensors(out), self.logits([5, 6, 7, 8])))

    def test_bad_ids(self):
        out = self.folder / "logits.safetensors"
        for stdin, part in ((b"1 2 x", "'x'"), (b"1\n2\n-3", "line 3"), (b"", "no token ids"), (b"1 4096", "4096"),
                            (b"99999999999", "line 1"), (b"1.5", "'1.5'")):
            self.assert_fails(flashmoe("logits", "--ids", "-", "--out", out, stdin=stdin), 1, part)
            self.assertFalse(out.exists())
        self.assert_fails(flashmoe("logits", "--ids", "-", "--out", out, "--ctx", 4, stdin=b"1 2 3 4 5"), 2, "--ctx")
        self.assert_done(flashmoe("logits", "--ids", "-", "--out", out, "--ctx", 5, stdin=b"1 2 3 4 5"))
        out.unlink()
        self.assertEqual(list(self.folder.iterdir()), [])


class Places(Case):
    def test_installed(self):
        subprocess.run(["cmake", "--install", BUILD_DIR, "--prefix", self.folder / "usr"], check=True,
                       capture_output=True)
        binary = self.folder / "usr/bin/flashmoe"
        answer = self.ask("-n", 5, "-p", QUESTION)
        self.assertEqual(self.assert_done(flashmoe("run", "--quiet", "-n", 5, "-p", QUESTION, binary=binary)).out, answer)
        link = self.folder / "elsewhere"
        link.symlink_to(binary)
        self.assertEqual(flashmoe("run", "--quiet", "-n", 5, "-p", QUESTION, binary=link, cwd="/").out, answer)
        run = flashmoe("run", "--quiet", "-n", 5, "-p", QUESTION, binary="flashmoe", cwd="/",
                       env={"PATH": str(binary.parent)})
        self.assertEqual(run.out, answer)

        alone = self.folder / "bin" / "alone"
        alone.parent.mkdir()
        shutil.copy(binary, alone)
        self.assert_fails(flashmoe("run", "-p", "x", binary=alone), 1, "built-in model", "-m")
        self.assertEqual(flashmoe("run", "--quiet", "-n", 5, "-p", QUESTION, "-m", MODEL, binary=alone).out, answer)


if __name__ == "__main__":
    unittest.main()
