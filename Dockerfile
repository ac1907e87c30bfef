# The image of the service: the program on Debian's C library, and no shell, no package manager and no root.
#
#     docker build --build-arg VERSION=0.1.0 --build-arg REVISION="$(git rev-parse HEAD)" -t billing .
#
# tests/it/image.rs runs the program in a root of exactly what the last stage has.

# Of the same Debian as the last stage, whose C library must not be older than the one that is linked here.
FROM rust:1.95-slim-bookworm AS build
WORKDIR /source
# Only what the program is built from, so that nothing else makes it be built again (.dockerignore keeps the rest away, too).
COPY Cargo.toml Cargo.lock build.rs ./
COPY .cargo .cargo
COPY migrations migrations
COPY proto proto
COPY src src
# The commit that `billing --version` names: there is no git here.
ARG REVISION=unknown
# Both caches stay with the builder: after a change only this crate is compiled. What is copied out of a cache would be gone with it.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/source/target,sharing=locked \
    BILLING_COMMIT="$REVISION" cargo build --locked --release && \
    install -D target/release/billing /out/billing

# libc, libm, libgcc_s, CA certificates, and the user nonroot. To pin it, add the digest that you have tested.
FROM gcr.io/distroless/cc-debian12:nonroot
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="billing" \
      org.opencontainers.image.description="A prepaid-credit ledger over gRPC and PostgreSQL" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
# Owned by root: the program cannot change itself.
COPY --from=build /out/billing /billing
# Loopback, the default, cannot be reached from outside a container. The service refuses the first without credentials.
ENV BILLING_LISTEN=0.0.0.0:50051 \
    BILLING_HEALTH_LISTEN=0.0.0.0:50052
EXPOSE 50051 50052 9464
# By number, since Kubernetes can tell of a number only that it is not root.
USER 65532:65532
# The program itself is process 1, so that it gets SIGTERM.
ENTRYPOINT ["/billing"]
CMD ["serve"]
