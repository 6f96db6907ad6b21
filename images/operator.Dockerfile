# The operator.
#
# docker build -f images/operator.Dockerfile -t rqk-operator .
# Without a network: put wheels into ./wheelhouse (pip download -d wheelhouse 'rqk[operator]'), they are used then and nothing else.
ARG BASE=python:3.13-slim
FROM ${BASE} AS build
WORKDIR /src
COPY . .
RUN python3 -m venv /opt/rqk \
 && if [ -d wheelhouse ]; then /opt/rqk/bin/pip install --no-cache-dir --no-index --find-links wheelhouse 'rqk[operator]'; \
    else /opt/rqk/bin/pip install --no-cache-dir '.[operator]'; fi \
 && /opt/rqk/bin/pip uninstall --yes --quiet pip

FROM ${BASE}
LABEL org.opencontainers.image.title="rqk operator" \
      org.opencontainers.image.description="Keeps just enough rqk workers running on Kubernetes" \
      org.opencontainers.image.licenses="MIT"
COPY --from=build /opt/rqk /opt/rqk
ENV PATH=/opt/rqk/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp
WORKDIR /tmp
USER 10001:10001
EXPOSE 9728
ENTRYPOINT ["rqk-operator"]
