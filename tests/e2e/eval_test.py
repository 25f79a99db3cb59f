"""flashmoe eval: perplexity, divergence, tool calls; state files and complaints."""
import json
import math
import shutil
import signal
import unittest

import numpy

from flashmoe_cli import BINARY, MODEL, PATIENCE, SLOW, SOURCE_DIR, Case, flashmoe, start
from terminal_session import errors_on_terminal

EVAL = SOURCE_DIR / "models" / "spark" / "eval"
TEXT = EVAL / "text.txt"
CONVERSATIONS = EVAL / "conversations.jsonl"
CASES = SOURCE_DIR / "tests" / "data" / "spark" / "tool_cases.jsonl"
JSON_CASES = EVAL / "json_cases.jsonl"


class EvalTest(Case):
    def evaluate(self, *arguments):
        return json.loads(self.assert_done(flashmoe("eval", *arguments, "--json")).out)

    def logits_of(self, text):
        """(ids, logits) as `tokenize` and `logits` tell them."""
        ids = self.assert_done(flashmoe("tokenize", text)).out.split()
        out = self.folder / "logits.safetensors"
        self.assert_done(flashmoe("logits", "--ids", "-", "--out", out, stdin=" ".join(ids).encode()))
        data = out.read_bytes()
        length = int.from_bytes(data[:8], "little")
        shape = json.loads(data[8:8 + length])["logits"]["shape"]
        return list(map(int, ids)), numpy.frombuffer(data[8 + length:], dtype="<f4").reshape(shape).astype(float)

    def test_perplexity_is_that_of_the_logits(self):
        text = TEXT.read_text(encoding="utf-8")[:800]
        ids, logits = self.logits_of(text)
        log_p = logits - numpy.log(numpy.exp(logits - logits.max(1, keepdims=True)).sum(1, keepdims=True))
        log_p -= logits.max(1, keepdims=True)
        half = len(ids) // 2
        want = -sum(log_p[i - 1][ids[i]] for i in range(half, len(ids))) / (len(ids) - half)
        path = self.folder / "text.txt"
        path.write_text(text, encoding="utf-8")
        got = self.evaluate("ppl", "--text", path)["text"]
        self.assertEqual(got["tokens"], len(ids) - half)
        self.assertAlmostEqual(got["nats_per_token"], want, places=4)
        self.assertAlmostEqual(got["perplexity"], math.exp(got["nats_per_token"]), places=9)

    def test_the_model_knows_its_own_turns(self):
        got = self.evaluate("ppl", "--conversations", CONVERSATIONS, "--limit", "6")["assistant_turns"]
        self.assertGreater(got["tokens"], 200)
        self.assertLess(got["perplexity"], 1.3)

    def test_arguments_of_calls_are_text_or_objects(self):
        def score(arguments):
            call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}}
            request = {"enable_thinking": False, "messages": [
                {"role": "user", "content": "Call f."}, {"role": "assistant", "content": None, "tool_calls": [call]}]}
            run = flashmoe("eval", "ppl", "--conversations", "-", "--json", stdin=json.dumps(request).encode())
            return json.loads(self.assert_done(run).out)["assistant_turns"]
        self.assertEqual(score('{"x": 1}'), score({"x": 1}))

    def test_turns_of_templates_that_think(self):
        """Their history lacks the reasoning that a prompt opens, and what comes behind it is scored."""
        for opening, past in (("<think>\n", ""), ("{{ '<think>\n' if enable_thinking is undefined else '<think>\n\n</think>\n\n' }}",
                                                  "{{ '<think>\n\n</think>\n\n' if loop.last }}")):
            template = ("{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}" + past +
                        "{% endif %}{{ m.content }}<|im_end|>\n{% endfor %}"
                        "{% if add_generation_prompt %}<|im_start|>assistant\n" + opening + "{{ '' }}{% endif %}")
            path = self.folder / "chat.jinja"
            path.write_text(template)
            request = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello there."}]}
            run = flashmoe("eval", "ppl", "--chat-template", path, "--conversations", "-", "--json", stdin=json.dumps(request).encode())
            got = json.loads(self.assert_done(run).out)["assistant_turns"]
            self.assertEqual(got["turns_left_out"], 0)
            self.assertGreaterEqual(got["tokens"], 3)
            self.assertLessEqual(got["tokens"], 6)
        path.write_text("{{ messages|length if add_generation_prompt else 'x' }}")
        run = flashmoe("eval", "ppl", "--chat-template", path, "--conversations", "-", stdin=json.dumps(request).encode())
        self.assertEqual(run.code, 1)
        self.assertIn("nothing to score: 1 turns of the assistant, each longer", run.err)

    def test_requests_come_through_a_pipe(self):
        requests = CONVERSATIONS.read_bytes().splitlines()[0]
        run = flashmoe("eval", "ppl", "--conversations", "-", "--json", stdin=requests)
        self.assertGreater(json.loads(self.assert_done(run).out)["assistant_turns"]["tokens"], 10)

    def test_loading_and_units_are_shown_to_a_terminal_alone(self):
        command = [BINARY, "eval", "ppl", "--text", TEXT, "--limit", "2", "--ctx", "128"]
        code, out, shown = errors_on_terminal(command)
        self.assertEqual(code, 0)
        self.assertNotIn(b"\x1b", out)
        self.assertIn(b"loading", shown)
        self.assertIn(b"perplexity: window  0 of 2", shown)
        self.assertTrue(shown.endswith(b"\r\x1b[K"), shown[-80:])

    def test_a_model_does_not_diverge_from_itself(self):
        got = self.evaluate("kld", "--reference", MODEL, "--text", TEXT, "--limit", "1", "--ctx", "256")
        self.assertEqual((got["tokens"], got["kl_mean"], got["same_top"]), (128, 0, 1))
        self.assertEqual(got["perplexity"], got["reference_perplexity"])

    def test_mirrors_are_of_the_model_not_of_the_reference(self):
        reference, mirror = self.folder / "reference.gguf", self.folder / "mirror"
        shutil.copyfile(MODEL, reference)
        mirror.mkdir()
        shutil.copyfile(MODEL, mirror / MODEL.name)
        for ram in ([], ["--ram", "1G"]):
            got = self.evaluate("kld", "--reference", reference, "--text", TEXT, "--limit", "1", "--ctx", "256", "--mirror", mirror, *ram)
            self.assertEqual(got["kl_mean"], 0)

    def test_which_of_two_models_does_not_fit(self):
        run = flashmoe("eval", "kld", "--reference", MODEL, "--text", TEXT, "--ram", "40M")
        self.assertEqual((run.code, run.out), (3, ""))
        self.assertTrue(run.err.startswith(f"flashmoe: {MODEL}: the memory limit is below"), run.err)
        self.assertRegex(run.err, r"limit +21\.0 MB +\(half of --ram\)")

    def test_int8_activations_diverge_a_little_and_text_marks_matter(self):
        arguments = ["kld", "--reference", MODEL, "--text", TEXT, "--limit", "1", "--ctx", "256"]
        as_text = self.evaluate("ppl", "--text", TEXT, "--limit", "1", "--ctx", "256", "--marks-as-text")["text"]
        as_marks = self.evaluate("ppl", "--text", TEXT, "--limit", "1", "--ctx", "256")["text"]
        self.assertGreater(as_text["perplexity"], as_marks["perplexity"])
        plain = self.assert_done(flashmoe("eval", *arguments)).out
        self.assertIn("kl_p99", plain)

    def test_tool_calls_and_json(self):
        got = self.evaluate("tools", "--cases", CASES, "--json-cases", JSON_CASES, "--limit", "8")
        self.assertEqual((got["tool_cases"], got["json_cases"]), (8, 8))
        self.assertGreaterEqual(got["well_formed"], 7)
        self.assertGreaterEqual(got["exact_calls"], 6)
        self.assertLessEqual(got["exact_calls"], got["well_formed"])
        self.assertGreaterEqual(got["json_valid"], 7)

    def test_a_wrong_call_is_not_exact(self):
        case = json.loads(CASES.read_text(encoding="utf-8").splitlines()[0])
        case["want"][0]["name"] += "x"
        path = self.folder / "cases.jsonl"
        path.write_text(json.dumps(case) + "\n", encoding="utf-8")
        got = self.evaluate("tools", "--cases", path)
        self.assertEqual((got["tool_cases"], got["exact_calls"]), (1, 0))

    def test_an_interrupted_evaluation_goes_on(self):
        state = self.folder / "state.json"
        arguments = ["ppl", "--text", TEXT, "--limit", "4", "--ctx", "128", "--state", state]
        slow = start("eval", *arguments, *SLOW)
        try:
            slow.wait(timeout=1.5)
        except Exception:  # still at it
            slow.send_signal(signal.SIGINT)
        _, err = slow.communicate(timeout=PATIENCE)
        if slow.returncode != 0:
            self.assertIn(b"the same command goes on from there", err)
        want = self.evaluate("ppl", "--text", TEXT, "--limit", "4", "--ctx", "128", *SLOW)
        self.assertEqual(self.evaluate(*arguments, *SLOW), want)
        self.assertEqual(self.evaluate(*arguments, *SLOW), want)  # complete: told again
        other = ["--limit", "3", "--ctx", "128", "--state", state]
        self.assert_fails(flashmoe("eval", "ppl", "--text", TEXT, *other), 2, state, "another evaluation")

    def test_a_state_of_another_model_or_setting_is_refused(self):
        state, model, reference = (self.folder / name for name in ["state.json", "model", "reference"])
        small = ["--limit", "1", "--ctx", "128", "--state", state]
        cases = [
            ["ppl", "-m", model, "--text", TEXT, *small],
            ["ppl", "-m", model, "--conversations", CONVERSATIONS, "--limit", "1", "--state", state],
            ["kld", "-m", model, "--reference", reference, "--text", TEXT, *small],
            ["tools", "-m", model, "--cases", CASES, "--limit", "1", "--max-tokens", "4", "--state", state],
        ]
        for path in [model, reference]:
            self.assert_done(flashmoe("pack", MODEL, path, "--quiet"))
        for arguments in cases:
            with self.subTest(arguments=arguments):
                state.unlink(missing_ok=True)
                want = self.evaluate(*arguments)
                self.assertEqual(self.evaluate(*arguments), want)
                for setting in [["--kv", "q8"], ["--exact"], ["--kernels", "scalar"]]:
                    self.assert_fails(flashmoe("eval", *arguments, *setting), 2, state, "another evaluation")
                path = reference if arguments[0] == "kld" else model
                shutil.rmtree(path)
                self.assert_done(flashmoe("pack", MODEL, path, "--experts", "affine4", "--quiet"))
                self.assert_fails(flashmoe("eval", *arguments), 2, state, "another evaluation")

    def test_complaints(self):
        short = self.folder / "short.txt"
        short.write_text("a")
        asked = self.folder / "asked.jsonl"
        asked.write_text('{"messages": [{"role": "user", "content": "Hello?"}]}\n')
        broken = self.folder / "cases.jsonl"
        broken.write_text('{"messages": []}\nnonsense\n')
        for code, parts, arguments in [
                (2, ["one of ppl|kld|tools"], ["speed"]),
                (2, ["--text and --conversations"], ["ppl"]),
                (2, ["--text excludes --conversations"], ["ppl", "--text", TEXT, "--conversations", TEXT]),
                (2, ["--reference"], ["kld", "--text", TEXT]),
                (2, ["does not take"], ["tools", "--cases", CASES, "--text", TEXT]),
                (2, ["--cases or --json-cases"], ["tools"]),
                (1, ["short.txt: there is nothing to score: it is too short"], ["ppl", "--text", short]),
                (1, ["asked.jsonl: there is nothing to score: no turn of the assistant"], ["ppl", "--conversations", asked]),
                (2, ["--ctx 1"], ["ppl", "--text", TEXT, "--ctx", "1"]),
                (2, ["--ctx 1"], ["kld", "--text", TEXT, "--reference", MODEL, "--ctx", "1"]),
                (2, ["--max-tokens"], ["ppl", "--text", TEXT, "--max-tokens", "3"]),
                (2, ["--marks-as-text"], ["tools", "--cases", CASES, "--marks-as-text"]),
                (2, ["--state", "standard output"], ["ppl", "--text", TEXT, "--state", "-"]),
                (1, ["line 2"], ["tools", "--json-cases", broken]),
                (1, ["want"], ["tools", "--cases", JSON_CASES]),
                (1, ["missing.txt"], ["ppl", "--text", self.folder / "missing.txt"]),
                (1, ["/dev/full: not a regular file"], ["ppl", "--text", TEXT, "--state", "/dev/full"]),
                (1, ["not the state"], ["ppl", "--text", TEXT, "--state", broken]),
        ]:
            with self.subTest(arguments=arguments):
                self.assert_fails(flashmoe("eval", *arguments), code, *parts)


if __name__ == "__main__":
    unittest.main()
