"""What the world does to a program: broken models, too little memory, full disks, closed pipes, signals."""
import fcntl
import json
import os
import resource
import shutil
import signal
import struct
import subprocess
import time
import unittest

from flashmoe_cli import BINARY, MODEL, PATIENCE, QUESTION, SLOW, Case, flashmoe, smallest_ram, start
from terminal_session import errors_on_terminal

ASK = ["-n", 5, "-p", QUESTION]


class Models(Case):
    def broken(self, change):
        """A copy of the built-in model, changed."""
        path = self.folder / "broken.gguf"
        path.write_bytes(change(MODEL.read_bytes()))
        return path

    def assert_refused(self, path, *parts):
        for command in (["run", *ASK, "-m"], ["inspect"]):
            self.assert_fails(flashmoe(*command, path), 1, *parts)

    def test_missing(self):
        self.assert_refused(self.folder / "no.gguf", "no.gguf")

    def test_empty_folder(self):
        self.assert_refused(self.folder, self.folder)

    def test_empty_file(self):
        self.assert_refused(self.broken(lambda _: b""), "broken.gguf")

    def test_garbage(self):
        self.assert_refused(self.broken(lambda _: b"\x93not a model at all" * 1000), "broken.gguf")

    def test_wrong_magic(self):
        self.assert_refused(self.broken(lambda model: b"GGUX" + model[4:]), "broken.gguf")

    def test_truncated(self):
        size = MODEL.stat().st_size
        for keep in (3, 20, 100, 5000, size // 2, size - 1):
            self.assert_refused(self.broken(lambda model, n=keep: model[:n]), "broken.gguf")

    def test_absurd_counts(self):
        for at in (8, 16):  # tensors, metadata
            for count in (1 << 62, 1 << 31):
                patch = struct.pack("<Q", count)
                self.assert_refused(self.broken(lambda m, a=at, p=patch: m[:a] + p + m[a + 8:]), "broken.gguf")

    def test_missing_tensors_are_all_listed(self):
        names = [b"blk.0.attn_norm.weight", b"blk.3.attn_q.weight"]
        def rename(model):
            for name in names:
                self.assertIn(name, model)
                model = model.replace(name, name.replace(b"attn", b"xttn"), 1)
            return model
        path = self.broken(rename)
        self.assert_fails(flashmoe("run", *ASK, "-m", path), 1, *(name.decode() for name in names))

    def test_unsupported_family_is_named(self):
        path = self.broken(lambda model: model.replace(b"qwen35moe", b"qwen99moe"))
        self.assert_refused(path, "qwen99moe")

    def test_unsupported_format_is_named_once(self):
        names = [f"blk.{layer}.ffn_down_exps.weight".encode() for layer in range(8)]
        def retype(model):
            for name in names:
                at = model.index(name) + len(name)
                n_dimensions = struct.unpack_from("<I", model, at)[0]
                at += 4 + 8 * n_dimensions
                model = model[:at] + struct.pack("<I", 34) + model[at + 4:]  # TQ1_0
            return model
        run = flashmoe("run", *ASK, "-m", self.broken(retype))
        self.assert_fails(run, 1, "TQ1_0", *(name.decode() for name in names))
        self.assertEqual(run.err.count("TQ1_0"), 1)

    def test_bytes_of_a_file_do_not_steer_the_terminal(self):
        family = b"qwen35moe"
        path = self.broken(lambda model: model.replace(family, b"q\x1b[2J\x00abc", 1))
        run = flashmoe("inspect", path)
        self.assertEqual(run.code, 1, run.err)
        self.assertNotIn("\x1b", run.err)
        self.assertIn("\\x1b[2J\\x00", run.err)

    def test_names_on_standard_output_do_not_steer_it_either(self):
        name = b"flashmoe-spark"
        path = self.folder / "na\x1b[31mme\n.gguf"
        path.write_bytes(MODEL.read_bytes().replace(name, b"fl\x1b[2J\x07\nabcdef", 1))
        for command in (["inspect", path], ["bench", "--repeat", 1, "--prompt-tokens", 2, "--gen-tokens", 2, "-m", path],
                        ["chat", "--no-save", "--no-sessions", "-m", path]):
            run = self.assert_done(flashmoe(*command))
            self.assertNotIn("\x1b", run.out + run.err, command)
            self.assertNotIn("\x07", run.out, command)
        self.assertIn("fl\\x1b[2J\\x07\\x0aabcdef", flashmoe("inspect", path).out)

    def test_requests_nested_without_end(self):
        request = self.folder / "deep.json"
        request.write_text('{"messages": [{"role": "user", "content": "x"}], "tools": ' + "[" * 100000 + "]" * 100000 + "}")
        self.assert_fails(flashmoe("run", "--chat", request), 1, "nested")

    def test_requests_with_numbers_beyond_all_bounds(self):
        request = self.folder / "huge.json"
        request.write_text('{"messages": [{"role": "user", "content": "x"}], "temperature": 1e999}')
        self.assert_fails(flashmoe("run", "--chat", request), 1, "huge.json", "number")

    def test_tokenising_loads_no_weights(self):
        limit = 100 << 20
        run = flashmoe("tokenize", "hello", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)))
        self.assert_done(run)

    def test_a_stack_limit_of_the_shell_does_not_matter(self):
        limit = 256 << 10
        small = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_STACK, (limit, limit))}
        prompt = "The sun is a star and the moon is not. " * 60  # rows enough for panels, on threads and on the caller
        command = ["run", "--quiet", "--raw", "-n", 4, "-p", prompt]
        for more in ([], ["--threads", 1], ["--experts", "streamed", "--ram", f"{smallest_ram()}M", "--io", "pread"]):
            self.assertEqual(self.assert_done(flashmoe(*command, *more, **small)).out, flashmoe(*command, *more).out)
        self.assert_done(flashmoe("chat", "--no-save", "--no-sessions", stdin=f"{prompt}\n".encode(), **small))
        self.assert_done(flashmoe("pack", MODEL, self.folder / "packed", "--experts", "q4_k", **small))

    def test_threads_the_system_refuses(self):
        limit = 400 << 20
        run = flashmoe("run", *ASK, "--threads", 200,
                       preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)))
        self.assertIn(run.code, (1, 3), run.err)
        self.assertTrue(run.err.startswith("flashmoe: "), run.err)

    def test_rings_the_system_refuses(self):
        limits = lambda n: lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (n, n))
        command = ["run", "--raw", "--experts", "streamed", "--ram", f"{smallest_ram()}M", *ASK]
        plain = self.assert_done(flashmoe(*command, "--quiet")).out
        for n in range(8, 20, 2):
            cache = self.folder / str(n)
            fresh = {"env": {**os.environ, "XDG_CACHE_HOME": str(cache)}, "preexec_fn": limits(n)}
            self.assertEqual(self.assert_done(flashmoe(*command, "--quiet", **fresh)).out, plain)
        if flashmoe(*command, "--io", "uring").code != 0:
            self.skipTest("no io_uring here")
        run = flashmoe(*command, "--io", "uring", preexec_fn=limits(8))
        self.assert_fails(run, 1, "io_uring", "ulimit -n is 8")

    def test_file_that_shrinks_in_mid_run(self):
        path = self.broken(lambda model: model)
        process = start("run", "-m", path, "--experts", "streamed", "--io", "buffered", "--ram",
                        f"{smallest_ram()}M", "--raw", "-p", "Once", "--temp", 4, "--stop", "\x01", *SLOW)
        first = process.stdout.read(1)
        with open(path, "r+b") as file:
            file.truncate(1 << 20)
        _, err = process.communicate(timeout=PATIENCE)
        self.assertEqual(len(first), 1)
        self.assertEqual(process.returncode, 1, err)
        lines = [line for line in err.decode().splitlines() if line.startswith("flashmoe: ") and "note" not in line]
        self.assertEqual(len(lines), 1, err)
        self.assertIn("broken.gguf", lines[0])

    def test_file_replaced_in_mid_run(self):
        path = self.broken(lambda model: model)
        process = start("run", "-m", path, "--experts", "streamed", "--ram",
                        f"{smallest_ram()}M", "--raw", "-p", "Once", "--temp", 4, "--stop", "\x01", *SLOW)
        first = process.stdout.read(1)
        other = self.folder / "other.gguf"
        shutil.copyfile(path, other)
        os.replace(other, path)
        _, err = process.communicate(timeout=PATIENCE)
        self.assertEqual(len(first), 1)
        self.assertEqual(process.returncode, 1, err)
        self.assertIn("broken.gguf", err.decode())
        self.assertIn("replaced", err.decode())


