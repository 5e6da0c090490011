//! A change to a source file: a snippet that is there once, and what takes its place.

use serde::Deserialize;

/// One change.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Change {
    /// The path in the workspace.
    pub(super) file: String,
    /// What is there; exactly once, so that it is clear what is meant.
    pub(super) find: String,
    /// What takes its place.
    pub(super) put: String,
}

/// The text of a file after changes, each with the name of its defect. All of them are looked for in the
/// text as it was, so their order makes no difference. Errs with every change that does not fit.
pub(super) fn make(
    file: &str,
    text: &str,
    changes: &[(&str, &Change)],
) -> Result<String, Vec<String>> {
    let (mut places, mut wrong) = (Vec::new(), Vec::new());
    for (defect, change) in changes {
        let found: Vec<_> = text.match_indices(&change.find).map(|(at, _)| at).collect();
        match found[..] {
            [at] => places.push((at, *defect, *change)),
            _ => wrong.push(format!(
                "{defect}: {file} has this {} times, not once:\n{}",
                found.len(),
                change.find
            )),
        }
    }
    places.sort_by_key(|(at, ..)| *at);
    let (mut made, mut copied) = (String::with_capacity(text.len()), 0);
    for (at, defect, change) in places {
        if at < copied {
            wrong.push(format!(
                "{defect}: another defect changes the same place of {file}:\n{}",
                change.find
            ));
            continue;
        }
        made.push_str(&text[copied..at]);
        made.push_str(&change.put);
        copied = at + change.find.len();
    }
    made.push_str(&text[copied..]);
    if wrong.is_empty() { Ok(made) } else { Err(wrong) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(find: &str, put: &str) -> Change {
        Change { file: "a.rs".to_owned(), find: find.to_owned(), put: put.to_owned() }
    }

    fn check(text: &str, changes: &[Change], expected: Result<&str, &str>) {
        let named: Vec<_> = changes.iter().map(|change| ("no-fence", change)).collect();
        match (make("a.rs", text, &named), expected) {
            (Ok(made), Ok(expected)) => assert_eq!(made, expected),
            (Err(wrong), Err(expected)) => {
                let [wrong] = &wrong[..] else { panic!("{wrong:?}") };
                for part in ["no-fence", "a.rs", expected] {
                    assert!(wrong.contains(part), "{wrong}");
                }
            }
            (made, expected) => panic!("{made:?} instead of {expected:?}"),
        }
    }

    #[test]
    fn changes_are_made_in_any_order() {
        check("a b c", &[change("c", "C"), change("a", "A, A")], Ok("A, A b C"));
        check("a b", &[change("a ", "A"), change("b", "a ")], Ok("Aa "));
        check("a b", &[], Ok("a b"));
    }

    #[test]
    fn a_change_that_does_not_fit_is_named() {
        check("a b", &[change("x", "")], Err("has this 0 times, not once:\nx"));
        check("a b a", &[change("a", "A")], Err("has this 2 times, not once:\na"));
        check("a b", &[change("", "A")], Err("times, not once"));
        check("a b c", &[change("a b", "A"), change("b c", "B")], Err("same place of a.rs:\nb c"));
    }
}
