"""Packed folders that were damaged: named, and never wrong text."""
import json
import random
import shutil
import unittest

from flashmoe_cli import MODEL, flashmoe, smallest_ram
from pack_case import PackCase


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
        for old, new in (("flashmoe-pack", "x"), ('"version": 2', '"version": 3'), ('"rows": 256', '"rows": 255'),
                         ('"rows": 256', '"rows": 4611686018427387904'), ('"n_experts": 16', '"n_experts": 17'),
                         ("experts-00.bank", "../../etc/passwd"), ("q4_k", "q4_q"), ("{", "[")):
            (packed / "manifest.json").write_text(whole.replace(old, new, 1))
            self.assert_fails(flashmoe("inspect", packed), 1, "manifest.json")
        (packed / "manifest.json").write_text(whole)
        with open(packed / "experts-01.bank", "r+b") as bank:
            bank.truncate(4096)
        self.assert_fails(flashmoe("inspect", packed), 1, "experts-01.bank", "4096")

    def test_a_damaged_trunk_is_named_and_gives_no_text(self):
        packed = self.pack(MODEL)
        trunk = packed / "trunk.gguf"
        whole = trunk.read_bytes()
        header_bytes = json.loads((packed / "manifest.json").read_text())["trunk"]["header_bytes"]
        for at, part in ((100, "its header"), (header_bytes - 40, "its header"), (header_bytes + 1000, "tensor blk.0."),
                         (len(whole) - 5000, "tensor token_embd.weight")):
            data = bytearray(whole)
            data[at] ^= 0x10
            trunk.write_bytes(data)
            with self.subTest(at=at):
                for more in ((), ("--io", "buffered"), ("--experts", "streamed"), ("--verify-reads", "always")):
                    run = flashmoe("run", "-m", packed, "-p", "Hello", "-n", 4, "--quiet", *more)
                    self.assert_fails(run, 1, "trunk.gguf", part, "checksum")
        self.assert_done(flashmoe("run", "-m", packed, "-p", "Hello", "-n", 4, "--quiet", "--verify-reads", "never"))

    def test_scales_apart_are_looked_at_too(self):
        packed = self.pack(MODEL, "--trunk", "affine4")
        trunk = packed / "trunk.gguf"
        wanted = flashmoe("run", "-m", packed, "-p", "Hello", "-n", 6, "--quiet").out
        whole, chance, n_refused = trunk.read_bytes(), random.Random(5), 0
        for _ in range(12):
            data = bytearray(whole)
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
            trunk.write_bytes(data)
            run = flashmoe("run", "-m", packed, "-p", "Hello", "-n", 6, "--quiet")
            if run.code == 0:  # hit the draft head, which nothing runs, or padding
                self.assertEqual(run.out, wanted)
            else:
                self.assert_fails(run, 1, "trunk.gguf", "checksum")
                n_refused += 1
        self.assertGreater(n_refused, 0)


class Copies(PackCase):
    """Packed folders with a copy on another drive."""

    COMPARED_BYTES, SAMPLE_BYTES, SAMPLES = 256 << 10, 4 << 10, 64

    def spoil(self, folder):
        """Damage all over, but none where copies are compared before they are used."""
        for path in (*folder.glob("*.bank"), folder / "trunk.gguf"):
            data = bytearray(path.read_bytes())
            last = len(data) - self.SAMPLE_BYTES
            samples = [last // self.SAMPLES * i + last % self.SAMPLES * i // self.SAMPLES
                       for i in range(1, self.SAMPLES + 1)]
            for at in range(self.COMPARED_BYTES + 8, len(data) - 2 * self.SAMPLE_BYTES, 65536):
                at += self.SAMPLE_BYTES * any(sample <= at < sample + self.SAMPLE_BYTES for sample in samples)
                data[at] ^= 0x08
            path.write_bytes(data)

    def test_the_whole_copy_gives_what_the_damaged_one_cannot(self):
        packed = self.pack(MODEL)
        copy = self.folder / "copy"
        command = ["run", "-m", packed, "-p", "Hello", "-n", 12]
        wanted = self.assert_done(flashmoe(*command, "--quiet")).out
        for spoilt in (copy, packed):
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(packed, copy)
            self.spoil(spoilt)
            for more in (("--experts", "resident"), ("--experts", "streamed"), ("--experts", "streamed", "--io", "pread"),
                         ("--experts", "streamed", "--ram", f"{smallest_ram()}M"), ("--io", "buffered")):
                with self.subTest(spoilt=spoilt.name, more=more):
                    run = self.assert_done(flashmoe(*command, "--mirror", copy, *more))
                    self.assertEqual(run.out, wanted)
        self.assertIn(f"the last of {packed}/experts-", run.err)
        self.spoil(copy)
        self.spoil(packed)  # the same places again: it is whole now
        self.assertEqual(self.assert_done(flashmoe(*command, "--mirror", copy, "--quiet")).out, wanted)
        self.spoil(packed)
        self.assert_fails(flashmoe(*command, "--mirror", copy, "--quiet"), 1, "checksum")

    def test_copies_that_differ_are_both_named(self):
        packed = self.pack(MODEL)
        copy = self.folder / "copy"
        shutil.copytree(packed, copy)
        bank = packed / "experts-00.bank"
        data = bytearray(bank.read_bytes())
        data[100] ^= 1
        bank.write_bytes(data)
        self.assert_fails(flashmoe("run", "-m", packed, "--mirror", copy, "-p", "x", "-n", 1), 1, copy / bank.name, bank,
                          "differ at offset 100", "flashmoe pack --verify")


if __name__ == "__main__":
    unittest.main()
