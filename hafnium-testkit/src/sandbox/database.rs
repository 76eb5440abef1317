//! The database of one test.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::Error;
use crate::postgres::PostgresCluster;

/// Names longer than 63 bytes are cut by the server, and two could become one.
const LENGTH: usize = 48;

/// A name that no other test of this binary has.
pub(super) fn name(test: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let plain = test.chars().map(|letter| match letter {
        'a'..='z' | '0'..='9' => letter,
        'A'..='Z' => letter.to_ascii_lowercase(),
        _ => '_',
    });
    let plain: String = plain.take(LENGTH).collect();
    format!("{plain}_{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Drops it, with whoever is still connected to it; keeps it where `HAFNIUM_TEST_KEEP` is set.
pub(super) async fn drop_database(cluster: &PostgresCluster, name: &str) -> Result<(), Error> {
    if std::env::var_os("HAFNIUM_TEST_KEEP").is_some() {
        tracing::info!(url = cluster.url(name), "the test's database is kept");
        return Ok(());
    }
    let session = cluster.connect(cluster.primary(), "postgres").await?;
    session
        .run(&format!("DROP DATABASE IF EXISTS \"{name}\" WITH (FORCE)"))
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_tests_of_one_name_have_two_databases() {
        let long = "A_score::is stored ".repeat(10);
        let (first, second) = (name(&long), name(&long));
        assert_ne!(first, second);
        assert!(
            first.len() <= 63 && first.starts_with("a_score__is_stored_"),
            "{first}"
        );
    }
}
