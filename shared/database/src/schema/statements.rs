//! Cuts a file of CQL into its statements.

/// The statements of `cql` without comments and final semicolons.
///
/// A statement ends with a semicolon outside quotes and comments. Knows `--`, `//` and `/* */`
/// comments, `'text'` with doubled quotes, `"names"`, and `$$text$$`.
pub fn split(cql: &str) -> Vec<String> {
    let mut statements = Vec::new();
    let mut current = String::new();
    let mut rest = cql;
    while let Some(next) = rest.chars().next() {
        if let Some(comment) = comment_length(rest) {
            rest = &rest[comment..];
            continue;
        }
        if let Some(quoted) = quoted_length(rest) {
            current.push_str(&rest[..quoted]);
            rest = &rest[quoted..];
            continue;
        }
        if next == ';' {
            finish(&mut statements, &mut current);
        } else {
            current.push(next);
        }
        rest = &rest[next.len_utf8()..];
    }
    finish(&mut statements, &mut current);
    statements
}

fn finish(statements: &mut Vec<String>, current: &mut String) {
    let lines: Vec<&str> =
        current.lines().map(str::trim_end).filter(|line| !line.trim().is_empty()).collect();
    if !lines.is_empty() {
        statements.push(lines.join("\n").trim().to_owned());
    }
    current.clear();
}

/// The length of the comment that begins here; the end of its line is left in place.
fn comment_length(text: &str) -> Option<usize> {
    if text.starts_with("--") || text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    let inside = text.strip_prefix("/*")?;
    Some(inside.find("*/").map_or(text.len(), |end| end + 4))
}

/// The length of the quoted text or name that begins here, with its quotes.
///
/// A doubled quote reads as the end of one quoted piece and the beginning of the next, which comes
/// to the same.
fn quoted_length(text: &str) -> Option<usize> {
    let quote = ["'", "\"", "$$"].into_iter().find(|quote| text.starts_with(quote))?;
    let inside = &text[quote.len()..];
    Some(inside.find(quote).map_or(text.len(), |end| end + 2 * quote.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(cql: &str, expected: &[&str]) {
        assert_eq!(split(cql), expected, "statements of {cql:?}");
    }

    #[test]
    fn statements_end_at_semicolons() {
        check("SELECT 1;\nSELECT 2;\n", &["SELECT 1", "SELECT 2"]);
        check("SELECT 1", &["SELECT 1"]);
        check(";;\n ; \n", &[]);
    }

    #[test]
    fn comments_are_left_out_and_may_hold_anything() {
        check("-- a; b\nSELECT 1 -- it's\n;// c;\n/* d; ' */SELECT 2;", &["SELECT 1", "SELECT 2"]);
        check("/* never closed; SELECT 1;", &[]);
        check(
            "CREATE TABLE t (\n    -- the key\n    a int\n);",
            &["CREATE TABLE t (\n    a int\n)"],
        );
    }

    #[test]
    fn quotes_keep_what_they_hold() {
        check("SELECT 'a;--b''c;';SELECT \"x;y\"", &["SELECT 'a;--b''c;'", "SELECT \"x;y\""]);
        check("SELECT $$ it's; -- text $$;", &["SELECT $$ it's; -- text $$"]);
        check("SELECT 'ü;€'; SELECT 'open;", &["SELECT 'ü;€'", "SELECT 'open;"]);
    }
}
