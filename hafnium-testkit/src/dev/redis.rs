//! Redis as a dev service.

use std::time::Duration;

use super::server::{Access, Guard, Recipe, Server};
use crate::Error;
use crate::process::{Keeper, Launch, await_ready, free_ports};

pub(crate) struct Redis;

const LOCAL_START: Duration = Duration::from_secs(10);

impl Server for Redis {
    const KIND: &'static str = "Redis";
    const IMAGE: &'static str = "redis";
    const PORT: u16 = 6379;
    const INSTALL: &'static str = "sudo apt-get install redis-server";

    fn recipe(access: &Access, _host: &str, _port: u16) -> Recipe {
        let command = [
            "redis-server",
            "--save",
            "",
            "--appendonly",
            "no",
            "--requirepass",
            &access.password,
        ];
        Recipe {
            command: command.map(String::from).to_vec(),
            ..Recipe::default()
        }
    }

    fn url(access: &Access, host: &str, port: u16) -> String {
        format!("redis://:{}@{host}:{port}/0", access.password)
    }

    async fn answers(url: &str) -> Result<(), String> {
        let ping = async {
            let client = redis::Client::open(url)?;
            let mut connection = client.get_multiplexed_async_connection().await?;
            redis::cmd("PING").query_async::<String>(&mut connection).await
        };
        match ping.await {
            Ok(answer) if answer == "PONG" => Ok(()),
            Ok(answer) => Err(format!("PING was answered with {answer:?}")),
            Err(error) => Err(error.to_string()),
        }
    }

    async fn local(access: &Access) -> Result<(Guard, String), Error> {
        if !installed() {
            return Err(Error::Missing {
                what: "redis-server".into(),
                hint: Self::INSTALL.into(),
            });
        }
        let keeper = Keeper::new("dev-redis")?;
        let port = free_ports(1)?[0];
        // The password goes through a file: arguments are visible to every user of the machine.
        keeper.write("redis.conf", &configuration(access, port))?;
        let redis =
            keeper.spawn(&Launch::new("redis", "redis-server").arg(keeper.directory().join("redis.conf")))?;
        let url = Self::url(access, "127.0.0.1", port);
        await_ready(&[&redis], "redis to answer PING", LOCAL_START, || {
            Self::answers(&url)
        })
        .await?;
        Ok((Box::new((redis, keeper)), url))
    }
}

fn configuration(access: &Access, port: u16) -> String {
    format!(
        "bind 127.0.0.1\nport {port}\nrequirepass {}\nsave \"\"\nappendonly no\n",
        access.password
    )
}

fn installed() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join("redis-server").is_file())
}
