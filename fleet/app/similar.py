"""The parts of the semantic cache that a dispatcher is given, where the rules use it and an encoder is there."""

from __future__ import annotations

from fleet.dispatch.semantic.lookups import SemanticCache
from fleet.logs import get_logger
from fleet.model.errors import FleetError
from fleet.settings.environment import Settings
from policies.rules.rules import Rules
from queues.jetstream.client.connection import Connection
from queues.jetstream.stores.promises import JetStreamCachePromises

log = get_logger(__name__)


def semantic_cache(settings: Settings, rules: Rules, connection: Connection) -> SemanticCache | None:
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
    return SemanticCache(questions, JetStreamCachePromises(connection))
