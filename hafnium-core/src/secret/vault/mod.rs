//! HashiCorp Vault and OpenBao as a place that keeps and lends secrets.
//!
//! | reference | what it gives |
//! |---|---|
//! | `vault:mount/path#key` | the newest version of a key of a KV version 2 document |
//! | `vault-db:role`, `vault-db:mount/role` | a login that the database engine makes for this process and lends |
//! | `vault-static:role`, `vault-static:mount/role` | a login whose password the database engine rotates |
//!
//! What it guarantees:
//! * The token is renewed at two thirds of its life, apart from any lease. A renewal that grants less than was asked, or
//!   a token that can't be renewed, leads to another login while the old token works; its leases are handed over.
//! * A lease is renewed at two thirds of its life. Near its longest life another login is taken before it ends.
//! * A token that the server does not know leads to one login, however many requests noticed. Nothing else does: an
//!   outage, a seal and a policy's refusal keep the token and the last values.
//! * A dropped fetch leaks no lease: what was lent meanwhile is given to the next one.
//! * [`Provider::release`] gives back every lease and every token that we logged in for.
//!
//! The decisions (when to log in, renew, replace) are state machines without a clock; see `token` and `lease`.

mod answer;
mod backoff;
mod check;
mod client;
mod document;
mod ending;
mod instruments;
mod lease;
mod lending;
mod life;
mod login;
mod session;
mod settings;
mod target;
mod timestamp;
mod token;
mod transport;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use tokio_util::task::TaskTracker;

pub use settings::{AppRole, Kubernetes, Mounts, VaultError, VaultSection, VaultSettings};

use super::{Address, FetchError, FetchErrorKind, Fetched, Provider, Version};
use crate::component::BoxFuture;
use crate::deadline::Deadline;
use crate::metrics::Metrics;
use answer::Failure;
use client::{Ask, Client};
use instruments::Instruments;
use lending::{Delivery, Lending};
use login::Login;
use session::{Session, Stop};
use target::Target;

/// How references to Vault begin.
const SCHEMES: [&str; 3] = ["vault", "vault-db", "vault-static"];

/// The provider for the schemes `vault`, `vault-db` and `vault-static`. Nothing is sent before the first fetch.
///
/// ```
/// use hafnium_core::secret::Secret;
/// use hafnium_core::secret::vault::{AppRole, Vault, VaultSettings};
///
/// let mut settings = VaultSettings::new("http://127.0.0.1:8200");
/// settings.approle = Some(AppRole::new("a role's id", Some(Secret::new("its secret id"))));
/// let vault = Vault::new(&settings)?;
/// # drop(vault); Ok::<(), hafnium_core::secret::vault::VaultError>(())
/// ```
pub struct Vault {
    inner: Arc<Inner>,
}

struct Inner {
    session: Arc<Session>,
    lending: Lending,
    mounts: Mounts,
    instruments: Instruments,
    fetches: TaskTracker,
    ended: AtomicBool,
}

impl Vault {
    /// A provider for the server and the login of `settings`. It measures nothing before [`Provider::observe`].
    ///
    /// # Errors
    /// [`VaultError`] names the key that can't be used.
    pub fn new(settings: &VaultSettings) -> Result<Self, VaultError> {
        let client = Client::new(settings)?;
        let login = Login::new(settings)?;
        let instruments = Instruments::none();
        let session = Session::new(client, login, settings.timeout.get(), instruments.clone());
        let session = Arc::new(session);
        Ok(Self {
            inner: Arc::new(Inner {
                lending: Lending::new(session.clone(), instruments.clone()),
                session,
                mounts: settings.mounts.clone(),
                instruments,
                fetches: TaskTracker::new(),
                ended: AtomicBool::new(false),
            }),
        })
    }
}

impl Inner {
    async fn fetch(&self, address: &Address, held: Option<&Version>) -> Result<Delivery, FetchError> {
        if self.ended.load(Ordering::Acquire) {
            return Err(FetchError {
                kind: FetchErrorKind::Unavailable,
                message: format!("{address}: this process is ending and has given its logins back"),
            });
        }
        let ask = async |path: &[&str]| self.session.ask(|| Ask::get(path.iter().copied())).await;
        match &Target::parse(address, &self.mounts)? {
            Target::Lent { mount, role } => self.lending.lend(address, (mount, role), held).await,
            Target::Document { mount, path, key } => {
                let parts: Vec<_> = mount.split('/').chain(["data"]).chain(path.split('/')).collect();
                let answer = match ask(&parts).await {
                    Ok(answer) => answer,
                    Err(Stop::Failed(Failure::Missing)) if self.is_unversioned(mount).await => {
                        return Err(Failure::NotVersioned.of(address));
                    }
                    Err(stop) => return Err(stop.of(address)),
                };
                document::read(address, key.as_deref(), &answer.envelope).map(Delivery::of)
            }
            Target::Rotated { mount, role } => {
                let parts: Vec<_> = mount.split('/').chain(["static-creds", role]).collect();
                let answer = ask(&parts).await.map_err(|stop| stop.of(address))?;
                document::rotated(address, &answer.envelope, SystemTime::now()).map(Delivery::of)
            }
        }
    }

    /// Whether the engine there is KV of version 1: it has no `data/`, and answers as if there were nothing.
    async fn is_unversioned(&self, mount: &str) -> bool {
        let path = || {
            ["sys", "internal", "ui", "mounts"]
                .into_iter()
                .chain(mount.split('/'))
        };
        let Ok(answer) = self.session.ask(|| Ask::get(path())).await else {
            return false;
        };
        let data = &answer.envelope.data;
        let version = data.0.0.get("options").and_then(|options| options.get("version"));
        data.text("type") == Some("kv") && version.and_then(|version| version.as_str()) != Some("2")
    }
}

impl Provider for Vault {
    fn schemes(&self) -> &'static [&'static str] {
        &SCHEMES
    }

    /// Cancel-safety: what a dropped fetch was lent is given to the next one for the same address.
    fn fetch<'a>(
        &'a self,
        address: &'a Address,
        held: Option<&'a Version>,
    ) -> BoxFuture<'a, Result<Fetched, FetchError>> {
        let (inner, wanted, held) = (self.inner.clone(), address.clone(), held.cloned());
        Box::pin(async move {
            // A task of its own: an answer that is on its way when the caller leaves is a lease that somebody must know.
            let fetches = self.inner.fetches.clone();
            let fetch = fetches.spawn(async move { inner.fetch(&wanted, held.as_ref()).await });
            let delivery = fetch.await.map_err(|error| FetchError {
                kind: FetchErrorKind::Unavailable,
                message: format!("{address}: the fetch was ended ({error})"),
            })??;
            delivery.delivered.store(true, Ordering::Release);
            Ok(delivery.fetched)
        })
    }

    fn observe(&self, metrics: &Metrics) {
        self.inner.instruments.observe(metrics);
    }

    fn release(&self, deadline: Deadline) -> BoxFuture<'_, ()> {
        Box::pin(ending::release(&self.inner, deadline))
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vault")
    }
}
