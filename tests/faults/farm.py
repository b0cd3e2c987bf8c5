# SPDX-License-Identifier: Apache-2.0
"""A server with its workers, to which everything happens at once; and a checker that asks the API and reads the files afterwards."""
import collections
import http.client
import json
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import sqlite3
import struct
import subprocess
import tempfile
import time

from parts import DURABLE, Violation, check_checkpoint, exact, journal, need, sha256
from proxy import Proxy

SLOTS = 2
OF_SERVER = {"run.lost", "run.adopted"}  # what the server says of a run, beside what its worker says
FINAL = {"succeeded", "failed", "cancelled"}
# server/life.h: from each state the states that a move leads to.
MOVES = {
    "validating": {"queued", "failed", "cancelled"},
    "queued": {"running", "paused", "failed", "cancelled"},
    "running": {"queued", "pausing", "paused", "cancelling", "succeeded", "failed", "cancelled"},
    "pausing": {"paused", "queued", "cancelling", "succeeded", "failed", "cancelled"},
    "paused": {"queued", "cancelled"},
    "cancelling": {"cancelled", "succeeded", "failed"},
    "succeeded": set(),
    "failed": {"queued"},
    "cancelled": {"queued"},
}
FAULTS = {  # and how often each
    "kill worker": 6, "kill server": 3, "kill both": 2, "stop worker": 3, "stop server": 2, "worker dies at an operation": 6,
    "power cut of a worker": 5, "worker finds no room": 3, "worker finds a bad disk": 2, "server dies at an operation": 2, "clock jumps": 2,
    "connection": 6, "pause": 3, "terminate worker": 2, "disk is full": 2, "cancel": 1,
}


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as s:
        return s.getsockname()[1]


