//! The token that stands behind every request: had, kept alive and had again, by one task at a time.

use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use tokio::sync::{Mutex, Notify};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::super::{FetchError, FetchErrorKind};
use super::answer::{Envelope, Failure};
use super::client::{Ask, Client};
use super::instruments::Instruments;
use super::lease::Behind;
use super::life::Jitter;
use super::login::{Login, granted};
use super::token::{Schedule, Setback, Step};
use crate::component::BoxFuture;
use crate::deadline::Deadline;

/// Tokens that were replaced and still work, because leases hang on them; more are left to their own end.
const EARLIER: usize = 4;

/// How long a request waits for the next login when there is no token.
const SOON: Duration = Duration::from_secs(1);

/// A token, as it was known to be.
pub(super) struct Token {
    text: SecretString,
    pub(super) behind: Behind,
}

impl Token {
    fn works(&self, now: Instant) -> bool {
        self.behind.ends.is_none_or(|ends| now < ends)
    }
}

/// Why a request has no answer.
pub(super) enum Stop {
    /// There is no token to ask with.
    NoToken(FetchError),
    /// The server's answer.
    Failed(Failure),
}

impl Stop {
    pub(super) fn of(self, what: impl std::fmt::Display) -> FetchError {
        match self {
            Self::NoToken(error) => FetchError {
                kind: error.kind,
                message: format!("{what}: {}", error.message),
            },
            Self::Failed(failure) => failure.of(what),
        }
    }
}

/// One answer, when its request was sent, and with which token.
pub(super) struct Answer {
    pub(super) envelope: Envelope,
    pub(super) sent: Instant,
    pub(super) behind: Behind,
}

/// The login at one Vault.
pub(super) struct Session {
    client: Client,
    login: Login,
    timeout: Duration,
    instruments: Instruments,
    /// Held while a step is done: who comes meanwhile waits for its outcome instead of doing the same.
    state: Mutex<State>,
    current: ArcSwapOption<Token>,
    changed: Arc<Notify>,
    keeper: OnceLock<AbortHandle>,
}

#[derive(Default)]
struct State {
    schedule: Schedule,
    token: Option<SecretString>,
    earlier: Vec<(SecretString, Option<Instant>)>,
    /// Why the last login failed.
    refusal: Option<FetchError>,
}

impl Session {
    pub(super) fn new(client: Client, login: Login, timeout: Duration, instruments: Instruments) -> Self {
        Self {
            client,
            login,
            timeout,
            instruments,
            state: Mutex::default(),
            current: ArcSwapOption::empty(),
            changed: Arc::default(),
            keeper: OnceLock::new(),
        }
    }

