"""What the tests of flashmoe pack share."""
import struct
from pathlib import Path

from flashmoe_cli import SOURCE_DIR, Case, flashmoe

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
