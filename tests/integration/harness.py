# SPDX-License-Identifier: Apache-2.0
"""A real retortd, and a client that checks every answer against api/openapi.yaml."""
import http.client
import json
import os
import pathlib
import re
import select
import signal
import socket
import subprocess
import threading
import time

import jsonschema
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("BUILD_DIR", ROOT / "build"))
SHARED = pathlib.Path(os.environ.get("RT_SHARED", ROOT.parent / "shared"))
RETORTD = BUILD / "server" / "retortd"
WORKER = BUILD / "worker" / "retort-worker"
FAKE_WORKER = pathlib.Path(__file__).with_name("fake_worker.py")
TIMEOUT_S = 20 * float(os.environ.get("TEST_FACTOR", "1"))  # what takes longer will not come; nothing waits that long when all is well


# ---- the contract ----

class Contract:
    """openapi.yaml, made strict: what is not described is an error here, though clients are told to ignore it."""

    def __init__(self):
        with open(ROOT / "api" / "openapi.yaml", encoding="utf-8") as file:
            self.raw = yaml.safe_load(file)
        with open(ROOT / "api" / "openapi.yaml", encoding="utf-8") as file:
            self.doc = yaml.safe_load(file)
        schemas = self.doc["components"]["schemas"]
        parts = {"List"} | {self.name_of(r["$ref"]) for s in schemas.values() for r in s.get("allOf", [])}
        parts |= {self.name_of(r["$ref"]) for r in schemas["Event"]["oneOf"]}
        for name, schema in schemas.items():
            self.close(schema, name in parts)
        for path in self.doc["paths"].values():
            for operation in path.values():
                for response in operation["responses"].values() if isinstance(operation, dict) else []:
                    for media in response.get("content", {}).values():
                        self.close(media["schema"], False)
        self.resolver = jsonschema.RefResolver.from_schema(self.doc)
        self.routes = [(re.compile(self.pattern(path)), path, item) for path, item in self.doc["paths"].items()]
        self.routes.sort(key=lambda r: (r[1].count("{"), -len(r[1])))

    @staticmethod
    def name_of(ref):
        return ref.rpartition("/")[2]

    @staticmethod
    def pattern(path):
        parts = re.split(r"(\{\w+\})", path)
        return "^" + "".join("(.+)" if p == "{name}" else "([^/]+)" if p.startswith("{") else re.escape(p) for p in parts) + "$"

    def close(self, schema, is_part):
        if not isinstance(schema, dict):
            return
        if "properties" in schema and not is_part and not {"additionalProperties", "unevaluatedProperties", "allOf"} & set(schema):
            schema["additionalProperties"] = False
        for child in schema.get("properties", {}).values():
            self.close(child, False)
        for key in ("items", "additionalProperties"):
            self.close(schema.get(key), False)
        for child in schema.get("oneOf", []):
            self.close(child, is_part)

    def deref(self, value):
        while "$ref" in value:
            value = self.resolver.resolve(value["$ref"])[1]
        return value

    def check(self, schema, value, what):
        validator = jsonschema.Draft202012Validator(schema, resolver=self.resolver)
        error = jsonschema.exceptions.best_match(validator.iter_errors(value))
        if error:
            place = "/".join(str(p) for p in error.absolute_path)
            raise AssertionError(f"{what}: /{place}: {error.message[:2000]}")

    def check_named(self, name, value, what):
        self.check({"$ref": "#/components/schemas/" + name}, value, what)

    def find(self, target):
        path = target.partition("?")[0]
        path = path.rstrip("/") or "/"
        for pattern, template, item in self.routes:
            if pattern.match(path):
                return template, item
        return None, None

    # Headers that any answer may have; all others must be described where they come.
    COMMON = {"date", "connection", "content-length", "content-type", "transfer-encoding", "cache-control", "x-content-type-options",
              "x-request-id", "keep-alive"}

    def check_answer(self, method, target, answer):
        what = f"{method} {target[:200]} -> {answer.status}"
        template, item = self.find(target)
        operation = item and item.get("get" if method == "HEAD" else method.lower())
        assert answer.headers.get("x-request-id"), what + ": no X-Request-Id"
        if answer.status == 400 and (not operation or "%" in target):  # a broken address, before anything is looked up
            response = self.doc["components"]["responses"]["Invalid"]
        elif not item:
            assert answer.status == 404, what + ": nothing is described at this path"
            response = self.doc["components"]["responses"]["NotFound"]
        elif not operation:
            assert answer.status == 405, what + ": this method is not described"
            response = self.doc["components"]["responses"]["MethodNotAllowed"]
        else:
            assert str(answer.status) in operation["responses"], what + ": this status is not described: " + answer.text[:500]
            response = self.deref(operation["responses"][str(answer.status)])
        described = {k.lower(): self.deref(v) for k, v in response.get("headers", {}).items()}
        for name, header in described.items():
            if name in answer.headers:
                self.check(header["schema"], answer.headers[name], f"{what}: {name}")
            else:
                assert not header.get("required"), f"{what}: no {name}"
        extra = set(answer.headers) - self.COMMON - set(described)
        assert not extra, f"{what}: headers that are not described: {extra}"
        self.check(self.doc["components"]["headers"]["X-Request-Id"]["schema"], answer.headers["x-request-id"], what)
        self.check_body(method, response, answer, what)

    def check_body(self, method, response, answer, what):
        content = response.get("content")
        if not content:
            assert not answer.body, what + ": a body where none is described"
            return
        kind = answer.headers.get("content-type")
        assert kind in content, f"{what}: Content-Type {kind} is not described, but {list(content)}"
        if method == "HEAD":
            assert not answer.body, what + ": HEAD with a body"
        elif kind.endswith("json") and content[kind]["schema"]:
            self.check(content[kind]["schema"], answer.json, what)
        if kind == "application/problem+json" and method != "HEAD":
            assert answer.json["status"] == answer.status, what
            assert answer.json["type"] == "/problems/" + answer.json["code"], what
            assert answer.json.get("request_id") == answer.headers["x-request-id"], what


