#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Proves that the suite finds what it is for: plants a bug in a copy of the tree, builds it, and wants the suite to fail. Each of

  journal_fsync      events that others rely on are told before they are on disk
  event_seq          the server takes an event again that it has: neither ingest nor the index of events looks at its number
  checkpoint_rename  a checkpoint is written under its own name instead of appearing whole
  resume_rng         what is random after a resume is not what it would have been

A change that is not found exactly once in the tree is an error: then the plant must be brought up to date."""
import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

from parts import ROOT

# name: changes (file, from, to), and how the suite is run
PLANTS = {
    "journal_fsync": ([("worker/train/journal.c", "if (durable && fsync(j->fd) < 0)", "if (durable && j->fd < 0)")], ["--only", "solo", "--faults", "150"]),
    "event_seq": ([("server/ingest.c", "	if (event->seq <= run->last_seq)\n		return 0;\n", ""),
                   ("migrations/0001_initial.sql", "CREATE UNIQUE INDEX events_of_run", "CREATE INDEX events_of_run")],
                  ["--only", "farm", "--faults", "100", "--queue", "0"]),
    "checkpoint_rename": ([("worker/train/checkpoints.c", 'c->pending_path = path_of(c, ".tmp-", c->pending, err);',
                            'c->pending_path = path_of(c, "", c->pending, err);')], ["--only", "solo", "--faults", "150"]),
    "resume_rng": ([("worker/train/trainer.c", "	t->state = *state;\n", "	t->state = *state;\n	t->o.plan.seed++;\n")], ["--only", "solo", "--faults", "50"]),
}


def build(tree, out):
    if not (out / "build.ninja").exists():
        subprocess.run(["meson", "setup", out, tree, "-Dweb=disabled"], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["ninja", "-C", out, "--quiet", "server/retortd", "worker/retort-worker", "tests/faults/librtfaults.so"], check=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("plants", nargs="*", choices=[[], *PLANTS], help="these alone")
    a = p.parse_args()
    scratch = pathlib.Path(tempfile.mkdtemp(prefix="rt-planted-"))
    tree, out, missed = scratch / "tree", scratch / "build", []
    files = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout
    for name in files.decode().split("\0"):
        if name and (ROOT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tree / name)
    for name in a.plants or PLANTS:
        changes, how = PLANTS[name]
        for path, old, new in changes:
            text = (tree / path).read_text()
            if text.count(old) != 1:
                sys.exit(f"{name}: '{old.strip()}' is {text.count(old)} times in {path}")
            (tree / path).write_text(text.replace(old, new))
        print(f"== {name}: building", flush=True)
        build(tree, out)
        for path, _, _ in changes:
            (tree / path).write_text((ROOT / path).read_text())
        done = subprocess.run([sys.executable, pathlib.Path(__file__).with_name("faults.py"), "--build", out, "--seed", str(a.seed), *how],
                              stdout=subprocess.PIPE, text=True, check=False, env=dict(os.environ, FAULTS_SANITIZED="none"))
        found = [line for line in done.stdout.splitlines() if line.startswith("VIOLATION")]
        print(f"== {name}: " + (f"found: {found[0][:600]}" if done.returncode == 1 and found else "MISSED\n" + done.stdout[-1500:]), flush=True)
        if done.returncode != 1 or not found:
            missed.append(name)
    shutil.rmtree(scratch)
    print(f"{len(a.plants or PLANTS) - len(missed)} of {len(a.plants or PLANTS)} planted bugs are found")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
