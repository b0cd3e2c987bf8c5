# SPDX-License-Identifier: Apache-2.0
"""The dashboard's files as HTTP serves them; what they do is tests/browser's business."""
import gzip
import re

import pytest

PAGES = ["/", "/jobs", "/jobs/job_01JDFZ8Q6W3V4M5N6P7Q8R9S0T/classes", "/new", "/compare", "/temperature"]


@pytest.fixture(scope="module")
def page(server):
    answer = server.client.get("/")
    if answer.headers["content-type"].startswith("text/plain"):
        pytest.skip("retortd was built without the dashboard")
    return answer


def raw(server, target, headers=None):
    """Pages that the contract describes only in words."""
    conn = server.client.connect()
    try:
        conn.request("GET", target, headers=headers or {})
        response = conn.getresponse()
        return response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()
    finally:
        conn.close()


def test_every_address_of_a_page_has_it(server, page):
    for target in PAGES:
        status, headers, body = raw(server, target)
        assert status == 200 and body == page.body, target
        assert headers["cache-control"] == "no-cache"


def test_policy_allows_only_this_server(page):
    policy = page.headers["content-security-policy"]
    assert "unsafe" not in policy and "*" not in policy and "http" not in policy
    assert "default-src 'none'" in policy and "script-src 'self'" in policy and "frame-ancestors 'none'" in policy
    assert page.headers["x-content-type-options"] == "nosniff"
    assert not re.search(r"<script(?![^>]*\bsrc=)|\son\w+=|<style|style=", page.text), "nothing inline"
    assert not re.search(r"https?:", page.text)


def test_assets_are_named_by_content_and_kept_for_ever(client, page):
    assets = re.findall(r'(?:src|href)="(/assets/[^"]+)"', page.text)
    assert any(a.endswith(".js") for a in assets) and any(a.endswith(".css") for a in assets)
    for asset in assets:
        answer = client.get(asset)
        assert "immutable" in answer.headers["cache-control"]
        same = client.get(asset, 304, headers={"If-None-Match": answer.headers["etag"]})
        assert same.headers["etag"] == answer.headers["etag"]
    client.get("/assets/index-nothing.js", 404)
    client.get("/assets/..%2f..%2fretort.db", 404)


@pytest.mark.parametrize("accept, coding", [("br, gzip", "br"), ("gzip", "gzip"), ("gzip;q=0.5, br;q=0", "gzip"), ("identity", None), ("brotli", None),
                                            ("gzip;q=0", None), ("gzip; q=0.000", None), ("*", None)])
def test_compressed_for_those_who_read_it(client, page, accept, coding):
    answer = client.get("/", headers={"Accept-Encoding": accept})
    assert answer.headers.get("content-encoding") == coding
    assert answer.headers["vary"] == "Accept-Encoding"
    if coding == "gzip":
        assert gzip.decompress(answer.body) == page.body
    if coding:
        assert len(answer.body) < len(page.body)
        assert answer.headers["etag"] != page.headers["etag"]
    else:
        assert answer.body == page.body


@pytest.mark.parametrize("headers, status", [
    ({}, 404), ({"Origin": "http://{host}"}, 404), ({"Sec-Fetch-Site": "same-origin", "Origin": "http://{host}"}, 404), ({"Sec-Fetch-Site": "none"}, 404),
    ({"Origin": "http://evil.example"}, 403), ({"Origin": "null"}, 403), ({"Origin": "http://{host}.evil.example"}, 403),
    ({"Sec-Fetch-Site": "cross-site", "Origin": "http://{host}"}, 403), ({"Sec-Fetch-Site": "same-site"}, 403)])
def test_pages_of_other_sites_change_nothing(server, headers, status):
    """404 is the answer to who may ask: there is no such job."""
    host = f"{server.client.host}:{server.client.port}"
    conn = server.client.connect()
    try:
        conn.request("POST", "/v1/jobs/job_01ARZ3NDEKTSV4RRFFQ69G5FAV/cancel", headers={k: v.replace("{host}", host) for k, v in headers.items()})
        assert conn.getresponse().status == status
        conn.close()
        conn.request("GET", "/v1/jobs", headers={"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site"})
        response = conn.getresponse()
        assert response.status == 200 and not response.getheader("Access-Control-Allow-Origin")
    finally:
        conn.close()
