"""Values that are valid, and with which this version can't run: said at the start. Pure."""

from .models import Config
from .problem import Problem


def unavailable_values(config: Config) -> tuple[Problem, ...]:
    """One fatal problem for each value with which a manager of this version can't run as the file says."""
    problems = []
    for index, server in enumerate(config.servers):
        if server.uses_tls:
            message = "connections with TLS are not available yet in this version"
            problems.append(config.places.problem(f"servers[{index}]", message))
    return tuple(problems)
