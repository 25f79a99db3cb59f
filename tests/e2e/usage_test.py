"""The command line itself: help, versions, wrong usage."""
import os
import re
import shutil
import subprocess
import unittest

from flashmoe_cli import MODEL, SOURCE_DIR, Case, flashmoe


class Help(Case):
    def test_version(self):
        header = (SOURCE_DIR / "include/flashmoe/version.h").read_text(encoding="utf-8")
        version = re.escape(re.search('"(.*)"', header).group(1))
        self.assertRegex(flashmoe("--version").out, rf"\Aflashmoe {version}( \([0-9a-f]{{12}}(-dirty)?\))?\n\Z")

    def test_every_build_looks_up_the_commit(self):
        source = self.folder / "source"
        (source / "part").mkdir(parents=True)
        output = self.folder / "commit.cpp"
        def git(*arguments):
            return subprocess.run(["git", "-C", source, "-c", "user.name=a", "-c", "user.email=a@b", *arguments], check=True,
                                  capture_output=True, text=True).stdout.strip()
        def built(folder):
            subprocess.run(["cmake", f"-DFOLDER={folder}", f"-DOUTPUT={output}", "-P", SOURCE_DIR / "cmake/commit.cmake"], check=True)
            return re.search('return "(.*)"', output.read_text(encoding="utf-8")).group(1)
        self.assertEqual(built(source), "")
        git("init", "-q")
        (source / "part" / "file").write_text("1")
        git("add", ".")
        for message in ("first", "second"):
            git("commit", "-q", "--allow-empty", "-m", message)
            self.assertEqual(built(source), git("rev-parse", "--short=12", "HEAD"))
        written = output.stat().st_mtime_ns
        built(source)
        self.assertEqual(output.stat().st_mtime_ns, written)  # nothing is compiled again
        (source / "part" / "file").write_text("2")
        self.assertEqual(built(source), git("rev-parse", "--short=12", "HEAD") + "-dirty")
        self.assertEqual(built(source / "part"), "")  # somebody else's repository

    def test_pages_fit_and_have_examples(self):
        for arguments in ([], ["run"], ["bench"], ["plan"], ["doctor"], ["logits"], ["inspect"], ["tokenize"]):
            run = self.assert_done(flashmoe(*arguments, "--help"))
            self.assertEqual(run.err, "")
            self.assertIn("Usage: flashmoe", run.out)
            self.assertIn("Example", run.out)
            self.assertLessEqual(max(map(len, run.out.splitlines())), 80)


