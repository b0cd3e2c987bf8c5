# SPDX-License-Identifier: Apache-2.0
"""What strangers send: wrong specs, wrong HTTP, wrong paths. Each gets a precise answer and disturbs nothing else."""
import json
import os
import socket
import threading

import pytest

from harness import CONTRACT, TIMEOUT_S, in_threads

NO_JOB = "job_01ARZ3NDEKTSV4RRFFQ69G5FAV"


def test_server_routes(client):
    assert client.get("/healthz").json["status"] == "ok"
    assert client.get("/readyz").json == {"status": "ready"}
    assert client.get("/version").json["name"] == "retortd"


# ---- specs ----

BAD_FIELDS = [
    ("unknown field with its neighbour", {"temparature": 19}, "/temparature", "unknown field 'temparature'; did you mean 'temperature'?", "temperature"),
    ("unknown field without one", {"zzzzzzzz": 1}, "/zzzzzzzz", "unknown field 'zzzzzzzz'", None),
    ("unknown member", {"resources": {"cpus": 1}}, "/resources/cpus", "unknown field 'cpus'; did you mean 'gpus'?", "gpus"),
    ("wrong type", {"alpha": "0.5"}, "/alpha", 'alpha must be a number (got "0.5")', None),
    ("text for a switch", {"fp16": "False"}, "/fp16", 'fp16 must be true or false (got "False")', None),
    ("list for text", {"name": ["a"]}, "/name", 'name must be a string (got ["a"])', None),
    ("alpha below 0", {"alpha": -0.1}, "/alpha", "alpha must be between 0 and 1 (got -0.1)", None),
    ("alpha above 1", {"alpha": 1.5}, "/alpha", "alpha must be between 0 and 1 (got 1.5)", None),
    ("temperature 0", {"temperature": 0}, "/temperature", "temperature must be above 0 and at most 1000 (got 0)", None),
    ("temperature below 0", {"temperature": -4}, "/temperature", "temperature must be above 0 and at most 1000 (got -4)", None),
    ("epochs 0", {"epochs": 0}, "/epochs", "epochs must be between 1 and 10000 (got 0)", None),
    ("half an epoch", {"epochs": 1.5}, "/epochs", "epochs must be an integer (got 1.5)", None),
    ("learning rate 0", {"learning_rate": 0}, "/learning_rate", "learning_rate must be above 0 and at most 1 (got 0)", None),
    ("a huge number", {"epochs": 10**18}, "/epochs", "epochs must be between 1 and 10000 (got 1000000000000000000)", None),
    ("a word that is none", {"precision": "fp23"}, "/precision", "", "fp32"),
    ("null for a number", {"epochs": None}, "/epochs", "epochs must not be null", None),
    ("search", {"run_hpo": True}, "/run_hpo", "", None),
    ("a token", {"hub_token": "hf_secret"}, "/hub_token", "", None),
    ("two GPUs", {"resources": {"gpus": 2}}, "/resources/gpus", "", None),
    ("33 tags", {"tags": [str(i) for i in range(33)]}, "/tags", "tags may hold at most 32 strings (got 33)", None),
    ("an escape in a pointer", {"a/b~c": 1}, "/a~1b~0c", "unknown field 'a/b~c'", None),
]


@pytest.mark.parametrize("change, pointer, detail, suggestion", [pytest.param(*row[1:], id=row[0]) for row in BAD_FIELDS])
def test_wrong_field(client, server, change, pointer, detail, suggestion):
    problem = client.post("/v1/jobs", server.spec(**change), status=422).json
    assert problem["code"] == "unprocessable"
    (item,) = problem["errors"]
    assert item["pointer"] == pointer
    assert item["detail"] == detail or not detail
    assert item.get("suggestion") == suggestion
    assert "hf_secret" not in json.dumps(problem)
    answer = client.post("/v1/jobs:validate", server.spec(**change)).json
    assert answer["valid"] is False
    assert [e["pointer"] for e in answer["errors"]] == [pointer]


def test_all_wrong_fields_at_once(client, server):
    problem = client.post("/v1/jobs", server.spec(alpha=2, epochs=0, temparature=1, student_id=3), status=422).json
    assert [e["pointer"] for e in problem["errors"]] == ["/student_id", "/epochs", "/alpha", "/temparature"] or \
        {e["pointer"] for e in problem["errors"]} == {"/student_id", "/epochs", "/alpha", "/temparature"}


@pytest.mark.parametrize("body", [b"NaN", b'{"alpha": NaN}', b'{"alpha": Infinity}', b"", b"{", b"[1,2", b'{"a":1}x', b"\xff\xfe", b'{"a":1,"a":2}',
                                  b'{"name":"\\ud800"}', b"[" * 100000, b'{"a":' * 5000, b"\0", b'{"epochs": 1e999}', b"{'a': 1}"])
