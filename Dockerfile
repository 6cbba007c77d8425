# The gateway as an image: dependencies from the lock file only, each checked against its hash; the code stays in /app,
# ahead of site-packages, so that no installed package can take the place of ours.

FROM python:3.12-slim AS build
WORKDIR /app
RUN python -m venv --without-pip /venv
COPY requirements.lock ./
RUN pip --python /venv/bin/python install --no-cache-dir --require-hashes -r requirements.lock
COPY pyproject.toml README.md ./
COPY gateway gateway
COPY channels channels
COPY handlers handlers
COPY db db
RUN pip --python /venv/bin/python install --no-cache-dir --no-build-isolation --no-deps --editable . \
    && /venv/bin/python -m compileall -q gateway channels handlers db

FROM python:3.12-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --user-group --home-dir /data --shell /usr/sbin/nologin waystation \
    && install --directory --owner waystation --group waystation --mode 0700 /data
COPY --from=build /venv /venv
COPY --from=build /app /app
ENV PATH=/venv/bin:$PATH \
    PYTHONPATH=/app \
    PYTHONUNBUFFERED=1 \
    WAYSTATION_HOST=0.0.0.0 \
    WAYSTATION_LOG_FORMAT=json
USER waystation
# What has to outlive the container where no database is configured: .waystation lies in the working folder.
WORKDIR /data
VOLUME ["/data"]
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=15s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen('http://127.0.0.1:' + os.environ.get('WAYSTATION_PORT', '8080') + '/live', timeout=2)"]
ENTRYPOINT ["waystation"]
CMD ["serve", "--workers", "1"]
