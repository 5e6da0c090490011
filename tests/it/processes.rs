//! Every process is named once, in `deploy/processes.toml`. Where it has to be written once more, because other
//! programs read it there, this holds what is written against the manifest, and names file and process.

use local_stack::{Kind, PLATFORM, ProcessEntry, Store};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn at(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// A file that other programs read, and what is wrong in it.
struct File {
    path: String,
    text: String,
    wrong: Vec<String>,
}

impl File {
    /// A file that is missing is empty: every process is missing in it then.
    fn open(path: impl Into<String>) -> Self {
        let path = path.into();
        let text = std::fs::read_to_string(at(&path)).unwrap_or_default();
        Self { path, text, wrong: Vec::new() }
    }

    fn expect(&mut self, holds: bool, process: &str, what: impl std::fmt::Display) {
        if !holds {
            self.wrong.push(format!("{}: {process}: {what}", self.path));
        }
    }

    fn has_line(&self, wanted: &str) -> bool {
        self.text.lines().any(|line| line.trim() == wanted)
    }

    /// What is indented below a line; nothing where there is no such line.
    fn below(&self, line: &str) -> String {
        let mut lines = self.text.lines().skip_while(|candidate| *candidate != line);
        let indent = |line: &str| line.len() - line.trim_start().len();
        let Some(head) = lines.next() else { return String::new() };
        let is_below = |line: &&str| line.is_empty() || indent(line) > indent(head);
        lines.take_while(is_below).collect::<Vec<_>>().join("\n")
    }

    /// Errs names that are here and not among these.
    fn knows_only(&mut self, here: impl IntoIterator<Item = String>, known: &BTreeSet<&str>) {
        for name in here {
            let is_known = known.contains(name.as_str());
            self.expect(is_known, &name, "is not in deploy/processes.toml");
        }
    }
}

fn names(wanted: impl Fn(&ProcessEntry) -> bool) -> BTreeSet<&'static str> {
    PLATFORM.iter().filter(|entry| wanted(entry)).map(|entry| entry.name.as_str()).collect()
}

/// The names of the entries of a folder, without this ending.
fn entries(folder: &str, ending: &str) -> Vec<String> {
    let entries = std::fs::read_dir(at(folder)).expect("the folder is there");
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter_map(|name| name.strip_suffix(ending).map(str::to_owned)).collect()
}

/// The keys of a block of YAML, as far as they are processes: those with a value below or behind them.
fn keys(block: &str, indent: usize) -> Vec<String> {
    let key = |line: &str| {
        let (name, _) = line.split_once(':')?;
        let is_here = name.len() - name.trim_start().len() == indent;
        (is_here && !name.contains('#')).then(|| name.trim().to_owned())
    };
    block.lines().filter_map(key).collect()
}

/// Package and configuration file.
fn packages() -> Vec<String> {
    let mut wrong = Vec::new();
    for entry in PLATFORM.iter() {
        let folder = if entry.kind == Kind::Store { "shared" } else { "bins" };
        let mut package = File::open(format!("{folder}/{}/Cargo.toml", entry.name));
        let is_here = package.has_line(&format!("name = \"{}\"", entry.name));
        package.expect(is_here, &entry.name, "the package is missing");
        let has_hooks = package.text.lines().any(|line| line.starts_with("test-hooks ="));
        package.expect(has_hooks == entry.test_hooks, &entry.name, "test_hooks says otherwise");
        wrong.append(&mut package.wrong);
        let mut config = File::open(format!("config/{}.toml", entry.name));
        config.expect(
            config.text.is_empty() != entry.is_configured(),
            &entry.name,
            "the file is missing, or of a process without a configuration",
        );
        wrong.append(&mut config.wrong);
    }
    let mut bins = File::open("bins");
    bins.knows_only(entries("bins", ""), &names(|entry| entry.kind != Kind::Store));
    let mut config = File::open("config");
    let mut known = names(ProcessEntry::is_configured);
    known.insert("default");
    config.knows_only(entries("config", ".toml"), &known);
    wrong.append(&mut bins.wrong);
    wrong.append(&mut config.wrong);
    wrong
}

/// The image has every program because it reads the manifest.
fn dockerfile() -> Vec<String> {
    let mut file = File::open("deploy/Dockerfile");
    let reads = file.text.contains("deploy/processes.toml");
    file.expect(reads, "all", "copies the programs of the manifest");
    for entry in PLATFORM.iter().filter(|entry| !entry.stays()) {
        let has_stage = file.has_line(&format!("FROM base AS {}", entry.name));
        file.expect(has_stage, &entry.name, "has no stage");
    }
    for entry in PLATFORM.workers() {
        let is_named = file.text.contains(&format!("release/{}", entry.name));
        file.expect(!is_named, &entry.name, "is copied by its name: the manifest has it already");
    }
    let mut ignored = File::open(".dockerignore");
    let is_sent = ignored.has_line("!deploy/processes.toml");
    ignored.expect(is_sent, "all", "the manifest does not reach the build");
    file.wrong.append(&mut ignored.wrong);
    file.wrong
}

