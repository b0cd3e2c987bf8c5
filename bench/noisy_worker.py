#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A worker that only talks: ten train.progress events a second, for as long as it lives. bench/web starts fifty of them."""
import http.client
import json
import os
import signal
import sys
import time
import urllib.parse


def now():
    t = time.time()
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(t)) + ".%03dZ" % (t % 1 * 1000)


def main():
    rest = sys.argv[2:]
    args = {rest[i][2:]: rest[i + 1] for i in range(0, len(rest) - 1, 2)}
    url = urllib.parse.urlsplit(args["report"])
    token = os.fdopen(int(args["token-fd"])).readline().strip()
    conn = http.client.HTTPConnection(url.hostname, url.port)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    seq, step, total = 0, 0, 20000
    journal = open(os.path.join(args["dir"], "events.ndjson"), "ab", buffering=0)

    def tell(*events):
        nonlocal seq
        lines = []
        for kind, data in events:
            seq += 1
            lines.append(json.dumps({"seq": seq, "type": kind, "at": now(), "level": "info", "message": "", "data": data}))
        body = ("\n".join(lines) + "\n").encode()
        journal.write(body)
        conn.request("POST", url.path, body, {"Authorization": "Bearer " + token, "Content-Type": "application/x-ndjson"})
        conn.getresponse().read()

    tell(("run.started", {"pid": os.getpid(), "threads": 1, "seed": 1, "precision": "fp32", "teacher_precision": "fp32"}), ("run.phase", {"phase": "training"}))
    due = time.monotonic()
    while True:
        step += 1
        tell(("train.progress", {"step": step, "total_steps": total, "epoch": 1 + step // 1000, "loss": 3.0 / (1 + step / 500), "learning_rate": 1e-4 * (1 - step / total),
                                 "samples_per_s": 812.5, "eta_s": (total - step) / 10}))
        due = max(due + 0.1, time.monotonic() - 1)
        time.sleep(max(0.0, due - time.monotonic()))


main()
