//! How a service is started: its binary, arguments, variables and files.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::service::{Ended, Service};

/// A service to be started in a directory of its own, with an environment that holds nothing of this machine's.
pub(crate) struct Launch {
    program: PathBuf,
    arguments: Vec<String>,
    variables: Vec<(String, String)>,
    stderr: Option<Stdio>,
    home: tempfile::TempDir,
}

impl Launch {
    /// Environment `staging`, so that nothing is provided that was not configured; JSON logs; no drain delay.
    pub(crate) fn new(program: impl AsRef<Path>) -> Self {
        let launch = Self {
            program: program.as_ref().to_owned(),
            arguments: Vec::new(),
            variables: Vec::new(),
            stderr: None,
            home: tempfile::Builder::new()
                .prefix("hafnium-service-test-")
                .tempdir()
                .unwrap(),
        };
        launch
            .variable("ENVIRONMENT", "staging")
            .variable("HAFNIUM__TELEMETRY__LOG_FORMAT", "json")
            .variable("HAFNIUM__SHUTDOWN__DRAIN_DELAY", "0s")
    }

    pub(crate) fn argument(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Sets a variable; the last value counts.
    pub(crate) fn variable(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }

    /// Leaves a variable unset, also one that every service of a test gets.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.variables.retain(|(set, _)| set != name);
        self
    }

    /// Lets stderr go there and not into a file, so that [`Ended`] holds none.
    pub(crate) fn stderr(mut self, to: impl Into<Stdio>) -> Self {
        self.stderr = Some(to.into());
        self
    }

    /// Writes a file into the directory that the service is started in.
    pub(crate) fn file(self, name: &str, content: &str) -> Self {
        std::fs::write(self.home.path().join(name), content).unwrap();
        self
    }

    /// Starts the service on free ports, unless a variable or an argument says otherwise.
    ///
    /// Must be called on the test's own thread: the kernel kills the service with the thread that started it.
    pub(crate) fn start(self) -> Service {
        let ports = hafnium_testkit::process::free_ports(2).unwrap();
        let output = |name: &str| File::create(self.home.path().join(name)).unwrap();
        let stderr = output("stderr");
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--"])
            .arg(&self.program)
            .args(&self.arguments);
        command.env_clear().env("HOME", self.home.path());
        for kept in ["PATH", "JAVA_HOME", "HAFNIUM_KAFKA_HOME", "KAFKA_VERSION"] {
            command.envs(std::env::var_os(kept).map(|value| (kept, value)));
        }
        command.env("HAFNIUM__HTTP__PORT", ports[0].to_string());
        command.env("HAFNIUM__ADMIN__PORT", ports[1].to_string());
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.current_dir(self.home.path()).process_group(0);
        command
            .stdin(Stdio::null())
            .stdout(output("stdout"))
            .stderr(self.stderr.unwrap_or_else(|| stderr.into()));
        Service::new(command.spawn().unwrap(), ports[0], ports[1], self.home)
    }

    /// Starts it and waits for its end.
    pub(crate) async fn finish(self, limit: Duration) -> Ended {
        self.start().end(limit).await
    }
}
