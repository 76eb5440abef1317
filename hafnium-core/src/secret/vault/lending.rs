//! Logins that are made for us and lent: taken, renewed, replaced before they end, given back.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use secrecy::SecretString;
use serde_json::json;
use tokio::time::Instant;

use super::super::{Address, FetchError, FetchErrorKind, Fetched, Material, Version};
use super::answer::Failure;
use super::client::Ask;
use super::instruments::Instruments;
use super::lease::{Behind, Lease, LeaseStep};
use super::life::Jitter;
use super::session::{Answer, Session, Stop};

/// The leases of every role that was asked for.
pub(super) struct Lending {
    session: Arc<Session>,
    instruments: Instruments,
    roles: Mutex<HashMap<Named, Shared>>,
}

/// A mount and the name of a role there.
type Named = (String, String);

/// Locked while a question about the role is under way.
type Shared = Arc<tokio::sync::Mutex<Role>>;

/// The leases of one role: that which is given out, and the one before, which may still be logged in with.
#[derive(Default)]
struct Role {
    newest: Option<Lent>,
    previous: Option<Lent>,
}

struct Lent {
    id: String,
    version: Version,
    user: String,
    password: SecretString,
    lease: Lease,
    /// Whether whoever asked for it got it.
    delivered: Arc<AtomicBool>,
}

/// An answer to be marked as delivered once it is.
pub(super) struct Delivery {
    pub(super) fetched: Fetched,
    pub(super) delivered: Arc<AtomicBool>,
}

impl Delivery {
    /// Of something that is not lent.
    pub(super) fn of(fetched: Fetched) -> Self {
        Self {
            fetched,
            delivered: Arc::default(),
        }
    }
}

impl Lent {
    fn hand_out(&self, behind: Behind) -> Delivery {
        let now = Instant::now();
        let material = Material::Login {
            user: self.user.clone(),
            password: self.password.clone(),
        };
        Delivery {
            fetched: Fetched {
                material,
                version: self.version.clone(),
                refresh_after: self.lease.refresh_after(now, behind),
                expires_after: self.lease.expires_after(now, behind),
                changed: None,
            },
            delivered: self.delivered.clone(),
        }
    }
}

impl Lending {
    pub(super) fn new(session: Arc<Session>, instruments: Instruments) -> Self {
        Self {
            session,
            instruments,
            roles: Mutex::default(),
        }
    }

    fn role(&self, mount: &str, role: &str) -> Shared {
        let mut roles = self.roles.lock().unwrap_or_else(PoisonError::into_inner);
        roles
            .entry((mount.to_owned(), role.to_owned()))
            .or_default()
            .clone()
    }

    /// The login of a role: the one that is held, renewed where that is possible, or another one.
    ///
    /// `held` is none at first, and again when the login in use was refused: then another is taken.
    pub(super) async fn lend(
        &self,
        address: &Address,
        (mount, role): (&str, &str),
        held: Option<&Version>,
    ) -> Result<Delivery, FetchError> {
        let state = self.role(mount, role);
        // One question at a time for each role: who comes meanwhile finds what was lent.
        let mut state = state.lock().await;
        let behind = self
            .session
            .token()
            .await
            .map_err(|error| Stop::NoToken(error).of(address))?
            .behind;
        let refused = match &state.newest {
            Some(newest) => {
                let delivered = newest.delivered.load(Ordering::Acquire);
                held.is_none() && delivered && !newest.lease.is_fresh(Instant::now())
            }
            None => false,
        };
        if let Some(newest) = state.newest.as_mut().filter(|_| !refused) {
            let renewal = match newest.lease.step(Instant::now(), behind) {
                LeaseStep::Renew => self.renew(newest).await.map_err(|stop| stop.of(address))?,
                step => after(step, behind),
            };
            if let Renewal::Serves(behind) = renewal {
                return Ok(newest.hand_out(behind));
            }
        }
        self.replace(&mut state, address, (mount, role), refused).await
    }

