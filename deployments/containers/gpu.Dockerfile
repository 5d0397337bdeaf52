# The GPU fleet: what every node of the Ray cluster runs, with or without a card. KubeRay gives the command.
#
#   docker build -f deployments/containers/gpu.Dockerfile -t fleet-gpu:0.2.0 .
#
# CUDA comes with the wheels; the driver, 580 or newer, from the machine. Weights are where HF_HUB_CACHE says, or are
# fetched from the hub when a model starts. Python is the same version in every node: Ray refuses what differs.

# A tag can be moved: build what you run with the digest of the day you looked it up,
#   --build-arg PYTHON=python:3.11.13-slim-bookworm@sha256:…
ARG PYTHON=python:3.11.13-slim-bookworm

FROM ${PYTHON} AS environment
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PYTHONDONTWRITEBYTECODE=1
RUN python -m venv /opt/fleet
ENV PATH=/opt/fleet/bin:$PATH
WORKDIR /src
COPY deployments/containers/gpu.lock gpu.lock
RUN pip install --no-deps --require-hashes -r gpu.lock
COPY pyproject.toml README.md LICENSE ./
COPY fleet fleet
COPY policies policies
COPY queues queues
COPY deployments deployments
RUN pip install --no-deps --no-build-isolation .

FROM ${PYTHON}
# g++: Triton and torch compile their kernels where they run. wget: the probes of KubeRay. procps: `ray stop`.
RUN apt-get update && apt-get install -y --no-install-recommends g++ libnuma1 procps wget \
    && rm -rf /var/lib/apt/lists/*
COPY --from=environment /opt/fleet /opt/fleet
RUN useradd --uid 1000 --create-home fleet
ENV PATH=/opt/fleet/bin:$PATH PYTHONUNBUFFERED=1 NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
WORKDIR /home/fleet
USER 1000:1000
# No HEALTHCHECK: the head and the workers are asked different things, by KubeRay's probes.
CMD ["bash"]
