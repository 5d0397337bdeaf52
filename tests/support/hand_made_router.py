"""A router whose every number is plain to see: "prove" speaks against the small model, "hello" for it."""

from __future__ import annotations

import math

from fleet.model.router import Router
from policies.features.prompt import PROMPT_FEATURES

CHARS = PROMPT_FEATURES.index("log_chars")
WIDTH = len(PROMPT_FEATURES)

by_hand = Router(
    version="router-by-hand",
    weak="llama-8b",
    strong="llama-70b",
    labels=500,
    reads_answer=False,
    features=PROMPT_FEATURES,
    means=(0.0,) * WIDTH,
    scales=(1.0,) * WIDTH,
    linear=(0.0,) * WIDTH,
    terms={"prove": (2.0, 1.0), "hello": (1.0, -1.0)},
    trees=((CHARS, math.log1p(20), -1.0, 1.0),),
    blend=(-1.0, 0.0, 0.0),
    intercept=0.0,
    lowest=(0.0,) * WIDTH,
    highest=(10.0,) * WIDTH,
    margin=0.0,
    fewest_known=0.5,
    suffices_share=0.8,
    apgr=0.7,
    apgr_ci=(0.65, 0.75),
    length_apgr=0.6,
    length_apgr_ci=(0.55, 0.65),
    table_apgr=0.62,
)
