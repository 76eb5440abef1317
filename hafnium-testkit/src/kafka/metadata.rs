//! What one broker knows of the cluster, asked of exactly that broker.
//!
//! Kafka's Metadata request in version 7, which every release since 2.1 answers, 4.x included. A client library asks
//! whichever broker it likes and does not show the leader epoch, and a proof needs both.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::partition::PartitionState;

/// A frozen broker accepts TCP and stays silent. One that lives answers in milliseconds, under load in some hundred.
const SILENT: Duration = Duration::from_secs(2);

const METADATA: i16 = 3;
const VERSION: i16 = 7;
/// An answer for all topics of a test cluster has some kilobytes.
const LARGEST: i32 = 16 * 1024 * 1024;

/// One broker's view.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Metadata {
    /// Ids of the brokers that are not fenced.
    pub(super) brokers: Vec<i32>,
    /// Partitions in order, by topic.
    pub(super) topics: BTreeMap<String, Vec<PartitionState>>,
}

/// Asks the broker at 127.0.0.1:`port` for all topics. The error is for people.
pub(super) async fn ask(port: u16) -> Result<Metadata, String> {
    let exchange = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.write_all(&request()).await?;
        let size = stream.read_i32().await?;
        if !(0..=LARGEST).contains(&size) {
            return Err(std::io::Error::other(format!("an answer of {size} bytes")));
        }
        let mut answer = vec![0; usize::try_from(size).unwrap_or_default()];
        stream.read_exact(&mut answer).await?;
        Ok(answer)
    };
    let answer = match tokio::time::timeout(SILENT, exchange).await {
        Ok(answer) => answer.map_err(|error: std::io::Error| format!("127.0.0.1:{port}: {error}"))?,
        Err(_) => return Err(format!("127.0.0.1:{port} is silent")),
    };
    Fields(&answer)
        .metadata()
        .ok_or_else(|| format!("127.0.0.1:{port} gave an answer that is cut short"))
}

/// Length, header version 1 (key, version, correlation id, client id), all topics, no automatic creation.
pub(super) fn request() -> Vec<u8> {
    let client = b"hafnium-testkit";
    let mut body = Vec::new();
    body.extend(METADATA.to_be_bytes());
    body.extend(VERSION.to_be_bytes());
    body.extend(1i32.to_be_bytes());
    body.extend((client.len() as i16).to_be_bytes());
    body.extend(client);
    body.extend((-1i32).to_be_bytes());
    body.push(0);
    let mut request = (body.len() as i32).to_be_bytes().to_vec();
    request.extend(body);
    request
}

/// A reader of the big-endian fields; `None` at the end of the bytes.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn metadata(mut self) -> Option<Metadata> {
        let _correlation = self.i32()?;
        let _throttle = self.i32()?;
        let mut metadata = Metadata::default();
        for _ in 0..self.i32()? {
            metadata.brokers.push(self.i32()?);
            let _host = self.text()?;
            let _port = self.i32()?;
            let _rack = self.text()?;
        }
        metadata.brokers.sort_unstable();
        let _cluster = self.text()?;
        let _controller = self.i32()?;
        for _ in 0..self.i32()? {
            let _error = self.i16()?;
            let name = self.text()?;
            let _internal = self.bytes(1)?;
            let mut partitions = Vec::new();
            for _ in 0..self.i32()? {
                partitions.push(self.partition()?);
            }
            partitions.sort_unstable_by_key(|state| state.partition);
            metadata.topics.insert(name, partitions);
        }
        Some(metadata)
    }

    fn partition(&mut self) -> Option<PartitionState> {
        let _error = self.i16()?;
        let partition = self.i32()?;
        let leader = self.i32()?;
        let epoch = self.i32()?;
        let replicas = self.ids()?;
        let in_sync = self.ids()?;
        let _offline = self.ids()?;
        Some(PartitionState {
            partition,
            leader: (leader >= 0).then_some(leader),
            epoch,
            replicas,
            in_sync,
        })
    }

    fn bytes(&mut self, count: usize) -> Option<&[u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn i16(&mut self) -> Option<i16> {
        Some(i16::from_be_bytes(self.bytes(2)?.try_into().ok()?))
    }

    fn i32(&mut self) -> Option<i32> {
        Some(i32::from_be_bytes(self.bytes(4)?.try_into().ok()?))
    }

    /// A nullable string; null reads as empty.
    fn text(&mut self) -> Option<String> {
        let length = usize::try_from(self.i16()?).unwrap_or(0);
        Some(String::from_utf8_lossy(self.bytes(length)?).into_owned())
    }

    fn ids(&mut self) -> Option<Vec<i32>> {
        let mut ids = Vec::new();
        for _ in 0..self.i32()? {
            ids.push(self.i32()?);
        }
        ids.sort_unstable();
        Some(ids)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer() -> Vec<u8> {
        let mut bytes = Vec::new();
        let number = |bytes: &mut Vec<u8>, n: i32| bytes.extend(n.to_be_bytes());
        let text = |bytes: &mut Vec<u8>, text: &str| {
            bytes.extend((text.len() as i16).to_be_bytes());
            bytes.extend(text.as_bytes());
        };
        for n in [1, 0, 1, 2] {
            number(&mut bytes, n); // correlation, throttle, one broker with id 2
        }
        text(&mut bytes, "h");
        number(&mut bytes, 9092);
        bytes.extend((-1i16).to_be_bytes()); // no rack
        text(&mut bytes, "cluster");
        number(&mut bytes, 1);
        number(&mut bytes, 1); // one topic
        bytes.extend(0i16.to_be_bytes());
        text(&mut bytes, "t");
        bytes.push(0);
        number(&mut bytes, 1);
        bytes.extend(5i16.to_be_bytes());
        for n in [0, -1, 7, 2, 2, 1, 1, 2, 1, 1] {
            number(&mut bytes, n); // partition 0, no leader, epoch 7, replicas [2,1], in sync [2], offline [1]
        }
        bytes
    }

    #[test]
    fn a_partition_without_leader_keeps_its_epoch() {
        let metadata = Fields(&answer()).metadata().unwrap();
        assert_eq!(metadata.brokers, [2]);
        let state = &metadata.topics["t"][0];
        assert_eq!((state.leader, state.epoch), (None, 7));
        assert_eq!((&state.replicas[..], &state.in_sync[..]), (&[1, 2][..], &[2][..]));
    }

    #[test]
    fn an_answer_that_is_cut_short_is_no_answer() {
        let whole = answer();
        for end in 0..whole.len() {
            assert_eq!(Fields(&whole[..end]).metadata(), None, "{end} bytes");
        }
    }
}