CONTRACT = Contract()


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.body = status, body
        self.headers = {}
        for name, value in headers:
            name = name.lower()
            assert name not in self.headers, "header twice: " + name
            self.headers[name] = value

    @property
    def text(self):
        return self.body.decode("utf-8", "replace")

    @property
    def json(self):
        return json.loads(self.body, parse_constant=no_constant, object_pairs_hook=no_duplicates)


def no_constant(word):
    raise AssertionError(word + " is not JSON")


def no_duplicates(pairs):
    assert len(dict(pairs)) == len(pairs), "a key twice"
    return dict(pairs)


# ---- the client ----

class Client:
    def __init__(self, host, port):
        self.host, self.port = host, port

    def connect(self):
        return http.client.HTTPConnection(self.host, self.port, timeout=TIMEOUT_S)

    def request(self, method, target, body=None, headers=None):
        headers = dict(headers or {})
        if isinstance(body, (dict, list)):
            body = json.dumps(body).encode()
        if isinstance(body, str):
            body = body.encode()
        if body is not None and "Content-Type" not in headers:
            headers["Content-Type"] = "application/json"
        conn = self.connect()
        try:
            conn.request(method, target, body, {k: v for k, v in headers.items() if v is not None})
            response = conn.getresponse()
            answer = Answer(response.status, response.getheaders(), response.read())
        finally:
            conn.close()
        CONTRACT.check_answer(method, target, answer)
        return answer

    def get(self, target, status=200, **kw):
        answer = self.request("GET", target, **kw)
        assert answer.status == status, answer.text[:1000]
        return answer

    def post(self, target, body=None, status=200, headers=None):
        answer = self.request("POST", target, body, headers)
        assert answer.status == status, answer.text[:1000]
        return answer

    def submit(self, spec, **kw):
        return self.post("/v1/jobs", spec, status=201, **kw).json

    def job(self, job_id):
        return self.get("/v1/jobs/" + job_id).json

    def raw(self, data, answers=1):
        """Bytes as they are; returns the answers' status codes, fewer when the server closes before."""
        with socket.create_connection((self.host, self.port), timeout=TIMEOUT_S) as s:
            got = b""
            try:
                s.sendall(data)
                while len(re.findall(rb"HTTP/1\.[01] \d", got)) < answers:
                    part = s.recv(65536)
                    if not part:
                        break
                    got += part
            except (ConnectionResetError, BrokenPipeError):
                pass
            return [int(status) for status in re.findall(rb"HTTP/1\.[01] (\d{3}) ", got)]

    def stream(self, target, last_event_id=None, status=200):
        return Stream(self, target, last_event_id, status)

    def follow(self, job_id, until=None):
        """The job's events up to the first for which until() is true, or to the end of the stream."""
        events = []
        with self.stream(f"/v1/jobs/{job_id}/events") as stream:
            for frame in stream:
                if frame.event in ("end", "reset"):
                    break
                events.append(frame.data)
                if until and until(frame.data):
                    break
            else:
                assert not until, f"the stream ended; the last: {events[-1:]}"
        return events

    def wait(self, job_id, type):
        return self.follow(job_id, lambda e: e["type"] == type)[-1]

    def finish(self, job_id):
        """Waits for the end and returns the job."""
        self.follow(job_id)
        return self.job(job_id)


