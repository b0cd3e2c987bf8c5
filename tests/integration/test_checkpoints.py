# SPDX-License-Identifier: Apache-2.0
"""Checkpoints by URL: files with ranges and ETags, archives, what is gone."""
import base64
import hashlib
import io
import tarfile

import pytest


@pytest.fixture(scope="module")
def checkpoint(server):
    """The best checkpoint of a job that is over: its JSON and its files' bytes by name."""
    client = server.client
    job = client.finish(client.submit(server.spec("epoch epoch epoch", save_total_limit=2))["id"])
    c = client.get(client.get(f"/v1/jobs/{job['id']}/checkpoints/best", 307).headers["location"]).json
    files = {}
    for f in c["files"]:
        answer = client.get(c["links"]["files"].replace("{name}", f["name"]))
        assert len(answer.body) == f["size_bytes"] and hashlib.sha256(answer.body).hexdigest() == f["sha256"]
        assert answer.headers["etag"] == f'"{f["sha256"]}"'
        assert answer.headers["content-length"] == str(f["size_bytes"])
        if "repr-digest" in answer.headers:
            assert answer.headers["repr-digest"] == "sha-256=:" + base64.b64encode(bytes.fromhex(f["sha256"])).decode() + ":"
        files[f["name"]] = answer.body
    assert "runs/events.out.tfevents.1.retort" in files and files["empty.txt"] == b""
    assert c["size_bytes"] == sum(map(len, files.values()))
    return c, files


def url(c, name="model.safetensors"):
    return c["links"]["files"].replace("{name}", name)


def test_types(client, checkpoint):
    for name, kind in (("config.json", "application/json"), ("model.safetensors", "application/octet-stream"),
                       ("README.md", "text/markdown; charset=utf-8"), ("empty.txt", "text/plain; charset=utf-8")):
        assert client.get(url(checkpoint[0], name)).headers["content-type"] == kind


@pytest.mark.parametrize("value, first, last", [
    ("bytes=0-0", 0, 0), ("bytes=0-99", 0, 99), ("bytes=100-", 100, None), ("bytes=-1", -1, None), ("bytes=-500", -500, None), ("bytes=99999-99999999", 99999, None),
    ("bytes=-99999999", 0, None), ("bytes=100002-100002", 100002, None),
])
def test_range(client, checkpoint, value, first, last):
    data = checkpoint[1]["model.safetensors"]
    wanted = data[first:None if last is None else last + 1]
    answer = client.get(url(checkpoint[0]), 206, headers={"Range": value})
    begin = len(data) + first if first < 0 else first
    assert answer.body == wanted
    assert answer.headers["content-range"] == f"bytes {begin}-{begin + len(wanted) - 1}/{len(data)}"
    assert answer.headers["content-length"] == str(len(wanted))
    head = client.request("HEAD", url(checkpoint[0]), headers={"Range": value})
    assert head.status in (200, 206)


@pytest.mark.parametrize("value", ["bytes=100003-", "bytes=100003-100004", "bytes=-0", "bytes=99999999999-"])
def test_range_behind_the_end(client, checkpoint, value):
    answer = client.get(url(checkpoint[0]), 416, headers={"Range": value})
    assert answer.headers["content-range"] == "bytes */100003"


@pytest.mark.parametrize("value", ["bytes=5-2", "bytes=a-b", "bytes=", "bytes", "chunks=0-1", "bytes=0-1,5-6", "bytes=--1", "bytes=0x1-2", "bytes=99999999999999999999999-", ""])
def test_range_that_is_none_gets_the_whole_file(client, checkpoint, value):
    answer = client.request("GET", url(checkpoint[0]), headers={"Range": value})
    assert (answer.status == 200 and answer.body == checkpoint[1]["model.safetensors"]) or answer.status == 416


def test_etag(client, checkpoint):
    etag = client.get(url(checkpoint[0])).headers["etag"]
    for value in (etag, f'"x", {etag}', "*", "W/" + etag):
        answer = client.get(url(checkpoint[0]), 304, headers={"If-None-Match": value})
        assert answer.body == b"" and answer.headers["etag"] == etag
    assert client.get(url(checkpoint[0]), 200, headers={"If-None-Match": '"x"'}).body
    assert client.get(url(checkpoint[0]), 206, headers={"Range": "bytes=0-1", "If-Range": etag}).body == checkpoint[1]["model.safetensors"][:2]
    assert len(client.get(url(checkpoint[0]), 200, headers={"Range": "bytes=0-1", "If-Range": '"x"'}).body) == 100_003


def test_head(client, checkpoint):
    head = client.request("HEAD", url(checkpoint[0]))
    get = client.get(url(checkpoint[0]))
    keep = ("content-length", "etag", "content-type", "accept-ranges")
    assert head.status == 200 and {k: head.headers[k] for k in keep} == {k: get.headers[k] for k in keep}


