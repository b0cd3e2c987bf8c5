# SPDX-License-Identifier: Apache-2.0
"""Makes families.json: ten training steps of every model family as PyTorch and transformers take them.

usage: families_gen.py --models DIR --out families.json
DIR is reference/models of the fixtures: one folder a family, with weights. Run it where torch and transformers are (those of
families.json's `made_with`); the program needs nothing else. One thread; the numbers come out the same on the same machine.

Every family starts from its folder's weights with all dropout off and sees the same rows: random ids, lengths and token types,
and random logits in the teacher's place. Two rows hold the padding token between others, because an embedding's padding row must
get no gradient even then. loss = alpha CE + (1 - alpha) T^2 KLDiv_batchmean, AdamW, linear decay, clipping. Weight decay falls on
the parameters that Trainer.get_decay_parameter_names gives, which are recorded.
The run in float64 is what to compare with, the same run in float32 shows what float32 itself loses: `noise`. Adam's first step
divides a gradient by its own size, so that one element whose gradient is near nothing (1e-8) by chance moves with its rounding
error; with one such element of weight a run strays by up to 1e-3. The rows' seed is one where no family has any.
"""
import argparse
import copy
import json
import math
import os
import random

import torch
import torch.nn.functional as F
import transformers
from transformers import AutoConfig, AutoModelForSequenceClassification, Trainer

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
torch.set_num_threads(1)

FAMILIES = ["bert", "roberta", "xlm-roberta", "distilbert", "electra", "mpnet", "albert", "deberta-v2", "deberta-v2-conv", "modernbert",
            "modernbert-cls"]
SETTINGS = dict(alpha=0.5, temperature=4.0, learning_rate=5e-4, weight_decay=0.01, max_grad_norm=1.0, batch=6, epochs=2, steps=10)
CLASSES = 5
PAD = -1  # in a row: the model's own padding token


def make_rows(seed=20):
    """28 rows: four batches of 6 and a last one of 4. Ids that every vocabulary has and that are nobody's padding."""
    rng = random.Random(seed)
    rows = []
    for i in range(28):
        n = 36 if i == 0 else 14 if i in (4, 20) else rng.choice([1, 2, 3, 5, 8, 11, 14, 18, 23, 29, 36])
        ids = [PAD if i in (4, 20) and k in (5, 9, 10) else rng.randrange(3, 490) for k in range(n)]
        rows.append(dict(ids=ids, second=rng.randrange(0, len(ids) + 1), label=rng.randrange(CLASSES),
                         soft=[round(rng.gauss(0, 3), 3) for _ in range(CLASSES)]))
    return rows


def load(folder):
    """All dropout off, whatever its field is called."""
    config = AutoConfig.from_pretrained(folder)
    for key, value in config.to_dict().items():
        if "dropout" in key and isinstance(value, float):
            setattr(config, key, 0.0)
    model = AutoModelForSequenceClassification.from_pretrained(folder, config=config, attn_implementation="eager", dtype=torch.float32)
    assert not any(m.p for m in model.modules() if isinstance(m, torch.nn.Dropout))
    return model


def collate(rows, model):
    config = model.config
    pad, width = config.pad_token_id, max(len(r["ids"]) for r in rows)
    blank = [width - len(r["ids"]) for r in rows]
    batch = dict(input_ids=torch.tensor([[pad if i == PAD else i for i in r["ids"]] + [pad] * b for r, b in zip(rows, blank)]),
                 attention_mask=torch.tensor([[1] * len(r["ids"]) + [0] * b for r, b in zip(rows, blank)]))
    if getattr(config, "type_vocab_size", 0) > 1:
        batch["token_type_ids"] = torch.tensor([[int(k >= r["second"]) for k in range(len(r["ids"]))] + [0] * b for r, b in zip(rows, blank)])
    return batch


