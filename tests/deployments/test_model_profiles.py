from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError
from when_used import WhenUsed

from deployments import profiles
from deployments.profiles import HERE, AdapterSlots, Profile, engine_arguments, llm_config, model, models, serving
from fleet.model.errors import ConfigError
from fleet.settings.documents import load_rules

cpu_attention = WhenUsed("vllm.v1.attention.backends.cpu_attn")

TARGETS = {"llama-8b", "mixtral-8x7b", "llama-70b"}

GB = 1e9

USABLE_PER_CARD = 80 * GB * 0.9 - 2.5 * GB
"""An 80 GB card at nine tenths, less activations and CUDA graphs."""

# parameters, layers, KV heads, head size; all in two bytes
ARCHITECTURES = {
    "llama-8b": (8.03e9, 32, 8, 128),
    "mixtral-8x7b": (46.70e9, 32, 8, 128),
    "llama-70b": (70.55e9, 80, 8, 128),
}


@pytest.mark.parametrize("profile", Profile)
def test_every_profile_has_the_same_targets(profile):
    assert set(models(profile)) == TARGETS


@pytest.mark.proves(
    "The real models fit their cards with room for full contexts, by fleet plan's arithmetic", how="lint"
)
@pytest.mark.parametrize(
    ("target", "tensor_parallel", "context", "sequences"),
    [("llama-8b", 1, 8192, 49), ("mixtral-8x7b", 2, 16384, 21), ("llama-70b", 4, 8192, 50)],
)
def test_the_real_models_fit_their_cards_with_room_for_full_contexts(target, tensor_parallel, context, sequences):
    engine = model(Profile.GPU, target).engine
    assert (engine["tensor_parallel_size"], engine["max_model_len"]) == (tensor_parallel, context)
    parameters, layers, heads, size = ARCHITECTURES[target]
    left_per_card = USABLE_PER_CARD - parameters * 2 / tensor_parallel
    kv_per_token_and_card = 2 * layers * heads * size * 2 / tensor_parallel
    assert int(left_per_card / kv_per_token_and_card / context) == sequences


def test_an_install_without_the_stand_ins_says_what_to_install(tmp_path, monkeypatch):
    described = HERE / "profiles.yaml"
    monkeypatch.setattr(profiles, "HERE", tmp_path)
    with pytest.raises(
        ConfigError, match=r"profile: local needs the stand-in models: pip install 'inference-fleet\[cpu\]'"
    ):
        profiles.models.__wrapped__(Profile.LOCAL, described)
    assert set(profiles.models.__wrapped__(Profile.GPU, described)) == TARGETS


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_the_stand_ins_ask_for_enough_cache_and_little_else(target):
    described = model(Profile.LOCAL, target)
    assert described.engine["max_model_len"] == 512
    # Weighed against Ray's logical CPUs of a machine with two cores, the dispatcher's tenth included.
    assert 3 * (described.replica_cpus + described.worker["CPU"]) + 0.1 <= 2


def test_the_local_cache_holds_a_full_engine_of_short_chats():
    for target, (layers, heads) in {"llama-8b": (2, 4), "mixtral-8x7b": (4, 4), "llama-70b": (6, 6)}.items():
        engine = model(Profile.LOCAL, target).engine
        per_token = 2 * layers * heads * 32 * 2
        assert engine["kv_cache_memory_bytes"] / per_token / engine["max_num_seqs"] >= 128


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_a_block_of_the_local_cache_is_shorter_than_a_prompt_and_of_a_size_that_the_cpu_kernels_take(target):
    block = model(Profile.LOCAL, target).engine["block_size"]
    assert block <= 64
    assert cpu_attention.CPUAttentionBackend.supports_block_size(block)


@pytest.mark.proves("vLLM and Ray accept the engine arguments of every model of both profiles", how="schema")
@pytest.mark.parametrize("profile", Profile)
@pytest.mark.parametrize("target", sorted(TARGETS))
def test_a_profile_becomes_what_ray_and_vllm_accept(profile, target):
    described = model(profile, target)
    config = llm_config(target, described)
    engine = config.get_engine_config()
    assert config.model_id == target
    assert len(engine.placement_bundles) == described.engine.get("tensor_parallel_size", 1)
    assert ("GPU" in engine.placement_bundles[0]) == (profile is Profile.GPU)
    assert engine.engine_kwargs["logprobs_mode"] == "raw_logprobs"
    assert engine.frontend_kwargs["enable_prompt_tokens_details"]
    assert config.deployment_config["autoscaling_config"]["max_replicas"] == described.replicas[1]


