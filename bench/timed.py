# SPDX-License-Identifier: Apache-2.0
"""timed.py OUT COMMAND...: runs it and writes {"wall_s", "peak_bytes", "cpu_s", "others"} to OUT; its exit status is the command's.

others: the share of the machine's CPU time that went to other processes meanwhile, 0 to 1: on a quiet machine a hundredth."""
import json
import os
import sys
import time


def busy_s():
    with open("/proc/stat", encoding="ascii") as f:
        user, nice, system, _, _, irq, softirq, steal = map(int, f.readline().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


before, start = busy_s(), time.perf_counter()
pid = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ)
_, status, usage = os.wait4(pid, 0)
wall, cpu = time.perf_counter() - start, usage.ru_utime + usage.ru_stime
with open(sys.argv[1], "w", encoding="ascii") as f:
    json.dump({"wall_s": wall, "peak_bytes": usage.ru_maxrss * 1024, "cpu_s": cpu,
               "others": max(0.0, busy_s() - before - cpu) / wall / os.cpu_count()}, f)
sys.exit(os.waitstatus_to_exitcode(status))
