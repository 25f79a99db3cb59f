#!/usr/bin/env python3
"""Writes what the reference `tokenizers` library makes of a mixed corpus, for tests/unit/text/tokenizer_test.cpp.

usage: make_tokenizer_fixtures.py tests/data/text

Reads tokenizer.json there; writes tokenizer_cases.jsonl (the tokenizer as it is, with and without its added tokens) and
tokenizer_variants.json (the tokenizer under JSON merge patches: other patterns and flags) and pre_tokenizer_cases.json (the
byte lengths of the pieces that patterns split texts into). Needs `pip install tokenizers`.
"""
import copy
import json
import pathlib
import random
import sys

from tokenizers import Regex, Tokenizer, pre_tokenizers

QWEN2 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
         r"|\s+(?!\S)|\s+")

QWEN35 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
OTHERS = [r"\w+|\W", r"[^\w\s]+|\d+", r"\h+|\H", r"\P{L}+", r"[\S]+", r"^.|.$", r"[]a]+|[^]b]", r"[\d\p{P}]+|\D", r"(?=\p{L})",
          r"\p{N}{1,3}"]

TEXTS = [
    "", " ", "  ", "\n", "\r\n", "\r", "\t", "a", "Hello", "Hello, world!", " leading", "trailing ", "two  spaces",
    "three   spaces", "a\nb", "a\n\nb", "a \n b", "a\r\nb\r\n", "a\r\n\r\n  b", "tab\tand\t\ttabs", " \t \n \t x",
    "    indented\n        more\n\tand tab", "x" + " " * 50 + "y", "\n" * 40, " \n" * 30, "\u00a0nbsp\u00a0\u00a0two",
    "\u3000ideographic\u2003em\u2028line\u2029para\u0085nel\u180emvs\u200bzwsp\ufeffbom", "v\u000bt f\u000cf",
    # contractions
    "I'm you're he's we've they'll I'd don't", "I'M YOU'RE HE'S WE'VE THEY'LL I'D DON'T", "'S'T'RE'VE'M'LL'D",
    "it\u2019s don\u2019t", "'sx 'tx 'rex", "'\u017f long s", "l'\u00e9t\u00e9 d'abord", "rock'n'roll '90s 'tis",
    # numbers
    "0 1 12 123 1234 1234567890", "3.14159 -1e10 0x1F 1,000,000.00", "\u0661\u0662\u0663 \u0967\u0968\u0969 \u2167 \u00bd \u00b2 \u2460",
    "12:34:56.789 2024-01-02T03:04:05Z", "a1b2c3 1a 1 a",
    # code
    "def f(x: int) -> str:\n    return f\"{x!r:>10}\"  # comment\n\n\nclass A:\n\tpass\n",
    "#include <vector>\nint main(int argc, char** argv) {\n  std::vector<int> v{1, 2, 3};\n  return v[0] != 0 ? a->b : c::d;\n}\n",
    "SELECT * FROM t WHERE a >= 10 AND b <> 'x''y';", "{\"a\": [1, 2.5, null, true], \"b\": {\"c\": \"\\u00e9\"}}",
    "<html><body class=\"x\">&amp;</body></html>", "fn main() { println!(\"{}\", 1_000u64 << 2); }",
    "$ ls -la | grep '^d' && echo \"$HOME\" > /dev/null 2>&1", "snake_case camelCase PascalCase kConst SCREAMING_CASE",
    "a+b-c*d/e%f^g&h|i~j!k=l<m>n?o:p;q,r.s", "!!!???...---===###", "https://example.com/a/b?c=d&e=f#g", "user@example.org",
    # scripts
    "\u4f60\u597d\uff0c\u4e16\u754c\uff01\u8fd9\u662f\u4e2d\u6587\u3002", "\u65e5\u672c\u8a9e\u306e\u30c6\u30ad\u30b9\u30c8\u3067\u3059\u3002\u30ab\u3099\u306f\u3099",
    "\ud55c\uad6d\uc5b4 \ud14d\uc2a4\ud2b8 \u1112\u1161\u11ab\u1100\u116e\u11a8", "\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440! \u0418\u0306 \u0439",
    "\u0393\u03b5\u03b9\u03ac \u03c3\u03bf\u03c5 \u039a\u03cc\u03c3\u03bc\u03b5 \u1fc6", "\u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd \u05d1\u05b0\u05bc\u05e8\u05b5\u05d0\u05e9\u05c1\u05b4\u05d9\u05ea",
    "\u0645\u0631\u062d\u0628\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645 \u0628\u0650\u0633\u0652\u0645\u0650 \u0627\u0644\u0644\u0651\u064e\u0647\u0650 \u0662\u0660\u0662\u0664",
    "\u202eRTL override\u202c \u200fmark\u200e", "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35\u0e0a\u0e32\u0e27\u0e42\u0e25\u0e01 \u0e19\u0e49\u0e33 \u0e01\u0e33",
    "\u0928\u092e\u0938\u094d\u0924\u0947 \u0926\u0941\u0928\u093f\u092f\u093e \u0915\u094d\u0937 \u0958", "\u0ba4\u0bae\u0bbf\u0bb4\u0bcd \u0bca \u0bc6\u0bbe",
    "\u10d2\u10d0\u10db\u10d0\u10e0\u10ef\u10dd\u10d1\u10d0 \u0531\u0582\u0587", "Ti\u1ebfng Vi\u1ec7t Tie\u0302\u0301ng Vie\u0323\u0302t",
    # combining marks, NFC against NFD
    "caf\u00e9 cafe\u0301", "\u00c5 A\u030a \u212b \u2126 \u212a", "q\u0323\u0307 q\u0307\u0323", "e\u0301\u0301\u0301\u0327\u0316",
    "\u0301alone \u0301 x\u0301", "a\u0315\u0300\u05ae\u0062\u0334", "\u1e9b\u0323 \ufb01 \u2460", "\u0344 \u0340 \u0341 \u0374 \u037e \u0387",
    "\u0f43 \u0f73 \u0f75 \u0f81", "\u2adc \u2add\u0338", "\uac00\u11a8 \u1100\u1161\u11a8", "\U0001d15e \U0001d1bb \U000110a5\U000110ba",
    "\U00011938 \U00011935\U00011930", "e\U0001e2ec\u0327 \u0b92\u0bd7", "z\u0351\u036b\u0343\u036a\u0302\u036b\u033d\u034f\u0334\u0319\u0324\u031e\u0349\u035a",
    "\u0897\u0327 a\u0898\u0327 a\u0327\u0898", "\U000105d2\u0307 \U00016d63\U00016d67", "\U0001e4ef \U00031350 \U00016100 \U00010d40",
    # emoji
    "\U0001f600\U0001f603 \U0001f1e9\U0001f1ea \U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 \U0001f44d\U0001f3fd \u2764\ufe0f 1\ufe0f\u20e3",
    "\U0001f3f4\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f \U0001f9d1\u200d\U0001f4bb!!\n\n", "\u2603\u20dd \u00a9\u00ae\u2122",
    # controls, NUL, private use, noncharacters
    "a\0b\0\0c", "\x01\x02\x1b[31mred\x1b[0m\x7f", "\ue000\uf8ff\ufffe\uffff\U0010ffff", "soft\u00adhyphen\u200c\u200d\u2060",
    "\ufffd\ufffd", "\u2014dash\u2014 \u201cquotes\u201d \u2026", "\u0130\u0131 \u1e9e\u00df \u01c5",
]

