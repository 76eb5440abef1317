//! Where the installed moto is.

use std::path::PathBuf;

use crate::Error;

/// The release that `scripts/setup aws` brings.
const VERSION: &str = "5.2.5";

/// The program, in the first place of those that `scripts/progress.sh` knows.
///
/// # Errors
/// [`Error::Missing`].
pub(super) fn program() -> Result<PathBuf, Error> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let own = variable("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(variable("HOME")?).join(".cache")));
    let places: Vec<_> = [
        variable("HAFNIUM_CACHE").map(PathBuf::from),
        Some(PathBuf::from("/var/cache/hafnium")),
        own.map(|cache| cache.join("hafnium")),
    ]
    .into_iter()
    .flatten()
    .map(|cache| cache.join(format!("moto-{VERSION}")))
    .collect();
    let installed = places.iter().find(|place| place.join("complete").is_file());
    match installed {
        Some(place) => Ok(place.join("bin/moto_server")),
        None => {
            let looked: Vec<_> = places.iter().map(|place| place.display().to_string()).collect();
            Err(Error::Missing {
                what: "moto, a stand-in for AWS".into(),
                hint: format!("run scripts/setup aws (looked in {})", looked.join(", ")),
            })
        }
    }
}
