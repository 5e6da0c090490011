//! For tests of processes: tries every key with what it must not take. The keys come from the reference, so
//! none can be forgotten.

use std::path::{Path, PathBuf};

use super::{Configuration, Entry, Kind, Sources, load, reference};

/// In place of every secret, and not to be seen in any refusal.
const CANARY: &str = "canary-9f3b";

/// A layer with something wrong in it.
struct Case {
    what: &'static str,
    /// The line of a file, below the header of its section.
    line: Option<String>,
    variable: Option<(String, String)>,
    /// What the refusal must name.
    named: String,
}

/// Panics with what was taken although it is bad, or was refused in a way that does not help: each refusal is
/// one line that names the key, where its value comes from, and a reason, and shows no secret.
///
/// A key that is left out everywhere has its built-in default, so none can be missing.
pub fn assert_refuses_what_is_bad<C: Configuration>(name: &str, defaults: &str) {
    let entries = reference::<C>(name, defaults).unwrap_or_else(|error| panic!("{error}"));
    let folder =
        std::env::temp_dir().join(format!("bad-configuration-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    let mut wrong = Vec::new();
    for entry in &entries {
        for case in cases(entry, &entries) {
            if let Err(why) = refused::<C>(name, defaults, &folder, entry, &case) {
                wrong.push(format!("{}, {}: {why}", entry.key, case.what));
            }
        }
    }
    std::fs::remove_dir_all(&folder).expect("the folder is still there");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn cases(entry: &Entry, all: &[Entry]) -> Vec<Case> {
    let name = entry.key.rsplit('.').next().unwrap_or(&entry.key);
    let own = |what, line: Option<String>, variable: Option<String>| Case {
        what,
        named: if variable.is_some() { entry.variable.clone() } else { entry.key.clone() },
        line,
        variable: variable.map(|value| (entry.variable.clone(), value)),
    };
    let in_file = |what, value: &str| own(what, Some(format!("{name} = {value}")), None);
    let mut cases = vec![match entry.kind {
        Kind::Boolean | Kind::Number => in_file("another type", &format!("{CANARY:?}")),
        Kind::Text | Kind::Choice => in_file("another type", &format!("[{CANARY:?}]")),
        Kind::ListOfTexts => in_file("another type", "7"),
    }];
    match entry.kind {
        Kind::Boolean | Kind::Number | Kind::Choice => {
            cases.push(own("no such value", None, Some("neither".to_owned())));
        }
        Kind::Text | Kind::ListOfTexts => {}
    }
    if entry.kind == Kind::ListOfTexts && entry.minimum.is_some() {
        cases.push(in_file("empty", "[]"));
    }
    if entry.kind == Kind::Number {
        let too_small = entry.minimum.map(|min| min - 1);
        let too_large = entry.maximum.map(|max| max + 1);
        for (what, number) in [("too small", too_small), ("too large", too_large)] {
            if let Some(number) = number {
                cases.push(in_file(what, &number.to_string()));
                cases.push(own(what, None, Some(number.to_string())));
            }
        }
    }
    let unknown = format!("{}_x", entry.key);
    cases.push(Case {
        what: "an unknown key beside it in the file",
        line: Some(format!("{name}_x = {CANARY:?}")),
        variable: None,
        named: unknown.clone(),
    });
    cases.push(Case {
        what: "an unknown key beside it in the environment",
        line: None,
        variable: Some((format!("{}_X", entry.variable), CANARY.to_owned())),
        named: unknown,
    });
    let file = format!("{}_FILE", entry.variable);
    if all.iter().all(|other| other.variable != file) {
        cases.push(Case {
            what: "an unreadable file",
            line: None,
            variable: Some((file.clone(), "/nowhere/at/all".to_owned())),
            named: file,
        });
    }
    cases
}

fn refused<C: Configuration>(
    name: &str,
    defaults: &str,
    folder: &Path,
    entry: &Entry,
    case: &Case,
) -> Result<(), String> {
    let mut directory: Option<PathBuf> = None;
    if let Some(line) = &case.line {
        let section = entry.key.rsplit_once('.').map_or("", |(section, _)| section);
        let text = format!("[{section}]\n{line}\n");
        std::fs::write(folder.join(format!("{name}.toml")), text).expect("a writable folder");
        directory = Some(folder.to_owned());
    }
    let environment = case.variable.clone().into_iter().collect();
    let Err(error) = load::<C>(name, defaults, &Sources { directory, environment }) else {
        return Err("was taken".to_owned());
    };
    let said = error.to_string();
    let layer = case.variable.as_ref().map_or(".toml", |(variable, _)| variable.as_str());
    let reason = said.rsplit("): ").next().unwrap_or_default();
    if said.contains('\n') {
        Err(format!("more than one line: {said:?}"))
    } else if !said.contains(&case.named) {
        Err(format!("{} is not named: {said}", case.named))
    } else if !said.contains(layer) {
        Err(format!("where it comes from is not told: {said}"))
    } else if reason.is_empty() || reason == said {
        Err(format!("no reason: {said}"))
    } else if said.contains(CANARY) && entry.secret {
        Err(format!("shows the secret: {said}"))
    } else {
        Ok(())
    }
}
