//! The handle of one database.

use std::error::Error as StdError;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hafnium_core::health::{Check, Registration, Status};
use hafnium_core::metrics::Metrics;
use hafnium_core::tasks::Tasks;
use hafnium_core::{Context, StartError};
use sqlx::ConnectOptions;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::address::Address;
use super::check::{check, name_servers, named};
use super::client::{Client, Nodes};
use super::credentials::Credentials;
use super::exactly_once::Done;
use super::instruments::{Instruments, NodeInstruments, SplitInstruments};
use super::monitor::Monitor;
use super::occupancy::Occupancy;
use super::opener::Opener;
use super::pool::Node;
use super::pooled::Opening;
use super::probe::{Door, Probe};
use super::reads::Reads;
use super::resolver::Resolver;
use super::retention::Retention;
use super::route::Destination;
use super::settings::PostgresSettings;
use super::slow::SlowStatements;
use super::sources::Patroni;
use super::status::NodeStatus;
use super::tenure::Tenure;
use super::token::Token;
use super::topology::{NoWriter, NodeId, Split};
use super::tx::Tx;
use super::url::{Target, milliseconds};
use super::view::View;
use super::zones::Zones;

/// One database of several nodes: writes go to whichever is the primary, without a restart and without a login.
///
/// `Clone + Send + Sync`; clones share everything, and so do views, which outlive the handle they were made from. `&Postgres` is an [`sqlx::Executor`], so that sqlx's macros and
/// builders work unchanged:
///
/// ```no_run
/// use hafnium_core::Context;
/// use hafnium_core::secret::Secret;
/// use hafnium_data::postgres::{Postgres, PostgresSettings};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let settings = PostgresSettings::new(Secret::new("postgres://app:secret@a:5432,b:5432,c:5432/ledger"));
/// let ledger = Postgres::connect(settings, &Context::standalone()).await?;
///
/// let balance: i64 = sqlx::query_scalar("SELECT balance FROM accounts WHERE id = $1")
///     .bind(7)
///     .fetch_one(&ledger.reader())
///     .await?;
///
/// ledger
///     .transaction(async |mut tx| -> Result<(), sqlx::Error> {
///         sqlx::query("UPDATE accounts SET balance = balance - 1 WHERE id = 7").execute(&mut *tx).await?;
///         sqlx::query("UPDATE accounts SET balance = balance + 1 WHERE id = 8").execute(&mut *tx).await?;
///         Ok(())
///     })
///     .await?;
/// # let _ = balance;
/// # Ok(())
/// # }
/// ```
///
/// Every operation ends by the nearest of [`within`](Self::within), the deadline of the request or record that the
/// task serves, and `timeout` of the settings; waiting for a primary, for a connection and for retries is included.
/// An operation whose future is dropped closes its connection, and the server undoes what was not committed.
///
/// Statements that begin or end a transaction are refused on a handle; use [`transaction`](Self::transaction).
///
/// `target_session_attrs` of the URL says where operations go: `read-write` (the default) and `primary` to the primary,
/// `any` to it or, without one, to any node that answers, `standby` and `read-only` to a standby, `prefer-standby` to a
/// standby or else the primary. Outside environment `dev` the URL must not leave TLS out: `sslmode` is `verify-full`
/// unless it says otherwise.
#[derive(Clone)]
pub struct Postgres {
    pub(crate) shared: Arc<Shared>,
}

/// What the copies of a handle share.
pub(crate) struct Shared {
    pub(crate) component: String,
    pub(crate) settings: PostgresSettings,
    pub(crate) view: View,
    pub(crate) probes: Mutex<Option<Vec<Probe>>>,
    pub(crate) patroni: Mutex<Option<Patroni>>,
    pub(crate) database: String,
    pub(crate) metrics: Metrics,
    /// A panic of a prober ends the service.
    pub(crate) tasks: Tasks,
}

/// Held by handles, their views and dedicated connections: without the monitor none of them would learn that its node is
/// deposed. Dropping the last one stops the monitor.
pub(crate) struct Watching {
    stop: CancellationToken,
    _check: Registration,
    _shown: hafnium_core::topology::Registration,
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl std::fmt::Debug for Postgres {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Postgres")
            .field("component", &self.shared.component)
            .finish_non_exhaustive()
    }
}

