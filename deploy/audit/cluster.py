"""etcd and an API server on loopback, and what the rest of a cluster would say."""

import base64
import copy
import json
import os
import pathlib
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

PROGRAMS = pathlib.Path(__file__).resolve().parents[2] / "target/tools/audit/bin"
VERBOSE = "--verbose" in sys.argv


def expect(condition, what):
    if not condition:
        sys.exit(f"WRONG: {what}")


def run(*command, given=None, fails=False):
    """Runs a program; returns what it said."""
    command = [str(part) for part in command]
    result = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    noise = ("walk.go", "found symbolic link", "Contents of linked file")
    said = "\n".join(line for line in result.stderr.splitlines() if not any(part in line for part in noise))
    if VERBOSE:
        print(f"   $ {' '.join(command)}\n{said}", flush=True)
    if (result.returncode != 0) != fails:
        sys.exit(f"WRONG: ended with {result.returncode}: {' '.join(command)}\n{result.stdout[-2000:]}\n{said}")
    return said.strip() if fails else (result.stdout, said.strip())


class Cluster:
    """etcd and an API server, and nothing that would act upon what they store."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.children = []
        self.token = base64.urlsafe_b64encode(os.urandom(24)).decode()
        self.warnings = []

    def begin(self):
        client, peer, self.port = free_ports(3)
        self.start("etcd", "--data-dir", self.folder / "etcd",
                   "--listen-client-urls", f"http://127.0.0.1:{client}", "--advertise-client-urls", f"http://127.0.0.1:{client}",
                   "--listen-peer-urls", f"http://127.0.0.1:{peer}", "--initial-advertise-peer-urls", f"http://127.0.0.1:{peer}",
                   "--initial-cluster", f"default=http://127.0.0.1:{peer}")
        key = self.folder / "accounts.key"
        run("openssl", "genrsa", "-out", key, "2048")
        tokens = self.folder / "tokens.csv"
        tokens.write_text(f'{self.token},audit,audit,"system:masters"\n', encoding="utf-8")
        self.start("kube-apiserver", "--etcd-servers", f"http://127.0.0.1:{client}",
                   "--bind-address", "127.0.0.1", "--advertise-address", "127.0.0.1", "--secure-port", self.port,
                   "--endpoint-reconciler-type", "none", "--cert-dir", self.folder / "certificates",
                   "--service-cluster-ip-range", "10.96.0.0/16", "--authorization-mode", "RBAC", "--token-auth-file", tokens,
                   "--service-account-issuer", "https://audit", "--service-account-key-file", key,
                   "--service-account-signing-key-file", key)
        self.wait()
        config = self.folder / "kubeconfig"
        authority = self.folder / "certificates/apiserver.crt"
        config.write_text(json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "audit",
            "clusters": [{"name": "audit", "cluster": {"server": self.url, "certificate-authority": str(authority)}}],
            "users": [{"name": "audit", "user": {"token": self.token}}],
            "contexts": [{"name": "audit", "context": {"cluster": "audit", "user": "audit"}}],
        }), encoding="utf-8")
        os.environ["KUBECONFIG"] = str(config)

    def start(self, program, *arguments):
        with open(self.folder / f"{program}.log", "wb") as log:
            command = [str(PROGRAMS / program), *(str(one) for one in arguments)]
            self.children.append(subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder))

    def stop(self):
        for child in reversed(self.children):
            child.terminate()
            child.wait()

    @property
    def url(self):
        return f"https://127.0.0.1:{self.port}"

    def wait(self):
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            expect(all(child.poll() is None for child in self.children), f"it ended at once: {self.tail()}")
            try:
                self.ask("GET", "/readyz", parse=False)
                return
            except (OSError, urllib.error.URLError):
                time.sleep(0.3)
        sys.exit(f"the API server does not become ready: {self.tail()}")

    def tail(self):
        return "\n".join(log.read_text(encoding="utf-8")[-1500:] for log in self.folder.glob("*.log"))

    def ask(self, method, path, body=None, kind="application/json", parse=True):
        """One request; the answer, and the warnings with it in `warnings`."""
        context = ssl.create_default_context(cafile=str(self.folder / "certificates/apiserver.crt"))
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": kind}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, headers=headers, method=method)
        with urllib.request.urlopen(request, context=context, timeout=30) as answer:
            text = answer.read()
            self.warnings = answer.headers.get_all("Warning") or []
        return json.loads(text) if parse else text

    def list(self, namespace, group, plural):
        return self.ask("GET", f"/{group}/namespaces/{namespace}/{plural}")["items"]

    def namespace(self, name, standard):
        labels = {f"pod-security.kubernetes.io/{mode}": standard for mode in ("enforce", "warn", "audit")}
        self.ask("POST", "/api/v1/namespaces", {"metadata": {"name": name, "labels": labels}})
        # What a controller would make.
        self.ask("POST", f"/api/v1/namespaces/{name}/serviceaccounts", {"metadata": {"name": "default"}})
        return name

    def pod(self, namespace, spec):
        """What the API server would make of a pod; raises PermissionError with its words when it is refused."""
        spec = {**copy.deepcopy(spec), "serviceAccountName": "default"}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "audit-"}, "spec": spec}
        path = f"/api/v1/namespaces/{namespace}/pods?dryRun=All&fieldValidation=Strict"
        try:
            return self.ask("POST", path, pod)
        except urllib.error.HTTPError as error:
            raise PermissionError(json.load(error)["message"]) from error


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Outcomes(threading.Thread):
    """Says of each job and test pod in a namespace that it ended, as a cluster would; remembers which."""

    def __init__(self, cluster, namespace, good=True):
        super().__init__(daemon=True)
        self.cluster, self.namespace, self.good = cluster, namespace, good
        self.seen, self.over = [], threading.Event()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.join()

    def run(self):
        while not self.over.wait(0.3):
            for job in self.cluster.list(self.namespace, "apis/batch/v1", "jobs"):
                if not job["status"].get("conditions"):
                    self.end(f"/apis/batch/v1/namespaces/{self.namespace}/jobs", job, job_status(self.good))
            for pod in self.cluster.list(self.namespace, "api/v1", "pods"):
                if pod["status"].get("phase") == "Pending":
                    phase = {"phase": "Succeeded" if self.good else "Failed"}
                    self.end(f"/api/v1/namespaces/{self.namespace}/pods", pod, phase)

    def end(self, path, one, status):
        name = one["metadata"]["name"]
        self.cluster.ask("PATCH", f"{path}/{name}/status", {"status": status}, "application/merge-patch+json")
        self.seen.append(name)


def job_status(good):
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    conditions = ["SuccessCriteriaMet", "Complete"] if good else ["FailureTarget", "Failed"]
    status = {"startTime": now, "uncountedTerminatedPods": {}, "conditions": [
        {"type": one, "status": "True", "reason": "Audit", "lastTransitionTime": now, "lastProbeTime": now} for one in conditions]}
    return {**status, "succeeded": 1, "completionTime": now} if good else {**status, "failed": 5}