    async fn renew(&self, lent: &mut Lent) -> Result<Renewal, Stop> {
        let asked = lent.lease.asked().as_secs();
        let body = || json!({ "lease_id": lent.id, "increment": asked });
        let ask = || Ask::post(["sys", "leases", "renew"], body()).repeatable();
        let outcome = self.session.ask(ask).await;
        self.instruments.lease_renewed(match &outcome {
            Err(Stop::Failed(failure)) => Some(failure),
            _ => None,
        });
        let Answer {
            envelope,
            sent,
            behind,
        } = match outcome {
            Ok(answer) => answer,
            // It is gone, or a policy keeps us from renewing it.
            Err(Stop::Failed(Failure::Rejected(reason))) => {
                tracing::info!(reason, "a lease of Vault's can't be renewed: taking another");
                return Ok(Renewal::Another);
            }
            Err(Stop::Failed(Failure::Denied)) => {
                lent.lease.not_renewable();
                let behind = self.session.token().await.map_err(Stop::NoToken)?.behind;
                return Ok(after(lent.lease.step(Instant::now(), behind), behind));
            }
            Err(stop) => return Err(stop),
        };
        lent.lease.renewed(
            sent,
            Duration::from_secs(envelope.lease_duration),
            envelope.renewable,
            Jitter::random(),
        );
        Ok(after(lent.lease.step(Instant::now(), behind), behind))
    }

    /// Takes another login. When there is none to be had and the one in use still works, that one serves on, and is
    /// asked about again before it ends.
    async fn replace(
        &self,
        state: &mut Role,
        address: &Address,
        role: (&str, &str),
        refused: bool,
    ) -> Result<Delivery, FetchError> {
        let error = match self.take(address, role).await {
            Ok((lent, behind)) => {
                let delivery = lent.hand_out(behind);
                let surplus = std::mem::replace(&mut state.previous, state.newest.replace(lent));
                self.give_back_later(surplus);
                return Ok(delivery);
            }
            Err(error) => error,
        };
        let now = Instant::now();
        match &state.newest {
            Some(newest) if newest.lease.works(now) && !refused => {
                tracing::warn!(reason = %error, "no other login could be had from Vault yet: the one in use serves on");
                let mut delivery = newest.hand_out(newest.lease.behind());
                delivery.fetched.refresh_after = Some(newest.lease.retry_after(now));
                Ok(delivery)
            }
            _ => Err(error),
        }
    }

    async fn take(
        &self,
        address: &Address,
        (mount, role): (&str, &str),
    ) -> Result<(Lent, Behind), FetchError> {
        let path = || mount.split('/').chain(["creds", role]);
        let Answer {
            envelope,
            sent,
            behind,
        } = self
            .session
            .ask(|| Ask::get_new(path()))
            .await
            .map_err(|stop| stop.of(address))?;
        let (Some((user, password)), false) = (envelope.data.login(), envelope.lease_id.is_empty()) else {
            return Err(FetchError {
                kind: FetchErrorKind::Invalid,
                message: format!("{address}: what Vault answered is no login with a lease"),
            });
        };
        self.instruments.lent();
        let ttl = Duration::from_secs(envelope.lease_duration);
        let lease = Lease::lent(sent, ttl, envelope.renewable, behind.generation, Jitter::random());
        tracing::info!(%address, user, ?ttl, "took a login from Vault");
        let lent = Lent {
            version: Version(envelope.lease_id.clone()),
            id: envelope.lease_id.clone(),
            user,
            password,
            lease,
            delivered: Arc::default(),
        };
        Ok((lent, behind))
    }

    /// A login that is two behind is in nobody's hands any more.
    fn give_back_later(&self, surplus: Option<Lent>) {
        let Some(lent) = surplus.filter(|lent| lent.lease.works(Instant::now())) else {
            return;
        };
        let (session, instruments) = (self.session.clone(), self.instruments.clone());
        tokio::spawn(async move {
            let body = || json!({ "lease_id": lent.id });
            // Best effort: it ends by itself.
            if session
                .ask(|| Ask::post(["sys", "leases", "revoke"], body()).repeatable())
                .await
                .is_ok()
            {
                instruments.revoked();
            }
        });
    }

    /// The ids of every lease that may still be used, which is forgotten here.
    pub(super) async fn end(&self) -> Vec<String> {
        let roles: Vec<_> = {
            let mut roles = self.roles.lock().unwrap_or_else(PoisonError::into_inner);
            roles.drain().map(|(_, role)| role).collect()
        };
        let now = Instant::now();
        let mut ids = Vec::new();
        for role in roles {
            let mut role = role.lock().await;
            let both = [role.newest.take(), role.previous.take()];
            let works = both.into_iter().flatten().filter(|lent| lent.lease.works(now));
            ids.extend(works.map(|lent| lent.id));
        }
        ids
    }
}

/// What came of a renewal.
enum Renewal {
    /// The same login serves on.
    Serves(Behind),
    /// Another one is needed.
    Another,
}

fn after(step: LeaseStep, behind: Behind) -> Renewal {
    match step {
        LeaseStep::Replace => Renewal::Another,
        LeaseStep::Keep | LeaseStep::Renew => Renewal::Serves(behind),
    }
}
