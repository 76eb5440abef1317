//! The cluster: its nodes, how they are reached, who is primary.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use tokio_postgres::Config;

use super::builder::{Builder, Synchronous};
use super::node::Node;
use super::session::Session;
use super::settings::SUPERUSER;
use crate::Error;
use crate::process::{Keeper, ProcessId, ProcessState};

/// A primary and its streaming standbys. Dropping it kills them all and removes their data.
///
/// ```no_run
/// # async fn test() -> Result<(), hafnium_testkit::Error> {
/// use hafnium_testkit::postgres::{PostgresCluster, Synchronous};
///
/// let cluster = PostgresCluster::builder().standbys(2).synchronous(Synchronous::AnyOne).start().await?;
/// let url = cluster.create_database("ledger").await?;
/// // .. a client under test writes through `url` ..
/// println!("{}", cluster.kill9(cluster.primary()).await?);
/// println!("{}", cluster.promote_best().await?);
/// # Ok(()) }
/// ```
///
/// Methods take `&self`, so one cluster can be shared by the tests of a binary, each with a database of its own
/// ([`create_database`](Self::create_database)). A static is never dropped; the end of the process ends its servers.
pub struct PostgresCluster {
    pub(super) nodes: Vec<Node>,
    pub(super) keeper: Keeper,
    pub(super) synchronous: Synchronous,
    pub(super) superuser_password: String,
    pub(super) app: RwLock<Credential>,
    pub(super) primary: AtomicUsize,
}

/// The application's role.
#[derive(Clone)]
pub(super) struct Credential {
    pub(super) user: String,
    pub(super) password: String,
}

/// How long the harness waits for a login of its own.
pub(super) const LOGIN: Duration = Duration::from_secs(5);

impl PostgresCluster {
    /// Describes a cluster: a primary and two standbys, asynchronous, unless said otherwise.
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// A single server, without standbys: what most tests need.
    ///
    /// # Errors
    /// As [`Builder::start`].
    pub async fn single() -> Result<PostgresCluster, Error> {
        Builder::new().standbys(0).start().await
    }

    /// Number of nodes, running or not.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Never true: a cluster has a primary.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The node that was last made primary by this harness.
    pub fn primary(&self) -> usize {
        self.primary.load(Ordering::SeqCst)
    }

    /// All nodes but the primary.
    pub fn standbys(&self) -> Vec<usize> {
        (0..self.len()).filter(|node| *node != self.primary()).collect()
    }

    /// The node's name: `n1`, `n2`, .. as in `cluster_name`, `application_name` of its replication and in proofs.
    pub fn name(&self, node: usize) -> &str {
        &self.nodes[node].name
    }

    /// Always the loopback address.
    pub fn host(&self, _node: usize) -> &'static str {
        "127.0.0.1"
    }

    /// The node's port; it keeps it over restarts.
    pub fn port(&self, node: usize) -> u16 {
        self.nodes[node].port
    }

    /// Name of the application's role. It owns its databases and has no special grants.
    pub fn user(&self) -> String {
        self.credential().user
    }

    /// Current password of the application's role.
    pub fn password(&self) -> String {
        self.credential().password
    }

    /// Name and password of the superuser.
    pub fn superuser(&self) -> (&str, &str) {
        (SUPERUSER, &self.superuser_password)
    }

    /// A URL with every node, as the application's role: `postgres://app:…@127.0.0.1:p1,127.0.0.1:p2/<database>`.
    pub fn url(&self, database: &str) -> String {
        self.url_of(&(0..self.len()).collect::<Vec<_>>(), database)
    }

    /// A URL of one node, as the application's role.
    pub fn node_url(&self, node: usize, database: &str) -> String {
        self.url_of(&[node], database)
    }

    fn url_of(&self, nodes: &[usize], database: &str) -> String {
        let hosts: Vec<_> = nodes
            .iter()
            .map(|n| format!("{}:{}", self.host(*n), self.port(*n)))
            .collect();
        let Credential { user, password } = self.credential();
        format!("postgres://{user}:{password}@{}/{database}", hosts.join(","))
    }

    /// A raw connection to one node as superuser. Opens on the current runtime, within 5 s.
    ///
    /// # Errors
    /// [`Error::Refused`] with the server's answer, or its silence.
    pub async fn connect(&self, node: usize, database: &str) -> Result<Session, Error> {
        Session::open(&self.config(node, database), LOGIN).await
    }

    pub(super) fn config(&self, node: usize, database: &str) -> Config {
        let mut config = Config::new();
        config
            .host(self.host(node))
            .port(self.port(node))
            .user(SUPERUSER)
            .password(&self.superuser_password)
            .dbname(database)
            .application_name("hafnium-testkit");
        config
    }

    /// State of the node's postmaster.
    ///
    /// # Errors
    /// [`Error::Refused`] when it was never started.
    pub fn state(&self, node: usize) -> Result<ProcessState, Error> {
        Ok(self.nodes[node].process()?.state())
    }

    /// Every process of every running node, postmasters first of each.
    pub fn processes(&self) -> Vec<ProcessId> {
        self.nodes
            .iter()
            .filter_map(|node| node.process().ok())
            .flat_map(|process| process.tree())
            .collect()
    }

    /// The last lines of a node's log.
    pub fn log_tail(&self, node: usize) -> String {
        self.nodes[node]
            .process()
            .map(|process| process.log_tail())
            .unwrap_or_default()
    }

    pub(super) fn credential(&self) -> Credential {
        self.app.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl std::fmt::Debug for PostgresCluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ports: Vec<_> = self.nodes.iter().map(|node| node.port).collect();
        f.debug_struct("PostgresCluster")
            .field("ports", &ports)
            .field("primary", &self.primary())
            .finish_non_exhaustive()
    }
}
