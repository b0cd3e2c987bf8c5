# SPDX-License-Identifier: Apache-2.0
"""Where things are and how they are run and timed: what the parts of bench/run have in common."""
import json
import os
import pathlib
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
SHARED = pathlib.Path(os.environ.get("RT_SHARED", ROOT.parent / "shared")).resolve()
PEER = pathlib.Path(os.environ["BENCH_PEER"]) if os.environ.get("BENCH_PEER") else None
PREFIX = shlex.split(os.environ.get("BENCH_PREFIX", ""))
CLINC = {"teacher_id": "models/clinc-teacher", "student_id": "models/clinc-student-init", "dataset_id": "data/clinc_oos_plus.json"}
# set for the sake of another BLAS than the one a program uses: the peer runs without them
OTHERS_MAX, TRIES = 0.05, 3
FOREIGN = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")


def say(*words):
    print(*words, file=sys.stderr, flush=True)


def missing(peer=True):
    """What a comparison lacks, in words; None when it can be made."""
    if peer and not PEER:
        return "BENCH_PEER names no root with PyTorch and transformers"
    wanted = [SHARED / CLINC["teacher_id"], SHARED / CLINC["dataset_id"]] + ([SHARED / "peer" / "run", PEER / "usr"] if peer else [])
    lacks = [str(p) for p in wanted if not p.exists()]
    return "not there: " + ", ".join(lacks) if lacks else None


def timed(command, env=None, cwd=None, check=True):
    """Runs a command: {"stdout", "status", "wall_s", "peak_bytes", "others"} (timed.py). Seconds and memory are the command's own, whatever
    BENCH_PREFIX waits for. Where others needed the CPUs meanwhile it is done again, TRIES times in all, and the quietest counts."""
    best = None
    for _ in range(TRIES):
        out = timed_once(command, env, cwd, check)
        best = out if best is None or out["others"] < best["others"] else best
        if best["others"] <= OTHERS_MAX:
            break
        say(f"others took {out['others'] * 100:.0f} % of the CPUs during {pathlib.Path(command[0]).name}")
    return best


def timed_once(command, env, cwd, check):
    with tempfile.NamedTemporaryFile(prefix="retort-bench-", suffix=".json") as f:
        run = subprocess.run(PREFIX + [sys.executable, str(HERE / "timed.py"), f.name] + [str(c) for c in command], stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True, env=env, cwd=cwd, check=False)
        if check and run.returncode != 0:
            raise RuntimeError(f"{command[0]}: exit status {run.returncode}: {run.stdout[-500:]}{run.stderr[-2000:]}")
        return {"stdout": run.stdout, "status": run.returncode, **json.load(open(f.name, encoding="utf-8"))}


def peer_env():
    return {k: v for k, v in os.environ.items() if k not in FOREIGN}


def to_peer(name):
    """Puts a program of this folder where the peer's Python finds it; its name as peer/run wants it."""
    folder = PEER / "tmp" / "retort-steps"
    folder.mkdir(exist_ok=True)
    shutil.copy(HERE / name, folder / name)
    return f"../../tmp/retort-steps/{name}"


def clinc():
    with open(SHARED / CLINC["dataset_id"], encoding="utf-8") as f:
        raw = json.load(f)
    return {"train": raw["train"] + raw["oos_train"], "val": raw["val"] + raw["oos_val"]}


def models(args):
    """The folder with teacher-large and student-minilm: BENCH_MODELS, or made by the real library in build/bench/models."""
    folder = pathlib.Path(os.environ.get("BENCH_MODELS", args.build / "bench" / "models")).resolve()
    wanted = [folder / n for n in ("teacher-large", "student-minilm")]
    if not all((w / "model.safetensors").exists() for w in wanted) and not missing():
        say(f"making models of real size in {folder}")
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run([SHARED / "peer" / "run", "-r", PEER, "make_models.py", "/here"], cwd=folder, check=True, stdout=sys.stderr, env=peer_env())
    lacks = [str(w) for w in wanted if not (w / "model.safetensors").exists()]
    return folder, "not there: " + ", ".join(lacks) if lacks else None


def spread(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "runs": len(values)}


def ratio_text(r):
    return f"**{r['median']:.1f}** ({r['min']:.1f} to {r['max']:.1f}, {r['runs']} runs)"
