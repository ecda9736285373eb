# Ratchet with exactly what requirements.lock names, as a user of its own.
FROM python:3.13-slim
RUN useradd --uid 10001 --create-home ratchet && install -d -o ratchet -m 700 /data
WORKDIR /opt/ratchet
COPY requirements.lock ./
RUN pip install --no-cache-dir --require-hashes -r requirements.lock
COPY . .
RUN pip install --no-cache-dir --no-deps --no-build-isolation .
USER ratchet
WORKDIR /home/ratchet
ENV RATCHET_DATA=/data
VOLUME /data
ENTRYPOINT ["ratchet"]
CMD ["up"]
