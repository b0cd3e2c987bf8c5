# SPDX-License-Identifier: Apache-2.0
"""Jobs that are paused, resumed, retried, edited and started again, played by the fake worker."""
import os
import select
import signal
import subprocess
import time

import pytest

from harness import TIMEOUT_S, Server
from test_jobs import statuses, types, wait_until_gone


def events_of(client, job):
    return client.get(f"/v1/jobs/{job['id']}/events?limit=1000").json["data"]


def epochs_of(client, job, query=""):
    return [(e["epoch"], e["attempt"], e["superseded"]) for e in client.get(f"/v1/jobs/{job['id']}/epochs{query}").json["data"]]


def do(client, job, action, status=200):
    return client.post(f"/v1/jobs/{job['id']}/{action}", status=status).json


def patch(client, job, change, status=200, **headers):
    answer = client.request("PATCH", "/v1/jobs/" + job["id"], change, headers)
    assert answer.status == status, answer.text
    return answer


def best_file(client, job):
    where = client.get(f"/v1/jobs/{job['id']}/checkpoints/best", 307).headers["location"]
    return client.get(where + "/files/model.safetensors").body


# ---- pause and resume ----

def test_a_paused_job_goes_on_as_if_nothing_had_been(client, server):
    gate = server.gate("pause")
    job = client.submit(server.spec("epoch gate=pause epoch"))
    client.wait(job["id"], "checkpoint.written")
    assert client.job(job["id"])["actions"] == ["pause", "cancel", "delete"]
    assert do(client, job, "pause", 202)["status"] == "pausing"
    assert do(client, job, "pause", 202)["status"] == "pausing"  # again is fine
    client.wait(job["id"], "job.paused")
    paused = client.job(job["id"])
    assert paused["status"] == "paused" and paused["finished_at"] is None and paused["waiting"] is None and paused["error"] is None
    assert paused["actions"] == ["resume", "cancel", "delete"]
    assert len(best_file(client, job)) == 100_001
    assert do(client, job, "resume")["status"] in ("queued", "running")
    gate.open()
    done = client.finish(job["id"])
    assert statuses(done) == ["queued", "running", "pausing", "paused", "queued", "running", "succeeded"]
    assert done["attempt"] == 2 and done["restarts"] == 0 and done["progress"]["best"]["epoch"] == 2
    assert epochs_of(client, job) == epochs_of(client, job, "?superseded=true") == [(1, 1, False), (2, 2, False)]
    resumed = next(e for e in events_of(client, job) if e["type"] == "run.resumed")
    assert resumed["attempt"] == 2 and resumed["data"]["from_epoch"] == 1 and resumed["data"]["from_step"] == 2
    checkpoints = client.get(f"/v1/jobs/{job['id']}/checkpoints").json["data"]
    assert [c["attempt"] for c in checkpoints] == [1, 2] and len({c["run_id"] for c in checkpoints}) == 1
    for c in checkpoints:  # what the first attempt wrote is served from where the second keeps it
        client.get(c["links"]["archive"])


def test_only_the_last_run_keeps_checkpoints_and_no_state_is_left(client, server):
    job = client.submit(server.spec("epoch 1:crash epoch once"))
    done = client.finish(job["id"])
    assert done["status"] == "succeeded" and done["attempt"] == 2
    runs = {e["run_id"] for e in events_of(client, job) if e["run_id"]}
    last = client.get(f"/v1/jobs/{job['id']}/checkpoints").json["data"][-1]["run_id"]
    assert len(runs) == 2
    for run in runs:
        folder = server.data / "runs" / run
        assert (folder / "events.ndjson").exists()
        wait_until_gone(folder / "resume")
        if run == last:
            assert (folder / "checkpoints").exists()
        else:
            wait_until_gone(folder / "checkpoints")