class Farm:
    def __init__(self, parts, folder, seed, log):
        self.parts, self.folder, self.seed, self.log = parts, pathlib.Path(folder), seed, log
        self.random = random.Random(seed)
        self.folder.mkdir(parents=True)
        self.fault_dir = self.folder / "faults"
        for name in ("plans", "taken", "log.d"):
            (self.fault_dir / name).mkdir(parents=True)
        self.disk = Disk(self.folder)
        self.data = self.disk.path / "data"
        self.clock = self.fault_dir / "clock"
        self.clock.write_bytes(struct.pack("<q", 0))
        self.port = free_port()
        self.proxy = Proxy(self.port)
        self.process, self.server_fault = None, None
        self.server_log = open(self.folder / "retortd.log", "ab")
        self.jobs, self.queue, self.done = {}, [], collections.Counter()
        self.plans, self.undo, self.waits = 0, [], {}

    # ---- the server ----

    def start_server(self):
        env = dict(os.environ, LD_PRELOAD=str(self.parts.shim), RT_CLOCK=str(self.clock), RT_FAULT_ROOT=str(self.data), FAULTS_DIR=str(self.fault_dir),
                   FAULTS_WORKER=str(self.parts.worker), FAULTS_SHIM=str(self.parts.shim), FAULTS_PROXY=str(self.proxy.port),
                   RT_FAULT_LOG=str(self.fault_dir / "log"), OMP_WAIT_POLICY="PASSIVE", OPENBLAS_THREAD_TIMEOUT="4")
        if self.server_fault:
            env["RT_FAULT"], self.server_fault = self.server_fault, None
        command = [self.parts.server, "--data", self.data, "--listen", f"127.0.0.1:{self.port}", "--models-root", self.parts.models, "--worker",
                   pathlib.Path(__file__).with_name("launch"), "--slots", str(SLOTS), "--restart-delay", "0", "--worker-timeout", "20",
                   "--min-free-bytes", "0"]
        self.process = subprocess.Popen([str(c) for c in command], stdout=subprocess.PIPE, stderr=self.server_log, env=env)
        line = self.process.stdout.readline()
        if b"listening" not in line:  # it may have died of its fault at once
            status = self.process.wait()
            need(status == -signal.SIGKILL, "the server does not start:", status, self.words())
            self.start_server()

    def words(self):
        return (self.folder / "retortd.log").read_text("utf-8", "replace")[-2000:]

    def watch_server(self):
        """A server that died of a planned fault is started again; one that died otherwise is a violation."""
        status = self.process.poll()
        if status is not None:
            need(status == -signal.SIGKILL, "the server ended with", status, self.words())
            self.start_server()

    def kill_server(self):
        self.process.kill()
        self.process.wait()

    def request(self, method, target, body=None, patience=60):
        """Asks until there is an answer: servers come and go."""
        until = time.monotonic() + patience
        while True:
            try:
                self.watch_server()
                conn = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
                conn.request(method, target, json.dumps(body) if body is not None else None, {"Content-Type": "application/json"} if body is not None else {})
                answer = conn.getresponse()
                data = answer.read()
                conn.close()
                return answer.status, data
            except (OSError, http.client.HTTPException):
                need(time.monotonic() < until, "no answer to", method, target, self.words())
                time.sleep(0.05)

    def get(self, target):
        status, data = self.request("GET", target)
        need(status == 200, "GET", target, status, data[:300])
        return json.loads(data)

    def all(self, target, limit):
        """A list from its first page to its last."""
        rows, after = [], ""
        while True:
            page = self.get(f"{target}?limit={limit}{after}")
            rows += page["data"]
            if not page["has_more"]:
                return rows
            after = f"&after={rows[-1]['seq'] if 'seq' in rows[-1] else page['last_id']}"

    # ---- jobs ----

    def submit(self, which, **more):
        key = f"faults-{self.seed}-{len(self.jobs)}-{len(self.queue)}"
        until = time.monotonic() + 60
        while True:
            try:
                self.watch_server()
                conn = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
                conn.request("POST", "/v1/jobs", json.dumps(self.parts.specs[which] | more), {"Content-Type": "application/json", "Idempotency-Key": key})
                answer = conn.getresponse()
                data = json.loads(answer.read())
                conn.close()
                if answer.status == 201:
                    return data["id"]
                need(answer.status in (503, 507), "POST /v1/jobs", answer.status, data)
            except (OSError, http.client.HTTPException):
                pass
            need(time.monotonic() < until, "no job is taken")
            time.sleep(0.1)

    def add_jobs(self, n):
        for _ in range(n):
            name = self.random.choice(list(self.parts.specs))
            self.jobs[self.submit(name)] = name

    def add_queue(self, n):
        """Jobs that wait behind all others and are cancelled in the end."""
        for _ in range(n):
            self.queue.append(self.submit("plain", priority=-100, name="waits"))

    def statuses(self):
        return {id: self.get("/v1/jobs/" + id)["status"] for id in self.jobs}

    # ---- faults ----

    def workers(self):
        found = []
        for pid in os.listdir("/proc"):
            if pid.isdigit():
                try:
                    line = pathlib.Path("/proc", pid, "cmdline").read_bytes().split(b"\0")
                except OSError:
                    continue
                if b"run" in line[1:2] and any(str(self.data).encode() in part for part in line) and b"retort-worker" in line[0]:
                    found.append(int(pid))
        return sorted(found)

    def signal_worker(self, number):
        workers = self.workers()
        if not workers:
            return None
        pid = self.random.choice(workers)
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return None
        return pid

    def plan(self, kind, most):
        self.plans += 1
        text = f"export RT_FAULT={kind}@{int(most ** self.random.random())} RT_FAULT_ROOT='{self.data}' RT_FAULT_LOG='{self.fault_dir}/log'\n"
        if self.random.random() < 0.9:
            text += "export RT_FAULT_BUT=tfevents\n"
        tmp = self.fault_dir / "taken" / f"plan-{self.plans}"
        tmp.write_text(text)
        os.rename(tmp, self.fault_dir / "plans" / f"{self.plans:06d}")

    def later(self, seconds, what):
        self.undo.append((time.monotonic() + seconds, what))

    def undo_due(self, everything=False):
        due = [u for u in self.undo if everything or u[0] <= time.monotonic()]
        self.undo = [u for u in self.undo if u not in due]
        for _, what in due:
            what()

    def resume(self, id):
        status, data = self.request("POST", f"/v1/jobs/{id}/resume")
        need(status in (200, 202, 409), "resume", status, data)

    def some_job(self, *statuses):
        ids = [id for id, s in self.statuses().items() if s in statuses]
        return self.random.choice(ids) if ids else None

    def commit(self, what):
        """Does it; false when there was nothing to do it to."""
        r = self.random
        if what == "kill worker":
            return self.signal_worker(signal.SIGKILL) is not None
        if what == "terminate worker":
            return self.signal_worker(signal.SIGTERM) is not None
        if what == "stop worker":
            pid = self.signal_worker(signal.SIGSTOP)
            if pid:
                self.later(r.uniform(0.1, 2), lambda: self.go_on(pid))
            return pid is not None
        if what in ("kill server", "kill both"):
            if what == "kill both":
                for pid in self.workers():
                    os.kill(pid, signal.SIGKILL)
            self.kill_server()
            time.sleep(r.choice([0, 0, 0.3, 1]))
            self.start_server()
            return True
        if what == "stop server":
            self.process.send_signal(signal.SIGSTOP)
            time.sleep(r.uniform(0.1, 1.5))
            self.process.send_signal(signal.SIGCONT)
            return True
        if what == "server dies at an operation":
            self.server_fault = f"kill@{int(600 ** r.random())}"
            self.kill_server()
            self.start_server()
            return True
        kinds = {"worker dies at an operation": "kill", "power cut of a worker": "cut", "worker finds no room": "full", "worker finds a bad disk": "eio"}
        if what in kinds:
            self.plan(kinds[what], 400)
            return None  # counts when it happens
        if what == "clock jumps":
            with open(self.clock, "r+b") as file:  # as the machine's: one clock for all
                file.write(struct.pack("<q", r.choice([0, 1, -1, 60, -60]) * r.randrange(86_400_000)))
            return True
        if what == "connection":
            self.proxy.mode = r.choice(["slow", "refuse", "break", "swallow", "swallow"])
            self.later(r.uniform(0.3, 2), lambda: setattr(self.proxy, "mode", ""))
            return True
        if what == "pause":
            id = self.some_job("running", "queued")
            if id:
                status, data = self.request("POST", f"/v1/jobs/{id}/pause")
                need(status in (200, 202, 409), "pause", status, data)
                self.later(r.uniform(0, 2), lambda: self.resume(id))
            return id is not None
        if what == "cancel":
            id = self.some_job("running", "queued", "paused")
            if id:
                status, data = self.request("POST", f"/v1/jobs/{id}/cancel")
                need(status in (200, 202, 409), "cancel", status, data)
                if r.random() < 0.7:
                    self.later(r.uniform(0.5, 3), lambda: self.request("POST", f"/v1/jobs/{id}/retry"))
            return id is not None
        if what == "disk is full":
            if not self.disk.is_real:
                return False
            self.disk.fill(r.randrange(0, 400_000))
            self.later(r.uniform(0.2, 2), self.disk.free)
            return True
        raise AssertionError(what)

    @staticmethod
    def go_on(pid):
        try:
            os.kill(pid, signal.SIGCONT)
        except ProcessLookupError:
            pass

    def happened(self):
        log = self.fault_dir / "log"
        return collections.Counter(line.split()[0] for line in log.read_text().splitlines()) if log.exists() else collections.Counter()

    def count(self):
        return sum(self.done.values()) + sum(self.happened().values())

    def run(self, faults, jobs, queue):
        self.start_server()
        self.add_jobs(jobs)
        self.add_queue(queue)
        names, weights = list(FAULTS), list(FAULTS.values())
        told = time.monotonic()
        while self.count() < faults:
            self.watch_server()
            self.undo_due()
            what = self.random.choices(names, weights)[0]
            if len(list((self.fault_dir / "plans").iterdir())) > 4 and "worker" in what and what not in ("kill worker", "stop worker", "terminate worker"):
                continue
            if self.commit(what):
                self.done[what] += 1
            statuses = self.statuses()
            if sum(s not in FINAL for s in statuses.values()) < SLOTS + 1:
                self.add_jobs(2)
            if time.monotonic() - told > 20:
                told = time.monotonic()
                self.log(f"{self.count()} of {faults} faults, {sum(s in FINAL for s in statuses.values())} of {len(self.jobs)} jobs are done")
            time.sleep(self.random.uniform(0, 0.5))
        self.calm()

    def calm(self):
        """No more faults; everything comes to its end."""
        for plan in (self.fault_dir / "plans").iterdir():
            plan.unlink()
        self.undo_due(everything=True)
        self.proxy.mode = ""
        self.watch_server()
        for id in self.queue:
            status, data = self.request("POST", f"/v1/jobs/{id}/cancel")
            need(status in (200, 202, 409), "cancel", status, data)
        until = time.monotonic() + 60 + 6 * len(self.jobs)
        while True:
            statuses = self.statuses()
            for id, s in statuses.items():
                if s == "paused":
                    self.see_to(id)
            if all(s in FINAL for s in statuses.values()):
                return
            need(time.monotonic() < until, "these jobs do not end:", {k: v for k, v in statuses.items() if v not in FINAL}, self.words())
            time.sleep(0.3)

    def see_to(self, id):
        """Resumes what waits for a user, also where a worker was only told that there is no room; what waits for real room must go on
        by itself."""
        waiting = self.get("/v1/jobs/" + id)["waiting"]
        st = os.statvfs(self.disk.path)
        if waiting and waiting["needs_bytes"] <= st.f_bavail * st.f_frsize:
            began = self.waits.setdefault(id, time.monotonic())
            need(time.monotonic() < began + 30, id, "waits for", waiting, "and there is room")
        else:
            self.resume(id)

    # ---- what must be true ----

    def check(self):
        listed = {job["id"] for job in self.all("/v1/jobs", 100)}
        need(listed >= set(self.jobs) | set(self.queue), "accepted jobs are lost:", (set(self.jobs) | set(self.queue)) - listed)
        need(len(listed) == len(self.jobs) + len(self.queue), "jobs that nobody sent:", listed - set(self.jobs) - set(self.queue))
        owners = {}
        for id in list(self.jobs) + self.queue:
            job = self.get("/v1/jobs/" + id)
            self.check_history(job)
            owners.update(self.check_events(job))
            if job["status"] == "succeeded":
                self.check_result(job, self.jobs.get(id, "plain"))
            else:
                need(job["status"] == "cancelled", id, self.jobs.get(id), "ended as", job["status"], job["error"])
                self.check_checkpoints(job)
        self.check_files(owners)
        self.stop()

    def check_history(self, job):
        words = [h["status"] for h in job["status_history"]]
        words = [w for i, w in enumerate(words) if i == 0 or w != words[i - 1]]  # phases are entries too
        need(words[0] in ("queued", "validating"), job["id"], "begins as", words[0])
        for a, b in zip(words, words[1:]):
            need(b in MOVES[a], job["id"], "went from", a, "to", b, words)

    def check_events(self, job):
        """Each run's events stand in the API as in its journal: none lost, none twice, in order."""
        events = self.all(f"/v1/jobs/{job['id']}/events", 1000)
        need([e["seq"] for e in events] == sorted({e["seq"] for e in events}), job["id"], "event numbers are not in order")
        runs = collections.defaultdict(list)
        for e in events:
            if e["run_id"] and not e["type"].startswith("job.") and e["type"] not in OF_SERVER:
                runs[e["run_id"]].append((e["type"], e["message"], e["data"]))
        disturbed = {int(line.split()[2]) for line in (self.fault_dir / "log").read_text().splitlines() if line.split()[0] in ("full", "eio")} \
            if (self.fault_dir / "log").exists() else set()
        for run, got in runs.items():
            written = [(e["type"], e["message"], e["data"]) for e in journal(self.data / "runs" / run)]
            n = 0
            while n < min(len(got), len(written)) and self.same(got[n], written[n]):
                n += 1
            need(n == len(written), run, "of", job["id"], "has", len(written), "events in its journal; they differ from the", len(got),
                 "of the API at", n, written[n:n + 1], got[n:n + 2])
            extra = [e[0] for e in got[n:] if e[0] in DURABLE]
            pid = next((e[2].get("pid") for e in written + got if e[0] == "run.started"), None)
            need(not extra or pid in disturbed or self.done["disk is full"], run, "told more than its journal holds:", extra)
        return {run: job["id"] for run in runs}

    @staticmethod
    def same(a, b):
        return a[0] == b[0] and a[1] == b[1] and (a[2] == b[2] or json.dumps(a[2], sort_keys=True) == json.dumps(b[2], sort_keys=True))

    def check_checkpoints(self, job):
        checkpoints = self.get(f"/v1/jobs/{job['id']}/checkpoints")["data"]
        for c in checkpoints:
            folder = self.data / "runs" / c["run_id"] / "checkpoints" / c["id"]
            need(folder.is_dir(), job["id"], "names a checkpoint that is not there:", c["id"])
            check_checkpoint(folder, c["files"])
        if any(c["best"] for c in checkpoints):
            status, _ = self.request("GET", f"/v1/jobs/{job['id']}/checkpoints/best")
            need(status == 307, job["id"], "best answers", status)
        return checkpoints

    def check_result(self, job, name):
        wanted = self.parts.wanted[name]
        epochs = self.get(f"/v1/jobs/{job['id']}/epochs")["data"]
        need(len({e["epoch"] for e in epochs}) == len(epochs), job["id"], "epochs twice:", [e["epoch"] for e in epochs])
        got = exact(epochs)
        need(got == wanted["epochs"], job["id"], name, "epochs differ from an undisturbed run's:", got, wanted["epochs"])
        checkpoints = self.check_checkpoints(job)
        for mark in ("best", "last"):
            marked = [c for c in checkpoints if c[mark]]
            need(len(marked) == 1, job["id"], len(marked), "checkpoints are", mark)
            c = marked[0]
            path = self.data / "runs" / c["run_id"] / "checkpoints" / c["id"] / "model.safetensors"
            need(sha256(path) == wanted["weights"][mark], job["id"], name, "the weights of", mark, "differ from an undisturbed run's")

    def check_files(self, owners):
        """Nothing lies about. What a pool thread still removes has a moment for it."""
        until = time.monotonic() + 10
        while True:
            left = self.stray(owners)
            if not left:
                return
            need(time.monotonic() < until, "files that nobody owns:", left[:8])
            time.sleep(0.2)

    def stray(self, owners):
        left = []
        kept = collections.defaultdict(set)
        done = {}
        for id in list(self.jobs) + self.queue:
            done[id] = self.get("/v1/jobs/" + id)["status"]
            for c in self.get(f"/v1/jobs/{id}/checkpoints")["data"]:
                kept[c["run_id"]].add(c["id"])
        for folder in (self.data / "runs").iterdir():
            known = {"spec.json", "worker.log", "events.ndjson", "runs"} | ({"checkpoints"} if kept[folder.name] else set())
            status = done.get(owners.get(folder.name))
            if status is None:  # a worker that died before its first event
                left += [p for p in folder.iterdir() if p.name not in known]
                continue
            if status == "cancelled":
                known |= {"resume", "checkpoints"}  # to retry from
            left += [p for p in folder.iterdir() if p.name not in known]
            root = folder / "checkpoints"
            if status == "succeeded" and root.exists():
                left += [p for p in root.iterdir() if p.name not in kept[folder.name] | {"best", "last"}]
                left += [p for p in folder.rglob("*.tmp")]
        for p in self.data.iterdir():
            if p.name == "trash":
                left += list(p.iterdir())
        return left

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        need(self.process.wait(60) == 0, "SIGTERM: the server ends with", self.process.returncode)
        need(not self.workers(), "workers live on behind a server that ended:", self.workers())
        with sqlite3.connect(f"file:{next(self.data.glob('*.db'))}?mode=ro", uri=True) as db:
            need(db.execute("PRAGMA integrity_check").fetchone() == ("ok",), "the database is damaged")
        words = (self.folder / "retortd.log").read_text("utf-8", "replace")
        need(not re.search(r"Assertion|AddressSanitizer|runtime error", words), "the server's log:", words[-2000:])

    def close(self):
        self.undo_due(everything=True)
        if self.process and self.process.poll() is None:
            self.kill_server()
        for pid in self.workers():
            os.kill(pid, signal.SIGKILL)
        self.proxy.close()
        self.server_log.close()
        self.disk.close()