class Memory(Case):
    def test_below_the_floor(self):
        run = flashmoe("run", "--ram", "1M", *ASK)
        self.assertEqual(run.code, 3, run.err)
        self.assertEqual(run.out, "")
        self.assertTrue(run.err.startswith("flashmoe: "))
        for name in ("trunk", "kv_cache", "expert_cache", "workspace", "--ram"):
            self.assertIn(name, run.err)

    def test_a_limit_of_address_space(self):
        """Stacks and what malloc reserves are counted; where it is too small, that limit is what is named."""
        def limited(limit, *arguments):
            return flashmoe("run", "--quiet", "--raw", "-n", 4, "-p", "Hello", *arguments,
                            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)))
        want = self.ask("--raw", "-n", 4, "-p", "Hello")
        for arguments in ([], ["--threads", 32], ["--experts", "streamed"], ["--experts", "streamed", "--io", "pread"]):
            self.assertEqual(self.assert_done(limited(700 << 20, *arguments)).out, want, arguments)
        for limit in range(60 << 20, 400 << 20, 20 << 20):
            run = limited(limit, "--experts", "streamed")
            if run.code != 0:
                self.assertIn("ulimit -v", run.err, limit)

    def test_the_floor_is_enough_and_is_kept(self):
        ram = smallest_ram()
        self.assertEqual(flashmoe("run", "--experts", "streamed", "--ram", f"{ram // 2}M", *ASK).code, 3)
        _, stats = self.statistics("--experts", "streamed", "--ram", f"{ram}M", "-p", QUESTION)
        self.assertLessEqual(stats["memory"]["budget_bytes"], ram << 20)
        self.assertLessEqual(stats["memory"]["peak_bytes"], ram << 20)


