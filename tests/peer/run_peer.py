#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of every family go to transformers and come back.

usage: run_peer.py [--build DIR] [--shared DIR] [--peer ROOT] [--configs N] [--only FAMILY,…]

1. For each family: `retort-worker run` takes one real step of training on a tiny data set, with real tokenizer files. transformers, in the root that
   ../shared/peer/setup makes, loads the checkpoint with AutoModelForSequenceClassification and AutoTokenizer: no missing and no unexpected keys, the same token ids, logits within the
   reference's tolerance of `retort-worker logits`.
2. From there PyTorch saves it again in the ways that checkpoints come in (sharded safetensors, zip and legacy .bin, sharded .bin, tied and strided tensors, other
   types); our logits of each must be those of transformers.
3. --configs N: N random configurations, drawn anew each day, beside what transformers computes (tests/parity/configs_gen.py).
Exit status 0 when all is equal, 1 when not, 77 (skipped) without the worker, the fixtures or the root.
"""
import argparse
import datetime
import json
import os
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
SKIP = 77
TOKENIZERS = {"bert": "bert-base-uncased", "roberta": "roberta-bpe", "xlm-roberta": "unigram-metaspace", "distilbert": "bert-cased-wordpiece",
              "electra": "bert-base-uncased", "mpnet": "mpnet-wordpiece", "albert": "albert-unigram", "deberta-v2": "deberta-v2",
              "deberta-v2-conv": "deberta-v2", "modernbert": "modernbert", "modernbert-cls": "modernbert"}
TOLERANCE, MODERNBERT_TOLERANCE = 2e-5, 1e-4  # as ../shared/reference/README.md states them
WORDS = {"timer": ["set a timer for {} minutes", "how long is left on my {} minute timer", "stop the timer after {}"],
         "weather": ["is it going to rain in {} hours", "what's the weather like {} days from now", "will it be {} degrees today?"],
         "balance": ["do i have {} dollars in checking", "what is my balance, over {}?", "tell me if account {} is empty"]}


def skip(why):
    print(f"skipped: {why}")
    sys.exit(SKIP)


def write_lines(path, rows):
    with open(path, "w", encoding="utf-8") as f:
        f.writelines(json.dumps(r) + "\n" for r in rows)


def make_data(folder):
    os.makedirs(folder)
    rows = [{"text": t.format(n), "label": label} for n in (3, 7) for label, texts in WORDS.items() for t in texts]
    write_lines(os.path.join(folder, "train.jsonl"), rows)
    write_lines(os.path.join(folder, "validation.jsonl"), rows[::4])


def make_student(shared, family, folder):
    """The reference's small model, as large as its tokenizer asks, without weights."""
    tokenizer = os.path.join(shared, "reference", "tokenizers", TOKENIZERS[family])
    shutil.copytree(tokenizer, folder, ignore=shutil.ignore_patterns("cases.jsonl"))
    with open(os.path.join(tokenizer, "tokenizer.json"), encoding="utf-8") as f:
        t = json.load(f)
    vocab = t["model"]["vocab"]
    ids = {a["content"]: a["id"] for a in t["added_tokens"]}
    size = max(list(vocab.values()) if isinstance(vocab, dict) else [len(vocab) - 1]) + 1
    with open(os.path.join(shared, "reference", "models", family, "config.json"), encoding="utf-8") as f:
        config = json.load(f)
    config["vocab_size"] = max([size - 1, *ids.values()]) + 1
    config["pad_token_id"] = next(ids[p] for p in ("[PAD]", "<pad>") if p in ids)
    config["initializer_range"] = 0.2  # logits that say something
    for key in ("bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"):
        config.pop(key, None)
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as f:
        json.dump(config, f)


def lines(command, rows):
    done = subprocess.run(command, input="".join(json.dumps(r) + "\n" for r in rows), stdout=subprocess.PIPE, text=True, check=True)
    return [json.loads(x) for x in done.stdout.splitlines()]


def take_step(worker, folder, data):
    spec = {"student_id": os.path.join(folder, "student"), "dataset_id": data, "student_init": "random", "alpha": 1, "epochs": 1,
            "per_device_train_batch_size": 64, "learning_rate": 1e-2, "precision": "fp32", "seed": 33}
    with open(os.path.join(folder, "spec.json"), "w") as f:
        json.dump(spec, f)
    done = subprocess.run([worker, "run", "--spec", os.path.join(folder, "spec.json"), "--dir", os.path.join(folder, "run")], stdout=subprocess.PIPE,
                          text=True, check=False)
    events = [json.loads(x) for x in done.stdout.splitlines()]
    if done.returncode != 0:
        sys.exit(f"retort-worker run: {events[-1]['message']}")
    found = [d for d, _, files in os.walk(os.path.join(folder, "run")) if "model.safetensors" in files]
    return sorted(found)[0]


