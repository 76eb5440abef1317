//! Whether a service behaves as a platform expects: its own binary is put through its life, and the report says what
//! held.
//!
//! ```no_run
//! # async fn example(ledger: &hafnium_testkit::Proxy) {
//! use hafnium_testkit::conformance::{Conformance, Dependency};
//!
//! let report = Conformance::of("target/debug/risk-engine")
//!     .variable("HAFNIUM__POSTGRES__LEDGER__URL", format!("postgres://risk@{}/risk?sslmode=disable", ledger.address()))
//!     .route("/scores/none-such")
//!     .dependency(Dependency::behind("postgres.ledger", ledger))
//!     .run()
//!     .await;
//! report.assert_passed();
//! # }
//! ```
//!
//! | case | what is done | what must hold |
//! |---|---|---|
//! | [`Case::Start`] | the binary is started | alive at once, ready in time, every route answers |
//! | [`Case::Probes`] | asked as a kubelet does: a connection each, 1 s at most, the period scaled down | every probe is 200 |
//! | [`Case::Loss`] | a dependency goes and comes back | the process is alive all the while, the check tells of both |
//! | [`Case::Reload`] | a mounted key changes; SIGHUP | `/config` shows the new value, no request fails |
//! | [`Case::Rotation`] | a mounted secret is swapped as a kubelet swaps it | the new one is in force and the old one is not, no request fails |
//! | [`Case::Sigterm`] | SIGTERM under load, by clients of every kind | not ready at once, alive to the end, no request fails, exit code 0 |
//! | [`Case::SecondSignal`] | SIGTERM twice | the second one ends the process at once, with 143 |
//! | [`Case::Flush`] | SIGTERM on a runtime of one worker | the spans of the last requests arrive at the collector |
//! | [`Case::ExitCodes`] | bad arguments, bad configuration, dependencies that are not there | 2, 78, 69, and one line of reason |
//!
//! What was not run is red, unless it was declared [not applicable](Conformance::not_applicable) with a reason.

mod ask;
mod dependency;
mod report;
mod rows;
mod subject;
mod volume;

use std::path::PathBuf;
use std::time::Duration;

pub use dependency::Dependency;
pub use report::{Case, Finding, Report, State};
pub use volume::MountedVolume;

use subject::Subject;

/// What a service is put through. Made by [`Conformance::of`]; [`Conformance::run`] does it.
#[must_use]
pub struct Conformance<'a> {
    binary: PathBuf,
    arguments: Vec<String>,
    variables: Vec<(String, String)>,
    files: Vec<(String, String)>,
    routes: Vec<String>,
    slow_route: Option<String>,
    dependencies: Vec<Dependency<'a>>,
    not_applicable: Vec<(Case, String)>,
    only: Option<Vec<Case>>,
    ready_within: Duration,
    grace: Duration,
}

impl<'a> Conformance<'a> {
    /// The service whose binary that is, such as `env!("CARGO_BIN_EXE_risk-engine")`.
    pub fn of(binary: impl Into<PathBuf>) -> Self {
        Self {
            binary: binary.into(),
            arguments: Vec::new(),
            variables: Vec::new(),
            files: Vec::new(),
            routes: Vec::new(),
            slow_route: None,
            dependencies: Vec::new(),
            not_applicable: Vec::new(),
            only: None,
            ready_within: Duration::from_secs(30),
            grace: Duration::from_secs(30),
        }
    }