class Frame:
    def __init__(self, fields):
        self.id, self.event = fields.get("id"), fields.get("event")
        self.data = json.loads(fields["data"]) if "data" in fields else None


class Stream:
    """Server-Sent Events. Iterates over frames; checks each."""

    def __init__(self, client, target, last_event_id, status):
        self.conn = client.connect()
        headers = {"Accept": "text/event-stream"}
        if last_event_id is not None:
            headers["Last-Event-ID"] = str(last_event_id)
        self.conn.request("GET", target, headers=headers)
        self.response = self.conn.getresponse()
        self.retry = self.comments = 0
        answer = Answer(self.response.status, self.response.getheaders(), b"")
        assert self.response.status == status, self.response.read()[:1000]
        if status == 200:
            assert answer.headers["content-type"] == "text/event-stream", answer.headers
            assert answer.headers["cache-control"] == "no-store"
            assert answer.headers["x-accel-buffering"] == "no"
            CONTRACT.check_answer("HEAD", target, answer)  # headers only: the body is checked frame by frame
        else:
            answer.body = self.response.read()
            CONTRACT.check_answer("GET", target, answer)
        self.answer = answer

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.response.close()
        self.conn.close()

    def __iter__(self):
        return self

    def __next__(self):
        fields = {}
        while True:
            line = self.response.readline()
            if not line:
                assert not fields, "the stream ends within a frame"
                raise StopIteration
            assert line.endswith(b"\n"), line
            line = line.rstrip(b"\r\n").decode("utf-8")
            if line.startswith(":"):
                self.comments += 1
            elif line:
                name, colon, value = line.partition(": ")
                assert colon and name in ("id", "event", "data", "retry") and name not in fields, line
                fields[name] = value
            elif fields:
                if "retry" in fields:  # the first frame: where the stream begins
                    assert set(fields) == {"retry", "id"} and fields["retry"] == "3000" and not self.retry
                    assert re.fullmatch("[0-9]+", fields["id"])
                    self.retry += 1
                    fields = {}
                    continue
                return self.check(Frame(fields))

    @staticmethod
    def check(frame):
        if frame.event == "end":
            assert frame.data["status"] in ("succeeded", "failed", "cancelled"), frame.data
        elif frame.event != "reset":
            CONTRACT.check_named("Event", frame.data, "event " + str(frame.event))
            assert frame.event == frame.data["type"]
            assert frame.id == str(frame.data["seq"])
        return frame

    def until(self, type):
        frames = []
        for frame in self:
            frames.append(frame)
            if frame.event == type:
                return frames
        raise AssertionError(f"the stream ended before {type}: {[f.event for f in frames]}")


