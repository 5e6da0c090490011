//! The documented codes are those of the code.

use domain::ValueError;
use http_edge::testing::problem_tables;
use kernel::DomainError;
use std::path::Path;

/// What lies between these lines of the documentation is generated.
const BEGIN: &str = "<!-- Generated from here on: cargo bless-problems -->\n";
const END: &str = "<!-- Generated up to here -->\n";

#[test]
fn the_documented_problems_are_those_of_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/http-api.md");
    let text = std::fs::read_to_string(&path).expect("the documentation of the interface");
    let (before, rest) = text.split_once(BEGIN).expect("the line where the generated part begins");
    let (_, after) = rest.split_once(END).expect("the line where it ends");
    let tables = problem_tables(domain::AGGREGATES, ValueError::CODES);
    let current = format!("{before}{BEGIN}\n{tables}\n{END}{after}");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, current).expect("write the documentation");
        return;
    }
    assert!(text == current, "docs/http-api.md is not what the code says: cargo bless-problems");
}
