"""The error codes of the JetStream API that the fleet tells apart; the rest are reported as the server words them."""

from __future__ import annotations

from enum import IntEnum


class Code(IntEnum):
    """`err_code` of a reply."""

    ACCOUNT_LIMIT = 10002
    NO_SERVERS = 10005
    """No server of the cluster has the room; one that is forming says so as well."""
    NO_LEADER = 10008
    CONSUMER_NOT_CHANGEABLE = 10012
    """The consumer that is there has a setting that no update may change."""
    RESOURCES_EXCEEDED = 10023
    TOO_MANY_CONSUMERS = 10026
    TOO_MANY_STREAMS = 10027
    MEMORY_EXCEEDED = 10028
    NO_MESSAGE = 10037
    """The subject or sequence has no message."""
    NOT_FOR_ACCOUNT = 10039
    NO_SEQUENCE = 10043
    STORAGE_EXCEEDED = 10047
    STREAM_NOT_STORED = 10049
    MESSAGE_TOO_LARGE = 10054
    DELETE_FAILED = 10057
    """The description says why."""
    STREAM_EXISTS = 10058
    """The stream that is there has other settings."""
    NO_STREAM = 10059
    SUBJECTS_OVERLAP = 10065
    WRONG_LAST_SEQUENCE = 10071
    """Another message was stored since; a cluster may say `WRONG_LAST_SEQUENCE_IN_CLUSTER`."""
    REPLICAS_UNSUPPORTED = 10074
    NOT_ENABLED = 10076
    STREAM_FULL = 10077
    HEADERS_TOO_LARGE = 10097
    FILTERS_OVERLAP = 10100
    """A work queue would hand out a message twice."""
    WRONG_LAST_SEQUENCE_IN_CLUSTER = 10164


WRITTEN_MEANWHILE = frozenset({Code.WRONG_LAST_SEQUENCE, Code.WRONG_LAST_SEQUENCE_IN_CLUSTER})
"""Codes for a message that expects another last sequence under its subject than there is."""

TOO_LARGE = frozenset({Code.MESSAGE_TOO_LARGE, Code.HEADERS_TOO_LARGE})
"""Codes that speak of the message and not of the stream: repeating it cannot help."""

NO_ROOM = frozenset(
    {
        Code.ACCOUNT_LIMIT,
        Code.NO_SERVERS,
        Code.RESOURCES_EXCEEDED,
        Code.MEMORY_EXCEEDED,
        Code.STORAGE_EXCEEDED,
    }
)
"""The server, the account or the cluster has not so much to reserve."""
