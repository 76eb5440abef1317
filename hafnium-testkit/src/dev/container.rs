//! One container: how it is asked for, and the labels by which it is known again.

use testcontainers::core::IntoContainerPort;
use testcontainers::{ContainerRequest, GenericImage, ImageExt};

use super::image::Image;
use super::server::Recipe;

/// Says that a container is ours, and holds the URL at which a kept one is found by the next run.
pub(crate) const URL_LABEL: &str = "hafnium.dev.url";

/// What the Docker thread is asked to run.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) name: String,
    pub(crate) image: Image,
    pub(crate) recipe: Recipe,
    /// Chosen beforehand: Kafka must know the address that it advertises before it starts.
    pub(crate) host_port: u16,
    pub(crate) port: u16,
    pub(crate) url: String,
}

impl Wanted {
    pub(crate) fn request(&self) -> ContainerRequest<GenericImage> {
        let mut request = GenericImage::new(self.image.name.clone(), self.image.tag.clone())
            .with_container_name(&self.name)
            .with_label(URL_LABEL, &self.url)
            .with_mapped_port(self.host_port, self.port.tcp());
        for (name, value) in &self.recipe.environment {
            request = request.with_env_var(name, value);
        }
        if !self.recipe.command.is_empty() {
            request = request.with_cmd(self.recipe.command.clone());
        }
        request
    }
}

/// A container's name: what Docker allows of the service's and the dependency's.
pub(crate) fn container_name(service: &str, dependency: &str, suffix: Option<u32>) -> String {
    let mut name: String = format!("hafnium-dev-{service}-{dependency}")
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "-_.".contains(c) {
                c
            } else {
                '-'
            }
        })
        .collect();
    if let Some(suffix) = suffix {
        name.push_str(&format!("-{suffix:08x}"));
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_container_has_a_stable_name_and_any_other_one_of_its_own() {
        assert_eq!(
            container_name("risk engine", "ledger", None),
            "hafnium-dev-risk-engine-ledger"
        );
        assert_eq!(
            container_name("risk", "ledger", Some(255)),
            "hafnium-dev-risk-ledger-000000ff"
        );
    }
}
