use super::*;
use kernel::{DomainError, RefusalKind};
use proptest::prelude::*;

#[track_caller]
fn check<T: std::fmt::Debug>(value: Result<T, ValueError>, expected: Result<(), ValueError>) {
    assert_eq!(value.as_ref().map(|_| ()), expected.as_ref().copied(), "{value:?}");
}

#[test]
fn text_is_kept_as_it_is_or_refused() {
    for text in ["a", "ab cd", "日本語テス", "e\u{301}", "👩‍🚀", "\"';--", "\\u0000"] {
        assert_eq!(Text::<20>::new(text).unwrap().as_str(), text);
    }
    for (text, refusal) in [
        ("", ValueError::Blank),
        (" \u{3000}\t", ValueError::Blank),
        (" a", ValueError::Padded),
        ("a\u{A0}", ValueError::Padded),
        ("a\nb", ValueError::ForbiddenCharacter('\n')),
        ("a\n", ValueError::ForbiddenCharacter('\n')),
        ("a\0", ValueError::ForbiddenCharacter('\0')),
        ("a\u{85}b", ValueError::ForbiddenCharacter('\u{85}')),
        ("a\u{202E}b", ValueError::ForbiddenCharacter('\u{202E}')),
        ("a\u{2066}b", ValueError::ForbiddenCharacter('\u{2066}')),
        ("abcdef", ValueError::TooLong { max: 5, found: 6 }),
    ] {
        check(Text::<5>::new(text), Err(refusal));
    }
    // Characters count, not bytes.
    check(Text::<5>::new("ééééé"), Ok(()));
}

#[test]
fn a_quantity_is_between_1_and_the_largest_int() {
    for (quantity, fits) in [
        (i64::MIN, false),
        (-1, false),
        (0, false),
        (1, true),
        (2_147_483_647, true),
        (2_147_483_648, false),
        (i64::MAX, false),
    ] {
        check(Quantity::new(quantity), fits.then_some(()).ok_or(ValueError::Quantity(quantity)));
    }
}

#[test]
fn an_amount_is_exact_in_every_reader_of_json() {
    for (minor, fits) in [
        (i64::MIN, false),
        (-1, false),
        (0, true),
        (9_007_199_254_740_991, true),
        (9_007_199_254_740_992, false),
        (i64::MAX, false),
    ] {
        check(Amount::from_minor(minor), fits.then_some(()).ok_or(ValueError::Amount(minor)));
    }
}

#[test]
fn a_currency_is_one_in_use() {
    for code in ["EUR", "USD", "AED", "ZMW", "JPY"] {
        assert_eq!(Currency::new(code).unwrap().code(), code);
    }
    for code in ["", "eur", "EU", "EURO", "DEM", "XXX", "XAU", "€", "EUR "] {
        check(Currency::new(code), Err(ValueError::Currency));
    }
}

#[test]
fn an_email_is_one_that_could_be_delivered_to() {
    let longest = format!("{}@{}.example", "l".repeat(64), vec!["d".repeat(60); 2].join("."));
    for address in
        ["a@b.c", "ada.king+shop@example.co.uk", "o'hara@x-y.example", "jürgen@müller.de", &longest]
    {
        assert_eq!(Email::new(address).unwrap().as_str(), address);
    }
    let long_local = format!("{}@b.c", "l".repeat(65));
    let long_label = format!("a@{}.c", "d".repeat(64));
    let long = format!("a@{}c", "d.".repeat(127));
    for address in [
        "",
        "@",
        "a",
        "a@",
        "@b.c",
        "a@b",
        "a@b.",
        "a@.c",
        "a@b..c",
        ".a@b.c",
        "a.@b.c",
        "a..b@c.d",
        "a b@c.d",
        "a@b c.d",
        "a@b@c.d",
        "a@-b.c",
        "a@b-.c",
        "\"a\"@b.c",
        "a@[127.0.0.1]",
        "a@b.c\n",
        " a@b.c",
        "a\0@b.c",
        &long_local,
        &long_label,
        &long,
    ] {
        check(Email::new(address), Err(ValueError::Email));
    }
}

