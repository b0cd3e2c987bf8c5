# SPDX-License-Identifier: Apache-2.0
"""The data directory: brought up to date from every schema there was, backed up while a server writes, checked and repaired."""
import hashlib
import os
import shutil
import sqlite3
import subprocess
import threading

import pytest

from harness import RETORTD, ROOT, Server

DUMPS = sorted((ROOT / "tests" / "migrations").glob("schema-*.sql"))
OLD_MODELS = "/srv/retort/models"


def retortd(*args, status=0):
    done = subprocess.run([RETORTD, *map(str, args)], capture_output=True, text=True, timeout=60)
    assert done.returncode == status, done
    return done.stdout if status == 0 or done.stdout else done.stderr


def open_db(path):
    db = sqlite3.connect(path)
    db.row_factory = sqlite3.Row
    return db


def schema_of(path):
    db = open_db(path)
    try:
        return db.execute("PRAGMA user_version").fetchone()[0]
    finally:
        db.close()


NEWEST = len(list((ROOT / "migrations").glob("*.sql")))


# ---- migrations ----

def old_database(server, dump):
    server.data.mkdir(parents=True)
    db = open_db(server.data / "retort.db")
    db.executescript(dump.read_text("utf-8").replace(OLD_MODELS, str(server.models)))
    db.close()


@pytest.mark.parametrize("dump", DUMPS, ids=[d.stem for d in DUMPS])
def test_an_old_database_is_brought_up_to_date(tmp_path, dump):
    server = Server(tmp_path, slots=1)
    old_database(server, dump)
    old = int(dump.stem.rpartition("-")[2])
    try:
        client = server.start()
        assert schema_of(server.data / "retort.db") == NEWEST
        backup = server.data / f"retort.db.schema-{old}.bak"
        assert schema_of(backup) == old
        jobs = {j["status"]: j for j in client.get("/v1/jobs").json["data"]}
        done = jobs["succeeded"]
        assert done["revision"] == 1 and done["spec"]["max_restarts"] == 3 and done["progress"]["best"]["epoch"] == 3
        assert [(e["epoch"], e["attempt"], e["superseded"]) for e in client.get(f"/v1/jobs/{done['id']}/epochs").json["data"]] == [
            (1, 1, False), (2, 1, False), (3, 1, False)]
        assert [c["epoch"] for c in client.get(f"/v1/jobs/{done['id']}/checkpoints").json["data"]] == [2, 3]
        assert client.get(f"/v1/jobs/{done['id']}/events?limit=1000").json["data"][-1]["type"] == "job.succeeded"
        assert [j["id"] for j in client.get("/v1/jobs?tag=kept").json["data"]] == [done["id"]]
        assert jobs["failed"]["error"]["reason"] == "bad_input" and jobs["failed"]["actions"] == ["retry", "delete"]
        assert jobs["cancelled"]["finished_at"]
        # a job that ran when the old server was killed goes on here
        running = jobs["running"]
        assert running["attempt"] == 2 or client.follow(running["id"], lambda e: e["attempt"] == 2)
        client.wait(running["id"], "run.lost")
        client.request("DELETE", "/v1/jobs/" + running["id"])
        assert client.finish(jobs["queued"]["id"])["status"] == "succeeded"
        key = client.post("/v1/jobs", server.spec("epoch"), 422, {"Idempotency-Key": '"old-key"'})
        assert "Idempotency-Key" in key.json["detail"]
        before = backup.stat().st_mtime_ns
        server.stop()
        server.start()
        assert backup.stat().st_mtime_ns == before  # only once
    finally:
        server.stop()


def test_a_migration_that_fails_changes_nothing(tmp_path):
    server = Server(tmp_path)
    old_database(server, DUMPS[0])
    db = open_db(server.data / "retort.db")
    db.execute("CREATE TABLE epochs_2 (x)")  # in the way of a migration
    db.commit()
    before = list(db.iterdump())
    db.close()
    words = retortd("--data", server.data, "--listen", "127.0.0.1:0", status=1)
    assert "cannot be brought up to date" in words and "epochs_2" in words
    db = open_db(server.data / "retort.db")
    assert list(db.iterdump()) == before and db.execute("PRAGMA user_version").fetchone()[0] == 1
    db.close()
    assert schema_of(server.data / "retort.db.schema-1.bak") == 1


