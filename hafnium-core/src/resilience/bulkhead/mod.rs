//! Not calling more than can be served: so many calls at once, so many that wait, for so long.

mod error;
mod figures;
mod handle;
mod layer;
mod permit;
mod settings;

pub use error::BulkheadFull;
pub use handle::{Bulkhead, BulkheadReport};
pub use layer::{BulkheadFuture, BulkheadLayer, BulkheadService};
pub use permit::BulkheadPermit;
pub use settings::BulkheadSettings;
