//! A statement that can be run again: a query of sqlx gives its arguments away only once.

use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArguments, PgStatement};
use sqlx::{Execute, Postgres, SqlStr};

use super::error::Detail;

/// The text of a statement, with whatever values stand in it, and what kind of statement it is.
#[derive(Clone)]
pub(crate) struct Text {
    sql: SqlStr,
    /// Arguments came with it.
    parameterised: bool,
}

impl Text {
    pub(crate) fn as_str(&self) -> &str {
        self.sql.as_str()
    }

    /// Whether the server makes a plan for it.
    pub(crate) fn has_plan(&self) -> bool {
        let planned = ["SELECT", "WITH", "VALUES", "INSERT", "UPDATE", "DELETE", "MERGE"];
        !self.is_script() && is_one_of(first_word(self.as_str()), &planned)
    }

    fn is_script(&self) -> bool {
        let text = self.as_str().trim_end().trim_end_matches(';');
        !self.parameterised && text.contains(';')
    }
}

/// What was given to the executor, kept for as long as it may have to be repeated.
#[derive(Clone)]
pub(crate) struct Statement {
    text: Text,
    arguments: Option<PgArguments>,
    persistent: bool,
    prepared: Option<PgStatement>,
    /// It is prepared only, and not run.
    described: bool,
}

impl Statement {
    /// # Errors
    /// When an argument could not be encoded, or the statement would begin or end a transaction on a connection that
    /// the next caller gets.
    pub(crate) fn take<'q>(query: impl Execute<'q, Postgres>) -> Result<Self, sqlx::Error> {
        Self::of(query)?.without_control()
    }

    /// For a statement that is prepared only.
    ///
    /// # Errors
    /// As [`Statement::take`].
    pub(crate) fn to_prepare(sql: SqlStr) -> Result<Self, sqlx::Error> {
        let described = true;
        Ok(Self {
            described,
            ..Self::take(sql)?
        })
    }

    /// The same for a connection that is the caller's alone, on which transactions may begin and end.
    ///
    /// # Errors
    /// When an argument could not be encoded.
    pub(crate) fn of<'q>(mut query: impl Execute<'q, Postgres>) -> Result<Self, sqlx::Error> {
        let prepared = query.statement().cloned();
        let persistent = query.persistent();
        let arguments = query.take_arguments().map_err(sqlx::Error::Encode)?;
        let parameterised = arguments.is_some();
        let sql = query.sql();
        Ok(Self {
            text: Text { sql, parameterised },
            arguments,
            persistent,
            prepared,
            described: false,
        })
    }

    fn without_control(self) -> Result<Self, sqlx::Error> {
        if self.is_script() || !controls_transaction(self.text.as_str()) {
            Ok(self)
        } else {
            Err(Detail::TransactionControl.into())
        }
    }

    pub(crate) fn text(&self) -> &Text {
        &self.text
    }

    /// Whether a part of it may have been committed when it fails: a procedure and a DO can COMMIT, outside a transaction,
    /// and so can a script.
    pub(crate) fn may_commit(&self) -> bool {
        let text = self.text.as_str();
        if self.is_script() {
            words(text).any(|word| is_one_of(word, &["COMMIT", "END", "CALL", "DO"]))
        } else {
            is_one_of(first_word(text), &["CALL", "DO"])
        }
    }

    /// Whether it commits the transaction that it is sent in.
    pub(crate) fn ends_transaction(&self) -> bool {
        is_one_of(first_word(self.text.as_str()), &["COMMIT", "END"])
    }

    /// Whether it takes more than one message, so that a pooler may send the second one elsewhere.
    pub(crate) fn is_prepared(&self) -> bool {
        self.text.parameterised || self.described
    }

    /// The same without a name on the server, where another client would meet it.
    pub(crate) fn unnamed(self) -> Self {
        Self {
            persistent: false,
            ..self
        }
    }

    /// Whether this may be several statements at once. A script can hold its own BEGIN and COMMIT, so that an error
    /// says nothing of the statements before it, and its connection may be left in a transaction.
    pub(crate) fn is_script(&self) -> bool {
        self.text.is_script()
    }
}

fn controls_transaction(sql: &str) -> bool {
    const CONTROL: [&str; 7] = [
        "BEGIN",
        "START",
        "COMMIT",
        "END",
        "ROLLBACK",
        "ABORT",
        "SAVEPOINT",
    ];
    is_one_of(first_word(sql), &CONTROL)
}

fn words(sql: &str) -> impl Iterator<Item = &str> {
    sql.split(|c: char| !c.is_ascii_alphabetic())
}

/// The first word after the comments; empty where there is something else.
fn first_word(sql: &str) -> &str {
    words(after_comments(sql)).next().unwrap_or_default()
}