class Disk:
    """A small disk of its own, where one can be mounted; else a folder that never fills."""

    SIZE = 256 << 20

    def __init__(self, folder):
        self.path, self.image = folder / "disk", folder / "disk.img"
        self.path.mkdir()
        self.is_real = False
        if os.geteuid() == 0 and shutil.which("mkfs.ext4"):
            with open(self.image, "wb") as file:
                file.truncate(self.SIZE)
            self.is_real = subprocess.run(["mkfs.ext4", "-q", "-F", self.image], check=False).returncode == 0 and \
                subprocess.run(["mount", "-o", "loop", self.image, self.path], stderr=subprocess.DEVNULL, check=False).returncode == 0
        self.filler = self.path / "filler"

    def fill(self, leave):
        """Takes all but that many bytes."""
        st = os.statvfs(self.path)
        n = max(0, st.f_bavail * st.f_frsize - leave)
        with open(self.filler, "wb") as file:
            try:
                os.posix_fallocate(file.fileno(), 0, n or 1)
            except OSError:
                pass

    def free(self):
        self.filler.unlink(missing_ok=True)

    def close(self):
        if self.is_real:
            for _ in range(20):
                if subprocess.run(["umount", self.path], stderr=subprocess.DEVNULL, check=False).returncode == 0:
                    break
                time.sleep(0.2)
        self.image.unlink(missing_ok=True)


def run(parts, folder, seed, faults, jobs, queue, log):
    """A server under that many faults. What happened, by kind, and the number of jobs."""
    farm = Farm(parts, folder, seed, log)
    try:
        farm.run(faults, jobs, queue)
        farm.check()
        happened = farm.done + collections.Counter({f"{k} at an operation": n for k, n in farm.happened().items()})
        return happened, len(farm.jobs)
    except Violation as e:
        keep = tempfile.mkdtemp(prefix="rt-faults-")
        if farm.process and farm.process.poll() is None:
            farm.kill_server()
        shutil.copytree(farm.data, keep + "/data", symlinks=True, dirs_exist_ok=True)
        shutil.copytree(farm.fault_dir, keep + "/faults", dirs_exist_ok=True)
        shutil.copy(farm.folder / "retortd.log", keep)
        raise Violation(f"server, seed {seed}: {e}; the data folder is kept in {keep}") from e
    finally:
        farm.close()
