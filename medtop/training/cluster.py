"""TF_CONFIG: which machines train together, and which of them this process is. No TensorFlow here."""

import dataclasses

from medtop.files.bounded import parse_json
from medtop.files.errors import DataError


@dataclasses.dataclass(frozen=True)
class Cluster:
    """A process's place among the workers.

    Attributes:
        worker: its number; 0 is the chief, who writes the run's files.
        workers: how many there are.
    """

    worker: int
    workers: int


def read_cluster(environment):
    """Reads `TF_CONFIG` as TensorFlow documents it: `{"cluster": {"worker": ["host:port", ...]}, "task": {"type":
    "worker", "index": 0}}`, with `chief` beside `worker` where the chief is named.

    Args:
        environment: dict such as `os.environ`.

    Raises:
        DataError: when it is missing or says something else.
    """
    example = '{"cluster": {"worker": ["host1:2222", "host2:2222"]}, "task": {"type": "worker", "index": 0}}'
    text = environment.get("TF_CONFIG", "")
    try:
        content = parse_json(text, "TF_CONFIG")
        cluster, task = content["cluster"], content["task"]
        chiefs, workers = cluster.get("chief", []), cluster.get("worker", [])
        kind, index = task["type"], int(task["index"])
        addresses = {"chief": chiefs, "worker": workers}[kind]
        good = all(isinstance(address, str) and ":" in address for address in [*chiefs, *workers])
        if not (good and len(chiefs) <= 1 and 0 <= index < len(addresses) and set(cluster) <= {"chief", "worker"}):
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        raise DataError(f"TF_CONFIG: expected {example}, received {text[:200] or 'none'}") from None
    if len({*chiefs, *workers}) != len([*chiefs, *workers]):
        raise DataError(f"TF_CONFIG: expected each address once, received {text[:200]}")
    return Cluster(index + (len(chiefs) if kind == "worker" else 0), len(chiefs) + len(workers))