def train(model, rows, dtype):
    """Steps, the first step's gradients (L2 by name), and the logits of the first batch at the end."""
    model = copy.deepcopy(model).to(dtype).train()
    if dtype == torch.float64 and model._supports_sdpa:
        # ModernBERT's eager attention takes its softmax in float32, where float64's lowest number is -inf: NaN for padded rows
        model.set_attn_implementation("sdpa")
    s, size = SETTINGS, SETTINGS["batch"]
    decayed = set(Trainer.get_decay_parameter_names(None, model))
    named = list(model.named_parameters())
    opt = torch.optim.AdamW([dict(params=[p for n, p in named if n in decayed], weight_decay=s["weight_decay"]),
                             dict(params=[p for n, p in named if n not in decayed], weight_decay=0.0)],
                            lr=s["learning_rate"], betas=(0.9, 0.999), eps=1e-8)
    steps, first = [], None
    batches = [rows[i:i + size] for i in range(0, len(rows), size)] * s["epochs"]
    assert len(batches) == s["steps"]
    for k, part in enumerate(batches):
        lr = s["learning_rate"] * (s["steps"] - k) / s["steps"]
        for g in opt.param_groups:
            g["lr"] = lr
        opt.zero_grad()
        logits = model(**collate(part, model)).logits
        T = s["temperature"]
        ce = F.cross_entropy(logits, torch.tensor([r["label"] for r in part]))
        soft = torch.tensor([r["soft"] for r in part], dtype=torch.float32).to(dtype)
        kd = F.kl_div(F.log_softmax(logits / T, -1), F.softmax(soft / T, -1), reduction="batchmean") * T * T
        loss = s["alpha"] * ce + (1 - s["alpha"]) * kd
        loss.backward()
        if first is None:
            first = {n: float(p.grad.double().norm()) for n, p in named if p.grad is not None}
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), s["max_grad_norm"])
        opt.step()
        steps.append(dict(lr=lr, loss=loss.item(), ce=ce.item(), kd=kd.item(), grad_norm=norm.item()))
    model.eval()
    with torch.no_grad():
        logits = model(**collate(rows[:size], model)).logits.tolist()
    return dict(steps=steps, logits=logits, first_gradients=first, decayed=sorted(decayed))


def relative(a, b, key):
    return max(abs(x[key] - y[key]) / abs(y[key]) for x, y in zip(a["steps"], b["steps"], strict=True))


def short(x):
    """Ten significant digits: a thousand times finer than float32."""
    if isinstance(x, float):
        return float(f"{x:.10g}")
    return {k: short(v) for k, v in x.items()} if isinstance(x, dict) else [short(v) for v in x] if isinstance(x, list) else x


def record(folder, rows):
    model = load(folder)
    exact, single = train(model, rows, torch.float64), train(model, rows, torch.float32)
    torch.set_num_threads(2)
    two = train(model, rows, torch.float32)
    torch.set_num_threads(1)
    assert exact["decayed"] == single["decayed"]
    scale = max(abs(x) for row in exact["logits"] for x in row)
    norms, grads = [s["grad_norm"] for s in exact["steps"]], exact["first_gradients"]

    def logits_gap(a, b):
        return max(abs(x - y) for p, q in zip(a["logits"], b["logits"]) for x, y in zip(p, q))

    noise = {key: relative(single, exact, key) for key in ("loss", "ce", "kd", "grad_norm")}
    noise.update(logits=logits_gap(single, exact), logits_largest=scale, threads_2_vs_1_loss=relative(two, single, "loss"),
                 threads_2_vs_1_grad_norm=relative(two, single, "grad_norm"), threads_2_vs_1_logits=logits_gap(two, single),
                 # of tensors whose gradient is more than rounding
                 first_gradients=max(abs(single["first_gradients"][n] - g) / g for n, g in grads.items() if g > 1e-6 * norms[0]))
    print(os.path.basename(folder), "losses", [round(s["loss"], 3) for s in exact["steps"]],
          f"grad norm {min(norms):.3g}..{max(norms):.3g}", {k: f"{v:.1e}" for k, v in noise.items()}, flush=True)
    assert all(math.isfinite(v) for v in noise.values())
    return dict(decayed=exact["decayed"], noise={k: float(f"{v:.2g}") for k, v in noise.items()}, first_gradients=short(exact["first_gradients"]),
                float64=dict(steps=short(exact["steps"]), logits=short(exact["logits"])),
                float32=dict(steps=short(single["steps"]), logits=short(single["logits"])))


def dump(x):
    """JSON in lines that a person can compare: what is short, and a list of numbers, stays on one."""
    line = json.dumps(x)
    if len(line) <= 140 or isinstance(x, list) and not any(isinstance(v, (dict, list)) for v in x):
        return line
    if isinstance(x, dict):
        return "{\n" + ",\n".join(json.dumps(k) + ": " + dump(v) for k, v in x.items()) + "\n}"
    return "[\n" + ",\n".join(dump(v) for v in x) + "\n]"


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--models", required=True)
    ap.add_argument("--out", required=True)
    a = ap.parse_args()
    rows = make_rows()
    families = {name: record(os.path.join(a.models, name), rows) for name in FAMILIES}
    with open(a.out, "w") as f:
        f.write(dump(dict(made_with=dict(torch=torch.__version__, transformers=transformers.__version__), settings=SETTINGS, rows=rows,
                          families=families)) + "\n")


if __name__ == "__main__":
    main()