fn compose() -> Vec<String> {
    let mut file = File::open("docker-compose.yml");
    for entry in PLATFORM.workers() {
        let name = &entry.name;
        let service = file.below(&format!("  {name}:"));
        let is_built = service.contains(&format!("args: {{BIN: {name}}}"));
        file.expect(is_built, name, "no service is built with `args: {BIN: …}`");
        let has_brokers = service.contains("REDPANDA_BROKERS");
        let needs_kafka = entry.needs(Store::Kafka);
        file.expect(has_brokers == needs_kafka, name, "REDPANDA_BROKERS, as `needs` says");
        if let Some(port) = entry.ports.http {
            let listens = service.contains(&format!("APP__HTTP__LISTEN: \"0.0.0.0:{port}\""));
            let publishes = service.contains(&format!("ports: [\"127.0.0.1:{port}:{port}\"]"));
            file.expect(listens && publishes, name, format!("serves and publishes port {port}"));
        }
        let is_awaited =
            file.below("  demo:").contains(&format!("{name}: {{condition: service_healthy}}"));
        file.expect(is_awaited, name, "the service `demo` does not wait for it");
    }
    let built = file.text.lines().filter_map(|line| line.split_once("args: {BIN: "));
    let built: Vec<_> =
        built.filter_map(|(_, rest)| rest.split('}').next()).map(str::to_owned).collect();
    file.knows_only(built, &names(ProcessEntry::stays));
    file.wrong
}

/// Who is scraped, and what is said when it is absent.
fn monitoring() -> Vec<String> {
    let mut prometheus = File::open("deploy/prometheus/prometheus.yml");
    let list = prometheus.text.lines().find_map(|line| line.trim().strip_prefix("- names: ["));
    let scraped = list.and_then(|list| list.strip_suffix(']')).unwrap_or_default();
    let scraped: BTreeSet<String> = scraped.split(", ").map(str::to_owned).collect();
    let mut rules = File::open("deploy/prometheus/rules.yml");
    let mut index = File::open("docs/runbooks/README.md");
    let mut wrong = Vec::new();
    for entry in PLATFORM.workers() {
        let name = &entry.name;
        prometheus.expect(scraped.contains(name), name, "is not scraped");
        let alert = entry.absent_alert.as_deref().expect("a manifest without it is refused");
        let rule = rules.below(&format!("      - alert: {alert}"));
        let absent = format!("expr: absent(up{{job=\"event-platform\", process=\"{name}\"}} == 1)");
        rules.expect(rule.contains(&absent), name, format!("{alert} is not: {absent}"));
        let page = File::open(format!("docs/runbooks/{alert}.md"));
        let is_told =
            page.text.starts_with(&format!("# {alert}\n")) && page.text.contains(name.as_str());
        if !is_told {
            wrong.push(format!("{}: {name}: the page about its absence", page.path));
        }
        let is_listed = index.text.contains(&format!("[{alert}]({alert}.md)"));
        index.expect(is_listed, name, format!("{alert} is not listed"));
    }
    let known = names(ProcessEntry::stays);
    prometheus.knows_only(scraped, &known);
    let absent = rules.text.lines().filter_map(|line| {
        line.trim().strip_prefix("expr: absent(up{job=\"event-platform\", process=\"")
    });
    let absent: Vec<_> =
        absent.filter_map(|rest| rest.split('"').next()).map(str::to_owned).collect();
    rules.knows_only(absent, &known);
    for file in [prometheus, rules, index] {
        wrong.extend(file.wrong);
    }
    wrong
}

/// The chart takes its processes from its values, and from nowhere else.
fn chart() -> Vec<String> {
    let mut values = File::open("helm/values.yaml");
    for entry in PLATFORM.workers() {
        let name = &entry.name;
        let process = values.below(&format!("  {name}:"));
        let kind = if entry.kind == Kind::Api { "kind: api" } else { "kind: worker" };
        let has = |wanted: &str| process.lines().any(|line| line.trim() == wanted);
        values.expect(has(kind), name, kind);
        let needs_kafka = entry.needs(Store::Kafka);
        values.expect(has("kafka: true") == needs_kafka, name, "`kafka: true`, as `needs` says");
        if let Some(port) = entry.ports.http {
            values.expect(has(&format!("port: {port}")), name, format!("port: {port}"));
        }
    }
    let here = keys(&values.below("processes:"), 2);
    values.knows_only(here, &names(ProcessEntry::stays));
    let mut wrong = values.wrong;
    // Those that are there for the shop's test and notes name what these speak of.
    for file in ["values.schema.json", "templates/_helpers.tpl", "templates/processes.yaml"] {
        let mut file = File::open(format!("helm/{file}"));
        for entry in PLATFORM.workers() {
            let is_named = file.text.contains(&entry.name);
            file.expect(!is_named, &entry.name, "is named: the values have it already");
        }
        wrong.append(&mut file.wrong);
    }
    wrong
}

/// The tables of processes and of ports.
fn readme() -> Vec<String> {
    let mut file = File::open("README.md");
    for entry in PLATFORM.iter() {
        let row = format!("| `{}` | ", entry.name);
        let is_there = file.text.lines().any(|line| line.starts_with(&row));
        file.expect(is_there, &entry.name, "is not in the table of processes");
    }
    for entry in PLATFORM.workers() {
        let http = entry.ports.http.map(|port| format!("{port} ")).unwrap_or_default();
        let admin = entry.ports.admin.map(|port| port.to_string()).unwrap_or_default();
        let row = format!("| `{}` | {http}| {admin} |", entry.name);
        let is_there = file.has_line(&row);
        file.expect(is_there, &entry.name, format!("the table of ports has no {row}"));
    }
    file.wrong
}

#[test]
fn every_process_is_everywhere_as_the_manifest_has_it() {
    let wrong = [packages(), dockerfile(), compose(), monitoring(), chart(), readme()].concat();
    assert!(wrong.is_empty(), "{wrong:#?}");
}
