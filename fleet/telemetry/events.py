"""What each event of the log means, in one sentence, and what to do about it where it is a warning or an error.

`docs/reference/events.md` is generated from this and the source. A new event needs its sentence in `MEANINGS`, a
warning or an error one in `ADVICE` too, and `make docs`; a test compares. An event's name is public: dashboards and
alerts count on it. It is a literal in snake_case, and the same word as the reason or the metric of the same fact.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

MEANINGS: Final[Mapping[str, str]] = {
    # jobs
    "answers_not_concluded": "A bug kept answers from being concluded; their jobs come back when the leases end.",
    "backend_raised": "A backend raised where it must return a failure; its jobs end as failed attempts.",
    "batch_failed": "A micro-batch met a bug; its jobs come back when the leases end.",
    "call_not_stopped": "A call that nobody needs any more was not stopped; its work is wasted.",
    "calls_not_stopped": "The replicas could not be told to stop calls, which end at their timeout.",
    "cold_start_not_stored": "How long a target took to start could not be shared with other dispatchers.",
    "cold_start_seen": "A target without a replica has one again, after so many seconds.",
    "cold_starts_not_read": "The starts that were seen of targets could not be read; what was known holds.",
    "cold_starts_left_out": "The starts that were seen of a target could not be read and count as none.",
    "comparison_failed": "A bug kept a comparison with another model from being planned; its job is not affected.",
    "comparison_unreadable": "A message for a comparison could not be read and was dropped.",
    "decision_failed": "A bug met a decision about one job, which is tried again and then fails with `internal_error`.",
    "deliveries_void": "Deliveries are gone from the broker, or of a store that it had before, and were not settled.",
    "job_crashes_dispatchers": "A job was in every crash of its dispatchers and ends with `too_many_deliveries`.",
    "job_ended_without_answer": "A job ended without an answer, for the reason named.",
    "judgement_failed": "A bug met the judgement of one answer, whose job fails with `internal_error`.",
    "letter_not_written": "A message could not be encoded, as text with half a surrogate pair.",
    "letter_refused": "The broker refused a message for good, as one that is too large.",
    "message_crashes_dispatchers": "A message was in every crash of its dispatchers and becomes a dead letter.",
    "message_not_read": "A message could not be read by a bug; it becomes a dead letter.",
    "message_opened_alone": "A message that was in a crash is opened alone, so that no other suffers.",
    "messages_not_opened": "Messages were not opened; they come back when their leases end.",
    "openings_not_closed": "The broker did not take note that messages were opened safely; it is told again.",
    "second_result_refused": "A job had its result already, and the second one was refused.",
    "step_failed": "A bug met the sending of results; the jobs come back when the leases end.",
    "step_not_confirmed": "The broker did not confirm what was sent; the jobs come back when the leases end.",
    "suspects_not_recorded": "Jobs that were in a crash were not run, because the broker did not record it.",
    "suspects_run": "Jobs that were in a crash are run apart from all others.",
    "work_not_handed_back": "Jobs that only waited here were not handed back; they come back when the leases end.",
    "work_not_taken": "A bug met the taking of jobs; it is tried again in a moment.",
    # intake
    "arrivals_not_heard": "News of jobs was not heard; the depths of the queue show new jobs meanwhile.",
    "intake_cannot_reach_the_queue": "Jobs of a lane were not taken, because the broker does not answer.",
    "intake_round_failed": "A round of intake met a bug; what was in hand comes back when its leases end.",
    "jobs_not_handed_back": "Intake did not hand jobs back when it stopped; they come back when the leases end.",
    # money
    "paid_calls_begun_before": "Paid calls were begun before by a dispatcher that died: some are made again.",
    "paid_calls_not_closed": "The broker did not take note that paid calls ended; it may cost a second look later.",
    "paid_calls_not_recorded": "Paid calls were not made, because the broker did not record that they begin.",
    "money_not_reserved": "Calls wait or go elsewhere, because their price could not be reserved.",
    "spend_limit": "Spending crossed a step of a daily limit; logged once a day for each step in the whole fleet.",
    "spend_not_booked": "A page of the spend book met a bug; calls that wait for it are refused meanwhile.",
    # targets
    "account_unusable": "A provider refuses the fleet's account, as for a wrong key; its target is shut for a while.",
    "ambient_proxy_not_used": "The environment names proxies that calls to providers do not use.",
    "engine_dead": "The process of an engine has ended; its replica ends too, so that Serve replaces it at once.",
    "engine_given_up": "An engine has had work and no output for too long and is killed; Serve replaces the replica.",
    "prompt_cache_refused": "A provider refuses marks and keys of its prompt cache; its target is called without.",
    "provider_batch_adopted": "A provider has a batch whose process died; it is waited for and not sent again.",
    "provider_batch_in_unknown_state": "A batch is in a state that is not known; it counts as running.",
    "provider_batch_not_cancelled": "A batch that nobody waits for any more was not cancelled and ends by itself.",
    "provider_batch_not_read": "A provider did not say how a batch is, or what its rows are; it is asked again.",
    "provider_batch_not_recorded": "A batch was made and its id could not be stored; others find it at the provider.",
    "provider_batch_not_sent": "A bug kept calls from being sent as a batch; they end as failed attempts.",
    "providers_not_called": "No provider is called, because the proxy or the CA file in the settings cannot be used.",
    "replicas_not_read": "The number of replicas could not be read; logged when it begins.",
    "served_elsewhere": "Other dispatchers serve other targets than before.",
    "targets_away": "The dispatchers of targets fell silent; jobs that can run nowhere else wait for them.",
    "target_cold": "A target has no replica any more.",
    "target_warm": "A target has its first replica.",
    "orphaned_work": "Jobs wait for a target that nobody serves and are decided anew.",
    "orphans_not_swept": "The search for jobs of targets that nobody serves failed; it is made again.",
    # what is learned
    "calibration_left_out": "A stored calibration cannot be used and is left out.",
    "calibration_withdrawn": "A calibration is withdrawn, because its answers have drifted from what it promised.",
    "calibrations_in_force": "The calibrations in force have changed; their versions are named.",
    "calibrations_not_read": "Calibrations were not read; those in force stay, and reading is tried again.",
    "drift_not_watched": "An answer was not counted for drift, because of a bug.",
    "withdrawal_not_stored": "A withdrawal was not stored; it holds here, and others notice the drift themselves.",
    # experiments
    "experiment_left_out": "A stored experiment cannot be used here and is left out: its jobs go on as control.",
    "experiments_not_read": "Experiments were not read; those in force stay, and reading is tried again.",
    # cancellations
    "cancelled_jobs_not_answered": "Cancelled jobs were not answered, because the broker does not answer; tried again.",
    "cancelled_too_late": "A job had its result when it was cancelled.",
    "cancellations_without_jobs": "Cancellations of unknown jobs are too many; some are left for later.",
    "diet_not_made": "A bug kept old turns or unused tools from being left out of a call; the job was sent whole.",
    "diet_not_observed": "A bug kept an answer from being counted or compared for a diet; its job is not affected.",
    "answer_not_remembered": "A bug kept an answer from being kept to be given again; its job is not affected.",
    "cache_entries_refused": "Answers are too large for the broker, and are not kept to be given again.",
    "cache_entries_unreadable": "Messages in the cache's bucket are no answers of the fleet's; one of them is named. "
    "They are not given, and take the place of what was there.",
    "cache_not_read": "The answers that others keep were not read; all are read again.",
    "cache_not_told": "Answers were not kept for the other dispatchers, or not dropped there; jobs are not affected.",
    "cache_promise_withdrawn": "A promise of the semantic cache is withdrawn: hits were wrong too often.",
    "cache_promises_in_force": "The promises of the semantic cache were read.",
    "cache_withdrawal_not_stored": "A withdrawal of a cache's promise was not stored; it holds here.",
    "cached_answer_not_compared": "A bug kept a model's answer from being compared with a cached one.",
    "encoder_loaded": "The encoder of the semantic cache is loaded.",
    "encoder_missing": "The semantic cache has no encoder, and does nothing; only exact repeats are answered.",
    "questions_compared_too_slowly": "Questions were not compared with cached ones in time; models answer them.",
    "questions_not_compared": "A bug kept questions from being compared with cached ones; models answer them.",
    "questions_not_learned": "A bug kept cached questions out of the semantic cache.",
    "cached_answers_evicted": "Answers that users call bad are not given again.",
    "feedback_not_read": "What users say of answers was not read; all of it is read again.",
    "cancels_not_read": "Cancellations were not read; all are read again.",
    "old_jobs_not_looked_up": "It is not known whether old jobs were cancelled, because the broker does not answer.",
    # dispatchers
    "clock_differs_from_the_brokers": "The clock of this machine differs from the broker's.",
    "dispatcher_started": "A dispatcher begins to serve the targets named.",
    "dispatcher_stopped": "A dispatcher has drained and ends.",
    "lease_not_extended": "Leases were not extended; other dispatchers may take the jobs.",
    "load_not_reported": "The load of this dispatcher was not reported; logged when it begins.",
    "load_report_left_out": "A stored report of load cannot be read and is left out.",
    "other_dispatchers_not_read": "The reports of other dispatchers were not read; logged when it begins.",
    "runner_cannot_reach_the_queue": "Jobs of a target were not taken, because the broker does not answer.",
    "depths_not_read": "The depths of the queue were not read; decisions use the last ones.",
    "waiting_for_state": "A dispatcher takes nothing yet, because a part of its state is not loaded.",
    # a fleet on one machine
    "part_ended": "A part of `fleet up` has ended, as by a kill, and is started again unless it ended too often.",
    "part_given_up": "A part of `fleet up` ended too often; `without` says what is missing, null that the fleet ends.",
    "part_started_again": "A part of `fleet up` that had ended was started again.",
    # metrics
    "ages_not_read": "The ages of what waits were not read; metrics show the last ones.",
    "metrics_export_failed": "A bug met the sending of metrics over OTLP; the next ones hold the same numbers.",
    "metrics_not_announced": "The file that tells Prometheus of this process cannot be written.",
    "metrics_not_sent": "The last metrics were given up, because the OTLP receiver did not take them in time.",
    "metrics_not_served": "No port can be had for metrics; the process works without them.",
    "metrics_served": "Metrics and health are served at the port named.",
    "scrape_failed": "A bug met a scrape of metrics, which got no answer.",
    # the broker
    "broker_found_again": "The connection to NATS that was lost is there again.",
    "broker_lost": "The connection to NATS is lost; it is tried again for as long as it takes, and nothing is lost.",
    "broker_error": "The broker, or the way to it, reported an error; the connection is kept up by itself.",
    "broker_not_reconnected": "An attempt to connect to the broker again failed; it is made again.",
    "connection_not_read": "The connection to the broker was no longer read and is made anew.",
    "consumer_forgot_messages": "A consumer of the broker had forgotten messages and was removed; it is made again.",
    "consumers_not_cleared": "Consumers that nobody uses were not removed; it is tried again.",
    "forgotten_messages_not_looked_for": "The search for forgotten messages failed; it is made again.",
    "message_not_taken_in": "One message from the broker met a bug and was passed by.",
    "store_room_missing": "The broker has less room than its streams reserve: raise its max_file_store.",
    "store_room_small": "The broker has little room: jobs and answers beyond what is named are refused.",
    "subscription_not_ended": "A subscription was not ended; the broker ends it with the connection.",
    # stored records
    "key_left_out": "A stored API key cannot be read, and opens nothing.",
    "keys_not_read": "API keys were not read; those known stay in force, and reading is tried again.",
    "dead_letter_skipped": "A dead letter cannot be read and is skipped.",
    "journal_message_skipped": "A line of the ledger or a feedback cannot be read and is skipped.",
    # contents
    "content_collecting": "The collector of contents stores them from now on.",
    "content_deleted": "Contents that are older than the content store keeps them were deleted.",
    "content_not_stored": "Contents were not stored, for want of the database or the broker, and stay in the stream.",
    "content_skipped": "A message on CONTENT holds no content and is skipped.",
    # batches
    "batch_end_not_told": "The end of a batch was not announced to webhooks; it is, once the lease has ended.",
    "batch_ended": "A batch has its last status, with so many rows completed and failed.",
    "batch_left_out": "An entry of the bucket `batches` holds no batch, as one that a tenant wrote itself.",
    "batch_not_read": "A watched batch was not read, because the broker does not answer; it is read again.",
    "batch_row_submitted_again": "A row in flight was unknown to the fleet, its result gone before it was read.",
    "batch_run_failed": "The run of a batch met a bug; it is tried again when its lease has ended.",
    "batch_taken": "This process runs the batch now.",
    "batch_taken_over": "Another process runs the batch now, because this one did not renew its lease in time.",
    "batch_targets_not_read": "Which targets are served was not read: rows with a budget count as dear as any target.",
    "batch_waits_for_broker": "A step of a batch was not confirmed by the broker, and is made again.",
    "batches_not_read": "Batches were not looked for, because the broker does not answer; it is tried again.",
    "file_left_out": "An entry of the bucket `batches` holds no file, as one that a tenant wrote itself.",
    # the ledger's database
    "ledger_day_archived": "A closed day was written to its Parquet file.",
    "ledger_line_unreadable": "A line in the database cannot be read by this version and is left out.",
    "ledger_lines_missed": "Lines were gone from the stream before they were written to the database.",
    "ledger_not_archived": "A closed day was not written to its file. No row is deleted; the next try is in an hour.",
    "ledger_not_written": "Lines were not written, for want of the database or the broker, and stay in the stream.",
    "ledger_rows_deleted": "Rows of days that are older than the ledger keeps them were deleted.",
    "ledger_standby": "Another process writes to the database; this one waits, and goes on when that one ends.",
    "ledger_stream_went_back": "The broker lost the end of its stream, as by a power cut; what came since is written.",
    "ledger_writing": "The writer begins behind the last line in the database.",
    # scaling and machines
    "node_drain_failed": "Ray did not drain the node of a spot machine that goes; it is asked again.",
    "node_drained": "The node of a spot machine that goes is drained, so many seconds ahead.",
    "node_not_drained": "A spot machine goes before its node was drained; jobs cut short come back by their leases.",
    "scaling": "The rules decided another number of replicas of a target, for the reason named.",
    "scaling_broker_away": "The scaling rules cannot read the queue; the numbers of replicas stay.",
    "scaling_broker_back": "The scaling rules can read the queue again.",
    "scaling_not_decided": "A number of replicas was not decided, and stays.",
    "spot_capacity_missing": "EC2 has no such machine as spot; one is started on demand.",
    "spot_metadata_silent": "The metadata service of the machine does not answer; logged when it begins.",
    "spot_notice": "AWS takes the machine back in so many seconds.",
    "spot_watched": "The notice of the machine's end is watched for.",
    # webhooks
    "event_not_announced": "What has happened was not announced, because the outbox refuses it.",
    "webhook_attempt_failed": "An endpoint did not take an event; it is sent again by the schedule.",
    "webhook_attempt_met_a_bug": "A bug met an attempt to send an event, which counts as failed.",
    "webhook_backlog_full": "An endpoint has too much waiting and is not told of more; logged when it begins.",
    "webhook_endpoint_ended": "An endpoint said that it is gone (410), and is sent nothing any more.",
    "webhook_endpoint_left_out": "A stored endpoint cannot be read, and is sent nothing.",
    "webhook_event_skipped": "A message on EVENTS holds no event and is skipped.",
    "webhook_given_up": "All attempts to tell an endpoint of an event have failed.",
    "webhook_leases_not_renewed": "Leases of events were not renewed; another process may send them too.",
    "webhook_met_a_bug": "A bug met a message on EVENTS, which is taken again in a minute.",
    "webhook_not_carried_on": "A message on EVENTS was not carried on, because the broker is away; it comes again.",
    "webhooks_not_taken": "Events were not taken, because the broker does not answer; it is tried again.",
    # console
    "console_login": "Somebody came in with the operator's token.",
    "console_login_refused": "Somebody tried to come in with another token than the operator's.",
    "console_page_failed": "A page of the console met a bug; the other pages work.",
    "console_reading_failed": "What the console shows was not read, by a bug; what was read before is shown.",
    "console_reading_refused": "What the console shows cannot be read; logged when the reason changes.",
    # gateway
    "gateway_request_failed": "A request to the gateway met a bug and was answered with status 500.",
    "gateway_without_broker": "A request to the gateway was refused, because the broker does not answer.",
}

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
            *("cached_answer_not_compared", "questions_not_compared", "questions_not_learned"),
            *("judgement_failed", "message_not_taken_in", "metrics_export_failed", "scrape_failed", "spend_not_booked"),
            *("step_failed", "webhook_attempt_met_a_bug", "webhook_met_a_bug", "work_not_taken"),
        ),
        _REPORT,
    ),
    **dict.fromkeys(
        (
            *(
                "batch_end_not_told",
                "batch_targets_not_read",
                "batch_waits_for_broker",
                "batches_not_read",
                "broker_error",
            ),
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
            *("scaling_broker_away", "step_not_confirmed", "webhooks_not_taken", "withdrawal_not_stored"),
            "cache_withdrawal_not_stored",
        ),
        _BROKER,
    ),
    **dict.fromkeys(
        (
            *("ages_not_read", "messages_not_opened", "money_not_reserved", "orphans_not_swept"),
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
    "engine_dead": "Nothing, once. Again on one machine: [GPU loss](../how-to/operations.md#gpu-loss).",
    "engine_given_up": "Nothing, once. Again on one machine: [GPU loss](../how-to/operations.md#gpu-loss).",
    "orphaned_work": "See why: [FleetBacklogWithoutCapacity](../how-to/alerts.md#fleetbacklogwithoutcapacity).",
    "prompt_cache_refused": "Nothing but the saving is lost. `prefix_cache: {mark: false}` in the rules sets none.",
    "provider_batch_adopted": "Find out why the process died that had sent it.",
    "provider_batch_in_unknown_state": "Compare the word with the provider's reference, and report it.",
    "provider_batch_not_cancelled": "Cancel it at the provider if its rows cost much: they are booked as if they ran.",
    "provider_batch_not_read": "See whether the provider is up and the key may read files, if it goes on.",
    "provider_batch_not_recorded": "Look at the broker; nothing is sent twice.",
    "provider_batch_not_sent": "Report it with the line's stack.",
    "providers_not_called": "Correct what `settings` names: [how](../how-to/operations.md#the-way-to-providers).",
    "targets_away": "See whether Ray's head is there: [losing the head](../how-to/head-loss.md).",
    "replicas_not_read": "See whether Ray answers: `ray status`, `serve status`.",
    # what is learned
    "calibration_left_out": "Fit it again: `fleet calibrate`.",
    "cache_promise_withdrawn": "Let labels come in, then `fleet cache calibrate`: [how](../how-to/caching.md).",
    "encoder_missing": "Install the extra `cache`, or see FLEET_ENCODER_PATH: [how](../how-to/caching.md).",
    "questions_compared_too_slowly": "Give dispatchers more of a core; none of their jobs is lost.",
    "calibration_withdrawn": "Collect labels: [FleetPromiseWithdrawn](../how-to/alerts.md#fleetpromisewithdrawn).",
    # experiments
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
