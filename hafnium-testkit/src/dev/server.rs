//! What each kind of server must say of itself to be provided.

use std::any::Any;
use std::future::Future;

use super::ladder::Rung;
use crate::Error;

/// What a started server is to be reached with.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    /// The dependency's name; also the database's.
    pub(crate) name: String,
    pub(crate) password: String,
}

/// How a container of the server is started.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recipe {
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) command: Vec<String>,
}

/// Dropping it stops the server.
pub(crate) type Guard = Box<dyn Any + Send>;

/// One kind of server. The decisions are the ladder's; this is only how the kind is started and asked.
pub(crate) trait Server {
    /// As people call it.
    const KIND: &'static str;
    /// Its name in `images.txt`.
    const IMAGE: &'static str;
    /// The port inside the container.
    const PORT: u16;
    /// Its ladder.
    const RUNGS: &'static [Rung] = &[Rung::Docker, Rung::Local];
    /// The command that makes the local rung work.
    const INSTALL: &'static str;

    /// `host` and `port` are what clients outside of the container will use.
    fn recipe(access: &Access, host: &str, port: u16) -> Recipe;

    fn url(access: &Access, host: &str, port: u16) -> String;

    /// One question in the server's own protocol; the error is what was seen instead of an answer.
    fn answers(url: &str) -> impl Future<Output = Result<(), String>> + Send;

    /// Starts the installed server; it is ready on return.
    fn local(access: &Access) -> impl Future<Output = Result<(Guard, String), Error>> + Send;

    /// Starts a stand-in inside this process, where there is one.
    fn mock() -> Result<(Guard, String), String> {
        Err(format!("there is no stand-in for {}", Self::KIND))
    }
}

/// 128 bits from the kernel: a container's port is published on every address of the machine.
pub(crate) fn password() -> Result<String, Error> {
    use std::io::Read;
    let mut bytes = [0_u8; 16];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut bytes))
        .map_err(Error::io("read /dev/urandom"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
