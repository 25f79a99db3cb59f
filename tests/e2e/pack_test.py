"""flashmoe pack: folders that run like their source, that survive any stop, and that never give wrong text."""
import json
import os
import random
import signal
import struct
import subprocess
import time
import unittest
from pathlib import Path

from flashmoe_cli import BINARY, MODEL, SOURCE_DIR, Case, flashmoe, start

IDS = "1 2 3 40 50 60 70 8 9 100 11 12"
GOLDENS = SOURCE_DIR / "tests" / "data" / "goldens"
FOLDER = GOLDENS / "qwen3_5_moe"


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}


class PackCase(Case):
    def pack(self, source, *arguments, name="packed", **more):
        destination = self.folder / name
        self.assert_done(flashmoe("pack", source, destination, "--quiet", *arguments, **more))
        return destination

    def logits(self, model, *arguments):
        out = self.folder / "logits.safetensors"
        self.assert_done(flashmoe("logits", "-m", model, "--ids", "-", "--out", out, *arguments, stdin=IDS.encode()))
        return out.read_bytes()

    def floats(self, model):
        raw = self.logits(model, "--exact")
        begin = 8 + struct.unpack("<Q", raw[:8])[0]
        return struct.unpack(f"<{(len(raw) - begin) // 4}f", raw[begin:])

    def distance(self, model, reference):
        a, b = self.floats(model), self.floats(reference)
        return (sum((x - y) ** 2 for x, y in zip(a, b)) / sum(y * y for y in b)) ** 0.5


class Keep(PackCase):
    def test_logits_are_the_same_bits(self):
        for source in (MODEL, FOLDER, GOLDENS / "gguf" / "Q6_K.gguf"):
            with self.subTest(source=source):
                packed = self.pack(source, "--verify", name=Path(source).name)
                for mode in ((), ("--exact",), ("--experts", "streamed")):
                    self.assertEqual(self.logits(packed, *mode), self.logits(source, *mode))

    def test_weights_are_the_same_bytes(self):
        packed = self.pack(MODEL)
        bank = (packed / "experts-03.bank").read_bytes()
        manifest = json.loads((packed / "manifest.json").read_text())
        layer = manifest["layers"][3]
        source = MODEL.read_bytes()
        for expert in range(manifest["n_experts"]):
            at = expert * layer["stride"]
            self.assertEqual(at % 4096, 0)
            third = bank[at:at + 36864]  # 256 x 256 in Q4_K, the gate
            self.assertIn(third, source)

    def test_text_and_chat_are_those_of_the_source(self):
        packed = self.pack(MODEL)
        self.assertEqual(self.ask("-m", packed, "-n", 12, "-p", "Hello"), self.ask("-n", 12, "-p", "Hello"))

    def test_the_trunk_is_a_gguf_that_others_read(self):
        try:
            from gguf import GGUFReader
        except ImportError:
            self.skipTest("the gguf package is not installed (pip install gguf)")
        trunk = GGUFReader(str(self.pack(FOLDER) / "trunk.gguf"))
        names = {tensor.name: tensor for tensor in trunk.tensors}
        self.assertEqual(list(names["blk.0.attn_norm.weight"].shape), [128])
        self.assertFalse([name for name in names if "_exps" in name])
        self.assertEqual(trunk.fields["general.architecture"].contents(), "qwen35moe")


