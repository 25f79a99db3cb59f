"""The browser page, driven in headless Chromium; screenshots stay in the build folder."""
import json
import shutil
import subprocess
import unittest
import venv

from flashmoe_cli import BUILD_DIR, PATIENCE, Case
from flashmoe_server import Server

FOLDER = BUILD_DIR / "browser"
PYTHON = FOLDER / "bin" / "python"
SCREENSHOTS = BUILD_DIR / "screenshots"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


def install():
    """None, or why the page cannot be driven."""
    if CHROMIUM is None:
        return "there is no chromium"
    check = [str(PYTHON), "-c", "import playwright.sync_api"]
    if PYTHON.exists() and subprocess.run(check, capture_output=True, check=False).returncode == 0:
        return None
    try:
        venv.create(FOLDER, with_pip=True, clear=True)
        run = subprocess.run([str(PYTHON), "-m", "pip", "-q", "install", "--retries", "1", "playwright"],
                             capture_output=True, text=True, timeout=PATIENCE, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    return None if run.returncode == 0 else "playwright: " + (run.stderr.strip().splitlines() or ["pip failed"])[-1]


class Page(Case):
    def test_page(self):
        if reason := install():
            print(f"skipped: the page cannot be driven: {reason}")
            self.skipTest(reason)
        SCREENSHOTS.mkdir(exist_ok=True)
        server = Server("--threads", 2)
        self.addCleanup(server.stop)
        program = __file__.replace("page_test.py", "page_program.py")
        run = subprocess.run([str(PYTHON), "-B", program, server.url, str(SCREENSHOTS), CHROMIUM], capture_output=True,
                             text=True, timeout=PATIENCE, check=False)
        self.assertEqual(run.returncode, 0, run.stderr)
        seen = json.loads(run.stdout)
        self.assertEqual(seen["complaints"], [])
        self.assertIn("quantum", seen["answer"].lower())
        self.assertRegex(seen["told"], r"\d+ tokens, [\d.]+ tok/s, first after [\d.]+ s, 0 of \d+ prompt tokens known")
        self.assertTrue(seen["folded"])
        self.assertTrue(seen["thoughts"].startswith("Thoughts"))
        self.assertRegex(seen["second"], r"[1-9]\d* of \d+ prompt tokens known")
        self.assertRegex(seen["live"], r"[\d.]+ tok/s · hits \d+ % · [\d.]+ GB/s")
        self.assertEqual((seen["edited"], seen["turns after edit"]), ("What is a monsoon?", 2))
        self.assertEqual(seen["turns after retry"], 4)
        self.assertEqual((seen["turns of a new chat"], seen["chats after reload"]), (0, 2))
        self.assertEqual(seen["user text"], "<b>&amp; <script>document.title = 'mark'</script> Hello")
        self.assertEqual((seen["first question"], seen["title"]), ("Explain quantum computing.", "flashmoe"))
        self.assertEqual(seen["alignment"], ["", "left", "center", "right"])
        self.assertTrue(all(width <= 390 for width in seen["phone widths"]), seen["phone widths"])
        self.assertTrue(seen["menu"] and seen["menu closed"])
        for name in ("light", "dark", "phone", "phone-chats"):
            self.assertGreater((SCREENSHOTS / f"{name}.png").stat().st_size, 5000)


if __name__ == "__main__":
    unittest.main()
