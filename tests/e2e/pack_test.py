"""flashmoe pack: folders that run like their source, in every format, and what is refused."""
import json
import re
import time
import unittest
from pathlib import Path

from flashmoe_cli import MODEL, SOURCE_DIR, flashmoe, start
from pack_case import FOLDER, GOLDENS, PackCase, contents

TEXT = SOURCE_DIR / "models" / "spark" / "eval" / "text.txt"
CONVERSATIONS = SOURCE_DIR / "models" / "spark" / "eval" / "conversations.jsonl"


class Keep(PackCase):
    def test_logits_are_the_same_bits(self):
        for source in (MODEL, FOLDER, GOLDENS / "gguf" / "Q6_K.gguf"):
            with self.subTest(source=source):
                packed = self.pack(source, "--verify", name=Path(source).name)
                for mode in ((), ("--exact",), ("--experts", "streamed")):
                    self.assertEqual(self.logits(packed, *mode), self.logits(source, *mode))

    def test_what_is_packed_is_verified_without_its_source(self):
        packed = self.pack(MODEL, "--experts", "q4_k")
        before = contents(packed)
        absent = self.folder / "absent.gguf"
        self.assertIn("verified", self.assert_done(flashmoe("pack", absent, packed, "--experts", "q4_k", "--verify")).err)
        self.assertEqual(contents(packed), before)
        self.assert_fails(flashmoe("pack", absent, packed, "--verify"), 2, "other formats")
        bank = packed / "experts-02.bank"
        bank.write_bytes(bytes([before[bank.name][0] ^ 1]) + before[bank.name][1:])
        self.assert_fails(flashmoe("pack", MODEL, packed, "--experts", "q4_k", "--verify"), 1, bank.name, "expert 0")

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

    def test_memory_is_what_the_plan_says(self):
        arguments = [MODEL, self.folder / "packed", "--ram", "16M", "--experts", "f32", "--trunk", "f32"]
        plan = self.assert_done(flashmoe("pack", *arguments, "--dry-run"))
        planned = float(re.search(r"memory +([0-9.]+) MB", plan.out)[1]) * 1e6
        self.assertLessEqual(planned, 16 << 20)
        process, peak, maps = start("pack", *arguments, "--quiet", "--threads", 2), 0, ""
        while process.poll() is None:
            try:
                maps = Path(f"/proc/{process.pid}/maps").read_text(encoding="utf-8") or maps
                status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
            except OSError:  # it has just ended
                continue
            found = re.search(r"VmHWM:\s+(\d+) kB", status)
            peak = int(found[1]) << 10 if found else peak
            time.sleep(0.005)
        _, err = process.communicate()
        self.assertEqual(process.returncode, 0, err)
        if re.search("lib[at]san", maps):
            self.skipTest("a sanitizer has memory of its own")
        self.assertLess(peak, planned + (20 << 20))  # the process without it has 13 MB


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


class Refusals(PackCase):
    def test_of_places_and_words(self):
        packed = self.pack(MODEL)
        other = self.folder / "other"
        other.mkdir()
        (other / "diary.txt").write_text("dear diary")
        recipe = self.folder / "recipe.json"
        recipe.write_text('{"expertz": "q4_k"}')
        late = self.folder / "late.json"
        late.write_text('{"layers": {"0-99": {"experts": "q8_0"}}}')
        new = self.folder / "new"
        for arguments, code, part in (
                ((MODEL, packed), 2, "is packed already"),
                ((packed, packed), 2, "is where the source is"),
                ((FOLDER, FOLDER), 2, "is where the source is"),
                ((MODEL, other), 2, "diary.txt"),
                ((MODEL, new, "--experts", "q9"), 2, "'q9'"),
                ((MODEL, new, "--experts", ""), 2, "--experts: a format is expected"),
                ((MODEL, new, "--trunk", ""), 2, "--trunk: a format is expected"),
                ((MODEL, new, "--draft-head", ""), 2, "--draft-head: a format is expected"),
                ((MODEL, new, "--draft-head", "q9"), 2, "'q9'"),
                ((FOLDER, new, "--experts", "q4_k"), 2, "rows of 128"),
                ((MODEL, new, "--recipe", recipe), 1, "'expertz'"),
                ((MODEL, new, "--recipe", "5bit"), 1, "'5bit' is neither a file nor one of those that come with the program: 4bit, 3bit, 2bit"),
                ((MODEL, new, "--recipe", late), 1, "no layer 99; its layers are 0 to 7"),
                ((MODEL, new, "--trunk", "q3_k"), 2, "trunk_below_4_bits"),
                ((MODEL, new, "--imatrix", recipe, "--experts", "q4_0"), 1, "recipe.json: is not an importance file"),
                ((MODEL, new, "--imatrix", recipe, "--experts", "bf16"), 2, "--imatrix: nothing is quantised"),
                ((MODEL, new, "--scale-type", "f64"), 2, "'f64'"),
                ((MODEL, new, "--scale-type", "bf16", "--experts", "q4_0"), 2, "--scale-type: only affine"),
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
        self.assertNotIn("refused", run.out)
        self.assertFalse((self.folder / "new").exists())

    def test_dry_run_tells_what_would_be_refused(self):
        nowhere = self.assert_done(flashmoe("pack", MODEL, "/proc/new", "--dry-run"))  # 0 bytes are free there
        self.assertIn("refused: there is not enough space", nowhere.out)
        small = self.assert_done(flashmoe("pack", MODEL, self.folder / "new", "--ram", "1M", "--dry-run"))
        self.assertIn("refused: --ram is too small", small.out)
        file = self.folder / "file"
        file.write_text("no folder")
        below = self.assert_done(flashmoe("pack", MODEL, file / "new", "--dry-run"))
        self.assertIn(f"refused: {file}: cannot be written to: Not a directory", below.out)


if __name__ == "__main__":
    unittest.main()