def test_a_migration_without_room_for_its_backup_does_not_begin(tmp_path):
    server = Server(tmp_path)
    old_database(server, DUMPS[0])
    (server.data / "retort.db.schema-1.bak.part").mkdir()
    words = retortd("--data", server.data, "--listen", "127.0.0.1:0", status=1)
    assert "backup" in words
    assert schema_of(server.data / "retort.db") == 1


# ---- backup ----

def test_a_backup_while_jobs_come_in(start, tmp_path):
    server = start(slots=1)
    client = server.client
    accepted, stop = [], threading.Event()

    def post():
        while not stop.is_set():
            accepted.append(client.submit(server.spec("hang"))["id"])

    thread = threading.Thread(target=post)
    thread.start()
    sets = []
    for i in range(5):
        had = list(accepted)
        retortd("--backup", server.data, "--to", tmp_path / "copy.db")
        db = open_db(tmp_path / "copy.db")
        assert db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        sets.append({row["id"] for row in db.execute("SELECT id FROM jobs")})
        assert set(had) <= sets[-1]  # all that had its 201
        assert db.execute("SELECT count(*) FROM events WHERE job_id NOT IN (SELECT id FROM jobs)").fetchone()[0] == 0
        db.close()
    stop.set()
    thread.join()
    assert not list(tmp_path.glob("copy.db?*"))  # one file, nothing beside it
    server.stop()
    # a server on the copy alone
    other = Server(tmp_path / "other")
    other.data.mkdir(parents=True)
    shutil.copy(tmp_path / "copy.db", other.data / "retort.db")
    other.command += ["--slots", "1"]
    other.start()
    try:
        for job_id in sets[-1]:
            assert other.client.job(job_id)["status"] in ("queued", "running", "failed")
    finally:
        other.stop()


@pytest.mark.parametrize("args, word", [
    (["--backup", "D"], "--to"), (["--to", "F"], "--backup"), (["--backup", "/no/such", "--to", "F"], "/no/such"),
    (["--backup", "D", "--to", "/no/such/folder/f.db"], "/no/such/folder"), (["--check", "/no/such"], "/no/such"), (["--repair"], "--check"),
    (["--check", "D", "--data", "D"], "exclude"),
])
def test_wrong_uses_are_named(start, tmp_path, args, word):
    server = start()
    server.stop()
    done = subprocess.run([RETORTD, *(a.replace("D", str(server.data)).replace("F", str(tmp_path / "f.db")) if a in "DF" else a for a in args)],
                          capture_output=True, text=True, timeout=30)
    assert done.returncode in (1, 2) and word in done.stderr and not done.stdout


# ---- check and repair ----

@pytest.fixture
def place(tmp_path):
    """A stopped server's data with two jobs that are done; gives (server, jobs)."""
    server = Server(tmp_path)
    client = server.start()
    jobs = [client.finish(client.submit(server.spec("epoch epoch"))["id"]) for _ in range(2)]
    for job in jobs:
        job["checkpoints"] = client.get(f"/v1/jobs/{job['id']}/checkpoints").json["data"]
    server.stop()
    yield server, jobs
    server.stop()


def folder_of(server, checkpoint):
    return server.data / "runs" / checkpoint["run_id"] / "checkpoints" / checkpoint["id"]


def test_a_whole_directory_is_whole(place):
    server, _ = place
    words = retortd("--check", server.data)
    assert words == "4 checkpoints with 20 files read; 0 problems, 0 repaired\n"


def test_it_does_not_look_while_a_server_works(place):
    server, _ = place
    server.start()
    assert "another retortd" in retortd("--check", server.data, status=1)


