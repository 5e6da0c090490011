//! The documented codes and routes are those of the code.

use super::*;
use domain::ValueError;
use http_edge::testing::problem_tables;
use kernel::DomainError;
use std::path::{Path, PathBuf};

/// What lies between these lines of the documentation is generated.
const BEGIN: &str = "<!-- Generated from here on: cargo bless-problems -->\n";
const END: &str = "<!-- Generated up to here -->\n";

fn documentation() -> (PathBuf, String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/http-api.md");
    let text = std::fs::read_to_string(&path).expect("the documentation of the interface");
    (path, text)
}

#[tokio::test]
async fn every_event_has_a_documented_route_and_each_of_them_is_served() {
    let (_, text) = documentation();
    // | `POST /v1/orders/{id}/confirm` | body | `OrderConfirmed` |
    let routes: Vec<_> = text
        .lines()
        .filter_map(|line| {
            let mut cells = line.split('|').map(|cell| cell.trim().trim_matches('`')).skip(1);
            let (method, path) = cells.next()?.split_once(' ')?;
            let is_command = ["POST", "PUT", "DELETE"].contains(&method);
            is_command.then_some((method, path, cells.nth(1)?))
        })
        .collect();
    for kind in domain::AGGREGATES.iter().flat_map(|known| known.kinds) {
        let is_done = routes.iter().any(|(_, _, event)| *event == kind.name);
        assert!(is_done, "docs/http-api.md has no route that does {}", kind.name);
    }
    let server = server();
    for (method, path, _) in routes {
        let named = path.replace("{id}", ORDER).replace("{address_id}", ADDRESS);
        let answer = server.send(ask(method, &named, &json!({}))).await;
        let code = answer.body["code"].as_str();
        let is_served = !matches!(code, Some("route_not_found" | "method_not_allowed"));
        assert!(is_served, "{method} {path} is documented and not served");
    }
}

#[test]
fn the_documented_problems_are_those_of_the_code() {
    let (path, text) = documentation();
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
