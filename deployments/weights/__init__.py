"""Brings the weights of the real models to a machine, and asks the hub first whether they may be had.

    python -m deployments.weights check
    python -m deployments.weights fetch --into ~/weights/hub [--from s3://bucket/prefix] [--target llama-8b]

The folder has the layout of the Hugging Face cache: with `HF_HUB_CACHE` set to it, vLLM finds what was fetched.
"""
