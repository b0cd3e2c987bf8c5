# SPDX-License-Identifier: Apache-2.0
"""Runs where torch and transformers are: loads FOLDER/ours, says what it makes of FOLDER/texts.json, and saves it in other ways beside it.

usage: peer.py FOLDER      the last line of the output is JSON
"""
import json
import os
import shutil
import sys

import torch
import transformers
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedTokenizerFast

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
folder = sys.argv[1]
ours = os.path.join(folder, "ours")


def tokenizer():
    try:
        return AutoTokenizer.from_pretrained(ours)
    except TypeError:  # transformers 5.12 with tokenizers 0.23: RobertaProcessing has no argument 'cls'
        return PreTrainedTokenizerFast.from_pretrained(ours)


def logits_of(model, batch):
    with torch.no_grad():
        return [model(**{k: torch.tensor([v[i]]) for k, v in batch.items()}).logits[0].float().tolist() for i in range(len(batch["input_ids"]))]


def place(kind):
    path = os.path.join(folder, kind)
    shutil.copytree(ours, path, ignore=shutil.ignore_patterns("model*.safetensors*"))
    return path


def main():
    with open(os.path.join(folder, "texts.json"), encoding="utf-8") as f:
        texts = json.load(f)
    tok = tokenizer()
    model, info = AutoModelForSequenceClassification.from_pretrained(ours, output_loading_info=True, dtype=torch.float32)
    model.eval()
    batch = dict(tok(texts))
    names = model.forward.__code__.co_varnames
    batch = {k: v for k, v in batch.items() if k in ("input_ids", "attention_mask") or k in names and getattr(model.config, "type_vocab_size", 0) > 1
             and model.config.model_type not in ("roberta", "xlm-roberta")}
    want, state = logits_of(model, batch), model.state_dict()
    saved = {}

    def keep(kind, values=want):
        saved[kind] = values

    model.save_pretrained(place("sharded safetensors"), max_shard_size="40KB")
    keep("sharded safetensors")
    torch.save(state, os.path.join(place("zip bin"), "pytorch_model.bin"))
    keep("zip bin")
    torch.save(state, os.path.join(place("legacy bin"), "pytorch_model.bin"), _use_new_zipfile_serialization=False)
    keep("legacy bin")

    path, keys = place("sharded bin"), sorted(state)
    parts = [keys[0::3], keys[1::3], keys[2::3]]
    for i, part in enumerate(parts):
        torch.save({k: state[k] for k in part}, os.path.join(path, f"pytorch_model-{i + 1:05}-of-00003.bin"), _use_new_zipfile_serialization=i != 1)
    with open(os.path.join(path, "pytorch_model.bin.index.json"), "w") as f:
        json.dump({"metadata": {"total_size": 1}, "weight_map": {k: f"pytorch_model-{i + 1:05}-of-00003.bin" for i, p in enumerate(parts) for k in p}}, f)
    keep("sharded bin")

    # all tensors are windows of one storage, matrices column by column; the embeddings stand there again under the name of a decoder
    whole = torch.cat([t.t().contiguous().flatten() if t.dim() == 2 else t.flatten() for t in state.values()])
    views, at = {}, 0
    for k, t in state.items():
        n = t.numel()
        views[k] = whole[at:at + n].view(t.shape[1], t.shape[0]).t() if t.dim() == 2 else whole[at:at + n].view(t.shape)
        at += n
    words = next(k for k in state if k.endswith(("word_embeddings.weight", "tok_embeddings.weight")))
    views["cls.predictions.decoder.weight"] = views[words]
    torch.save(views, os.path.join(place("strided bin"), "pytorch_model.bin"))
    keep("strided bin")
    torch.save(views, os.path.join(place("strided legacy bin"), "pytorch_model.bin"), _use_new_zipfile_serialization=False)
    keep("strided legacy bin")

    for kind, dtype in (("F64 bin", torch.float64), ("F16 bin", torch.float16), ("BF16 bin", torch.bfloat16)):
        rounded = {k: v.to(dtype) for k, v in state.items()}
        torch.save(rounded, os.path.join(place(kind), "pytorch_model.bin"))
        model.load_state_dict(rounded)
        keep(kind, logits_of(model, batch))
    print(json.dumps(dict(missing=sorted(info["missing_keys"]), unexpected=sorted(info["unexpected_keys"]), mismatched=list(map(str, info["mismatched_keys"])),
                          tokenizer=type(tok).__name__, ids=batch["input_ids"], logits=want, saved=saved)))


if __name__ == "__main__":
    main()
