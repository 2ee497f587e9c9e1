"""deploy/: the manifests against Kubernetes' own schema, their parts against each other and against the scripts; the
environment of a worker against TensorFlow's own reader of TF_CONFIG."""

import ast
import importlib.util
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

import pytest
import yaml
from conftest import ROOT

from medtop.cli import commands
from medtop.cli.flags import of_script
from medtop.grid.cells import read_grid
from medtop.training.cluster import Cluster, read_cluster

DEPLOY = ROOT / "deploy"
ENTRY = DEPLOY / "with_tf_config.py"
FILES = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
OBJECTS = [(path.stem, one) for path in FILES for one in yaml.safe_load_all(path.read_text(encoding="utf-8"))]
JOBS = {name: one for name, one in OBJECTS if one["kind"] == "Job"}
DOCKERFILE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
WORKDIR = re.search(r"^WORKDIR (.+)$", DOCKERFILE, re.M)[1]


def pod(job):
    return job["spec"]["template"]["spec"]


def container(job):
    (only,) = pod(job)["containers"]
    return only


def of_kind(kind):
    return {one["metadata"]["name"]: one for _, one in OBJECTS if one["kind"] == kind}


def words(job):
    """The command line of a job's container."""
    return [*container(job)["command"], *container(job)["args"]]


def flags(job):
    return dict(word.removeprefix("--").partition("=")[::2] for word in words(job) if word.startswith("--"))


def test_the_manifests_are_there():
    assert sorted(JOBS) == ["evaluation-job", "grid-job", "training-job"]
    assert {kind for kind in ("Service", "PersistentVolumeClaim", "NetworkPolicy") if of_kind(kind)} == {
        "Service",
        "PersistentVolumeClaim",
        "NetworkPolicy",
    }


MODEL_OF = {
    ("batch/v1", "Job"): "V1Job",
    ("v1", "Service"): "V1Service",
    ("v1", "PersistentVolumeClaim"): "V1PersistentVolumeClaim",
    ("networking.k8s.io/v1", "NetworkPolicy"): "V1NetworkPolicy",
}


@pytest.fixture(scope="module")
def models():
    """Kubernetes' published schema as strict models: unknown fields, missing ones and wrong types are refused."""
    client = pytest.importorskip("kubernetes.client", reason="Kubernetes' client is not installed: [test-extras]")
    return client.models


@pytest.mark.parametrize("name, manifest", OBJECTS, ids=[f"{name}-{one['kind']}" for name, one in OBJECTS])
def test_manifests_follow_kubernetes_schema(name, manifest, models):
    model = getattr(models, MODEL_OF[manifest["apiVersion"], manifest["kind"]])
    read = model.model_validate(manifest)
    assert read.model_dump(by_alias=True, exclude_none=True) == manifest, "nothing is lost, and names are as written"


@pytest.mark.parametrize(
    "change, fault",
    [
        (lambda job: job["spec"].update(completion=2), "spec.completion\n  Extra inputs are not permitted"),
        (lambda job: job["spec"].update(parallelism="2"), "spec.parallelism\n  Input should be a valid integer"),
        (lambda job: job["spec"].pop("template"), "spec.template\n  Field required"),
        (lambda job: job["spec"]["podFailurePolicy"]["rules"][0].pop("action"), "rules.0.action\n  Field required"),
    ],
)
def test_the_schema_check_sees_faults(change, fault, models):
    job = json.loads(json.dumps(JOBS["training-job"]))
    change(job)
    with pytest.raises(ValueError, match=re.escape(fault)):
        models.V1Job.model_validate(job)


