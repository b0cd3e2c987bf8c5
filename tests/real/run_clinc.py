#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The real job: CLINC plus, distilled with every seed, against the same job on the Hugging Face Trainer.

usage: run_clinc.py [--build DIR] [--shared DIR] [--seeds 33,34,35] [--threads N] [--precision fp32|bf16]
                    [--alone] [--short] [--json FILE]

With a built retortd the job goes through the server (posted, followed and asked for as a client would); with --alone, or
without one, to `retort-worker run`. --short: one seed and one epoch with the bounds below, as a test of about a minute.
Exit status 0 within the bounds, 1 outside, 77 (skipped) when the models or the worker are not there.

Bounds, from ../shared/models/README.md: the mean of the best epochs within 0.5 point of the Trainer's mean, each seed within
1.0 point, training and validation loss of the last epoch within 5 % of the Trainer's means. The teacher's accuracy, which
no random number touches, within one row.
"""
import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
SKIP = 77

# The Trainer on the same job, seed 33, with epochs 1 (the learning rate goes down to 0 within it).
SHORT = {"epochs": 1, "accuracy": 0.8445, "eval_loss": 1.2193, "train_loss": 1.7408}


def skip(why):
    print(f"skipped: {why}")
    sys.exit(SKIP)


def spec_of(shared, seed, epochs, precision):
    return {
        "name": f"clinc seed {seed}",
        "teacher_id": os.path.join(shared, "models", "clinc-teacher"),
        "student_id": os.path.join(shared, "models", "clinc-student-init"),
        "dataset_id": os.path.join(shared, "data", "clinc_oos_plus.json"),
        "alpha": 0.5, "temperature": 4, "learning_rate": 3e-4, "per_device_train_batch_size": 64,
        "epochs": epochs, "precision": precision, "teacher_precision": precision, "seed": seed,
    }


def show(seed, event):
    if event["type"] in ("teacher.completed", "epoch.completed", "run.failed"):
        print(f"  seed {seed}: {event['message']}", flush=True)


def run_alone(worker, spec, threads):
    """The events of a run without a server."""
    events = []
    with tempfile.TemporaryDirectory(prefix="retort-clinc-") as folder:
        path = os.path.join(folder, "spec.json")
        with open(path, "w") as f:
            json.dump(spec, f)
        command = [worker, "run", "--spec", path, "--dir", os.path.join(folder, "run")]
        if threads:
            command += ["--threads", str(threads)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            for line in process.stdout:
                events.append(json.loads(line))
                show(spec["seed"], events[-1])
        if process.returncode != 0:
            sys.exit(f"retort-worker run ended with status {process.returncode}")
    return events


class Server:
    """A retortd of our own, in a folder of its own."""

    def __init__(self, program, shared):
        self.folder = tempfile.TemporaryDirectory(prefix="retort-clinc-")
        command = [program, "--data", self.folder.name, "--listen", "127.0.0.1:0", "--slots", "1", "--models-root", shared]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        found = re.search(r"listening on (http://\S+)", line)
        if not found:
            self.process.terminate()
            sys.exit(f"retortd did not start: {line!r}")
        self.url = found.group(1)

    def close(self):
        self.process.terminate()
        self.process.wait(30)
        self.folder.cleanup()

    def get(self, path, **headers):
        return urllib.request.urlopen(urllib.request.Request(self.url + path, headers=headers))

    def run(self, spec):
        """Posts the job and follows its events until the stream says that it has ended."""
        request = urllib.request.Request(self.url + "/v1/jobs", json.dumps(spec).encode(),
                                         {"Content-Type": "application/json"})
        job = json.load(urllib.request.urlopen(request))
        events = []
        with self.get(f"/v1/jobs/{job['id']}/events", Accept="text/event-stream") as stream:
            for raw in stream:
                line = raw.decode().rstrip("\n")
                if line == "event: end":
                    break
                if line.startswith("data:"):
                    event = json.loads(line[5:])
                    if isinstance(event, dict) and "type" in event:
                        events.append(event)
                        show(spec["seed"], event)
        status = json.load(self.get(f"/v1/jobs/{job['id']}"))["status"]
        if status != "succeeded":
            sys.exit(f"the job ended as {status}")
        return events


def curve(events):
    return [e["data"] for e in events if e["type"] == "epoch.completed"]


def seconds_of(events):
    return next(e["data"]["seconds"] for e in events if e["type"] == "run.succeeded")


def table(runs, reference):
    """Epoch by epoch beside the Trainer's seeds."""
    print(f"\n{'seed':>5} {'epoch':>5} {'accuracy':>9} {'Trainer':>8} {'eval_loss':>10} {'Trainer':>8} {'train_loss':>11} {'Trainer':>8}")
    for seed, events in runs.items():
        theirs = next((r for r in reference["runs"] if r["seed"] == seed), None)
        for i, e in enumerate(curve(events)):
            def ref(key):
                return f"{theirs[key][i]:.4f}" if theirs and i < len(theirs[key]) else "-"
            print(f"{seed:>5} {e['epoch']:>5} {e['eval_accuracy']:>9.4f} {ref('eval_accuracy'):>8} {e['eval_loss']:>10.4f} "
                  f"{ref('eval_loss'):>8} {e['train_loss']:>11.4f} {ref('train_loss'):>8}")
        print(f"{seed:>5}  took {seconds_of(events):.1f} s" + (f", the Trainer {theirs['seconds']:.1f} s" if theirs else ""))


