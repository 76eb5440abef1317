//! What is asked for and when, decided by the seed before anything runs.

use std::time::Duration;

/// What a request does; it follows from the seed and the number of the request alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One statement that writes an id.
    Insert,
    /// A transaction of two statements that write the same id into two tables.
    Transaction,
    /// A read of the newest acknowledged id, from the primary.
    PrimaryRead,
    /// A read of what this worker wrote last, from a replica.
    ReplicaRead,
}

/// How much is asked for, and how long each request may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Requests per second, whatever becomes of them.
    pub(crate) rate: u32,
    /// Requests under way at most; more wait for their turn, and their time counts.
    pub(crate) workers: usize,
    /// From the arrival of a request to its answer.
    pub(crate) deadline: Duration,
    /// Decides kinds and arrivals.
    pub(crate) seed: u64,
    /// What every write is declared as.
    pub(crate) writes: Writes,
}

/// What the caller says of a write, so that a lost reply need not stay unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writes {
    /// Nothing.
    Plain,
    /// Idempotent, and it is: a repeated id changes nothing.
    Idempotent,
    /// By `exactly_once`, the id being the key.
    ExactlyOnce,
}

impl Pace {
    /// The load of the figures: 32 workers, 500 requests/s, 5 s each.
    pub(crate) fn full(seed: u64) -> Pace {
        Pace {
            rate: 500,
            workers: 32,
            deadline: Duration::from_secs(5),
            seed,
            writes: Writes::Plain,
        }
    }

    /// The same mix on a machine that does other things too: fewer requests, and a deadline that leaves the operator his
    /// time, so that what fails did not fail for want of it.
    pub(crate) fn light(seed: u64) -> Pace {
        Pace {
            rate: 100,
            deadline: Duration::from_secs(20),
            ..Pace::full(seed)
        }
    }

    /// 50 % inserts, 20 % transactions, 20 % reads of the primary, 10 % of a replica.
    pub(crate) fn kind(&self, number: u64) -> Kind {
        match self.random(number).u32(0..100) {
            0..50 => Kind::Insert,
            50..70 => Kind::Transaction,
            70..90 => Kind::PrimaryRead,
            _ => Kind::ReplicaRead,
        }
    }

    /// When request `number` arrives, from the start of the load: somewhere within its slot.
    pub(crate) fn arrival(&self, number: u64) -> Duration {
        let mut random = self.random(number);
        random.u32(0..100);
        Duration::from_secs_f64((number as f64 + random.f64()) / f64::from(self.rate))
    }

    fn random(&self, number: u64) -> fastrand::Rng {
        // Neighbouring seeds give unlike streams only after some mixing.
        let mixed =
            (self.seed ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15)).wrapping_mul(0xD6E8_FEB8_6659_FD93);
        fastrand::Rng::with_seed(mixed)
    }
}
