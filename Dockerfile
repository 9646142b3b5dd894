# build → test (optional) → runtime. The runtime image runs as an ordinary user on a read-only root and holds no model:
# mount one at /models.
#
#   docker build -t transmla-server .
#   docker run --rm -p 8033:8033 -p 9090:9090 -v "$HOME/.cache/transmla/models:/models:ro" \
#     transmla-server --model /models/SmolLM2-135M-Instruct-mla
FROM debian:12-slim AS build
WORKDIR /src
COPY scripts/install-deps scripts/install-deps
RUN scripts/install-deps build
COPY . .
RUN cmake --preset release -DTRANSMLA_CUDA=OFF -DTRANSMLA_TESTS=OFF -DTRANSMLA_BENCH=OFF \
 && cmake --build --preset release --target transmla transmla-server \
 && strip build/release/bin/transmla build/release/bin/transmla-server

FROM build AS test
RUN scripts/test

FROM debian:12-slim AS runtime
COPY scripts/install-deps /usr/local/share/transmla/install-deps
RUN /usr/local/share/transmla/install-deps runtime \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --no-create-home transmla
COPY --from=build /src/build/release/bin/transmla /src/build/release/bin/transmla-server /usr/local/bin/
COPY --from=build /src/build/release/bin/libtransmla_sentencepiece.so /usr/local/lib/transmla/
COPY LICENSE /usr/local/share/transmla/LICENSE
USER 10001
EXPOSE 8033 9090
# Asks through the front door; a server that still loads its model is not healthy yet.
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 \
  CMD ["transmla", "models", "--ready", "--server", "127.0.0.1:8033"]
# An ordinary stop lets running streams finish (--grace-period).
STOPSIGNAL SIGTERM
ENTRYPOINT ["transmla-server", "--listen", "0.0.0.0:8033", "--insecure-bind", "--metrics-listen", "0.0.0.0:9090"]
