"""Whatever reaches a host: connections, the engine behind them, and what was said."""

# Neither a context nor the environment of the user there may name another engine or how to ask it:
# the option beats $DOCKER_HOST, $DOCKER_CONTEXT and `docker context use`, but not the others.
DOCKER = (
    *("env", "-u", "DOCKER_TLS", "-u", "DOCKER_TLS_VERIFY", "-u", "DOCKER_API_VERSION"),
    *("docker", "-H", "unix:///var/run/docker.sock"),
)
"""The docker command line, as it asks the host's own engine."""