def test_a_queued_job_is_paused_at_once(start):
    server = start(slots=1)
    client = server.client
    gate = server.gate("first")
    first = client.submit(server.spec("gate=first epoch"))
    client.wait(first["id"], "run.started")
    job = client.submit(server.spec("epoch"))
    assert do(client, job, "pause")["status"] == "paused"
    other = client.submit(server.spec("epoch"))
    gate.open()
    assert client.finish(other["id"])["status"] == "succeeded"
    assert client.job(job["id"])["status"] == "paused" and client.job(job["id"])["attempt"] == 0
    do(client, job, "resume")
    done = client.finish(job["id"])
    assert statuses(done) == ["queued", "paused", "queued", "running", "succeeded"] and done["attempt"] == 1


def test_a_worker_that_does_not_stop_is_killed_and_the_job_paused(start):
    server = start(args=("--stop-grace", 1))
    client = server.client
    job = client.submit(server.spec("1:stubborn epoch 1:hang epoch"))
    client.wait(job["id"], "checkpoint.written")
    do(client, job, "pause", 202)
    client.wait(job["id"], "job.paused")
    assert "killed" in client.job(job["id"])["status_history"][-1]["message"]
    do(client, job, "resume")
    assert client.finish(job["id"])["status"] == "succeeded"
    assert epochs_of(client, job) == [(1, 1, False), (2, 2, False)]


def test_cancel_outweighs_pause(client, server):
    job = client.submit(server.spec("epoch hang"))
    client.wait(job["id"], "checkpoint.written")
    do(client, job, "pause", 202)
    answer = client.request("POST", f"/v1/jobs/{job['id']}/cancel")
    assert answer.status in (200, 202)
    assert client.finish(job["id"])["status"] == "cancelled"


# ---- moves that are not possible ----

def test_what_is_not_an_action_is_refused_and_named(start):
    server = start(slots=3)
    client = server.client
    jobs = {"running": client.submit(server.spec("hang")), "succeeded": client.finish(client.submit(server.spec("epoch"))["id"]),
            "failed": client.finish(client.submit(server.spec("fail=bad_input"))["id"])}
    paused = client.submit(server.spec("hang"))
    client.wait(paused["id"], "run.started")
    do(client, paused, "pause", 202)
    client.wait(paused["id"], "job.paused")
    jobs["paused"] = paused
    cancelled = client.submit(server.spec("hang"))
    client.wait(cancelled["id"], "run.started")
    do(client, cancelled, "cancel", 202)
    jobs["cancelled"] = client.finish(cancelled["id"])
    client.wait(jobs["running"]["id"], "run.started")
    expected = {"running": {"pause", "cancel"}, "paused": {"resume", "cancel"}, "succeeded": set(), "failed": {"retry"}, "cancelled": {"retry"}}
    for status, job in jobs.items():
        now = client.job(job["id"])
        assert now["status"] == status and set(now["actions"]) == expected[status] | {"delete"}
        for action in {"pause", "resume", "cancel", "retry"} - expected[status] - ({"pause"} if status == "paused" else set()):
            problem = do(client, job, action, 409)
            assert status in problem["detail"] and all(a in problem["detail"] for a in now["actions"]), (status, action, problem["detail"])
            assert client.job(job["id"]) == now
    for action in ("pause", "resume", "cancel", "retry"):
        client.post(f"/v1/jobs/job_01ARZ3NDEKTSV4RRFFQ69G5FAV/{action}", status=404)


# ---- retry ----

def test_a_failed_job_is_retried_from_what_it_had(client, server):
    job = client.submit(server.spec("epoch 1:fail=bad_input epoch retry"))
    failed = client.finish(job["id"])
    assert failed["status"] == "failed" and failed["error"] and failed["actions"] == ["retry", "delete"]
    again = do(client, job, "retry")
    assert again["status"] in ("queued", "running") and again["error"] is None and again["finished_at"] is None
    done = client.finish(job["id"])
    assert statuses(done) == ["queued", "running", "failed", "queued", "running", "succeeded"]
    assert epochs_of(client, job) == [(1, 1, False), (2, 2, False)]
    # a stream from the beginning tells both lives and ends once
    assert types(client.follow(job["id"])).count("job.failed") == 1 and types(client.follow(job["id"]))[-1] == "job.succeeded"


