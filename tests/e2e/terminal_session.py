"""A program on a pseudo-terminal, driven by keys."""
import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time

from flashmoe_cli import PATIENCE

SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def errors_on_terminal(command, seconds=60, columns=0, **streams):
    """(exit code, standard output, what a terminal was told as standard error) of a program, as bytes; 0: columns not known."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, **streams)
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # EIO is how a terminal says that the other side has gone
        while piece := os.read(ours, 4096):
            shown += piece
    os.close(ours)
    out, _ = process.communicate(timeout=seconds)
    return process.returncode, out, shown


class TerminalSession:
    def __init__(self, command, columns=80, rows=24, **environment):
        self.raw = ""  # all that was written, escape sequences included
        self.seen = 0  # how far expect() has come in text()
        self.code = None
        started, starting = os.pipe()  # whose other end closes when the program is there: before, Ctrl-C reaches nobody
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            self.terminal = 0
            self.resize(columns, rows)
            os.execve(command[0], [str(word) for word in command], {**os.environ, "TERM": "xterm-256color", **environment})
        os.close(starting)
        os.read(started, 1)
        os.close(started)

    def resize(self, columns, rows):
        fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def send(self, keys):
        os.write(self.terminal, keys.encode())

    def line(self, text):
        self.send(text + "\r")

    def interrupt(self):
        self.send("\x03")

    def _read(self, seconds):
        ready, _, _ = select.select([self.terminal], [], [], seconds)
        if not ready:
            return True
        try:
            data = os.read(self.terminal, 65536)
        except OSError:
            return False
        self.raw += data.decode("utf-8", errors="replace")
        return bool(data)

    def text(self):
        """What was written, without escape sequences."""
        return SEQUENCE.sub("", self.raw).replace("\r", "")

    def expect(self, text, seconds=PATIENCE):
        """Waits until `text`, or what a pattern matches, is written behind what was expected before; what came until its end."""
        pattern = text if isinstance(text, re.Pattern) else re.compile(re.escape(text))
        until = time.monotonic() + seconds
        while True:
            came = self.text()[self.seen:]
            found = pattern.search(came)
            if found:
                self.seen += found.end()
                return came[:found.end()]
            if time.monotonic() > until or not self._read(0.2):
                raise AssertionError(f"{pattern.pattern!r} did not come; this did:\n{came}")

    def prompt(self, seconds=PATIENCE):
        """Waits for the prompt; what came before it."""
        return self.expect(re.compile(r"\n> $"), seconds)

    def end(self, seconds=PATIENCE):
        """Waits for the end; the exit code."""
        until = time.monotonic() + seconds
        while self.code is None and time.monotonic() < until:
            self._read(0.1)
            done, status = os.waitpid(self.pid, os.WNOHANG)
            if done:
                self.code = os.waitstatus_to_exitcode(status)
                while self._read(0.1) and select.select([self.terminal], [], [], 0)[0]:
                    pass
        if self.code is None:
            raise AssertionError("the program does not end; it wrote:\n" + self.text())
        return self.code

    def close(self):
        if self.code is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.terminal)
