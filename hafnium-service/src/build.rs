//! How the service was built.

use hafnium_core::admin::BuildInfo;

/// What this build of Hafnium has.
const FEATURES: &[(&str, bool)] = &[
    ("aws", cfg!(feature = "aws")),
    ("aws-ssm", cfg!(feature = "aws-ssm")),
    ("dev-services", cfg!(feature = "dev-services")),
    ("kafka", cfg!(feature = "kafka")),
    ("otlp", cfg!(feature = "otlp")),
    ("postgres", cfg!(feature = "postgres")),
    ("redis", cfg!(feature = "redis")),
    ("tls", cfg!(feature = "tls")),
    ("vault", cfg!(feature = "vault")),
];

/// This build.
pub(crate) fn info() -> BuildInfo {
    let features = FEATURES.iter().filter(|(_, on)| *on);
    BuildInfo::new().features(features.map(|(name, _)| *name))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every feature of the manifest is told of.
    #[test]
    fn no_feature_is_forgotten() {
        let manifest = include_str!("../Cargo.toml");
        let features = manifest.split("[features]").nth(1).unwrap();
        let features = features.split("\n[").next().unwrap();
        let declared: Vec<_> = features
            .lines()
            .filter_map(|line| line.split_once(" = ").map(|(name, _)| name))
            .filter(|name| *name != "default" && !name.starts_with('#'))
            .collect();
        for name in &declared {
            assert!(FEATURES.iter().any(|(known, _)| known == name), "{name}");
        }
        assert_eq!(declared.len(), FEATURES.len());
    }
}