def test_a_cancelled_job_is_retried(client, server):
    job = client.submit(server.spec("epoch 1:hang epoch"))
    client.wait(job["id"], "checkpoint.written")
    do(client, job, "cancel", 202)
    assert client.finish(job["id"])["status"] == "cancelled"
    do(client, job, "retry")
    done = client.finish(job["id"])
    assert done["status"] == "succeeded" and epochs_of(client, job) == [(1, 1, False), (2, 2, False)]


# ---- changes ----

def test_what_may_be_changed_shows_in_the_job(client, server):
    done = client.finish(client.submit(server.spec("epoch", tags=["a"]))["id"])
    answer = patch(client, done, {"name": "caf\u00e9", "notes": "two\nlines", "tags": ["b", "c"]})
    job = answer.json
    assert job["name"] == job["spec"]["name"] == "caf\u00e9" and job["notes"] == "two\nlines" and job["spec"]["tags"] == ["b", "c"]
    assert job["original_spec"] == done["original_spec"] and job["revision"] == done["revision"] + 1
    assert answer.headers["etag"] == f'"{job["revision"]}"'
    assert [j["id"] for j in client.get("/v1/jobs?tag=b&tag=c").json["data"]] == [job["id"]]
    assert events_of(client, job)[-1]["type"] == "job.updated" and events_of(client, job)[-1]["data"]["changed"] == ["name", "notes", "tags"]
    assert patch(client, job, {"notes": "two\nlines"}).json == job  # nothing changed: nothing happened
    assert patch(client, job, {"notes": None, "name": None}).json["notes"] is None


def test_if_match_keeps_others_changes(client, server):
    job = client.finish(client.submit(server.spec("epoch"))["id"])
    etag = client.get("/v1/jobs/" + job["id"]).headers["etag"]
    patch(client, job, {"notes": "mine"}, **{"If-Match": etag})
    problem = patch(client, job, {"notes": "yours"}, 412, **{"If-Match": etag}).json
    assert problem["code"] == "precondition_failed" and etag in problem["detail"]
    assert client.job(job["id"])["notes"] == "mine"
    patch(client, job, {"notes": "yours"}, **{"If-Match": "*"})


@pytest.mark.parametrize("change, pointer, words", [
    ({"prio": 3}, "/prio", "cannot be changed"), ({"alpha": 0.1}, "/alpha", "cannot be changed"), ({"status": "queued"}, "/status", "cannot"),
    ({"priority": 101}, "/priority", "between -100 and 100"), ({"priority": "high"}, "/priority", "integer"), ({"tags": "a"}, "/tags", "list"),
    ({"tags": ["a", ""]}, "/tags/1", "bytes"), ({"notes": 5}, "/notes", "string"), ({"notes": "a\u0007b"}, "/notes", "control"),
    ({"notes": "x" * 10001}, "/notes", "10000"), ({"resources": {"thread": 2}}, "/resources/thread", "threads"), ({"max_runtime_s": 0}, "/max_runtime_s", "between"),
    ([], "", "object"),
])
def test_changes_that_make_no_sense(client, server, change, pointer, words):
    job = client.finish(client.submit(server.spec("fail=bad_input"))["id"])
    problem = patch(client, job, change, 422).json
    assert problem["errors"][0]["pointer"] == pointer and words in problem["errors"][0]["detail"]
    assert client.job(job["id"]) == job


def test_changes_in_their_time(start):
    server = start(slots=1)
    client = server.client
    gate = server.gate("first")
    first = client.submit(server.spec("gate=first epoch"))
    client.wait(first["id"], "run.started")
    problem = patch(client, first, {"resources": {"threads": 1}}, 409).json
    assert "running" in problem["detail"] and "pause" in problem["detail"]
    patch(client, first, {"priority": 7})  # for when it is queued again
    a, b = client.submit(server.spec("epoch", resources={"threads": 3})), client.submit(server.spec("epoch"))
    changed = patch(client, a, {"resources": {"gpus": 0}, "max_restarts": 9}).json
    assert changed["spec"]["resources"] == {"threads": 3, "gpus": 0} and changed["spec"]["max_restarts"] == 9
    assert patch(client, b, {"priority": 5}).json["priority"] == 5
    gate.open()
    a, b = client.finish(a["id"]), client.finish(b["id"])
    assert client.wait(b["id"], "job.running")["seq"] < client.wait(a["id"], "job.running")["seq"]
    problem = patch(client, first, {"priority": 1}, 409).json
    assert "succeeded" in problem["detail"]


