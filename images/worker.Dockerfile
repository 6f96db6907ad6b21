# The base of your workers' image:
#
#   FROM ghcr.io/rqk/rqk-worker:1
#   COPY --chown=0:0 . /app
#   RUN pip install --no-cache-dir -r /app/requirements.txt
#   ENV PYTHONPATH=/app
#
# docker build -f images/worker.Dockerfile -t rqk-worker .
# Without a network: put wheels into ./wheelhouse (pip download -d wheelhouse rqk), they are used then and nothing else.
ARG BASE=python:3.13-slim
FROM ${BASE} AS build
WORKDIR /src
COPY . .
RUN python3 -m venv /opt/rqk \
 && if [ -d wheelhouse ]; then /opt/rqk/bin/pip install --no-cache-dir --no-index --find-links wheelhouse rqk; \
    else /opt/rqk/bin/pip install --no-cache-dir .; fi

FROM ${BASE}
LABEL org.opencontainers.image.title="rqk worker" \
      org.opencontainers.image.description="Runs jobs of a job queue that speaks RQ's wire protocol" \
      org.opencontainers.image.licenses="MIT"
COPY --from=build /opt/rqk /opt/rqk
# HOME: many libraries want to write there, and the root file system is read-only.
ENV PATH=/opt/rqk/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp
WORKDIR /tmp
# By number: Kubernetes cannot tell from a name that it is not root.
USER 10001:10001
EXPOSE 9727
# Exec form: signals must reach the worker itself.
ENTRYPOINT []
CMD ["rqk", "worker"]