class Formats(PackCase):
    def test_more_bits_come_nearer(self):
        errors = []
        for word in ("affine8", "affine4", "affine2"):
            errors.append(self.distance(self.pack(MODEL, "--experts", word, name=word), MODEL))
        self.assertLess(errors[0], 0.05)
        self.assertLess(errors[0], errors[1])
        self.assertLess(errors[1], errors[2])

    def test_every_format_packs_verifies_and_runs(self):
        for word in ("q8_0", "q6_k", "q5_k", "q4_k", "q3_k", "q2_k", "iq4_xs", "mxfp4", "affine3"):
            with self.subTest(format=word):
                packed = self.pack(MODEL, "--experts", word, "--trunk", "q8_0", "--verify", name=word)
                self.assertLess(self.distance(packed, MODEL), 1.0)

    def test_a_recipe_goes_by_layer_and_role(self):
        recipe = self.folder / "recipe.json"
        recipe.write_text(json.dumps({"experts": "q4_k", "down": "q6_k", "layers": {"0-1": {"experts": "q8_0"}}}))
        layers = json.loads((self.pack(MODEL, "--recipe", recipe) / "manifest.json").read_text())["layers"]
        self.assertEqual([layers[i][role]["format"] for i in (1, 2) for role in ("gate", "down")],
                         ["q8_0", "q8_0", "q4_k", "q6_k"])

    def test_any_number_of_threads_and_any_memory_give_the_same_bytes(self):
        one = self.pack(MODEL, "--experts", "q3_k", "--threads", 1, "--ram", "20M", name="one")
        two = self.pack(MODEL, "--experts", "q3_k", "--threads", 3, name="two")
        self.assertEqual(contents(one), contents(two))


class Stops(PackCase):
    ARGUMENTS = ("--experts", "affine4", "--trunk", "q6_k", "--quiet")

    def test_killed_at_twenty_moments_it_goes_on_to_the_same_bytes(self):
        began = time.monotonic()
        whole = self.pack(MODEL, *self.ARGUMENTS[:-1], name="whole")
        seconds = time.monotonic() - began
        expected = contents(whole)
        chance = random.Random(7)
        destination, n_killed = self.folder / "killed", 0
        for i in range(20):
            process = start("pack", MODEL, destination, *self.ARGUMENTS)
            time.sleep(chance.uniform(0, seconds))
            process.kill()
            _, err = process.communicate(timeout=60)
            n_killed += process.returncode == -signal.SIGKILL
            if process.returncode == 0 or i % 5 == 4:
                if process.returncode != 0:
                    self.assert_done(flashmoe("pack", MODEL, destination, *self.ARGUMENTS))
                self.assertEqual(contents(destination), expected, err)
                subprocess.run(["rm", "-r", destination], check=True)
        self.assertGreater(n_killed, 0)

    def test_damage_done_between_is_found_and_mended(self):
        destination = self.folder / "packed"
        whole = contents(self.pack(MODEL, name="whole"))
        destination.mkdir()
        for name, data in whole.items():
            (destination / name.replace("manifest.json", "manifest.unfinished.json")).write_bytes(data)
        bank = destination / "experts-02.bank"
        data = bytearray(bank.read_bytes())
        data[5000] ^= 1
        bank.write_bytes(data)
        (destination / "experts-04.bank").unlink()
        self.assert_fails(flashmoe("run", "-m", destination, "-p", "x"), 1, "not finished")
        self.assert_done(flashmoe("pack", MODEL, destination, "--quiet"))
        self.assertEqual(contents(destination), whole)

    def test_ctrl_c_tells_how_to_go_on(self):
        source = SOURCE_DIR.parent / "shared" / "spark" / "hf"
        arguments = (source if source.exists() else MODEL, self.folder / "packed", "--experts", "affine2", "--quiet")
        process = start("pack", *arguments, "--threads", 1)
        time.sleep(0.15)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        if process.returncode != 0:
            self.assertIn("same command again", err.decode())
        if not (self.folder / "packed" / "manifest.json").exists():
            self.assert_done(flashmoe("pack", *arguments))
        self.assertIn("manifest.json", contents(self.folder / "packed"))

    def test_a_full_disk_leaves_what_is_done(self):
        place = Path("/dev/shm") / f"flashmoe-pack-{os.getpid()}"
        place.mkdir()
        self.addCleanup(lambda: subprocess.run(["rm", "-r", place], check=False))
        # A limit on the size of files stands for the disk: the trunk fits under it, a layer does not.
        limited = subprocess.run(["bash", "-c", f"ulimit -f 1000; exec {BINARY} pack {MODEL} {place}/packed --quiet"],
                                 capture_output=True, check=False)
        self.assertEqual(limited.returncode, 1)
        self.assertIn(b"File too large", limited.stderr)
        self.assert_done(flashmoe("pack", MODEL, place / "packed", "--quiet", "--verify"))