def test_not_json(client, body):
    for path in ("/v1/jobs", "/v1/jobs:validate"):
        problem = client.post(path, body, status=400).json
        assert problem["code"] == "invalid" and len(problem["detail"]) > 10


@pytest.mark.parametrize("body", [b"1", b"null", b'"x"', b"[]", b"[{}]"])
def test_json_that_is_no_object(client, body):
    assert client.request("POST", "/v1/jobs", body).status in (400, 422)


@pytest.mark.parametrize("field, word", [("teacher_id", "/no/such/model"), ("student_id", "/etc"), ("dataset_id", "relative/path.jsonl"),
                                         ("student_id", "google-bert/bert-base-uncased"), ("teacher_id", NO_JOB), ("dataset_id", NO_JOB),
                                         ("student_id", "ds_01ARZ3NDEKTSV4RRFFQ69G5FAV"), ("teacher_id", "/proc/self/root/etc")])
def test_reference_that_stands_for_nothing(client, server, field, word):
    problem = client.post("/v1/jobs", server.spec(**{field: word}), status=422).json
    (item,) = problem["errors"]
    assert item["pointer"] == "/" + field and word in item["detail"], item


def test_path_above_the_root_is_refused(client, server):
    for path in (f"{server.models}/../data/retort.db", f"{server.models}/..", f"{server.models}/../../../../etc/passwd"):
        problem = client.post("/v1/jobs", server.spec(dataset_id=path), status=422).json
        assert [e["pointer"] for e in problem["errors"]] == ["/dataset_id"]


def test_link_out_of_the_root_is_refused(client, server):
    link = server.models / "link"
    os.symlink("/etc", link)
    client.post("/v1/jobs", server.spec(dataset_id=str(link / "passwd")), status=422)
    os.unlink(link)


def test_job_without_a_best_checkpoint_is_no_teacher(client, server):
    job = client.submit(server.spec("hang"))
    client.wait(job["id"], "run.started")
    problem = client.post("/v1/jobs", server.spec(teacher_id=job["id"]), status=422).json
    assert job["id"] in problem["errors"][0]["detail"]
    client.request("DELETE", "/v1/jobs/" + job["id"])


def test_validate_asks_the_worker(client, server):
    answer = client.post("/v1/jobs:validate", server.spec()).json
    assert answer["valid"] and answer["errors"] == [] and answer["facts"]["train_rows"] == 10
    assert answer["resolved"]["temperature"] == 4
    answer = client.post("/v1/jobs:validate", server.spec(student_id=str(server.models / "bad-student"))).json
    assert not answer["valid"] and answer["errors"][0]["pointer"] == "/student_id"
    assert client.get("/v1/jobs?limit=1&tag=validate").json["data"] == []


def test_validate_when_the_worker_dies(client, server):
    answer = client.request("POST", "/v1/jobs:validate", server.spec("crash"))
    assert answer.status in (500, 503) and "validat" in answer.json["detail"].lower() or "check" in answer.json["detail"].lower()


def test_validate_many_at_once(client, server):
    for answer in in_threads(12, lambda i: client.request("POST", "/v1/jobs:validate", server.spec())):
        assert answer.status in (200, 503)


# ---- idempotency ----

def test_replay_and_conflict(client, server):
    spec = server.spec("epoch")
    first = client.post("/v1/jobs", spec, 201, {"Idempotency-Key": '"k 1"'})
    again = client.post("/v1/jobs", spec, 201, {"Idempotency-Key": '"k 1"'})
    assert again.body == first.body and again.headers["location"] == first.headers["location"]
    assert again.headers["idempotent-replayed"] == "true" and "idempotent-replayed" not in first.headers
    other = client.post("/v1/jobs", {**spec, "epochs": 3}, 422, {"Idempotency-Key": '"k 1"'}).json
    assert "Idempotency-Key" in other["detail"]
    unquoted = client.post("/v1/jobs", spec, 201, {"Idempotency-Key": "k 1"})
    assert unquoted.body == first.body


def test_a_refused_request_does_not_use_its_key_up(client, server):
    key = {"Idempotency-Key": '"mistake"'}
    client.post("/v1/jobs", server.spec(alpha=2), 422, key)
    client.post("/v1/jobs", server.spec("epoch"), 201, key)


@pytest.mark.parametrize("key", ['""', '"open', "x" * 256, '"a" b', '"a"; q=1', "caf\u00e9"])
def test_bad_key(client, server, key):
    answer = client.request("POST", "/v1/jobs", server.spec("epoch"), {"Idempotency-Key": key.encode("utf-8")})
    assert answer.status in (400, 201)
    assert answer.status == 400 or key == '"a"; q=1'


