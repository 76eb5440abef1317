//! A pgbouncer in a container, in the network of this machine: the server that it leads to listens on loopback.

use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, GenericImage, ImageExt};

use super::settings::Settings;
use crate::Error;
use crate::dev::Image;

/// The container; removed when this is dropped.
pub(super) struct Contained {
    _container: ContainerAsync<GenericImage>,
}

const INI: &str = "/etc/pgbouncer/pgbouncer.ini";
const USERS: &str = "/etc/pgbouncer/users.txt";

impl Contained {
    pub(super) async fn start(settings: &Settings, port: u16) -> Result<Contained, Error> {
        let refused = |answer: String| Error::refused("start pgbouncer in a container", answer);
        let image = Image::of("pgbouncer").ok_or_else(|| refused("it has no image".into()))?;
        let request = GenericImage::new(image.name, image.tag)
            .with_entrypoint("pgbouncer")
            .with_cmd([INI])
            .with_network("host")
            .with_copy_to(INI, settings.ini(port, USERS).into_bytes())
            .with_copy_to(USERS, settings.users().into_bytes());
        let container = request.start().await.map_err(|error| {
            refused(format!(
                "{error}; scripts/with-docker brings a daemon and the image"
            ))
        })?;
        Ok(Contained {
            _container: container,
        })
    }
}
