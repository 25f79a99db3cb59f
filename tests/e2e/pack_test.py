"""flashmoe pack: folders that run like their source, that survive any stop, and that never give wrong text."""
import json
import os
import random
import shutil
import signal
import struct
import subprocess
import time
import unittest
from pathlib import Path

from flashmoe_cli import BINARY, MODEL, SOURCE_DIR, Case, flashmoe, start

TEXT = SOURCE_DIR / "models" / "spark" / "eval" / "text.txt"
CONVERSATIONS = SOURCE_DIR / "models" / "spark" / "eval" / "conversations.jsonl"
IDS = "1 2 3 40 50 60 70 8 9 100 11 12"
GOLDENS = SOURCE_DIR / "tests" / "data" / "goldens"
FOLDER = GOLDENS / "qwen3_5_moe"


def write_without(path, to, part):
    """A safetensors file less the tensors with `part` in their names."""
    raw = path.read_bytes()
    begin = 8 + struct.unpack("<Q", raw[:8])[0]
    header, data = {}, b""
    for name, entry in json.loads(raw[8:begin]).items():
        if name == "__metadata__" or part in name:
            continue
        first, end = entry["data_offsets"]
        header[name] = {**entry, "data_offsets": [len(data), len(data) + end - first]}
        data += raw[begin + first:begin + end]
    text = json.dumps(header).encode()
    to.write_bytes(struct.pack("<Q", len(text)) + text + data)


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


class Importance(PackCase):
    def test_a_calibrated_pack_comes_nearer_where_it_matters(self):
        imatrix = self.folder / "chats.imatrix"
        self.assert_done(flashmoe("calibrate", "--conversations", CONVERSATIONS, "--limit", "40", "--out", imatrix))
        nats = []
        for name, more in (("plain", ()), ("weighted", ("--imatrix", imatrix))):
            packed = self.pack(MODEL, "--experts", "q2_k", *more, name=name)
            run = self.assert_done(flashmoe("eval", "kld", "-m", packed, "--reference", MODEL, "--text", TEXT, "--limit",
                                            "3", "--ctx", "512", "--exact", "--json"))
            nats.append(json.loads(run.out)["kl_mean"])
        self.assertLess(nats[1], nats[0])

    def test_named_recipes_pack_and_run(self):
        sizes = []
        for name in ("4bit", "3bit", "2bit"):
            packed = self.pack(MODEL, "--recipe", name, name=name)
            self.assertLess(self.distance(packed, MODEL), 1.0)
            sizes.append(sum(path.stat().st_size for path in packed.iterdir()))
        self.assertEqual(sizes, sorted(sizes, reverse=True))