impl Postgres {
    /// The handle of the database `name`, as a component `postgres.<name>`. Nothing is connected before
    /// [`Component::start`](hafnium_core::Component::start); the files of certificates that the URL names are read.
    ///
    /// Registers the shared health check `postgres.<name>`: "can this process reach a primary", or what else the URL
    /// asks for by `target_session_attrs`.
    ///
    /// # Errors
    /// [`StartError::Configuration`] when the settings can't work.
    pub fn new(name: &str, settings: PostgresSettings, cx: &Context) -> Result<Self, StartError> {
        let component = format!("postgres.{name}");
        let wrong = |reason: &dyn ToString| StartError::configuration(&component, reason.to_string());
        let environment = cx.config().current().environment();
        let target = Target::parse(settings.url.current().expose())
            .and_then(|target| target.settled(environment))
            .map_err(|error| wrong(&error))?;
        check(&settings, &target).map_err(|reason| wrong(&reason))?;
        let named = named(&settings, &target).map_err(|reason| wrong(&reason))?;
        let zones = (cx.config().current().place().zone, settings.zones.clone());
        let zones = Zones::new(zones.0, zones.1, target.hosts.len()).map_err(|reason| wrong(&reason))?;
        let patroni = Patroni::new(&component, &settings.patroni).map_err(|reason| wrong(&reason))?;
        let credentials = Credentials::new(&component, &settings, cx.metrics(), name);
        let credentials = Arc::new(credentials.map_err(|reason| wrong(&reason))?);

        let application = target
            .application_name
            .clone()
            .or_else(|| settings.application_name.clone())
            .or_else(|| target.fallback_application_name.clone())
            .unwrap_or_else(|| format!("{}/{}", cx.service().name, cx.service().instance));
        let limits = [
            (
                "statement_timeout",
                milliseconds(settings.server_limit(settings.statement_timeout)),
            ),
            (
                "idle_in_transaction_session_timeout",
                milliseconds(settings.server_limit(settings.idle_in_transaction_timeout)),
            ),
        ];
        let (opening, limits) = match settings.prepared_statements {
            true => (Opening::plain(), &limits[..]),
            false => (Opening::pooled(&limits), &[][..]),
        };
        let budget = target.connect_timeout.unwrap_or(settings.connect_timeout.get());
        let max = settings.max as usize;
        let tracker = TaskTracker::new();
        let servers = name_servers(&settings).map_err(|reason| wrong(&reason))?;
        let resolver = Arc::new(Resolver::new(servers, tracker.clone()));
        let (mut nodes, mut probes, mut instruments) = (Vec::new(), Vec::new(), Vec::new());
        for (index, host) in target.hosts.iter().enumerate() {
            let mut options = target
                .connect_options(host, limits)
                .application_name(&application)
                // It would log texts with their values; slow ones are told of in `slow`.
                .disable_statement_logging();
            if !settings.prepared_statements {
                // Names do not last, so that none is remembered.
                options = options.statement_cache_capacity(0);
            }
            let label = host.to_string();
            let tenure = Arc::new(Tenure::default());
            let measured = NodeInstruments::new(cx.metrics(), name, &label);
            let occupancy = Occupancy::new(cx.metrics(), name, &label, max);
            let id = NodeId(index);
            let files = target.files(host);
            files.check().map_err(|error| wrong(&error))?;
            let address = Arc::new(Address::new(host, &resolver).reading(files));
            let door = Arc::new(Door {
                node: id,
                options,
                credentials: credentials.clone(),
                address,
                found: Mutex::default(),
            });
            let opener = Opener::new(door.clone(), budget, tenure.clone(), occupancy, tracker.clone());
            let node = Node::new(id, label, opener.bounded(max), tenure, max);
            nodes.push(Arc::new(
                node.map_err(|error| StartError::failed(&component, error))?,
            ));
            probes.push(Probe::new(door));
            instruments.push(measured);
        }
        let warm = settings.warm.min(settings.max) as usize;
        let monitor = Monitor::new(
            nodes,
            instruments,
            SplitInstruments::new(cx.metrics(), name),
            named.map(NodeId),
            warm,
            settings.max_lag.get(),
            target.attrs,
        );
        let monitor = Arc::new(monitor.placed(zones));
        let sought = target.attrs.destination();
        let check = register(&component, &monitor, &credentials, sought, cx);
        let shown = super::shown::register(&component, &monitor, &credentials, cx.topology());
        let nodes = Nodes {
            monitor,
            credentials,
            reads: Reads {
                rw_wait: settings.rw_wait.get(),
                fallback: settings.reader_fallback,
            },
            sought,
            balance: target.balance,
        };
        let client = Client::new(
            nodes,
            Instruments::new(cx.metrics(), name),
            SlowStatements::new(&component, &settings, &tracker),
            settings.timeout.get(),
            opening,
            Retention::new(&component, settings.marker_retention.get(), cx.tasks()),
            tracker,
        );
        let watching = Watching {
            stop: client.stop.clone(),
            _check: check,
            _shown: shown,
        };
        Ok(Self {
            shared: Arc::new(Shared {
                component,
                settings,
                view: View::new(Arc::new(client)).watching(watching),
                probes: Mutex::new(Some(probes)),
                patroni: Mutex::new(patroni),
                database: name.to_owned(),
                metrics: cx.metrics().clone(),
                tasks: cx.tasks().clone(),
            }),
        })
    }

