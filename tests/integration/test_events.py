# SPDX-License-Identifier: Apache-2.0
"""Server-Sent Events: replay, live tail, many readers, readers that do not read."""
import socket

import pytest

from harness import TIMEOUT_S, in_threads


@pytest.fixture(scope="module")
def done(server):
    """A job that is over, with its events."""
    job = server.client.submit(server.spec("epoch epoch"))
    return job["id"], server.client.follow(job["id"])


def seqs(events):
    return [e["seq"] for e in events]


def test_stream_begins_with_retry_and_ends_with_end(client, done):
    with client.stream(f"/v1/jobs/{done[0]}/events") as stream:
        frames = list(stream)
    assert stream.retry == 1
    assert [f.data for f in frames[:-1]] == done[1]
    assert frames[-1].event == "end" and frames[-1].data["status"] == "succeeded"


@pytest.mark.parametrize("cut", [1, 5, -2])
def test_replay_after_an_id(client, done, cut):
    last = done[1][cut]["seq"]
    for query, header in (("", last), (f"?last_event_id={last}", None)):
        with client.stream(f"/v1/jobs/{done[0]}/events{query}", header) as stream:
            assert [f.data["seq"] for f in stream if f.event != "end"] == [s for s in seqs(done[1]) if s > last]


def test_reconnect_after_the_end_is_204(client, done):
    with client.stream(f"/v1/jobs/{done[0]}/events", done[1][-1]["seq"], status=204):
        pass
    with client.stream(f"/v1/jobs/{done[0]}/events") as stream:
        end = list(stream)[-1]
    if end.id is not None:  # what a browser sends back is the id of the last frame that had one
        with client.stream(f"/v1/jobs/{done[0]}/events", end.id, status=204):
            pass


@pytest.mark.parametrize("last", [10**15, "evt_01ARZ3NDEKTSV4RRFFQ69G5FAV", "-1", "x"])
def test_unknown_id_gets_a_reset(client, done, last):
    with client.stream(f"/v1/jobs/{done[0]}/events", last) as stream:
        frames = list(stream)
    assert frames[0].event == "reset" and frames[0].data["snapshot"]["id"] == done[0]
    assert [f.event for f in frames[1:]] == [e["type"] for e in done[1]] + ["end"]


def test_live_tail_without_gap_or_double(client, server):
    gates = [server.gate(f"tail{i}") for i in range(3)]
    job = client.submit(server.spec("gate=tail0 epoch gate=tail1 epoch gate=tail2 epoch"))
    got = []
    with client.stream(f"/v1/jobs/{job['id']}/events") as stream:
        got += stream.until("run.phase")
        gates[0].open()
        got += stream.until("checkpoint.written")
    # away for a while; the second epoch happens meanwhile
    gates[1].open()
    client.follow(job["id"], lambda e: e["type"] == "checkpoint.written" and e["data"]["epoch"] == 2)
    with client.stream(f"/v1/jobs/{job['id']}/events", got[-1].id) as stream:
        got += stream.until("checkpoint.written")
        assert got[-1].data["data"]["epoch"] == 2
        gates[2].open()
        got += list(stream)
    assert got[-1].event == "end"
    assert [f.data for f in got[:-1]] == client.get(f"/v1/jobs/{job['id']}/events?limit=1000").json["data"]


def test_events_come_while_they_happen(client, server):
    """Each frame arrives before the next thing happens: nothing waits in a buffer."""
    gates = [server.gate(f"live{i}") for i in range(3)]
    job = client.submit(server.spec("gate=live0 log=0 gate=live1 log=1 gate=live2 log=2 epoch"))
    with client.stream(f"/v1/jobs/{job['id']}/events") as stream:
        for i, gate in enumerate(gates):
            gate.open()
            assert stream.until("log")[-1].data["message"] == str(i)


def test_pages(client, done):
    events, after = [], 0
    while True:
        page = client.get(f"/v1/jobs/{done[0]}/events?limit=3&after={after}").json
        events += page["data"]
        if not page["has_more"]:
            break
        assert len(page["data"]) == 3
        after = page["data"][-1]["seq"]
    assert events == done[1]


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "after=-1", "after=x", "order=asc&x=1"])
def test_bad_query(client, done, query):
    client.get(f"/v1/jobs/{done[0]}/events?" + query, 400)
    client.get("/v1/events?" + query, 400)


