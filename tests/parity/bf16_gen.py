# SPDX-License-Identifier: Apache-2.0
"""Makes bf16.json: how far the library's own bf16 (autocast) strays from its float64 logits on the reference models.

usage: bf16_gen.py --models DIR --out bf16.json      DIR is reference/models of the fixtures
l2: L2 norm of the difference over the L2 norm of the logits, all rows together. largest: the largest difference over the largest logit.
"""
import argparse
import json
import os

import torch
import transformers
from transformers import AutoModelForSequenceClassification

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
torch.set_num_threads(1)

NAMES = ["bert", "roberta", "xlm-roberta", "distilbert", "electra", "mpnet", "albert", "deberta-v2", "deberta-v2-conv", "modernbert", "modernbert-cls",
         "bert-bf16", "roberta-bf16"]


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--models", required=True)
    ap.add_argument("--out", required=True)
    a = ap.parse_args()
    out = {"made_with": {"torch": torch.__version__, "transformers": transformers.__version__}, "models": {}}
    for name in NAMES:
        folder = os.path.join(a.models, name)
        with open(os.path.join(folder, "expected.json")) as f:
            e = json.load(f)
        model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
        batch = dict(input_ids=torch.tensor(e["input_ids"]), attention_mask=torch.tensor(e["attention_mask"]))
        if e["token_type_ids_given"]:
            batch["token_type_ids"] = torch.tensor(e["token_type_ids"])
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
            got = model(**batch).logits.double()
        want = torch.tensor(e["logits_f64"], dtype=torch.float64)
        gap = got - want
        out["models"][name] = {"l2": float(f"{gap.norm() / want.norm():.3g}"), "largest": float(f"{gap.abs().max() / want.abs().max():.3g}")}
    with open(a.out, "w") as f:
        f.write(json.dumps(out).replace('}, "', '},\n"') + "\n")


if __name__ == "__main__":
    main()
