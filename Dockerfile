# The service on a CPU, with its page:
#     docker build -t restore-sdk .
#     docker run --rm --read-only --cap-drop ALL --security-opt no-new-privileges -p 127.0.0.1:8000:8000 restore-sdk
FROM python:3.12-slim-bookworm AS build
RUN python -m venv /opt/restore-sdk
ENV PATH=/opt/restore-sdk/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
COPY requirements/service.lock ./
RUN pip install --require-hashes -r service.lock
COPY pyproject.toml README.md LICENSE ./
COPY restore_sdk ./restore_sdk
RUN pip install --no-deps . && python -m compileall -q /opt/restore-sdk

FROM python:3.12-slim-bookworm
COPY --from=build /opt/restore-sdk /opt/restore-sdk
ENV PATH=/opt/restore-sdk/bin:$PATH PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s --start-interval=1s \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
ENTRYPOINT ["restore-sdk", "serve", "--host", "0.0.0.0", "--port", "8000", "--log-format", "json"]
CMD ["--ui"]
