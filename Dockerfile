# expnet in a container; --user lets it write into the folder that it is shown:
#   docker build -t expnet .
#   docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/data" expnet predict photo.jpg --out out
# Parsed with dockerfile-parse and read by eye, NOT YET BUILT: no container engine was at hand when it was written.

FROM python:3.12-slim AS build
# PIP_ROOT_USER_ACTION: the build stage is thrown away, so pip's warning about root says nothing.
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
RUN python -m venv /opt/expnet
WORKDIR /src
# The locked packages before the source: editing the source does not install TensorFlow again. The lock also holds
# the test tools (about 0.2 GB): one lock, the one that was tested.
COPY requirements.lock tools/bootstrap.lock ./
RUN /opt/expnet/bin/pip install --no-cache-dir --require-hashes --only-binary :all: -r bootstrap.lock \
 && /opt/expnet/bin/uv pip sync --no-cache --compile-bytecode --python /opt/expnet/bin/python \
      --require-hashes --only-binary :all: requirements.lock
COPY pyproject.toml README.md LICENSE ASSETS.md ./
COPY expnet_tf ./expnet_tf
COPY export ./export
COPY serving ./serving
RUN /opt/expnet/bin/python -m pip install --no-cache-dir --no-deps --no-build-isolation .

FROM python:3.12-slim
# libstdc++6: TensorFlow's wheel expects it from the system.
RUN apt-get update \
 && apt-get install -y --no-install-recommends libstdc++6 \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --create-home --uid 10001 expnet
COPY --from=build /opt/expnet /opt/expnet
# The rasteriser caches its compiled code; numba refuses to start where no folder for it is writable.
ENV PATH=/opt/expnet/bin:$PATH TF_CPP_MIN_LOG_LEVEL=3 NUMBA_CACHE_DIR=/tmp/numba
USER expnet
WORKDIR /data
ENTRYPOINT ["expnet"]
CMD ["--help"]
