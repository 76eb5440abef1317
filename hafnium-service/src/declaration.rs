//! What a service declares before anything runs. No I/O happens here.

/// A declared database.
#[cfg(feature = "postgres")]
#[derive(Clone)]
#[must_use]
pub struct PostgresDeclaration {
    pub(crate) name: String,
    pub(crate) migrations: Option<&'static sqlx::migrate::Migrator>,
}

#[cfg(feature = "postgres")]
impl PostgresDeclaration {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            migrations: None,
        }
    }

    /// The migrations of this database. The command `migrate` applies them; in environment `dev` so does the start.
    pub fn migrations(mut self, migrations: &'static sqlx::migrate::Migrator) -> Self {
        self.migrations = Some(migrations);
        self
    }
}

/// Everything that was declared, in order.
#[derive(Clone, Default)]
pub(crate) struct Declarations {
    pub(crate) upstreams: Vec<crate::upstream::UpstreamDeclaration>,
    #[cfg(any(feature = "postgres", feature = "redis", feature = "kafka"))]
    pub(crate) dependencies: Vec<Dependency>,
    #[cfg(feature = "kafka")]
    pub(crate) consumers: Vec<(String, hafnium_stream::ConsumerSpec)>,
}

/// One declared dependency.
#[cfg(any(feature = "postgres", feature = "redis", feature = "kafka"))]
#[derive(Clone)]
pub(crate) enum Dependency {
    #[cfg(feature = "postgres")]
    Postgres(PostgresDeclaration),
    #[cfg(feature = "redis")]
    Redis(String),
    #[cfg(feature = "kafka")]
    Kafka(String),
}