def test_shipped_weights_are_a_path_and_need_no_download(tmp_path):
    here = model(Profile.LOCAL, "llama-8b").model_copy(update={"source": str(tmp_path)})
    assert here.weights == str(tmp_path)
    assert llm_config("llama-8b", here).callback_config.callback_class == "deployments.replica.engine.WeightsAreHere"
    hub = model(Profile.GPU, "llama-8b")
    assert hub.weights == "meta-llama/Llama-3.1-8B-Instruct"
    assert llm_config("llama-8b", hub).callback_config.callback_class != "deployments.replica.engine.WeightsAreHere"


def test_an_unknown_target_is_named():
    with pytest.raises(ConfigError, match="llama-8b, mixtral-8x7b, llama-70b"):
        model(Profile.LOCAL, "llama-9b")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"replicas": [2, 1]}, "replicas"),
        ({"replicas": [0, 0]}, "replicas"),
        ({"replicas": [-1, 1]}, "replicas"),
        ({"in_flight": 0}, "in_flight"),
        ({"surprise": 1}, "surprise"),
        ({"replica_cpus": None}, "replica_cpus"),
    ],
)
def test_a_mistake_in_the_file_names_its_field(tmp_path: Path, change, field):
    described = yaml.safe_load((HERE / "profiles.yaml").read_text())
    described["local"]["llama-8b"] |= change
    path = tmp_path / "profiles.yaml"
    path.write_text(yaml.safe_dump(described))
    with pytest.raises(ConfigError, match=rf"profiles.yaml\.local\.llama-8b\.{field}"):
        profiles.models(Profile.LOCAL, path)


@pytest.mark.proves("A model of the hub that is not pinned to a commit is refused before it is deployed", how="lint")
@pytest.mark.parametrize(
    ("revision", "rule"), [(None, "revision is missing: the commit of meta-llama"), ("main", "match")]
)
def test_a_model_of_the_hub_is_pinned_to_a_commit(tmp_path: Path, revision, rule):
    described = yaml.safe_load((HERE / "profiles.yaml").read_text())
    described["gpu"]["llama-8b"]["revision"] = revision
    path = tmp_path / "profiles.yaml"
    path.write_text(yaml.safe_dump(described))
    with pytest.raises(ConfigError, match=rf"profiles.yaml\.gpu\.llama-8b.*{rule}"):
        profiles.models(Profile.GPU, path)
    pinned = llm_config("llama-8b", model(Profile.GPU, "llama-8b"))
    assert pinned.get_engine_config().engine_kwargs["revision"] == model(Profile.GPU, "llama-8b").revision


def test_a_description_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        model(Profile.LOCAL, "llama-8b").in_flight = 3


@pytest.mark.parametrize("profile", Profile)
def test_what_runs_has_time_to_end_where_its_replica_goes(profile):
    targets = load_rules(None, None, profile).catalogue.targets.values()
    assert max(target.timeout_seconds for target in targets) < profiles.GRACE_SECONDS


def test_an_engine_keeps_more_adapters_than_it_serves_at_once_and_ray_takes_its_arguments():
    described = serving("llama-8b", model(Profile.LOCAL, "llama-8b"), AdapterSlots(at_once=3, rank=32))

    arguments = llm_config("llama-8b", described).get_engine_config().get_initialization_kwargs()

    assert {name: value for name, value in arguments.items() if "lora" in name} == {
        "enable_lora": True,
        "max_loras": 3,
        "max_lora_rank": 32,
        "max_cpu_loras": 12,
    }


@pytest.mark.parametrize(
    ("profile", "target"), [(profile, target) for profile in Profile for target in sorted(TARGETS)]
)
def test_no_engine_pays_for_adapters_unless_it_is_told_to_serve_them(profile, target):
    assert not any("lora" in name for name in engine_arguments(model(profile, target)))


@pytest.mark.parametrize("slots", [{"at_once": 0}, {"rank": 24}, {"rank": "high"}, {"ranks": 8}])
def test_slots_that_no_engine_has_are_refused(slots):
    with pytest.raises(ValidationError):
        AdapterSlots.model_validate(slots)
