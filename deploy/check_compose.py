"""Holds docker-compose.yml against what a reader of it relies on, as docker-compose itself understands it.

usage: check_compose.py docker-compose.yml .env.example FOLDER_FOR_FILES
"""

import json
import os
import re
import subprocess
import sys
import tomllib

import yaml

from processes import of_kind, processes

PROCESSES = set(of_kind("api", "worker"))
# Without a port of the host: Compose may start several of each.
SCALED = set(of_kind("worker"))
# What a stack has without any profile, and what only a profile starts.
FULL = PROCESSES | {"scylla", "redpanda", "console", "migrate", "topics", "prometheus", "grafana", "jaeger"}
PROFILES = {"demo": "demo", "load": "load"}
JOBS = {"migrate", "topics"}
PORTS = {
    "scylla": {"9042"}, "redpanda": {"9092"}, "console": {"8080"}, "prometheus": {"9099"}, "grafana": {"3000"},
    "jaeger": {"16686"}, **{name: {str(processes()[name]["ports"]["http"])} for name in of_kind("api")},
}  # fmt: skip

wrong = []


def config(compose, *arguments):
    """The file as docker-compose reads it, without any environment of ours."""
    command = ["docker-compose", "-f", compose, *arguments, "config", "--format", "json"]
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if result.returncode != 0 or result.stderr:
        sys.exit(f"{' '.join(command)}: {result.stderr}")
    return json.loads(result.stdout)


def expect(condition, what):
    """Remembers what is wrong."""
    if not condition:
        wrong.append(what)


def check_service(name, services, volumes):
    """What every service has."""
    service = services[name]
    image = service["image"]
    expect(re.search(r":[\w.-]*\d[\w.-]*$", image) or image.endswith(":dev"), f"{name}: {image} is not pinned")
    expect("container_name" not in service, f"{name} has a fixed name, so it cannot be scaled")
    expect(service.get("profiles", []) == ([PROFILES[name]] if name in PROFILES else []), f"{name}: its profiles")
    for on, how in service.get("depends_on", {}).items():
        # The processes have theirs in the image.
        checked = "test" in services[on].get("healthcheck", {}) or on in PROCESSES | JOBS
        expect(checked, f"{name} waits for {on}, which has no health check")
        wanted = "service_completed_successfully" if on in JOBS else "service_healthy"
        expect(how["condition"] == wanted, f"{name} waits for {on} to be {how['condition']}")
    published = {port["published"] for port in service.get("ports", [])}
    expect(published == PORTS.get(name, set()), f"{name} publishes {published}")
    expect(all(port.get("host_ip") == "127.0.0.1" for port in service.get("ports", [])), f"{name} publishes to all")
    for mount in service.get("volumes", []):
        expect(mount["type"] == "bind" and mount.get("read_only") or mount.get("source") in volumes, f"{name}: {mount}")
    if name in PROCESSES:
        expect(service.get("read_only"), f"{name} may write")
        expect(JOBS <= set(service["depends_on"]), f"{name} does not wait for schema and topics")
        expect("OTEL_EXPORTER_OTLP_ENDPOINT" in service["environment"], f"{name} sends no traces")
    if name in JOBS | set(PROFILES):
        expect(service.get("init"), f"{name} is the first process of its container, and no signal ends it")
    if name in SCALED:
        expect(not published, f"{name} publishes a port, so it cannot be scaled")


def main(compose, example, folder):
    nothing = os.path.join(folder, "empty.env")
    with open(nothing, "w", encoding="utf-8"):
        pass
    everything = ["--profile", "*"]
    bare = config(compose, "--env-file", nothing, *everything)
    expect(bare == config(compose, "--env-file", example, *everything), f"{example} has other values than the defaults")
    with open(compose, encoding="utf-8") as file:
        used = set(re.findall(r"\$\{(\w+)", file.read()))
    with open(example, encoding="utf-8") as file:
        named = set(re.findall(r"^(\w+)=", file.read(), re.MULTILINE))
    expect(used == named, f"{example} and {compose} differ in {used ^ named}")
    services = bare["services"]
    expect(set(services) == FULL | set(PROFILES), f"services: {set(services) ^ (FULL | set(PROFILES))}")
    expect(set(config(compose, "--env-file", nothing)["services"]) == FULL, "some of the stack needs a profile")
    for name in services:
        check_service(name, services, bare["volumes"])
    with open("config/default.toml", "rb") as file:
        log = tomllib.load(file)["log"]["filter"]
    for name in PROCESSES:
        expect(services[name]["environment"]["RUST_LOG"] == log, f"{name} logs otherwise than by default")
    # Each replica has an address of its own behind the service's name.
    with open("deploy/prometheus/prometheus.yml", encoding="utf-8") as file:
        jobs = {job["job_name"]: job for job in yaml.safe_load(file)["scrape_configs"]}
    scraped = {name for sd in jobs["event-platform"]["dns_sd_configs"] for name in sd["names"] if sd["type"] == "A"}
    expect(scraped == PROCESSES, f"Prometheus looks for {scraped}")
    if wrong:
        sys.exit("\n".join(wrong))
    print(f"   {len(services)} services")


main(*sys.argv[1:])
