//! Looking for the primary at other addresses of a node's name.
//!
//! A name that moves is a node that moves (RDS Multi-AZ, an Aurora cluster endpoint, a Patroni service): the storage or
//! the service fails over in place, and only the current address of the name tells. It is asked for whenever the last
//! answer is out of date, not only when something is suspect, because the old address may go on answering. Nothing is
//! given up before a writable primary answered at the new address.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::address::Spot;
use super::probe::{Door, Found, look_at};

/// Between two questions about the name of a node that is well, at least.
const CALM: Duration = Duration::from_millis(500);
/// Between two tries at a new address: the shortest, and the longest when the name has left the old one.
const EAGER: Duration = Duration::from_millis(5);
const PATIENT: Duration = Duration::from_millis(50);
/// The longest pauses when the name keeps its address, but has others where a primary may be: at first, and when there
/// has been none for long.
const AMONG: Duration = Duration::from_millis(200);
const IDLE: Duration = Duration::from_secs(10);
const LONG: Duration = Duration::from_secs(30);

/// Returns when a writable primary answers at an address of the name that is not the node's present one.
///
/// Cancel-safe.
pub(super) async fn primary_elsewhere(door: Arc<Door>) -> Found {
    let address = &door.address;
    let mut settled = address.settled();
    let mut tries = Tries::default();
    let mut trouble = Instant::now();
    loop {
        let well = *settled.borrow_and_update();
        let until = match address.spots().await {
            Ok(spots) => {
                let Some(until) = spots.until else {
                    // Not a name: it never moves.
                    return std::future::pending().await;
                };
                let others = others(&spots.all, address.current(), well);
                if others.is_empty() {
                    tries = Tries::default();
                    until
                } else {
                    match look_at(&door, &others).await {
                        Ok(found) if found.is_writable_primary() => return found,
                        _ => {
                            let left = address.current().is_some_and(|at| !spots.all.contains(&at));
                            let longest = match trouble.elapsed() {
                                _ if left => PATIENT,
                                lasting if lasting < LONG => AMONG,
                                _ => IDLE,
                            };
                            Instant::now() + tries.pause(others, longest)
                        }
                    }
                }
            }
            Err(_) => Instant::now() + EAGER,
        };
        let until = if well {
            until.max(Instant::now() + CALM)
        } else {
            until
        };
        tokio::select! {
            () = tokio::time::sleep_until(until) => {}
            // The sender lives in `address`.
            _ = settled.changed() => trouble = Instant::now(),
        }
    }
}

/// Where to look: nowhere for a node that is well where its name says it is, or that was never found at all, because
/// then the probe itself looks everywhere.
fn others(all: &[Spot], current: Option<Spot>, well: bool) -> Vec<Spot> {
    match current {
        None => Vec::new(),
        Some(current) if well && all.contains(&current) => Vec::new(),
        Some(current) => all.iter().copied().filter(|spot| *spot != current).collect(),
    }
}

/// How long to wait after tries that failed: longer each time, from the start when the addresses change.
#[derive(Default)]
struct Tries {
    at: Vec<Spot>,
    last: Duration,
}

impl Tries {
    fn pause(&mut self, at: Vec<Spot>, longest: Duration) -> Duration {
        self.last = if self.at == at { self.last * 2 } else { EAGER };
        self.at = at;
        self.last = self.last.clamp(EAGER, longest);
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spot(last: u8) -> Spot {
        Spot::At([127, 0, 0, last].into())
    }

    #[test]
    fn a_node_that_is_well_where_its_name_says_is_looked_for_nowhere_else() {
        let all = [spot(1), spot(2)];
        assert!(others(&all, Some(spot(1)), true).is_empty());
        assert!(others(&all, None, false).is_empty());
        assert_eq!(others(&all, Some(spot(1)), false), [spot(2)]);
        assert_eq!(others(&all, Some(spot(3)), true), all, "the name left it");
    }

    #[test]
    fn tries_become_rarer_until_the_addresses_change() {
        let mut tries = Tries::default();
        let pauses: Vec<_> = (0..5).map(|_| tries.pause(vec![spot(1)], PATIENT)).collect();
        assert_eq!(pauses, [5, 10, 20, 40, 50].map(Duration::from_millis));
        assert_eq!(tries.pause(vec![spot(2)], PATIENT), EAGER);
    }
}
