//! Postgres and Redis clients that follow the primary, bound every wait and name every outcome.

#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "redis")]
pub mod redis;
