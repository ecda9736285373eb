# Ratchet with exactly what requirements.lock names, as a user of its own. Any image with Python 3.11 to 3.13 and venv
# will do as its base: nothing else of the system is used.
ARG BASE=docker.io/library/python:3.13-slim
FROM ${BASE}
RUN useradd --uid 10001 --create-home ratchet \
 && install -d -o ratchet -g ratchet -m 700 /data /data/bundles \
 && python3 -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /opt/ratchet
COPY requirements.lock ./
RUN pip install --require-hashes -r requirements.lock
COPY . .
RUN pip install --no-deps --no-build-isolation .
USER ratchet
WORKDIR /home/ratchet
ENV RATCHET_DATA=/data
VOLUME /data
ENTRYPOINT ["ratchet"]
CMD ["up"]
