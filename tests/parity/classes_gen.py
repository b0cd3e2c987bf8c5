# SPDX-License-Identifier: Apache-2.0
"""Makes classes.json: which characters a name in a regular expression stands for, as the `tokenizers` library has it.

usage: classes_gen.py --out classes.json [--ranges FILE]     where tokenizers 0.23.1 is; about a minute
Every pattern is tried on every code point; what is kept is how many it matches and the SHA-256 of their ranges, "first-last\\n" each in
hexadecimal. --ranges writes the ranges themselves, to see what differs.

Not here because of characters newer than Unicode 14 that PCRE2 may not know: [:lower:], and scripts that gained some.
"""
import argparse
import hashlib
import json

from tokenizers import Regex, pre_tokenizers

PATTERNS = [r"\w", r"\W", r"\s", r"\S", r"\d", r"\D", r"\h", r"[\w]", r"[^\w]", r"[\s]", r"[^\s]", r"[\d]", r"[^\d]", r"[\S]", r"[\D]", r"[\h]", r"\v", r".", r"\R",
            r"(?m:.)", r"(?i:s)", r"(?i:k)", r"(?i:[a-z])", r"[\x{e9}\u00e8]", r"\t|\n|\r|\f|\a|\e", r"\P{L}", r"\p{^L}", r"[^\p{L}]", r"[\P{L}]",
            r"[^\s\p{L}\p{N}]", r"[^\r\n\p{L}\p{N}]", r"[^[:alpha:]]", r"[^[:punct:]]", r"[^[:space:]]", r"[^[:word:]]", r"\p{Letter}", r"\p{Decimal_Number}"]
PATTERNS += [f"[[:{name}:]]" for name in "alnum alpha ascii blank cntrl digit graph print punct space upper xdigit word".split()]
PATTERNS += [r"\p{%s}" % name for name in "L M N P S Z C Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf Co Alpha Alnum Punct Space Upper "
             "Word Alphabetic White_Space Han Greek Hebrew Thai Hangul".split()]


def ranges(pattern):
    split = pre_tokenizers.Split(Regex(pattern), "removed", invert=True)
    out = []
    for base in range(0, 0x110000, 4096):
        chars = [c for c in range(base, base + 4096) if not 0xD800 <= c < 0xE000]
        for _, (first, end) in split.pre_tokenize_str("".join(map(chr, chars))) if chars else []:
            for c in chars[first:end]:
                if out and out[-1][1] == c - 1:
                    out[-1][1] = c
                else:
                    out.append([c, c])
    return out


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", required=True)
    parser.add_argument("--ranges")
    a = parser.parse_args()
    found = {pattern: ranges(pattern) for pattern in PATTERNS}
    with open(a.out, "w", encoding="utf-8") as f:
        f.write("{\n" + ",\n".join(
            json.dumps(p) + ": " + json.dumps([sum(b - a + 1 for a, b in r), hashlib.sha256("".join(f"{a:x}-{b:x}\n" for a, b in r).encode()).hexdigest()])
            for p, r in found.items()) + "\n}\n")
    if a.ranges:
        with open(a.ranges, "w", encoding="utf-8") as f:
            json.dump(found, f)


main()
