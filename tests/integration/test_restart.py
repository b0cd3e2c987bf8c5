# SPDX-License-Identifier: Apache-2.0
"""The server goes and comes back: what was said to be kept is kept."""
import os
import signal
import subprocess
import threading
import time

import pytest

from harness import RETORTD, Server


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_everything_is_there_again(start, how):
    server = start()
    client = server.client
    done = client.finish(client.submit(server.spec("epoch epoch", tags=["x"]))["id"])
    failed = client.finish(client.submit(server.spec("fail=out_of_memory"))["id"])
    paths = [f"/v1/jobs/{j['id']}{tail}" for j in (done, failed) for tail in ("", "/events?limit=1000", "/epochs", "/logs", "/checkpoints")] + ["/v1/jobs", "/v1/jobs?tag=x"]
    before = [client.get(p).body for p in paths]
    weights = client.get(client.get(f"/v1/jobs/{done['id']}/checkpoints/best", 307).headers["location"] + "/files/model.safetensors").body
    getattr(server, how)()
    client = server.start()
    assert [client.get(p).body for p in paths] == before
    assert client.get(client.get(f"/v1/jobs/{done['id']}/checkpoints/best", 307).headers["location"] + "/files/model.safetensors").body == weights
    again = client.finish(client.submit(server.spec("epoch"))["id"])
    assert again["id"] > done["id"]
    last = client.get(f"/v1/jobs/{failed['id']}/events?limit=1000").json["data"][-1]["seq"]
    assert client.get(f"/v1/jobs/{again['id']}/events").json["data"][0]["seq"] > last


def test_idempotency_keys_outlive_the_server(start):
    server = start()
    first = server.client.post("/v1/jobs", server.spec("epoch"), 201, {"Idempotency-Key": '"k"'})
    server.kill()
    client = server.start()
    again = client.post("/v1/jobs", server.spec("epoch"), 201, {"Idempotency-Key": '"k"'})
    assert again.body == first.body and again.headers["idempotent-replayed"] == "true"
    assert len(client.get("/v1/jobs").json["data"]) == 1


def test_kill_while_jobs_are_accepted(start):
    """What got a 201 is there after SIGKILL."""
    server = start(slots=1)
    accepted = []

    def post():
        try:
            while True:
                accepted.append(server.client.submit(server.spec("hang"))["id"])
        except (OSError, EOFError, Exception):  # noqa: B014: the server is gone
            pass

    threads = [threading.Thread(target=post) for _ in range(6)]
    for t in threads:
        t.start()
    while len(accepted) < 60:
        time.sleep(0.001)
    server.kill()
    for t in threads:
        t.join()
    client = server.start()
    for job_id in accepted:
        assert client.job(job_id)["status"] in ("queued", "running", "failed")
    for job_id in accepted:  # an end for the one that runs
        client.request("DELETE", "/v1/jobs/" + job_id)


def test_queued_jobs_run_after_a_restart(start):
    server = start(slots=1)
    client = server.client
    blocker = client.submit(server.spec("hang"))
    client.wait(blocker["id"], "run.started")
    queued = client.submit(server.spec("epoch"))
    server.stop()
    client = server.start()
    client.request("POST", f"/v1/jobs/{blocker['id']}/cancel")
    assert client.finish(queued["id"])["status"] == "succeeded"
    assert client.job(blocker["id"])["status"] in ("cancelled", "queued")