class Outputs(Case):
    def test_reader_that_goes_away(self):
        script = f'"{BINARY}" run -p "{QUESTION}" | head -c 10; echo " ${{PIPESTATUS[0]}}"'
        run = subprocess.run(["bash", "-c", script], capture_output=True, timeout=PATIENCE, check=False)
        self.assertEqual(len(run.stdout), 10 + len(" 0\n"))
        self.assertTrue(run.stdout.endswith(b" 0\n"))
        self.assertNotIn(b"flashmoe:", run.stderr)

    def test_full_disk_for_the_text(self):
        for command in (["run", "--quiet", *ASK], ["inspect"], ["tokenize", "x"], ["--help"]):
            with open("/dev/full", "wb") as full:
                run = subprocess.run([BINARY, *map(str, command)], stdout=full, stderr=subprocess.PIPE,
                                     stdin=subprocess.DEVNULL, timeout=PATIENCE, check=False)
            self.assertEqual(run.returncode, 1, command)
            self.assertEqual(run.stderr.decode(),
                             "flashmoe: cannot write to standard output: No space left on device\n")

    def test_full_disk_for_files(self):
        run = flashmoe("run", "--quiet", *ASK, "--stats-json", "/dev/full")
        self.assertEqual(run.code, 1)
        self.assertIn("/dev/full: No space left on device", run.err)
        self.assert_fails(flashmoe("logits", "--ids", "-", "--out", "/dev/full", stdin=b"1 2"), 1, "/dev/full")

    def test_a_partial_file_is_removed(self):
        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))
        out = self.folder / "logits.safetensors"
        out.write_text("what was there before")
        self.assert_fails(flashmoe("logits", "--ids", "-", "--out", out, stdin=b"1 2 3 4", preexec_fn=limit), 1, out)
        self.assertEqual(out.read_text(), "what was there before")
        self.assertEqual([path.name for path in self.folder.iterdir()], [out.name])

    def test_places_that_cannot_be_written_are_told_before_the_work(self):
        began = time.monotonic()
        for path in (self.folder / "no" / "stats.json", self.folder):
            self.assert_fails(flashmoe("run", "-p", QUESTION, *SLOW, "--stats-json", path), 1, path)
            self.assert_fails(flashmoe("logits", "--ids", "-", "--out", path, stdin=b"1"), 1, path)
        self.assertLess(time.monotonic() - began, 10)

    def test_statistics_survive_a_standard_error_that_is_full(self):
        stats = self.folder / "stats.json"
        with open("/dev/full", "wb") as full:
            done = subprocess.run([BINARY, "run", *map(str, ASK), "--stats-json", stats], stdout=subprocess.DEVNULL,
                                  stderr=full, stdin=subprocess.DEVNULL, timeout=PATIENCE)
        self.assertEqual(done.returncode, 0)
        self.assertIn("load_s", json.loads(stats.read_text()))

    def test_closed_outputs(self):
        run = subprocess.run(["bash", "-c", f'"{BINARY}" run --quiet -n 3 -p x >&-'], capture_output=True, timeout=PATIENCE,
                             check=False)
        self.assertEqual(run.returncode, 1)
        self.assertIn(b"flashmoe: cannot write to standard output", run.stderr)

    def test_nothing_but_text_goes_through_a_pipe(self):
        run = self.assert_done(flashmoe("run", *ASK))
        self.assertNotIn("\x1b", run.out + run.err)
        self.assertNotIn("\r", run.out + run.err)
        self.assertNotIn("statistics", run.out)

    def test_progress_on_a_terminal_leaves_no_trace(self):
        code, out, shown = errors_on_terminal([BINARY, "run", "--raw", "-n", "1", "-p", "The sun is a star. " * 60, *SLOW],
                                              PATIENCE, stdin=subprocess.DEVNULL)
        self.assertEqual(code, 0)
        self.assertNotIn(b"\x1b", out)
        self.assertRegex(shown, rb"\rreading prompt  \d+ of \d+ tokens  [\d.]+ tok/s(  \d+ s left)?\x1b\[K")
        before, _, after = shown.partition(b"statistics")
        self.assertTrue(before.rstrip().endswith(b"\r\x1b[K"), before[-80:])
        self.assertNotIn(b"\x1b", after)

    def test_complaints_fit_the_terminal(self):
        recipe = self.folder / "recipe.json"
        recipe.write_text('{"tronk": "q8_0"}')
        command = [BINARY, "pack", MODEL, self.folder / "packed", "--recipe", "recipe.json"]
        code, _, shown = errors_on_terminal(command, PATIENCE, stdin=subprocess.DEVNULL, cwd=self.folder, columns=80)
        lines = shown.decode().splitlines()
        self.assertEqual(code, 1)
        self.assertGreater(len(lines), 1)
        self.assertLessEqual(max(map(len, lines)), 80)
        run = flashmoe(*command[1:], cwd=self.folder)
        self.assertEqual(" ".join(line.strip() for line in lines), run.err.rstrip())

    def test_unreadable_inputs(self):
        self.assert_fails(flashmoe("run", "--file", self.folder / "no.txt"), 1, "no.txt")
        self.assert_fails(flashmoe("run", "--chat", self.folder / "no.json"), 1, "no.json")
        self.assert_fails(flashmoe("logits", "--ids", self.folder, "--out", self.folder / "x"), 1, self.folder)


