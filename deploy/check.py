"""Checks what is in deploy/ against itself, the settings' table and the workspace. Every problem is told."""

import contextlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import jsonschema
import kubernetes_validate
import yaml

try:
    import helm_python
except ImportError:
    helm_python = None

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
CHART = HERE / "helm/waystation"
SECRET = {"secret": {"values": {"JWT_SECRET": "0123456789abcdef0123456789abcdef"}}}
# Every part of the chart that is off by default.
FULL = SECRET | {
    "openApis": ["ready", "metrics"],
    "settings": {"LOG_LEVEL": "debug", "WAYSTATION_EGRESS_ALLOW": "10.0.0.0/8"},
    "imagePullSecrets": [{"name": "registry"}],
    "persistence": {"storageClass": "fast", "annotations": {"a": "b"}},
    "service": {"annotations": {"a": "b"}},
    "serviceAccount": {"annotations": {"a": "b"}},
    "ingress": {"enabled": True, "className": "x", "host": "flows.example.com", "tlsSecret": "tls"},
    "serviceMonitor": {"enabled": True, "labels": {"a": "b"}, "tokenSecret": {"name": "token"}},
    "networkPolicy": {
        "enabled": True,
        "from": [{"podSelector": {}}],
        "egress": [{"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}],
    },
    "podAnnotations": {"a": "b"},
    "podLabels": {"a": "b"},
    "priorityClassName": "high",
    "nodeSelector": {"a": "b"},
    "tolerations": [{"key": "a", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "extraVolumes": [{"name": "keys", "secret": {"secretName": "keys"}}],
    "extraVolumeMounts": [{"name": "keys", "mountPath": "/keys"}],
}
GOOD = {
    "least": SECRET,
    "full": FULL,
    "existing secret": {"secret": {"existing": "mine"}},
    "foreign tokens": {"settings": {"WAYSTATION_JWT_KEYS": "/keys/jwks.json"}, "openApis": []},
    "maintenance": SECRET | {"maintenance": True},
}
BAD = {
    "nobody to ask": {},
    "two replicas": SECRET | {"replicas": 2},
    "a short secret": {"secret": {"values": {"JWT_SECRET": "short"}}},
    "a setting of the chart's": SECRET | {"settings": {"HOST": "127.0.0.1"}},
    "a value that is not there": SECRET | {"replica": 1},
    "an ingress without a host": SECRET | {"ingress": {"enabled": True}},
    "metrics without a credential": SECRET | {"serviceMonitor": {"enabled": True}},
}
# WAYSTATION_SHUTDOWN_SECONDS, and what connections have after it.
GRACE_SECONDS = 20 + 5

problems = []


def expect(is_so, problem):
    if not is_so:
        problems.append(problem)


class OnceLoader(yaml.SafeLoader):
    """YAML in which no key is there twice."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key) for key, _ in node.value]
        if len(keys) != len(set(keys)):
            raise yaml.YAMLError(f"a key is there twice{node.start_mark}")
        return super().construct_mapping(node, deep)


def read(path):
    return (HERE / path).read_text()


def read_yaml(path):
    return yaml.load(read(path), OnceLoader)


def check_settings():
    """Whatever looks like a setting is in the table of docs/settings.md."""
    rows = re.findall(r"^\| (`[^|]*) \|", (ROOT / "docs/settings.md").read_text(), re.MULTILINE)
    known = {name for row in rows for name in re.findall(r"`([A-Z][A-Z0-9_]+)`", row)}
    expect("JWT_SECRET" in known and "PORT" in known, "docs/settings.md: its table is not found")
    name = re.compile(r"\b(?:(?:WAYSTATION|JWT|LOG|REDIS|SMTP|UPSTASH)_[A-Z0-9_]*[A-Z0-9]|HOST|PORT)\b")
    files = (path for path in HERE.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    for path in sorted(files):
        for found in sorted(set(name.findall(path.read_text())) - known):
            problems.append(f"{path.relative_to(ROOT)}: there is no setting {found}")


def check_versions():
    package = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]
    chart = read_yaml("helm/waystation/Chart.yaml")
    expect(chart["appVersion"] == package["version"], f"Chart.yaml: appVersion is not {package['version']}")
    image = f"ARG RUST_VERSION={package['rust-version']}\n"
    expect(image in read("docker/Dockerfile"), f"Dockerfile: expected {image.strip()}")


def check_times(compose, values):
    unit = int(re.search(r"^TimeoutStopSec=(\d+)$", read("systemd/waystation.service"), re.MULTILINE)[1])
    container = int(compose["services"]["waystation"]["stop_grace_period"].removesuffix("s"))
    times = {"TimeoutStopSec": unit, "stop_grace_period": container}
    times["terminationGracePeriodSeconds"] = values["terminationGracePeriodSeconds"]
    for name, seconds in times.items():
        expect(seconds > GRACE_SECONDS, f"{name}: {seconds} s are less than a stop may take")


def check_image():
    """Sources of copies exist and reach the builder, and the user is the one that the chart names."""
    text = re.sub(r"\\\n", " ", read("docker/Dockerfile"))
    stages = set(re.findall(r"^FROM \S+ AS (\S+)$", text, re.MULTILINE))
    lines = read("docker/Dockerfile.dockerignore").splitlines()
    kept = [line[1:] for line in lines if line.startswith("!")]
    for line in re.findall(r"^COPY (.*)$", text, re.MULTILINE):
        words = line.split()
        flags = dict(word[2:].split("=") for word in words if word.startswith("--"))
        if "from" in flags:
            expect(flags["from"] in stages, f"Dockerfile: no stage is called {flags['from']}")
            continue
        for source in [word for word in words if not word.startswith("--")][:-1]:
            reaches = source == "." or any(f"{source}/".startswith(f"{path}/") for path in kept)
            expect((ROOT / source).exists(), f"Dockerfile: {source} is not there")
            expect(reaches, f"Dockerfile.dockerignore: {source} does not reach the builder")
    for path in kept:
        expect((ROOT / path).exists(), f"Dockerfile.dockerignore: {path} is not there")
    user = re.search(r"^USER (\d+):(\d+)$", text, re.MULTILINE)
    expect(user, "Dockerfile: the user has to be a number")
    chart = read("helm/waystation/templates/statefulset.yaml")
    expect(user and f"runAsUser: {user[1]}\n" in chart, "the image's user is not the chart's")
    variables = re.search(r"^ENV (.*)$", text, re.MULTILINE)[1]
    expect("WAYSTATION_OPEN" not in variables, "Dockerfile: the image must not be open")


def check_values(values):
    """The schema takes the values, and templates and values know each other."""
    schema = json.loads(read("helm/waystation/values.schema.json"))
    jsonschema.Draft7Validator.check_schema(schema)
    for error in jsonschema.Draft7Validator(schema).iter_errors(values):
        problems.append(f"values.yaml: {error.json_path}: {error.message}")
    for name in values.keys() ^ (schema["properties"].keys() - {"global"}):
        problems.append(f"{name} is not in both values.yaml and values.schema.json")
    templates = "".join(path.read_text() for path in sorted((CHART / "templates").iterdir()))
    used = set(re.findall(r"\.Values\.([A-Za-z_.]+)", templates))
    for path in sorted(used):
        place = values
        for part in path.split("."):
            # What is empty takes what the user likes.
            if place == {}:
                break
            expect(part in place, f"templates: .Values.{path} is not in values.yaml")
            place = place.get(part, {})
    for name in values:
        expect(any(path.split(".")[0] == name for path in used), f"values.yaml: {name} is never used")


def render(values):
    """The objects of the chart; an error tells why there are none."""
    if shutil.which("helm"):
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(values, file)
            file.flush()
            command = ["helm", "template", "waystation", str(CHART), "--values", file.name]
            done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise ValueError(done.stderr.strip())
        texts = [done.stdout]
    else:
        try:
            rendered = helm_python.Chart.load(CHART).render(values, name="waystation")
        except helm_python.HelmError as error:
            raise ValueError(str(error)) from error
        texts = [text for name, text in rendered.items() if name.endswith(".yaml")]
    return [part for text in texts for part in yaml.load_all(text, OnceLoader) if part]


def lint():
    if shutil.which("helm"):
        command = ["helm", "lint", str(CHART), "--set", "secret.existing=mine"]
        done = subprocess.run(command, capture_output=True, text=True)
        expect(done.returncode == 0, f"helm lint: {done.stdout}{done.stderr}")
        return
    report = helm_python.lint(CHART, {"secret": {"existing": "mine"}})
    # 1 is a remark, such as that there is no icon.
    for message in report["messages"]:
        expect(message["severity"] <= 1, f"helm lint: {message['path']}: {message['error']}")


def check_pod(case, pod):
    """What the chart promises about its pod."""
    container = pod["containers"][0]
    expect(pod["enableServiceLinks"] is False, f"{case}: the pod gets variables of Services")
    expect(pod["automountServiceAccountToken"] is False, f"{case}: the pod gets a token")
    own, whole = container["securityContext"], pod["securityContext"]
    is_restricted = (
        whole["runAsNonRoot"] is True
        and whole["seccompProfile"] == {"type": "RuntimeDefault"}
        and own["allowPrivilegeEscalation"] is False
        and own["readOnlyRootFilesystem"] is True
        and own["capabilities"] == {"drop": ["ALL"]}
    )
    expect(is_restricted, f"{case}: the pod may do too much")
    variables = {entry["name"]: entry["value"] for entry in container["env"]}
    ready = container.get("readinessProbe", {}).get("httpGet", {}).get("path")
    is_open = "ready" in variables["WAYSTATION_OPEN_APIS"].split(",")
    expect(ready in (None, "/ready" if is_open else "/health"), f"{case}: the kubelet asks {ready}")


def check_objects(case, objects):
    expect(any(part["kind"] == "StatefulSet" for part in objects), f"{case}: there is no StatefulSet")
    for part in objects:
        # The schema of a foreign object is not known.
        with contextlib.suppress(kubernetes_validate.SchemaNotFoundError):
            try:
                kubernetes_validate.validate(part, kubernetes_validate.latest_version(), strict=True)
            except kubernetes_validate.ValidationError as error:
                problems.append(f"{case}: {part['kind']}: {error.message}")
        if part["kind"] == "StatefulSet":
            check_pod(case, part["spec"]["template"]["spec"])


def check_chart():
    if helm_python is None and not shutil.which("helm"):
        print("no helm: the chart was not rendered")
        return
    lint()
    for case, values in GOOD.items():
        try:
            check_objects(case, render(values))
        except ValueError as error:
            problems.append(f"{case}: {error}")
    for case, values in BAD.items():
        with contextlib.suppress(ValueError):
            render(values)
            problems.append(f"{case}: is not refused")


def check_compose(compose):
    for name, service in compose["services"].items():
        is_bounded = service["read_only"] is True and service["cap_drop"] == ["ALL"]
        expect(is_bounded and service["security_opt"] == ["no-new-privileges:true"], f"{name} may do too much")
    secret = compose["services"]["waystation"]["environment"]["JWT_SECRET"]
    expect(secret.startswith("${JWT_SECRET:?"), "compose.yaml: JWT_SECRET is not required")


def check_links():
    for target in re.findall(r"\]\(([^)#]+)", read("README.md")):
        expect((HERE / target).exists(), f"README.md: {target} is not there")


def main():
    try:
        compose, values = read_yaml("compose.yaml"), read_yaml("helm/waystation/values.yaml")
        check_settings()
        check_versions()
        check_times(compose, values)
        check_image()
        check_compose(compose)
        check_links()
        check_values(values)
        check_chart()
    except (OSError, KeyError, TypeError, ValueError, yaml.YAMLError, jsonschema.SchemaError) as error:
        problems.append(f"{type(error).__name__}: {error}")
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
