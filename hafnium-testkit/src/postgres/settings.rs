//! The servers' configuration files.

/// `postgresql.conf` of every node; what differs per node is on its command line.
pub(crate) const POSTGRESQL_CONF: &str = "\
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
password_encryption = 'scram-sha-256'
max_connections = 200
shared_buffers = '32MB'
fsync = off
# files in the private directory instead of /dev/shm, where a killed server would leave them
dynamic_shared_memory_type = mmap
wal_level = replica
hot_standby = on
hot_standby_feedback = on
# pg_rewind needs it
wal_log_hints = on
wal_keep_size = '256MB'
max_wal_senders = 10
wal_sender_timeout = '5s'
wal_receiver_timeout = '5s'
wal_retrieve_retry_interval = '200ms'
log_line_prefix = '%m [%p] '
";

/// `pg_hba.conf`: passwords for everybody, also on loopback.
pub(crate) const PG_HBA_CONF: &str = "\
host all all 127.0.0.1/32 scram-sha-256
host replication all 127.0.0.1/32 scram-sha-256
";

/// The superuser, the harness's own; clients under test use the application's role.
pub(crate) const SUPERUSER: &str = "postgres";

/// What a standby connects to its primary with; `name` is how the primary knows it.
pub(crate) fn conninfo(port: u16, password: &str, name: &str) -> String {
    format!(
        "host=127.0.0.1 port={port} user={SUPERUSER} password={password} dbname=postgres application_name={name} \
         connect_timeout=2 sslmode=disable gssencmode=disable"
    )
}

/// `postgresql.auto.conf` of a standby. Passwords are alphanumeric, so nothing needs escaping.
pub(crate) fn standby_conf(conninfo: &str) -> String {
    format!("primary_conninfo = '{conninfo}'\n")
}

/// The value of `synchronous_standby_names` that waits for any one of `standbys`; empty for none.
pub(crate) fn any_one_of(standbys: &[String]) -> String {
    if standbys.is_empty() {
        String::new()
    } else {
        format!("ANY 1 ({})", standbys.join(","))
    }
}

/// A password of 24 letters and digits.
pub(crate) fn password() -> String {
    (0..24).map(|_| fastrand::alphanumeric()).collect()
}