class WrongUsage(Case):
    def assert_usage(self, part, *arguments, stdin=b""):
        self.assert_fails(flashmoe(*arguments, stdin=stdin), 2, part)

    def test_subcommands(self):
        self.assert_usage("--help")
        self.assert_usage("'walk'", "walk", "-p", "x")
        self.assert_usage("--walk", "--walk")

    def test_unknown_options(self):
        self.assert_usage("--walk", "run", "-p", "x", "--walk")
        self.assert_usage("--direct", "run", "-p", "x", "--direct", "on")
        self.assert_usage("run --help", "run", "-p", "x", "--walk")

    def test_words_that_are_left_over(self):
        self.assert_usage("'Hello' is not an option; give a prompt with -p TEXT and a model with -m MODEL; see", "run", "Hello")
        self.assert_usage("'m.gguf' is not an option; give a model with -m MODEL; see", "serve", "m.gguf")
        self.assert_usage("'b' is one argument too many; see", "trace", "a", "b")
        self.assert_usage("unknown option --output-file; see", "logits", "--ids", "-", "--output-file", "x")  # not: --out is required
        self.assert_usage("unknown option --session", "serve", "--session", "x", "--sessions-size", "1G")

    def test_bounds_that_are_told_are_those_that_hold(self):
        self.assert_usage("from 0 to 2147483647 is expected, not '99999999999'", "run", "-p", "x", "--top-k", 99999999999)
        self.assert_usage("0 or more is expected, not '-1'", "run", "-p", "x", "--top-k", -1)
        self.assert_usage("above 0 %, and at most 100 %, is expected, not '0%'", "simulate", "t", "--cache", "0%")
        for command, option, what in (("trace", "--disk", "a number of GB/s"), ("simulate", "--disk", "a number of GB/s"),
                                      ("simulate", "--ram-speed", "a multiple"), ("trace", "--compute", "a number of milliseconds")):
            for value in ("0", "1e-7", "1e308", "inf", "x"):
                self.assert_usage(f"{option}: {what} from 1e-6 to 1e9, such as 3.5, is expected, not '{value}'", command, "t", option, value)
        self.assert_fails(flashmoe("trace", self.folder / "t", "--disk", "1e9"), 1, self.folder / "t")  # a number like others

    def test_the_file_to_write_has_the_same_names_everywhere(self):
        for command in (["logits", "--ids", "-"], ["calibrate", "--text", "t"], ["report", "t"]):
            for name in ("-o", "--out", "--output"):
                out = self.folder / "no" / "x"
                self.assert_fails(flashmoe(*command, name, out, stdin=b"1"), 1, out)
            self.assertIn("\n  -o, --out FILE  ", flashmoe(command[0], "--help").out)

    def test_values(self):
        for option, bad in (("--ram", "8X"), ("--ram", "0"), ("--ram", "-1G"), ("--ram", ""), ("--ram", "nan"),
                            ("--ram", "99999999999G"), ("--threads", "0"), ("--threads", "two"), ("--threads", "1.5"),
                            ("--ctx", "0"), ("--ctx", "99999999999"), ("--prefill-chunk", "0"), ("-n", "0"),
                            ("-n", ""), ("--temp", "-1"), ("--temp", "nan"), ("--top-k", "-1"), ("--top-p", "1.5"),
                            ("--min-p", "2"), ("--repeat-penalty", "0"), ("--presence-penalty", "inf"),
                            ("--frequency-penalty", "x"), ("--seed", "-1"), ("--kernels", "sse"), ("--io", "x"),
                            ("--mirror", ""), ("--experts", "gone"), ("--kv", "f8")):
            self.assert_usage("--tokens" if option == "-n" else option, "run", "-p", "x", option, bad)

    def test_values_of_serve(self):
        for option, bad in (("--host", ""), ("--port", "65536"), ("--api-key", ""), ("--cors", ""), ("--parallel", "65"),
                            ("--parallel", "0"), ("--queue", "4097"), ("--queue", "-1"), ("--max-connections", "0"),
                            ("--max-request", "2G"), ("--max-request", "0"), ("--sessions", ""), ("--sessions-size", "x")):
            self.assert_usage(option, "serve", "--port", "0", option, bad)

    def test_options_that_exclude_each_other(self):
        self.assert_usage("--file", "run", "-p", "x", "--file", "y")
        self.assert_usage("--chat", "run", "-p", "x", "--chat", "y")
        self.assert_usage("--system", "run", "-p", "x", "--raw", "--system", "y")
        self.assert_usage("--no-think", "run", "-p", "x", "--raw", "--no-think")
        self.assert_usage("--timing", "run", "-p", "x", "--quiet", "--timing")

    def test_empty_paths_are_not_a_wish_for_the_default(self):
        for arguments in (["-p", "x", "-m", ""], ["-p", "x", "--stats-json", ""], ["--file", ""], ["--chat", ""]):
            self.assert_usage("path", "run", *arguments, stdin=b"x")
        self.assert_usage("path", "inspect", "")

    def test_names_of_subcommands_are_words_too(self):
        self.assert_usage("inspect", "run", "-p", "x", "inspect")
        self.assertNotIn("family", self.assert_done(flashmoe("tokenize", "inspect")).out)

    def test_files_to_write_are_not_standard_output(self):
        for arguments in (["logits", "--ids", "-", "--out"], ["run", "-p", "x", "--stats-json"], ["run", "-p", "x", "--trace"],
                          ["report", "x", "-o"]):
            self.assert_usage("not standard output", *arguments, "-", stdin=b"1")

    def test_files_that_are_read_are_not_written(self):
        model, link, text, ids = (self.folder / name for name in ("model.gguf", "link", "text", "ids"))
        shutil.copy(MODEL, model)
        link.symlink_to(model)
        text.write_text("one two three")
        ids.write_text("1 2 3")
        trace = self.folder / "trace"
        self.assert_done(flashmoe("run", "-p", "hi", "-n", 1, "--trace", trace))
        folder = self.folder / "packed"
        self.assert_done(flashmoe("pack", MODEL, folder, "--quiet"))
        config = folder / "manifest.json"
        before = {path: path.read_bytes() for path in (model, text, ids, trace, config)}
        of_model = ["-m", model, "-p", "hi", "-n", 1]
        for arguments in (["calibrate", "-m", model, "--text", text, "--limit", 1, "--out", model],
                          ["calibrate", "--text", text, "--out", text],
                          ["logits", "-m", model, "--ids", ids, "--out", link],
                          ["logits", "--ids", ids, "--out", ids],
                          ["run", *of_model, "--stats-json", model],
                          ["run", *of_model, "--trace", link],
                          ["run", "--file", text, "--stats-json", text],
                          ["run", "--file", text, "--trace", text],
                          ["run", "-m", folder, "-p", "hi", "-n", 1, "--trace", config],
                          ["run", "-m", folder, "-p", "hi", "-n", 1, "--stats-json", config],
                          ["run", "-p", "hi", "--trace", trace, "--stats-json", self.folder / "packed/../trace"],
                          ["report", trace, "--output", trace]):
            with self.subTest(arguments=arguments):
                self.assert_fails(flashmoe(*arguments), 2, "name")
        for _ in range(2):  # what else lies in the folder is not the model's
            self.assert_done(flashmoe("run", "-m", folder, "-p", "hi", "-n", 1, "--stats-json", folder / "stats.json"))
        for path, bytes_before in before.items():
            self.assertEqual(path.read_bytes(), bytes_before, path)

    def test_what_would_be_ignored(self):
        self.assert_usage("--sessions", "serve", "--sessions-size", "1G")
        self.assert_usage("--cors", "serve", "--cors", "example.org")

        self.assert_usage("--verify-reads", "run", "-p", "x", "--verify-reads", "always")  # nothing to compare with
        self.assert_usage("--hit-rate", "plan", "--hit-rate", 50)  # everything is in memory
        self.assert_usage("--mirror", "run", "-p", "x", "--mirror", MODEL.parent)  # the model itself
        self.assert_usage("--read-ahead on", "run", "-p", "x", "--read-ahead", "on", "--experts", "resident")
        for option, value in (("--ctx", 64), ("--mirror", self.folder), ("--experts", "resident")):
            self.assert_usage(option + " requires --model", "doctor", option, value)
        self.assertNotIn("built-in", flashmoe("doctor", "--help").out)

    def test_missing_values(self):
        self.assert_usage("--ram: a value is missing", "run", "-p", "x", "--ram")
        self.assert_usage("--ram: given more than once", "run", "-p", "x", "--ram", "1G", "--ram", "2G")

    def test_more_threads_than_cpus_are_noted(self):
        run = self.assert_done(flashmoe("run", "--quiet", "-n", 1, "-p", "x", "--threads", len(os.sched_getaffinity(0)) + 1))
        self.assertRegex(run.err, "note: --threads .* CPUs")

    def test_given_twice(self):
        self.assert_usage("--tokens", "run", "-p", "x", "-n", "1", "-n", "2")

    def test_empty_prompts(self):
        self.assert_usage("empty", "run", "-p", "")
        self.assert_usage("empty", "run")
        self.assert_usage("empty", "run", "--raw", "--file", "-")
        self.assert_usage("empty", "run", "-p", "x", "--stop", "")

    def test_sizes_that_are_understood(self):
        for size in ("1G", "1g", "1GiB", "1GB", "1024M", "1.5G", "1073741824", "1073741824B", "1048576K"):
            self.assert_done(flashmoe("run", "--quiet", "-n", 1, "-p", "x", "--ram", size))


if __name__ == "__main__":
    unittest.main()
