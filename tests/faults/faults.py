#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Does everything to jobs that can happen to them and proves that nothing was lost. README.md says what and how.

  faults.py --build build --faults 500 --seed 1

Real processes, signals and files. Prints each violation with the seed that shows it again; exit status 1 then, 77 when it cannot run here."""
import argparse
import collections
import os
import pathlib
import random
import shutil
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import farm
import solo
from parts import ROOT, Parts, Violation

ROUND = 120  # faults to one server; each round can be shown again alone
SOLO_SHARE = 0.4


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--build", type=pathlib.Path, default=ROOT / "build", help="the build folder")
    p.add_argument("--faults", type=int, default=500, help="how many (500)")
    p.add_argument("--seed", type=int, default=None, help="of all that is drawn; without it one is drawn and printed")
    p.add_argument("--only", choices=["solo", "farm"], help="a worker alone, or a server with its workers")
    p.add_argument("--queue", type=int, default=200, help="jobs that wait meanwhile, in each round (200)")
    p.add_argument("--dir", type=pathlib.Path, help="where to work; needs a file system with room for a gigabyte (a temporary folder)")
    return p.parse_args()


def log(text):
    print(text, flush=True)


class Tally:
    def __init__(self):
        self.lock = threading.Lock()
        self.kinds, self.jobs, self.violations = collections.Counter(), 0, []

    def add(self, kinds, jobs):
        with self.lock:
            self.kinds.update(kinds)
            self.jobs += jobs

    def fail(self, violation):
        with self.lock:
            self.violations.append(str(violation))
        log(f"VIOLATION: {violation}")

    def total(self):
        with self.lock:
            return sum(self.kinds.values())


def run_solo(parts, folder, seed, faults, tally):
    """Workers alone, two at a time, until there were that many faults."""
    numbers = iter(range(10**9))
    lock, until = threading.Lock(), tally.total() + faults

    def work():
        while tally.total() < until and not tally.violations:
            with lock:
                number = seed * 100_000 + next(numbers)
            try:
                tally.add({"a worker alone": solo.run(parts, folder / f"solo-{number}", number, 8)}, 1)
            except Violation as e:
                tally.fail(e)

    with ThreadPoolExecutor(2) as pool:
        for future in [pool.submit(work) for _ in range(2)]:
            future.result()


def run_farm(parts, folder, seed, faults, queue, tally):
    number = 0
    while faults > 0 and not tally.violations:
        n = min(faults, ROUND)
        where = folder / f"farm-{number}"
        try:
            kinds, jobs = farm.run(parts, where, seed + number, n, max(4, n // 10), queue, log)
            tally.add(kinds, jobs)
            log(f"round {number + 1}, seed {seed + number}: {sum(kinds.values())} faults over {jobs} jobs")
        except Violation as e:
            tally.fail(f"{e}; again: --only farm --seed {seed + number} --faults {n} --queue {queue}")
        shutil.rmtree(where, ignore_errors=True)
        faults -= n
        number += 1


def main():
    a = arguments()
    seed = a.seed if a.seed is not None else random.randrange(1, 10_000)
    if os.environ.get("FAULTS_SANITIZED", "none") != "none":
        log("skipped: a library cannot be put before a sanitizer's")
        return 77
    folder = pathlib.Path(tempfile.mkdtemp(prefix="rt-faults-run-", dir=a.dir))
    tally, began = Tally(), time.monotonic()
    log(f"faults: {a.faults}, seed {seed}")
    try:
        parts = Parts(folder, a.build.resolve())
        share = {"solo": 1, "farm": 0, None: SOLO_SHARE}[a.only]
        if share > 0:
            run_solo(parts, folder, seed, round(a.faults * share), tally)
        if share < 1:
            run_farm(parts, folder, seed, a.faults - round(a.faults * share), a.queue, tally)
    except Violation as e:
        tally.fail(e)
    for kind, n in sorted(tally.kinds.items(), key=lambda k: -k[1]):
        log(f"{n:6} {kind}")
    log(f"{tally.total()} faults over {tally.jobs} jobs in {time.monotonic() - began:.0f} s, seed {seed}: {len(tally.violations)} violations")
    if not tally.violations:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        log(f"kept: {folder}")
    return 1 if tally.violations else 0


if __name__ == "__main__":
    sys.exit(main())
