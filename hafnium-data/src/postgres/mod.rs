//! Postgres: one handle per database that follows the primary, bounds every wait and names every outcome.
//!
//! There is one warm pool *per node* and one monitor per database, which probes every node on a connection of its
//! own. When another node becomes the primary its warm connections take the writes at once, and everything in flight
//! on the old one is cut: a deposed primary that thaws acknowledges nothing. See [`Postgres`].
//!
//! * `&postgres` and the views [`within`](Postgres::within), [`idempotent`](Postgres::idempotent),
//!   [`read_only`](Postgres::read_only) and [`reader`](Postgres::reader) are executors of sqlx.
//! * [`Postgres::transaction`] runs a closure, again where that is safe; [`Postgres::exactly_once`] also where it is
//!   unknown whether it took effect, which it finds out by a key.
//! * [`Postgres::reader_after`] reads what a transaction wrote from a replica that has it, told by a [`Token`].
//! * [`Postgres::acquire`] gives a session of one's own, with COPY; [`Postgres::listen`] follows the primary and tells when it
//!   was deaf; what can't be guarded is named so ([`Postgres::unguarded_pool`]).
//! * [`Postgres::consult`] takes hints from a [`TopologySource`], such as Patroni.
//! * [`classify`] tells of any [`sqlx::Error`] whether the statement happened and may be repeated.
//!
//! What plain sqlx can't do: it does not say whether a byte of a request was written, so that a connection lost during
//! a statement is *unknown* even if nothing had been sent, and it gives no access to the socket.

mod address;
mod attempts;
mod capacity;
#[cfg(target_os = "linux")]
mod carry;
mod certificates;
mod check;
mod checkouts;
mod classify;
mod client;
mod commit;
mod copy;
mod credentials;
mod dedicated;
mod doubt;
mod environment;
mod error;
mod exactly_once;
mod executor;
mod handle;
mod instruments;
mod lifecycle;
mod line;
mod listen;
mod login_thread;
mod marker;
mod migrations;
mod monitor;
mod nesting;
mod occupancy;
mod opener;
mod operation;
mod parameter;
mod pool;
mod pooled;
mod probe;
mod reads;
mod resolver;
mod retention;
mod round_trips;
mod route;
mod rows;
mod rumour;
mod savepoint;
mod scout;
mod session;
mod settings;
mod shown;
mod slow;
mod sources;
mod sqlstate;
mod statement;
mod status;
mod tenure;
mod tls;
mod token;
mod topology;
mod transaction;
mod tx;
mod unguarded;
mod url;
mod view;
mod watched;
#[cfg(target_os = "linux")]
mod wire;
mod zones;

pub use capacity::Capacity;
pub use dedicated::Dedicated;
pub use error::{Detail, Error, classify, detail};
pub use exactly_once::Done;
pub use handle::Postgres;
pub use listen::{Event, Listener, Lost};
pub use marker::MARKERS;
pub use migrations::{Migrated, MigrationError};
pub use savepoint::Savepoint;
pub use settings::{PostgresSection, PostgresSettings, ReaderFallback};
pub use sources::{Member, MemberRole, PatroniSettings, SourceError, TopologySource};
pub use status::NodeStatus;
pub use token::{PendingToken, Token, TokenError};
pub use tx::{Held, Tx};
pub use url::UrlError;
pub use view::View;
pub use watched::Watched;

#[cfg(doctest)]
#[doc = include_str!("../../../docs/guides/postgres.md")]
mod guide {}
