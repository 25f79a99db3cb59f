#!/usr/bin/python3
"""Renders templates with python3-jinja2 into tests/data/jinja, where the unit tests compare flashmoe's interpreter.

    make_jinja_fixtures.py [--conversations FILE.jsonl] [--seed N] [--expressions N]

The environment is the one chat templates are written for: immutable sandbox, trim_blocks, lstrip_blocks, loop controls,
tojson without HTML escapes, raise_exception. Requests for the chat templates come from FILE (one JSON object a line);
without it, those already in chats.json are rendered again.
"""
import argparse
import copy
import json
import random
import re
import warnings
from pathlib import Path

import jinja2
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

warnings.simplefilter("ignore", SyntaxWarning)  # the compiled templates'
DATA = Path(__file__).resolve().parent.parent / "tests" / "data" / "jinja"


class Generation(Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        call = self.call_method("_render")
        return jinja2.nodes.CallBlock(call, [], [], body).set_lineno(line)

    def _render(self, caller):
        return caller()


def environment(optimized):
    env = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, optimized=optimized, extensions=[Generation, loopcontrols])

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    return env


ENV = environment(True)
# Folding constants turns some errors into undefined values; variables show what the operators really do.
UNFOLDED = environment(False)


def render(source, context, env=ENV):
    """The text, or None when the reference refuses."""
    try:
        # A copy: the filter indent changes a list that it is given.
        text = env.from_string(source).render(**copy.deepcopy(context))
        text.encode()
        return text
    except Exception:  # the sandbox lets every Python error through
        return None


CONTEXTS = {
    "empty": {},
    "plain": {
        "n": 7, "z": 0, "neg": -3, "f": 2.5, "big": 123456789012345, "tiny": 1e-7, "huge": 1e22, "t": True, "no": False,
        "nil": None, "s": "Hello World", "e": "", "sp": "  pad\t\n", "u": "naïve 日本 😀é", "q": "it's \"q\"\n",
        "l": [3, 1, 2], "ls": ["b", "A", "c"], "le": [], "nest": [[1, 2], [3, [4]]], "d": {"b": 1, "a": [1, {"x": None}], "c": "v"},
        "de": {}, "rows": [{"k": "x", "v": 3, "g": True}, {"k": "Y", "v": 1}, {"k": "z", "v": 2, "g": False}],
        "deep": {"one": {"two": [{"three": "found"}]}}, "html": "<a href='x'>&</a>", "lines": "one\n\n  two\r\nthree\n",
    },
    "chat": {
        "messages": [
            {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "<think>\nhm\n</think>\n\nHello"}, {"role": "user", "content": " Bye "},
        ],
        "bos_token": "<s>", "eos_token": "</s>", "add_generation_prompt": True,
    },
}

SMALL = json.loads((DATA / "templates.json").read_text())


