# SPDX-License-Identifier: Apache-2.0
"""Times the workshop's script on the Hugging Face Trainer, as it is, over steps and evaluation batches taken from all over an epoch.

    peer_steps.py SCRIPT STEPS EVAL_BATCHES free|asked [the script's options...]

Runs inside the peer's root. SCRIPT (hf_distill.py) makes models, data and Trainer and calls train(); this program sees to it that the
sampler hands out STEPS batches that lie evenly in the epoch's own order (with batches by length the first are the longest), notes when each step
begins, and evaluates EVAL_BATCHES batches of the validation split, evenly too. `free`: the teacher answers at once with random logits, so that
what is left is the student. One JSON line: {"steps": [seconds], "eval": {"batches", "seconds"}, "batches", "eval_batches", "peak_bytes", …}.
Each batch is trained on twice and the second time counts: in the first, memory is taken and products of a new width are made ready, which an
epoch's few widths do once, not in every step. A first evaluation batch does not count either.
"""
import json
import os
import runpy
import sys
import time

import torch
import transformers

script, steps, eval_batches, teacher = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
sys.argv = [script] + sys.argv[5:]
began, evaluation, size = [], {}, {}
Trainer = transformers.Trainer
plain = {name: getattr(Trainer, name) for name in ("train", "training_step", "_get_train_sampler")}


def evenly(n, k):
    return [i * n // k for i in range(min(n, k))]


def sampler(self, *args, **kw):
    order, batch = list(plain["_get_train_sampler"](self, *args, **kw)), self.args.per_device_train_batch_size
    size["batches"] = -(-len(order) // batch)
    # whole batches: the epoch's last one may be short
    chosen = [order[b * batch:(b + 1) * batch] for b in evenly(len(order) // batch, steps)]
    return [i for b in chosen for i in b + b]


def training_step(self, *args, **kw):
    began.append(time.perf_counter())
    return plain["training_step"](self, *args, **kw)


def train(self, *args, **kw):
    if teacher == "free":
        labels = self.model.config.num_labels
        self.teacher.forward = lambda **k: transformers.modeling_outputs.SequenceClassifierOutput(logits=torch.randn(len(k["input_ids"]), labels))
    self.args.num_train_epochs, self.args.eval_strategy = 1, transformers.trainer_utils.IntervalStrategy.NO
    out = plain["train"](self, *args, **kw)
    began.append(time.perf_counter())
    rows, batch = len(self.eval_dataset), self.args.per_device_eval_batch_size
    size["eval_batches"] = -(-rows // batch)
    if eval_batches:
        chosen = [list(range(b * batch, (b + 1) * batch)) for b in evenly(rows // batch, eval_batches)]
        self.evaluate(torch.utils.data.Subset(self.eval_dataset, chosen[0]))
        start = time.perf_counter()
        self.evaluate(torch.utils.data.Subset(self.eval_dataset, [i for b in chosen for i in b]))
        evaluation.update(batches=len(chosen), seconds=time.perf_counter() - start)
    return out


Trainer.train, Trainer.training_step, Trainer._get_train_sampler = train, training_step, sampler
stdout = os.dup(1)
os.dup2(2, 1)  # the script's own line is of no use here
runpy.run_path(script, run_name="__main__")
with open("/proc/self/status", encoding="ascii") as f:
    peak = next(int(line.split()[1]) * 1024 for line in f if line.startswith("VmHWM"))
seconds = [b - a for a, b in zip(began, began[1:])]
os.write(stdout, (json.dumps({"steps": seconds[1::2], "first": seconds[0::2], "eval": evaluation, "peak_bytes": peak, "torch": torch.__version__,
                              "transformers": transformers.__version__, **size}) + "\n").encode())
