from __future__ import annotations

import inspect
from importlib import import_module
from pathlib import Path

import pytest
import yaml
from ray.serve.schema import ServeDeploySchema

import deployments
from deployments.app import DISPATCHER, HostArguments, ModelArguments, build_host, build_model
from deployments.profiles import Profile, models
from fleet.model.errors import ConfigError

FILES = {Profile.LOCAL: "local.yaml", Profile.GPU: "gpu.yaml"}


def deploy_file(profile: Profile) -> ServeDeploySchema:
    path = Path(deployments.__file__).parent / "serve" / FILES[profile]
    return ServeDeploySchema.model_validate(yaml.safe_load(path.read_text()))


@pytest.mark.parametrize("profile", Profile)
def test_the_deploy_file_runs_every_model_of_its_profile_and_the_dispatcher(profile):
    found = {application.name: application for application in deploy_file(profile).applications}
    assert set(found) == {*models(profile), DISPATCHER}
    for target in models(profile):
        assert found[target].route_prefix == f"/{target}"
        chosen = ModelArguments.model_validate(found[target].args)
        assert (chosen.target, chosen.profile) == (target, profile)
    HostArguments.model_validate(found[DISPATCHER].args)


@pytest.mark.parametrize("profile", Profile)
def test_the_deploy_file_names_functions_that_exist(profile):
    for application in deploy_file(profile).applications:
        module, _, name = application.import_path.partition(":")
        assert inspect.isfunction(getattr(import_module(module), name))


@pytest.mark.parametrize("profile", Profile)
def test_the_deploy_file_listens_on_loopback_only(profile):
    assert deploy_file(profile).http_options.host == "127.0.0.1"


def test_a_model_is_deployed_under_its_targets_name_with_one_replica_of_the_batched_server():
    application = build_model({"target": "llama-8b", "profile": "local"})
    deployment = application._bound_deployment
    assert deployment.name == "llama-8b"
    assert deployment.init_kwargs["confidence"] is True
    assert hasattr(deployment.func_or_class, "answer_batch")


def test_confidence_can_be_switched_off():
    application = build_model({"target": "llama-8b", "profile": "local", "confidence": False})
    assert application._bound_deployment.init_kwargs["confidence"] is False


def test_an_unknown_target_is_refused():
    with pytest.raises(ConfigError, match="target"):
        build_model({"target": "llama-9b", "profile": "local"})


def test_the_dispatcher_takes_a_tenth_of_a_cpu_and_its_environment_along():
    deployment = build_host({"factory": "a:b", "environment": {"FLEET_NATS_URL": "nats://127.0.0.1:4222"}})
    options = deployment._bound_deployment.ray_actor_options
    assert options["num_cpus"] == 0.1
    assert options["runtime_env"]["env_vars"] == {"FLEET_NATS_URL": "nats://127.0.0.1:4222"}
