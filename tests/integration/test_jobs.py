# SPDX-License-Identifier: Apache-2.0
"""The whole life of a job, played by the fake worker."""
import json
import select
import time

import pytest

from harness import CONTRACT, TIMEOUT_S


def statuses(job):
    out = []
    for entry in job["status_history"]:
        if not out or out[-1] != entry["status"]:
            out.append(entry["status"])
    return out


def types(events):
    return [e["type"] for e in events]


def test_a_job_from_post_to_best_checkpoint(client, server):
    spec = server.spec("epoch epoch epoch", epochs=3, tags=["a", "b"], alpha=0.25, save_total_limit=2)
    answer = client.post("/v1/jobs", spec, 201)
    posted = answer.json
    assert answer.headers["location"] == "/v1/jobs/" + posted["id"] == posted["links"]["self"]
    assert posted["status"] == "queued" and posted["original_spec"] == spec and posted["error"] is None
    assert posted["progress"] == {"percent": None, "epoch": None, "total_epochs": 3, "eta_s": None, "updated_at": None, "best": None}
    assert posted["spec"]["temperature"] == 4 and posted["spec"]["seed"] == 33
    assert posted["loss"]["hard_weight"] == 0.25 and posted["loss"]["soft_weight"] == 0.75

    job = client.finish(posted["id"])
    assert job["status"] == "succeeded" and statuses(job) == ["queued", "running", "succeeded"]
    assert job["progress"]["percent"] == 100 and job["progress"]["epoch"] == 3
    assert job["progress"]["best"]["epoch"] == 3 and job["progress"]["best"]["accuracy"] == pytest.approx(0.6)
    assert job["attempt"] == 1
    assert job["created_at"] <= job["started_at"] <= job["finished_at"] <= job["updated_at"]

    epochs = client.get(job["links"]["epochs"]).json["data"]
    assert [e["epoch"] for e in epochs] == [1, 2, 3]
    assert [e["train_loss"] for e in epochs] == [2.0, 1.0, 2 / 3]
    assert all(e["best"] for e in epochs)

    checkpoints = client.get(job["links"]["checkpoints"]).json["data"]
    assert [c["epoch"] for c in checkpoints] == [2, 3] and [c["best"] for c in checkpoints] == [False, True]
    assert checkpoints[1]["last"] and checkpoints[1]["id"] == job["progress"]["best"]["checkpoint_id"]
    best = client.get(job["links"]["best_checkpoint"], 307)
    assert best.headers["location"] == f"/v1/jobs/{job['id']}/checkpoints/{checkpoints[1]['id']}"
    assert client.get(best.headers["location"]).json == checkpoints[1]


def test_events_tell_the_life_in_order(client, server):
    job = client.submit(server.spec("epoch"))
    followed = client.follow(job["id"])
    listed = client.get(f"/v1/jobs/{job['id']}/events?limit=1000").json
    assert listed["data"] == followed and not listed["has_more"]
    assert types(followed) == ["job.queued", "job.running", "run.started", "run.phase", "train.progress", "train.progress", "eval.classes",
                               "epoch.completed", "checkpoint.written", "run.succeeded", "job.succeeded"]
    seqs = [e["seq"] for e in followed]
    assert seqs == sorted(set(seqs))
    assert all(e["job_id"] == job["id"] for e in followed)
    assert [e["run_id"] is None for e in followed][:2] == [True, False] or followed[0]["run_id"] is None
    epoch = followed[7]
    row = client.get(f"/v1/jobs/{job['id']}/epochs").json["data"][0]
    assert row["event_seq"] == epoch["seq"] and {k: row[k] for k in epoch["data"]} == epoch["data"]