# Ill-formed UTF-8: cut, overlong, surrogates, beyond U+10FFFF, stray continuation bytes.
BYTES = [
    b"\xff", b"\x80", b"a\x80b", b"\xc0\xaf", b"\xc1\xbf", b"\xe2\x82", b"\xe2\x82a", b"\xe2\x82\xac\xe2", b"\xed\xa0\x80",
    b"\xed\xa0\xbd\xed\xb8\x80", b"\xf0\x9f\x98", b"\xf0\x9f\x98 x", b"\xf0\x9f", b"\xf0", b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80",
    b"\xe0\x80\x80", b"\xf0\x80\x80\x80", b"\xe0\xa0", b"\xf8\x88\x80\x80\x80", b"caf\xe9 latin-1", b"\xfe\xff\x00a", b"\xc3\xc3\xa9",
    b"ok \xe4\xbd\xa0\xe5\xa5 cut", b"<|im_end|>\xff<think>\xe2\x82", b"<|im_\xffend|>", bytes(range(256)), bytes(range(255, -1, -1)),
]

RANGES = [
    [(0x20, 0x7E)], [(0x20, 0x7E), (0x09, 0x0D), (0x20, 0x20)], [(0, 0x1F), (0x20, 0x40)], [(0xA0, 0x24F)],
    [(0x41, 0x5A), (0x61, 0x7A), (0x300, 0x36F)], [(0x370, 0x52F)], [(0x590, 0x6FF)], [(0x900, 0xDFF)], [(0xE00, 0xFFF)],
    [(0x1100, 0x11FF), (0xAC00, 0xD7A3)], [(0x1E00, 0x1FFF)], [(0x2000, 0x206F), (0x61, 0x66)], [(0x2070, 0x2BFF)],
    [(0x3000, 0x30FF), (0x4E00, 0x4FFF)], [(0xF900, 0xFAFF), (0x20, 0x20)], [(0xFB00, 0xFDFF)], [(0x10000, 0x11FFF)],
    [(0x1D100, 0x1D7FF)], [(0x1F300, 0x1FAFF), (0x200D, 0x200D), (0xFE0F, 0xFE0F)], [(0, 0xD7FF), (0xE000, 0x10FFFF)],
]
CHUNKS = ["'s", "'LL", " ", "  ", "\n", "\r\n", "\t", "1", "42", "the", " the", "function", "=", "{}", "\u00e9", "e\u0301",
          "\u4e2d", "\U0001f600", "...", "\u00a0", "_", "-", "\"", "\u0301"]


