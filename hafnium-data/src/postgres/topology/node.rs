//! What is known of one node, and how evidence changes it.

use std::sync::Arc;

use tokio::time::Instant;

/// What a server says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// It accepts writes on `timeline`; `position` is its write position in the log.
    Primary {
        timeline: u32,
        position: i64,
        read_only: bool,
    },
    /// It replays the log of another; `None` before the first record.
    Standby { replayed: Option<i64> },
}

/// One answer of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Observation {
    /// The system identifier: which cluster it belongs to.
    pub(crate) system: i64,
    /// When the server started, in microseconds: which process answered.
    pub(crate) started: i64,
    pub(crate) role: Role,
}

/// Why a probe failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) kind: FailureKind,
    /// What was seen, without secrets.
    pub(crate) reason: Arc<str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FailureKind {
    /// No connection, or the one there was ended: the server behind it is gone.
    Unreachable,
    /// Accepts connections and stays silent.
    Silent,
    /// Answers, but not now: starting up, shutting down, full.
    Busy,
    /// Refused the credentials or the database.
    Refused,
}

/// What a probe found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Evidence {
    Seen(Observation),
    /// No answer yet, later than a healthy node would be.
    Late,
    Failed(Failure),
}

/// How sure we are of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Phase {
    /// Not one probe ended yet.
    #[default]
    Unheard,
    /// Its newest probe was answered.
    Up,
    /// One failed or late probe since.
    Suspect,
    /// Two or more.
    Down,
}

#[derive(Debug, Default)]
pub(crate) struct NodeState {
    pub(crate) phase: Phase,
    /// When the newest evidence was asked for.
    pub(crate) newest: Option<Instant>,
    /// Failed logins in a row for want of the right credentials.
    pub(crate) refusals: u32,
    /// Why the node is cut at present.
    pub(crate) cut: Option<super::CutReason>,
    /// The highest timeline the node ever showed as a primary of the cluster it says it is of.
    peak: Option<u32>,
    last: Option<Observation>,
    failure: Option<Failure>,
    restarted: bool,
}

impl NodeState {
    /// Takes in evidence; false if it is older than what is known.
    pub(crate) fn take(&mut self, asked: Instant, evidence: Evidence) -> bool {
        if self.newest.is_some_and(|newest| asked < newest) {
            return false;
        }
        self.newest = Some(asked);
        self.restarted = false;
        match evidence {
            Evidence::Seen(seen) => {
                self.restarted = self.last.is_some_and(|last| last.started != seen.started);
                self.phase = Phase::Up;
                self.refusals = 0;
                self.failure = None;
                if self.last.is_some_and(|last| last.system != seen.system) {
                    self.peak = None;
                }
                self.last = Some(seen);
                self.peak = self.peak.max(self.timeline());
            }
            Evidence::Late => {
                self.failure = Some(Failure {
                    kind: FailureKind::Silent,
                    reason: "does not answer".into(),
                });
                self.strike();
            }
            Evidence::Failed(failure) => {
                self.refusals = match failure.kind {
                    FailureKind::Refused => self.refusals + 1,
                    _ => 0,
                };
                self.failure = Some(failure);
                self.strike();
            }
        }
        true
    }

    pub(crate) fn suspect(&mut self, now: Instant) {
        self.newest = Some(now);
        if self.phase == Phase::Up {
            self.phase = Phase::Suspect;
        }
    }

    fn strike(&mut self) {
        self.phase = match self.phase {
            Phase::Up => Phase::Suspect,
            Phase::Unheard | Phase::Suspect | Phase::Down => Phase::Down,
        };
    }

    /// What the server said last, however long ago.
    pub(crate) fn last(&self) -> Option<&Observation> {
        self.last.as_ref()
    }

    pub(crate) fn role(&self) -> Option<Role> {
        self.last.map(|seen| seen.role)
    }

    /// The timeline on which the node said it is primary.
    pub(crate) fn timeline(&self) -> Option<u32> {
        match self.role()? {
            Role::Primary { timeline, .. } => Some(timeline),
            Role::Standby { .. } => None,
        }
    }

    pub(crate) fn peak(&self) -> Option<u32> {
        self.peak
    }

    /// Whether the newest answer came from another process than the one before.
    pub(crate) fn restarted(&self) -> bool {
        self.restarted
    }

    /// Whether the newest failure shows that the process behind the connections is gone.
    pub(crate) fn connection_lost(&self) -> bool {
        let kind = self.failure.as_ref().map(|failure| failure.kind);
        matches!(kind, Some(FailureKind::Unreachable | FailureKind::Busy))
    }

    pub(crate) fn failure(&self) -> Option<&Failure> {
        self.failure.as_ref()
    }
}
