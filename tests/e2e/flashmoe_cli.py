"""Runs the built binary the way a user does."""
import functools
import json
import os
import signal
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

SOURCE_DIR = Path(os.environ.get("FLASHMOE_SOURCE_DIR", Path(__file__).resolve().parent.parent.parent))
BUILD_DIR = Path(os.environ.get("FLASHMOE_BUILD_DIR", SOURCE_DIR / "build" / "release"))
BINARY = os.environ.get("FLASHMOE_BINARY", str(BUILD_DIR / "bin" / "flashmoe"))
MODEL = SOURCE_DIR / "models" / "spark" / "spark.gguf"
QUESTION = "Explain quantum computing."

# Seconds until a test gives up waiting for something that comes at once unless the machine is busy with something else.
PATIENCE = 300

# What benchmarks remember stays out of the user's own folder.
_CACHE = tempfile.TemporaryDirectory()
os.environ["XDG_CACHE_HOME"] = _CACHE.name

# What a background shell or nohup has its children ignore would be ignored by what they start, too.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)

# Slow enough for a signal to arrive in mid-run.
SLOW = ["--kernels", "scalar", "--exact", "--threads", "1"]


class Run:
    """A finished run: code, out and err as text, raw_out as bytes."""

    def __init__(self, completed):
        self.code = completed.returncode
        self.raw_out = completed.stdout
        self.out = completed.stdout.decode("utf-8", errors="replace")
        self.err = completed.stderr.decode("utf-8", errors="replace")


def flashmoe(*arguments, stdin=b"", binary=BINARY, timeout=PATIENCE, **more):
    command = [str(binary), *(a if isinstance(a, bytes) else str(a) for a in arguments)]
    return Run(subprocess.run(command, input=stdin, capture_output=True, timeout=timeout, check=False, **more))


def start(*arguments, **more):
    return subprocess.Popen([str(BINARY), *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, **more)


class Case(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def assert_done(self, run):
        self.assertEqual(run.code, 0, run.err)
        return run

    def assert_fails(self, run, code, *parts):
        """Nothing on standard output, and one line on standard error that begins with our name and has all `parts`."""
        self.assertEqual(run.code, code, run.err)
        self.assertEqual(run.out, "")
        lines = run.err.splitlines()
        self.assertEqual(len(lines), 1, run.err)
        self.assertTrue(lines[0].startswith("flashmoe: "), run.err)
        for part in parts:
            self.assertIn(str(part), lines[0])

    def assert_interrupted(self, process, after):
        """Ctrl-C after so many seconds: says so, exits with 130 and leaves standard output empty."""
        self.addCleanup(process.kill)
        time.sleep(after)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE)
        self.assertEqual((process.returncode, out), (130, b""))
        self.assertIn(b"interrupted", err)

    def ask(self, *arguments):
        """Text of an answer of the built-in model."""
        return self.assert_done(flashmoe("run", "--quiet", *arguments)).out

    def statistics(self, *arguments):
        """(text, statistics) of an answer of the built-in model."""
        path = self.folder / "stats.json"
        run = self.assert_done(flashmoe("run", "--stats-json", path, *arguments))
        return run.out, json.loads(path.read_text(encoding="utf-8"))


@functools.lru_cache
def smallest_ram():
    """A --ram at or a little above the built-in model's floor with streamed experts, in MiB."""
    too_little, enough = 1, 1024
    while enough - too_little > 2:
        middle = (too_little + enough) // 2
        run = flashmoe("run", "--quiet", "-n", 1, "-p", "x", "--experts", "streamed", "--ram", f"{middle}M")
        if run.code == 0:
            enough = middle
        else:
            too_little = middle
    return enough + 3  # what a program takes at its start differs by two megabytes from one to the next on a busy machine