def random_text(rng, marks):
    if rng.random() < 0.4:
        return "".join(rng.choice(CHUNKS + marks) for _ in range(rng.randint(1, 24)))
    text = ""
    for _ in range(rng.randint(1, 3)):
        ranges = rng.choice(RANGES)
        for _ in range(rng.randint(1, 14)):
            low, high = rng.choice(ranges)
            text += chr(rng.randint(low, high))
        if rng.random() < 0.2:
            text += rng.choice(marks)
    return text


def mark_texts(marks):
    texts = []
    for mark in marks:
        texts += [mark, mark * 2, f"a{mark}b", f" {mark} ", f"\n{mark}\n", f"{mark}'s", f"x {mark}1", mark[:-1], mark[1:], mark.upper(),
                  f"{mark[:-1]}{mark}", f"{mark[:-1]} >", f"<{mark}>", f"e{mark}\u0301", f"\u00a0{mark}\u3000"]
    texts.append("".join(marks))
    texts.append("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\nHello<|im_end|>\n")
    texts.append("<|im_start|<|im_start|><|im_<|im_end|>end|>")
    return texts


def long_texts(rng):
    return ["a" * 3000, "ab" * 1000, "\u00e9" * 600, "".join(rng.choice("etaoinshrdlu") for _ in range(1500)), " " * 3000, "\n" * 700,
            "x " * 300, "the" * 500, "-" * 800, "1" * 200, "\u0301" * 300, "e\u0316\u0301" * 200, "\u4e2d\u6587" * 200]


def write_cases(folder, definition, marks):
    rng = random.Random(20)
    parse = Tokenizer.from_str(json.dumps(definition))
    plain = Tokenizer.from_str(json.dumps({**definition, "added_tokens": []}))
    inputs = TEXTS + mark_texts(marks) + long_texts(rng) + [random_text(rng, marks) for _ in range(700)] + BYTES
    for _ in range(60):
        inputs.append(bytes(rng.choice(b"ab\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\xed\xa0\xff <|im_end|>") for _ in range(rng.randint(1, 20))))
    with open(folder / "tokenizer_cases.jsonl", "w") as out:
        for text in inputs:
            case = {"hex": text.hex()} if isinstance(text, bytes) else {"text": text}
            if isinstance(text, bytes):
                text = text.decode("utf-8", errors="replace")
            case["parse"] = parse.encode(text, add_special_tokens=False).ids
            as_text = plain.encode(text, add_special_tokens=False).ids
            if as_text != case["parse"]:
                case["as_text"] = as_text
            out.write(json.dumps(case, separators=(",", ":")) + "\n")
    return len(inputs)