# Random expressions. Values that have no agreed form (generators, functions) only occur where they are consumed.
class Expressions:
    NAMES = [k for k in CONTEXTS["plain"]] + ["missing"]
    LITERALS = ["0", "1", "2", "-1", "3", "10", "1.5", "0.1", "1e3", "-2.0", "'a'", "''", "'Ab c'", "\" x \"", "'日é'", "true",
                "False", "none", "[]", "[1, 2, 3]", "['x', 'Y']", "(1, 'a')", "()", "{}", "{'a': 1}", "{'k': [1, 2], 1: 'i'}",
                "[[1, 2], [0]]", "'a,b,,c'", "'12'", "' 3.7 '"]
    FILTERS = ["length", "upper", "lower", "title", "capitalize", "trim", "list", "string", "int", "float", "first", "last",
               "join", "join(', ')", "tojson", "tojson(indent=2)", "tojson(separators=(',', ':'))", "tojson(sort_keys=true)",
               "tojson(ensure_ascii=true)", "abs", "round", "round(1)", "round(0, 'floor')", "round(2, 'ceil')", "sort",
               "sort(reverse=true)", "unique|list", "reverse|list", "sum", "min", "max", "default('dd')", "default('dd', true)",
               "d(3)", "replace('a', 'bb')", "replace('l', '', 1)", "indent", "indent(2, true)", "map('string')|list",
               "map('upper')|join('-')", "select|list", "reject|list", "select('string')|list", "reject('none')|list",
               "select('gt', 1)|list", "map(attribute='k')|list", "selectattr('g')|list", "selectattr('v', 'gt', 1)|list",
               "rejectattr('g', 'defined')|list", "items|list", "dictsort", "dictsort(by='value')", "count", "wordcount",
               "sum(attribute='v')", "sort(attribute='v')", "map(attribute='v', default=9)|list", "max(attribute='v')",
               "int(5)", "float(0.5)", "trim('ab')"]
    METHODS = ["upper()", "lower()", "strip()", "lstrip()", "rstrip()", "strip('ab ')", "split()", "split(' ')", "split('l', 1)",
               "rsplit(' ', 1)", "rsplit()", "startswith('H')", "endswith('d')", "title()", "capitalize()", "replace('l', 'L')",
               "find('o')", "rfind('o')", "splitlines()", "splitlines(true)", "removeprefix('He')", "removesuffix('ld')",
               "count('l')", "items()|list", "keys()|list", "values()|list", "get('a')", "get('zz', 5)", "index(1)", "isdigit()",
               "a", "b", "k", "one", "one.two", "zzz", "join(['x', 'y'])", "isupper()", "islower()", "isspace()", "items()", "keys()"]
    TESTS = ["defined", "undefined", "string", "number", "integer", "float", "boolean", "mapping", "iterable", "sequence", "none",
             "true", "false", "odd", "even", "divisibleby(3)", "in [1, 2, 'a']", "equalto 1", "eq('a')", "ne 2", "lt 2", "gt(1)",
             "ge 1", "le 1", "upper", "lower", "callable", "sameas true"]
    BINARY = ["+", "-", "*", "/", "//", "**", "~", "~", "==", "!=", "<", "<=", ">", ">=", "in", "not in", "and", "or"]
    SLICES = ["[0]", "[-1]", "[5]", "[1:]", "[:2]", "[::-1]", "[::2]", "[-2:]", "[1:-1]", "[:-1]", "[3:0:-1]", "['a']", "['b']", "['zz']",
              "[none:2]", "[10:]", "[1]", "[true]"]

    def __init__(self, seed):
        self.random = random.Random(seed)

    def atom(self):
        r = self.random
        return r.choice(self.NAMES) if r.random() < 0.55 else r.choice(self.LITERALS)

    def make(self, depth):
        r = self.random
        if depth == 0:
            return self.atom()
        kind = r.randrange(13)
        inner = self.make(depth - 1)
        if kind < 4:
            return f"({inner})|{r.choice(self.FILTERS)}"
        if kind < 6:
            return f"({inner}).{r.choice(self.METHODS)}"
        if kind == 6:
            return f"({inner}){r.choice(self.SLICES)}"
        if kind == 7:
            return f"({inner}) is {r.choice(['', 'not '])}{r.choice(self.TESTS)}"
        if kind == 8:
            return r.choice([f"not ({inner})", f"-({inner})", f"+({inner})", f"[{inner}, {self.atom()}]", f"({inner}, )",
                             f"{{'k': {inner}}}"])
        if kind == 9:
            condition = self.make(depth - 1)
            return f"(({inner}) if ({condition}) else ({self.atom()}))"
        if kind == 12:  # text on the left of % is formatting, which is left out
            return f"{r.choice(['n', 'neg', 'f', '7', '-2.5'])} % {r.choice(['n', 'neg', 'f', 'z', '3', '(' + inner + ')'])}"
        if kind == 10:
            a, b, c = r.choice(self.BINARY), r.choice(self.BINARY), self.atom()
            return f"{self.atom()} {a} {self.atom()} {b} {c}"
        return f"({inner}) {r.choice(self.BINARY)} ({self.make(depth - 1)})"


# What the interpreter leaves out on purpose: integers beyond 64 bits, complex numbers, addresses of objects.
def is_left_out(source, text):
    return (text is not None and (re.search(r"\d{19,}", text) is not None or "<generator" in text or " object at 0x" in text
                                  or "<built-in" in text or "<bound" in text or re.search(r"\dj\)?", text) is not None))


def expression_cases(seed, count):
    made, seen, out = Expressions(seed), set(), []
    errors = 0
    while len(out) < count:
        expression = made.make(made.random.choice([1, 2, 2, 3]))
        source = "{{ " + expression + " }}"
        if re.search(r"\[[^\]\[]*:[^\]\[]*\]", expression):  # what is printed is folded all the same
            source = "{% set v = " + expression + " %}{{ v }}"
        # Integers beyond 64 bits, some of which the reference would take years to compute.
        beyond = "**" in source and ("huge" in source or "big" in source) or "huge" in source and "int" in source
        if len(source) > 160 or source in seen or beyond:
            continue
        seen.add(source)
        text = render(source, CONTEXTS["plain"], UNFOLDED)
        if is_left_out(source, text) or (text is not None and len(text) > 400):
            continue
        if text is None:
            errors += 1
            if errors > count // 4:
                continue
        out.append(case(source, "plain", text))
    return out


