//! What a SQLSTATE means for the statement that got it: the one table that retries, metrics and errors read.
//!
//! Pure. Facts are PostgreSQL's documented error codes; rows marked *measured* were seen with PostgreSQL 15.

use hafnium_core::{Fault, Outcome};

/// Where in its life an operation was when the error came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// A statement on its own or inside a transaction, before COMMIT was sent.
    Statement,
    /// COMMIT was sent and its reply is the error.
    Commit,
}

/// What to do with the connection and its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Consequence {
    /// The connection can be used again.
    Keep,
    /// The connection is of no more use.
    Discard,
    /// The connection is of no more use and its node should be probed at once.
    Suspect,
    /// The connection is of no more use. One alone may have been ended by an operator; several of a node mean that the
    /// node is going.
    Hint,
    /// The connection holds prepared statements that the server does not know as they are; without them it is as new.
    Forget,
}

/// The answer of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) outcome: Outcome,
    /// Whether the same statement may succeed when it is repeated.
    pub(crate) transient: bool,
    /// Whether a second one in a row shows that repeating does not help.
    pub(crate) once: bool,
    pub(crate) consequence: Consequence,
    pub(crate) fault: Fault,
    pub(crate) code: &'static str,
}

struct Row {
    /// A whole SQLSTATE, or its first two characters for the rest of a class.
    state: &'static str,
    code: &'static str,
    outcome: Outcome,
    at_commit: Outcome,
    transient: bool,
    once: bool,
    consequence: Consequence,
    fault: Fault,
}

macro_rules! rows {
    ($($state:tt: $outcome:ident / $at_commit:ident, $transient:ident, $consequence:ident, $fault:ident;)*) => {
        &[$(Row {
            state: $state,
            code: rows!(@code $state),
            outcome: Outcome::$outcome,
            at_commit: Outcome::$at_commit,
            transient: rows!(@ $transient) || rows!(@once $transient),
            once: rows!(@once $transient),
            consequence: Consequence::$consequence,
            fault: Fault::$fault,
        },)*]
    };
    // A statement that was cancelled is shown to callers as one that took too long.
    (@code "57014") => { "postgres.57014.deadline_exceeded" };
    (@code $state:tt) => { concat!("postgres.", $state) };
    (@ transient) => { true };
    (@ $else:ident) => { false };
    (@once once) => { true };
    (@once $else:ident) => { false };
}