    /// Asks with the token. If the server does not know it, logs in again once and asks again.
    pub(super) async fn ask<'a>(self: &Arc<Self>, ask: impl Fn() -> Ask<'a>) -> Result<Answer, Stop> {
        let mut again = true;
        loop {
            let token = self.token().await.map_err(Stop::NoToken)?;
            let sent = Instant::now();
            let asked = self.send(ask(), &token.text, Deadline::after(self.timeout)).await;
            match asked {
                Ok(envelope) => {
                    let behind = token.behind;
                    return Ok(Answer {
                        envelope,
                        sent,
                        behind,
                    });
                }
                Err(Failure::InvalidToken) if again => {
                    again = false;
                    self.invalid(token.behind.generation).await;
                }
                Err(failure) => return Err(Stop::Failed(failure)),
            }
        }
    }

    async fn send(
        &self,
        ask: Ask<'_>,
        token: &SecretString,
        deadline: Deadline,
    ) -> Result<Envelope, Failure> {
        let answer = self.client.ask(ask.token(token), deadline).await;
        self.instruments.asked(answer.as_ref().err());
        answer
    }

    /// A token that works as far as is known; waits while one is had.
    pub(super) async fn token(self: &Arc<Self>) -> Result<Arc<Token>, FetchError> {
        if let Some(token) = self.current.load_full()
            && token.works(Instant::now())
            && !self.login.has_other(&token.text)
        {
            return Ok(token);
        }
        let mut state = self.state.lock().await;
        if let Step::Wait(Some(until)) = state.schedule.step(Instant::now())
            && state.schedule.usable(Instant::now()).is_none()
        {
            // Nothing works and another login is to come soon: its outcome is worth more than the last one's. A longer
            // pause is for the caller to make.
            tokio::time::sleep_until(until.min(Instant::now() + SOON)).await;
        }
        self.act(&mut state).await;
        let usable = state.schedule.usable(Instant::now()).is_some();
        match self.current.load_full().filter(|_| usable) {
            Some(token) => Ok(token),
            None => Err(state.refusal.clone().unwrap_or_else(|| FetchError {
                kind: FetchErrorKind::Unavailable,
                message: format!("{}: has not succeeded yet", self.login),
            })),
        }
    }

    /// The server does not know the token of that generation.
    async fn invalid(&self, generation: u64) {
        let mut state = self.state.lock().await;
        state.schedule.invalid(generation, Instant::now());
        if state.schedule.usable(Instant::now()).is_none() {
            tracing::warn!(login = %self.login, "Vault does not know the token any more: logging in again");
            self.current.store(None);
            state.refusal = Some(Failure::InvalidToken.of(&self.login));
        }
    }

    /// Does what is due: a renewal that says that the end is near is followed by a login.
    async fn act(self: &Arc<Self>, state: &mut State) {
        if let Some(token) = &state.token
            && self.login.has_other(token)
        {
            state.schedule.superseded(Instant::now());
        }
        for _ in 0..2 {
            match state.schedule.step(Instant::now()) {
                Step::Renew => self.renew(state).await,
                Step::LogIn => return self.log_in(state).await,
                Step::Wait(_) => return,
            }
        }
    }

    async fn log_in(self: &Arc<Self>, state: &mut State) {
        let sent = Instant::now();
        let outcome = self
            .login
            .log_in(&self.client, Deadline::after(self.timeout))
            .await;
        self.instruments.logged_in(outcome.as_ref().err());
        let (token, grant) = match outcome {
            Ok(had) => had,
            Err(failure) => return self.setback(state, Step::LogIn, failure),
        };
        let known = state.token.as_ref().map(ExposeSecret::expose_secret);
        if known == Some(token.expose_secret()) {
            state.schedule.nothing_newer(sent, grant, Jitter::random());
        } else {
            let ends = state.schedule.ends();
            let generation = state.schedule.logged_in(sent, grant, Jitter::random());
            if let Some(earlier) = state.token.replace(token)
                && self.login.owns()
            {
                state.earlier.push((earlier, ends));
                let surplus = state.earlier.len().saturating_sub(EARLIER);
                state.earlier.drain(..surplus);
            }
            tracing::info!(login = %self.login, generation, ttl = ?grant.ttl, "logged in at Vault");
        }
        state.refusal = None;
        self.publish(state);
        self.keeper
            .get_or_init(|| tokio::spawn(keep(Arc::downgrade(self), self.changed.clone())).abort_handle());
    }

    async fn renew(&self, state: &mut State) {
        let Some(token) = &state.token else { return };
        let asked = state.schedule.asked().as_secs();
        let sent = Instant::now();
        let ask = Ask::post(["auth", "token", "renew-self"], json!({ "increment": asked })).repeatable();
        let outcome = self
            .client
            .ask(ask.token(token), Deadline::after(self.timeout))
            .await;
        self.instruments.token_renewed(outcome.as_ref().err());
        match outcome.and_then(granted) {
            Ok((_, grant)) => {
                state.schedule.renewed(sent, grant, Jitter::random());
                tracing::debug!(ttl = ?grant.ttl, "renewed Vault's token");
                self.publish(state);
            }
            Err(failure) => self.setback(state, Step::Renew, failure),
        }
    }

    fn setback(&self, state: &mut State, step: Step, failure: Failure) {
        let setback = match &failure {
            Failure::InvalidToken => Setback::Invalid,
            failure if failure.is_outage() => Setback::Outage(failure.pause()),
            _ => Setback::Refused,
        };
        let mut error = failure.of(&self.login);
        if setback != Setback::Invalid && error.kind != FetchErrorKind::Unavailable {
            // A wrong login is 400 with some methods and 403 with others.
            error.kind = FetchErrorKind::Denied;
        }
        tracing::warn!(?step, reason = %error, "Vault's token could not be had or renewed");
        state
            .schedule
            .failed(step, Instant::now(), setback, Jitter::random());
        if state.schedule.usable(Instant::now()).is_none() {
            self.current.store(None);
        }
        state.refusal = Some(error);
    }

    fn publish(&self, state: &State) {
        let usable = state.schedule.usable(Instant::now());
        if let (Some(text), Some(generation)) = (state.token.clone(), usable) {
            let ends = state.schedule.ends();
            let behind = Behind { generation, ends };
            self.current.store(Some(Arc::new(Token { text, behind })));
        }
        self.changed.notify_one();
    }

    /// Ends renewals and gives the tokens that are ours; nothing is to be asked afterwards.
    pub(super) async fn end(&self) -> Vec<SecretString> {
        if let Some(keeper) = self.keeper.get() {
            keeper.abort();
        }
        let mut state = self.state.lock().await;
        self.current.store(None);
        let earlier = std::mem::take(&mut state.earlier);
        let current = state.token.take().filter(|_| self.login.owns());
        let now = Instant::now();
        let alive = earlier
            .into_iter()
            .filter(|(_, ends)| ends.is_none_or(|ends| now < ends))
            .map(|(token, _)| token);
        alive.chain(current).collect()
    }

    /// The token in use, for what is given back at the end.
    pub(super) fn last(&self) -> Option<Arc<Token>> {
        self.current.load_full()
    }

    /// Asks with that token, whatever became of it.
    pub(super) async fn ask_with(
        &self,
        ask: Ask<'_>,
        token: &Token,
        deadline: Deadline,
    ) -> Result<Envelope, Failure> {
        self.send(ask, &token.text, deadline).await
    }

    /// Gives a token back, and with it every lease that hangs on it.
    pub(super) async fn revoke(&self, token: &SecretString, deadline: Deadline) -> Result<(), Failure> {
        let ask = Ask::post(["auth", "token", "revoke-self"], json!({})).repeatable();
        self.send(ask, token, deadline).await.map(drop)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(keeper) = self.keeper.get() {
            keeper.abort();
        }
    }
}

/// Renews the token, apart from whatever is fetched, until the session is gone. Boxed, because a login starts it and it
/// logs in.
fn keep(session: Weak<Session>, changed: Arc<Notify>) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        loop {
            let next = {
                let Some(session) = session.upgrade() else { return };
                let mut state = session.state.lock().await;
                session.act(&mut state).await;
                state.schedule.step(Instant::now())
            };
            match next {
                Step::Wait(Some(until)) => {
                    // Whichever comes first; the schedule is asked again in either case.
                    tokio::select! {
                        () = tokio::time::sleep_until(until) => {}
                        () = changed.notified() => {}
                    }
                }
                Step::Wait(None) => changed.notified().await,
                Step::LogIn | Step::Renew => {}
            }
        }
    })
}
