//! The effective configuration as TOML, each value with the layer that it came from.

use serde::Serialize;
use toml::{Table, Value};

use super::{Layers, Loaded};

impl<C: Serialize> Loaded<C> {
    /// The whole configuration, secrets hidden; what a layer above the built-in defaults said is marked
    /// with that layer. Reading it again gives the same.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        let mut tree = Table::try_from(&self.shell)?;
        tree.extend(Table::try_from(&self.config)?);
        let mut text = String::from("# What is not marked is built in.\n");
        print(&tree, "", &self.layers, &mut text);
        Ok(text)
    }
}

fn print(table: &Table, path: &str, layers: &Layers, text: &mut String) {
    let below =
        |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    let is_section = |value: &Value| value.is_table();
    let (sections, values): (Vec<_>, Vec<_>) =
        table.iter().partition(|(_, value)| is_section(value));
    if !values.is_empty() {
        text.push_str(&format!("\n[{path}]\n"));
    }
    for (name, value) in values {
        let layer = layers.of(&below(name)).map(|layer| format!(" # {layer}")).unwrap_or_default();
        text.push_str(&format!("{name} = {value}{layer}\n"));
    }
    for (name, section) in sections {
        if let Some(section) = section.as_table() {
            print(section, &below(name), layers, text);
        }
    }
}