class Refusals(PackCase):
    def test_of_places_and_words(self):
        packed = self.pack(MODEL)
        other = self.folder / "other"
        other.mkdir()
        (other / "diary.txt").write_text("dear diary")
        recipe = self.folder / "recipe.json"
        recipe.write_text('{"expertz": "q4_k"}')
        new = self.folder / "new"
        for arguments, code, part in (
                ((MODEL, packed), 2, "is packed already"),
                ((packed, packed), 2, "is where the source is"),
                ((FOLDER, FOLDER), 2, "is where the source is"),
                ((MODEL, other), 2, "diary.txt"),
                ((MODEL, new, "--experts", "q9"), 2, "'q9'"),
                ((FOLDER, new, "--experts", "q4_k"), 2, "rows of 128"),
                ((MODEL, new, "--recipe", recipe), 1, "'expertz'"),
                ((MODEL, new, "--ram", "1M"), 2, "needs"),
        ):
            with self.subTest(part=part):
                self.assert_fails(flashmoe("pack", *arguments), code, part) if "--ram" not in arguments else \
                    self.assert_fails(flashmoe("pack", *arguments, "--quiet"), code, part)
                self.assertFalse(new.exists())

    def test_other_options_do_not_go_on_with_what_was_begun(self):
        begun = self.pack(MODEL)
        (begun / "manifest.json").rename(begun / "manifest.unfinished.json")
        self.assert_fails(flashmoe("pack", MODEL, begun, "--experts", "q8_0", "--quiet"), 2, "other options")

    def test_dry_run_writes_nothing(self):
        run = self.assert_done(flashmoe("pack", MODEL, self.folder / "new", "--experts", "affine4", "--dry-run"))
        self.assertIn("affine4", run.out)
        self.assertIn("needed", run.out)
        self.assertFalse((self.folder / "new").exists())


class Damage(PackCase):
    def damaged(self):
        packed = self.pack(MODEL)
        for bank in packed.glob("experts-*.bank"):
            data = bytearray(bank.read_bytes())
            stride = json.loads((packed / "manifest.json").read_text())["layers"][0]["stride"]
            for at in range(100, len(data), stride):
                data[at] ^= 0x40
            bank.write_bytes(data)
        return packed

    def test_a_damaged_record_is_named_and_gives_no_text(self):
        packed = self.damaged()
        for more in ((), ("--io", "buffered"), ("--experts", "streamed"), ("--verify-reads", "always")):
            run = flashmoe("run", "-m", packed, "-p", "Hello", "-n", 4, "--quiet", *more)
            self.assert_fails(run, 1, "experts-00.bank", "layer 0", "checksum")
        self.assert_done(flashmoe("run", "-m", packed, "-p", "Hello", "-n", 4, "--quiet", "--verify-reads", "never"))

    def test_cut_banks_and_odd_manifests_are_refused(self):
        packed = self.pack(MODEL)
        whole = (packed / "manifest.json").read_text()
        for old, new in (("flashmoe-pack", "x"), ('"version": 1', '"version": 2'), ('"rows": 256', '"rows": 255'),
                         ('"rows": 256', '"rows": 4611686018427387904'), ('"n_experts": 16', '"n_experts": 17'),
                         ("experts-00.bank", "../../etc/passwd"), ("q4_k", "q4_q"), ("{", "[")):
            (packed / "manifest.json").write_text(whole.replace(old, new, 1))
            self.assert_fails(flashmoe("inspect", packed), 1, "manifest.json")
        (packed / "manifest.json").write_text(whole)
        with open(packed / "experts-01.bank", "r+b") as bank:
            bank.truncate(4096)
        self.assert_fails(flashmoe("inspect", packed), 1, "experts-01.bank", "4096")


if __name__ == "__main__":
    unittest.main()
