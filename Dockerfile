# syntax=docker/dockerfile:1
#
#   docker build -t ydash .
#   docker run -p 1234:1234 -v ydash:/data ydash --insecure
#
# Inside a container ydash listens on every interface, so it does not start before authentication is configured, or
# `--insecure` says that everybody who reaches the port may read and write. It drains on SIGTERM: give it time
# (`docker stop --time 30`). Probes: GET /healthz (alive), GET /readyz (takes clients).

FROM rust:1.95-slim-bookworm AS build
WORKDIR /build
COPY . .
# The caches outlive the build, so the binary is copied out of them.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --profile dist --locked --bin ydash && \
    cp target/dist/ydash /usr/local/bin/ydash && \
    mkdir /data

FROM debian:bookworm-slim
COPY --from=build /usr/local/bin/ydash /usr/local/bin/ydash
COPY LICENSE-MIT LICENSE-APACHE /usr/share/doc/ydash/
# By what `rediss://` checks certificates; this image has none.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
# A number, not a name: Kubernetes checks `runAsNonRoot` by it.
COPY --from=build --chown=10001:10001 /data /data
USER 10001:10001
ENV YDASH_LISTEN=0.0.0.0:1234 \
    YDASH_STORE=file:/data
WORKDIR /data
VOLUME /data
EXPOSE 1234
ENTRYPOINT ["ydash"]
