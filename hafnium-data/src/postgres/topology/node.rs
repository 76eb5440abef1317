//! What is known of one node, and how evidence changes it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::lineage::{Following, Lineage};

/// What a server says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// It accepts writes on `timeline`; `position` is its write position in the log.
    Primary {
        timeline: u32,
        position: i64,
        read_only: bool,
    },
    /// It replays the log of another.
    Standby {
        /// `None` before the first record.
        replayed: Option<i64>,
        follows: Option<Following>,
    },
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
    /// A writable primary at another address of the node's name than the one before.
    Moved(Observation),
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
    /// The timeline on which the operator named another primary.
    pub(crate) overruled: Option<u32>,
    /// Whether it is up and may be used.
    pub(crate) fit: bool,
    /// The highest timeline the node ever showed as a primary of the cluster it says it is of.
    peak: Option<u32>,
    last: Option<Observation>,
    /// When the last answer was there.
    answered: Option<Instant>,
    lineage: Lineage,
    failure: Option<Failure>,
    /// Since when it has not been up.
    left: Option<Instant>,
    outdated: bool,
}

/// Out of reach for longer than this, and what lies between may have forgotten the idle connections: finding that out
/// with a user's statement would leave its outcome unknown.
const ABSENCE: Duration = Duration::from_secs(1);

impl NodeState {
    /// Takes in evidence that came at `now`; false if it is older than what is known.
    pub(crate) fn take(&mut self, asked: Instant, evidence: Evidence, now: Instant) -> bool {
        if self.newest.is_some_and(|newest| asked < newest) {
            return false;
        }
        self.newest = Some(asked);
        self.outdated = false;
        match evidence {
            Evidence::Seen(seen) | Evidence::Moved(seen) => {
                let absent = self
                    .left
                    .take()
                    .is_some_and(|left| asked.saturating_duration_since(left) > ABSENCE);
                let restarted = self.last.is_some_and(|last| last.started != seen.started);
                self.outdated = absent || restarted;
                self.phase = Phase::Up;
                self.refusals = 0;
                self.failure = None;
                if self.last.is_some_and(|last| last.system != seen.system) {
                    self.peak = None;
                }
                if restarted || self.timeline().is_some() {
                    self.lineage = Lineage::default();
                }
                if let Role::Standby { follows, .. } = seen.role {
                    self.lineage.note(follows);
                }
                self.last = Some(seen);
                if self.timeline() != self.overruled {
                    self.overruled = None;
                }
                self.answered = Some(now);
                self.peak = self.peak.max(self.timeline());
            }
            Evidence::Late => {
                self.failure = Some(Failure {
                    kind: FailureKind::Silent,
                    reason: "does not answer".into(),
                });
                self.strike(asked);
            }
            Evidence::Failed(failure) => {
                self.refusals = match failure.kind {
                    FailureKind::Refused => self.refusals + 1,
                    _ => 0,
                };
                self.failure = Some(failure);
                self.strike(asked);
            }
        }
        true
    }

    pub(crate) fn suspect(&mut self, now: Instant) {
        self.newest = Some(now);
        if self.phase == Phase::Up {
            self.strike(now);
        }
    }

    fn strike(&mut self, asked: Instant) {
        self.left.get_or_insert(asked);
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

    /// How far it has replayed, as a standby.
    fn replayed(&self) -> Option<i64> {
        match self.role()? {
            Role::Standby { replayed, .. } => replayed,
            Role::Primary { .. } => None,
        }
    }

    /// The primary of `timeline`, asked at `asked`, had got to `end`.
    pub(crate) fn compare(&mut self, timeline: u32, end: i64, asked: Instant) {
        let before = self.answered.is_some_and(|answered| answered <= asked);
        if let Some(replayed) = self.replayed().filter(|_| before) {
            self.lineage.compare(replayed, timeline, end);
        }
    }

    /// Whether it is a standby that is known to have left the history of the primary on `timeline`, which was at
    /// `began` when it was seen first.
    pub(crate) fn diverged(&self, timeline: u32, began: i64) -> bool {
        self.replayed()
            .is_some_and(|replayed| self.lineage.diverged(replayed, timeline, began))
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

    /// Whether the newest answer shows that the connections from before are of no use: another process answered, or
    /// the node had been out of reach for long.
    pub(crate) fn connections_outdated(&self) -> bool {
        self.outdated
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
