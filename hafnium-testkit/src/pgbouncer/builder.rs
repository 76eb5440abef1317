//! What a pgbouncer shall look like, and its start.

use std::process::Stdio;
use std::time::Duration;

use tokio_postgres::Config;

use super::settings::{self, Settings};
use super::{PgBouncer, Server};
use crate::Error;
use crate::postgres::PostgresCluster;
use crate::process::{Keeper, Launch, await_ready, free_ports};

/// It answers within some 50 ms; a machine under load gets the rest.
const START: Duration = Duration::from_secs(20);

/// The first version that can keep prepared statements in transaction mode.
const KEEPS_STATEMENTS: (u32, u32) = (1, 21);

/// Describes a pgbouncer; made by [`PgBouncer::before`].
#[derive(Clone, Debug)]
#[must_use]
pub struct Builder {
    settings: Settings,
    max_prepared_statements: u32,
}

impl Builder {
    pub(super) fn new(cluster: &PostgresCluster, node: usize) -> Builder {
        let (superuser, password) = cluster.superuser();
        Builder {
            settings: Settings {
                node_port: cluster.port(node),
                superuser: superuser.to_owned(),
                superuser_password: password.to_owned(),
                pool_size: 1,
                max_prepared_statements: None,
                ignore_startup_parameters: String::new(),
            },
            max_prepared_statements: 0,
        }
    }

    /// Connections to the server per database and user. Default 1.
    pub fn pool_size(mut self, pool_size: u32) -> Builder {
        self.settings.pool_size = pool_size;
        self
    }

    /// Prepared statements that it keeps per connection; from 1.21 on. Default 0: none.
    pub fn max_prepared_statements(mut self, max: u32) -> Builder {
        self.max_prepared_statements = max;
        self
    }

    /// Start-up parameters that it drops instead of refusing the login. Default none.
    pub fn ignore_startup_parameters(mut self, parameters: &str) -> Builder {
        parameters.clone_into(&mut self.settings.ignore_startup_parameters);
        self
    }

    /// Starts the installed program, whatever its version.
    ///
    /// # Errors
    /// [`Error::Missing`] without one, or when prepared statements are asked of one before 1.21; those of the start.
    pub async fn start(mut self) -> Result<PgBouncer, Error> {
        let knows = installed()? >= KEEPS_STATEMENTS;
        if self.max_prepared_statements > 0 && !knows {
            return Err(Error::Missing {
                what: "pgbouncer 1.21 or newer".into(),
                hint: "start it in a container".into(),
            });
        }
        self.settings.max_prepared_statements = knows.then_some(self.max_prepared_statements);
        let keeper = Keeper::new("pgbouncer")?;
        let port = free_ports(1)?.first().copied().unwrap_or_default();
        let users = keeper.directory().join("users.txt");
        keeper.write("users.txt", &self.settings.users())?;
        keeper.write(
            "pgbouncer.ini",
            &self.settings.ini(port, &users.to_string_lossy()),
        )?;
        let ini = keeper.directory().join("pgbouncer.ini");
        let process = keeper.spawn(&Launch::new("pgbouncer", program()).arg(ini))?;
        let bouncer = self.running(port, Server::Installed(process));
        let processes = match &bouncer.server {
            Server::Installed(process) => vec![process],
            #[cfg(feature = "dev-services")]
            Server::Contained { .. } => Vec::new(),
        };
        await_ready(&processes, "pgbouncer to answer", START, || async {
            bouncer
                .version()
                .await
                .map(drop)
                .map_err(|error| error.to_string())
        })
        .await?;
        Ok(bouncer)
    }

    /// Starts one that keeps prepared statements: the installed program if it can, else one in a container, of the image
    /// that [`Image::of`](crate::dev::Image::of) names for `pgbouncer`.
    ///
    /// # Errors
    /// [`Error::Refused`] without a Docker daemon or the image (`scripts/with-docker` sees to both); those of the start.
    #[cfg(feature = "dev-services")]
    pub async fn start_recent(mut self) -> Result<PgBouncer, Error> {
        if installed().is_ok_and(|version| version >= KEEPS_STATEMENTS) {
            return self.start().await;
        }
        self.settings.max_prepared_statements = Some(self.max_prepared_statements);
        let port = free_ports(1)?.first().copied().unwrap_or_default();
        let contained = super::container::Contained::start(&self.settings, port).await?;
        let server = Server::Contained {
            _container: Box::new(contained),
        };
        let bouncer = self.running(port, server);
        crate::process::wait_until("pgbouncer in a container to answer", START, || async {
            bouncer
                .version()
                .await
                .map(drop)
                .map_err(|error| error.to_string())
        })
        .await?;
        Ok(bouncer)
    }

    fn running(&self, port: u16, server: Server) -> PgBouncer {
        let mut admin = Config::new();
        admin
            .host("127.0.0.1")
            .port(port)
            .user(&self.settings.superuser)
            .password(&self.settings.superuser_password)
            .dbname("pgbouncer");
        PgBouncer { port, server, admin }
    }
}

/// Debian keeps it where a normal user's PATH does not look.
fn program() -> &'static str {
    match std::path::Path::new("/usr/sbin/pgbouncer").exists() {
        true => "/usr/sbin/pgbouncer",
        false => "pgbouncer",
    }
}

fn installed() -> Result<(u32, u32), Error> {
    let asked = std::process::Command::new(program())
        .arg("--version")
        .stdin(Stdio::null())
        .output();
    let said = asked.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    said.ok()
        .and_then(|said| settings::version(&said))
        .ok_or_else(|| Error::Missing {
            what: "pgbouncer".into(),
            hint: "apt-get install pgbouncer, or scripts/setup servers".into(),
        })
}
