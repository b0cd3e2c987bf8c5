#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Writes files into a C source as a table of struct rt_embedded (server/embedded.h).

usage: embed.py SYMBOL OUT.c FILE...     a .yaml file goes in as JSON, under the name with .json
"""
import json
import os
import sys


def content(path):
    if not path.endswith(".yaml"):
        with open(path, "rb") as file:
            return os.path.basename(path), file.read()
    import yaml  # only the API description needs it

    with open(path, encoding="utf-8") as file:
        text = json.dumps(yaml.safe_load(file), ensure_ascii=False, separators=(",", ":"), default=str)
    return os.path.basename(path)[: -len(".yaml")] + ".json", text.encode()


def literal(data):
    """The bytes as adjacent string literals; octal escapes are always three digits, so they cannot run on."""
    plain = set(range(0x20, 0x7F)) - {ord('"'), ord("\\"), ord("?")}
    for start in range(0, len(data), 100):
        yield '\t"' + "".join(chr(b) if b in plain else "\\%03o" % b for b in data[start : start + 100]) + '"'


def main():
    symbol, out, *paths = sys.argv[1:]
    lines = ['#include "server/embedded.h"', "", "#include <stddef.h>", ""]
    table = []
    for i, path in enumerate(paths):
        name, data = content(path)
        lines += ["static const char file_%d[] =" % i, *(literal(data) or ['""']), ";", ""]
        table.append('\t{ "%s", file_%d, %d },' % (name, i, len(data)))
    lines += ["const struct rt_embedded %s[] = {" % symbol, *table, "\t{ NULL, NULL, 0 },", "};", ""]
    with open(out, "w", encoding="ascii") as file:
        file.write("\n".join(lines))


main()
