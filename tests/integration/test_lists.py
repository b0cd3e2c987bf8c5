# SPDX-License-Identifier: Apache-2.0
"""Lists: pages, order, filters, with more jobs than any page holds."""
import json

import pytest

from harness import in_threads

MANY = 2100


@pytest.fixture(scope="module")
def many(server):
    """MANY queued jobs behind one that hangs in the only slots, oldest first."""
    blockers = [server.client.submit(server.spec("hang")) for _ in range(4)]
    for b in blockers:
        server.client.wait(b["id"], "run.started")

    def post(i):
        conn = server.client.connect()
        ids = []
        for k in range(i, MANY, 10):
            tags = ["all"] + (["even"] if k % 2 == 0 else []) + (["third"] if k % 3 == 0 else [])
            conn.request("POST", "/v1/jobs", json.dumps(server.spec("epoch", tags=tags)), {"Content-Type": "application/json"})
            response = conn.getresponse()
            body = json.loads(response.read())
            assert response.status == 201, body
            ids.append(body["id"])
        conn.close()
        return ids

    ids = [job_id for part in in_threads(10, post) for job_id in part]
    return sorted(ids), sorted(b["id"] for b in blockers)


def pages(client, query):
    """All ids, page by page."""
    ids, after, n = [], "", 0
    while True:
        page = client.get("/v1/jobs?" + query + after).json
        here = [job["id"] for job in page["data"]]
        assert page["first_id"] == (here[0] if here else None) and page["last_id"] == (here[-1] if here else None)
        ids += here
        n += 1
        if not page["has_more"]:
            return ids, n
        assert here, "an empty page says that there is more"
        after = "&after=" + page["last_id"]


def test_ids_sort_by_age(client, many):
    jobs = [client.job(many[0][i]) for i in (0, 1000, -1)]
    assert [j["created_at"] for j in jobs] == sorted(j["created_at"] for j in jobs)


def test_every_job_is_on_exactly_one_page(client, many):
    ids, n = pages(client, "limit=100")
    assert ids == sorted(many[0] + many[1], reverse=True)
    assert n == (MANY + len(many[1]) + 99) // 100


def test_oldest_first(client, many):
    ids, _ = pages(client, "limit=100&order=asc&status=queued")
    assert ids == many[0]


def test_default_page_has_20(client, many):
    page = client.get("/v1/jobs").json
    assert len(page["data"]) == 20 and page["has_more"]
    assert [j["id"] for j in page["data"]] == many[0][:-21:-1]


def test_filter_by_status(client, many):
    assert pages(client, "status=running")[0] == many[1][::-1]
    both, _ = pages(client, "limit=100&status=running&status=queued")
    assert both == sorted(many[0] + many[1], reverse=True)
    assert pages(client, "status=failed")[0] == []


def test_filter_by_tags_means_all_of_them(client, many):
    assert len(pages(client, "limit=100&tag=even")[0]) == MANY // 2
    assert len(pages(client, "limit=100&tag=even&tag=third")[0]) == MANY // 6
    assert pages(client, "tag=EVEN")[0] == []


def test_last_page_exactly_full(client, many):
    ids = many[0]
    page = client.get(f"/v1/jobs?status=queued&order=asc&limit=100&after={ids[-101]}").json
    assert [j["id"] for j in page["data"]] == ids[-100:] and not page["has_more"]


def test_after_a_job_that_is_gone_goes_on_from_its_place(client, server, many):
    ids = many[0]
    client.request("DELETE", "/v1/jobs/" + ids[50])
    client.get("/v1/jobs/" + ids[50], status=404)
    page = client.get(f"/v1/jobs?order=asc&limit=1&after={ids[50]}").json
    assert page["data"][0]["id"] == ids[51]
    many[0].remove(ids[50])


@pytest.mark.parametrize("query, word", [
    ("limit=0", "limit"), ("limit=101", "limit"), ("limit=-1", "limit"), ("limit=ten", "limit"), ("limit=", "limit"), ("limit=1e1", "limit"),
    ("limit=99999999999999999999", "limit"), ("limit=5&limit=6", "limit"), ("after=job_1", "after"), ("after=", "after"), ("order=up", "order"),
    ("status=done", "status"), ("status=", "status"), ("stauts=queued", "stauts"), ("status=Queued", "status"), ("status=queued,running", "status"),
    ("tag=%FF", ""), ("tag=%0", ""), ("&".join(f"tag=t{i}" for i in range(17)), "tag"),
])
def test_bad_query_is_refused_by_name(client, query, word):
    problem = client.get("/v1/jobs?" + query, status=400).json
    assert word in problem["detail"]
