//! The text of a statement without the values that stand in it. Pure.

/// What stands for a value.
const VALUE: char = '?';
/// Characters that are shown at most.
const LONGEST: usize = 2000;

/// `sql` on one line, without comments, and with `?` for each string and number. Parameters such as `$1` and names stay.
///
/// Strings are read as the server does with `standard_conforming_strings = on`, its default.
pub(crate) fn without_values(sql: &str) -> String {
    let mut shown = String::with_capacity(sql.len().min(LONGEST));
    let mut rest = sql;
    let mut before = ' ';
    while let Some(first) = rest.chars().next() {
        if shown.len() >= LONGEST {
            shown.push('…');
            break;
        }
        let (length, what) = token(rest, first, before);
        match what {
            Token::Value => shown.push(VALUE),
            Token::Blank if shown.is_empty() || shown.ends_with(' ') => {}
            Token::Blank => shown.push(' '),
            Token::Shown => shown.push_str(&rest[..length]),
        }
        before = rest[..length].chars().next_back().unwrap_or(first);
        rest = &rest[length..];
    }
    shown.truncate(shown.trim_end().len());
    shown
}

/// A line of a plan without the values of its conditions; costs and row counts stay.
pub(crate) fn plan_line(line: &str) -> String {
    let depth = line.len() - line.trim_start().len();
    let (what, cost) = match line.find("  (cost=") {
        Some(at) => line.split_at(at),
        None => (line, ""),
    };
    format!("{}{}{cost}", &line[..depth], without_values(what))
}

enum Token {
    Value,
    Blank,
    Shown,
}

/// The length of what `rest` begins with, and what it is. `before` is the character before it.
fn token(rest: &str, first: char, before: char) -> (usize, Token) {
    let bytes = rest.as_bytes();
    let in_word = before.is_alphanumeric() || matches!(before, '_' | '$');
    match first {
        '\'' => (1 + string(&rest[1..], Escapes::None), Token::Value),
        '"' => (1 + quoted(&rest[1..], b'"'), Token::Shown),
        '-' if rest.starts_with("--") => (rest.find(['\n', '\r']).unwrap_or(rest.len()), Token::Blank),
        '/' if rest.starts_with("/*") => (super::super::statement::block_comment(rest), Token::Blank),
        '$' if !in_word => match dollar(rest) {
            Some(length) => (length, Token::Value),
            None => (1, Token::Shown),
        },
        'e' | 'E' if !in_word && bytes.get(1) == Some(&b'\'') => {
            (2 + string(&rest[2..], Escapes::Backslash), Token::Value)
        }
        '0'..='9' | '.' if !in_word && before != '.' && starts_number(bytes) => {
            let number = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_');
            (rest.find(|c| !number(c)).unwrap_or(rest.len()), Token::Value)
        }
        _ if first.is_whitespace() => (first.len_utf8(), Token::Blank),
        _ => (first.len_utf8(), Token::Shown),
    }
}

fn starts_number(bytes: &[u8]) -> bool {
    bytes[0].is_ascii_digit() || bytes.get(1).is_some_and(u8::is_ascii_digit)
}

#[derive(PartialEq, Eq)]
enum Escapes {
    None,
    Backslash,
}

/// How long a string is behind its opening quote, the closing one included. One that does not end is all that is left.
fn string(rest: &str, escapes: Escapes) -> usize {
    let bytes = rest.as_bytes();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' if escapes == Escapes::Backslash => at += 2,
            b'\'' if bytes.get(at + 1) == Some(&b'\'') => at += 2,
            b'\'' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

fn quoted(rest: &str, quote: u8) -> usize {
    rest.bytes()
        .position(|byte| byte == quote)
        .map_or(rest.len(), |at| at + 1)
}

/// The length of a dollar-quoted string; none for a parameter.
fn dollar(rest: &str) -> Option<usize> {
    let tag = rest[1..].find('$')? + 2;
    let name = &rest[1..tag - 1];
    let is_tag = !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_alphanumeric() || c == '_');
    if !is_tag {
        return None;
    }
    let delimiter = &rest[..tag];
    let end = rest[tag..].find(delimiter);
    Some(end.map_or(rest.len(), |end| 2 * tag + end))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_are_hidden_and_names_and_parameters_stay() {
        for (sql, shown) in [
            ("SELECT * FROM t WHERE id = $1", "SELECT * FROM t WHERE id = $1"),
            ("SELECT 'it''s', E'a\\'b', 'c\\', 7", "SELECT ?, ?, ?, ?"),
            (
                "SELECT a1, t_2.b FROM t_2 LIMIT 10",
                "SELECT a1, t_2.b FROM t_2 LIMIT ?",
            ),
            ("SELECT $$x'y$$, $q$a$$b$q$, $2", "SELECT ?, ?, $2"),
            ("SELECT /* 4711 /* x */ */ 1.5e3 -- 4712\n, .5", "SELECT ? , ?"),
            ("  SELECT\n\t\"Name 1\"  FROM x ", "SELECT \"Name 1\" FROM x"),
            ("SELECT -1, x-1, 0x1F", "SELECT -?, x-?, ?"),
            ("SELECT 'never ends", "SELECT ?"),
            ("SELECT U&'\\0441', B'101', X'1F'", "SELECT U&?, B?, X?"),
        ] {
            assert_eq!(without_values(sql), shown);
        }
        assert!(without_values(&"x ".repeat(5000)).len() <= LONGEST + 4);
    }

    #[test]
    fn a_plan_keeps_its_costs_and_loses_its_values() {
        for (line, shown) in [
            (
                "  ->  Seq Scan on t  (cost=0.00..8.27 rows=1 width=4)",
                "  -> Seq Scan on t  (cost=0.00..8.27 rows=1 width=4)",
            ),
            (
                "        Filter: ((name = 'hunter2'::text) AND (id > 4711))",
                "        Filter: ((name = ?::text) AND (id > ?))",
            ),
        ] {
            assert_eq!(plan_line(line), shown);
        }
    }

    proptest! {
        #[test]
        fn no_text_is_too_strange_and_no_quoted_value_shows(value in "[a-z]{6}", around in "\\PC{0,20}") {
            let _ = without_values(&around);
            let text = format!("SELECT '{value}', E'{value}\\'{value}', $x${value}$x$ FROM t");
            prop_assert!(!without_values(&text).contains(&value));
        }
    }
}