def test_same_key_at_once_makes_one_job(client, server):
    spec = server.spec("epoch", tags=["once"])
    answers = in_threads(16, lambda i: client.request("POST", "/v1/jobs", spec, {"Idempotency-Key": '"at once"'}))
    done = [a for a in answers if a.status == 201]
    assert {a.status for a in answers} <= {201, 409} and done
    assert len({a.json["id"] for a in done}) == 1
    assert len(client.get("/v1/jobs?tag=once").json["data"]) == 1
    assert sum("idempotent-replayed" not in a.headers for a in done) == 1


# ---- paths and methods ----

def test_slash_at_the_end(client, server):
    job = client.post("/v1/jobs/", server.spec("epoch"), 201).json
    for path in ("/v1/jobs/", f"/v1/jobs/{job['id']}/", f"/v1/jobs/{job['id']}/events/", f"/v1/jobs/{job['id']}/epochs/", "/healthz/", "/version/"):
        client.get(path)


@pytest.mark.parametrize("path", ["/v1", "/v2/jobs", "/v1/job", "/v1/jobs/x/y/z", "//v1/jobs", "/v1//jobs", "/V1/jobs", "/v1/jobs/%2e%2e", "/favicon.ico",
                                  "/v1/jobs/../../etc/passwd", "/v1/jobs:Validate", "/v1/jobsx", "/" + "a/" * 100, "/%00", "/v1/jobs/" + "x" * 4000])
def test_nothing_there(client, path):
    assert client.request("GET", path).status in (400, 404)


@pytest.mark.parametrize("tail", ["", "/events", "/epochs", "/logs", "/checkpoints", "/checkpoints/best", "/checkpoints/best.tar", "/checkpoints/best/files/config.json"])
@pytest.mark.parametrize("job_id", [NO_JOB, "job_1", "run_01ARZ3NDEKTSV4RRFFQ69G5FAV", "%27%20OR%201=1--", "job_01ARZ3NDEKTSV4RRFFQ69G5FAV%00"])
def test_no_such_job(client, job_id, tail):
    answer = client.request("GET", f"/v1/jobs/{job_id}{tail}")
    assert answer.status == 404 or (answer.status == 400 and "%00" in job_id)


def test_every_path_names_its_methods(client):
    for template, item in CONTRACT.raw["paths"].items():
        path = template.replace("{job_id}", NO_JOB).replace("{checkpoint_id}", "best").replace("{run_id}", "run_01ARZ3NDEKTSV4RRFFQ69G5FAV").replace(
            "{name}", "config.json")
        have = {m.upper() for m in item if m != "parameters"}
        have |= {"HEAD"} if "GET" in have else set()
        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"):
            if method in have:
                continue
            answer = client.request(method, path)
            assert answer.status == 405, (method, path)
            assert {m.strip() for m in answer.headers["allow"].split(",")} == have, (path, answer.headers["allow"])


def test_head_is_get_without_a_body(client, server):
    job = client.submit(server.spec("epoch"))
    client.follow(job["id"])
    for path in ("/healthz", "/v1/jobs?limit=1", "/v1/jobs/" + job["id"], f"/v1/jobs/{job['id']}/checkpoints", f"/v1/jobs/{job['id']}/logs"):
        head, get = client.request("HEAD", path), client.get(path)
        assert head.status == 200 and head.headers["content-length"] == str(len(get.body)) and head.body == b""


def test_content_type(client, server):
    spec = json.dumps(server.spec("epoch"))
    for kind in ("application/json; charset=utf-8", "Application/JSON"):
        client.post("/v1/jobs", spec, 201, {"Content-Type": kind})
    for kind in ("text/plain", "application/x-www-form-urlencoded", "application/jsonx", "", None):
        headers = {"Content-Type": kind} if kind is not None else {}
        conn = client.connect()
        conn.request("POST", "/v1/jobs", spec, headers)
        response = conn.getresponse()
        body = json.loads(response.read())
        assert response.status == 415 and "application/json" in body["detail"], kind
        conn.close()


# ---- sizes ----

def test_body_of_the_limit_is_read(client, server):
    spec = json.dumps(server.spec(alpha=2)).encode()
    client.post("/v1/jobs", spec + b" " * ((1 << 20) - len(spec)), status=422)
    problem = client.post("/v1/jobs", spec + b" " * ((1 << 20) - len(spec) + 1), status=413).json
    assert "1048576" in problem["detail"]


def send_big(client, head, size, chunked):
    """Sends until the server has had enough; returns the status line."""
    piece = b" " * 65536
    with socket.create_connection((client.host, client.port), timeout=TIMEOUT_S) as s:
        s.sendall(head)
        sent = 0
        try:
            while sent < size:
                s.sendall(b"10000\r\n" + piece + b"\r\n" if chunked else piece)
                sent += len(piece)
        except OSError:
            pass
        got = b""
        try:
            while b"\r\n\r\n" not in got:
                part = s.recv(65536)
                if not part:
                    break
                got += part
        except ConnectionResetError:
            pass
        return got, sent


