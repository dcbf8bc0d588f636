# PP's images: one stage for each program, all from one build. `docker build --target task_consumer .`; without a target it
# is the standalone. docker-compose.yml uses them all.
#
# The programs are process 1 and handle SIGTERM themselves; nothing in the last stages needs a shell. The health checks ask
# the program's own health page with cli_02. What the images do not set has the defaults of the programs.

# The oldest Rust that PP supports, which is the one its tests run with.
FROM rust:1.95.0-slim-trixie AS chef
RUN cargo install cargo-chef --version 0.1.78 --locked
WORKDIR /pp

# What the dependencies are; the same for every change that leaves the manifests and the lock file alone.
FROM chef AS plan
COPY . .
RUN cargo chef prepare --recipe-path /recipe.json

FROM chef AS build
# Names in backtraces stay; line numbers are larger than the programs.
ENV CARGO_PROFILE_RELEASE_DEBUG=none CARGO_PROFILE_RELEASE_STRIP=debuginfo
# This layer, with all dependencies compiled, is built again only when they change.
COPY --from=plan /recipe.json /recipe.json
RUN cargo chef cook --release --locked --bins --recipe-path /recipe.json
COPY . .
# The folder is what the standalone's volume begins as.
RUN cargo build --release --locked \
    --bin pp_backend_api --bin task_consumer --bin task_producer --bin pp_standalone \
    --bin cli_01 --bin cli_02 --bin pp_storage \
    && mkdir --mode 0700 /empty

FROM debian:trixie-20260803-slim AS runtime
RUN groupadd --gid 10001 pp \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin pp
ARG PP_VERSION=0.1.0
LABEL org.opencontainers.image.vendor="PP" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.version="${PP_VERSION}"
# The authorities that programs trust as clients.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /pp/target/release/cli_02 /usr/local/bin/
USER 10001:10001
STOPSIGNAL SIGTERM

FROM runtime AS pp_backend_api
LABEL org.opencontainers.image.title="pp_backend_api" \
    org.opencontainers.image.description="PP's REST API, live streams and page"
COPY --from=build /pp/target/release/pp_backend_api /usr/local/bin/
COPY --from=build --chown=10001:10001 /empty /keys
# The first start makes the admin key there.
ENV PP_API_BIND=0.0.0.0:3000 PP_ADMIN_KEY_FILE=/keys/admin.key
VOLUME /keys
EXPOSE 3000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --start-interval=1s \
    CMD ["/usr/local/bin/cli_02", "--port", "3000", "--path", "/health/ready"]
ENTRYPOINT ["/usr/local/bin/pp_backend_api"]

FROM runtime AS task_consumer
LABEL org.opencontainers.image.title="task_consumer" \
    org.opencontainers.image.description="PP's worker: computes demands, and sends what is due"
COPY --from=build /pp/target/release/task_consumer /usr/local/bin/
ENV PP_PROBE_BIND=0.0.0.0:3001
EXPOSE 3001
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --start-interval=1s \
    CMD ["/usr/local/bin/cli_02", "--port", "3001", "--path", "/health/ready"]
ENTRYPOINT ["/usr/local/bin/task_consumer"]

FROM runtime AS task_producer
LABEL org.opencontainers.image.title="task_producer" \
    org.opencontainers.image.description="Publishes work demands for PP on a cron schedule"
COPY --from=build /pp/target/release/task_producer /usr/local/bin/
ENV PP_PROBE_BIND=0.0.0.0:3002
EXPOSE 3002
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --start-interval=1s \
    CMD ["/usr/local/bin/cli_02", "--port", "3002", "--path", "/health/ready"]
ENTRYPOINT ["/usr/local/bin/task_producer"]

FROM runtime AS cli_01
LABEL org.opencontainers.image.title="cli_01" \
    org.opencontainers.image.description="PP's operator's tool, over HTTP or straight in the database"
COPY --from=build /pp/target/release/cli_01 /usr/local/bin/
ENTRYPOINT ["/usr/local/bin/cli_01"]

FROM runtime AS cli_02
LABEL org.opencontainers.image.title="cli_02" \
    org.opencontainers.image.description="An HTTP/1.1 client on a bare TCP socket, to see the bytes"
ENTRYPOINT ["/usr/local/bin/cli_02"]

FROM runtime AS pp_storage
LABEL org.opencontainers.image.title="pp_storage" \
    org.opencontainers.image.description="Creates PP's database and brings its schema up to date"
COPY --from=build /pp/target/release/pp_storage /usr/local/bin/
ENTRYPOINT ["/usr/local/bin/pp_storage"]

FROM runtime AS pp_standalone
LABEL org.opencontainers.image.title="pp_standalone" \
    org.opencontainers.image.description="All of PP in one process, on SQLite"
COPY --from=build /pp/target/release/pp_standalone /usr/local/bin/
COPY --from=build --chown=10001:10001 /empty /data
ENV PP_API_BIND=0.0.0.0:3000 PP_ADMIN_KEY_FILE=/data/admin.key PP_DATA_DIR=/data
VOLUME /data
EXPOSE 3000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --start-interval=1s \
    CMD ["/usr/local/bin/cli_02", "--port", "3000", "--path", "/health/ready"]
ENTRYPOINT ["/usr/local/bin/pp_standalone"]
