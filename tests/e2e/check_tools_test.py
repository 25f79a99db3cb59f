"""The house checks themselves: each finds what it is there to find, and accepts what is right."""
import contextlib
import io
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tools"))

import check_docs  # noqa: E402
import check_layers  # noqa: E402
import check_sizes  # noqa: E402
import check_types  # noqa: E402
import count_tests  # noqa: E402


def status(check, *arguments):
    """Exit status of a tool's main, its output swallowed."""
    with contextlib.redirect_stdout(io.StringIO()):
        return check.main([str(argument) for argument in arguments])


class Tree(unittest.TestCase):
    """A small project in a folder of its own."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)
        self.write("tools/layers.txt", "# comment\nengine\nmodel text\nio kernels\nbase\n")
        self.write("include/flashmoe/engine.h", "#pragma once\n")
        for room in ("engine", "model", "text", "io", "kernels", "base"):
            self.write(f"src/{room}/thing.h", "#pragma once\n")

    def write(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


class Layers(Tree):
    def offences_of(self, name, text):
        self.write(name, text)
        return check_layers.check(self.root)

    def test_down_and_own_room_are_fine(self):
        text = '#include "model/thing.h"\n#include "base/thing.h"\n#include "flashmoe/engine.h"\n#include <vector>\n'
        self.assertEqual(self.offences_of("src/model/a.cpp", text), [])

    def test_up_is_found_with_its_line(self):
        offences = self.offences_of("src/base/a.cpp", '#include <vector>\n\n#include "io/thing.h"\n')
        self.assertEqual(len(offences), 1)
        self.assertIn("src/base/a.cpp:3: base may not include io", offences[0])

    def test_sideways_is_found(self):
        self.assertIn("model may not include text", self.offences_of("src/model/a.cpp", '#include "text/thing.h"\n')[0])

    def test_missing_room_is_found(self):
        self.assertIn("does not say its room", self.offences_of("src/model/a.cpp", '#include "thing.h"\n')[0])

    def test_unknown_room_is_found(self):
        self.assertIn("not a room", self.offences_of("src/util/a.cpp", "\n")[0])

    def test_missing_public_header_is_found(self):
        self.assertIn("there is no include", self.offences_of("src/base/a.cpp", '#include "flashmoe/no.h"\n')[0])

    def test_public_header_that_looks_inside_is_found(self):
        self.assertEqual(len(self.offences_of("include/flashmoe/a.h", '#include "base/thing.h"\n')), 1)

    def test_apps_see_the_public_face_only(self):
        self.write("apps/own.h", "")
        self.assertEqual(self.offences_of("apps/a.cpp", '#include "own.h"\n#include "flashmoe/engine.h"\n'), [])
        self.assertEqual(len(self.offences_of("apps/b.cpp", '#include "base/thing.h"\n')), 1)
        self.assertEqual(len(self.offences_of("apps/b.cpp", "#include <base/thing.h>\n")), 1)

    def test_family_name_elsewhere_is_found(self):
        self.write("src/model/families/some_family.cpp", "// some_family\n")
        self.assertEqual(check_layers.check(self.root), [])
        offences = self.offences_of("src/engine/a.cpp", '\nif (name == "some_family") {}\n')
        self.assertEqual(len(offences), 1)
        self.assertIn("src/engine/a.cpp:2", offences[0])

    def test_exit_status(self):
        self.assertEqual(status(check_layers, self.root), 0)
        self.write("src/base/a.cpp", '#include "engine/thing.h"\n')
        self.assertEqual(status(check_layers, self.root), 1)


class Sizes(Tree):
    def test_long_files(self):
        self.write("src/base/a.cpp", "\n" * 401)
        warnings, failures = check_sizes.check(self.root)
        self.assertEqual((len(warnings), len(failures)), (1, 0))
        self.write("src/base/a.cpp", "\n" * 801)
        warnings, failures = check_sizes.check(self.root)
        self.assertEqual((len(warnings), len(failures)), (0, 1))
        self.assertEqual(status(check_sizes, self.root), 1)

    def function(self, lines):
        return "namespace a {\nstruct B {\n  int f() const {\n" + "    g();\n" * (lines - 2) + "  }\n};\n}\n"

    def test_long_functions(self):
        self.write("src/base/a.cpp", self.function(60))
        self.assertEqual(check_sizes.check(self.root), ([], []))
        self.write("src/base/a.cpp", self.function(61))
        warnings, failures = check_sizes.check(self.root)
        self.assertEqual((len(warnings), len(failures)), (1, 0))
        self.assertIn("src/base/a.cpp:3: function of 61 lines: int f() const", warnings[0])
        self.write("src/base/a.cpp", self.function(101))
        self.assertEqual(len(check_sizes.check(self.root)[1]), 1)

    def test_braces_that_are_text_do_not_count(self):
        text = 'void f() {\n  char c = \'{\';  // {\n  s = "{"; /* { */ r = R"({)";\n}\n' + "int x;\n" * 100 + "void g() {\n}\n"
        self.assertEqual([length for _, length, _ in check_sizes.functions(text)], [4, 2])

    def test_tables_and_constructors(self):
        text = "const int kTable[] = {\n" + "1,\n" * 90 + "};\nA::A(int b)\n    : b_{b} {\n  c();\n}\n"
        self.assertEqual([length for _, length, _ in check_sizes.functions(text)], [4])

    def test_python_functions(self):
        self.write("tools/a.py", "def f():\n" + "    x = 1\n" * 100)
        self.assertEqual(len(check_sizes.check(self.root)[1]), 1)


class Types(Tree):
    def offences_of(self, one, other):
        self.write("src/text/a.h", one)
        self.write("apps/b.h", other)
        return check_types.check(self.root)

    def test_one_name_in_two_headers_is_found(self):
        offences = self.offences_of("namespace f {\n\nenum class A { a };\nstruct Call final : B<int> {\n};\n}\n",
                                    "namespace f {\nclass Call;\nenum struct A : int {\n};\nstruct Call {\n};\n}\n")
        self.assertEqual(offences, ["src/text/a.h:3: f::A is defined in apps/b.h too",
                                    "src/text/a.h:4: f::Call is defined in apps/b.h too"])
        self.assertEqual(status(check_types, self.root), 1)

    def test_other_namespaces_and_scopes_are_fine(self):
        one = "namespace f::g {\nstruct Call {\n  struct Part { int a; };\n};\n}\n"
        other = ("namespace f {\nstruct Call { struct Part {}; };\nclass Other;\n// struct Other {};\n"
                 "inline void g(struct Call& a) { struct Local {}; }\n}\n")
        self.assertEqual(self.offences_of(one, other), [])
        self.assertEqual(self.offences_of(one, other + "namespace f { namespace h { struct Call {}; } }\n"), [])
        self.assertEqual(status(check_types, self.root), 0)

    def test_a_namespace_that_the_build_names_is_its_folders(self):
        text = "namespace f::F_ISA {\nstruct A {\n};\n}\n"
        self.assertEqual(self.offences_of(text, text), [])
        self.write("apps/c.h", text)
        self.assertEqual(check_types.check(self.root), ["apps/c.h:2: f::F_ISA::A is defined in apps/b.h too"])

    def test_specialisations_are_fine(self):
        self.assertEqual(self.offences_of("namespace f {\ntemplate <class T>\nstruct A {\n};\n}\n",
                                          "namespace f {\ntemplate <>\nstruct A<int> {\n};\n}\n"), [])


class Docs(Tree):
    def setUp(self):
        super().setUp()
        self.write("include/flashmoe/stats.h", 'kStageNames = {"embed", "norm", "norm"};\n')
        self.write("docs/one-token.md", "| 1 embed | x |\n| 2 norm | x |\n| 3 norm | x |\n")
        self.write("README.md", "# Top\n\n[page](docs/one-token.md) [web](https://example.org) `[no](link)`\n")
        self.write("CONTRIBUTING.md", "\n")

    def binary(self, options="--ram SIZE"):
        """A stand-in that prints a help page."""
        path = self.root / "flashmoe"
        path.write_text("#!/bin/sh\n"
                        "echo 'Subcommands:'\necho '  run     Answer a prompt'\necho\n"
                        f"echo '  -h, --help   Help'\necho '  {options}   text'\n", encoding="utf-8")
        path.chmod(0o755)
        return str(path)

    def test_right_documents(self):
        self.write("docs/how-to/run.md", "`--ram`\n")
        self.assertEqual(check_docs.check(self.root, self.binary()), [])

    def test_broken_link_and_anchor(self):
        self.write("docs/a.md", "[x](no.md)\n\n[y](../README.md#top) [z](../README.md#bottom)\n")
        offences = check_docs.check(self.root, None)
        self.assertEqual(len(offences), 2)
        self.assertIn("docs/a.md:1", offences[0])
        self.assertIn("no such heading", offences[1])

    def test_stage_names(self):
        self.write("docs/one-token.md", "| 1 embed | x |\n| 2 mix | x |\n| 3 norm | x |\n")
        self.assertEqual(len(check_docs.check(self.root, None)), 1)

    def test_machine_path(self):
        self.write("docs/a.md", "see /home/someone/models\n")
        self.assertEqual(len(check_docs.check(self.root, None)), 1)

    def test_unknown_option(self):
        self.write("docs/how-to/run.md", "`--ram` and `--gone`\n")
        offences = check_docs.check(self.root, self.binary())
        self.assertEqual(len(offences), 1)
        self.assertIn("--gone", offences[0])

    def test_undocumented_option(self):
        offences = check_docs.check(self.root, self.binary())
        self.assertEqual(offences, ["docs/how-to: --ram is in --help and on no page"])

    def test_help_page_that_is_too_wide(self):
        with self.assertRaises(SystemExit):
            check_docs.check(self.root, self.binary("--ram SIZE   " + "x" * 80))


class Counts(Tree):
    LOG = ("1/3 Testing: unit/base\n[  FAILED  ] Name.Works (3 ms)\n[==========] 5 tests ran.\n[  PASSED  ] 4 tests.\n"
           "[  SKIPPED ] 1 test, listed below:\n[  FAILED  ] 1 test, listed below:\n[  FAILED  ] Name.Works\nTest Failed.\n"
           "2/3 Testing: e2e/cli\nRan 7 tests in 0.1s\n\nFAILED (failures=2, skipped=1)\nTest Failed.\n"
           "3/3 Testing: check\nfine\nTest Passed.\n")

    def test_counts(self):
        self.assertEqual(count_tests.count_googletest(self.LOG), {"passed": 4, "failed": 1, "skipped": 1})
        self.assertEqual(count_tests.count_unittest(self.LOG), {"passed": 4, "failed": 2, "skipped": 1})
        self.assertEqual(count_tests.count_silent(self.LOG), {"passed": 1, "failed": 0, "skipped": 0})

    def test_failures_of_a_brief_log_and_with_a_parameter(self):
        log = ("[  FAILED  ] Name.Works (3 ms)\n[  FAILED  ] All/Name.Works/0, where GetParam() = 7 (4 ms)\n"
               "[  PASSED  ] 4 tests.\n")
        self.assertEqual(count_tests.count_googletest(log)["failed"], 2)

    def test_a_crash_is_a_failure(self):
        log = "1/1 Testing: unit/base\n[ RUN ] x\nSegmentation fault\nTest Failed.\n"
        self.assertEqual(count_tests.count_silent(log)["failed"], 1)

    def test_exit_status(self):
        self.write("log", self.LOG)
        self.assertEqual(status(count_tests, self.root / "log"), 1)
        self.write("log", "1/1 Testing: check\nfine\nTest Passed.\n")
        self.assertEqual(status(count_tests, self.root / "log"), 0)
        self.write("log", "")
        self.assertEqual(status(count_tests, self.root / "log"), 1)


if __name__ == "__main__":
    unittest.main()
