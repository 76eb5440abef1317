//! What a service depends on, and how it is lost.

use std::fmt::Display;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use crate::proxy::Proxy;

type Fault<'a> = Box<dyn Fn() -> Pin<Box<dyn Future<Output = Result<(), String>> + 'a>> + 'a>;

/// A dependency under the name of its health check, with what takes it away and gives it back.
#[must_use]
pub struct Dependency<'a> {
    pub(super) name: String,
    pub(super) lose: Fault<'a>,
    heal: Fault<'a>,
    pub(super) noticed_within: Duration,
    pub(super) back_within: Duration,
}

impl<'a> Dependency<'a> {
    /// The dependency whose health check is `name` (`postgres.ledger`), reached through `proxy`: it is lost as behind a
    /// dead network, without a reset.
    pub fn behind(name: impl Into<String>, proxy: &'a Proxy) -> Self {
        let lose = async || {
            proxy.black_hole();
            Ok::<_, String>(())
        };
        let heal = async || {
            proxy.heal();
            Ok::<_, String>(())
        };
        Self::with(name, lose, heal)
    }

    /// The dependency whose health check is `name`, with a fault of your own, such as a cluster's `freeze` and `thaw`,
    /// whose proofs are their results.
    pub fn with<L, LO, LE, H, HO, HE>(name: impl Into<String>, lose: L, heal: H) -> Self
    where
        L: AsyncFn() -> Result<LO, LE> + 'a,
        H: AsyncFn() -> Result<HO, HE> + 'a,
        LE: Display,
        HE: Display,
    {
        Self {
            name: name.into(),
            lose: boxed(lose),
            heal: boxed(heal),
            noticed_within: Duration::from_secs(30),
            back_within: Duration::from_secs(30),
        }
    }

    /// How long its loss and its return may stay unnoticed; default 30 s each.
    pub fn noticed_within(mut self, lost: Duration, back: Duration) -> Self {
        (self.noticed_within, self.back_within) = (lost, back);
        self
    }

    /// Gives it back; what went wrong, if anything did.
    pub(super) async fn healed(&self) -> Vec<String> {
        let healed = (self.heal)().await;
        let failed = healed.err();
        failed
            .map(|reason| format!("{} was not healed: {reason}", self.name))
            .into_iter()
            .collect()
    }
}

fn boxed<'a, F, O, E>(fault: F) -> Fault<'a>
where
    F: AsyncFn() -> Result<O, E> + 'a,
    E: Display,
{
    let fault = std::rc::Rc::new(fault);
    Box::new(move || {
        let fault = fault.clone();
        Box::pin(async move { fault().await.map(drop).map_err(|error| error.to_string()) })
    })
}