@pytest.mark.parametrize("accept, kind", [
    (None, "json"), ("*/*", "json"), ("application/json", "json"), ("text/event-stream", "stream"), ("text/html, text/event-stream;q=0.9", "stream"),
    ("TEXT/EVENT-STREAM", "stream"), ("text/*", "json"), ("application/xml", "json"), ("text/event-streams", "json"),
])
def test_accept(client, done, accept, kind):
    conn = client.connect()
    conn.request("GET", f"/v1/jobs/{done[0]}/events", headers={"Accept": accept} if accept else {})
    response = conn.getresponse()
    assert response.status == 200
    assert response.getheader("Content-Type") == {"json": "application/json", "stream": "text/event-stream"}[kind]
    conn.close()


def test_all_jobs_on_one_stream(client, server):
    with client.stream("/v1/events") as stream:
        a, b = (client.submit(server.spec("epoch"))["id"] for _ in range(2))
        seen, ended = [], set()
        for frame in stream:
            seen.append(frame.data)
            if frame.event == "job.succeeded":
                ended.add(frame.data["job_id"])
            if {a, b} <= ended:
                break
    for job_id in (a, b):
        assert [e for e in seen if e["job_id"] == job_id] == client.get(f"/v1/jobs/{job_id}/events?limit=1000").json["data"]
    assert seqs(seen) == sorted(set(seqs(seen)))


def test_some_jobs_on_one_stream(client, server):
    gate = server.gate("some")
    a = client.submit(server.spec("gate=some epoch"))["id"]
    with client.stream(f"/v1/events?jobs={a}") as stream:
        b = client.submit(server.spec("epoch"))["id"]
        client.finish(b)
        gate.open()
        frames = stream.until("job.succeeded")
    assert {f.data["job_id"] for f in frames} == {a}
    listed = client.get(f"/v1/events?jobs={a},{b}&limit=1000").json["data"]
    assert {e["job_id"] for e in listed} == {a, b} and seqs(listed) == sorted(seqs(listed))
    client.get("/v1/events?jobs=nonsense", 400)


def test_all_jobs_replay(client, done):
    with client.stream("/v1/events", done[1][0]["seq"]) as stream:
        first = next(stream)
    assert first.data["seq"] > done[1][0]["seq"]
    page = client.get(f"/v1/events?after={done[1][0]['seq']}&limit=1").json
    assert page["data"][0] == first.data


def test_50_readers_at_once(client, server):
    gate = server.gate("fifty")
    job = client.submit(server.spec("gate=fifty epoch epoch"))
    streams = [client.stream(f"/v1/jobs/{job['id']}/events") for _ in range(50)]
    for s in streams:
        s.until("run.phase")
    gate.open()
    ends = in_threads(50, lambda i: [(f.id, f.event) for f in streams[i]])
    for s in streams:
        s.close()
    assert all(e == ends[0] for e in ends) and ends[0][-1][1] == "end"


def test_a_reader_that_never_reads_costs_nothing(client, server):
    """Its kernel buffers fill up; the server keeps no copy of what it cannot send, and the job goes on."""
    gate = server.gate("never")
    job = client.submit(server.spec("log=" + "x" * 100 + " gate=never " + "log=" + "y" * 50))
    client.wait(job["id"], "log")
    readers = []
    for _ in range(20):
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.settimeout(TIMEOUT_S)
        s.connect((client.host, client.port))
        s.sendall(b"GET /v1/events?last_event_id=1 HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n")
        readers.append(s)
    client.get("/healthz")
    before = server.memory_bytes()
    gate.open()
    client.finish(job["id"])
    for _ in range(5):
        client.finish(client.submit(server.spec(" ".join(["epoch"] * 20), epochs=20))["id"])
    assert server.memory_bytes() - before < 20_000_000
    for s in readers:
        s.close()
    client.get("/healthz")


def test_readers_that_leave(client, server):
    gate = server.gate("leave")
    job = client.submit(server.spec("gate=leave epoch"))
    for i in range(100):
        s = client.stream(f"/v1/jobs/{job['id']}/events")
        if i % 2:
            next(s)
        s.close()
    gate.open()
    assert client.finish(job["id"])["status"] == "succeeded"


def test_head_does_not_hang(client, done):
    answer = client.request("HEAD", f"/v1/jobs/{done[0]}/events", headers={"Accept": "text/event-stream"})
    assert answer.status in (200, 204)