    /// A started handle named `default`, for use without a service around it.
    ///
    /// # Errors
    /// As [`Postgres::new`] and [`Component::start`](hafnium_core::Component::start).
    pub async fn connect(settings: PostgresSettings, cx: &Context) -> Result<Self, StartError> {
        let timeout = settings.timeout.get();
        let postgres = Self::new("default", settings, cx)?;
        postgres.open(timeout).await?;
        Ok(postgres)
    }

    /// A view whose operations end within `limit`; a nearer deadline stays in force.
    pub fn within(&self, limit: Duration) -> View {
        self.view().within(limit)
    }

    /// A view whose operations may be run twice without harm, so that they are also repeated when it is unknown
    /// whether they took effect.
    pub fn idempotent(&self) -> View {
        self.view().idempotent()
    }

    /// A view that only reads, from the primary. Its transactions are `READ ONLY`.
    pub fn read_only(&self) -> View {
        self.view().read_only()
    }

    /// A view that reads from a replica at most `max_lag` behind, else from the primary; see [`View::reader`].
    pub fn reader(&self) -> View {
        self.view().reader()
    }

    /// A view that reads what the transaction of `token` wrote, from a replica that has it or soon will, else from the
    /// primary; see [`View::reader_after`] and [`Tx::token`].
    pub fn reader_after(&self, token: Token) -> View {
        self.view().reader_after(token)
    }

    /// Runs `body` in a transaction on the primary and commits when it returns `Ok`.
    ///
    /// The closure is run again as a whole, with jitter and within the deadline, when its transaction certainly did
    /// not take effect and may succeed the next time: a lost connection or a cut node before COMMIT was sent, a
    /// serialization failure (40001), a deadlock (40P01), a node that is no longer the primary. Keep effects outside
    /// the database out of it. The tasks' deadline within the closure is that of the transaction.
    ///
    /// It is rolled back when the closure returns an error or panics, when this future is dropped, and when a
    /// statement failed although the closure returned `Ok` (then the error is
    /// [`Detail::Aborted`](super::Detail::Aborted)).
    ///
    /// `E` is an error type that is made from [`sqlx::Error`] and shows it as itself or through its sources: that is
    /// how a serialization failure is told from a refusal of your own.
    ///
    /// # Errors
    /// Those of the closure and of the database. When the reply to COMMIT did not come,
    /// [`Detail::CommitUnknown`](super::Detail::CommitUnknown): the transaction may have taken effect.
    ///
    /// Cancel-safety: dropping the future before COMMIT was sent rolls back; after that the outcome is unknown.
    pub async fn transaction<T, E, F, Fut>(&self, body: F) -> Result<T, E>
    where
        F: FnMut(Tx) -> Fut + Send,
        Fut: Future<Output = Result<T, E>> + Send,
        E: From<sqlx::Error> + StdError + 'static,
    {
        self.view().transaction(body).await
    }