@pytest.mark.parametrize("name", JOBS)
def test_what_kubernetes_demands_of_a_job(name):
    """Rules that its API checks beyond the schema (Job reference, Pod failure policy)."""
    job, spec = JOBS[name], JOBS[name]["spec"]
    assert pod(job)["restartPolicy"] == "Never", "a pod failure policy and a limit per index want it"
    assert spec["podReplacementPolicy"] == "Failed", "the only one allowed beside a pod failure policy"
    for rule in spec["podFailurePolicy"]["rules"]:
        assert ("onExitCodes" in rule) != ("onPodConditions" in rule)
        assert rule["action"] in {"FailJob", "Ignore", "Count"} | (
            {"FailIndex"} if "backoffLimitPerIndex" in spec else set()
        )
        if "onExitCodes" in rule:
            assert rule["onExitCodes"]["containerName"] == container(job)["name"]
            values = rule["onExitCodes"]["values"]
            assert values == sorted(set(values)) and 0 not in values
    if "backoffLimitPerIndex" in spec:
        assert spec["completionMode"] == "Indexed" and spec["maxFailedIndexes"] <= spec["completions"]
    if spec.get("completionMode") == "Indexed":
        assert len(f"{job['metadata']['name']}-{spec['completions'] - 1}") <= 63, "the pods' host name"
    volumes = {volume["name"] for volume in pod(job)["volumes"]}
    assert {mount["name"] for mount in container(job)["volumeMounts"]} == volumes
    memory = container(job)["resources"]
    assert memory["requests"]["memory"] == memory["limits"]["memory"]


def action(job, code=None, disrupted=False):
    """What a job's failure policy does: the action of the first rule that fits (None: counted)."""
    for rule in job["spec"]["podFailurePolicy"]["rules"]:
        codes = rule.get("onExitCodes")
        if codes and code is not None and (code in codes["values"]) == (codes["operator"] == "In"):
            return rule["action"]
        if disrupted and {"type": "DisruptionTarget"} in rule.get("onPodConditions", []):
            return rule["action"]
    return None


@pytest.mark.parametrize(
    "name, bad_input", [("training-job", "FailJob"), ("evaluation-job", "FailJob"), ("grid-job", "FailIndex")]
)
def test_exit_codes_mean_what_the_scripts_mean(name, bad_input):
    job = JOBS[name]
    assert action(job, commands.BAD_INPUT) == bad_input
    assert action(job, commands.STOPPED) == "Ignore" and action(job, commands.STOPPED, disrupted=True) == "Ignore"
    assert action(job, 137, disrupted=True) == "Ignore" and action(job, 143, disrupted=True) == "Ignore"
    assert [action(job, code) for code in (commands.FAULT, 137, 139)] == [None] * 3, "counted by the limit"


@pytest.mark.parametrize("name", JOBS)
def test_pods_are_as_the_restricted_standard_wants_them(name):
    """Pod Security Standards, profile Restricted: what hospital clusters enforce."""
    job = JOBS[name]
    of_pod, own = pod(job)["securityContext"], container(job)["securityContext"]
    assert of_pod["runAsNonRoot"] is True and of_pod["seccompProfile"] == {"type": "RuntimeDefault"}
    assert own == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod(job).keys()
    kinds = {kind for volume in pod(job)["volumes"] for kind in volume} - {"name"}
    assert kinds <= {"configMap", "emptyDir", "persistentVolumeClaim"}
    assert pod(job)["automountServiceAccountToken"] is False
    assert f"{of_pod['runAsUser']}:{of_pod['runAsGroup']}" == re.search(r"^USER (.+)$", DOCKERFILE, re.M)[1]


@pytest.mark.parametrize("name", JOBS)
def test_names_agree(name):
    job = JOBS[name]
    for volume in pod(job)["volumes"]:
        if "persistentVolumeClaim" in volume:
            assert volume["persistentVolumeClaim"]["claimName"] in of_kind("PersistentVolumeClaim")
    labels = job["spec"]["template"]["metadata"]["labels"]
    (policy,) = of_kind("NetworkPolicy").values()
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
    mounts = {mount["name"]: mount["mountPath"] for mount in container(job)["volumeMounts"]}
    assert mounts["data"] == f"{WORKDIR}/checkpoints", "paths in pods are those of the repository"
    assert container(job)["image"] in ("medtop:cpu", "medtop:gpu")
    assert container(job)["image"] in DOCKERFILE


