# SPDX-License-Identifier: Apache-2.0
"""Makes pipelines.jsonl: small tokenizers of every component and option, and what the `tokenizers` library makes of texts.

usage: pipelines_gen.py --texts examples/intents/train.jsonl --out pipelines.jsonl        the selection that is committed
       pipelines_gen.py --texts … --out FILE --random 500 --seed 7 [--charsmap FILE]      as many others, to look for differences
Run it where tokenizers 0.23.1 is. A line is {"name", "tokenizer": a tokenizer.json, "cases": [{"text", "pair"?, "max_length"?,
"ids", "type_ids", "tokens", "offsets"}]}; a case that the library refuses is {"text", …, "error": true}.
Vocabularies are trained here, on the example's texts and on what stands below; nothing is taken from elsewhere.
"""
import argparse
import base64
import json
import os
import random

os.environ["TOKENIZERS_PARALLELISM"] = "false"
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers as n, pre_tokenizers as p, processors, trainers  # noqa: E402

OWN = ["Größe STRASSE straße İzmir ΣΟΦΟΣ café cafe\u0301 naïve", "你好，世界 東京タワー 한국어 각", "don't can't we'll I'm YOU'RE 's",
       "emoji 😀 👨‍👩‍👧 👍🏽 ❤️ 🇩🇪", "мир Ёлка שלום שָׁלוֹם العربية हिन्दी ไทย", "1,234.56 5, x² ½ ①② ٣٤ Ⅷ", "tab\tline\nend\r\nx",
       "a-b_c (d) [e] {f} <g> \"h\" `i` ``j''", "▁under ▁▁two Ġg"]

BLOCKS = [(0x20, 0x7E)] * 6 + [(0xA0, 0x24F), (0x300, 0x36F), (0x370, 0x3FF), (0x400, 0x4FF), (0x590, 0x6FF), (0x900, 0xDFF),
          (0xE00, 0xEFF), (0x1100, 0x11FF), (0x1E00, 0x1FFF), (0x2000, 0x206F), (0x2070, 0x2BFF), (0x3000, 0x30FF), (0x4E00, 0x9FFF),
          (0xA640, 0xA7FF), (0xAC00, 0xD7A3), (0xFB00, 0xFFFD), (0x10000, 0x10FFF), (0x16D40, 0x16D79), (0x1D400, 0x1D7FF),
          (0x1E900, 0x1E95F), (0x1F000, 0x1FAFF), (0x20000, 0x2FFFF), (0xE0000, 0xE01EF), (0x00, 0x1F), (0x7F, 0xA0)]
BITS = ["\r\n", "\n", "  ", "\t", "\u00a0", "\u200b", "\u200d", "\ufeff", "\u2028", "\u3000", "\x00", "'s", "'ll", "e\u0301", "각", "👨‍👩‍👧", "🇩🇪", "▁",
        "Ġ", "[A]", "<b>", "<b", "cc", "[A]<b>", " <b> ", "Tok", "tok", "TOK", "İ", "ß", "ﬁ", "½", "१२", "123", "a,b", "--", "\ufffd", "x"]
ADDED = ["[A]", "<b>", "cc", "Tok", "[A]<b>", "<b", "İ", "e\u0301", " d", "12", "▁x", "x y", "ａ"]


def words(rng, texts):
    out = []
    for _ in range(rng.randint(1, 9)):
        k = rng.random()
        if k < 0.45:
            out.append(rng.choice(texts))
        elif k < 0.75:
            out.append(rng.choice(BITS))
        else:
            a, b = rng.choice(BLOCKS)
            out.append("".join(chr(c) for c in (rng.randint(a, b) for _ in range(rng.randint(1, 4))) if not 0xD800 <= c < 0xE000))
        if rng.random() < 0.6:
            out.append(" ")
    return "".join(out)


def make_texts(rng, lines, count):
    vocabulary = sorted({w for line in lines for w in line.split()}) + [w for line in OWN for w in line.split()]
    return [words(rng, vocabulary) for _ in range(count)]


# ------------------------------------------------------------------------------------------ components

