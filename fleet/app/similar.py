"""The parts of the semantic cache that a dispatcher is given, where the rules use it and an encoder is there."""

from __future__ import annotations

from collections.abc import Mapping

from fleet.dispatch.semantic.lookups import SemanticCache
from fleet.dispatch.semantic.verifier import BackendVerifier
from fleet.logs import get_logger
from fleet.model.errors import FleetError
from fleet.ports import Backend
from fleet.settings.environment import Settings
from policies.rules.rules import Rules
from queues.jetstream.client.connection import Connection
from queues.jetstream.stores.promises import JetStreamCachePromises

log = get_logger(__name__)


def semantic_cache(
    settings: Settings, rules: Rules, connection: Connection, backends: Mapping[str, Backend]
) -> SemanticCache | None:
    """Return the parts, or None where the rules do not use the semantic cache or no encoder can be loaded.

    Jobs are then answered as without it, so that is logged and no error.
    """
    if not rules.cache.semantic.is_used:
        return None
    try:
        from fleet.embedding.encoder import OnnxEncoder
        from fleet.embedding.files import encoder_files
        from fleet.embedding.nearest import EmbeddedQuestions

        files = encoder_files(settings.encoder_path)
        # One core: a dispatcher has others' jobs to carry meanwhile.
        encoder = OnnxEncoder(files, threads=1)
    except (FleetError, ModuleNotFoundError) as error:
        log.warning("encoder_missing", error=str(error))
        return None
    log.info("encoder_loaded", encoder=files.name)
    questions = EmbeddedQuestions(encoder, files.name, rules.cache.entries)
    return SemanticCache(questions, JetStreamCachePromises(connection), _verifier(rules, backends))


def _verifier(rules: Rules, backends: Mapping[str, Backend]) -> BackendVerifier | None:
    """Return what is asked about questions that are alike; None where the rules name nothing, or it is not served."""
    name = rules.cache.semantic.verify
    if name is None:
        return None
    if name not in backends:
        log.warning("verifier_missing", target=name)
        return None
    return BackendVerifier(backends[name], rules.catalogue.targets[name])
