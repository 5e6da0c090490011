//! Rows and lists, as the application's functions give them.

use super::*;
use serde_json::Value;

#[tokio::test]
async fn a_row_has_its_version_as_etag() {
    let api = Api::start().await.with(Rows { tallies: vec![row(7)], ..Rows::default() });
    let answer = api.ok(&format!("/v1/tallies/{}", Uuid::from_u128(7))).await;
    assert_eq!(answer.header("etag"), Some("\"7\""));
    let expected = json!({
        "tally_id": Uuid::from_u128(7),
        "total": 7,
        "at": "1970-01-01T00:00:00.000Z",
    });
    assert_eq!(answer.body, expected);
    api.get(&format!("/v1/tallies/{NOBODY}")).await.is_problem(404, "not_found");
    let head = Ask { method: axum::http::Method::HEAD, ..Ask::get("/v1/tallies?parity=odd") };
    let head = send(&api.router, head).await;
    assert_eq!((head.status, head.body), (StatusCode::OK, Value::Null));
}

#[tokio::test]
async fn a_row_that_cannot_be_read_is_our_fault() {
    let unwritable = TallyView { at: Timestamp(999_999_999_999_999_999), ..row(1) };
    let api = Api::start().await.with(Rows { tallies: vec![unwritable], ..Rows::default() });
    let path = format!("/v1/tallies/{}", Uuid::from_u128(1));
    api.get(&path).await.is_problem(500, "unreadable_data");
    let unreadable = Rows { fails: Some(Fails::Unreadable), ..Rows::default() };
    let api = api.with(unreadable);
    let answer = api.get(&path).await;
    answer.is_problem(500, "unreadable_data");
    assert!(!answer.body.to_string().contains("internals"), "{}", answer.body);
}

fn totals(answer: &Answer) -> Vec<u64> {
    let tallies = answer.body["tallies"].as_array().expect("tallies");
    tallies.iter().map(|tally| tally["total"].as_u64().expect("a total")).collect()
}

#[tokio::test]
async fn lists_are_read_page_by_page() {
    let tallies = (0..14).map(row).collect();
    let api = Api::start().await.with(Rows { tallies, ..Rows::default() });
    // The default page, then one as large as allowed.
    let first = api.ok("/v1/tallies?parity=odd").await;
    assert_eq!((totals(&first), &first.body["next"]), (vec![1, 3, 5], &json!("3")));
    let second = api.ok("/v1/tallies?cursor=3&parity=odd&limit=5").await;
    assert_eq!((totals(&second), second.body.get("next")), (vec![7, 9, 11, 13], None));
    let owners = format!("/v1/owners/{TALLY}/tallies");
    assert_eq!(totals(&api.ok(&owners).await), [0, 1, 2]);
    assert_eq!(totals(&api.ok(&format!("{owners}?limit=2&cursor=2")).await), [2, 3]);
    let none = api.ok(&format!("/v1/owners/{NOBODY}/tallies?")).await;
    assert_eq!(none.body, json!({"tallies": []}));
}