def damage(server, jobs, what):
    """Does it, and gives words that the finding must hold."""
    best = jobs[0]["checkpoints"][1]
    weights = folder_of(server, best) / "model.safetensors"
    runs = server.data / "runs"
    db = open_db(server.data / "retort.db")
    try:
        if what == "a byte":
            data = bytearray(weights.read_bytes())
            data[50] ^= 1
            weights.write_bytes(data)
            return best["id"], "SHA-256"
        if what == "a cut file":
            os.truncate(weights, 10)
            return best["id"], "has 10 bytes instead of"
        if what == "a missing file":
            weights.unlink()
            return best["id"], "cannot be read"
        if what == "a missing folder":
            shutil.rmtree(folder_of(server, best))
            return best["id"], "folder is not there"
        if what == "an orphan run":
            orphan = runs / "run_01ARZ3NDEKTSV4RRFFQ69G5FAV"
            (orphan / "checkpoints").mkdir(parents=True)
            return orphan.name, "no row names"
        if what == "an orphan checkpoint":
            orphan = folder_of(server, best).with_name("ckpt_01ARZ3NDEKTSV4RRFFQ69G5FAV")
            shutil.copytree(folder_of(server, best), orphan)
            return orphan.name, "no row names"
        if what == "an unfinished checkpoint":
            orphan = folder_of(server, best).with_name(".tmp-ckpt_01ARZ3NDEKTSV4RRFFQ69G5FAV")
            orphan.mkdir()
            return orphan.name, "not finished"
        if what == "rows without a job":
            db.execute("DELETE FROM jobs WHERE id = ?", (jobs[0]["id"],))
            db.execute("INSERT INTO job_tags (tag, job_id) VALUES ('t', ?)", (jobs[0]["id"],))
            return "belong to no job",
        if what == "a job without a run":
            db.execute("UPDATE jobs SET status = 'running' WHERE id = ?", (jobs[0]["id"],))
            return jobs[0]["id"], "no run"
        if what == "a best that is not there":
            db.execute("UPDATE jobs SET best_checkpoint_id = 'ckpt_01ARZ3NDEKTSV4RRFFQ69G5FAV' WHERE id = ?", (jobs[0]["id"],))
            return jobs[0]["id"], "best"
        raise ValueError(what)
    finally:
        db.commit()
        db.close()


@pytest.mark.parametrize("what", ["a byte", "a cut file", "a missing file", "a missing folder", "an orphan run", "an orphan checkpoint",
                                  "an unfinished checkpoint", "rows without a job", "a job without a run", "a best that is not there"])
def test_damage_is_found_and_repaired(place, what):
    server, jobs = place
    words = damage(server, jobs, what)
    said = retortd("--check", server.data, status=1)
    assert all(w in said for w in words) and " 0 problems" not in said and "0 repaired" in said, said
    assert retortd("--check", server.data, status=1) == said  # looking changes nothing
    said = retortd("--check", server.data, "--repair")
    assert "(repaired)" in said and all(w in said for w in words)
    assert "0 problems" in retortd("--check", server.data)
    client = server.start()  # and the API agrees
    for job in jobs:
        if what == "rows without a job" and job is jobs[0]:
            client.get("/v1/jobs/" + job["id"], 404)
            continue
        if what == "a job without a run" and job is jobs[0]:  # queued again: it runs now
            assert client.finish(job["id"])["status"] == "succeeded"
            continue
        for checkpoint in client.get(f"/v1/jobs/{job['id']}/checkpoints").json["data"]:
            body = client.get(f"/v1/jobs/{job['id']}/checkpoints/{checkpoint['id']}/files/model.safetensors").body
            assert hashlib.sha256(body).hexdigest() == next(f["sha256"] for f in checkpoint["files"] if f["name"] == "model.safetensors")
        client.get(client.get(f"/v1/jobs/{job['id']}/checkpoints/best", 307).headers["location"])
    assert client.job(jobs[1]["id"]) == {k: v for k, v in jobs[1].items() if k != "checkpoints"}