def merge_patch(target, patch):
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge_patch(result.get(key), value)
    return result


def variants(definition):
    def splits(*patterns, last=None):
        parts = [{"type": "Split", "pattern": p, "behavior": "Isolated", "invert": False} for p in patterns]
        byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
        return {"pre_tokenizer": {"type": "Sequence", "pretokenizers": parts + [last or byte_level]}}

    def added(**flags):
        base = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
        entries = copy.deepcopy(definition["added_tokens"])
        vocab = definition["model"]["vocab"]
        next_id = 4096
        for text in ["<mask>", "caf\u00e9", "the", " sp ", "ab", "abc"]:
            entries.append({"id": vocab.get(text, next_id), "content": text, **base, **flags})
            next_id += text not in vocab
        return {"added_tokens": entries}

    return {
        "qwen2 pattern": splits({"Regex": QWEN2}),
        "gpt-2 pattern": {"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}},
        "two splits": splits({"Regex": r"\p{N}{1,3}"}, {"String": "ab."}, {"Regex": r"[^\s\w]+|\S\W|^\p{L}"}),
        "other classes": splits({"Regex": r"[\w]+|\h+|[\p{P}\p{S}]+$|\P{N}"}),
        "no normalizer": {"normalizer": None},
        "sequence normalizer": {"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}]}},
        "ignore_merges": {"model": {"ignore_merges": True}},
        "lstrip": added(lstrip=True),
        "rstrip": added(rstrip=True),
        "strips": added(lstrip=True, rstrip=True, special=False),
        "single_word": added(single_word=True),
        "normalized": added(normalized=True, special=False),
        "all flags": added(lstrip=True, rstrip=True, single_word=True, normalized=True),
    }


def write_variants(folder, definition, marks):
    marks = marks + ["<mask>", "caf\u00e9", "cafe\u0301", "the", " sp ", "ab", "abc", "ab.", "\u24b6", "\u200d"]
    out = []
    for name, patch in variants(definition).items():
        rng = random.Random(name)
        tokenizer = Tokenizer.from_str(json.dumps(merge_patch(definition, patch)))
        texts = ["the cafe\u0301  <mask>  sp  sp abc abcd xab ab, ab\n the", "\u0928\u092e\u0938\u094d\u0924\u0947 e\u0327\u0316x Vie\u0323\u0302t"]
        texts += [random_text(rng, marks) for _ in range(40)]
        texts += ["".join(rng.choice(marks + [" ", "\n", "x", "_", ".", "\u0301"]) for _ in range(8)) for _ in range(25)]
        cases = [{"text": t, "ids": tokenizer.encode(t, add_special_tokens=False).ids} for t in texts]
        out.append({"name": name, "patch": patch, "cases": cases})
    with open(folder / "tokenizer_variants.json", "w") as file:
        file.write("[\n" + ",\n".join(json.dumps(v, separators=(",", ":")) for v in out) + "\n]\n")
    return sum(len(v["cases"]) for v in out)


def write_pieces(folder, marks):
    rng = random.Random(35)
    texts = [t for t in TEXTS if t] + [random_text(rng, marks) for _ in range(150)]
    out = []
    for pattern in [QWEN35, QWEN2, GPT2] + OTHERS:
        split = pre_tokenizers.Split(Regex(pattern), "isolated")
        n = len(texts) if len(pattern) > 40 else 150
        out.append({"pattern": pattern, "lengths": [[len(p.encode()) for p, _ in split.pre_tokenize_str(t)] for t in texts[:n]]})
    with open(folder / "pre_tokenizer_cases.json", "w") as file:
        patterns = ",\n".join(json.dumps(p, separators=(",", ":")) for p in out)
        file.write('{"texts":%s,\n"patterns":[\n%s\n]}\n' % (json.dumps(texts, separators=(",", ":")), patterns))
    return sum(len(p["lengths"]) for p in out)


def main():
    folder = pathlib.Path(sys.argv[1])
    definition = json.loads((folder / "tokenizer.json").read_text())
    marks = [entry["content"] for entry in definition["added_tokens"]]
    print(write_cases(folder, definition, marks), "cases,", write_variants(folder, definition, marks), "of variants,",
          write_pieces(folder, marks), "of splitting")


if __name__ == "__main__":
    main()
