# SPDX-License-Identifier: Apache-2.0
"""What retortd itself costs: time to start, memory when idle, answers with a thousand finished jobs in the store."""
import http.client
import json
import os
import pathlib
import select
import signal
import statistics
import subprocess
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
JOBS, EPOCHS, ASKS = 1000, 10, 500


class Server:
    def __init__(self, build, data, root, worker, slots, more_roots=()):
        began = time.perf_counter()
        self.process = subprocess.Popen(
            [build / "server" / "retortd", "--data", data, "--listen", "127.0.0.1:0", "--models-root", root, "--worker", worker,
             "--slots", str(slots)] + [word for r in more_roots for word in ("--models-root", r)], stdout=subprocess.PIPE, stderr=open(os.path.join(root, "server.log"), "ab"), text=True)
        if not select.select([self.process.stdout], [], [], 30)[0]:
            raise RuntimeError("retortd did not say where it listens")
        line = self.process.stdout.readline()
        self.start_ms = (time.perf_counter() - began) * 1000
        self.address = line.strip().rpartition("http://")[2]

    def rss_mb(self):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as f:
            return next(int(line.split()[1]) for line in f if line.startswith("VmRSS")) / 1024

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        if self.process.wait(30) != 0:
            raise RuntimeError("retortd did not end cleanly")


def ask(conn, method, target, body=None):
    conn.request(method, target, body, {"Content-Type": "application/json"} if body else {})
    response = conn.getresponse()
    content = response.read()
    if response.status >= 300:
        raise RuntimeError(f"{method} {target}: {response.status} {content[:500]!r}")
    return json.loads(content)


def times_ms(conn, target):
    out = []
    for _ in range(ASKS):
        began = time.perf_counter()
        ask(conn, "GET", target)
        out.append((time.perf_counter() - began) * 1000)
    return {"median_ms": round(statistics.median(out), 3), "p99_ms": round(sorted(out)[ASKS * 99 // 100], 3)}


def fill(server, root, jobs):
    """Posts the jobs and waits until all of them are finished; seconds."""
    began = time.perf_counter()
    conn = http.client.HTTPConnection(server.address, timeout=60)
    post_ms = []
    for i in range(jobs):
        spec = {"name": f"job {i}", "student_id": f"{root}/student", "dataset_id": f"{root}/data.jsonl", "alpha": 1, "epochs": EPOCHS,
                "tags": ["bench", f"group-{i % 10}"]}
        t = time.perf_counter()
        job = ask(conn, "POST", "/v1/jobs", json.dumps(spec))
        post_ms.append((time.perf_counter() - t) * 1000)
    while True:
        left = [ask(conn, "GET", f"/v1/jobs?status={s}&limit=1")["data"] for s in ("queued", "running")]
        if not any(left):
            break
        time.sleep(0.2)
    bad = ask(conn, "GET", "/v1/jobs?status=failed&limit=1")["data"]
    if bad:
        raise RuntimeError(f"a job failed: {bad[0]['error']}")
    return time.perf_counter() - began, statistics.median(post_ms), job["id"]


def measure(build, jobs=JOBS):
    with tempfile.TemporaryDirectory(prefix="retort-bench-") as root:
        os.makedirs(f"{root}/student")
        for name, text in (("student/config.json", '{"model_type": "bert"}'), ("data.jsonl", '{"text": "a", "label": "b"}\n')):
            with open(f"{root}/{name}", "w", encoding="utf-8") as f:
                f.write(text)
        worker = HERE / "instant_worker.py"
        starts = []
        for i in range(10):
            server = Server(build, f"{root}/empty{i}", root, worker, 1)
            starts.append(server.start_ms)
            if i == 9:
                time.sleep(1)
                idle_mb = server.rss_mb()
            server.stop()
        server = Server(build, f"{root}/data", root, worker, 4)
        try:
            seconds, post_ms, job = fill(server, root, jobs)
        finally:
            server.stop()
        server = Server(build, f"{root}/data", root, worker, 4)  # with a full store, nothing in any cache of its own
        try:
            full_start_ms = server.start_ms
            time.sleep(1)
            full_mb = server.rss_mb()
            conn = http.client.HTTPConnection(server.address, timeout=60)
            answers = {name: times_ms(conn, target) for name, target in (
                ("GET /v1/jobs", "/v1/jobs"), ("GET /v1/jobs?limit=100", "/v1/jobs?limit=100"),
                ("GET /v1/jobs?status=…&tag=…", "/v1/jobs?status=succeeded&tag=group-3"), ("GET /v1/jobs/{id}", f"/v1/jobs/{job}"),
                ("GET /v1/jobs/{id}/epochs", f"/v1/jobs/{job}/epochs"))}
        finally:
            server.stop()
    return {"start_ms": {"median": round(statistics.median(starts), 1), "max": round(max(starts), 1), "with_jobs": round(full_start_ms, 1)},
            "idle_rss_mb": {"empty": round(idle_mb, 1), "with_jobs": round(full_mb, 1)}, "jobs": jobs, "epochs_each": EPOCHS,
            "post_median_ms": round(post_ms, 3), "jobs_per_s": round(jobs / seconds, 1), "answers": answers}


def table(r):
    yield f"| retortd, {r['jobs']} finished jobs of {r['epochs_each']} epochs | |"
    yield "| --- | --- |"
    yield f"| start, empty store | {r['start_ms']['median']} ms (max of 10: {r['start_ms']['max']}) |"
    yield f"| start, full store | {r['start_ms']['with_jobs']} ms |"
    yield f"| memory when idle, empty / full store | {r['idle_rss_mb']['empty']} / {r['idle_rss_mb']['with_jobs']} MB |"
    yield f"| POST /v1/jobs (durable), median while jobs run | {r['post_median_ms']} ms |"
    yield f"| whole jobs (a Python worker that trains nothing, 4 slots) | {r['jobs_per_s']} per second |"
    for name, t in r["answers"].items():
        yield f"| {name} | median {t['median_ms']} ms, 99 % {t['p99_ms']} ms |"