def test_while_it_runs(client, server):
    gate = server.gate("while_it_runs")
    job = client.submit(server.spec("epoch gate=while_it_runs epoch"))
    client.wait(job["id"], "checkpoint.written")
    now = client.job(job["id"])
    assert now["status"] == "running" and now["phase"] == "training" and now["finished_at"] is None
    assert now["progress"]["epoch"] == 1 and now["progress"]["percent"] == 50 and now["progress"]["eta_s"] is not None
    where = client.get(f"/v1/jobs/{job['id']}/checkpoints/best", 307).headers["location"]
    weights = client.get(where + "/files/model.safetensors").body
    assert len(weights) == 100_001
    gate.open()
    done = client.finish(job["id"])
    assert done["status"] == "succeeded" and done["progress"]["epoch"] == 2


def test_a_failure_says_why(client, server):
    job = client.finish(client.submit(server.spec("epoch fail=bad_input"))["id"])
    assert job["status"] == "failed" and statuses(job) == ["queued", "running", "failed"]
    assert job["error"]["reason"] == "bad_input" and job["error"]["message"] == "the job cannot go on: row 3 has no text"
    assert job["error"]["errors"] == [{"pointer": "/dataset_id", "detail": "row 3 has no text"}]
    assert len(client.get(f"/v1/jobs/{job['id']}/checkpoints").json["data"]) == 1  # what there was stays
    last = client.get(f"/v1/jobs/{job['id']}/events?limit=1000").json["data"][-1]
    assert last["type"] == "job.failed" and last["level"] == "error" and last["data"]["reason"] == "bad_input"


@pytest.mark.parametrize("reason", CONTRACT.raw["components"]["schemas"]["Reason"]["enum"])
def test_every_reason(client, server, reason):
    job = client.submit(server.spec("fail=" + reason, max_restarts=0))
    if reason == "disk_full":  # waits for room instead
        client.wait(job["id"], "job.paused")
        assert client.job(job["id"])["waiting"]["reason"] == reason
        client.post(f"/v1/jobs/{job['id']}/cancel")
    else:
        assert client.finish(job["id"])["error"]["reason"] == reason


@pytest.mark.parametrize("name", ["epoch crash", "exit=0", "exit=1", "exit=3", "exit=77", "nonsense=lie exit=0"])
def test_a_worker_that_goes_without_a_word_is_lost(client, server, name):
    job = client.finish(client.submit(server.spec(name, max_restarts=0))["id"])
    assert job["status"] == "failed" and job["error"]["reason"] in ("worker_lost", "internal"), job["error"]
    if "crash" in name:
        assert "11" in job["error"]["message"] or "SEGV" in job["error"]["message"].upper() or "Segmentation" in job["error"]["message"]


@pytest.mark.parametrize("kind", ["json", "type", "huge", "utf8", "path"])
def test_nonsense_of_a_worker_is_refused_and_harms_no_other(client, server, kind):
    other_gate = server.gate("other_" + kind)
    other = client.submit(server.spec(f"gate=other_{kind} epoch"))
    client.wait(other["id"], "run.started")
    job = client.submit(server.spec(f"nonsense={kind} epoch"))
    done = client.finish(job["id"])
    assert done["status"] in ("succeeded", "failed")
    assert not {"no.such.type"} & set(types(client.get(f"/v1/jobs/{job['id']}/events?limit=1000").json["data"]))
    for checkpoint in client.get(f"/v1/jobs/{job['id']}/checkpoints").json["data"]:
        assert all(".." not in f["name"] for f in checkpoint["files"])
    other_gate.open()
    assert client.finish(other["id"])["status"] == "succeeded"


def test_losses_that_are_no_numbers_are_null(client, server):
    job = client.finish(client.submit(server.spec("nan epoch"))["id"])
    assert client.get(f"/v1/jobs/{job['id']}/epochs").json["data"][0]["train_loss"] is None


# ---- cancel ----

def test_cancel_a_queued_job(start):
    server = start(slots=1)
    client = server.client
    blocker = client.submit(server.spec("hang"))
    client.wait(blocker["id"], "run.started")
    job = client.submit(server.spec())
    assert client.post(f"/v1/jobs/{job['id']}/cancel").json["status"] == "cancelled"
    job = client.job(job["id"])
    assert statuses(job) == ["queued", "cancelled"] and job["attempt"] == 0 and job["finished_at"]
    assert types(client.follow(job["id"])) == ["job.queued", "job.cancelled"]
    answer = client.request("POST", f"/v1/jobs/{job['id']}/cancel")  # again
    assert answer.status in (200, 409)