    /// As [`transaction`](Self::transaction), with an effect that takes place once per `key`, however often and by
    /// however many processes it is called: an idempotency key of a request, the id of a record.
    ///
    /// ```no_run
    /// # use hafnium_data::postgres::{Done, Postgres};
    /// # async fn example(ledger: &Postgres) -> Result<(), sqlx::Error> {
    /// let done = ledger
    ///     .exactly_once("payments/42", async |mut tx| -> Result<i64, sqlx::Error> {
    ///         sqlx::query_scalar("UPDATE accounts SET balance = balance - 1 WHERE id = 7 RETURNING balance")
    ///             .fetch_one(&mut *tx)
    ///             .await
    ///     })
    ///     .await?;
    /// match done {
    ///     Done::Now(balance) => println!("paid, {balance} left"),
    ///     Done::Before => println!("had been paid"),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// A marker of the key is written in the same transaction, to a table that a migration of yours makes from
    /// [`MARKERS`](super::MARKERS). When the reply to COMMIT does not come, what became of it is looked up on the
    /// primary, also a new one, within the deadline: the answer is success if it took effect, and the closure runs
    /// again if it certainly did not. The first of several calls at once runs, the others wait for its end.
    ///
    /// Keys are shared by all users of the table and remembered for `marker_retention` (default a week): begin them with
    /// what they are keys of. The marker is the first statement of the transaction, so that the closure can't change its
    /// isolation level; `options` of the URL can. What the first call returned is not kept; write what a later call must answer into a table
    /// of your own, in the closure.
    ///
    /// # Errors
    /// Those of [`transaction`](Self::transaction), [`Detail::MarkerKey`](super::Detail::MarkerKey) for a key that is
    /// empty, longer than 255 bytes or holds a zero byte, and
    /// [`Detail::MarkersMissing`](super::Detail::MarkersMissing) without the table.
    /// [`Detail::CommitUnknown`](super::Detail::CommitUnknown) is left for when the deadline comes before the doubt is
    /// resolved; calling again with the same key resolves it.
    ///
    /// Cancel-safety: dropping the future at any time is safe in this sense: a later call with the same key finds out.
    pub async fn exactly_once<T, E, F, Fut>(&self, key: &str, body: F) -> Result<Done<T>, E>
    where
        T: Send,
        F: FnMut(Tx) -> Fut + Send,
        Fut: Future<Output = Result<T, E>> + Send,
        E: From<sqlx::Error> + StdError + 'static,
    {
        self.view().exactly_once(key, body).await
    }

    /// What is known of each node, in the order of the URL.
    pub fn nodes(&self) -> Vec<NodeStatus> {
        self.client().monitor.statuses()
    }

    pub(crate) fn view(&self) -> &View {
        &self.shared.view
    }

    pub(crate) fn client(&self) -> &Arc<Client> {
        &self.shared.view.client
    }
}

/// Answered from the monitor's memory; holds nothing that would keep the handle alive.
fn register(
    component: &str,
    monitor: &Monitor,
    credentials: &Arc<Credentials>,
    sought: Destination,
    cx: &Context,
) -> Registration {
    let snapshots = monitor.watch();
    let credentials = credentials.clone();
    cx.health().register(Check::shared(component), move || {
        let snapshot = snapshots.borrow().clone();
        let met = sought.is_met(&snapshot);
        let status = match (snapshot.writer, credentials.trouble()) {
            (_, Some(trouble)) if met => Status::Degraded(trouble),
            (Ok(_), None) if met && snapshot.split == Split::Decided => {
                Status::Degraded(format!("{}: split_brain_primary decides", NoWriter::SplitBrain))
            }
            (_, None) if met => Status::Up,
            (Err(reason), _) if sought == Destination::Writer => Status::Down(reason.to_string()),
            _ => Status::Down(format!("no {} is reachable", sought.wanted())),
        };
        async move { status }
    })
}