/// Sorted by state within each block; whole states are looked up before classes.
const TABLE: &[Row] = rows! {
    // connection exceptions: as a lost connection
    "08000": Unknown / Unknown, transient, Suspect, Dependency;
    "08001": NotRun / NotRun, transient, Suspect, Dependency;
    "08003": Unknown / Unknown, transient, Suspect, Dependency;
    "08004": NotRun / NotRun, transient, Suspect, Dependency;
    "08006": Unknown / Unknown, transient, Suspect, Dependency;
    "08007": Unknown / Unknown, transient, Discard, Dependency;
    "08P01": Unknown / Unknown, once, Discard, Dependency;
    // transactions
    "25006": NotRun / RolledBack, transient, Suspect, Dependency;
    // in reply to COMMIT the transaction stays open until a ROLLBACK (measured)
    "25P02": NotRun / RolledBack, lasting, Keep, Service;
    "25P03": RolledBack / RolledBack, lasting, Discard, Service;
    "25P04": RolledBack / RolledBack, lasting, Discard, Service;
    "40001": RolledBack / RolledBack, transient, Keep, Dependency;
    "40003": Unknown / Unknown, transient, Discard, Dependency;
    "40P01": RolledBack / RolledBack, transient, Keep, Dependency;
    // credentials: never a reason to suspect a node
    "28000": NotRun / NotRun, lasting, Discard, Service;
    "28P01": NotRun / NotRun, lasting, Discard, Service;
    "3D000": NotRun / NotRun, lasting, Discard, Service;
    // a prepared statement of this connection is stale; of 0A000 only what the module `error` lets through
    "0A000": NotRun / RolledBack, once, Forget, Service;
    "26000": NotRun / RolledBack, once, Forget, Service;
    "42P05": NotRun / RolledBack, once, Forget, Service;
    // resources
    "53100": RolledBack / RolledBack, lasting, Keep, Dependency;
    "53200": RolledBack / RolledBack, lasting, Keep, Dependency;
    "53300": NotRun / NotRun, transient, Discard, Capacity;
    // in reply to a login as 53300; in reply to a statement a limit of its own, such as temp_file_limit (measured)
    "53400": RolledBack / RolledBack, lasting, Keep, Capacity;
    "55P03": RolledBack / RolledBack, lasting, Keep, Dependency;
    // a cancel while COMMIT waits for synchronous replication is a success with a warning (measured)
    "57014": RolledBack / RolledBack, lasting, Keep, Dependency;
    "57P01": RolledBack / Unknown, transient, Hint, Dependency;
    "57P02": RolledBack / Unknown, transient, Suspect, Dependency;
    "57P03": NotRun / NotRun, transient, Suspect, Dependency;
    "57P04": RolledBack / RolledBack, lasting, Discard, Dependency;
    "57P05": NotRun / NotRun, transient, Discard, Dependency;
    "58000": RolledBack / RolledBack, lasting, Keep, Dependency;
    "58030": RolledBack / Unknown, lasting, Discard, Dependency;
    "XX000": RolledBack / Unknown, lasting, Keep, Dependency;
    "XX001": RolledBack / Unknown, lasting, Keep, Dependency;
    "XX002": RolledBack / Unknown, lasting, Keep, Dependency;
    // what callers look for most
    "23502": RolledBack / RolledBack, lasting, Keep, Caller;
    "23503": RolledBack / RolledBack, lasting, Keep, Caller;
    "23505": RolledBack / RolledBack, lasting, Keep, Caller;
    "23514": RolledBack / RolledBack, lasting, Keep, Caller;
    // the rest of a class
    "22": RolledBack / RolledBack, lasting, Keep, Caller;
    "23": RolledBack / RolledBack, lasting, Keep, Caller;
    "42": RolledBack / RolledBack, lasting, Keep, Service;
    "F0": RolledBack / RolledBack, lasting, Keep, Dependency;
    "P0": RolledBack / RolledBack, lasting, Keep, Caller;
};

impl Verdict {
    /// Whether a retry at once would most likely meet the same rival again.
    pub(crate) fn is_conflict(&self) -> bool {
        matches!(self.code, "postgres.40001" | "postgres.40P01")
    }

    /// Whether the server has no room for another connection. It is as well as it can be.
    pub(crate) fn is_full(&self) -> bool {
        matches!(self.code, "postgres.53300" | "postgres.53400")
    }

    /// Whether the server said that it only reads: 25006, or what amounts to it.
    pub(crate) fn refuses_writes(&self) -> bool {
        self.code == "postgres.25006"
    }

    /// The same for a statement that was sent to where nothing can be written: the answer is right, says nothing of
    /// the node, and is the same everywhere.
    pub(crate) fn by_rights(self) -> Self {
        Self {
            transient: false,
            consequence: Consequence::Keep,
            fault: Fault::Caller,
            ..self
        }
    }

    /// The same of a primary that is known to be read-only by setting: nothing is wrong with it, and no failover will
    /// change it.
    pub(crate) fn by_setting(self) -> Self {
        Self {
            transient: false,
            consequence: Consequence::Keep,
            ..self
        }
    }
}

/// What `state` means at `stage`. A state that is not in the table was an error of the statement, so that it was
/// undone; in reply to a COMMIT nothing is assumed.
pub(crate) fn verdict(state: &str, stage: Stage) -> Verdict {
    let row = TABLE.iter().find(|row| row.state == state).or_else(|| {
        TABLE
            .iter()
            .find(|row| row.state.len() == 2 && state.starts_with(row.state))
    });
    match (row, stage) {
        (Some(row), stage) => Verdict {
            outcome: if stage == Stage::Commit {
                row.at_commit
            } else {
                row.outcome
            },
            transient: row.transient,
            once: row.once,
            consequence: row.consequence,
            fault: row.fault,
            code: row.code,
        },
        (None, Stage::Statement) => Verdict {
            outcome: Outcome::RolledBack,
            transient: false,
            once: false,
            consequence: Consequence::Keep,
            fault: Fault::Service,
            code: "postgres.other",
        },
        (None, Stage::Commit) => Verdict {
            outcome: Outcome::Unknown,
            transient: false,
            once: false,
            consequence: Consequence::Discard,
            fault: Fault::Dependency,
            code: "postgres.other",
        },
    }
}