@pytest.mark.parametrize("name", JOBS)
def test_commands_name_scripts_and_flags_that_exist(name):
    command = words(JOBS[name])
    scripts = [word for word in command if word.endswith(".py")]
    assert command[0] == "python" and scripts
    for script in scripts:
        assert (ROOT / script).is_file()
        assert re.search(rf"^COPY {script.split('/')[0]} {script.split('/')[0]}$", DOCKERFILE, re.M)
    given = flags(JOBS[name])
    assert given.keys() <= of_script(ROOT / scripts[-1])
    for flag, value in given.items():
        if flag.endswith(("_file", "_dir")) and not value.startswith("/"):
            assert value.startswith("checkpoints/") or (ROOT / value).is_file(), f"{flag}: not in the pod"


def test_the_training_job_is_one_cluster():
    job, (service,) = JOBS["training-job"], of_kind("Service").values()
    spec, environment = job["spec"], {one["name"]: one for one in container(job)["env"]}
    assert spec["completionMode"] == "Indexed"
    assert spec["completions"] == spec["parallelism"] == int(environment["NUM_WORKERS"]["value"]) > 1
    assert service["spec"]["clusterIP"] == "None", "YAML's None is a text: headless"
    assert service["spec"]["publishNotReadyAddresses"] is True
    assert service["spec"]["selector"] == {"job-name": job["metadata"]["name"]}
    label = environment["JOB_NAME"]["valueFrom"]["fieldRef"]["fieldPath"]
    assert label == "metadata.labels['job-name']", "the label that Kubernetes gives: the Job's name"
    name = service["metadata"]["name"]
    assert pod(job)["subdomain"] == environment["SERVICE_NAME"]["value"] == name
    port = int(environment["WORKER_PORT"]["value"])
    assert [one["port"] for one in service["spec"]["ports"]] == [port]
    assert [one["containerPort"] for one in container(job)["ports"]] == [port]
    assert pod(job)["terminationGracePeriodSeconds"] >= 60
    assert flags(job)["distribution_strategy"] == "multi_worker_mirrored"
    entry = load_entry()
    given = {"JOB_NAME": job["metadata"]["name"], "JOB_COMPLETION_INDEX": "1"}
    given |= {key: one["value"] for key, one in environment.items() if "value" in one}
    assert {*entry.NAMES} - {*given} == set(), "what the entry script wants is what the pod has"
    config = entry.tf_config(**entry.from_environment(given))
    assert config == {
        "cluster": {"worker": ["medtop-training-0.medtop-workers:2222", "medtop-training-1.medtop-workers:2222"]},
        "task": {"type": "worker", "index": 1},
    }


def test_training_and_evaluation_are_one_run():
    training, evaluation = flags(JOBS["training-job"]), flags(JOBS["evaluation-job"])
    assert "do_train" in training and "do_eval" not in training and "do_train" not in evaluation
    for name in evaluation.keys() - {"do_eval", "test_file"}:
        assert evaluation[name] == training[name]


def test_the_grid_job_has_one_pod_a_cell(monkeypatch):
    monkeypatch.chdir(ROOT)
    job, grid = JOBS["grid-job"], read_grid("deploy/grid.yaml", ROOT / "run_scripts")
    spec = job["spec"]
    assert spec["completionMode"] == "Indexed" and spec["completions"] == len(grid.cells) == spec["maxFailedIndexes"]
    assert 1 <= spec["parallelism"] <= spec["completions"] and "backoffLimit" not in spec
    given = flags(job)
    assert given["index"] == "env"
    (volume,) = [volume for volume in pod(job)["volumes"] if "configMap" in volume]
    (mount,) = [mount for mount in container(job)["volumeMounts"] if mount["name"] == volume["name"]]
    text = (DEPLOY / "kubernetes" / "grid-job.yaml").read_text()
    made = re.search(r"kubectl create configmap (\S+) --from-file=(\S+)=(\S+)", text)
    assert made[1] == volume["configMap"]["name"] and f"{mount['mountPath']}/{made[2]}" == given["grid_file"]
    assert (ROOT / made[3]).is_file()
    for cell in grid.cells:
        for name in ("input_file", "valid_file", "test_file"):
            assert cell.flags[name].startswith("checkpoints/")
        assert cell.folder.is_relative_to("checkpoints")


