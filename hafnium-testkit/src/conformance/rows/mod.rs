//! The cases, one file each.

mod exit_codes;
mod flush;
mod life;
mod loss;
mod probes;
mod reload;
mod rotation;
mod second_signal;
mod sigterm;
mod start;

pub(super) use exit_codes::exit_codes;
pub(super) use flush::flush;
pub(super) use life::life;
pub(super) use second_signal::second_signal;

use std::net::{Ipv4Addr, SocketAddr};

use super::Conformance;
use super::subject::Subject;
use crate::load::{Kind, Load, Pace, Tally};

/// A load of that kind on the service's first route.
fn load(kit: &Conformance<'_>, subject: &Subject, kind: Kind) -> Load {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, subject.port));
    Load::start(kind, address, Pace::of(2).path(kit.path()))
}

/// What failed of a load; one that never got going proves nothing.
fn failures(tally: &Tally) -> Vec<String> {
    let mut wrong: Vec<String> = tally
        .failed
        .iter()
        .map(|failed| format!("{}: {}", failed.phase, failed.reason))
        .collect();
    let idle = tally.phases.iter().filter(|phase| phase.sent == 0);
    wrong.extend(idle.map(|phase| format!("no request was sent in the phase {:?}", phase.name)));
    wrong
}
