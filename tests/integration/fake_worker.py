#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A worker that trains nothing. Plays what the job's name says, word by word, so that a test decides what happens and when.

  epoch          an epoch with its events and a checkpoint (the spec's epochs many when no word is an epoch)
  gate=NAME      waits until the test opens gates/NAME (harness.Gate)
  log=WORDS      an event of type log; _ for a space
  words=N        N lines into the worker's own log (stderr)
  fail=REASON    run.failed, exit 1
  crash          dies by SIGSEGV without a word
  exit=N         exits without a last event
  hang           never goes on; stops when asked to
  stubborn       from here on does not stop when asked to (SIGTERM, want)
  forgetful      from here on saves no state
  deaf           from here on sends no heartbeat
  nonsense=KIND  sends something that is no event: json, type, gap, huge, utf8, path, lie
  nan            the next epoch's losses are null
  kill           dies by SIGKILL
  freeze         stops by SIGSTOP, as a worker that hangs
  slow_start     nothing at all until the gate `start` is open
  N:WORD         WORD only in the N-th run of a job of this name; 0N: in all but the N-th
Ends with run.succeeded and exit 0. A state to go on from is saved after every epoch, and when it is asked to stop (run.stopped after
SIGTERM, run.paused and run.cancelled when the server wants it). `validate` answers from the names of the models' folders.
"""
import hashlib
import http.client
import json
import os
import random
import shutil
import signal
import sys
import threading
import time
import urllib.parse


def now():
    t = time.time()
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(t)) + ".%03dZ" % (t % 1 * 1000)


def new_id(prefix):
    value = int(time.time() * 1000) << 80 | random.getrandbits(80)
    return prefix + "_" + "".join("0123456789ABCDEFGHJKMNPQRSTVWXYZ"[value >> 5 * i & 31] for i in reversed(range(26)))


class Stop(Exception):
    pass


def of_this_run(word, nth):
    number, colon, rest = word.partition(":")
    if not colon or not number.isdigit():
        return word
    return rest if (int(number) != nth if number[0] == "0" else int(number) == nth) else None


class Run:
    def __init__(self, args):
        with open(args["spec"], encoding="utf-8") as file:
            self.spec = json.load(file)
        self.dir = args["dir"]
        self.url = urllib.parse.urlsplit(args["report"]) if "report" in args else None
        self.token = os.fdopen(int(args["token-fd"])).readline().strip() if "token-fd" in args else ""
        self.lock = threading.RLock()
        self.cancel = threading.Event()
        self.stubborn = self.deaf = self.nan = self.forgetful = False
        self.seq = self.epoch = self.step = self.at = 0
        self.best = (-1.0, None)
        self.checkpoints = []
        self.resume_from = args.get("resume-from")
        self.why = "run.stopped"
        self.away = False
        self.journal = open(os.path.join(self.dir, "events.ndjson"), "ab")
        signal.signal(signal.SIGTERM, self.on_term)
        threading.Thread(target=self.beat, daemon=True).start()

    def on_term(self, *_):
        if not self.stubborn:
            self.cancel.set()

    def want(self, word):
        if word in ("cancel", "pause") and not self.stubborn and not self.cancel.is_set():
            self.why = {"cancel": "run.cancelled", "pause": "run.paused"}[word]
            self.cancel.set()

    def save(self, at):
        folder = os.path.join(self.dir, "resume")
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, "new"), "w", encoding="utf-8") as file:
            json.dump({"epoch": self.epoch, "step": self.step, "at": at, "best": self.best, "checkpoints": self.checkpoints}, file)
        os.rename(file.name, os.path.join(folder, "state-1"))

    def restore(self):
        try:
            with open(os.path.join(self.resume_from, "resume", "state-1"), encoding="utf-8") as file:
                state = json.load(file)
        except (OSError, ValueError):
            self.tell("log", level="warn", message="there is no saved state; starting from the beginning")
            return
        self.epoch, self.step, self.at, self.best = state["epoch"], state["step"], state["at"], tuple(state["best"])
        for checkpoint_id in state["checkpoints"]:
            source = os.path.join(self.resume_from, "checkpoints", checkpoint_id)
            if os.path.isdir(source):
                shutil.copytree(source, os.path.join(self.dir, "checkpoints", checkpoint_id), copy_function=os.link)
                self.checkpoints.append(checkpoint_id)
        self.tell("run.resumed", {"from_step": self.step, "from_epoch": self.epoch, "state": "state", "checkpoints": self.checkpoints})

    def beat(self):
        while not self.cancel.wait(0.1):
            if not self.deaf:
                self.post(b"")

    def post(self, body):
        """Until it is through, for a while: a server that stays away reads the journal when it is back."""
        end = time.monotonic() + (0.05 if self.away else 1)
        while self.url:
            try:
                with self.lock:
                    conn = http.client.HTTPConnection(self.url.hostname, self.url.port, timeout=10)
                    conn.request("POST", self.url.path, body, {"Authorization": "Bearer " + self.token, "Content-Type": "application/x-ndjson"})
                    response = conn.getresponse()
                    answer = response.read()
                    conn.close()
            except OSError:
                if not body or time.monotonic() > end:
                    self.away = True
                    return None
                time.sleep(0.05)
                continue
            self.away = False
            if response.status == 200:
                self.want(json.loads(answer)["want"])
            if response.status not in (200, 401, 410) and body:
                print("the server said", response.status, answer.decode("utf-8", "replace"), file=sys.stderr, flush=True)
            return response.status
        return None

    def tell(self, type, data=None, level="info", message="", seq=None):
        with self.lock:
            self.seq += 1
            event = {"seq": seq or self.seq, "type": type, "at": now(), "level": level, "message": message, "data": data or {}}
            line = json.dumps(event, ensure_ascii=False).encode() + b"\n"
            self.journal.write(line)
            self.journal.flush()
            return self.post(line)

    def wait(self, path):
        """Opening a FIFO for reading blocks until the test opens it for writing; a look-out thread lets a cancel through."""
        opened = threading.Event()

        def reader():
            with open(path, "rb") as fifo:
                fifo.read()
            opened.set()

        if path:
            threading.Thread(target=reader, daemon=True).start()
        while not opened.wait(0.02):
            if self.cancel.is_set() and not self.stubborn:
                raise Stop

    def do_epoch(self):
        self.epoch += 1
        loss = None if self.nan else 2.0 / self.epoch
        accuracy = min(1.0, 0.3 + 0.1 * self.epoch)
        for _ in range(2):
            self.step += 1
            self.tell("train.progress", {"step": self.step, "total_steps": 2 * self.spec["epochs"], "epoch": self.epoch, "loss": loss,
                                         "learning_rate": 0.001, "samples_per_s": 1000.5, "eta_s": 0.25})
        best = accuracy > self.best[0]
        data = {"epoch": self.epoch, "step": self.step, "train_loss": loss, "train_ce_loss": loss, "train_kd_loss": loss, "eval_loss": loss,
                "eval_ce_loss": loss, "eval_kd_loss": loss, "eval_accuracy": accuracy, "learning_rate": 0.001, "samples_per_s": 1000.5,
                "seconds": 0.01, "eta_s": 0.5, "best": best}
        self.tell("eval.classes", {"epoch": self.epoch, "rows": 10, "correct": 6, "agreed": 7, "classes_total": 3, "classes": [
            {"label": "greet", "count": 6, "predicted": 5, "correct": 4}, {"label": "part \u00fc", "count": 4, "predicted": 5, "correct": 2},
            {"label": "none", "count": 0, "predicted": 0, "correct": 0}], "confused": [{"label": "greet", "predicted": "part \u00fc", "count": 2}]})
        self.tell("epoch.completed", data)
        self.nan = False
        self.checkpoint(accuracy, best, {"eval_accuracy": accuracy, "eval_loss": loss})

    def checkpoint(self, accuracy, best, metrics):
        checkpoint_id = new_id("ckpt")
        folder = os.path.join(self.dir, "checkpoints", checkpoint_id)
        os.makedirs(os.path.join(folder, "runs"))
        weights = random.Random(self.epoch).randbytes(100_000 + self.epoch)
        files = []
        for name, content in [("config.json", b'{"model_type":"fake","epoch":%d}\n' % self.epoch), ("model.safetensors", weights),
                              ("README.md", "# caf\u00e9\n".encode()), ("empty.txt", b""),
                              ("runs/events.out.tfevents.1.retort", b"\0\1\2" * 10)]:
            with open(os.path.join(folder, name), "wb") as file:
                file.write(content)
            files.append({"name": name, "size_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()})
        self.tell("checkpoint.written", {"checkpoint_id": checkpoint_id, "dir": "checkpoints/" + checkpoint_id, "step": self.step,
                                         "epoch": self.epoch, "best": best, "size_bytes": sum(f["size_bytes"] for f in files),
                                         "files": files, "metrics": metrics})
        self.checkpoints.append(checkpoint_id)
        if best:
            self.best = (accuracy, checkpoint_id)
        while len(self.checkpoints) > self.spec["save_total_limit"]:
            old = next(c for c in self.checkpoints if c != self.best[1])
            self.checkpoints.remove(old)
            self.tell("checkpoint.deleted", {"checkpoint_id": old})
            for root, dirs, names in os.walk(os.path.join(self.dir, "checkpoints", old), topdown=False):
                for name in names:
                    os.unlink(os.path.join(root, name))
                for name in dirs:
                    os.rmdir(os.path.join(root, name))
            os.rmdir(os.path.join(self.dir, "checkpoints", old))

    def nonsense(self, kind):
        if kind == "json":
            self.post(b'{"seq":1,"type"\n')
        elif kind == "type":
            self.tell("no.such.type")
        elif kind == "gap":
            self.tell("log", message="from the future", seq=self.seq + 1000)
        elif kind == "huge":
            self.tell("log", message="x" * (2 << 20))
        elif kind == "utf8":
            self.post(b'{"seq":%d,"type":"log","at":"x","message":"\xff\xfe","data":{}}\n' % (self.seq + 1))
        elif kind == "path":
            self.tell("checkpoint.written", {"checkpoint_id": new_id("ckpt"), "dir": "checkpoints/../../..", "step": 1, "epoch": 1, "best": True,
                                             "size_bytes": 1, "files": [{"name": "../../retort.db", "size_bytes": 1, "sha256": "0" * 64}]})
        elif kind == "lie":
            checkpoint_id = new_id("ckpt")
            self.tell("checkpoint.written", {"checkpoint_id": checkpoint_id, "dir": "checkpoints/" + checkpoint_id, "step": 1, "epoch": 1, "best": True,
                                             "size_bytes": 5, "files": [{"name": "model.safetensors", "size_bytes": 5, "sha256": "0" * 64}]})

    def count(self, name):
        """Which run of a job of this name it is."""
        folder = os.path.join(os.path.dirname(self.spec["dataset_id"]), "runs-of")
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, hashlib.sha256(name.encode()).hexdigest()), "a+b") as file:
            file.write(b".")
            file.flush()
            return file.tell()

    def play(self):
        name = self.spec.get("name") or ""
        words = name.split()
        nth = self.count(name) if ":" in name else 1
        gates = os.path.join(os.path.dirname(self.spec["dataset_id"]), "gates")
        if "slow_start" in words:
            self.wait(os.path.join(gates, "start"))
        self.tell("run.started", {"pid": os.getpid(), "threads": 1, "seed": self.spec["seed"], "precision": "fp32", "teacher_precision": "fp32",
                                  "version": "fake"})
        if self.resume_from:
            self.restore()
        self.tell("run.phase", {"phase": "training"})
        words = [of_this_run(word, nth) for word in words]  # as many in every run: a saved state has the place in it
        if "epoch" not in words and not {"crash", "hang", "kill", "freeze"} & set(words) and not any(w.startswith(("fail=", "exit=")) for w in words if w):
            words += ["epoch"] * self.spec["epochs"]
        for self.at in range(self.at, len(words)):
            word = words[self.at]
            if self.cancel.is_set() and not self.stubborn:
                raise Stop
            verb, _, value = (word or "").partition("=")
            if verb == "epoch":
                self.do_epoch()
                if not self.forgetful:
                    self.save(self.at + 1)
            elif verb == "gate":
                self.wait(os.path.join(gates, value))
            elif verb == "log":
                self.tell("log", message=value.replace("_", " "))
            elif verb == "words":
                for i in range(int(value)):
                    print("line %d of the worker's log \u00fc" % i, file=sys.stderr)
                sys.stderr.flush()
            elif verb == "fail":
                self.tell("run.failed", {"reason": value, "errors": [{"pointer": "/dataset_id", "detail": "row 3 has no text"}]}, "error",
                          "the job cannot go on: row 3 has no text")
                return 1
            elif verb == "crash":
                signal.signal(signal.SIGSEGV, signal.SIG_DFL)
                os.kill(os.getpid(), signal.SIGSEGV)
            elif verb == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            elif verb == "freeze":
                os.kill(os.getpid(), signal.SIGSTOP)
            elif verb == "exit":
                return int(value)
            elif verb == "hang":
                self.wait(None)
            elif verb in ("stubborn", "deaf", "nan", "forgetful"):
                setattr(self, verb, True)
            elif verb == "nonsense":
                self.nonsense(value)
        self.tell("run.succeeded", {"best_checkpoint_id": self.best[1], "seconds": 0.1, "best_epoch": 1, "best_accuracy": self.best[0]})
        return 0

    def run(self):
        try:
            return self.play()
        except Stop:
            if self.why != "run.cancelled" and not self.forgetful:
                self.save(self.at)
            self.tell(self.why, {} if self.why == "run.cancelled" else {"step": self.step, "epoch": self.epoch})
            return {"run.cancelled": 3, "run.paused": 4, "run.stopped": 5}[self.why]


def validate(args):
    with open(args["spec"], encoding="utf-8") as file:
        spec = json.load(file)
    if "crash" in (spec.get("name") or ""):
        os.kill(os.getpid(), signal.SIGSEGV)
    errors = []
    if "bad" in spec["student_id"]:
        errors.append({"pointer": "/student_id", "detail": "the student has no config.json"})
    print(json.dumps({"valid": not errors, "errors": errors, "warnings": [], "resolved": None if errors else spec,
                      "facts": {"train_rows": 10, "validation_rows": 5, "labels": ["a", "b"], "teacher": None,
                                "student": {"family": "bert", "parameters": 7, "labels": 2, "tokenizer": "WordPiece"}, "tokenizers": "same",
                                "truncated_rows": 0, "steps": 3, "memory_bytes_estimate": 1000}}))
    return 1 if errors else 0


def main():
    command, *rest = sys.argv[1:]
    args = {rest[i][2:]: rest[i + 1] for i in range(0, len(rest) - 1, 2)}
    status = validate(args) if command == "validate" else Run(args).run()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # threads may wait for gates that nobody opens


main()
