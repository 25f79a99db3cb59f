"""flashmoe pack stopped at any moment, on full disks, and while it deletes its source."""
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

from flashmoe_cli import BINARY, MODEL, SOURCE_DIR, flashmoe, start
from pack_case import FOLDER, PackCase, contents


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


class Stops(PackCase):
    ARGUMENTS = ("--experts", "affine4", "--trunk", "q6_k", "--quiet")

    def test_killed_at_twenty_moments_it_goes_on_to_the_same_bytes(self):
        began = time.monotonic()
        whole = self.pack(MODEL, *self.ARGUMENTS[:-1], name="whole")
        seconds = min(2.0, time.monotonic() - began)  # not what a busy machine took
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
        self.assertRegex(limited.stderr, rb"File too large; raise 'ulimit -f'")
        self.assert_done(flashmoe("pack", MODEL, place / "packed", "--quiet", "--verify"))

    def test_what_a_kill_left_does_not_take_the_room_that_going_on_needs(self):
        if subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode != 0:
            self.skipTest("this machine mounts no disk for a test")
        # 30 MB hold what is packed, and not 20 more. A kill comes while a file is written, or between its renaming and
        # the manifest that knows it.
        place = self.folder / "disk"
        place.mkdir()
        pack = f"{BINARY} pack {MODEL} {place}/packed --quiet"
        for left in ["trunk.gguf.partial", "experts-03.bank.partial", "experts-03.bank"]:
            script = f"""mount -t tmpfs -o size=30m none {place} && mkdir {place}/packed || exit 77
                {"(ulimit -f 1000; " + pack + ") 2>&1;" if "bank" in left else ""}
                ls {place}/packed; fallocate -l 20m {place}/packed/{left} || exit 78
                {pack} --dry-run && {pack} --verify && ls {place}/packed"""
            with self.subTest(left=left):
                run = subprocess.run(["unshare", "-rm", "bash", "-c", script], capture_output=True, text=True, check=False)
                self.assertEqual(run.returncode, 0, run.stdout + run.stderr)
                self.assertNotIn("refused", run.stdout)
                self.assertNotIn("partial", run.stdout.split("verified")[-1])
                self.assertIn("manifest.json", run.stdout)

    def test_stopped_in_the_trunk_it_knows_what_was_begun(self):
        # Not even the trunk fits; what a kill behind it leaves is told from somebody else's file by what was written before.
        packed = self.folder / "packed"
        command = f"ulimit -f 100; exec {BINARY} pack {MODEL} {packed} --quiet"
        limited = subprocess.run(["bash", "-c", command], capture_output=True, check=False)
        self.assertEqual(limited.returncode, 1)
        self.assertTrue((packed / "manifest.unfinished.json").exists())
        (packed / "trunk.gguf").write_bytes(b"as a kill would leave it")
        self.assert_done(flashmoe("pack", MODEL, packed, "--quiet", "--verify"))


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
        seconds = min(2.0, time.monotonic() - began)  # not what a busy machine took
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
            again = flashmoe("pack", source, destination, *self.ARGUMENTS, *self.TWICE)
            if again.code != 0:  # it was killed behind the last step, and what it left goes
                self.assert_fails(again, 2, "is packed already")
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


if __name__ == "__main__":
    unittest.main()
