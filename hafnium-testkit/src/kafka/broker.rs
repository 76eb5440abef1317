//! One broker process.

use std::sync::{Arc, Mutex, PoisonError};

use super::home::KafkaHome;
use super::metadata::{self, Metadata};
use crate::Error;
use crate::process::{Keeper, Launch, Process, ProcessState};

/// A combined broker and controller, the same id and ports over restarts.
pub(super) struct Broker {
    pub(super) id: i32,
    pub(super) port: u16,
    launch: Launch,
    keeper: Keeper,
    process: Mutex<Arc<Process>>,
}

impl Broker {
    pub(super) fn start(keeper: &Keeper, home: &KafkaHome, id: i32, port: u16) -> Result<Broker, Error> {
        let launch = launch(keeper, home, id);
        let process = Mutex::new(Arc::new(keeper.spawn(&launch)?));
        Ok(Broker {
            id,
            port,
            launch,
            keeper: keeper.clone(),
            process,
        })
    }

    pub(super) fn start_again(&self) -> Result<(), Error> {
        if self.state() != ProcessState::Gone {
            return Err(Error::refused(
                format!("start broker {} again", self.id),
                "it still runs",
            ));
        }
        let process = self.keeper.spawn(&self.launch)?;
        *self.process.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(process);
        Ok(())
    }

    pub(super) fn process(&self) -> Arc<Process> {
        self.process
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(super) fn state(&self) -> ProcessState {
        self.process().state()
    }

    pub(super) async fn metadata(&self) -> Result<Metadata, String> {
        metadata::ask(self.port).await
    }
}

/// What all Java processes of the rig share. Without `UsePerfData` a killed one leaves no file in the system's temporary
/// directory.
pub(super) fn java(home: &KafkaHome, keeper: &Keeper, name: &str, memory: &[&str]) -> Launch {
    let directory = keeper.directory().display();
    let mut launch = Launch::new(name, &home.java)
        .args(memory)
        .args([
            "-XX:TieredStopAtLevel=1",
            "-XX:+UseSerialGC",
            "-XX:-UsePerfData",
            "-Xss512k",
        ])
        .arg(format!("-Djava.io.tmpdir={directory}"))
        .arg(format!("-Dlog4j.configuration=file:{directory}/log4j.properties"))
        .arg(format!(
            "-Dlog4j2.configurationFile={directory}/log4j2.properties"
        ));
    if let Some(option) = home.archive_option() {
        launch = launch.arg(option);
    }
    launch.arg("-cp").arg(home.class_path())
}

/// The name of a broker's configuration file.
pub(super) fn properties_file(id: i32) -> String {
    format!("broker-{id}.properties")
}

fn launch(keeper: &Keeper, home: &KafkaHome, id: i32) -> Launch {
    let memory = ["-Xms192m", "-Xmx384m", "-XX:MaxDirectMemorySize=128m"];
    java(home, keeper, &format!("broker-{id}"), &memory)
        .arg("kafka.Kafka")
        .arg(keeper.directory().join(properties_file(id)))
}