# ---- workers that go ----

@pytest.mark.parametrize("death, number", [("crash", signal.SIGSEGV), ("kill", signal.SIGKILL)])
def test_a_lost_worker_is_replaced(client, server, death, number):
    job = client.submit(server.spec(f"words=3 epoch 1:{death} epoch"))
    done = client.finish(job["id"])
    assert done["status"] == "succeeded" and done["attempt"] == 2 and done["restarts"] == 1
    lost = next(e for e in events_of(client, job) if e["type"] == "run.lost")
    assert lost["level"] == "error" and lost["data"]["signal"] == number and lost["data"]["exit_status"] is None
    assert lost["data"]["log"] == [f"line {i} of the worker's log \u00fc" for i in range(3)]
    assert statuses(done) == ["queued", "running", "queued", "running", "succeeded"]
    queued = [h for h in done["status_history"] if h["status"] == "queued"][1]
    assert "restart 1 of 3" in queued["message"] and str(int(number)) in queued["message"]
    again = [e for e in events_of(client, job) if e["type"] == "job.queued"][1]
    assert again["data"]["reason"] == "worker_lost" and again["data"]["from"] == "running"
    assert epochs_of(client, job, "?superseded=true") == [(1, 1, False), (2, 2, False)]


def test_restarts_have_an_end(client, server):
    job = client.finish(client.submit(server.spec("epoch words=1 crash", max_restarts=2))["id"])
    assert job["status"] == "failed" and job["attempt"] == 3 and job["restarts"] == 2
    assert job["error"]["reason"] == "worker_lost" and job["error"]["signal"] == signal.SIGSEGV and job["error"]["log"]
    assert "max_restarts 2" in job["error"]["message"] and "retry" in job["error"]["message"]


@pytest.mark.parametrize("reason, attempts", [("internal", 3), ("hub_unavailable", 3), ("worker_lost", 3), ("out_of_memory", 1), ("diverged", 1),
                                              ("bad_input", 1), ("deadline", 1)])
def test_each_reason_has_its_policy(client, server, reason, attempts):
    job = client.finish(client.submit(server.spec("fail=" + reason, max_restarts=2))["id"])
    assert job["status"] == "failed" and job["error"]["reason"] == reason and job["attempt"] == attempts


def test_a_restart_waits_longer_each_time(start):
    server = start(args=("--restart-delay", 100))
    client = server.client
    job = client.submit(server.spec("crash", max_restarts=5))
    client.wait(job["id"], "run.lost")
    now = client.job(job["id"])
    assert now["status"] == "queued" and now["waiting"]["reason"] == "worker_lost" and now["waiting"]["until"] > now["updated_at"]
    assert do(client, job, "pause")["waiting"] is None
    do(client, job, "resume")  # a user's wish does not wait
    client.follow(job["id"], lambda e: e["type"] == "run.lost" and e["attempt"] == 2)


def test_what_is_done_again_is_superseded(client, server):
    """Two epochs, the state of the first, a crash: the second counts once, and the checkpoint that is best is there all the time."""
    gate = server.gate("again")
    job = client.submit(server.spec("epoch forgetful epoch 1:crash gate=again epoch", epochs=3))
    client.follow(job["id"], lambda e: e["type"] == "epoch.completed" and e["attempt"] == 2)
    client.follow(job["id"], lambda e: e["type"] == "checkpoint.written" and e["attempt"] == 2)
    now = client.job(job["id"])
    assert now["progress"]["epoch"] == 2 and now["progress"]["best"]["epoch"] == 2
    assert epochs_of(client, job) == [(1, 1, False), (2, 2, False)]
    assert epochs_of(client, job, "?superseded=true") == [(1, 1, False), (2, 1, True), (2, 2, False)]
    gate.open()
    assert client.finish(job["id"])["status"] == "succeeded"
    superseded = [(e["type"], e["data"]["step"]) for e in events_of(client, job) if e["superseded"]]
    assert superseded == [("train.progress", 3), ("train.progress", 4), ("epoch.completed", 4), ("checkpoint.written", 4)]
    assert [c["epoch"] for c in client.get(f"/v1/jobs/{job['id']}/checkpoints").json["data"]] == [2, 3]
    client.get(f"/v1/jobs/{job['id']}/epochs?superseded=maybe", 400)