def test_a_torn_database_is_told_and_not_touched(place):
    server, _ = place
    path = server.data / "retort.db"
    db = open_db(path)
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    size, page = db.execute("PRAGMA page_count").fetchone()[0], db.execute("PRAGMA page_size").fetchone()[0]
    db.close()
    with open(path, "r+b") as file:
        for n in range(size // 2, size):
            file.seek(n * page)
            file.write(b"\xa5" * page)
    torn = path.read_bytes()
    for args in ((), ("--repair",)):
        words = retortd("--check", server.data, *args, status=1)
        assert words.startswith("database: ") and "put back a backup" in words
    assert path.read_bytes()[: 20 * page] == torn[: 20 * page]


def test_only_this_schema_is_looked_at(tmp_path):
    server = Server(tmp_path)
    old_database(server, DUMPS[0])
    words = retortd("--check", server.data, status=1)
    assert "schema 1" in words and "start retortd" in words


# ---- retention ----

def aged(server, days_of):
    db = open_db(server.data / "retort.db")
    for job_id, days in days_of.items():
        assert db.execute("UPDATE jobs SET finished_ms = finished_ms - ? WHERE id = ?", (days * 86400_000, job_id)).rowcount == 1
    db.commit()
    db.close()


@pytest.fixture
def old_jobs(tmp_path):
    """A stopped server with jobs that finished 40, 30, 20 and 0 days ago; the oldest is the teacher of one that is paused."""
    server = Server(tmp_path, slots=1)
    client = server.start()
    jobs = [client.finish(client.submit(server.spec("epoch"))["id"])["id"] for _ in range(4)]
    blocker = client.submit(server.spec("hang"))
    client.wait(blocker["id"], "run.started")
    pupil = client.submit(server.spec("epoch", teacher_id=jobs[0]))
    client.post(f"/v1/jobs/{pupil['id']}/pause")
    client.request("DELETE", "/v1/jobs/" + blocker["id"])
    server.stop()
    aged(server, dict(zip(jobs, (40, 30, 20))))
    yield server, jobs, pupil["id"]
    server.stop()


def folders(server):
    return {p.name for p in (server.data / "runs").iterdir()}


def test_what_would_go_is_told_and_stays(old_jobs):
    server, jobs, _ = old_jobs
    client = server.start()
    before = folders(server)
    plan = client.get("/v1/retention?keep_days=25").json
    assert [(j["job_id"], j["reason"]) for j in plan["jobs"]] == [(jobs[1], "keep_days")] and plan["needed_jobs"] == 1
    assert plan["freed_bytes"] == plan["jobs"][0]["bytes"] > 100_000 and plan["total_bytes"] > 3 * plan["freed_bytes"]
    nothing = client.get("/v1/retention").json
    assert nothing["jobs"] == [] and nothing["keep_days"] is None and nothing["max_bytes"] is None
    limit = plan["total_bytes"] - plan["freed_bytes"] - 1
    plan = client.get(f"/v1/retention?max_bytes={limit}").json
    assert [(j["job_id"], j["reason"]) for j in plan["jobs"]] == [(jobs[1], "max_bytes"), (jobs[2], "max_bytes")]
    client.get("/v1/retention?keep_days=0", 400)
    client.get("/v1/retention?days=1", 400)
    words = retortd("--data", server.data, "--prune", "--dry-run", "--keep-days", 25)  # while the server runs
    assert jobs[1] in words and "1 jobs" in words and "would go; 1 more" in words
    assert "another retortd" in retortd("--data", server.data, "--prune", "--keep-days", 25, status=1)
    assert folders(server) == before and len(client.get("/v1/jobs").json["data"]) == 5


def test_a_server_removes_what_is_old(old_jobs):
    server, jobs, pupil = old_jobs
    server.command += ["--keep-days", "10"]
    client = server.start()
    with client.stream("/v1/events", last_event_id=0) as stream:
        gone = {}
        for frame in stream:
            if frame.event == "job.deleted" and frame.data["data"]["reason"] == "keep_days":
                gone[frame.data["job_id"]] = frame.data["data"]["reason"]
                if len(gone) == 2:
                    break
    assert gone == {jobs[1]: "keep_days", jobs[2]: "keep_days"}
    for job_id in jobs[1:3]:
        client.get("/v1/jobs/" + job_id, 404)
    assert client.job(jobs[0])["status"] == client.job(jobs[3])["status"] == "succeeded"
    client.post(f"/v1/jobs/{pupil}/resume")
    assert client.finish(pupil)["status"] == "succeeded"  # its teacher was not taken away
    server.stop()
    assert "0 problems" in retortd("--check", server.data)


def test_prune_from_the_command_line(old_jobs):
    server, jobs, _ = old_jobs
    words = retortd("--data", server.data, "--prune", "--max-bytes", 0)
    assert all(j in words for j in jobs[1:]) and jobs[0] not in words and "3 jobs" in words and "are gone" in words
    assert "0 problems" in retortd("--check", server.data)
    client = server.start()
    assert {j["id"] for j in client.get("/v1/jobs").json["data"]} == {jobs[0], old_jobs[2]}
    assert len(folders(server)) == 1


@pytest.mark.parametrize("args", [["--prune"], ["--prune", "--keep-days", "0"], ["--dry-run"], ["--prune", "--max-bytes", "x"]])
def test_prune_needs_to_know_what(tmp_path, args):
    done = subprocess.run([RETORTD, "--data", tmp_path, *args], capture_output=True, text=True, timeout=30)
    assert done.returncode == 2 and "--" in done.stderr
