# SPDX-License-Identifier: Apache-2.0
"""How a worker gets on with others: two jobs at once against one after the other, and a training step beside a process that keeps a core busy.

    neighbours.py BUILD MODELS THREADS REPEATS     prints JSON; bench/run's part of the same name calls it"""
import http.client
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import place
import server as server_bench
from place import CLINC, SHARED

# how threads wait: the environment of a run
WAYS = {"asleep (as started)": {}, "spinning 1,000 times first": {"GOMP_SPINCOUNT": "1000"}, "spinning 10,000 times first": {"GOMP_SPINCOUNT": "10000"},
        "spinning (OMP_WAIT_POLICY=ACTIVE)": {"OMP_WAIT_POLICY": "ACTIVE"}}


def jobs_seconds(build, slots):
    """Seconds from posting two jobs to the end of the second."""
    with tempfile.TemporaryDirectory(prefix="retort-bench-") as root:
        server = server_bench.Server(build, f"{root}/data", root, build / "worker" / "retort-worker", slots, [SHARED])
        try:
            conn, ids, began = http.client.HTTPConnection(server.address, timeout=60), [], time.perf_counter()
            for seed in (1, 2):
                spec = {"student_id": str(SHARED / CLINC["student_id"]), "dataset_id": str(SHARED / CLINC["dataset_id"]), "alpha": 1, "epochs": 1,
                        "seed": seed, "precision": "bf16"}
                ids.append(server_bench.ask(conn, "POST", "/v1/jobs", json.dumps(spec))["id"])
            while True:
                states = [server_bench.ask(conn, "GET", f"/v1/jobs/{i}")["status"] for i in ids]
                if all(s == "succeeded" for s in states):
                    return time.perf_counter() - began
                if set(states) - {"queued", "running", "succeeded"}:
                    raise RuntimeError(f"a job ended as {states}")
                time.sleep(0.05)
        finally:
            server.stop()

def step_seconds(build, models, threads, way, busy):
    other = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if busy else None
    try:
        out = subprocess.run([build / "bench" / "bench_step", "train", "--model", models / "student-minilm", "--labels", "151", "--tokens", "11", "--precision",
                              "bf16", "--repeats", "12", "--threads", str(threads)], stdout=subprocess.PIPE, check=True, env={**os.environ, **way})
    finally:
        if other:
            other.kill()
            other.wait()
    return statistics.median(s["seconds"] for s in json.loads(out.stdout)["steps"])


def run(build, models, threads, repeats):
    rounds = []
    for _ in range(repeats):
        rounds.append({"after": jobs_seconds(build, 1), "at_once": jobs_seconds(build, 2)})
    steps = {name: {"alone": step_seconds(build, models, threads, way, False), "busy": step_seconds(build, models, threads, way, True)}
             for name, way in WAYS.items()}
    return {"jobs": rounds, "ratio": place.spread([r["at_once"] / r["after"] for r in rounds]), "steps": steps}


def measure(args):
    models, lacks = place.models(args)
    if lacks or (lacks := place.missing(peer=False)):
        return {"skipped": lacks}
    return json.loads(place.timed([sys.executable, __file__, args.build, models, args.threads, args.repeats])["stdout"])


def table(r):
    if "skipped" in r:
        yield f"Neighbours: skipped ({r['skipped']})."
        return
    yield "| two jobs (small student, 1 epoch, bf16) through the server | |\n| --- | --- |"
    yield f"| one after the other (`--slots 1`) | {statistics.median(x['after'] for x in r['jobs']):.1f} s |"
    yield f"| at once (`--slots 2`: half the cores each) | {statistics.median(x['at_once'] for x in r['jobs']):.1f} s |"
    yield f"| ratio | **{r['ratio']['median']:.2f}** ({r['ratio']['min']:.2f} to {r['ratio']['max']:.2f}) |"
    yield "\n| threads that wait are | step alone | beside a busy process |\n| --- | --- | --- |"
    for name, s in r["steps"].items():
        yield f"| {name} | {s['alone'] * 1000:.0f} ms | {s['busy'] * 1000:.0f} ms ({s['busy'] / s['alone']:.1f} times) |"


if __name__ == "__main__":
    print(json.dumps(run(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))))
