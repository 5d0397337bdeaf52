"""A simulated fleet with all mechanisms that spare calls and tokens, and jobs for which they have something to do."""

from __future__ import annotations

from fleet.lab.simulation.workload.mechanisms import Mechanisms, PromptCaches, SemanticHits
from fleet.lab.simulation.workload.prompts import Parts, Prompts
from policies.rules.diet import DietMode, DietRules
from policies.rules.sections import CacheMode

QUESTIONS = Prompts(distinct=3, wordings=2)
THREAD = Parts(20, 30, 20, turn=40, tool_use=0.01, alone=True, warm=0.5)

EVERYTHING = Mechanisms(
    cache=dict.fromkeys(("nudge.recognition", "coach.reply"), CacheMode.ANY),
    semantic=SemanticHits(0.5, 0.1),
    alone=True,
    diet={"nudge.recognition": DietRules(DietMode.ON, DietMode.ON, 100, tool_jobs=5)},
    prompt_caches=PromptCaches(frozenset({"gpt-4o"}), least_tokens=10),
)
