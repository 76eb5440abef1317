//! Which image a container is made of.

/// A container image by name and tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// e.g. `postgres` or `registry.example/apache/kafka`.
    pub name: String,
    /// e.g. `17.6`.
    pub tag: String,
}

/// Also read by the scripts that pull or build what the tests need.
const PINNED: &str = include_str!("../../images.txt");

impl Image {
    /// The image for `server` (`postgres`, `redis`, `kafka`, `pgbouncer`): the one that `HAFNIUM_TEST_IMAGE_<SERVER>` names, else the
    /// official one, pinned with this crate's version. `None` for any other server.
    pub fn of(server: &str) -> Option<Image> {
        let named = std::env::var(format!("HAFNIUM_TEST_IMAGE_{}", server.to_uppercase())).ok();
        named
            .filter(|named| !named.trim().is_empty())
            .or_else(|| pinned(server))
            .map(|image| Image::parse(&image))
    }

    /// Splits `name[:tag]`; without a tag it is `latest`. A colon before the last slash is a registry's port.
    pub fn parse(image: &str) -> Image {
        let image = image.trim();
        match image.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => Image {
                name: name.into(),
                tag: tag.into(),
            },
            _ => Image {
                name: image.into(),
                tag: "latest".into(),
            },
        }
    }
}

impl std::fmt::Display for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.name, self.tag)
    }
}

fn pinned(server: &str) -> Option<String> {
    PINNED.lines().find_map(|line| {
        let (name, image) = line.split_once(' ')?;
        (name == server).then(|| image.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_server_has_a_pinned_image() {
        for server in ["postgres", "redis", "kafka", "pgbouncer"] {
            let image = Image::parse(&pinned(server).unwrap());
            assert_ne!(image.tag, "latest", "{server} is not pinned");
        }
    }

    #[test]
    fn a_registrys_port_is_not_a_tag() {
        assert_eq!(
            Image::parse("host:5000/kafka"),
            Image {
                name: "host:5000/kafka".into(),
                tag: "latest".into()
            }
        );
        assert_eq!(
            Image::parse("apache/kafka:3.9.1"),
            Image {
                name: "apache/kafka".into(),
                tag: "3.9.1".into()
            }
        );
    }
}