def test_100_mb_body(client, server):
    before = server.memory_bytes()
    head = b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 104857600\r\n\r\n"
    got, sent = send_big(client, head, 104857600, False)
    assert got.startswith(b"HTTP/1.1 413 ") and b"application/problem+json" in got, got[:300]
    assert sent < 50_000_000, "the server read it all"
    head = b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    got, sent = send_big(client, head, 104857600, True)
    assert got.startswith(b"HTTP/1.1 413 ") or (not got and sent < 104857600), got[:300]
    assert server.memory_bytes() - before < 10_000_000
    client.get("/healthz")


# ---- HTTP that is none ----

@pytest.mark.parametrize("data, wanted", [
    (b"hello\r\n\r\n", 400), (b"GET /healthz HTTP/9.9\r\n\r\n", 505), (b"GET /healthz HTTP/1.1\r\n\r\n", 400), (b"GET /healthz HTTP/1.1\r\nHost x\r\n\r\n", 400),
    (b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: abc\r\n\r\n", 400), (b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n", 400),
    (b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef", 400),
    (b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n", 400),
    (b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414), (b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 100_000 + b"\r\n\r\n", 431),
    (b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: y\r\n" % i for i in range(5000)) + b"\r\n", 431),
    (b"GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n", 400), (b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    (b"GET /v1/jobs?" + b"&".join(b"a%d=1" % i for i in range(500)) + b" HTTP/1.1\r\nHost: x\r\n\r\n", 400),
])
def test_broken_http(client, data, wanted):
    # libmicrohttpd 0.9.75 sends the head of a refusal of its own (no Host, a Content-Length that is no number) twice, then closes
    assert client.raw(data) in ([wanted], [400], [400, 400], [413], []), "no answer that says so"
    client.get("/healthz")


@pytest.mark.parametrize("data", [
    b"\r\n\r\n", b"G", b"GET\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"\0" * 1000, b"GET /healthz HTTP/1.1\r\nHost:",
    b'POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"a":',
])
def test_requests_that_break_off(client, data):
    for _ in range(20):
        with socket.create_connection((client.host, client.port), timeout=TIMEOUT_S) as s:
            s.sendall(data)
    client.get("/healthz")


def test_request_in_single_bytes(client):
    with socket.create_connection((client.host, client.port), timeout=TIMEOUT_S) as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for b in b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n":
            s.sendall(bytes([b]))
        got = b""
        while part := s.recv(1000):
            got += part
    assert got.startswith(b"HTTP/1.1 200 ")


def test_pipelined_requests_are_answered_in_order(client):
    request = b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n"
    assert client.raw(request % b"healthz" + request % b"nothing" + request % b"version", answers=3) == [200, 404, 200]


def test_connections_that_say_nothing_do_not_keep_others_out(client):
    idle = [socket.create_connection((client.host, client.port)) for _ in range(200)]
    client.get("/healthz")
    for s in idle[:100]:
        s.sendall(b"GET /healthz HT")
    client.get("/healthz")
    for s in idle:
        s.close()


# ---- the workers' route ----

def test_worker_route_wants_a_token(client, server):
    path = "/v1/worker/runs/run_01ARZ3NDEKTSV4RRFFQ69G5FAV/events"
    kind = {"Content-Type": "application/x-ndjson"}
    assert client.request("POST", path, b"", kind).status == 401
    assert client.request("POST", path, b"", {**kind, "Authorization": "Bearer x"}).status == 401
    job = client.submit(server.spec("hang"))
    run = client.wait(job["id"], "run.started")["run_id"]
    path = f"/v1/worker/runs/{run}/events"
    for token in ("", "Bearer", "Bearer x", "Basic eDp5", "Bearer " + "x" * 5000):
        assert client.request("POST", path, b"", {**kind, "Authorization": token}).status == 401
    client.request("DELETE", "/v1/jobs/" + job["id"])


def test_no_token_in_what_users_see(client, server):
    job = client.submit(server.spec("hang"))
    client.wait(job["id"], "run.started")
    pid = client.wait(job["id"], "run.started")["data"]["pid"]
    for name in ("cmdline", "environ"):
        with open(f"/proc/{pid}/{name}", "rb") as file:
            assert b"Bearer" not in file.read()
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        args = file.read().split(b"\0")
    assert args[args.index(b"--token-fd") + 1].isdigit()
    client.request("DELETE", "/v1/jobs/" + job["id"])


def test_answers_while_many_ask(client, server):
    stop = threading.Event()

    def ask(i):
        n = 0
        while not stop.is_set() and n < 50:
            client.get("/v1/jobs?limit=1")
            n += 1

    in_threads(8, ask)
    stop.set()
