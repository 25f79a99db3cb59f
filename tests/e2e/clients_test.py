"""The openai and anthropic packages of PyPI, unmodified, against flashmoe serve."""
import json
import subprocess
import sys
import unittest
import venv

from flashmoe_cli import BUILD_DIR, PATIENCE, QUESTION, Case
from flashmoe_server import Server

FOLDER = BUILD_DIR / "clients"
PYTHON = FOLDER / "bin" / "python"


def install():
    """None, or why the packages cannot be had."""
    check = [str(PYTHON), "-c", "import openai, anthropic"]
    if PYTHON.exists() and subprocess.run(check, capture_output=True, check=False).returncode == 0:
        return None
    try:
        venv.create(FOLDER, with_pip=True, clear=True)
        run = subprocess.run([str(PYTHON), "-m", "pip", "-q", "install", "--retries", "1", "openai", "anthropic"],
                             capture_output=True, text=True, timeout=PATIENCE, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    return None if run.returncode == 0 else (run.stderr.strip().splitlines() or ["pip failed"])[-1]


class Clients(Case):
    def test_packages(self):
        if reason := install():
            print(f"skipped: openai and anthropic cannot be installed from PyPI: {reason}")
            self.skipTest(reason)
        server = Server("--threads", 2)
        self.addCleanup(server.stop)
        program = __file__.replace("clients_test.py", "clients_program.py")
        run = subprocess.run([str(PYTHON), "-B", program, server.url, QUESTION], capture_output=True, text=True,
                             timeout=PATIENCE, check=False)
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertEqual(json.loads(run.stdout), {"openai": 6, "anthropic": 6})


if __name__ == "__main__":
    sys.exit(unittest.main())
