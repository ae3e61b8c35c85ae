# The image of millrace: `docker build --tag millrace .`; docs/how-to/docker.md says how it is used.

FROM python:3.11-slim AS build
WORKDIR /build
ENV PIP_CONSTRAINT=/build/constraints.txt UV_CONSTRAINT=/build/constraints.txt UV_BUILD_CONSTRAINT=/build/constraints.txt
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY src src
COPY configs configs
COPY data data
COPY tasks tasks
COPY flows flows
# uv is pinned too, by constraints.txt.
# hadolint ignore=DL3013
RUN pip install --no-cache-dir uv \
    && python -m venv /opt/millrace \
    && uv pip install --no-cache --compile-bytecode --python /opt/millrace/bin/python ".[pdfium,tokenizers,jieba]"

FROM python:3.11-slim
# A user of its own, and the folders that volumes are mounted on, which take their owner from here.
RUN useradd --uid 10001 --create-home millrace \
    && mkdir -p /srv/millrace/lake /srv/millrace/documents /srv/prefect \
    && chown -R millrace:millrace /srv/millrace /srv/prefect
COPY --from=build /opt/millrace /opt/millrace
ENV PATH=/opt/millrace/bin:$PATH \
    MILLRACE_LAKE__PATH=/srv/millrace/lake \
    PREFECT_HOME=/srv/prefect \
    PREFECT_SERVER_ANALYTICS_ENABLED=false
USER 10001
WORKDIR /srv/millrace
# A run that is going on is no fault, so the lease is left out; a settings file is ./millrace.toml, mounted here.
HEALTHCHECK --interval=5m --timeout=60s --start-period=30s --retries=2 \
    CMD ["millrace", "doctor", "--offline", "--skip", "lease"]
ENTRYPOINT ["millrace"]
CMD ["--help"]
