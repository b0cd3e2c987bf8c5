# SPDX-License-Identifier: Apache-2.0
"""Makes checkpoints.json: what transformers makes of checkpoints that are not exactly a classifier's: encoders alone, masked-LM and pre-training heads,
old names, buffers, other heads, missing and odd tensors.

usage: checkpoints_gen.py --out checkpoints.json      beside configs_gen.py, whose numbers it uses (no weights are stored)

A family keeps its config.json and a pool of tensors' names and shapes, a case which of the pool its file holds (every number follows from the name,
configs_gen.weight; buffers are int64 and count up), and what from_pretrained's loading info says of them: missing, unexpected and mismatched keys. `taken` are the parameters that came out of a
tensor with another name.
"""
import argparse
import json
import os
import tempfile

import torch
import transformers
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForSequenceClassification

from configs_gen import BASES, LABELS, weight

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
torch.set_num_threads(1)

CLASSES = {"bert": "Bert", "roberta": "Roberta", "xlm-roberta": "XLMRoberta", "distilbert": "DistilBert", "electra": "Electra", "mpnet": "MPNet",
           "albert": "Albert", "deberta-v2": "DebertaV2", "modernbert": "ModernBert"}
PREFIX = {"xlm-roberta": "roberta", "deberta-v2": "deberta", "modernbert": "model"}


def config_of(family, **change):
    c = {**BASES[family], **LABELS, **change}
    for key in ("num_hidden_layers", "n_layers"):
        if key in c:
            c[key] = 2 if family in ("albert", "modernbert") else 1
    return c


def names_of(family, kind, written):
    """The tensors that a class of the library saves: name to shape."""
    cls = getattr(transformers, CLASSES[family] + kind)
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "config.json"), "w") as f:
            json.dump(written, f)
        model = cls(AutoConfig.from_pretrained(folder))
        model.save_pretrained(folder)
        from safetensors import safe_open
        with safe_open(os.path.join(folder, "model.safetensors"), "pt") as f:
            saved = {k: list(f.get_slice(k).get_shape()) for k in f.keys()}
        # what torch.save of the state dict would have had: tied weights under each of their names
        return saved, {k: list(v.shape) for k, v in model.state_dict().items()}


def renamed(names, *pairs):
    out = {}
    for k, v in names.items():
        for a, b in pairs:
            k = k.replace(a, b)
        out[k] = v
    return out


def cases_of(family):
    prefix = PREFIX.get(family, family)
    c = config_of(family)
    whole, _ = names_of(family, "ForSequenceClassification", c)
    yield "classifier", c, whole
    saved, _ = names_of(family, "Model", c)
    yield "encoder alone", c, saved
    yield "encoder alone, prefixed", c, {f"{prefix}.{k}": v for k, v in saved.items()}
    saved, state = names_of(family, "ForMaskedLM", c)
    yield "masked LM", c, saved
    yield "masked LM, tied weights twice", c, state
    yield "token classifier", c, names_of(family, "ForTokenClassification", c)[0]
    if family in ("bert", "deberta-v2", "modernbert"):
        yield "question answering", c, names_of(family, "ForQuestionAnswering", c)[0]
    if family in ("bert", "albert", "electra"):
        yield "pre-training", c, names_of(family, "ForPreTraining", c)[0]
    buffers = {"embeddings.position_ids": [1, 26], "embeddings.token_type_ids": [1, 26]}
    yield "buffers", c, {**whole, **{f"{prefix}.{k}": v for k, v in buffers.items()}}
    yield "encoder alone with buffers", c, {**names_of(family, "Model", c)[0], **buffers}
    yield "left over", c, {**whole, "optimizer.state": [3], f"{prefix}.extra.weight": [2, 2], "position_ids": [4], f"{prefix}.position_embeddings.weight": [3, 4]}
    yield "head below the prefix", c, {f"{prefix}.{k}" if not k.startswith(prefix + ".") else k: v for k, v in whole.items()}
    yield "some names without the prefix", c, {k.replace(prefix + ".embeddings", "embeddings", 1): v for k, v in whole.items()}
    yield "no classifier", c, {k: v for k, v in whole.items() if k.startswith(prefix + ".")}
    yield "no biases of the head", c, {k: v for k, v in whole.items() if k.startswith(prefix + ".") or not k.endswith("bias")}
    if family in ("bert", "roberta", "electra", "albert", "deberta-v2"):
        yield "gamma and beta", c, renamed(whole, ("LayerNorm.weight", "LayerNorm.gamma"), ("LayerNorm.bias", "LayerNorm.beta"))
        yield "masked LM, gamma and beta", c, renamed(names_of(family, "ForMaskedLM", c)[0], ("LayerNorm.weight", "LayerNorm.gamma"), ("LayerNorm.bias", "LayerNorm.beta"))
    if family == "bert":
        yield "no pooler", c, {k: v for k, v in whole.items() if "pooler" not in k}
    if family == "deberta-v2":
        yield "positions that are not wanted", c, {**whole, "deberta.embeddings.position_embeddings.weight": [26, 24]}
        yield "mask_predictions", c, {**whole, "mask_predictions.dense.weight": [24, 24]}
    if family == "modernbert":
        yield "rotary buffers", c, {**whole, "model.rotary_emb.inv_freq": [3], "model.layers.0.attn.rotary_emb.inv_freq": [3]}


def is_buffer(name):
    return name.endswith("_ids")


def load(family, written, names):
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "config.json"), "w") as f:
            json.dump(written, f)
        tensors = {k: torch.arange(torch.Size(v).numel()).reshape(v) if is_buffer(k) else weight(k, tuple(v)) for k, v in names.items()}
        save_file(tensors, os.path.join(folder, "model.safetensors"), {"format": "pt"})
        model, info = AutoModelForSequenceClassification.from_pretrained(folder, output_loading_info=True)
    taken = {}
    for name, t in model.state_dict().items():
        if name in names and torch.equal(tensors[name], t) or name in info["missing_keys"]:
            continue
        found = [k for k, v in tensors.items() if v.shape == t.shape and torch.equal(v, t)]
        assert len(found) == 1, (family, name, found)
        taken[name] = found[0]
    return dict(missing=sorted(info["missing_keys"]), unexpected=sorted(info["unexpected_keys"]), mismatched=sorted(map(str, info["mismatched_keys"])),
                taken=taken)


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--out", required=True)
    a = ap.parse_args()
    families = []
    for family in BASES:
        pool, lines = {}, []
        for what, written, names in cases_of(family):
            got = load(family, written, names)
            file = [pool.setdefault((k, tuple(v)), len(pool)) for k, v in names.items()]
            assert not got.pop("mismatched")
            print(f"{family}, {what}: missing {got['missing'][:9]} unexpected {got['unexpected'][:9]} taken {dict(list(got['taken'].items())[:3])}", flush=True)
            lines.append(json.dumps(dict(what=what, file=file, **got)))
        families.append(f'{{"family": "{family}", "config": {json.dumps(written)},\n"pool": {json.dumps(list(pool))},\n"cases": [\n'
                        + ",\n".join(lines) + "\n]}")
    with open(a.out, "w") as f:
        f.write('{"made_with": ' + json.dumps(dict(torch=torch.__version__, transformers=transformers.__version__)) + ',\n"families": [\n' + ",\n".join(families)
                + "\n]}\n")


if __name__ == "__main__":
    main()
