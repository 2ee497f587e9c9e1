"""Runs a command as one worker of a training: TF_CONFIG out of what an Indexed Job tells its pods.

Example (what kubernetes/training-job.yaml does in each of its pods):
  JOB_COMPLETION_INDEX=0 JOB_NAME=medtop-training SERVICE_NAME=medtop-workers NUM_WORKERS=2 WORKER_PORT=2222 \\
    python deploy/with_tf_config.py \\
    python run_scripts/run_toppretraining.py --distribution_strategy=multi_worker_mirrored --do_train ...

The pods of an Indexed Job are called <job>-<index>, and a headless Service gives them the name <job>-<index>.<service>.
The command replaces this process: it gets the pod's SIGTERM, and its exit code is the pod's. Standard library only.
"""

import json
import os
import re
import signal
import socket
import sys
import time

STOPPED = 75  # nothing is wrong with the command: a new pod may try again
BAD_INPUT = 1
NAMES = ("JOB_COMPLETION_INDEX", "JOB_NAME", "SERVICE_NAME", "NUM_WORKERS", "WORKER_PORT")
WAIT_SECONDS = 600
DNS_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
LONGEST_LABEL = 63
MOST_WORKERS = 1000


def tf_config(index, job, service, workers, port):
    """The value of TF_CONFIG, as TensorFlow documents it; worker 0 is the chief.

    Args:
        index: number of this worker, from 0.
        job: name of the Job; service: name of the headless Service, the pods' subdomain.
        workers: number of workers; port: on which each of them listens.
    """
    hosts = [f"{job}-{number}.{service}:{port}" for number in range(workers)]
    return {"cluster": {"worker": hosts}, "task": {"type": "worker", "index": index}}


def from_environment(environment):
    """The arguments of `tf_config` out of environment variables, a dict.

    Raises:
        ValueError: one line, naming the variable.
    """
    for name in NAMES:
        if not environment.get(name):
            raise ValueError(f"{name}: expected it in the environment, found none")
    workers = _number(environment, "NUM_WORKERS", 1, MOST_WORKERS)
    port = _number(environment, "WORKER_PORT", 1, 65_535)
    index = _number(environment, "JOB_COMPLETION_INDEX", 0, workers - 1)
    for name, text in (
        ("JOB_NAME", f"{environment['JOB_NAME']}-{workers - 1}"),  # a pod's host name
        ("SERVICE_NAME", environment["SERVICE_NAME"]),
    ):
        if len(text) > LONGEST_LABEL or not DNS_LABEL.fullmatch(text):
            raise ValueError(
                f"{name}: expected a DNS label (a-z, 0-9, -; {LONGEST_LABEL} letters with the index), "
                f"received {environment[name]!r}"
            )
    job, service = environment["JOB_NAME"], environment["SERVICE_NAME"]
    return {"index": index, "job": job, "service": service, "workers": workers, "port": port}


def _number(environment, name, least, most):
    text = environment[name]
    if not (text.isascii() and text.isdigit() and least <= int(text) <= most):
        raise ValueError(f"{name}: expected a whole number from {least} to {most}, received {text!r}")
    return int(text)


def wait_for(hosts, seconds, resolve=socket.getaddrinfo):
    """Waits until each host's name is known: a Service learns of a pod only when that one has an address.

    Returns:
        list of the names that are still unknown after that many seconds.
    """
    unknown, end = list(hosts), time.monotonic() + seconds
    while True:
        unknown = [host for host in unknown if not _resolves(host, resolve)]
        if not unknown or time.monotonic() >= end:
            return unknown
        time.sleep(min(2, max(0, end - time.monotonic())))


def _resolves(host, resolve):
    name, _, port = host.rpartition(":")
    try:
        return bool(resolve(name, int(port)))
    except OSError:
        return False


def main(argv, environment):
    """Sets TF_CONFIG, waits for the other workers' names and becomes the command."""
    if len(argv) < 2 or argv[1] in ("-h", "--help"):
        print(__doc__, file=sys.stdout if len(argv) > 1 else sys.stderr)
        return 0 if len(argv) > 1 else BAD_INPUT
    try:
        config = tf_config(**from_environment(environment))
        seconds = float(environment.get("WORKER_WAIT_SECONDS", WAIT_SECONDS))
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    # As a container's first process it would not even notice SIGTERM without a handler.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(STOPPED))
    if unknown := wait_for(config["cluster"]["worker"], seconds):
        print(f"stopped: after {seconds:.0f} s no address of {', '.join(unknown)}", file=sys.stderr)
        return STOPPED
    try:
        os.execvpe(argv[1], argv[1:], {**environment, "TF_CONFIG": json.dumps(config)})
    except OSError as error:
        print(f"error: {argv[1]}: {error.strerror}", file=sys.stderr)
        return BAD_INPUT


if __name__ == "__main__":
    sys.exit(main(sys.argv, dict(os.environ)))
