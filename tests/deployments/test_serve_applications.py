from __future__ import annotations

import inspect
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.serve._private.deploy_utils import get_app_code_version
from ray.serve.config import AutoscalingConfig
from ray.serve.schema import ServeApplicationSchema, ServeDeploySchema

import deployments
from deployments.app import HostArguments, ModelArguments, build_console, build_gateway, build_host, build_model
from deployments.placement import CPU_NODE
from deployments.profiles import AdapterSlots, Profile, models
from deployments.serve.declared import DISPATCHER, Declared
from fleet.app.local import DISPATCHER_FACTORY, READINGS_FACTORY
from fleet.model.errors import ConfigError

pytestmark = pytest.mark.usefixtures("outside_ray")

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


def plain(application: ServeApplicationSchema) -> dict[str, Any]:
    return application.model_dump(exclude_unset=True)


def test_the_local_deploy_file_says_what_fleet_up_applies():
    declared = Declared(Profile.LOCAL, host={"factory": DISPATCHER_FACTORY}, readings=READINGS_FACTORY)
    assert [plain(application) for application in deploy_file(Profile.LOCAL).applications] == declared.applications()


def test_the_gpu_deploy_file_declares_the_models_as_fleet_up_would():
    *models_, dispatcher = deploy_file(Profile.GPU).applications
    assert [plain(each) for each in models_] == Declared(Profile.GPU, readings=READINGS_FACTORY).applications()
    [deployment] = plain(dispatcher)["deployments"]
    config = AutoscalingConfig(**deployment["autoscaling_config"])
    assert config.policy.policy_function == "deployments.scaling:DispatcherPolicy"
    assert config.policy.policy_kwargs == {"target": DISPATCHER, "factory": READINGS_FACTORY}


@pytest.mark.parametrize("profile", Profile)
def test_what_the_policies_decide_by_is_a_function_that_exists(profile):
    policies = [plain(each)["deployments"][0]["autoscaling_config"]["policy"] for each in policed(profile)]
    assert len(policies) >= len(models(profile))
    for policy in policies:
        module, _, name = policy["policy_kwargs"]["factory"].partition(":")
        assert callable(getattr(import_module(module), name))


def policed(profile: Profile) -> list[ServeApplicationSchema]:
    return [application for application in deploy_file(profile).applications if application.deployments]


@pytest.mark.parametrize(("least", "expected"), [(None, [1, 1]), (0, [0, 1]), (5, [1, 1])])
def test_the_least_number_can_be_lowered_and_never_passes_the_most(least, expected):
    declared = Declared(Profile.LOCAL, ["llama-8b"], readings=READINGS_FACTORY, least=least)
    config = declared.applications()[0]["deployments"][0]["autoscaling_config"]
    assert [config["min_replicas"], config["max_replicas"]] == expected


def test_only_what_differs_from_the_default_is_an_argument_of_a_model():
    """Serve builds an application anew when its arguments change, whatever they say."""
    [plainly] = Declared(Profile.LOCAL, ["llama-8b"]).applications()
    [unsure] = Declared(Profile.LOCAL, ["llama-8b"], confidence=False).applications()
    assert plainly["args"] == {"target": "llama-8b", "profile": "local"}
    assert unsure["args"] == {**plainly["args"], "confidence": False}


def test_new_bounds_are_no_new_version_of_a_model():
    """Serve replaces every replica when this version changes."""
    before, after = (
        ServeApplicationSchema(
            **Declared(Profile.LOCAL, ["llama-8b"], readings=READINGS_FACTORY, least=least).applications()[0]
        )
        for least in (0, 1)
    )
    other_policy = ServeApplicationSchema(**Declared(Profile.LOCAL, ["llama-8b"]).applications()[0])
    assert get_app_code_version(before) == get_app_code_version(after) != get_app_code_version(other_policy)


def test_an_unknown_target_is_not_declared():
    with pytest.raises(ConfigError, match="target"):
        Declared(Profile.LOCAL, ["llama-9b"]).applications()


@pytest.mark.parametrize("profile", Profile)
def test_the_deploy_file_names_functions_that_exist(profile):
    for application in deploy_file(profile).applications:
        module, _, name = application.import_path.partition(":")
        assert inspect.isfunction(getattr(import_module(module), name))


@pytest.mark.proves("The Serve configuration sets loopback as the address of Serve's HTTP", how="lint")
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
    assert "resources" not in options  # on one machine there is nothing to choose


@pytest.mark.parametrize("build", [build_host, build_console, build_gateway])
def test_what_has_no_model_runs_where_its_resource_is_offered(build):
    deployment = build({"factory": "a:b", "node": CPU_NODE})
    assert deployment._bound_deployment.ray_actor_options["resources"] == {CPU_NODE: 0.001}


def test_the_dispatchers_of_the_gpu_deploy_file_ask_for_a_node_without_cards():
    *_, dispatcher = deploy_file(Profile.GPU).applications
    assert HostArguments.model_validate(dispatcher.args).node == CPU_NODE


def test_an_engine_serves_adapters_where_that_is_asked_for_and_its_application_is_built_anew_for_it():
    plain_, adapted = (
        Declared(Profile.LOCAL, ["llama-8b"], adapters=adapters).applications()[0]
        for adapters in ({}, {"llama-8b": AdapterSlots(at_once=2)})
    )

    assert "adapters" not in plain_["args"]
    assert adapted["args"]["adapters"] == {"at_once": 2, "rank": 64}
    versions = [get_app_code_version(ServeApplicationSchema(**each)) for each in (plain_, adapted)]
    assert versions[0] != versions[1]


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        ("mixtral-8x7b", "adapters: are for models of type llama, and mixtral-8x7b is of type mixtral"),
        ("gpt", "target: must be one of llama-8b, mixtral-8x7b, llama-70b in profile local"),
    ],
)
def test_a_model_that_can_serve_no_adapters_is_refused_by_name(target, problem):
    with pytest.raises(ConfigError, match=problem):
        Declared(Profile.LOCAL, adapters={target: AdapterSlots()}).applications()


def test_a_deploy_file_is_refused_where_its_model_can_serve_no_adapters():
    with pytest.raises(ConfigError, match="adapters: are for models of type llama"):
        build_model({"target": "mixtral-8x7b", "profile": "local", "adapters": {"at_once": 2}})