def test_cancel_a_running_job(client, server):
    job = client.submit(server.spec("epoch hang"))
    client.wait(job["id"], "checkpoint.written")
    answer = client.post(f"/v1/jobs/{job['id']}/cancel", status=202).json
    assert answer["status"] == "cancelling"
    done = client.finish(job["id"])
    assert statuses(done) == ["queued", "running", "cancelling", "cancelled"] and done["error"] is None
    assert len(client.get(f"/v1/jobs/{job['id']}/checkpoints").json["data"]) == 1  # kept
    client.get(f"/v1/jobs/{job['id']}/checkpoints/best", 307)


def test_a_stubborn_worker_is_killed(start):
    server = start(args=("--stop-grace", 1))
    client = server.client
    job = client.submit(server.spec("stubborn epoch hang"))
    pid = client.wait(job["id"], "run.started")["data"]["pid"]
    client.wait(job["id"], "checkpoint.written")
    client.post(f"/v1/jobs/{job['id']}/cancel", status=202)
    again = client.post(f"/v1/jobs/{job['id']}/cancel", status=202).json
    assert again["status"] == "cancelling"
    done = client.finish(job["id"])
    assert done["status"] == "cancelled"
    with pytest.raises(FileNotFoundError):
        open(f"/proc/{pid}/stat")


@pytest.mark.parametrize("name, status", [("epoch", "succeeded"), ("fail=internal", "failed")])
def test_cancel_when_all_is_over(client, server, name, status):
    job = client.finish(client.submit(server.spec(name))["id"])
    problem = client.post(f"/v1/jobs/{job['id']}/cancel", status=409).json
    assert status in problem["detail"] and "delete" in problem["detail"]
    assert client.job(job["id"]) == job


def test_cancel_without_such_a_job(client):
    client.post("/v1/jobs/job_01ARZ3NDEKTSV4RRFFQ69G5FAV/cancel", status=404)


# ---- delete ----

def wait_until_gone(path):
    """Folders are removed beside the loop, after the answer."""
    end = time.monotonic() + TIMEOUT_S
    while path.exists():
        assert time.monotonic() < end, f"{path} is still there"
        select.select([], [], [], 0.005)


def gone(client, server, job_id, run_ids=()):
    for tail in ("", "/events", "/epochs", "/logs", "/checkpoints", "/checkpoints/best"):
        client.get(f"/v1/jobs/{job_id}{tail}", 404)
    client.post(f"/v1/jobs/{job_id}/cancel", status=404)
    assert client.request("DELETE", "/v1/jobs/" + job_id).status == 404
    for run_id in run_ids:
        wait_until_gone(server.data / "runs" / run_id)


def test_delete_a_finished_job(client, server):
    job = client.finish(client.submit(server.spec("epoch"))["id"])
    run = client.get(f"/v1/jobs/{job['id']}/checkpoints").json["data"][0]["run_id"]
    with client.stream("/v1/events") as stream:
        assert client.request("DELETE", "/v1/jobs/" + job["id"]).status == 204
        assert any(f.event == "job.deleted" and f.data["job_id"] == job["id"] for f in stream.until("job.deleted"))
    gone(client, server, job["id"])
    wait_until_gone(server.data / "runs" / run)


def test_delete_a_queued_job(start):
    server = start(slots=1)
    client = server.client
    blocker = client.submit(server.spec("hang"))
    client.wait(blocker["id"], "run.started")
    job = client.submit(server.spec())
    assert client.request("DELETE", "/v1/jobs/" + job["id"]).status == 204
    gone(client, server, job["id"])


