"""Holds a rendered chart against what no schema of Kubernetes says: the `restricted` pod security standard, probes,
labels, and who scales what.

usage: check_chart.py RENDERED.yaml
"""

import os
import re
import sys

import yaml

from processes import of_kind

PROCESSES = set(of_kind("api", "worker"))
LABELS = ["name", "instance", "version", "component", "part-of", "managed-by"]
# shutdown.grace_ms and the time until a pod gets no more requests.
GRACE_SECONDS_MIN = 15
# Their images come as they are, and run as root; for development only.
BACKENDS = {"scylla", "redpanda"}

wrong = []


def expect(condition, what):
    """Remembers what is wrong."""
    if not condition:
        wrong.append(what)


def component(one):
    """Which part of the release an object is of."""
    return one["metadata"]["labels"]["app.kubernetes.io/component"]


def check_pod(name, pod):
    """What the `restricted` standard demands, and some more."""
    expect(pod.get("automountServiceAccountToken") is False, f"{name} has a token of the cluster")
    security = pod.get("securityContext", {})
    expect(security.get("runAsNonRoot") is True and security.get("runAsUser", 0) > 0, f"{name} may be root")
    expect(security.get("seccompProfile") == {"type": "RuntimeDefault"}, f"{name} has no seccomp profile")
    expect(not any(key in pod for key in ("hostNetwork", "hostPID", "hostIPC")), f"{name} shares the host")
    for volume in pod.get("volumes", []):
        expect(set(volume) <= {"name", "secret", "configMap", "emptyDir"}, f"{name} mounts {volume}")
    for container in pod["containers"]:
        security = container.get("securityContext", {})
        expect(security.get("allowPrivilegeEscalation") is False, f"{name} may gain privileges")
        expect(security.get("capabilities") == {"drop": ["ALL"]}, f"{name} has capabilities")
        expect(security.get("readOnlyRootFilesystem") is True, f"{name} may write")
        resources = container.get("resources", {})
        expect({"cpu", "memory"} <= set(resources.get("requests", {})), f"{name} requests nothing")
        expect("memory" in resources.get("limits", {}), f"{name} has no limit of memory")
        expect(re.search(r"(:[\w.-]+|@sha256:\w{64})$", container["image"]), f"{name}: {container['image']}")
        expect(not container["image"].endswith(":latest"), f"{name} runs the latest image")
        told = [a.rsplit("=", 1)[-1] for a in container.get("args", [])] + [e["value"] for e in container.get("env", [])]
        mounts = {mount["mountPath"] for mount in container.get("volumeMounts", [])}
        for path in (text for text in told if text.startswith("/run/secrets/")):
            expect(os.path.dirname(path) in mounts, f"{name} is told of {path}, which is not mounted")


def check_deployment(one, scalers, budgets):
    """One process."""
    name, spec = one["metadata"]["name"], one["spec"]
    template = spec["template"]
    pod = template["spec"]
    container = pod["containers"][0]
    selector = spec["selector"]["matchLabels"]
    expect("app.kubernetes.io/version" not in selector, f"{name} selects by its version")
    expect(selector.items() <= template["metadata"]["labels"].items(), f"{name} does not select its pods")
    expect("checksum/config" in template["metadata"].get("annotations", {}), f"{name} does not follow its configuration")
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        asked = container.get(probe, {}).get("httpGet", {})
        expect(asked.get("port") == "admin", f"{name} has no {probe}")
        mounted = {mount["name"] for mount in container.get("volumeMounts", [])}
        scheme = "HTTPS" if "admin-tls" in mounted else "HTTP"
        expect(asked.get("scheme") == scheme, f"{name}: {probe} does not speak {scheme}")
    expect(container["livenessProbe"]["httpGet"]["path"] == "/livez", f"{name}: liveness asks for others")
    expect(pod["terminationGracePeriodSeconds"] >= GRACE_SECONDS_MIN, f"{name} is killed while it hands over")
    scaled = scalers.get(name)
    expect(("replicas" in spec) != bool(scaled), f"{name}: replicas are {spec.get('replicas')}, and {scaled} scales it")
    single = scaled is None and spec.get("replicas") == 1
    expect(name in budgets or single, f"{name} has no disruption budget")
    expect("topologySpreadConstraints" in pod or single, f"{name} is not spread")


def scale_target(one):
    """Who scales which deployment."""
    return one["spec"]["scaleTargetRef"]["name"], one["kind"]


def main(rendered):
    with open(rendered, encoding="utf-8") as file:
        objects = [one for one in yaml.safe_load_all(file) if one]
    kinds = {}
    for one in objects:
        kinds.setdefault(one["kind"], []).append(one)
        labels = one["metadata"].get("labels", {})
        for label in LABELS:
            expect(f"app.kubernetes.io/{label}" in labels, f"{one['metadata']['name']} has no label {label}")
        expect("helm.sh/chart" in labels, f"{one['metadata']['name']} does not name its chart")
    scalers = dict(scale_target(one) for kind in ("HorizontalPodAutoscaler", "ScaledObject") for one in kinds.get(kind, []))
    budgets = {one["metadata"]["name"] for one in kinds.get("PodDisruptionBudget", [])}
    expect({component(one) for one in kinds["Deployment"]} == PROCESSES, "not every process has a deployment")
    for one in kinds["Deployment"]:
        check_deployment(one, scalers, budgets)
    for one in kinds["Deployment"] + kinds.get("Job", []):
        check_pod(one["metadata"]["name"], one["spec"]["template"]["spec"])
    for one in kinds.get("Pod", []):
        check_pod(one["metadata"]["name"], one["spec"])
    expect({component(one) for one in kinds.get("StatefulSet", [])} <= BACKENDS, "a stateful set that is no backend")
    for one in kinds.get("ScaledObject", []):
        for trigger in one["spec"]["triggers"]:
            expect(trigger["metadata"]["ignoreNullValues"] == "false", "a dead Prometheus looks like no lag")
        expect(one["spec"]["minReplicaCount"] >= 1, "a worker is scaled to nothing")
    policies = kinds.get("NetworkPolicy", [])
    denies = [one["spec"] for one in policies if not {"ingress", "egress"} & set(one["spec"])]
    expect(any(set(spec["policyTypes"]) == {"Ingress", "Egress"} for spec in denies), "nothing is denied by default")
    expect(all(one.get("automountServiceAccountToken") is False for one in kinds["ServiceAccount"]), "an account with a token")
    hooks = {one["metadata"]["annotations"].get("helm.sh/hook") for one in kinds.get("Pod", [])}
    expect(hooks <= {"test"}, f"pods of their own: {hooks}")
    if wrong:
        sys.exit("\n".join(wrong))
    print(f"   {len(objects)} objects")


main(*sys.argv[1:])
