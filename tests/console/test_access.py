"""Who gets into the console, and what a browser is told on the way."""

from __future__ import annotations

import pytest
from console_fleet import NOW, ConsoleFleet

from fleet.console.access import COOKIE, SESSION_SECONDS, Access
from fleet.console.app import HEADERS
from fleet.console.pages import NAVIGATION
from fleet.model.errors import ConfigError

TOKEN = "an-operator's-token"
PAGES = [path for path, _ in NAVIGATION]


def test_a_session_holds_until_its_end_and_no_longer():
    access = Access(TOKEN)
    cookie = access.session(NOW)
    assert access.admits(cookie, {}, NOW + SESSION_SECONDS - 1)
    assert not access.admits(cookie, {}, NOW + SESSION_SECONDS)


@pytest.mark.parametrize(
    "change",
    [
        lambda cookie: cookie + "0",
        lambda cookie: "9" + cookie,
        lambda cookie: cookie.split(".")[0],
        lambda cookie: "." + cookie.split(".")[1],
        lambda cookie: cookie.replace(".", ".x"),
        lambda cookie: "",
        lambda cookie: "².0",
        lambda cookie: "9" * 5000 + ".0",
        lambda cookie: "\udcff.\udcff",
    ],
)
def test_a_cookie_that_was_changed_or_made_up_opens_nothing(change):
    access = Access(TOKEN)
    assert not access.admits(change(access.session(NOW)), {}, NOW)


def test_a_new_token_ends_all_sessions_and_a_restart_ends_none():
    cookie = Access(TOKEN).session(NOW)
    assert Access(TOKEN).admits(cookie, {}, NOW)
    assert not Access("another-operator's-token").admits(cookie, {}, NOW)


def test_a_header_counts_only_where_it_is_named():
    said = {"x-forwarded-user": "ann"}
    assert Access(None, "x-forwarded-user").admits(None, said, NOW)
    assert not Access(None, "x-forwarded-user").admits(None, {"x-forwarded-user": " "}, NOW)
    assert not Access(TOKEN).admits(None, said, NOW)
    assert not Access(TOKEN, "x-auth-user").admits(None, said, NOW)


@pytest.mark.parametrize("token", ["", "short", "a" * 15])
def test_a_token_that_can_be_guessed_is_refused(token):
    with pytest.raises(ConfigError, match="16 characters"):
        Access(token)


def test_a_console_that_nobody_could_enter_is_refused():
    with pytest.raises(ConfigError, match="FLEET_CONSOLE_TOKEN"):
        Access(None, None)


def test_the_token_is_not_shown_where_an_access_is_printed():
    assert TOKEN not in repr(Access(TOKEN))


@pytest.mark.parametrize("path", [*PAGES, "/jobs/acme/job-1", "/nowhere"])
def test_without_a_login_every_page_leads_to_the_door_and_back(opened, night: ConsoleFleet, path: str):
    client = opened(night, logged_in=False)
    answer = client.get(path, params={"tenant": "a&b"})
    assert answer.status_code == 303
    door = client.get(answer.headers["location"])
    assert door.status_code == 200 and 'name="token"' in door.text
    entered = client.post("/login", data={"token": TOKEN, "next": f"{path}?tenant=a%26b"})
    assert entered.headers["location"] == f"{path}?tenant=a%26b"


def test_without_a_login_no_stream_opens_and_nothing_is_posted(opened, night: ConsoleFleet):
    client = opened(night, logged_in=False)
    assert client.get("/live/").status_code == 401
    assert client.post("/jobs").status_code == 401


def test_a_wrong_token_is_refused_and_sets_no_cookie(opened, night: ConsoleFleet):
    client = opened(night, logged_in=False)
    answer = client.post("/login", data={"token": "not the token at all"})
    assert answer.status_code == 403 and "set-cookie" not in answer.headers
    assert "That is not the token." in answer.text and "not the token at all" not in answer.text


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(opened, night: ConsoleFleet):
    client = opened(night, logged_in=False)
    said = client.post("/login", data={"token": TOKEN}).headers["set-cookie"].lower()
    assert all(word in said for word in (COOKIE, "httponly", "samesite=strict", "path=/", "max-age=43200"))
    assert "secure" not in said
    secure = client.post("https://console/login", data={"token": TOKEN}).headers["set-cookie"].lower()
    assert "secure" in secure


@pytest.mark.parametrize(
    "wanted", ["https://evil.example", "//evil.example", "/\\evil.example", "/a\r\nset-cookie: x=y", ""]
)
def test_a_login_leads_nowhere_else(opened, night: ConsoleFleet, wanted: str):
    client = opened(night, logged_in=False)
    answer = client.post("/login", data={"token": TOKEN, "next": wanted})
    assert answer.headers["location"] == "/"


def test_a_login_of_megabytes_is_refused(opened, night: ConsoleFleet):
    assert opened(night, logged_in=False).post("/login", data={"token": "x" * 10_000}).status_code == 413


def test_after_logging_out_the_door_is_closed(opened, night: ConsoleFleet):
    client = opened(night)
    assert client.get("/jobs").status_code == 200
    client.post("/logout")
    assert client.get("/jobs").status_code == 303


def test_a_link_from_another_site_gets_a_page_that_asks_once_more(opened, night: ConsoleFleet):
    client = opened(night, logged_in=False)
    answer = client.get("/alerts", headers={"sec-fetch-site": "cross-site"})
    assert answer.status_code == 200 and '<meta http-equiv="refresh" content="0">' in answer.text


def test_behind_a_proxy_its_header_is_enough_and_nobody_is_asked_for_a_token(opened, night: ConsoleFleet):
    client = opened(night, Access(None, "x-forwarded-user"), logged_in=False)
    assert client.get("/jobs", headers={"x-forwarded-user": "ann"}).status_code == 200
    assert 'name="token"' not in client.get("/login").text
    assert client.post("/login", data={"token": TOKEN}).status_code == 403


@pytest.mark.parametrize("path", [*PAGES, "/login", "/healthz", "/nowhere", "/static/console.css", "/live/nowhere"])
def test_every_answer_carries_the_headers_that_keep_others_out(opened, night: ConsoleFleet, path: str):
    answer = opened(night).get(path)
    assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert "unsafe" not in answer.headers["content-security-policy"]
    if not path.startswith("/static"):
        assert answer.headers["cache-control"] == "no-store"


def test_below_a_route_every_link_stays_below_it(opened, night: ConsoleFleet):
    client = opened(night, root="/console")
    page = client.get("/console/jobs")
    assert page.status_code == 200
    assert 'href="/console/money"' in page.text and 'href="/money"' not in page.text
    assert client.get("/console/nowhere").status_code == 404
    left = client.post("/console/logout")
    assert left.headers["location"] == "/console/login"
    assert client.get("/console/jobs?tenant=acme").headers["location"] == "/console/login?next=%2Fjobs%3Ftenant%3Dacme"