def load_entry():
    spec = importlib.util.spec_from_file_location("with_tf_config", ENTRY)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GOOD = {
    "JOB_COMPLETION_INDEX": "2",
    "JOB_NAME": "train-x",
    "SERVICE_NAME": "workers",
    "NUM_WORKERS": "3",
    "WORKER_PORT": "2222",
}


def test_tensorflow_reads_the_cluster(monkeypatch):
    """TensorFlow's own resolver is the oracle of TF_CONFIG."""
    tf = pytest.importorskip("tensorflow", reason="its resolver reads TF_CONFIG")
    entry = load_entry()
    for index in range(3):
        config = entry.tf_config(**entry.from_environment({**GOOD, "JOB_COMPLETION_INDEX": str(index)}))
        monkeypatch.setenv("TF_CONFIG", json.dumps(config))
        resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
        assert resolver.cluster_spec().as_dict() == {
            "worker": [f"train-x-{number}.workers:2222" for number in range(3)]
        }
        assert (resolver.task_type, resolver.task_id) == ("worker", index)
        assert read_cluster(os.environ) == Cluster(worker=index, workers=3)  # the trainer's own reading


@pytest.mark.parametrize(
    "change, message",
    [
        *[({name: None}, f"{name}: expected it in the environment, found none") for name in GOOD],
        ({"JOB_COMPLETION_INDEX": "3"}, "JOB_COMPLETION_INDEX: expected a whole number from 0 to 2, received '3'"),
        ({"JOB_COMPLETION_INDEX": "-1"}, "JOB_COMPLETION_INDEX: expected a whole number from 0 to 2, received '-1'"),
        ({"NUM_WORKERS": "0"}, "NUM_WORKERS: expected a whole number from 1 to 1000, received '0'"),
        ({"WORKER_PORT": "65536"}, "WORKER_PORT: expected a whole number from 1 to 65535, received '65536'"),
        ({"JOB_NAME": "Train_x"}, "JOB_NAME: expected a DNS label"),
        ({"JOB_NAME": "a" * 62}, "JOB_NAME: expected a DNS label"),
        ({"SERVICE_NAME": "a.b"}, "SERVICE_NAME: expected a DNS label"),
    ],
)
def test_a_wrong_environment_is_one_line(change, message):
    given = {**GOOD, "WORKER_WAIT_SECONDS": "0", **change}
    environment = {name: value for name, value in given.items() if value is not None}
    process = subprocess.run([sys.executable, ENTRY, "true"], env=environment, capture_output=True, text=True)
    assert process.returncode == 1 and process.stdout == ""
    assert process.stderr.startswith(f"error: {message}") and process.stderr.count("\n") == 1


def test_the_longest_name_that_fits_is_taken():
    entry = load_entry()
    given = entry.from_environment({**GOOD, "JOB_NAME": "a" * 61})  # with -2: 63 letters
    assert len(entry.tf_config(**given)["cluster"]["worker"][0].partition(".")[0]) == 63


def test_names_are_waited_for():
    entry = load_entry()
    asked = []

    def resolve(name, port):
        asked.append((name, port))
        if name == "late" and len(asked) < 4 or name == "never":
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return ["address"]

    entry.time.sleep, sleep = lambda seconds: None, time.sleep
    try:
        assert entry.wait_for(["here:1", "late:2"], 60, resolve) == []
        assert asked == [("here", 1), ("late", 2), ("late", 2), ("late", 2)], "known ones are not asked again"
        assert entry.wait_for(["here:1", "never:3"], 0, resolve) == ["never:3"]
    finally:
        entry.time.sleep = sleep