BEHAVIORS = ["removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous"]
REGEXES = [r"\s+", r" {2,}", r"\d", r"\d+", r"\p{L}+", r"[^\s\w]", r"\w+|[^\w\s]+", r"[aeiou]", r"(?i:tok)|[0-9]{1,3}", r"\p{Han}", r"$", r"^", r"a*",
           r"\p{N}{1,3}(?=(\p{N}{3})*$)", r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
           r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s",
           r"[\p{P}\p{S}]", r"\b", r"\bt", r".", r"\h", r"[[:punct:]]", r"[[:alpha:]]+", r"\S+\s*", r"(?<=[a-z])(?=[A-Z])", r"\n", r"\R", r"x?", r"\p{Lu}", r"[\s&&[^\n]]"]


def normalizer(rng, charsmap, depth=0):
    k = rng.randrange(15 if depth else 17)
    flag = lambda: rng.random() < 0.5  # noqa: E731
    if k < 3:
        return n.BertNormalizer(clean_text=flag(), handle_chinese_chars=flag(), strip_accents=rng.choice([None, True, False]), lowercase=flag())
    if k < 7:
        return [n.NFC, n.NFD, n.NFKC, n.NFKD][k - 3]()
    if k == 7:
        return n.Lowercase()
    if k == 8:
        return n.Strip(left=flag(), right=flag())
    if k == 9:
        return n.StripAccents()
    if k == 10:
        return n.Replace(rng.choice([" ", "a", "``", "e\u0301", "  "]), rng.choice(["", "▁", "\"", "xy", "é"]))
    if k == 11:
        return n.Replace(Regex(rng.choice(REGEXES)), rng.choice(["", " ", "▁", "zz"]))
    if k == 12:
        return n.Prepend(rng.choice(["▁", "x", "ab "]))
    if k == 13:
        return n.Nmt()
    if k == 14:
        return n.Precompiled(charsmap) if charsmap else n.ByteLevel()
    return n.Sequence([normalizer(rng, charsmap, 1) for _ in range(rng.randint(1, 4))])


def pretokenizer(rng, depth=0):
    k = rng.randrange(12 if depth else 15)
    flag = lambda: rng.random() < 0.5  # noqa: E731
    if k == 0:
        return p.BertPreTokenizer()
    if k == 1:
        return p.ByteLevel(add_prefix_space=flag(), use_regex=flag())
    if k == 2:
        return p.Metaspace(replacement=rng.choice("▁▁▁_"), prepend_scheme=rng.choice(["always", "first", "never"]), split=flag())
    if k == 3:
        return p.Whitespace()
    if k == 4:
        return p.WhitespaceSplit()
    if k == 5:
        return p.Punctuation(rng.choice(BEHAVIORS))
    if k == 6:
        return p.Digits(individual_digits=flag())
    if k in (7, 8):
        return p.Split(Regex(rng.choice(REGEXES)), rng.choice(BEHAVIORS), invert=flag())
    if k == 9:
        return p.Split(rng.choice([" ", "a", "--", "e\u0301", ""]), rng.choice(BEHAVIORS), invert=flag())
    if k == 10:
        return p.CharDelimiterSplit(rng.choice([" ", "-", "é"]))
    if k == 11:
        return p.FixedLength(length=rng.randint(1, 7))
    return p.Sequence([pretokenizer(rng, 1) for _ in range(rng.randint(1, 3))])