def test_best_is_there_while_a_job_begins_again(client, server):
    gate = server.gate("begin")
    job = client.submit(server.spec("2:gate=begin forgetful epoch 1:crash epoch"))
    client.follow(job["id"], lambda e: e["type"] == "run.started" and e["attempt"] == 2)
    assert client.job(job["id"])["progress"]["best"]["epoch"] == 1 and len(best_file(client, job)) == 100_001
    gate.open()
    done = client.finish(job["id"])
    assert done["status"] == "succeeded" and epochs_of(client, job) == [(1, 2, False), (2, 2, False)]
    assert [(c["epoch"], c["attempt"]) for c in client.get(f"/v1/jobs/{job['id']}/checkpoints").json["data"]] == [(1, 2), (2, 2)]


def test_a_signal_from_outside_does_not_end_a_job(client, server):
    job = client.submit(server.spec("outside epoch 1:hang epoch", epochs=2))
    client.wait(job["id"], "checkpoint.written")
    os.kill(client.wait(job["id"], "run.started")["data"]["pid"], signal.SIGTERM)
    done = client.finish(job["id"])
    assert done["status"] == "succeeded" and done["attempt"] == 2 and done["restarts"] == 0


@pytest.mark.parametrize("how", ["1:freeze", "1:deaf 1:hang"])
def test_a_worker_that_hangs_is_replaced(start, how):
    server = start(args=("--worker-timeout", 1))
    client = server.client
    job = client.submit(server.spec(f"epoch {how} epoch", epochs=2))
    done = client.finish(job["id"])
    assert done["status"] == "succeeded" and done["attempt"] == 2
    assert "no sign of life for 1 s" in next(e for e in events_of(client, job) if e["type"] == "run.lost")["message"]


def test_a_server_that_was_stopped_itself_accuses_nobody(start):
    server = start(args=("--worker-timeout", 1))
    gate = server.gate("stopped")
    job = server.client.submit(server.spec("epoch gate=stopped epoch"))
    server.client.wait(job["id"], "checkpoint.written")
    server.process.send_signal(signal.SIGSTOP)
    select.select([], [], [], 2.5)
    server.process.send_signal(signal.SIGCONT)
    gate.open()
    assert server.client.finish(job["id"])["attempt"] == 1


def test_running_time_counts_over_attempts(start):
    server = start()
    client = server.client
    job = client.submit(server.spec("epoch 1:hang epoch 2:hang 3:epoch", max_runtime_s=2))
    client.wait(job["id"], "checkpoint.written")
    select.select([], [], [], 0.7)
    do(client, job, "pause", 202)
    client.wait(job["id"], "job.paused")
    client.follow(job["id"], lambda e: e["type"] == "job.paused")
    do(client, job, "resume")
    failed = client.finish(job["id"])
    assert failed["error"]["reason"] == "deadline" and failed["attempt"] == 2
    first, second = (e for e in events_of(client, job) if e["type"] == "job.running")
    last = events_of(client, job)[-1]
    assert when(last) - when(second) < 2 and failed["error"]["reason"] == "deadline"
    client.post(f"/v1/jobs/{client.finish(client.submit(server.spec('epoch'))['id'])['id']}/retry", status=409)
    end = client.request("POST", f"/v1/jobs/{job['id']}/retry")
    assert end.status == 409 and "max_runtime_s" in end.json["detail"], end.text
    patch(client, job, {"max_runtime_s": 60})
    do(client, job, "retry")
    assert client.finish(job["id"])["status"] == "succeeded"


def when(event):
    hours, minutes, seconds = event["created_at"][11:-1].split(":")
    return (int(hours) * 60 + int(minutes)) * 60 + float(seconds)


# ---- room on the disk ----