class Bounds:
    def __init__(self):
        self.failed = 0

    def check(self, what, got, want, allowed):
        good = abs(got - want) <= allowed
        self.failed += not good
        print(f"{'ok  ' if good else 'FAIL'} {what}: {got:.4f}, wanted {want:.4f} within {allowed:.4f}")


def check_teacher(bounds, events, reference, precision):
    teacher = next(e["data"] for e in events if e["type"] == "teacher.completed")
    bounds.check("teacher's accuracy", teacher["accuracy"], reference["teacher_accuracy"]["validation"], 1 / 3100 if precision == "fp32" else 0.002)


def check_full(runs, reference, precision):
    bounds = Bounds()
    best = {seed: max(e["eval_accuracy"] for e in curve(events)) for seed, events in runs.items()}
    check_teacher(bounds, next(iter(runs.values())), reference, precision)
    for seed, accuracy in best.items():
        bounds.check(f"best accuracy of seed {seed}", accuracy, reference["best_accuracy_mean"], 0.010)
    bounds.check("mean of the best accuracies", statistics.mean(best.values()), reference["best_accuracy_mean"], 0.005)
    for key in ("train_loss", "eval_loss"):
        theirs = statistics.mean(r[key][-1] for r in reference["runs"])
        for seed, events in runs.items():
            bounds.check(f"last {key} of seed {seed}", curve(events)[-1][key], theirs, 0.05 * theirs)
    return bounds.failed


def check_short(runs, reference, precision):
    bounds = Bounds()
    events = next(iter(runs.values()))
    last = curve(events)[-1]
    check_teacher(bounds, events, reference, precision)
    # one seed of one epoch: seeds differ by about 0.3 point here, so two points are six of their deviations
    bounds.check("accuracy", last["eval_accuracy"], SHORT["accuracy"], 0.020)
    bounds.check("eval_loss", last["eval_loss"], SHORT["eval_loss"], 0.06 * SHORT["eval_loss"])
    bounds.check("train_loss", last["train_loss"], SHORT["train_loss"], 0.04 * SHORT["train_loss"])
    return bounds.failed


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--build", default=os.path.join(ROOT, "build"))
    ap.add_argument("--shared", default=os.environ.get("RT_SHARED", os.path.join(ROOT, "..", "shared")))
    ap.add_argument("--seeds", default="33,34,35")
    ap.add_argument("--threads", type=int, default=0)
    ap.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="bf16: within the same bounds, the teacher's accuracy within 0.2 point")
    ap.add_argument("--alone", action="store_true")
    ap.add_argument("--short", action="store_true")
    ap.add_argument("--json", help="write every run's epochs here")
    a = ap.parse_args()
    shared = os.path.realpath(a.shared)
    worker, program = os.path.join(a.build, "worker", "retort-worker"), os.path.join(a.build, "server", "retortd")
    if not os.path.exists(os.path.join(shared, "models", "reference-run.json")):
        skip("needs models/ and data/ of the shared folder (RT_SHARED)")
    if not os.path.exists(worker):
        skip(f"no {worker}: built without libtorch?")
    with open(os.path.join(shared, "models", "reference-run.json")) as f:
        reference = json.load(f)
    seeds = [int(s) for s in a.seeds.split(",")][:1 if a.short else None]
    epochs = SHORT["epochs"] if a.short else reference["job"]["epochs"]
    server = None if a.alone or not os.path.exists(program) else Server(program, shared)
    print("through " + ("retortd" if server else "retort-worker run"), flush=True)
    runs, start = {}, time.monotonic()
    try:
        for seed in seeds:
            spec = spec_of(shared, seed, epochs, a.precision)
            if a.threads:
                spec["resources"] = {"threads": a.threads}
            runs[seed] = server.run(spec) if server else run_alone(worker, spec, a.threads)
    finally:
        if server:
            server.close()
    print(f"{len(runs)} runs in {time.monotonic() - start:.1f} s")
    if a.json:
        with open(a.json, "w") as f:
            json.dump({seed: curve(events) for seed, events in runs.items()}, f, indent=1)
    if not a.short:
        table(runs, reference)
    failed = check_short(runs, reference, a.precision) if a.short else check_full(runs, reference, a.precision)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