    /// Adds an argument to each start.
    pub fn argument(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Sets a variable of the service. It sees `PATH`, a `HOME` of its own, what is set here and what the kit itself
    /// needs (ports, JSON logs, environment `staging`); what is set here wins.
    pub fn variable(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }

    /// Sets several variables.
    pub fn environment<N: Into<String>, V: Into<String>>(
        mut self,
        variables: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        let variables = variables.into_iter();
        self.variables
            .extend(variables.map(|(name, value)| (name.into(), value.into())));
        self
    }

    /// A file in the directory that the service is started in, such as `hafnium.toml`.
    pub fn file(mut self, name: impl Into<String>, content: impl Into<String>) -> Self {
        self.files.push((name.into(), content.into()));
        self
    }

    /// A path of the application listener that answers GET with 2xx while the service is ready. The first one is put
    /// under load. Default `/`.
    pub fn route(mut self, path: impl Into<String>) -> Self {
        self.routes.push(path.into());
        self
    }

    /// A path of the application listener that answers GET with 2xx after 1 s to 5 s: asked just before the listener
    /// closes, it must still be answered. Without one the report says that this was not looked at.
    pub fn slow_route(mut self, path: impl Into<String>) -> Self {
        self.slow_route = Some(path.into());
        self
    }

    /// Something that the service depends on, and how it is lost.
    pub fn dependency(mut self, dependency: Dependency<'a>) -> Self {
        self.dependencies.push(dependency);
        self
    }

    /// Leaves a case out, for a reason that the report shows. A case that is left out without one is red.
    pub fn not_applicable(mut self, case: Case, reason: impl Into<String>) -> Self {
        self.not_applicable.push((case, reason.into()));
        self
    }

    /// Runs these cases alone and leaves the others out of the report: for work on one of them.
    pub fn only(mut self, cases: impl IntoIterator<Item = Case>) -> Self {
        self.only = Some(cases.into_iter().collect());
        self
    }

    /// How long the service may take from its start to its readiness; default 30 s.
    pub fn ready_within(mut self, limit: Duration) -> Self {
        self.ready_within = limit;
        self
    }

    /// How long the service may take from SIGTERM to its end; default 30 s, as a platform grants by default.
    pub fn grace(mut self, limit: Duration) -> Self {
        self.grace = limit;
        self
    }

    /// Runs everything, one after the other; about half a minute for a service with three dependencies.
    ///
    /// Await it in the test itself: the kernel ends the service with the thread that started it.
    ///
    /// Cancel-safety: a dropped run leaves no process; a fault that was injected just then is not healed.
    pub async fn run(self) -> Report {
        let mut report = Report::new(self.name());
        // One process lives through most of it, as a service does.
        let shared = [
            Case::Start,
            Case::Probes,
            Case::Loss,
            Case::Reload,
            Case::Rotation,
            Case::Sigterm,
        ];
        if shared.iter().any(|case| self.wants(*case)) {
            rows::life(&self, &mut report).await;
        }
        for case in [Case::SecondSignal, Case::Flush, Case::ExitCodes] {
            if self.declared_out(case, &mut report) {
                continue;
            }
            report.add(match case {
                Case::SecondSignal => rows::second_signal(&self).await,
                Case::Flush => rows::flush(&self).await,
                _ => rows::exit_codes(&self).await,
            });
        }
        report
    }

    /// Whether the case is not to be run; if it was declared so, the report says why.
    fn declared_out(&self, case: Case, report: &mut Report) -> bool {
        if !self.wants(case) {
            return true;
        }
        let declared = self.not_applicable.iter().find(|(out, _)| *out == case);
        match declared {
            Some((_, reason)) => {
                report.add(vec![Finding::not_applicable(case, reason)]);
                true
            }
            None => false,
        }
    }

    fn wants(&self, case: Case) -> bool {
        self.only.as_ref().is_none_or(|only| only.contains(&case))
    }

    fn name(&self) -> String {
        let name = self.binary.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    /// The path under load.
    fn path(&self) -> &str {
        self.routes.first().map_or("/", String::as_str)
    }

    /// Starts the service with further variables.
    fn start(&self, more: &[(&str, &str)]) -> Result<Subject, String> {
        let more = more
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Subject::start(self, &self.arguments, more.collect())
    }

    /// Starts the service with further variables, and waits until it is ready.
    async fn ready(&self, more: &[(&str, &str)]) -> Result<Subject, String> {
        let mut subject = self.start(more)?;
        subject.becomes("/readyz", 200, self.ready_within).await?;
        Ok(subject)
    }
}
