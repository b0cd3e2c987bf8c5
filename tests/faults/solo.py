# SPDX-License-Identifier: Apache-2.0
"""A worker alone, interrupted at the n-th thing that it does to its disk or at any moment, and gone on from, until it is done."""
import json
import os
import random
import shutil
import signal
import subprocess

from parts import DURABLE, Violation, check_folder, exact, journal, need, weights

OPERATIONS = 420  # more than a job does to its disk, TensorBoard's lines left out; a fault that comes too late is none
KINDS = ("kill", "cut", "cut", "full", "eio", "SIGKILL", "SIGTERM", "SIGTERM twice")


class Job:
    def __init__(self, parts, folder, seed, faults):
        self.parts, self.folder, self.random = parts, folder, random.Random(seed)
        self.seed, self.faults = seed, faults
        self.name = self.random.choice(list(parts.specs))
        self.fired, self.story, self.dirs = 0, [], []

    def environment(self, kind, number):
        env = dict(os.environ, OMP_WAIT_POLICY="PASSIVE", OPENBLAS_THREAD_TIMEOUT="4")
        if kind in ("kill", "cut", "full", "eio"):
            env.update(LD_PRELOAD=str(self.parts.shim), RT_FAULT_ROOT=str(self.folder), RT_FAULT=f"{kind}@{number}",
                       RT_FAULT_LOG=str(self.folder / "faults.log"))
            if self.random.random() < 0.9:
                env["RT_FAULT_BUT"] = "tfevents"
        return env

    def attempt(self, kind, number, seconds):
        """Runs once; returns the exit status and whether the fault came before the end."""
        folder = self.folder / str(len(self.dirs))
        folder.mkdir()
        log = self.folder / "faults.log"
        before = log.read_text().count("\n") if log.exists() else 0
        (self.folder / "faults.log.d").mkdir(exist_ok=True)
        command = [self.parts.worker, "run", "--spec", self.folder / "spec.json", "--dir", folder, "--threads", "1"]
        if self.dirs:
            command += ["--resume-from", self.dirs[-1]]
        with open(self.folder / f"{folder.name}.out", "wb") as out, open(self.folder / "stderr", "ab") as err:
            process = subprocess.Popen(command, stdout=out, stderr=err, env=self.environment(kind, number))
            fired = False
            if kind.startswith("SIG"):
                try:
                    process.wait(seconds)
                except subprocess.TimeoutExpired:
                    fired = True
                    for _ in range(2 if kind.endswith("twice") else 1):
                        process.send_signal(signal.SIGKILL if kind == "SIGKILL" else signal.SIGTERM)
            try:
                status = process.wait(120)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise Violation("the worker hangs") from None
        fired = fired or (log.exists() and log.read_text().count("\n") > before)
        self.story.append(f"{kind}@{number if not kind.startswith('SIG') else round(seconds, 2)} -> {status}")
        return folder, status, fired

    def check_attempt(self, folder, kind, status, fired):
        told = [json.loads(line) for line in (self.folder / f"{folder.name}.out").read_bytes().split(b"\n")[:-1]]
        written = journal(folder)
        both = min(len(written), len(told))  # killed between the two, the journal has one more
        need(written[:both] == told[:both] and len(written) <= len(told) + 1, folder, "the journal and what was told differ")
        if kind not in ("full", "eio"):  # those lines had no place to go
            lost = [e["type"] for e in told[len(written):] if e["type"] in DURABLE]
            need(not lost, folder, "events were told that a power cut took:", lost)
        self.kept = check_folder(folder, told, self.kept)
        last = told[-1]["type"] if told else None
        if status == 0:
            need(last == "run.succeeded", folder, "ends with", last)
        elif fired and kind in ("full", "eio"):
            need(status == 1 and last in ("run.failed", None), folder, "ends with", last, status)
            need(last is None or kind == "eio" or told[-1]["data"]["reason"] == "disk_full", folder, told[-1:])
        elif fired and kind.startswith("SIGTERM") and status != -signal.SIGTERM:
            need(status == 5 and last == "run.stopped", folder, "ends with", last, status)
        else:
            need(fired and status in (-signal.SIGKILL, -signal.SIGTERM), folder, "ends with", last, status, "fault:", fired)
        if status >= 0:
            need(not list(folder.rglob(".tmp-*")) and not list(folder.rglob("*.tmp")), folder, "leaves", list(folder.rglob(".tmp-*")))

    def epochs(self):
        got = {}
        for folder in self.dirs:
            for e in journal(folder):
                if e["type"] == "run.resumed":
                    got = {k: v for k, v in got.items() if k <= e["data"]["from_epoch"]}
                if e["type"] == "epoch.completed":
                    need(e["data"]["epoch"] not in got, folder, "epoch", e["data"]["epoch"], "twice")
                    got.update(exact([e["data"]]))
        return got

    def run(self):
        self.folder.mkdir(parents=True)
        (self.folder / "spec.json").write_text(json.dumps(self.parts.specs[self.name]))
        self.kept = {}
        while True:
            kind = self.random.choice(KINDS) if self.fired < self.faults else "none"
            # early ones more often: what comes too late is no fault
            number, seconds = int(OPERATIONS ** self.random.random()), self.random.uniform(0.1, 2)
            folder, status, fired = self.attempt(kind, number, seconds)
            self.fired += fired
            self.check_attempt(folder, kind, status, fired)
            if journal(folder) or status == 0:
                self.dirs.append(folder)
            else:  # not even a beginning: nothing to go on from
                shutil.rmtree(folder)
            if status == 0:
                break
        epochs = self.epochs()
        wanted = self.parts.wanted[self.name]
        need(epochs == wanted["epochs"], "the epochs differ from an undisturbed run's:", epochs, wanted["epochs"])
        need(weights(self.dirs[-1]) == wanted["weights"], "the weights differ from an undisturbed run's")
        left = [p for p in self.dirs[-1].iterdir() if p.name not in ("events.ndjson", "checkpoints", "runs")]
        need(not left, "left behind:", left)


def run(parts, folder, seed, faults):
    """One job with up to that many faults. How many there were."""
    job = Job(parts, folder, seed, faults)
    try:
        job.run()
    except (Violation, OSError, ValueError, KeyError) as e:
        raise Violation(f"solo job '{job.name}', seed {seed}, {faults} faults, in {folder}: {', '.join(job.story)}: {type(e).__name__}: {e}") from e
    shutil.rmtree(folder)
    return job.fired
