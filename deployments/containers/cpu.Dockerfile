# The CPU fleet: `dispatcher` for what needs no engine (dispatchers for cloud targets alone, ledger, gateway, batches, webhooks),
# `fleet` (the last stage) with Ray, vLLM and the stand-in models.
#
#   docker build -f deployments/containers/cpu.Dockerfile --target dispatcher -t fleet-dispatcher:0.2.0 .
#   docker build -f deployments/containers/cpu.Dockerfile -t fleet-cpu:0.2.0 .
#   docker run --rm fleet-cpu:0.2.0 fleet demo
#
# Secrets come into the environment when a container starts (--env-file); none is in an image.

# A tag can be moved: build what you run with the digest of the day you looked it up,
#   --build-arg PYTHON=python:3.11.13-slim-bookworm@sha256:…
ARG PYTHON=python:3.11.13-slim-bookworm

FROM ${PYTHON} AS python
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PYTHONDONTWRITEBYTECODE=1
RUN python -m venv /opt/fleet
ENV PATH=/opt/fleet/bin:$PATH
WORKDIR /src

FROM python AS source
COPY pyproject.toml README.md LICENSE ./
COPY fleet fleet
COPY policies policies
COPY queues queues
COPY deployments deployments

# The lock bounds what a dispatcher, the writer of the ledger and the gateway need; it does not install what they do not need.
FROM source AS dispatcher-environment
COPY requirements/cpu.lock requirements/cpu.lock
RUN pip install -c requirements/cpu.lock setuptools && pip install -c requirements/cpu.lock --no-build-isolation ".[ledger,gateway]"

FROM ${PYTHON} AS dispatcher
COPY --from=dispatcher-environment /opt/fleet /opt/fleet
RUN useradd --uid 1000 --create-home fleet
ENV PATH=/opt/fleet/bin:$PATH PYTHONUNBUFFERED=1
WORKDIR /home/fleet
USER 1000:1000
# No HEALTHCHECK: a dispatcher that has lost its broker for good ends, and SIGTERM drains it.
ENTRYPOINT ["fleet"]
CMD ["dispatcher"]

FROM python AS environment
COPY requirements/cpu.lock requirements/cpu.lock
# The CPU build of torch is in PyTorch's own index only.
RUN pip install --no-deps -r requirements/cpu.lock --extra-index-url https://download.pytorch.org/whl/cpu
COPY --from=source /src /src
RUN pip install --no-deps --no-build-isolation . ./deployments/standins

FROM ${PYTHON} AS fleet
# vLLM's kernels are linked against libnuma; its compiler needs gcc.
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev libnuma1 && rm -rf /var/lib/apt/lists/*
COPY --from=environment /opt/fleet /opt/fleet
RUN useradd --uid 1000 --create-home fleet
ENV PATH=/opt/fleet/bin:$PATH PYTHONUNBUFFERED=1
WORKDIR /home/fleet
USER 1000:1000
HEALTHCHECK --start-period=300s --interval=30s --timeout=20s CMD ["fleet", "status", "--json"]
CMD ["fleet", "up"]