fn is_one_of(word: &str, keywords: &[&str]) -> bool {
    keywords.iter().any(|keyword| word.eq_ignore_ascii_case(keyword))
}

/// `sql` from its first character that is neither blank nor in a comment.
fn after_comments(sql: &str) -> &str {
    let mut rest = sql.trim_start();
    loop {
        let commented = if rest.starts_with("--") {
            rest.find(['\n', '\r']).unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else {
            return rest;
        };
        rest = rest[commented..].trim_start();
    }
}

/// How long the comment is that `sql` begins with. As in the standard, and other than in C, they nest.
pub(crate) fn block_comment(sql: &str) -> usize {
    let (mut at, mut depth) = (0, 0_usize);
    while let Some(mark) = sql[at..].find(['/', '*']) {
        at += mark;
        let (step, inner) = match sql[at..].get(..2) {
            Some("/*") => (2, depth + 1),
            Some("*/") => (2, depth - 1),
            _ => (1, depth),
        };
        (at, depth) = (at + step, inner);
        if depth == 0 {
            return at;
        }
    }
    sql.len()
}

impl<'q> Execute<'q, Postgres> for Statement {
    fn sql(self) -> SqlStr {
        self.text.sql
    }

    fn statement(&self) -> Option<&PgStatement> {
        self.prepared.as_ref()
    }

    fn take_arguments(&mut self) -> Result<Option<PgArguments>, BoxDynError> {
        Ok(self.arguments.take())
    }

    fn persistent(&self) -> bool {
        self.persistent
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::detail;

    #[test]
    fn transaction_control_is_refused_and_other_words_are_not() {
        for sql in ["BEGIN", " begin;", "start transaction", "COMMIT;", "rollback"] {
            let error = Statement::take(sqlx::AssertSqlSafe(sql)).err().unwrap();
            assert!(
                matches!(detail(&error), Some(Detail::TransactionControl)),
                "{sql}"
            );
        }
        for sql in ["SELECT 1", "beginning", "UPDATE t SET commit = 1", ""] {
            assert!(Statement::take(sqlx::AssertSqlSafe(sql)).is_ok(), "{sql}");
        }
    }

    #[test]
    fn transaction_control_behind_comments_is_refused_too() {
        for sql in [
            "-- why\nBEGIN",
            "--\r  -- again\n\tCOMMIT",
            "/* x */ BEGIN",
            "/**/ROLLBACK",
            "/* a /* b */ * / **/ -- c\n/***/ end",
            "BEGIN/* x */",
            "/* é/é*é */ abort",
        ] {
            assert!(controls_transaction(sql), "{sql}");
            let error = Statement::take(sqlx::query(sqlx::AssertSqlSafe(sql)))
                .err()
                .unwrap();
            assert!(
                matches!(detail(&error), Some(Detail::TransactionControl)),
                "{sql}"
            );
        }
        for sql in [
            "-- BEGIN",
            "-- x\nSELECT 1 -- BEGIN",
            "/* BEGIN */ SELECT 1",
            "/* /* */ BEGIN",
            "/*/ BEGIN",
            "/",
            "- - BEGIN",
        ] {
            assert!(!controls_transaction(sql), "{sql}");
        }
    }

    #[test]
    fn only_text_without_arguments_can_be_a_script() {
        assert!(Statement::take("SELECT 1; SELECT 2").unwrap().is_script());
        assert!(!Statement::take("SELECT 1; ").unwrap().is_script());
        assert!(
            !Statement::take(sqlx::query("SELECT ';' || $1").bind("x"))
                .unwrap()
                .is_script()
        );
    }

    #[test]
    fn what_can_commit_by_itself_is_told_from_what_can_not() {
        for (sql, may) in [
            ("CALL batch()", true),
            ("/* why */ -- and\n do $$ BEGIN END $$", true),
            ("BEGIN; INSERT INTO t VALUES (1); commit; SELECT 1", true),
            ("SELECT 1; CALL batch()", true),
            ("SELECT 'CALL'", false),
            ("doing", false),
            ("INSERT INTO t VALUES (1); INSERT INTO t VALUES (2)", false),
        ] {
            let statement = Statement::of(sqlx::AssertSqlSafe(sql)).unwrap();
            assert_eq!(statement.may_commit(), may, "{sql}");
        }
    }

    #[test]
    fn a_copy_has_the_arguments_that_the_original_gave_away() {
        let mut statement = Statement::take(sqlx::query("SELECT $1").bind(7)).unwrap();
        let mut copy = statement.clone();
        assert!(statement.take_arguments().unwrap().is_some());
        assert!(statement.take_arguments().unwrap().is_none());
        assert!(copy.take_arguments().unwrap().is_some());
    }
}
