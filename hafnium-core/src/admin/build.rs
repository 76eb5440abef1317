//! How the program was built.

/// How the program was built, as `/info` and the status page show it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BuildInfo {
    /// The compiler, as it names itself: `rustc 1.95.0 (…)`.
    pub rustc: &'static str,
    /// The features of Hafnium it was built with.
    pub features: Vec<&'static str>,
    /// Whether it was built with optimisations and without debug assertions.
    pub release: bool,
}

impl Default for BuildInfo {
    fn default() -> Self {
        Self {
            rustc: env!("HAFNIUM_RUSTC"),
            features: Vec::new(),
            release: !cfg!(debug_assertions),
        }
    }
}

impl BuildInfo {
    /// What this crate knows of its build.
    pub fn new() -> Self {
        Self::default()
    }

    /// Built with those features.
    #[must_use]
    pub fn features(mut self, features: impl IntoIterator<Item = &'static str>) -> Self {
        self.features.extend(features);
        self
    }
}
