"""The schemas that the manifests are held against.

Kubernetes' own come from the package kubernetes-validate, strict: a field that Kubernetes does not know is refused. For
the objects of KubeRay, Karpenter and Prometheus' operator the fields that the manifests rely on are written down here,
so that a field that is misspelt, or that nobody has looked up, is refused as well. They were read in

    KubeRay 1.7.0         ray-operator/apis/ray/v1, ray-operator/controllers/ray/utils/validation.go
    Karpenter 1.14.1      pkg/apis/crds
    prometheus-operator   example/prometheus-operator-crd
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any, Final

import jsonschema
import pytest
from manifests import Object

KUBERNETES_VERSION: Final = "1.33"
"""The oldest version that the manifests are checked against; KubeRay 1.7 asks for no newer one."""

STRING: Final = {"type": "string"}
COUNT: Final = {"type": "integer", "minimum": 0}
FLAG: Final = {"type": "boolean"}
STRINGS: Final = {"type": "array", "items": STRING}
MAPPING: Final = {"type": "object", "additionalProperties": STRING}
POD: Final = {"type": "object", "required": ["metadata", "spec"]}
"""A pod template; Kubernetes' own schema judges what is in it (`hold`)."""


def fields(*required: str, **known: Any) -> dict[str, Any]:
    """Return the schema of an object with these fields and no other."""
    return {"type": "object", "additionalProperties": False, "required": list(required), "properties": known}


def items(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "minItems": 1, "items": schema}


GROUP: Final = {"rayStartParams": MAPPING, "template": POD}

RAY_SERVICE: Final = fields(
    "rayClusterConfig",
    "serveConfigV2",
    upgradeStrategy=fields("type", type={"enum": ["NewCluster", "NewClusterWithIncrementalUpgrade", "None"]}),
    suspend=FLAG,
    rayClusterDeletionDelaySeconds=COUNT,
    excludeHeadPodFromServeSvc=FLAG,
    serveConfigV2=STRING,
    rayClusterConfig=fields(
        "headGroupSpec",
        "rayVersion",
        rayVersion=STRING,
        enableInTreeAutoscaling=FLAG,
        authOptions=fields("mode", mode={"enum": ["disabled", "token"]}, secretName=STRING),
        gcsFaultToleranceOptions=fields(
            "redisAddress",
            "redisPassword",
            backend={"const": "redis"},  # `rocksdb` needs a feature gate that is off, and no address
            redisAddress=STRING,
            redisPassword=fields("valueFrom", valueFrom={"type": "object"}),
        ),
        autoscalerOptions=fields(
            version={"enum": ["v1", "v2"]},
            idleTimeoutSeconds=COUNT,
            resources={"type": "object"},
            securityContext={"type": "object"},
            volumeMounts={"type": "array"},
        ),
        headGroupSpec=fields("template", **GROUP),
        workerGroupSpecs=items(
            fields(
                "groupName", "template", groupName=STRING, replicas=COUNT, minReplicas=COUNT, maxReplicas=COUNT, **GROUP
            )
        ),
    ),
)

REQUIREMENT: Final = fields(
    "key",
    "operator",
    key=STRING,
    operator={"enum": ["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"]},
    values=STRINGS,
)
DURATION: Final = {"type": "string", "pattern": r"^([0-9]+(s|m|h))+$|^Never$"}

NODE_POOL: Final = fields(
    "template",
    template=fields(
        "spec",
        metadata=fields(labels=MAPPING, annotations=MAPPING),
        spec=fields(
            "nodeClassRef",
            "requirements",
            nodeClassRef=fields("group", "kind", "name", group=STRING, kind=STRING, name=STRING),
            requirements=items(REQUIREMENT),
            taints={"type": "array"},
            expireAfter=DURATION,
            terminationGracePeriod=DURATION,
        ),
    ),
    disruption=fields(
        consolidationPolicy={"enum": ["WhenEmpty", "WhenEmptyOrUnderutilized"]},
        consolidateAfter=DURATION,
        budgets=items(fields("nodes", nodes=STRING)),
    ),
    limits=MAPPING,
)

TAGGED: Final = items(fields("tags", tags=MAPPING))

NODE_CLASS: Final = fields(
    "amiSelectorTerms",
    "securityGroupSelectorTerms",
    "subnetSelectorTerms",
    amiFamily={"enum": ["AL2", "AL2023", "Bottlerocket", "Custom"]},
    amiSelectorTerms=items(fields("id", id=STRING)),
    role=STRING,
    subnetSelectorTerms=TAGGED,
    securityGroupSelectorTerms=TAGGED,
    metadataOptions=fields(httpEndpoint=STRING, httpTokens={"const": "required"}, httpPutResponseHopLimit=COUNT),
    instanceStorePolicy={"const": "RAID0"},
    blockDeviceMappings=items(
        fields(
            "deviceName",
            "ebs",
            deviceName=STRING,
            ebs=fields(volumeSize=STRING, volumeType=STRING, encrypted={"const": True}, deleteOnTermination=FLAG),
        )
    ),
)

POD_MONITOR: Final = fields(
    "selector",
    selector=fields(matchLabels=MAPPING, matchExpressions={"type": "array"}),
    podTargetLabels=STRINGS,
    podMetricsEndpoints=items(fields("port", port=STRING, interval=DURATION)),
)

SPECS: Final = {
    ("ray.io/v1", "RayService"): RAY_SERVICE,
    ("karpenter.sh/v1", "NodePool"): NODE_POOL,
    ("karpenter.k8s.aws/v1", "EC2NodeClass"): NODE_CLASS,
    ("monitoring.coreos.com/v1", "PodMonitor"): POD_MONITOR,
}


def is_kubernetes_own(document: Object) -> bool:
    return (document["apiVersion"], document["kind"]) not in SPECS


def hold(document: Object) -> None:
    """Hold an object against its schema.

    Raises: jsonschema.ValidationError if it is not as it has to be.
    """
    if is_kubernetes_own(document):
        _validator(document["apiVersion"], document["kind"]).validate(document)
        return
    jsonschema.validate(document["spec"], SPECS[document["apiVersion"], document["kind"]])
    for template in _templates(document["spec"]):
        hold({"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "ray"}, "template": template})


def _templates(spec: Object) -> list[Object]:
    cluster = spec.get("rayClusterConfig")
    return [each["template"] for each in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])] if cluster else []


@cache
def _definitions() -> tuple[Any, Any]:
    try:
        from kubernetes_validate import utils
    except ImportError:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("needs kubernetes-validate: make setup-dev")
    return utils, utils.schema_contents(f"{_folder()}/_definitions.json", KUBERNETES_VERSION)


def _folder() -> str:
    return f"kubernetes-json-schema/v{KUBERNETES_VERSION}.0-local-strict"


@cache
def _validator(api_version: str, kind: str) -> jsonschema.Draft202012Validator:
    from referencing import Registry, Resource

    utils, definitions = _definitions()
    group = api_version.replace(".k8s.io", "").replace(".authorization", "").replace("/", "-")
    schema = utils.schema_contents(f"{_folder()}/{kind.lower()}-{group}.json", KUBERNETES_VERSION)
    registry = Resource.from_contents(definitions) @ Registry()
    return jsonschema.Draft202012Validator(schema, registry=Resource.from_contents(schema) @ registry)