def train(rng, tok, kind, texts, size):
    """A small model; returns the JSON of it. Trainers take counts in an order that differs from run to run, so BPE and WordPiece are grown here."""
    count = {}
    for text in texts:
        text = tok.normalizer.normalize_str(text) if tok.normalizer else text
        pieces = [w for w, _ in tok.pre_tokenizer.pre_tokenize_str(text)] if tok.pre_tokenizer else [text]
        for w in pieces:
            if 0 < len(w) <= 40:
                count[w] = count.get(w, 0) + 1
    listed = sorted(count, key=lambda w: (-count[w], w))
    chars = sorted({c for w in listed for c in w})
    rng.shuffle(chars)
    chars = chars[:max(20, int(len(chars) * 0.85))]
    if kind == "WordLevel":
        return dict(type=kind, vocab={t: i for i, t in enumerate(["[U]"] + listed[:size])}, unk_token="[U]")
    if kind == "WordPiece":
        prefix = rng.choice(["##", "##", "", "@"])
        grams = {}
        for w in listed:
            for i in range(len(w)):
                for j in range(i + 1, min(len(w), i + 7) + 1):
                    t = w[i:j] if i == 0 else prefix + w[i:j]
                    grams[t] = grams.get(t, 0) + count[w] * (j - i)
        best = sorted(grams, key=lambda t: (-grams[t], t))[:size]
        single = [(prefix if k else "") + c for c in chars for k in (0, 1)]
        vocab = dict.fromkeys(["[U]"] + single + best)
        return dict(type=kind, unk_token="[U]", continuing_subword_prefix=prefix, max_input_chars_per_word=rng.choice([100, 100, 5, 12]),
                    vocab={t: i for i, t in enumerate(vocab)})
    if kind == "Unigram":
        grams = {}
        for w in listed:
            for i in range(len(w)):
                for j in range(i + 2, min(len(w), i + 6) + 1):
                    grams[w[i:j]] = grams.get(w[i:j], 0) + count[w]
        best = sorted(grams, key=lambda t: (-grams[t] * len(t), t))[:size]
        pieces = [["[U]", 0.0]] + [[t, -round(rng.uniform(2, 9), 3)] for t in best] + [[c, -round(rng.uniform(7, 12), 3)] for c in chars]
        fallback = rng.random() < 0.3
        if fallback:
            pieces += [[f"<0x{b:02X}>", -20.0] for b in range(256 if rng.random() < 0.8 else 200)]
        return dict(type=kind, unk_id=0, byte_fallback=fallback, vocab=pieces)
    # BPE
    prefix, suffix = rng.choice([("", "")] * 4 + [("##", ""), ("", "</w>")])
    split = {w: [(prefix if i else "") + c + (suffix if i + 1 == len(w) else "") for i, c in enumerate(w)] for w in listed}
    symbols = sorted({s for parts in split.values() for s in parts if s.removeprefix(prefix).removesuffix(suffix) in chars})
    vocab, merges, known = list(symbols), [], set(symbols)
    while len(merges) < size:
        pairs = {}
        for w, parts in split.items():
            for a, b in zip(parts, parts[1:]):
                if a in known and b in known:
                    pairs[a, b] = pairs.get((a, b), 0) + count[w]
        if not pairs:
            break
        a, b = min(pairs, key=lambda ab: (-pairs[ab], ab))
        new = a + b[len(prefix):]
        merges.append([a, b])
        if new not in known:
            known.add(new)
            vocab.append(new)
        for w, parts in split.items():
            i = 0
            while i + 1 < len(parts):
                if parts[i] == a and parts[i + 1] == b:
                    parts[i:i + 2] = [new]
                i += 1
    fallback = rng.random() < 0.35
    unk = rng.choice(["[U]", None])
    vocab = ["[U]"] + vocab + ([f"<0x{b:02X}>" for b in range(256)] if fallback else [])
    vocab = {t: i for i, t in enumerate(dict.fromkeys(vocab))}
    return dict(type="BPE", dropout=None, unk_token=unk, continuing_subword_prefix=prefix or None, end_of_word_suffix=suffix or None,
                fuse_unk=rng.random() < 0.5, byte_fallback=fallback, ignore_merges=rng.random() < 0.3, vocab=vocab,
                merges=merges if rng.random() < 0.7 or any(" " in x for m in merges for x in m) else [" ".join(m) for m in merges])