class Peer:
    """A folder below the root, and Python there."""

    def __init__(self, root):
        self.root = root
        self.folder = tempfile.mkdtemp(prefix="retort-peer-", dir=os.path.join(root, "tmp"))
        self.inside = "/tmp/" + os.path.basename(self.folder)
        for script in (os.path.join(HERE, "peer.py"), os.path.join(ROOT, "tests", "parity", "configs_gen.py")):
            shutil.copy(script, self.folder)

    def run(self, *args):
        env = dict(os.environ, OMP_NUM_THREADS="2", PYTHONWARNINGS="ignore", HF_HUB_OFFLINE="1")
        done = subprocess.run(["chroot", self.root, "python3", *args], env=env, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode != 0:
            sys.exit(f"the peer's {args} failed")
        return done.stdout

    def close(self):
        shutil.rmtree(self.folder, ignore_errors=True)


def gap(a, b):
    assert len(a) == len(b) and all(len(x) == len(y) for x, y in zip(a, b))
    return max(abs(x - y) for p, q in zip(a, b) for x, y in zip(p, q))


def check_family(family, worker, shared, peer, folder):
    """Prints what was compared; False when something differs."""
    os.makedirs(folder)
    make_student(shared, family, os.path.join(folder, "student"))
    checkpoint = take_step(worker, folder, os.path.join(os.path.dirname(folder), "data"))
    texts = [t.format(n) for n in (12, 45) for ts in WORDS.values() for t in ts] + ["x", "", "naïve café — 3 × 4?"]
    rows = [{"text": t} for t in texts]
    ours = [r["logits"] for r in lines([worker, "logits", "--model", checkpoint], rows)]
    ids = lines([worker, "encode", "--model", checkpoint], rows)
    there = os.path.join(peer.folder, family)
    shutil.copytree(checkpoint, os.path.join(there, "ours"))
    with open(os.path.join(there, "texts.json"), "w") as f:
        json.dump(texts, f)
    got = json.loads(peer.run(peer.inside + "/peer.py", f"{peer.inside}/{family}").splitlines()[-1])
    allowed = MODERNBERT_TOLERANCE if family.startswith("modernbert") else TOLERANCE
    worst = gap(ours, got["logits"])
    good = worst <= allowed and not got["missing"] and not got["unexpected"] and not got["mismatched"]
    print(f"# {family}: logits of ours there differs by {worst:.2g} (largest {max(abs(x) for r in ours for x in r):.2g})")
    print(f"# {family}: keys there: {len(got['missing'])} missing, {len(got['unexpected'])} unexpected")
    same = sum(a["ids"] == b for a, b in zip(ids, got["ids"], strict=True))
    print(f"# {family}: ids of {same} of {len(ids)} texts are those of {got['tokenizer']}")
    good = good and same == len(ids)
    for kind, want in got["saved"].items():
        back = [r["logits"] for r in lines([worker, "logits", "--model", os.path.join(there, kind)], rows)]
        worst = gap(back, want)
        print(f"# {family}: {kind} of theirs here differs by {worst:.2g}")
        good = good and worst <= allowed
    return good


def check_configs(n, build, peer):
    seed = int(datetime.date.today().strftime("%Y%m%d"))
    peer.run(peer.inside + "/configs_gen.py", "--random", str(n), "--seed", str(seed), "--out", peer.inside + "/random.json")
    done = subprocess.run([os.path.join(build, "tests", "parity", "test_configs"), os.path.join(peer.folder, "random.json")], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False)
    print("".join(x + "\n" for x in done.stdout.splitlines() if x.startswith("#") or done.returncode), f"(seed {seed})", sep="")
    return done.returncode == 0


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--build", default=os.path.join(ROOT, "build"))
    ap.add_argument("--shared", default=os.environ.get("RT_SHARED", os.path.join(ROOT, "..", "shared")))
    ap.add_argument("--peer", default=os.environ.get("BENCH_PEER", ""))
    ap.add_argument("--configs", type=int, default=0)
    ap.add_argument("--only")
    a = ap.parse_args()
    worker = os.path.join(a.build, "worker", "retort-worker")
    if not os.path.exists(worker):
        skip("there is no retort-worker")
    if not os.path.isdir(os.path.join(a.shared, "reference")):
        skip("needs reference/ of the fixtures (RT_SHARED)")
    if os.geteuid() != 0 or not os.path.isdir(os.path.join(a.peer, "usr/lib/python3/dist-packages/transformers")):
        skip("needs the root with transformers (the peer's setup makes it, BENCH_PEER says where) and the right to enter it")
    peer, good = Peer(a.peer), True
    try:
        with tempfile.TemporaryDirectory(prefix="retort-peer-") as folder:
            make_data(os.path.join(folder, "data"))
            for family in a.only.split(",") if a.only else TOKENIZERS:
                if not check_family(family, worker, a.shared, peer, os.path.join(folder, family)):
                    print(f"{family} DIFFERS")
                    good = False
                sys.stdout.flush()
        if a.configs and not check_configs(a.configs, a.build, peer):
            good = False
    finally:
        peer.close()
    print("all is equal" if good else "not all is equal")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