class Signals(Case):
    def test_interrupt_in_mid_answer(self):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            path = self.folder / "stats.json"
            process = start("run", "-p", "Tell me a story.", "--temp", 3, "--stats-json", path, *SLOW)
            first = process.stdout.read(1)
            process.send_signal(number)
            rest, err = process.communicate(timeout=PATIENCE)
            self.assertEqual(process.returncode, 128 + number, err)
            self.assertTrue((first + rest).endswith(b"\n"))
            self.assertIn(b"statistics", err)
            self.assertIn(b"interrupted", err)
            self.assertNotIn(b"flashmoe: ", err)
            self.assertEqual(json.loads(path.read_text())["stop"], "interrupted")

    def test_a_terminal_that_is_closed_leaves_no_partial_file(self):
        out = self.folder / "logits.safetensors"
        process = subprocess.Popen([BINARY, "logits", "--ids", "-", "--out", str(out), *SLOW], stdin=subprocess.PIPE,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        process.stdin.write(b"7 " * 4000)
        process.stdin.close()
        deadline = time.monotonic() + PATIENCE
        while not list(self.folder.iterdir()):
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)
        process.send_signal(signal.SIGHUP)
        err = process.stderr.read()
        self.assertEqual(process.wait(PATIENCE), 128 + signal.SIGHUP, err)
        process.stderr.close()
        self.assertIn(b"interrupted", err)
        self.assertEqual(list(self.folder.iterdir()), [])

    def test_interrupt_in_mid_prompt(self):
        process = start("run", "--raw", "-p", "The sun is a star and the moon is not. " * 500, *SLOW)
        time.sleep(1.5)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE)
        self.assertEqual(process.returncode, 130, err)
        self.assertEqual(out, b"")
        self.assertIn(b"interrupted", err)
        self.assertNotIn(b"first token", err)  # there was none

    def test_interrupt_while_nobody_reads(self):
        """One is enough, though what was written has nowhere to go."""
        for command, question in ((["run", "-p", QUESTION], b""), (["chat", "--no-save", "--no-sessions"], QUESTION.encode() + b"\n"),
                                  (["serve", "--port", "0"], b"")):
            unread, full = os.pipe()
            fcntl.fcntl(full, fcntl.F_SETPIPE_SZ, 4096)
            os.write(full, b"x" * 4096)
            stream = {"stderr": full, "stdout": subprocess.DEVNULL} if command[0] == "serve" else {"stdout": full, "stderr": subprocess.DEVNULL}
            process = subprocess.Popen([BINARY, *command], stdin=subprocess.PIPE, **stream)
            process.stdin.write(question)
            process.stdin.flush()
            self.wait_until_idle(process)
            process.send_signal(signal.SIGINT)
            ends_this_way = command[0] == "serve"
            self.assertEqual(process.wait(PATIENCE), 0 if ends_this_way else 130, command)
            process.stdin.close()
            os.close(unread)
            os.close(full)

    def wait_until_idle(self, process):
        """It catches interrupts, and does nothing any more."""
        def catches():
            with open(f"/proc/{process.pid}/status", encoding="ascii") as status:
                mask, = (line.split()[1] for line in status if line.startswith("SigCgt"))
            return int(mask, 16) >> (signal.SIGINT - 1) & 1
        def ticks():
            with open(f"/proc/{process.pid}/stat", encoding="ascii") as status:
                return sum(map(int, status.read().rsplit(")", 1)[1].split()[11:13]))
        deadline = time.monotonic() + PATIENCE
        before = -1
        while (now := ticks()) != before or not catches():
            self.assertLess(time.monotonic(), deadline)
            before = now
            time.sleep(0.5)

    def test_second_interrupt_kills(self):
        process = start("run", "--raw", "--prefill-chunk", 4096, "-p", "The sun is a star. " * 800, *SLOW)
        time.sleep(1.5)
        process.send_signal(signal.SIGINT)
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE)
        self.assertEqual(process.returncode, -signal.SIGINT)


if __name__ == "__main__":
    unittest.main()
