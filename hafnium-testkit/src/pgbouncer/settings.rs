//! Its configuration files, and how its version is read.

/// What the configuration depends on.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) node_port: u16,
    pub(super) superuser: String,
    pub(super) superuser_password: String,
    pub(super) pool_size: u32,
    /// `None` where the program does not know the key.
    pub(super) max_prepared_statements: Option<u32>,
    pub(super) ignore_startup_parameters: String,
}

impl Settings {
    /// `pgbouncer.ini`; `users` is the path of the file of [`Settings::users`].
    pub(super) fn ini(&self, port: u16, users: &str) -> String {
        let Settings {
            node_port,
            superuser,
            pool_size,
            ignore_startup_parameters,
            ..
        } = self;
        let mut ini = format!(
            "[databases]\n\
             * = host=127.0.0.1 port={node_port}\n\
             [pgbouncer]\n\
             listen_addr = 127.0.0.1\n\
             listen_port = {port}\n\
             unix_socket_dir =\n\
             pool_mode = transaction\n\
             default_pool_size = {pool_size}\n\
             max_client_conn = 500\n\
             auth_type = scram-sha-256\n\
             auth_file = {users}\n\
             auth_user = {superuser}\n\
             auth_query = SELECT usename, passwd FROM pg_shadow WHERE usename = $1\n\
             admin_users = {superuser}\n\
             ignore_startup_parameters = {ignore_startup_parameters}\n\
             server_login_retry = 1\n"
        );
        if let Some(max) = self.max_prepared_statements {
            ini.push_str(&format!("max_prepared_statements = {max}\n"));
        }
        ini
    }

    /// The one user whose password it must know to look up those of the others.
    pub(super) fn users(&self) -> String {
        format!("\"{}\" \"{}\"\n", self.superuser, self.superuser_password)
    }
}

/// Major and minor of `PgBouncer 1.18.0`.
pub(super) fn version(said: &str) -> Option<(u32, u32)> {
    let number = said.lines().next()?.split_whitespace().nth(1)?;
    let mut parts = number.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_from_what_the_program_and_its_console_say() {
        assert_eq!(version("PgBouncer 1.18.0\nlibevent 2.1.12"), Some((1, 18)));
        assert_eq!(version("PgBouncer 1.24.1"), Some((1, 24)));
        assert_eq!(version("something else"), None);
    }

    #[test]
    fn a_key_that_the_program_does_not_know_is_not_written() {
        let mut settings = Settings {
            node_port: 5432,
            superuser: "postgres".into(),
            superuser_password: "secret".into(),
            pool_size: 1,
            max_prepared_statements: None,
            ignore_startup_parameters: String::new(),
        };
        assert!(
            !settings
                .ini(6432, "users.txt")
                .contains("max_prepared_statements")
        );
        settings.max_prepared_statements = Some(0);
        assert!(
            settings
                .ini(6432, "users.txt")
                .contains("max_prepared_statements = 0")
        );
    }
}