def test_a_job_without_room_waits_and_goes_on(start):
    server = start(args=("--min-free-bytes", 0))
    client = server.client
    ballast = server.folder / "ballast"
    with open(ballast, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, 1 << 29)
    job = client.submit(server.spec("epoch 1:fail=disk_full epoch"))
    client.wait(job["id"], "job.paused")
    now = client.job(job["id"])
    assert now["status"] == "paused" and now["waiting"]["reason"] == "disk_full" and now["waiting"]["needs_bytes"] > 0
    assert "by itself" in now["status_history"][-1]["message"]
    ballast.unlink()
    done = client.finish(job["id"])
    assert done["status"] == "succeeded" and done["attempt"] == 2 and done["restarts"] == 0
    assert epochs_of(client, job) == [(1, 1, False), (2, 2, False)]


def test_nothing_starts_on_a_full_disk(start):
    server = start(args=("--min-free-bytes", 1 << 49))
    client = server.client
    assert client.get("/healthz").json["status"] == "degraded" and client.get("/healthz").json["disk"]["status"] == "low"
    job = client.submit(server.spec("epoch"))
    assert client.job(job["id"])["status"] == "queued"
    server.stop()
    server.command += ["--min-free-bytes", "0"]
    client = server.start()
    assert client.get("/healthz").json["status"] == "ok"
    assert client.finish(job["id"])["status"] == "succeeded"


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 48 MiB of its own; needs the right to mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", place], capture_output=True).returncode:
        pytest.skip("no right to mount a small file system")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def test_a_disk_that_is_full_to_the_last_byte(small_disk):
    """The reserve lets the server write down what happens; nothing new is taken; all goes on when there is room."""
    server = Server(small_disk, args=("--min-free-bytes", 1 << 20))
    server.log = small_disk.parent / "retortd.log"
    client = server.start()
    try:
        gate = server.gate("full")
        job = client.submit(server.spec("epoch 1:gate=full 1:fail=disk_full epoch"))
        client.wait(job["id"], "checkpoint.written")
        fill = small_disk / "fill"
        with pytest.raises(OSError), open(fill, "wb", buffering=0) as file:
            while True:
                file.write(bytes(1 << 16))
        end = time.monotonic() + TIMEOUT_S
        while (answer := client.request("POST", "/v1/jobs", server.spec("epoch"))).status != 507:
            assert time.monotonic() < end
        assert "disk" in answer.json["detail"]
        assert client.request("POST", "/v1/jobs", server.spec("epoch")).status == 507
        gate.open()
        client.wait(job["id"], "job.paused")
        assert client.job(job["id"])["waiting"]["reason"] == "disk_full"
        queued = [j["id"] for j in client.get("/v1/jobs?status=queued&limit=100").json["data"]]
        fill.unlink()
        for job_id in [job["id"], *queued]:
            assert client.finish(job_id)["status"] == "succeeded"
        assert client.get("/healthz").json["status"] == "ok"
        assert client.finish(client.submit(server.spec("epoch"))["id"])["status"] == "succeeded"
    finally:
        server.stop()


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one CPU cannot be divided")
def test_workers_at_once_have_cores_of_their_own(start):
    """Half of the machine each; who asks for more threads than that is not held to a half."""
    server = start(slots=2)
    client, mine = server.client, os.sched_getaffinity(0)

    def cpus(job):
        return os.sched_getaffinity(client.wait(job["id"], "run.started")["data"]["pid"])

    gates = {name: server.gate(name) for name in ("a", "b", "c")}
    first, second = (client.submit(server.spec(f"epoch gate={name} epoch")) for name in ("a", "b"))
    a, b = cpus(first), cpus(second)
    assert a and b and not a & b and a | b == mine
    gates["a"].open()
    client.finish(first["id"])
    wide = client.submit(server.spec("epoch gate=c epoch", resources={"threads": len(mine)}))
    assert cpus(wide) == mine
    gates["c"].open()
    client.finish(wide["id"])
    # the half that is free again
    gate = server.gate("d")
    third = client.submit(server.spec("epoch gate=d epoch"))
    assert cpus(third) == a
    gate.open()
    client.finish(third["id"])
    gates["b"].open()
    client.finish(second["id"])
