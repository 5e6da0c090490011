"""Asks every process whether it takes the environment that a rendered chart gives it.

usage: check_environment.py RENDERED.yaml FOLDER_OF_PROGRAMS
"""

import os
import subprocess
import sys
import tempfile

import yaml


def environments(objects):
    """Yields (program, environment) of every container of ours."""
    maps = {o["metadata"]["name"]: o.get("data", {}) for o in objects if o["kind"] == "ConfigMap"}
    pods = [o["spec"]["template"]["spec"] for o in objects if o["kind"] in ("Deployment", "Job")]
    pods += [o["spec"] for o in objects if o["kind"] == "Pod"]
    for pod in pods:
        for container in pod["containers"]:
            environment = {}
            for source in container.get("envFrom", []):
                environment.update(maps[source["configMapRef"]["name"]])
            environment.update({e["name"]: e["value"] for e in container.get("env", [])})
            yield container["image"].rsplit("/", 1)[1].split(":")[0].split("@")[0], environment


def main(rendered, folder):
    with open(rendered, encoding="utf-8") as file:
        objects = [o for o in yaml.safe_load_all(file) if o]
    asked = 0
    with tempfile.NamedTemporaryFile("w", suffix=".secret") as secret:
        secret.write("secret")
        secret.flush()
        for program, environment in environments(objects):
            for name in environment:
                if name.endswith("_FILE"):
                    environment[name] = secret.name
            path = os.path.join(folder, program)
            arguments = [path, "--check-config"]
            result = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=False)
            if result.returncode != 0:
                sys.exit(f"{program} does not take its environment: {result.stderr}")
            asked += 1
    print(f"   {asked} processes take their environment")
    if asked < 8:
        sys.exit("too few were asked")


main(*sys.argv[1:])