def test_a_stopped_server_leaves_no_worker_behind(start):
    server = start()
    pids = []
    for _ in range(2):
        job = server.client.submit(server.spec("epoch hang"))
        pids.append(server.client.wait(job["id"], "run.started")["data"]["pid"])
    server.stop()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_run_of_a_killed_server_is_not_run_twice(start):
    """Its worker may live on or be ended, but never are there two, and the job comes to an end."""
    server = start(slots=1)
    client = server.client
    gate = server.gate("orphan")
    job = client.submit(server.spec("epoch gate=orphan epoch"))
    client.wait(job["id"], "checkpoint.written")
    pid = client.wait(job["id"], "run.started")["data"]["pid"]
    server.kill()
    client = server.start()
    opener = threading.Thread(target=gate.open)
    opener.start()
    done = client.finish(job["id"])
    assert done["status"] in ("succeeded", "failed")
    if done["status"] == "failed":
        assert done["error"]["reason"] == "worker_lost"
    events = client.get(f"/v1/jobs/{job['id']}/events?limit=1000").json["data"]
    last = max(e["attempt"] for e in events)
    assert [e["data"]["epoch"] for e in events if e["type"] == "epoch.completed" and e["attempt"] == last] in ([1, 2], [1], [])
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    opener.join(1)


def test_streams_end_when_the_server_stops(start):
    server = start()
    job = server.client.submit(server.spec("hang"))
    server.client.wait(job["id"], "run.started")
    with server.client.stream(f"/v1/jobs/{job['id']}/events") as one, server.client.stream("/v1/events") as all_jobs:
        next(one)
        server.stop()
        try:
            for stream in (one, all_jobs):
                for _ in stream:
                    pass
        except (OSError, AssertionError):
            pass  # cut within a frame is fine too


def test_two_servers_on_one_folder(start):
    server = start()
    second = subprocess.run(server.command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=30)
    assert second.returncode != 0 and second.stdout == b""
    assert b"another" in second.stderr or b"in use" in second.stderr or b"already" in second.stderr, second.stderr
    server.client.get("/readyz")


@pytest.mark.parametrize("args, word", [
    ([], b"--data"), (["--data"], b"--data"), (["--data", "/proc/nope"], b"/proc/nope"), (["--data", "D", "--listen", "0.0.0.0:0"], b"127.0.0.1"),
    (["--data", "D", "--listen", "nonsense"], b"ADDR:PORT"), (["--data", "D", "--listen", "127.0.0.1:99999"], b"ADDR:PORT"), (["--data", "D", "--slots", "0"], b"slots"),
    (["--data", "D", "--slots", "many"], b"slots"), (["--data", "D", "--models-root", "/no/such"], b"/no/such"), (["--data", "D", "--bogus"], b"--bogus"),
    (["--data", "D", "extra"], b"extra"), (["--data", "D", "--worker", "/no/such/worker"], b"/no/such/worker"),
])
def test_bad_options(tmp_path, args, word):
    args = [a.replace("D", str(tmp_path / "data")) if a == "D" else a for a in args]
    done = subprocess.run([RETORTD, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=30)
    assert done.returncode in (1, 2) and done.stdout == b"" and word in done.stderr, done


def test_port_in_use(start, tmp_path):
    server = start()
    done = subprocess.run([RETORTD, "--data", tmp_path / "other", "--listen", f"127.0.0.1:{server.client.port}"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=30)
    assert done.returncode == 1 and b"in use" in done.stderr


def test_start_is_quick_and_idle_is_small(start):
    server = start()
    server.stop()
    begin = time.monotonic()
    server.start()
    seconds = time.monotonic() - begin
    server.client.get("/healthz")
    assert seconds < 0.1 * float(os.environ.get("TEST_FACTOR", "1")) * 2  # the promise is 0.1 s; a loaded machine gets twice that
    assert server.memory_bytes() < 30e6 * (10 if os.environ.get("TEST_FACTOR", "1") != "1" else 1)


def test_database_of_a_newer_version_is_refused(start, tmp_path):
    import sqlite3

    server = start()
    server.stop()
    db = sqlite3.connect(server.data / "retort.db")
    db.execute("PRAGMA user_version = 999")
    db.commit()
    db.close()
    done = subprocess.run(server.command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=30)
    assert done.returncode == 1 and b"newer" in done.stderr


def test_a_data_folder_is_private(start):
    server = start()
    assert server.data.stat().st_mode & 0o077 == 0 or (server.data / "retort.db").stat().st_mode & 0o077 == 0
    assert isinstance(server, Server)
