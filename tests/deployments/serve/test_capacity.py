"""How many replicas there are, as Serve's controller says it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from deployments.serve.capacity import ServeCapacities
from fleet.model.errors import BackendUnavailable
from fleet.model.scaling import Capacity

SCALED = {"min_replicas": 0, "max_replicas": 2, "initial_replicas": None}
HELD_AT_NONE = {"min_replicas": 0, "max_replicas": 1, "initial_replicas": 0}
HELD_AT_TWO = {"min_replicas": 2, "max_replicas": 2, "initial_replicas": 2}


def deployed(*states, wanted=1, autoscaling=None, status="HEALTHY"):
    """One application as `get_serve_instance_details` gives it."""
    deployment = {
        "replicas": [{"state": state} for state in states],
        "target_num_replicas": wanted,
        "status": status,
        "deployment_config": {"name": "one"} if autoscaling is None else {"autoscaling_config": autoscaling},
    }
    return {"deployments": {"one": deployment}}


@pytest.fixture
def controller(monkeypatch):
    """Serve's controller with these applications, or one that fails."""

    def answer(reply):
        def get(reference, timeout):
            if isinstance(reply, Exception):
                raise reply
            assert (reference, timeout > 0) == ("details", True)
            return reply

        asked = SimpleNamespace(get_serve_instance_details=SimpleNamespace(remote=lambda: "details"))
        monkeypatch.setattr("ray.serve.context._get_global_client", lambda: SimpleNamespace(_controller=asked))
        monkeypatch.setattr("ray.get", get)

    return answer


@pytest.mark.parametrize(
    ("application", "expected"),
    [
        (deployed("RUNNING", "RUNNING", "STARTING", "STOPPING"), Capacity(2, 1)),
        (deployed("PENDING_MIGRATION", "UPDATING", "RECOVERING"), Capacity(3)),
        (deployed("STOPPING", "STOPPED"), Capacity(0)),
        (deployed(wanted=0, autoscaling=SCALED), Capacity(0)),
        (deployed("STARTING", wanted=1, autoscaling=SCALED), Capacity(0, 1)),
        (deployed(wanted=0), Capacity(0, held=True)),
        (deployed(wanted=0, autoscaling=HELD_AT_NONE), Capacity(0, held=True)),
        (deployed("STARTING", "STARTING", wanted=2, autoscaling=HELD_AT_TWO), Capacity(0, 2)),
        (deployed(wanted=1, autoscaling=SCALED, status="DEPLOY_FAILED"), Capacity(0, held=True)),
        (deployed(wanted=1, autoscaling=SCALED, status="UPSCALING"), Capacity(0)),
        ({"deployments": {}}, Capacity(0)),
    ],
    ids=[
        *("mixed", "as good as there", "ending", "to zero", "first", "fixed", "held at none", "held at two"),
        *("given up", "not yet", "new"),
    ],
)
async def test_replicas_that_answer_run_and_those_to_come_start(controller, application, expected):
    controller({"applications": {"llama-8b": application}})
    assert await ServeCapacities().read() == {"llama-8b": expected}


@pytest.mark.parametrize("trouble", [ConnectionError("gone"), RuntimeError("not initialised"), TimeoutError("late")])
async def test_a_controller_that_does_not_answer_is_a_backend_that_is_unavailable(controller, trouble):
    controller(trouble)
    with pytest.raises(BackendUnavailable, match=type(trouble).__name__):
        await ServeCapacities().read()


@pytest.mark.parametrize("reply", [{}, {"applications": {"llama-8b": None}}, {"applications": []}])
async def test_an_answer_of_another_form_is_told_and_ends_nobody(controller, reply):
    controller(reply)
    with pytest.raises(BackendUnavailable, match="another form"):
        await ServeCapacities().read()