# ---- the server ----

class Server:
    """retortd in a folder of its own: data/, and models/ as the allowed root with a fake teacher, student and data set."""

    def __init__(self, folder, worker=FAKE_WORKER, roots=(), slots=4, args=()):
        self.folder = pathlib.Path(folder)
        self.data = self.folder / "data"
        self.models = self.folder / "models"
        for name in ("teacher", "student", "bad-student"):
            (self.models / name).mkdir(parents=True, exist_ok=True)
            (self.models / name / "config.json").write_text("{}\n")
        (self.models / "data.jsonl").write_text('{"text":"hello","label":"greet"}\n')
        (self.models / "gates").mkdir(exist_ok=True)
        self.command = [str(RETORTD), "--data", str(self.data), "--listen", "127.0.0.1:0", "--models-root", str(self.models),
                        "--worker", str(worker), "--slots", str(slots), "--restart-delay", "0", *map(str, args)]
        for root in roots:
            self.command += ["--models-root", str(root)]
        self.process = None
        self.log = self.folder / "retortd.log"

    def start(self, port=0):
        command = [*self.command, "--listen", f"127.0.0.1:{port}"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=open(self.log, "ab"))
        line = self.process.stdout.readline().decode()
        found = re.fullmatch(r"listening on http://(127\.0\.0\.1):([1-9][0-9]*)\n", line)
        assert found, f"instead of an address: {line!r}; {self.words()}"
        self.client = Client(found[1], int(found[2]))
        return self.client

    def stop(self):
        """SIGTERM; it must end cleanly."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise AssertionError("SIGTERM did not end retortd within a minute; " + self.words()) from None
            assert self.process.stdout.read() == b""
            assert self.process.returncode == 0, f"exit {self.process.returncode}; {self.words()}"
        words = self.words(10**7)
        assert "AddressSanitizer" not in words and "runtime error:" not in words, words[-5000:]

    def kill(self):
        self.process.kill()
        self.process.wait()

    def words(self, n=3000):
        return self.log.read_text("utf-8", "replace")[-n:] if self.log.exists() else ""

    def memory_bytes(self):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as file:
            return int(re.search(r"VmRSS:\s+(\d+) kB", file.read())[1]) * 1024

    def spec(self, name=None, **more):
        spec = {"teacher_id": str(self.models / "teacher"), "student_id": str(self.models / "student"),
                "dataset_id": str(self.models / "data.jsonl"), "epochs": 2}
        if name is not None:
            spec["name"] = name
        spec.update(more)
        return spec

    def gate(self, name):
        return Gate(self.models / "gates" / name)


class Gate:
    """A place where the fake worker waits. Made before the job is posted; open() lets one worker through."""

    def __init__(self, path):
        self.path = path
        os.mkfifo(path)

    def open(self):
        end = time.monotonic() + TIMEOUT_S
        while True:
            try:
                os.close(os.open(self.path, os.O_WRONLY | os.O_NONBLOCK))
                return
            except OSError:  # ENXIO: the worker is not there yet
                assert time.monotonic() < end, f"no worker came to the gate {self.path.name}"
                select.select([], [], [], 0.005)


def in_threads(n, work):
    """work(i) in n threads at once; their results in order. The first exception is raised."""
    results, errors, start = [None] * n, [], threading.Barrier(n)

    def one(i):
        try:
            start.wait()
            results[i] = work(i)
        except BaseException as e:  # noqa: BLE001: raised below, in the test's own thread
            errors.append(e)

    threads = [threading.Thread(target=one, args=(i,)) for i in range(n)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if errors:
        raise errors[0]
    return results