LOCAL = """
import json, os, runpy, socket, sys
known = socket.getaddrinfo
socket.getaddrinfo = lambda name, port: known("127.0.0.1", port) if name.endswith(".workers") else known(name, port)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def started(*command, **environment):
    """The entry script where every name that ends in .workers is this machine."""
    return subprocess.Popen(
        [sys.executable, "-c", LOCAL, str(ENTRY), *command],
        stdout=subprocess.PIPE,
        text=True,
        stderr=subprocess.PIPE,
        env={**os.environ, **GOOD, **environment},
    )


def test_the_command_becomes_the_process():
    """Same process number, TF_CONFIG beside the environment, its exit code."""
    shown = "import os, sys; print(os.getpid(), os.environ['TF_CONFIG'], os.environ['OWN']); sys.exit(75)"
    process = started(sys.executable, "-c", shown, OWN="mine")
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 75, errors
    number, config, own = re.fullmatch(r"(\d+) (\{.*\}) (\w+)\n", output).groups()
    assert int(number) == process.pid and own == "mine"
    assert json.loads(config)["task"] == {"type": "worker", "index": 2}
    process = started("no-such-command")
    assert process.communicate(timeout=60)[1] == "error: no-such-command: No such file or directory\n"
    assert process.returncode == 1


def test_a_worker_without_its_peers_stops_and_may_be_tried_again():
    process = started("true", SERVICE_NAME="nowhere", WORKER_WAIT_SECONDS="0")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 75
    assert errors.startswith("stopped: after 0 s no address of train-x-0.nowhere:2222, ") and errors.count("\n") == 1


def test_sigterm_while_waiting_is_a_stop():
    process = started("true", SERVICE_NAME="nowhere", WORKER_WAIT_SECONDS="60")
    time.sleep(1)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode in (75, -signal.SIGTERM)  # the latter where it had not yet begun


def test_help_and_no_command():
    process = subprocess.run([sys.executable, ENTRY, "--help"], capture_output=True, text=True)
    assert process.returncode == 0 and "python deploy/with_tf_config.py" in process.stdout
    process = subprocess.run([sys.executable, ENTRY], capture_output=True, text=True)
    assert process.returncode == 1 and "python deploy/with_tf_config.py" in process.stderr


def test_the_entry_script_needs_nothing_but_python():
    imported = {
        alias.name
        for node in ast.walk(ast.parse(ENTRY.read_text()))
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    assert imported <= sys.stdlib_module_names
    assert not [node for node in ast.walk(ast.parse(ENTRY.read_text())) if isinstance(node, ast.ImportFrom)]


def test_the_image_holds_what_setup_needs_and_no_data():
    """Each COPY names what is there, the ignore file lets it through, and the GPU build has setup.py's TensorFlow."""
    copied = [word for line in re.findall(r"^COPY (.+)$", DOCKERFILE, re.M) for word in line.split()[:-1]]
    ignore = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    allowed = [line[1:] for line in ignore if line.startswith("!")]
    assert "*" in ignore and sorted(copied) == sorted(allowed)
    assert all((ROOT / name).exists() for name in copied)
    assert not {"checkpoints", "tests", ".venv"} & {*copied}
    gpu = re.search(r"'tensorflow\[and-cuda\](.+)'", DOCKERFILE)[1]
    assert f'"tensorflow{gpu}"' in (ROOT / "setup.py").read_text()
    assert re.search(r"^ARG PYTHON=(3\.\d+)$", DOCKERFILE, re.M)[1] in ("3.10", "3.11", "3.12", "3.13")


@pytest.mark.parametrize(
    "accelerator, expected",
    [
        ("cpu", "install --flag ."),
        ("gpu", "install --flag . tensorflow[and-cuda]>=2.21,<2.22"),
        ("tpu", None),
    ],
)
def test_the_image_s_installation_runs_as_written(tmp_path, accelerator, expected):
    """The RUN line in a shell, with a pip that says what it was asked."""
    line = re.search(r"^RUN (case .*?esac)$", DOCKERFILE, re.M | re.S)[1]
    (tmp_path / "pip").write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path / "pip").chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "ACCELERATOR": accelerator, "PIP_FLAGS": "--flag"}
    process = subprocess.run(["sh", "-c", line.replace("\\\n", " ")], env=environment, capture_output=True, text=True)
    if expected is None:
        assert process.returncode == 1 and process.stderr == "ACCELERATOR: expected cpu or gpu, received tpu\n"
    else:
        assert process.returncode == 0 and process.stdout == expected + "\n"
