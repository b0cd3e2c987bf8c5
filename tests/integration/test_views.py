# SPDX-License-Identifier: Apache-2.0
"""What pages ask for: words and counts over many jobs, steps thinned out, events from the newest, evaluations by class."""
import math

import pytest


@pytest.fixture(scope="module")
def jobs(server):
    """Five finished jobs and one that waits behind others."""
    made = {}
    for name, more in (("alpha", {"tags": ["red", "Round"]}), ("beta", {"tags": ["red"]}), ("gamma", {})):
        made[name] = server.client.submit(server.spec("epoch epoch", **more))
        server.client.finish(made[name]["id"])
    return made


def ids(client, query):
    page = client.get("/v1/jobs?limit=100&" + query).json
    return {j["id"] for j in page["data"]}


def test_words_are_looked_for_in_name_models_data_and_tags(client, jobs):
    everyone = {j["id"] for j in jobs.values()}
    assert ids(client, "q=student") == everyone
    assert ids(client, "q=STUDENT+data.jsonl") == everyone
    assert ids(client, "q=round") == {jobs["alpha"]["id"]}
    assert ids(client, "q=red+teacher") == {jobs["alpha"]["id"], jobs["beta"]["id"]}
    assert ids(client, "q=" + jobs["gamma"]["id"][10:].lower()) == {jobs["gamma"]["id"]}
    assert ids(client, "q=red&tag=Round") == {jobs["alpha"]["id"]}
    assert ids(client, "q=%25") == set()  # no wildcards
    assert ids(client, "q=red+nowhere") == set()
    assert ids(client, "q=+") == everyone


def test_query_has_limits(client):
    assert "200 bytes" in client.get("/v1/jobs?q=" + "x" * 201, 400).json["detail"]
    assert "8 words" in client.get("/v1/jobs?q=" + "x+" * 9, 400).json["detail"]
    client.get("/v1/jobs:counts?status=running", 400)


def test_counts_follow_the_filter(client, jobs):
    counts = client.get("/v1/jobs:counts").json
    assert counts["total"] == 3 and counts["status"]["succeeded"] == 3 and counts["status"]["failed"] == 0
    assert client.get("/v1/jobs:counts?tag=red").json["total"] == 2
    assert client.get("/v1/jobs:counts?q=round").json["status"]["succeeded"] == 1


def test_words_of_a_deleted_job_are_gone(server, client):
    job = client.submit(server.spec("epoch", tags=["shortlived"]))
    client.finish(job["id"])
    assert ids(client, "q=shortlived") == {job["id"]}
    assert client.request("DELETE", "/v1/jobs/" + job["id"]).status == 204
    assert ids(client, "q=shortlived") == set()
    assert client.get("/v1/jobs:counts?q=shortlived").json["total"] == 0
    client.get(f"/v1/jobs/{job['id']}/evaluations/last", 404)


def test_steps_are_thinned_evenly_and_end_with_the_last(server, client):
    job = client.submit(server.spec(" ".join(["epoch"] * 25), epochs=25))
    client.finish(job["id"])
    for points in (1, 2, 7, 49, 50, 1000):
        steps = [s["step"] for s in client.get(f"/v1/jobs/{job['id']}/steps?points={points}").json["data"]]
        assert len(steps) <= points and steps[-1] == 50, (points, steps)
        stride = math.ceil(50 / points)
        assert steps == list(range(50 - stride * (len(steps) - 1), 51, stride))
    client.get(f"/v1/jobs/{job['id']}/steps?points=0", 400)


def test_events_from_the_newest_without_progress(client, jobs):
    base = f"/v1/jobs/{jobs['alpha']['id']}/events?"
    all_events = client.get(base + "limit=1000").json["data"]
    told = [e["seq"] for e in all_events if e["type"] not in ("train.progress", "teacher.progress")]
    assert 0 < len(told) < len(all_events)
    assert [e["seq"] for e in client.get(base + "progress=false&limit=1000").json["data"]] == told
    page = client.get(base + "progress=false&order=desc&limit=3").json
    assert [e["seq"] for e in page["data"]] == told[::-1][:3] and page["has_more"]
    rest = client.get(base + f"progress=false&order=desc&limit=1000&after={page['data'][-1]['seq']}").json
    assert [e["seq"] for e in rest["data"]] == told[::-1][3:] and not rest["has_more"]
    assert client.get("/v1/events?order=desc&limit=1").json["data"][0]["seq"] >= told[-1]
    client.get(base + "order=up", 400)
    client.get(base + "progress=maybe", 400)


def test_evaluation_has_precision_recall_and_f1(client, jobs):
    base = f"/v1/jobs/{jobs['beta']['id']}/evaluations/"
    e = client.get(base + "last").json
    assert e["epoch"] == 2 and e["rows"] == 10 and e["accuracy"] == 0.6 and e["agreement"] == 0.7
    greet, part, none = e["classes"]
    assert greet["label"] == "greet" and greet["precision"] == 4 / 5 and greet["recall"] == 4 / 6 and greet["f1"] == 8 / 11
    assert part["label"] == "part ü" and part["precision"] == 0.4 and part["recall"] == 0.5
    assert none["precision"] is None and none["recall"] is None and none["f1"] is None
    assert e["macro_f1"] == pytest.approx((8 / 11 + 4 / 9) / 2)
    assert e["confused"] == [{"label": "greet", "predicted": "part ü", "count": 2}]
    assert client.get(base + "1").json["epoch"] == 1
    best = client.job(jobs["beta"]["id"])["progress"]["best"]["epoch"]
    assert client.get(base + "best").json["epoch"] == best


def test_evaluation_that_is_not_there(server, client, jobs):
    base = f"/v1/jobs/{jobs['beta']['id']}/evaluations/"
    for which in ("3", "0", "-1", "x", "1e3", "99999999999999999999"):
        client.get(base + which, 404)
    waiting = client.submit(server.spec("hang"))
    client.get(f"/v1/jobs/{waiting['id']}/evaluations/best", 404)
    client.get(f"/v1/jobs/{waiting['id']}/evaluations/last", 404)
    client.request("POST", f"/v1/jobs/{waiting['id']}/cancel")
    client.finish(waiting["id"])


def test_a_stream_that_broke_off_before_its_first_event_goes_on(server, client):
    """The first frame has the id where the stream begins, so nothing between two connections is lost."""
    with client.stream("/v1/events") as stream:
        begin = None
        for line in iter(stream.response.readline, b"\n"):
            if line.startswith(b"id: "):
                begin = line[4:].strip().decode()
    assert begin is not None
    job = client.submit(server.spec("epoch"))
    client.finish(job["id"])
    with client.stream("/v1/events?jobs=" + job["id"], last_event_id=begin) as stream:
        assert stream.until("job.succeeded")[0].event == "job.queued"
