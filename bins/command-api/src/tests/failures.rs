//! Refusals by the rules of the shop, each with its status, code and outcome.

use super::*;

#[tokio::test]
async fn a_refusal_by_the_rules_names_the_rule_and_the_version() {
    let server = server();
    let confirm = || on_order("POST", "confirm", &Value::Null);
    let unknown = server.send(confirm()).await;
    unknown.is_problem(404, "order_not_found");
    assert_eq!(unknown.body["outcome"], "not_done");
    assert_eq!(unknown.body.get("current_version"), None);

    server.accepts(create()).await;
    let again = server.send(create().key("other")).await;
    again.is_problem(409, "order_already_exists");
    assert_eq!(again.body["current_version"], 1);
    assert_eq!(again.body["outcome"], "not_done");

    let deliver = on_order("POST", "deliver", &json!({"signature": "Ada"}));
    let early = server.send(deliver).await;
    early.is_problem(409, "order_not_deliverable");
    assert_eq!(early.body["title"], "Order not deliverable");
    assert_eq!(early.body["detail"], "only a shipped order can be delivered; it is created");
}

#[tokio::test]
async fn an_address_that_is_not_there_is_not_found() {
    let server = server();
    server.accepts(register()).await;
    let remove = on_customer("DELETE", &format!("addresses/{ADDRESS}"), &Value::Null);
    server.send(remove).await.is_problem(404, "address_not_found");
}
