# SPDX-License-Identifier: Apache-2.0
"""What the faults are done to: tiny models and data made of the example's, specs of jobs of about two seconds, and what an
undisturbed run of each gives. And the checks that hold for any folder of a run, whatever happened to it."""
import hashlib
import json
import os
import pathlib
import shutil
import struct
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXACT = ("epoch", "step", "train_loss", "train_ce_loss", "train_kd_loss", "eval_loss", "eval_ce_loss", "eval_kd_loss", "eval_accuracy",
         "learning_rate", "best")
# Events that are on disk before anybody hears of them.
DURABLE = {"run.started", "run.resumed", "teacher.completed", "epoch.completed", "checkpoint.written", "checkpoint.deleted", "run.succeeded",
           "run.failed", "run.cancelled", "run.paused", "run.stopped"}
FILES = {"README.md", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "trainer_state.json"}


class Violation(Exception):
    """What must never be."""


def need(truth, *what):
    if not truth:
        raise Violation(" ".join(str(w) for w in what))


class Parts:
    def __init__(self, folder, build):
        self.folder, self.build = pathlib.Path(folder), pathlib.Path(build)
        self.worker = self.build / "worker" / "retort-worker"
        self.server = self.build / "server" / "retortd"
        self.shim = self.build / "tests" / "faults" / "librtfaults.so"
        for program in (self.worker, self.server, self.shim):
            need(program.exists(), program, "is not built")
        self.models = self.folder / "models"
        for name in ("teacher", "student"):
            shutil.copytree(ROOT / "examples" / "models" / name, self.models / name)
            config = json.loads((self.models / name / "config.json").read_text())
            config.update(num_hidden_layers=1, hidden_size=32, num_attention_heads=2, intermediate_size=64)
            (self.models / name / "config.json").write_text(json.dumps(config))
        self.data = self.models / "intents"
        self.data.mkdir()
        for split, step in (("train", 4), ("validation", 3)):
            rows = (ROOT / "examples" / "intents" / f"{split}.jsonl").read_text().splitlines(True)
            (self.data / f"{split}.jsonl").write_text("".join(rows[::step]))
        self.specs, self.wanted = {}, {}
        base = {"student_id": str(self.models / "student"), "dataset_id": str(self.data), "student_init": "random", "alpha": 1,
                "learning_rate": 5e-3, "resources": {"threads": 1}, "max_restarts": 1000, "checkpoint_interval_s": 1}
        self.add("teacher", base | {"student_id": str(self.models / "teacher"), "epochs": 3, "per_device_train_batch_size": 16, "seed": 5})
        shutil.copytree(self.folder / "wanted" / "teacher" / "checkpoints" / "best", self.models / "taught", symlinks=False)
        self.add("plain", base | {"epochs": 4, "per_device_train_batch_size": 16, "seed": 1})
        self.add("distilled", base | {"teacher_id": str(self.models / "taught"), "alpha": 0.4, "temperature": 3, "epochs": 3, "seed": 2,
                                      "per_device_train_batch_size": 8, "gradient_accumulation_steps": 2, "lr_scheduler": "cosine"})
        self.add("stops early", base | {"epochs": 9, "per_device_train_batch_size": 8, "seed": 3, "save_total_limit": 1, "metric_for_best_model": "loss",
                                        "early_stopping_patience": 1, "learning_rate": 0.08})

    def add(self, name, spec):
        folder = self.folder / "wanted" / name
        folder.mkdir(parents=True)
        (folder / "spec.json").write_text(json.dumps(spec))
        done = subprocess.run([self.worker, "run", "--spec", folder / "spec.json", "--dir", folder, "--threads", "1"], stdout=subprocess.PIPE, text=True,
                              check=False)
        need(done.returncode == 0, "the undisturbed run of", name, "fails:", done.stdout[-1000:])
        self.specs[name] = spec
        self.wanted[name] = {"epochs": exact(e["data"] for e in journal(folder) if e["type"] == "epoch.completed"), "weights": weights(folder)}


def exact(epochs):
    return {e["epoch"]: {k: e.get(k) for k in EXACT} for e in epochs}


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def weights(folder):
    return {name: sha256(folder / "checkpoints" / name / "model.safetensors") for name in ("best", "last")}


def journal(folder):
    """The whole lines of a run's journal, which count up from 1."""
    path = folder / "events.ndjson"
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    events = [json.loads(line) for line in lines]
    need([e["seq"] for e in events] == list(range(1, len(events) + 1)), path, "does not count up:", [e["seq"] for e in events])
    return events


def check_safetensors(path):
    raw = path.read_bytes()
    size = struct.unpack("<Q", raw[:8])[0] if len(raw) >= 8 else -1
    need(0 < size <= len(raw) - 8, path, "has no header")
    tensors = {k: v for k, v in json.loads(raw[8:8 + size]).items() if k != "__metadata__"}
    end = max(t["data_offsets"][1] for t in tensors.values())
    need(8 + size + end == len(raw), path, "has", len(raw), "bytes where its header says", 8 + size + end)


def check_checkpoint(folder, files=None):
    """One under its own name is whole; and as it was told, when it was."""
    here = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    need(FILES <= here and any(f.startswith("runs/") for f in here), folder, "is not whole:", sorted(here))
    for name in ("config.json", "trainer_state.json", "tokenizer.json"):
        need(json.loads((folder / name).read_text()), folder, name)
    check_safetensors(folder / "model.safetensors")
    for f in files or []:
        path = folder / f["name"]
        need(path.exists() and path.stat().st_size == f["size_bytes"] and sha256(path) == f["sha256"], path, "is not as it was told")
    if files:
        need({f["name"] for f in files} == here, folder, "holds other files than was told:", here ^ {f["name"] for f in files})


def check_folder(folder, told=(), kept=None):
    """A run's folder after anything: what has been told is there, links lead somewhere, nothing under its own name is half.
    told: events that others heard of. kept: where the checkpoints are if the run took them over from another (id -> files)."""
    events = {e["seq"]: e for e in told} | {e["seq"]: e for e in journal(folder)}
    files = dict(kept or {})
    for e in [events[k] for k in sorted(events)]:
        if e["type"] == "checkpoint.written":
            files[e["data"]["checkpoint_id"]] = e["data"]["files"]
        elif e["type"] == "checkpoint.deleted":
            files.pop(e["data"]["checkpoint_id"], None)
    root = folder / "checkpoints"
    names = os.listdir(root) if root.exists() else []
    for name in names:
        if name.startswith("ckpt_"):
            check_checkpoint(root / name, files.get(name))
        elif name in ("best", "last"):
            need((root / name / "model.safetensors").exists(), root / name, "leads nowhere")
        else:
            need(name.startswith((".tmp-", ".old-")), root / name, "is not known")
    return files