def test_delete_a_running_job(client, server):
    job = client.submit(server.spec("epoch hang"))
    run = client.wait(job["id"], "checkpoint.written")["run_id"]
    with client.stream("/v1/events") as stream, client.stream(f"/v1/jobs/{job['id']}/events") as own:
        assert client.request("DELETE", "/v1/jobs/" + job["id"]).status == 202
        for frame in stream:
            if frame.event == "job.deleted" and frame.data["job_id"] == job["id"]:
                break
        for _ in own:
            pass  # it ends
    gone(client, server, job["id"], [run])


def test_delete_does_not_touch_what_others_use(client, server):
    teacher = client.finish(client.submit(server.spec("epoch"))["id"])
    student = client.submit(server.spec("epoch", teacher_id=teacher["id"]))
    done = client.finish(student["id"])
    assert done["status"] == "succeeded" and done["spec"]["teacher_id"] == teacher["id"]
    client.request("DELETE", "/v1/jobs/" + teacher["id"])
    assert client.job(student["id"]) == done


# ---- the queue ----

def test_slots_priority_and_age(start):
    server = start(slots=1)
    client = server.client
    gate = server.gate("first")
    first = client.submit(server.spec("gate=first epoch"))
    client.wait(first["id"], "run.started")
    low, usual, high, usual2 = (client.submit(server.spec("epoch", priority=p))["id"] for p in (-5, 0, 5, 0))
    assert [client.job(j)["status"] for j in (low, usual, high, usual2)] == ["queued"] * 4
    gate.open()
    jobs = {j: client.finish(j) for j in (low, usual, high, usual2)}
    order = sorted(jobs, key=lambda j: client.wait(j, "job.running")["seq"])
    assert order == [high, usual, usual2, low]
    for before, after in zip(order, order[1:]):  # one at a time
        assert client.wait(before, "job.succeeded")["seq"] < client.wait(after, "job.running")["seq"]


def test_a_deadline_counts_running_time(client, server):
    job = client.finish(client.submit(server.spec("epoch hang", max_runtime_s=1))["id"])
    assert job["status"] == "failed" and job["error"]["reason"] == "deadline"
    client.get(f"/v1/jobs/{job['id']}/checkpoints/best", 307)  # what it had stays


# ---- logs ----

def test_logs(client, server):
    gate = server.gate("logs")
    job = client.submit(server.spec("words=2000 log=a_word gate=logs epoch"))
    client.wait(job["id"], "log")
    text = client.get(f"/v1/jobs/{job['id']}/logs").text
    assert text.startswith("line 0 of") and "line 1999 of the worker's log \u00fc\n" in text
    gate.open()
    client.finish(job["id"])
    assert client.get(f"/v1/jobs/{job['id']}/logs").text.startswith(text)


def test_logs_before_anything_ran(start):
    server = start(slots=1)
    server.client.wait(server.client.submit(server.spec("hang"))["id"], "run.started")
    job = server.client.submit(server.spec())
    assert server.client.get(f"/v1/jobs/{job['id']}/logs").text == ""


# ---- words of users come back as they were ----

@pytest.mark.parametrize("name", ["\u00e9\u4e2d\U0001f600", "<script>alert(1)</script>", "'; DROP TABLE jobs; --", '"quoted" \\ back', "%s%n%x", "\u2028\u200b", "a" * 200])
def test_names_and_tags_are_only_words(client, server, name):
    job = client.submit(server.spec("epoch", tags=[name[:60]]))
    assert client.job(job["id"])["spec"]["tags"] == [name[:60]]
    named = client.post("/v1/jobs", server.spec(name), 201).json
    assert client.finish(named["id"])["name"] == name


def test_numbers_come_back_as_they_were(client, server):
    sent = {"learning_rate": 0.1 + 0.2, "alpha": 0.055199695773231194, "temperature": 1e-3, "weight_decay": 5e-324, "seed": 4294967295}
    answer = client.post("/v1/jobs", server.spec("epoch", **sent), 201)
    assert {k: answer.json["spec"][k] for k in sent} == sent
    assert b"0.30000000000000004" in answer.body and b"0.055199695773231194" in answer.body
    assert json.loads(answer.body)["original_spec"]["temperature"] == 1e-3