def postprocessor(rng, tok):
    ids = [("[C]", tok.token_to_id("[C]")), ("[S]", tok.token_to_id("[S]"))]
    flag = lambda: rng.random() < 0.5  # noqa: E731
    k = rng.randrange(9)
    if k == 0:
        return None
    if k == 1:
        return processors.BertProcessing(ids[1], ids[0])
    if k == 2:
        return processors.RobertaProcessing(ids[1], ids[0], trim_offsets=flag(), add_prefix_space=flag())
    if k == 3:
        return processors.ByteLevel(add_prefix_space=flag(), trim_offsets=flag())
    template = processors.TemplateProcessing(single=rng.choice(["[C] $A [S]", "$A [S]", "[C]:1 $A:2", "$A", "[S] [C] $A:1 [S]"]),
                                             pair=rng.choice(["[C] $A [S] $B:1 [S]:1", "$A $B", "[C] $A [S] [S] $B [S]", "$B:1 [S] $A", "$A:3 [S]:2 $B:5"]),
                                             special_tokens=ids)
    if k < 7:
        return template
    return processors.Sequence([processors.ByteLevel(add_prefix_space=flag(), trim_offsets=flag()), template])


def added(rng, norm):
    flag = lambda q=0.3: rng.random() < q  # noqa: E731
    out = [AddedToken(t, single_word=flag(), lstrip=flag(), rstrip=flag(), normalized=flag(0.5), special=flag(0.5))
           for t in rng.sample(ADDED, rng.randint(0, 6))]
    seen = [norm.normalize_str(t.content) if norm else t.content for t in out if t.normalized]
    # of two that the normalizer makes one, the library takes either: its order is a hash's
    return out if len(set(seen)) == len(seen) else added(rng, norm)


def build(rng, lines, charsmap, size, kind=None, norm="?", pre="?"):
    shell = Tokenizer(models.BPE())
    norm = (normalizer(rng, charsmap) if rng.random() < 0.75 else None) if norm == "?" else norm
    pre = (pretokenizer(rng) if rng.random() < 0.9 else None) if pre == "?" else pre
    if norm is not None:
        shell.normalizer = norm
    if pre is not None:
        shell.pre_tokenizer = pre
    kind = kind or rng.choice(["BPE", "BPE", "WordPiece", "Unigram", "WordLevel"])
    data = json.loads(shell.to_str())
    data["model"] = train(rng, shell, kind, lines, size)
    tok = Tokenizer.from_str(json.dumps(data))
    tok.add_special_tokens(["[C]", "[S]"])
    tokens = added(rng, norm)
    special = rng.random() < 0.5
    for t in tokens:
        (tok.add_special_tokens if special and t.special else tok.add_tokens)([t])
    post = postprocessor(rng, tok)
    if post is not None:
        tok.post_processor = post
    return tok


def attempt(rng, lines, charsmap):
    try:
        return build(rng, lines, charsmap, rng.choice([40, 200]))
    except BaseException as e:  # a Rust panic in a normalizer
        if isinstance(e, KeyboardInterrupt):
            raise
        return None


def encode(tok, text, pair, max_length):
    case = dict(text=text)
    if pair is not None:
        case["pair"] = pair
    if max_length:
        case["max_length"] = max_length
        tok.enable_truncation(max_length)
    else:
        tok.no_truncation()
    try:
        e = tok.encode(text, pair)
    except Exception:
        return dict(case, error=True)
    except BaseException:  # a Rust panic: nobody's truth
        return None
    return dict(case, ids=e.ids, type_ids=e.type_ids, tokens=e.tokens, offsets=[list(o) for o in e.offsets])


def cases(rng, tok, texts, count):
    out = []
    for _ in range(count):
        k = rng.random()
        pair = rng.choice(texts) if k < 0.3 else None
        out.append(encode(tok, rng.choice(texts), pair, rng.choice([5, 6, 7, 9, 16]) if rng.random() < 0.25 else 0))
    tok.no_truncation()
    return [c for c in out if c]


def stored(rng, tok):
    """A file may hold truncation and padding; who loads it for training sets both anew."""
    data = json.loads(tok.to_str())
    if rng.random() < 0.3:
        data["truncation"] = dict(direction=rng.choice(["Left", "Right"]), max_length=4, strategy=rng.choice(["LongestFirst", "OnlyFirst", "OnlySecond"]), stride=rng.choice([0, 1]))
    if rng.random() < 0.3:
        data["padding"] = dict(strategy=rng.choice(["BatchLongest", {"Fixed": 12}]), direction=rng.choice(["Left", "Right"]), pad_to_multiple_of=rng.choice([None, 8]), pad_id=0, pad_type_id=1, pad_token="[U]")
    return data


