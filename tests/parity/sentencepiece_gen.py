# SPDX-License-Identifier: Apache-2.0
"""Makes small SentencePiece models and what folders that have nothing else are to make of texts.

usage: sentencepiece_gen.py --texts examples/intents/train.jsonl --models ../fuzz/corpus/sentencepiece --out sentencepiece.jsonl
Run it where sentencepiece 0.2.2, tokenizers 0.23.1 and transformers 5.12 are. The models are trained on the example's texts and on lines
that stand in pipelines_gen.py. A line is {"name", "model", "file": its name in a folder, "config": tokenizer_config.json, "cases"}.

The truth: DeBERTa-v2's and ALBERT's converters of transformers (convert_slow_tokenizer) on the model file, ALBERT's with the
pre-tokenizer of the published files (WhitespaceSplit, then Metaspace); XLM-RoBERTa's class itself. The classes that transformers 5
has for the other two leave the character map out, and so read texts differently from the models' own tokenizer.json files.
"""
import argparse
import json
import os
import random
import tempfile
import types

import sentencepiece
from tokenizers import AddedToken, pre_tokenizers
from transformers import XLMRobertaTokenizer
from transformers.convert_slow_tokenizer import AlbertConverter, DebertaV2Converter

from pipelines_gen import OWN, cases, make_texts

RULES = [("ß", "ss"), ("É", "é"), ("e\u0301", "é"), ("½", "1/2"), ("①", "1"), ("\u00a0", " "), ("\u3000", " "), ("\t", " "), ("\u200b", ""), ("ﬁ", "fi"),
         ("ｆ", "f")]


def train(path, texts, rules=True, **options):
    if rules:
        with open("rules.tsv", "w", encoding="utf-8") as f:  # the model keeps the name
            f.writelines(" ".join(f"{ord(c):X}" for c in a) + "\t" + " ".join(f"{ord(c):X}" for c in b) + "\n" for a, b in RULES)
        options["normalization_rule_tsv"] = "rules.tsv"
    else:
        options["normalization_rule_name"] = "identity"
    options = dict(dict(model_type="unigram", character_coverage=0.99, num_threads=1, minloglevel=2, input_sentence_size=0), **options)
    with open(path, "wb") as out:
        sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(texts), model_writer=out, **options)
    if rules:
        os.remove("rules.tsv")


def converted(converter, path, specials, **options):
    """The converter asks a slow tokenizer, which transformers 5 has no more, for its options and for ids."""
    ids = {}
    stub = types.SimpleNamespace(vocab_file=path, convert_tokens_to_ids=lambda t: ids[t], **options)
    made = converter(stub)
    ids.update({piece.piece: i for i, piece in enumerate(made.proto.pieces)})
    tok = made.converted()
    if converter is AlbertConverter:
        tok.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), tok.pre_tokenizer])
    tok.add_special_tokens(specials)
    return tok


def special(text, **flags):
    return AddedToken(text, special=True, normalized=flags.pop("normalized", False), **flags)


def main():
    parser = argparse.ArgumentParser()
    for name in ("texts", "models", "out"):
        parser.add_argument("--" + name, required=True)
    a = parser.parse_args()
    lines = [json.loads(line)["text"] for line in open(a.texts, encoding="utf-8")]
    rng = random.Random(5)
    some = rng.sample(lines, 400) + OWN * 4 + [f"{i}, {i + 1}, {i % 10}, and {i * 7}" for i in range(60)]
    os.makedirs(a.models, exist_ok=True)

    def model(name):
        return os.path.join(a.models, name)

    train(model("xlmr"), some, vocab_size=260)
    train(model("plain"), some, rules=False, vocab_size=240, user_defined_symbols=["parcel", "<ent>"])
    train(model("albert"), some, vocab_size=300, pad_id=0, unk_id=1, bos_id=2, eos_id=3, pad_piece="<pad>", unk_piece="<unk>", bos_piece="[CLS]", eos_piece="[SEP]",
          control_symbols=["[MASK]"], split_by_number=False, split_by_whitespace=False)
    train(model("deberta"), some, vocab_size=280, pad_id=0, bos_id=1, eos_id=2, unk_id=3, pad_piece="[PAD]", bos_piece="[CLS]", eos_piece="[SEP]", unk_piece="[UNK]",
          user_defined_symbols=["<ent>"], treat_whitespace_as_suffix=False)
    train(model("bpe"), some, vocab_size=200, model_type="bpe", byte_fallback=False)
    rows = []

    def add(name, which, file, config, tok):
        rows.append(dict(name=name, model=which, file=file, config=config, cases=cases(rng, tok, make_texts(rng, some, 40), 25)))

    for which in ("xlmr",):  # the class fails on one without a character map
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "sentencepiece.bpe.model")
            with open(path, "wb") as f, open(model(which), "rb") as g:
                f.write(g.read())
            for prefix in (True, False):
                config = dict(tokenizer_class="XLMRobertaTokenizer", add_prefix_space=prefix)
                with open(os.path.join(folder, "tokenizer_config.json"), "w", encoding="utf-8") as f:
                    json.dump(config, f)
                add(f"XLM-RoBERTa {which} prefix {prefix}", which, "sentencepiece.bpe.model", config, XLMRobertaTokenizer.from_pretrained(folder).backend_tokenizer)
    albert = [special(t) for t in ("[CLS]", "[SEP]", "<unk>", "<pad>")] + [special("[MASK]", lstrip=True)]
    for keep, lower in ((False, True), (True, True), (True, False)):
        add(f"ALBERT keep_accents {keep} do_lower_case {lower}", "albert", "spiece.model", dict(tokenizer_class="AlbertTokenizer", keep_accents=keep, do_lower_case=lower),
            converted(AlbertConverter, model("albert"), albert, keep_accents=keep, do_lower_case=lower))
    deberta = [special("[CLS]"), special("[SEP]"), special("[UNK]", normalized=True), special("[PAD]"), special("[MASK]")]
    for lower, punct in ((False, False), (True, False), (False, True)):
        add(f"DeBERTa do_lower_case {lower} split_by_punct {punct}", "deberta", "spm.model",
            dict(tokenizer_class="DebertaV2Tokenizer", do_lower_case=lower, split_by_punct=punct),
            converted(DebertaV2Converter, model("deberta"), deberta, do_lower_case=lower, split_by_punct=punct))
    with open(a.out, "w", encoding="utf-8") as f:
        f.writelines(json.dumps(row, separators=(",", ":")) + "\n" for row in rows)


main()
