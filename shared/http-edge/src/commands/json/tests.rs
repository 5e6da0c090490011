use super::*;
use serde::Deserialize;

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Outer {
    inner: Vec<Object<Inner>>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Inner {
    number: i64,
}

#[track_caller]
fn refused(text: &str, code: &str) -> Problem {
    let problem = parse::<Outer>(text.as_bytes()).expect_err(text);
    assert_eq!(problem.code(), code, "{text}: {}", problem.detail());
    problem
}

#[test]
fn a_value_with_space_around_it_is_read() {
    let value: Outer = parse(b" {\"inner\": [{\"number\": -3}]}\r\n").expect("it is valid");
    assert_eq!(value, Outer { inner: vec![Object(Inner { number: -3 })] });
}

#[test]
fn a_detail_says_where() {
    assert_eq!(
        refused("{\n \"inner\": [{\"number\": \"3\"}]}", "wrong_type").detail(),
        "invalid type: string \"3\", expected i64 at line 2 column 25"
    );
    let problem = refused(r#"{"inner": [{"numbre": 3}]}"#, "unknown_field");
    assert_eq!(problem.detail(), "unknown field `numbre`, expected `number` at line 1 column 20");
}

#[test]
fn a_name_with_marks_in_it_is_told_whole() {
    let problem = refused(r#"{"a`b, expected c": 3}"#, "unknown_field");
    assert!(
        problem.detail().starts_with("unknown field `a`b, expected c`"),
        "{}",
        problem.detail()
    );
}

#[test]
fn brackets_count_outside_of_strings_only() {
    assert!(!is_deeper_than(1, r#"["[[[\"[[\\", "[" ]"#));
    assert!(is_deeper_than(1, r#"["a", ["b"]]"#));
    assert!(is_deeper_than(0, "["));
    assert!(!is_deeper_than(2, "[[]][[]]"));
    assert!(!is_deeper_than(1, "]]]]["), "closing what is not open saves no depth");
}

#[test]
fn a_field_is_told_with_its_path() {
    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Same {
        #[expect(dead_code, reason = "only its path matters")]
        a: Option<Box<Object<Same>>>,
        #[expect(dead_code, reason = "only its path matters")]
        b: i64,
    }
    for (text, code, path) in [
        (r#"{"b":1,"a":{}}"#, "missing_field", "a.b"),
        (r#"{"a":{"a":{"b":1},"b":1}}"#, "missing_field", "b"),
        (r#"{"b":1,"a":{"b":1,"b":1}}"#, "duplicate_field", "a.b"),
        (r#"{"b":1,"a":{"a":null,"a":null}}"#, "duplicate_field", "a.a"),
        (r#"{"b":1,"b":1}"#, "duplicate_field", "b"),
        (r#"{"b":1,"a":{"c":1}}"#, "unknown_field", "a.c"),
        (r#"{"c":1}"#, "unknown_field", "c"),
        (r#"{"b":1,"a":{"b":"1"}}"#, "wrong_type", "a.b"),
        (r#"{"b":1,"a":[{}]}"#, "wrong_type", "a"),
        ("[1]", "wrong_type", "."),
    ] {
        let problem = parse::<Same>(text.as_bytes()).expect_err(text);
        assert_eq!((problem.code(), problem.field()), (code, Some(path)), "{text}");
    }
}