#[test]
fn a_phone_number_has_digits_and_what_is_put_between_them() {
    for number in ["112", "+49 (0)30 / 12-34.5", &"1".repeat(32)] {
        check(Phone::new(number), Ok(()));
    }
    for number in ["", "12", "+", " 112", "112 ", "call me", "１１２", &"1".repeat(33)] {
        check(Phone::new(number), Err(ValueError::Phone));
    }
}

#[test]
fn a_country_is_two_capitals() {
    check(Country::new("DE"), Ok(()));
    for code in ["", "D", "de", "DEU", "D1", "ÄÖ", "DE "] {
        check(Country::new(code), Err(ValueError::Country));
    }
}

fn item(quantity: i64, unit_price: i64) -> Item {
    Item {
        product_id: Text::new("tea").unwrap(),
        quantity: Quantity::new(quantity).unwrap(),
        unit_price: Amount::from_minor(unit_price).unwrap(),
    }
}

#[test]
fn an_order_has_at_least_one_item_and_not_too_many() {
    check(Items::new(Vec::new()), Err(ValueError::NoItems));
    check(Items::new(vec![item(1, 1); ITEMS_MAX]), Ok(()));
    let count = ITEMS_MAX + 1;
    check(Items::new(vec![item(1, 1); count]), Err(ValueError::TooManyItems(count)));
}

#[test]
fn a_total_never_overflows() {
    let total = |items: Vec<Item>| Items::new(items).map(|items| items.total().minor());
    assert_eq!(total(vec![item(1, AMOUNT_MINOR_MAX)]), Ok(AMOUNT_MINOR_MAX));
    assert_eq!(total(vec![item(1, AMOUNT_MINOR_MAX), item(9, 0)]), Ok(AMOUNT_MINOR_MAX));
    for items in [
        vec![item(1, AMOUNT_MINOR_MAX), item(1, 1)],
        vec![item(2, AMOUNT_MINOR_MAX)],
        vec![item(QUANTITY_MAX, AMOUNT_MINOR_MAX)],
        vec![item(1_024, AMOUNT_MINOR_MAX), item(1, AMOUNT_MINOR_MAX)],
        vec![item(QUANTITY_MAX, AMOUNT_MINOR_MAX); ITEMS_MAX],
    ] {
        assert_eq!(total(items), Err(ValueError::TotalTooLarge));
    }
}

#[test]
fn every_refusal_of_a_value_has_its_own_code() {
    let codes: std::collections::BTreeSet<_> = ValueError::CODES.iter().map(|c| c.code).collect();
    assert_eq!(codes.len(), ValueError::CODES.len());
    assert!(ValueError::CODES.iter().all(|code| code.kind == RefusalKind::InvalidValue));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_total_is_the_sum(
        lines in prop::collection::vec((1..=QUANTITY_MAX, 0..=AMOUNT_MINOR_MAX), 1..=8),
        small in prop::bool::ANY,
    ) {
        let scale = if small { 1_000_000 } else { 1 };
        let lines: Vec<_> =
            lines.into_iter().map(|(q, p)| ((q / scale).max(1), p / scale)).collect();
        let exact: i128 = lines.iter().map(|&(q, p)| i128::from(q) * i128::from(p)).sum();
        let items = Items::new(lines.iter().map(|&(q, p)| item(q, p)).collect());
        if exact <= i128::from(AMOUNT_MINOR_MAX) {
            prop_assert_eq!(i128::from(items.unwrap().total().minor()), exact);
        } else {
            prop_assert_eq!(items, Err(ValueError::TotalTooLarge));
        }
    }

    #[test]
    fn no_text_makes_a_constructor_panic(text in "\\PC*|[\\x00-\\xff]*") {
        let _ = Text::<10>::new(text.clone());
        let _ = Email::new(text.clone());
        let _ = Phone::new(text.clone());
        let _ = Country::new(text.clone());
        let _ = Currency::new(&text);
    }
}