def selection(rng, lines, size):
    """Every component at least once, with each of its options; the rest is drawn."""
    norms = [n.BertNormalizer(clean_text=c, handle_chinese_chars=h, strip_accents=s, lowercase=low)
             for c, h, s, low in ((True, True, None, True), (True, False, False, True), (False, True, True, False), (True, True, None, False))]
    norms += [n.NFC(), n.NFD(), n.NFKC(), n.NFKD(), n.Lowercase(), n.Strip(), n.Strip(left=False), n.Strip(right=False), n.Nmt(), n.ByteLevel(), n.Prepend("▁"),
              n.Sequence([n.NFKD(), n.StripAccents(), n.Lowercase()]), n.Sequence([n.Replace("``", "\""), n.Replace(Regex(" {2,}"), " "), n.Replace(" ", "▁")]),
              n.Replace(Regex(r"\p{N}+"), "0"), n.Replace(Regex("a*"), "-")]
    pres = [p.BertPreTokenizer(), p.Whitespace(), p.WhitespaceSplit(), p.Digits(True), p.Digits(False), p.CharDelimiterSplit("-"), p.FixedLength(length=3)]
    pres += [p.ByteLevel(add_prefix_space=a, use_regex=b) for a in (True, False) for b in (True, False)]
    pres += [p.Metaspace(prepend_scheme=s, split=k) for s in ("always", "first", "never") for k in (True, False)]
    pres += [p.Punctuation(b) for b in BEHAVIORS] + [p.Split(Regex(r"\d+|[^\s\w]"), b, invert=i) for b in BEHAVIORS for i in (False, True)]
    pres += [p.Split(" ", "merged_with_next"), p.Sequence([p.Split(Regex(REGEXES[14]), "isolated"), p.ByteLevel(add_prefix_space=False, use_regex=False)]),
             p.Sequence([p.WhitespaceSplit(), p.Metaspace(), p.Punctuation("isolated")]), p.Split(Regex(REGEXES[15]), "removed", invert=True)]
    kinds = ["BPE", "WordPiece", "Unigram", "BPE", "WordLevel", "BPE"]
    for i, pre in enumerate(pres):
        yield build(rng, lines, None, size, kinds[i % len(kinds)], norms[i % len(norms)] if i % 3 else None, pre)
    for pattern in REGEXES:
        if "&&" not in pattern:  # we refuse it
            yield build(rng, lines, None, size // 2, "WordLevel", None, p.Split(Regex(pattern), "isolated"))
    for i, norm in enumerate(norms):
        yield build(rng, lines, None, size, kinds[i % len(kinds)], norm, p.WhitespaceSplit() if i % 2 else None)


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--texts", required=True)
    a.add_argument("--out", required=True)
    a.add_argument("--random", type=int, default=0)
    a.add_argument("--cases", type=int, default=5)
    a.add_argument("--size", type=int, default=60)
    a.add_argument("--seed", type=int, default=1)
    a.add_argument("--charsmap", help="a SentencePiece model's precompiled_charsmap, base64")
    a = a.parse_args()
    lines = [json.loads(line)["text"] for line in open(a.texts, encoding="utf-8")]
    rng = random.Random(a.seed)
    some = rng.sample(lines, 120) + OWN * 3
    charsmap = base64.b64decode(open(a.charsmap).read()) if a.charsmap else None
    with open(a.out, "w", encoding="utf-8") as out:
        made = (attempt(rng, some, charsmap) for _ in range(a.random)) if a.random else selection(rng, some, a.size)
        for i, tok in enumerate(made):
            if not tok:
                continue
            texts = make_texts(rng, some, 40)
            data = stored(rng, tok)
            tok = Tokenizer.from_str(json.dumps(data))  # a file's added tokens stand in another order than those just added
            tok.no_padding()
            row = dict(name=f"{a.seed}-{i}", tokenizer=data, cases=cases(rng, tok, texts, a.cases))
            out.write(json.dumps(row, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
