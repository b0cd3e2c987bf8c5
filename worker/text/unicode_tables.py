#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes unicode_tables.c: which characters the tokenizers library takes for what, as ranges.

In two steps, because two versions of Unicode meet:
  1. `probe FILE` where the reference `tokenizers` library is (0.23.1 for the table that is committed): asks the library
     itself about every code point, because its parts use tables of different ages.
  2. `write FILE` with a Python whose unicodedata is of Unicode 14 (3.11): adds which characters are newer than the
     oldest PCRE2 we build with, and prints unicode_tables.c.
"""
import json
import sys
import unicodedata as u

CPS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]


def ranges(points):
    out = []
    for c in sorted(points):
        if out and out[-1][1] == c - 1:
            out[-1][1] = c
        else:
            out.append([c, c])
    return out


def probe(path):
    from tokenizers import Regex, normalizers as n, pre_tokenizers as p

    def splits(pre):
        return {c for c in CPS if len(pre.pre_tokenize_str("\x01" + chr(c) + "\x01")) != 1}

    def regex(pattern):
        return splits(p.Split(Regex(pattern), "isolated"))

    def gone(norm):
        return {c for c in CPS if norm.normalize_str("a" + chr(c)) == "a"}

    def bert(**on):
        return n.BertNormalizer(**{**dict(clean_text=False, handle_chinese_chars=False, strip_accents=False, lowercase=False), **on})

    unknown = set()
    for form in ("NFD", "NFKD", "NFC", "NFKC"):
        norm = getattr(n, form)()
        unknown |= {c for c in CPS if norm.normalize_str(chr(c)) != u.normalize(form, chr(c))}
    nfd = n.NFD()
    for c in CPS:  # combining classes: does the order come out as it should?
        if u.combining(chr(c)) and any(nfd.normalize_str(t) != u.normalize("NFD", t)
                                       for t in ("a\u0345" + chr(c), "a" + chr(c) + "\u0334")):
            unknown.add(c)
    lower = {c: [ord(x) for x in n.Lowercase().normalize_str(chr(c))] for c in CPS}
    han, unassigned = regex(r"\p{Han}"), regex(r"\p{Cn}")
    alphabetic, lowercase = regex(r"\p{Alphabetic}"), regex(r"\p{Lowercase}")
    json.dump(dict(
        white=ranges(splits(p.WhitespaceSplit())), letter=ranges(regex(r"\p{L}")), number=ranges(regex(r"\p{N}")),
        word=ranges(c for c in CPS if len(p.Whitespace().pre_tokenize_str("a" + chr(c) + "a")) == 1),
        numeric=ranges(splits(p.Digits(True))), punct=ranges(splits(p.Punctuation())),
        control=ranges(gone(bert(clean_text=True))), nonspacing=ranges(gone(bert(strip_accents=True))),
        accent=ranges(gone(n.StripAccents())), unnormal=ranges(unknown),
        lower=[[c, v] for c, v in lower.items() if v != [c]],
        kinds=[[c, "Cn" if c in unassigned else "Han" if c in han else u.category(chr(c)) + "a" * (c in alphabetic) + "l" * (c in lowercase)]
               for c in CPS if c >= 0x800 and u.category(chr(c)) != "Cn"],
    ), open(path, "w"))


STAND_INS = {  # by kind (a: alphabetic, l: lowercase): three bytes of UTF-8, four bytes; all older than Unicode 14, none an emoji
    "Lua": (0x1E00, 0x10400), "Llal": (0x1E01, 0x10428), "Lta": (0x1F88, 0x10400), "Loa": (0x0E01, 0x10000), "Lma": (0x0E46, 0x16B40),
    "Lmal": (0x1D2C, 0x16B40), "Mna": (0x1A56, 0x10A01), "Mn": (0x1AB0, 0x10A38), "Mca": (0x1A55, 0x11000), "Mc": (0x302E, 0x1D165),
    "Nd": (0x0E50, 0x104A0), "No": (0x1369, 0x10107), "Nla": (0x2160, 0x10140), "Pd": (0x2010, 0x10EAD), "P": (0x2016, 0x10100),
    "Sm": (0x2200, 0x1D6C1), "S": (0x2100, 0x1D300), "Cf": (0x200B, 0x1BCA0), "Cn": (0xFDD0, 0x1FFFE), "Han": (0x4E00, 0x20000),
}


def write(path):
    assert u.unidata_version == "14.0.0"
    d = json.load(open(path))
    print("/* SPDX-License-Identifier: Apache-2.0 */\n/* Made by unicode_tables.py; see there. Do not edit. */")
    print('#include "worker/text/unicode.h"\n')
    for name in ("white", "letter", "number", "word", "numeric", "punct", "control", "nonspacing", "accent", "unnormal"):
        rows = d[name]
        print(f"static const struct rt_uc_range {name}[] = {{")
        for i in range(0, len(rows), 5):
            print("\t" + " ".join(f"{{ 0x{a:X}, 0x{b:X} }}," for a, b in rows[i:i + 5]))
        print(f"}};\nconst struct rt_uc_set rt_uc_{name} = {{ {name}, {len(rows)} }};\n")
    runs = []  # [first, last, stride, delta]
    for c, v in d["lower"]:
        if len(v) != 1:
            assert (c, v) == (0x130, [0x69, 0x307])
            continue
        delta = v[0] - c
        if runs and runs[-1][3] == delta and (c - runs[-1][1] == runs[-1][2] or (runs[-1][0] == runs[-1][1] and c - runs[-1][1] <= 2)):
            runs[-1][2] = c - runs[-1][1]
            runs[-1][1] = c
        else:
            runs.append([c, c, 1, delta])
    print("static const struct rt_uc_case lower[] = {")
    for i in range(0, len(runs), 4):
        print("\t" + " ".join(f"{{ 0x{a:X}, 0x{b:X}, {s}, {v} }}," for a, b, s, v in runs[i:i + 4]))
    print(f"}};\nconst struct rt_uc_cases rt_uc_lower_cases = {{ lower, {len(runs)} }};\n")
    new = []
    for c, kind in d["kinds"]:
        if u.category(chr(c)) == kind[:2] or (kind == "Han" and u.category(chr(c)) != "Cn"):
            continue  # an old one, and still of the same category
        stand = STAND_INS.get(kind) or STAND_INS[kind[0]]
        s = stand[c > 0xFFFF]
        if new and new[-1][1] == c - 1 and new[-1][2] == s:
            new[-1][1] = c
        else:
            new.append([c, c, s])
    print("static const struct rt_uc_stand_in newer[] = {")
    for i in range(0, len(new), 4):
        print("\t" + " ".join(f"{{ 0x{a:X}, 0x{b:X}, 0x{s:X} }}," for a, b, s in new[i:i + 4]))
    print(f"}};\nconst struct rt_uc_stand_ins rt_uc_newer = {{ newer, {len(new)} }};")


{"probe": probe, "write": write}[sys.argv[1]](sys.argv[2])
