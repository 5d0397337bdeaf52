"""Whether the hub lets this token read each model is known before a machine is bought for it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from huggingface_hub import HfApi

from deployments.profiles import Profile, models
from deployments.weights.__main__ import main
from deployments.weights.hub import HubModel, hub_models, refusal, verdicts
from fleet.loopback import free_port
from fleet.model.errors import ConfigError


def test_a_model_that_may_be_read_is(hub, api, model):
    assert refusal(model, api()) is None
    assert [str(each) for each in verdicts([model], api())] == [
        "small (somebody/small-model): readable at cccccccccccc"
    ]


@pytest.mark.proves(
    "A gated model whose licence was not accepted is named, with the page, before a machine is bought",
    how="stand-in",
    subject="AWS",
)
@pytest.mark.parametrize(
    ("token", "line"),
    [
        (False, "token missing: the repository is gated; set HF_TOKEN to a token of an account that accepted {page}"),
        ("hf_known", "gated: accept the licence at {page} with the account of this token"),
        ("hf_accepted", None),
        ("hf_wrong", "token refused: HF_TOKEN is no valid token, or an expired one"),
    ],
)
def test_a_gated_model_takes_a_token_of_an_account_that_accepted(hub, api, model, token, line):
    hub.gated = {model.repo}
    assert refusal(model, api(token)) == (line and line.format(page=f"{hub.url}/{model.repo}"))


@pytest.mark.parametrize("token", [False, "hf_known"])
def test_a_repository_that_is_not_there_is_not_found(hub, api, model, token):
    why = refusal(replace(model, repo="somebody/else"), api(token))
    assert why == "not found: no such repository, or a private one that this token may not see"


def test_a_commit_that_is_not_there_is_not_found(hub, api, model):
    why = refusal(replace(model, revision="d" * 40), api())
    assert why == f"not found: the repository has no commit {'d' * 40}; see {hub.url}/{model.repo}/commits/main"


def test_a_hub_that_does_not_answer_is_said_so(model):
    url = f"http://127.0.0.1:{free_port()}"
    assert refusal(model, HfApi(endpoint=url, token=False)) == f"the hub does not answer at {url}: ConnectError"


def test_the_command_asks_about_every_model_and_says_so_in_its_exit_status(hub, api, capsys):
    described = models(Profile.GPU)
    hub.repos = {each.source: {"config.json": b"{}"} for each in described.values()}
    hub.commit = described["llama-8b"].revision
    assert main(["check"], api()) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[1] for line in lines] == ["readable at 0e9e39f249a1", "not found", "not found"]
    assert main(["check", "--target", "llama-8b"], api()) == 0


def test_every_real_model_has_a_commit_of_its_own():
    assert {each.target for each in hub_models()} == set(models(Profile.GPU))
    assert len({each.revision for each in hub_models()}) == 3


def test_an_unknown_target_is_named():
    with pytest.raises(ConfigError, match=r"--target: must be one of llama-8b, mixtral-8x7b, llama-70b; got 'llama'"):
        hub_models(["llama"])
    assert hub_models(["llama-8b"]) == [
        HubModel("llama-8b", "meta-llama/Llama-3.1-8B-Instruct", models(Profile.GPU)["llama-8b"].revision)
    ]