def test_empty_file(client, checkpoint):
    c = checkpoint[0]
    assert client.get(url(c, "empty.txt")).headers["content-length"] == "0"
    client.get(url(c, "empty.txt"), 416, headers={"Range": "bytes=0-0"})


def test_names_lead_on(client, checkpoint):
    c = checkpoint[0]
    base = f"/v1/jobs/{c['job_id']}/checkpoints/"
    assert client.get(base + "best/files/config.json", 307).headers["location"] == url(c, "config.json")
    assert client.get(base + "best/files/runs/events.out.tfevents.1.retort", 307).headers["location"] == url(c, "runs/events.out.tfevents.1.retort")
    assert client.get(base + "best.tar", 307).headers["location"] == c["links"]["archive"]
    assert client.get(base + "last", 307).headers["location"].startswith(base + "ckpt_")


@pytest.mark.parametrize("name", ["no.such", "..", "../config.json", "../../../../../../etc/passwd", "%2e%2e/%2e%2e/spec.json", "..%2f..%2fspec.json", "runs", "runs/", "./config.json",
                                  "/etc/passwd", "//etc/passwd", "config.json%00", "config.json/x", "CONFIG.JSON", "%2fetc%2fpasswd", "runs/../config.json", ".", "a" * 3000])
def test_only_the_manifests_files_are_served(client, checkpoint, name):
    answer = client.request("GET", url(checkpoint[0], name))
    assert answer.status in (400, 404), answer.body[:100]


def test_a_file_of_another_job_is_not_there(client, server, checkpoint):
    other = client.finish(client.submit(server.spec("epoch"))["id"])
    c = checkpoint[0]
    client.get(f"/v1/jobs/{other['id']}/checkpoints/{c['id']}", 404)
    client.get(f"/v1/jobs/{other['id']}/checkpoints/{c['id']}/files/config.json", 404)
    client.get(f"/v1/jobs/{other['id']}/checkpoints/{c['id']}.tar", 404)


def test_archive_holds_the_same_files(client, checkpoint):
    c, files = checkpoint
    answer = client.get(c["links"]["archive"])
    with tarfile.open(fileobj=io.BytesIO(answer.body), mode="r:") as tar:
        members = {m.name: tar.extractfile(m).read() for m in tar.getmembers() if m.isfile()}
        assert all(m.mode & 0o022 == 0 for m in tar.getmembers())
    assert members == {f"{c['id']}/{name}": data for name, data in files.items()}
    assert len(answer.body) % 512 == 0 and answer.body.endswith(b"\0" * 1024)
    part = client.get(c["links"]["archive"], 206, headers={"Range": "bytes=500-1523"})
    assert part.body == answer.body[500:1524] and part.headers["content-range"] == f"bytes 500-1523/{len(answer.body)}"
    client.get(c["links"]["archive"], 416, headers={"Range": f"bytes={len(answer.body)}-"})
    client.get(c["links"]["archive"], 304, headers={"If-None-Match": answer.headers["etag"]})
    head = client.request("HEAD", c["links"]["archive"])
    assert head.status == 200 and head.headers.get("content-length", str(len(answer.body))) == str(len(answer.body))


def test_removed_checkpoint_is_gone_not_unknown(client, checkpoint):
    c = checkpoint[0]
    events = client.get(f"/v1/jobs/{c['job_id']}/events?limit=1000").json["data"]
    (removed,) = [e["data"]["checkpoint_id"] for e in events if e["type"] == "checkpoint.deleted"]
    base = f"/v1/jobs/{c['job_id']}/checkpoints/{removed}"
    for tail in ("", "/files/config.json", ".tar"):
        client.get(base + tail, 410)
    client.get(base.replace(removed, "ckpt_01ARZ3NDEKTSV4RRFFQ69G5FAV"), 404)
    client.get(base.replace(removed, "worst"), 404)


def test_no_checkpoint_yet(client, server):
    job = client.submit(server.spec("hang"))
    client.wait(job["id"], "run.started")
    assert client.get(f"/v1/jobs/{job['id']}/checkpoints").json["data"] == []
    for tail in ("best", "last", "best.tar", "best/files/config.json"):
        client.get(f"/v1/jobs/{job['id']}/checkpoints/{tail}", 404)
    client.request("DELETE", "/v1/jobs/" + job["id"])


def test_files_that_are_not_there_after_all(client, server):
    """A worker that announces what it did not write: the answer is an error, not an empty file."""
    job = client.submit(server.spec("nonsense=lie hang"))
    client.wait(job["id"], "checkpoint.written")
    answer = client.request("GET", f"/v1/jobs/{job['id']}/checkpoints/best")
    answer = client.request("GET", answer.headers["location"] + "/files/model.safetensors")
    assert answer.status in (404, 410, 500)
    client.request("DELETE", "/v1/jobs/" + job["id"])