class DeletedSource(PackCase):
    """The golden folder has three shards; packing deletes them as it goes on."""
    TWICE = ("--delete-source-shards", "--delete-source-shards")
    ARGUMENTS = ("--experts", "affine4", "--quiet")

    def copy_of_source(self):
        source = self.folder / "source"
        shutil.rmtree(source, ignore_errors=True)
        shutil.copytree(FOLDER, source, ignore=shutil.ignore_patterns("golden*", "provenance*"))
        return source

    def without_vision(self):
        """The folder's text model as three shards, so that all of them can go."""
        source = self.folder / "source"
        shutil.rmtree(source, ignore_errors=True)
        source.mkdir()
        for path in FOLDER.iterdir():
            if path.suffix == ".safetensors" and "-of-" in path.name:
                write_without(path, source / path.name, "visual.")
            elif path.name == "config.json":
                shutil.copy(path, source)
            elif path.name.endswith("index.json"):
                index = json.loads(path.read_text())
                index["weight_map"] = {k: v for k, v in index["weight_map"].items() if "visual." not in k}
                (source / path.name).write_text(json.dumps(index))
        return source

    def test_all_that_is_packed_goes_and_the_result_is_the_same(self):
        expected = contents(self.pack(self.without_vision(), *self.ARGUMENTS, name="whole"))
        source = self.without_vision()
        packed = self.pack(source, *self.ARGUMENTS, *self.TWICE)
        self.assertEqual(contents(packed), expected)
        self.assertEqual(sorted(path.name for path in source.iterdir()), ["config.json", "model.safetensors.index.json"])

    def test_killed_at_any_moment_it_goes_on_to_the_same_bytes(self):
        began = time.monotonic()
        expected = contents(self.pack(self.without_vision(), *self.ARGUMENTS, name="whole"))
        seconds = time.monotonic() - began
        chance, n_killed = random.Random(11), 0
        for _ in range(4):
            source, destination = self.without_vision(), self.folder / "killed"
            for _ in range(5):
                process = start("pack", source, destination, *self.ARGUMENTS, *self.TWICE)
                time.sleep(chance.uniform(0, seconds))
                process.kill()
                process.communicate(timeout=60)
                n_killed += process.returncode == -signal.SIGKILL
                if (destination / "manifest.json").exists():
                    break
                gone = [path for path in FOLDER.glob("*-of-*.safetensors") if not (source / path.name).exists()]
                if gone:  # never before what was in it is safe
                    self.assertTrue((destination / "manifest.unfinished.json").exists())
            if not (destination / "manifest.json").exists():
                self.assert_done(flashmoe("pack", source, destination, *self.ARGUMENTS, *self.TWICE))
            shutil.rmtree(destination / "source", ignore_errors=True)
            self.assertEqual(contents(destination), expected)
            shutil.rmtree(destination)
        self.assertGreater(n_killed, 0)

    def test_files_with_what_is_left_out_stay(self):
        source = self.copy_of_source()
        vision = {name for path in source.glob("*.safetensors") for name in [path.name] if b"visual." in path.read_bytes()}
        self.assertTrue(vision)
        self.pack(source, *self.ARGUMENTS, *self.TWICE)
        self.assertEqual({path.name for path in source.glob("*.safetensors")}, vision)

    def test_once_is_not_enough_and_links_are_refused(self):
        source = self.without_vision()
        once = flashmoe("pack", source, self.folder / "new", *self.ARGUMENTS, self.TWICE[0])
        self.assert_fails(once, 2, "give it twice", "source")
        plan = self.assert_done(flashmoe("pack", source, self.folder / "new", *self.ARGUMENTS, *self.TWICE, "--dry-run"))
        self.assertIn("deleted as packing goes on, 3 of 3", plan.out)
        shard = next(source.glob("*.safetensors"))
        shard.rename(self.folder / "elsewhere")
        shard.symlink_to(self.folder / "elsewhere")
        self.assert_fails(flashmoe("pack", source, self.folder / "new", *self.ARGUMENTS, *self.TWICE), 2, shard.name, "link")
        self.assertFalse((self.folder / "new").exists())

    def test_damage_to_what_has_no_source_any_more_is_an_error(self):
        source, destination = self.without_vision(), self.folder / "packed"
        whole = self.pack(source, *self.ARGUMENTS, *self.TWICE)
        bank = whole / "experts-00.bank"
        # As a kill before the last step would have left it.
        (destination / "manifest.json").rename(destination / "manifest.unfinished.json")
        (destination / "source").mkdir()
        (destination / "source" / "packed-from.txt").write_text(str(source.resolve()))
        for path in source.iterdir():
            shutil.copy(path, destination / "source")
        for path in FOLDER.glob("*-of-*.safetensors"):
            write_without(path, destination / "source" / path.name, "visual.")
        data = bytearray(bank.read_bytes())
        data[40] ^= 1
        bank.write_bytes(data)
        self.assert_fails(flashmoe("pack", source, destination, *self.ARGUMENTS), 1, "damaged", "deleted")


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
            packed = (destination / "manifest.json").exists()  # the kill may come between the last rename and the exit
            if packed or i % 5 == 4:
                if not packed:
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
                ((MODEL, new, "--recipe", "5bit"), 1, "5bit"),
                ((MODEL, new, "--trunk", "q3_k"), 2, "trunk_below_4_bits"),
                ((MODEL, new, "--imatrix", recipe), 1, "recipe.json"),
                ((MODEL, new, "--scale-type", "f64"), 2, "'f64'"),
                ((MODEL, new, "--threads", "0"), 2, "--threads"),
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

    def test_a_flipped_byte_is_an_error_or_changes_nothing(self):
        packed = self.pack(MODEL, "--experts", "affine4")
        wanted = flashmoe("run", "-m", packed, "-p", "Hello", "-n", 6, "--quiet").out
        chance, n_refused = random.Random(3), 0
        for _ in range(12):
            bank = packed / f"experts-0{chance.randrange(8)}.bank"
            whole = bank.read_bytes()
            data = bytearray(whole)
            for _ in range(16):
                data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
            bank.write_bytes(data)
            run = flashmoe("run", "-m", packed, "-p", "Hello", "-n", 6, "--quiet")
            if run.code == 0:  # hit padding or experts that were not picked
                self.assertEqual(run.out, wanted)
            else:
                self.assert_fails(run, 1, bank.name, "checksum")
                n_refused += 1
            bank.write_bytes(whole)
        self.assertGreater(n_refused, 0)

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