def case(source, context, text):
    entry = {"t": source, "c": context}
    entry.update({"error": True} if text is None else {"want": text})
    return entry


def write_lines(name, cases):
    (DATA / name).write_text("".join(json.dumps(c, ensure_ascii=False) + "\n" for c in cases))
    print(f"{name}: {len(cases)} cases, {sum('error' in c for c in cases)} of them errors")


def requests_from(path, count):
    rows = [json.loads(line) for line in Path(path).read_text().splitlines()]
    out, size = [], 0
    for row in sorted(rows, key=lambda r: (len(json.dumps(r)) // 3000, -len(r["messages"]), json.dumps(r)))[: 40 * count : 40]:
        row.pop("family", None)
        row.pop("want", None)
        out.append(row)
    return out


def edge_requests():
    tool = {"type": "function", "function": {"name": "f", "description": "Ünï \"q\" <b>", "parameters": {
        "type": "object", "properties": {"z": {"type": "number"}, "a": {"type": "array", "items": {"type": "string"}}}, "required": ["z"]}}}
    call = {"type": "function", "id": "c1", "function": {"name": "f", "arguments": {"z": 1.5, "a": ["x", "é"], "n": None, "b": True}}}
    user, bye = {"role": "user", "content": "Hi <|im_end|>"}, {"role": "user", "content": "Bye"}
    return [
        {"messages": [user]},
        {"messages": []},
        {"messages": [{"role": "system", "content": " s "}, user], "enable_thinking": False},
        {"messages": [user, {"role": "system", "content": "late"}]},
        {"messages": [{"role": "robot", "content": "x"}]},
        {"messages": [user], "tools": [tool, tool]},
        {"messages": [{"role": "system", "content": "s"}, user], "tools": [tool], "tools_in_user": False},
        {"messages": [user, {"role": "assistant", "content": "", "tool_calls": [call, call]}, {"role": "tool", "content": "1"},
                      {"role": "tool", "content": "{\"a\": 2}"}, {"role": "assistant", "content": "Done"}, bye], "tools": [tool]},
        {"messages": [user, {"role": "assistant", "content": "A", "tool_calls": [call]}, {"role": "tool", "content": "1"}]},
        {"messages": [user, {"role": "assistant", "content": "<think>\nwhy\n</think>\n\nA"}, bye]},
        {"messages": [user, {"role": "assistant", "content": "A", "reasoning_content": "why"}, bye,
                      {"role": "assistant", "content": "B", "reasoning_content": "\nthen\n"}], "add_generation_prompt": False},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "one "}, {"type": "text", "text": "two"}]}]},
        {"messages": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "two"}]}]},
        {"messages": [{"role": "user", "content": None}]},
        {"messages": [user, {"role": "assistant", "content": "x"}, {"role": "assistant", "content": "y"}], "strict": True},
    ]


def chat_requests(path):
    if path is None:
        return json.loads((DATA / "chats.json").read_text())["requests"]
    defaults = {"tools": None, "documents": None, "add_generation_prompt": True, "bos_token": "<s>", "eos_token": "</s>"}
    return [{**defaults, **row} for row in edge_requests() + requests_from(path, 60)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--conversations")
    parser.add_argument("--seed", type=int, default=20)
    parser.add_argument("--expressions", type=int, default=4000)
    args = parser.parse_args()

    (DATA / "contexts.json").write_text(json.dumps(CONTEXTS, ensure_ascii=False, indent=1) + "\n")
    write_lines("cases.jsonl", [case(source, name, render(source, CONTEXTS[name]))
                                for name, sources in SMALL.items() for source in sources])
    write_lines("expressions.jsonl", expression_cases(args.seed, args.expressions))

    requests = chat_requests(args.conversations)
    wants = {path.name: [render(path.read_text(), r) for r in requests] for path in sorted(DATA.glob("*.jinja"))}
    (DATA / "chats.json").write_text(json.dumps({"requests": requests, "wants": wants}, ensure_ascii=False) + "\n")
    for name, texts in wants.items():
        print(f"{name}: {len(texts)} requests, {sum(t is None for t in texts)} of them errors")


if __name__ == "__main__":
    main()