/// Whether a login that ended with `state` can't succeed before someone changes something: a wrong password, a
/// missing role or database.
pub(crate) fn refuses_login(state: &str) -> bool {
    matches!(state, "28000" | "28P01" | "3D000" | "42501")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcomes(state: &str) -> (Outcome, Outcome) {
        (
            verdict(state, Stage::Statement).outcome,
            verdict(state, Stage::Commit).outcome,
        )
    }

    #[test]
    fn each_state_is_listed_once() {
        for (index, row) in TABLE.iter().enumerate() {
            assert!(
                TABLE[..index].iter().all(|other| other.state != row.state),
                "{}",
                row.state
            );
        }
    }

    #[test]
    fn the_page_of_outcomes_has_every_state() {
        let page = include_str!("../../../docs/postgres-outcomes.md");
        let shown = |cell: String| page.contains(&format!("\n| {cell} |"));
        let states = TABLE.iter().map(|row| row.state);
        let missing: Vec<_> = states
            .filter(|state| !refuses_login(state))
            .filter(|state| {
                let class = &state[..2];
                let cells = [
                    (*state).to_owned(),
                    format!("class {class}"),
                    format!("{class}xxx"),
                ];
                !cells.into_iter().any(shown)
            })
            .collect();
        assert!(missing.is_empty(), "{missing:?}");
    }

    #[test]
    fn a_failover_never_leaves_a_plain_statement_unknown_when_the_server_answered() {
        for state in ["57P01", "57P02", "57P03", "25006", "53300"] {
            let verdict = verdict(state, Stage::Statement);
            assert_ne!(verdict.outcome, Outcome::Unknown, "{state}");
            assert!(verdict.transient, "{state}");
        }
    }

    #[test]
    fn a_commit_answered_by_the_end_of_the_server_is_unknown() {
        assert_eq!(outcomes("57P01"), (Outcome::RolledBack, Outcome::Unknown));
        assert_eq!(outcomes("58030"), (Outcome::RolledBack, Outcome::Unknown));
        assert_eq!(outcomes("99999"), (Outcome::RolledBack, Outcome::Unknown));
    }

    #[test]
    fn conflicts_are_undone_and_worth_repeating_also_at_commit() {
        for state in ["40001", "40P01"] {
            assert_eq!(outcomes(state), (Outcome::RolledBack, Outcome::RolledBack));
            assert!(verdict(state, Stage::Commit).transient);
            assert_eq!(verdict(state, Stage::Statement).consequence, Consequence::Keep);
        }
    }

    #[test]
    fn the_callers_own_mistakes_never_count_against_the_node() {
        for state in ["22012", "23505", "23P01", "42P01", "42601", "P0001"] {
            let verdict = verdict(state, Stage::Statement);
            assert_eq!(verdict.consequence, Consequence::Keep, "{state}");
            assert!(!verdict.transient, "{state}");
            assert_ne!(verdict.fault, Fault::Dependency, "{state}");
        }
    }

    #[test]
    fn a_write_refused_by_rights_is_the_callers_and_is_not_repeated() {
        let verdict = verdict("25006", Stage::Statement);
        assert!(verdict.refuses_writes());
        let by_rights = verdict.by_rights();
        assert_eq!(by_rights.consequence, Consequence::Keep);
        assert!(!by_rights.transient);
        assert_eq!(
            (by_rights.outcome, by_rights.code),
            (verdict.outcome, verdict.code)
        );
    }

    #[test]
    fn codes_are_stable_names_with_the_state_or_its_class() {
        assert_eq!(verdict("57P01", Stage::Statement).code, "postgres.57P01");
        assert_eq!(verdict("22P02", Stage::Statement).code, "postgres.22");
        assert_eq!(verdict("ZZ123", Stage::Statement).code, "postgres.other");
    }

    #[test]
    fn a_wrong_password_is_not_worth_repeating_and_suspects_no_node() {
        let verdict = verdict("28P01", Stage::Statement);
        assert!(!verdict.transient && refuses_login("28P01"));
        assert_ne!(verdict.consequence, Consequence::Suspect);
    }
}
